"""Observations from Kafka: hints that are believed as facts only because watchers signed them.

What cannot be decoded is dead-lettered by the bus; then every watcher is asked for what is
missing, before the offsets move on. So garbage costs a re-read and holds nobody up, unless the
re-read itself fails (F65). A retention gap is healed the same way (F64).
"""

from xstock_relayer.handlers.relayer import Relayer
from xstock_relayer.model import Numbered
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.kafka import Message, Received, Rejection, RetentionGap
from xstock_wire.codec import observation_from_wire
from xstock_wire.v1 import records_pb2

OBSERVATIONS_TOPIC = "xstock.observations.v1"


class Observations:
    """The consumer's side of the bus."""

    def __init__(self, relayer: Relayer, deployment_id: str) -> None:
        self._relayer = relayer
        self._deployment_id = deployment_id

    def decode(self, received: Received) -> Numbered:
        """The observation in a record; raises InvalidMessage."""
        record = records_pb2.ObservationRecord()
        try:
            record.ParseFromString(received.value)
        except Exception as error:
            if type(error).__name__ != "DecodeError":
                raise
            raise InvalidMessage("BAD_RECORD", "the value is no ObservationRecord") from error
        observation = observation_from_wire(record, deployment_id=self._deployment_id)
        return Numbered(record.sequence, observation)

    async def take(self, page: list[Message[Numbered]]) -> None:
        """A page of records is one transaction."""
        await self._relayer.intake.take([message.body for message in page])

    async def on_poison(self, _rejections: list[Rejection]) -> None:
        """Garbage came: what it stood in for is read from the watchers."""
        await self._relayer.heal()

    async def on_gap(self, _gap: RetentionGap) -> None:
        """Kafka forgot records before we read them; the watchers have not."""
        await self._relayer.heal()
