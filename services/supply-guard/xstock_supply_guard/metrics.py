"""Every metric name of the supply-guard, once."""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from xstock_runtime.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GuardMetrics:
    """What a guard counts."""

    observations: Counter
    through_block: Gauge
    final_head_block: Gauge
    scan_failures: Counter
    verdicts: Counter
    signatures: Counter
    halts: Counter
    over_cap: Counter
    feed_failures: Counter
    supply_above_ledger: Gauge
    supply_below_ledger: Gauge
    denials: Counter
    review_seconds: Histogram
    call_seconds: Histogram

    @classmethod
    def create(cls, metrics: Metrics) -> "GuardMetrics":
        """Register the metrics; `metrics` gives the prefix."""
        return cls(
            observations=metrics.counter("observations", "Facts that were new.", ["chain"]),
            through_block=metrics.gauge("through_block", "Last final block booked.", ["chain"]),
            final_head_block=metrics.gauge("final_head_block", "Final head seen.", ["chain"]),
            scan_failures=metrics.counter("scan_failures", "Failed scans.", ["chain", "code"]),
            verdicts=metrics.counter("verdicts", "Verdicts given.", ["outcome", "reason"]),
            signatures=metrics.counter("signatures", "Batches signed.", ["destination"]),
            halts=metrics.counter("halts", "Halts this guard latched by itself."),
            over_cap=metrics.counter(
                "over_cap", "Times that facts carried an asset's exposure above its cap."
            ),
            feed_failures=metrics.counter(
                "feed_failures", "Answers of the reserves feed that confirm nothing.", ["code"]
            ),
            supply_above_ledger=metrics.gauge(
                "supply_above_ledger_assets", "Assets with more supply than booked.", ["chain"]
            ),
            supply_below_ledger=metrics.gauge(
                "supply_below_ledger_assets", "Assets with less supply than booked.", ["chain"]
            ),
            denials=metrics.counter(
                "denials", "Calls refused for who made them.", ["identity", "method"]
            ),
            review_seconds=metrics.histogram("review_seconds", "Time of a page of claims."),
            call_seconds=metrics.histogram("call_seconds", "gRPC calls.", ["method", "outcome"]),
        )
