"""Records on Kafka: hints that a watcher has more to tell, and nothing else.

A record names a chain and how far its watcher's dense numbers reach; the facts themselves are
read from the watcher by number. So a record that somebody forged, with the bus key or without,
costs a question and can neither open, close nor halt anything. What cannot be decoded is
dead-lettered by the bus and every watcher is asked for what is missing (F65); a retention gap is
healed the same way (F64).
"""

from xstock_core.ids import InvalidId, parse_domain
from xstock_relayer.handlers.relayer import Relayer
from xstock_relayer.model import Hint
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.kafka import Message, Received, Rejection, RetentionGap
from xstock_wire.v1 import records_pb2

OBSERVATIONS_TOPIC = "xstock.observations.v1"


class Observations:
    """The consumer's side of the bus."""

    def __init__(self, relayer: Relayer, deployment_id: str) -> None:
        self._relayer = relayer
        self._deployment_id = deployment_id

    def decode(self, received: Received) -> Hint:
        """The hint in a record; raises InvalidMessage."""
        record = records_pb2.ObservationRecord()
        try:
            record.ParseFromString(received.value)
        except Exception as error:
            if type(error).__name__ != "DecodeError":
                raise
            raise InvalidMessage("BAD_RECORD", "the value is no ObservationRecord") from error
        if record.deployment_id != self._deployment_id:
            text = f"deployment_id: {record.deployment_id!r} is not ours"
            raise InvalidMessage("BAD_RECORD", text)
        try:
            chain = parse_domain(record.place.block.chain, "place.block.chain")
        except InvalidId as error:
            raise InvalidMessage("BAD_RECORD", str(error)) from error
        return Hint(chain, record.sequence)

    async def take(self, page: list[Message[Hint]]) -> None:
        """Ask each watcher that has more, once for the page. Raises Transient."""
        await self._relayer.wake([message.body for message in page])

    async def on_poison(self, _rejections: list[Rejection]) -> None:
        """Garbage came: what it stood in for is read from the watchers."""
        await self._relayer.heal()

    async def on_gap(self, _gap: RetentionGap) -> None:
        """Kafka forgot records before we read them; the watchers have not."""
        await self._relayer.heal()
