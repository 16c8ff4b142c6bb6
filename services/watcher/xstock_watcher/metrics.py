"""Every metric name of the watcher, once."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True)
class WatcherMetrics:
    """What a watcher counts."""

    observations: Counter
    through_number: Gauge
    head_number: Gauge
    scan_failures: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> "WatcherMetrics":
        """Register the metrics in `registry`."""
        return cls(
            observations=Counter(
                "xstock_watcher_observations",
                "Final observations that were new.",
                ["chain"],
                registry=registry,
            ),
            through_number=Gauge(
                "xstock_watcher_through_block",
                "The last final block that was scanned.",
                ["chain"],
                registry=registry,
            ),
            head_number=Gauge(
                "xstock_watcher_final_head_block",
                "The final head that was seen last.",
                ["chain"],
                registry=registry,
            ),
            scan_failures=Counter(
                "xstock_watcher_scan_failures",
                "Scans that failed, by error code.",
                ["chain", "code"],
                registry=registry,
            ),
        )
