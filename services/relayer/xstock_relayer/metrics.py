"""Every metric name of the relayer, once."""

from prometheus_client import Counter, Gauge

from xstock_runtime.metrics import Metrics

_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "observations": ("Observations taken in from watchers.", ()),
    "healed": ("Observations fetched without a hint from Kafka.", ("chain",)),
    "wake_failed": ("Hints whose watcher could not be read, by code.", ("chain", "code")),
    "watcher_renumbered": ("Times a watcher was found to number anew.", ("chain",)),
    "verdicts": ("Verdicts given by each guard.", ("guard",)),
    "guard_failures": ("Calls of each guard that failed, by code.", ("guard", "code")),
    "release_failures": ("Batches that could not be sent now, by code.", ("chain", "code")),
    "batch_reverts": ("Batches that simulation says would revert.", ("chain",)),
    "batches": ("Batches put in flight.", ("chain",)),
    "batch_items": ("Transfers in those batches.", ("chain",)),
    "broadcasts": ("Transactions broadcast, repetitions included.", ("chain",)),
    "broadcast_refused": ("Transactions that a node will never take, by code.", ("chain", "code")),
    "sending_retries": ("Steps of a slot that wait for a node, by code.", ("chain", "code")),
    "replacements": ("Fee bumps and fillers in a slot that did not land.", ("chain",)),
    "gaps_filled": ("Slots filled because the chain waited for them.", ("chain",)),
    "slots_settled": ("Slots whose story is over, by state.", ("chain", "state")),
}
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "open_transfers": ("Transfers that wait for guards or for a batch.", ()),
    "slots_open": ("Slots in which something may still happen.", ("chain",)),
}


class RelayerMetrics:
    """`Gauges` over Prometheus."""

    def __init__(self, metrics: Metrics) -> None:
        self._counters: dict[str, Counter] = {
            name: metrics.counter(name, text, labels) for name, (text, labels) in _COUNTERS.items()
        }
        self._gauges: dict[str, Gauge] = {
            name: metrics.gauge(name, text, labels) for name, (text, labels) in _GAUGES.items()
        }

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter; KeyError for a name that is not listed here."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(value)

    def level(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; KeyError for a name that is not listed here."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)
