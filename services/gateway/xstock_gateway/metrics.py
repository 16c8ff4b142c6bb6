"""Every metric name of the gateway, once."""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from xstock_runtime.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """What the gateway counts."""

    journal_lines: Counter
    dead_letters: Counter
    records_missed: Counter
    streams_open: Gauge
    call_seconds: Histogram

    @classmethod
    def create(cls, metrics: Metrics) -> "GatewayMetrics":
        """Register them all."""
        return cls(
            journal_lines=metrics.counter("journal_lines", "Changes of transfers."),
            dead_letters=metrics.counter("dead_letters", "Records that could not be believed."),
            records_missed=metrics.counter(
                "records_missed", "Records that the broker forgot before they were read."
            ),
            streams_open=metrics.gauge("streams_open", "Open WatchTransfers streams."),
            call_seconds=metrics.histogram(
                "call_seconds", "Calls by method and outcome.", ("method", "outcome")
            ),
        )

    def observe(self, method: str, outcome: str, seconds: float) -> None:
        """One finished call, for the gRPC server."""
        self.call_seconds.labels(method, outcome).observe(seconds)
