"""Pages of records from the three topics, to the ingest handler."""

from xstock_gateway.handlers.ingest import IngestHandler
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import Coverage
from xstock_gateway.view import Fact
from xstock_runtime.kafka import Message


class Intake:
    """One page of the consumer is one call of the handler."""

    def __init__(self, handler: IngestHandler, metrics: GatewayMetrics) -> None:
        self._handler = handler
        self._metrics = metrics

    async def take(self, page: list[Message[Fact | Coverage | None]]) -> None:
        """Take a page in; records that say nothing to the gateway are passed over."""
        facts: list[Fact] = []
        coverage: list[Coverage] = []
        for message in page:
            if isinstance(message.body, Coverage):
                coverage.append(message.body)
            elif message.body is not None:
                facts.append(message.body)
        self._metrics.journal_lines.inc(await self._handler.take(facts, coverage))
