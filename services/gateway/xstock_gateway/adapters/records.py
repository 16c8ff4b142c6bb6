"""Facts in their wire form: what comes over Kafka is also how a view is kept."""

from functools import lru_cache

from xstock_core.amount import InvalidAmount
from xstock_core.ids import InvalidId, TransferId
from xstock_core.message import TransferMessage, parse_message
from xstock_core.observation import BurnFinal
from xstock_gateway.ports import Coverage
from xstock_gateway.view import BurnBecameFinal, BurnWasSeen, Fact, SaidByRelayer, StepSeen
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_runtime.kafka import Received
from xstock_wire.codec import (
    block_from_wire,
    block_to_wire,
    observation_from_wire,
    observation_to_wire,
    tx_from_wire,
    tx_to_wire,
)
from xstock_wire.v1 import records_pb2

OBSERVATIONS = "xstock.observations.v1"
PROGRESS = "xstock.progress.v1"
TRANSFERS = "xstock.transfers.v1"
TOPICS = (OBSERVATIONS, PROGRESS, TRANSFERS)
_MESSAGES_REMEMBERED = 2_048
"""All facts of a transfer repeat its message: parse it once, and share it."""


class RecordCodec:
    """Reads and writes the records of one deployment; raises InvalidMessage."""

    def __init__(self, deployment_id: str) -> None:
        self._deployment_id = deployment_id

    def decode(self, received: Received) -> Fact | Coverage | None:
        """The fact in a record; None for one that says nothing to the gateway."""
        match received.topic:
            case "xstock.observations.v1":
                return self.final_from(received.value)
            case "xstock.progress.v1":
                return self._progress(received.value)
            case "xstock.transfers.v1":
                return self.relayer_from(received.value)
        raise InvalidMessage("UNKNOWN_TOPIC", f"topic: {received.topic!r} is not read here")

    def final_from(self, value: bytes) -> BurnBecameFinal | None:
        """A burn's final observation; None for an observation of another kind."""
        record = records_pb2.ObservationRecord()
        _parse(record, value)
        seen = observation_from_wire(record, deployment_id=self._deployment_id)
        if not isinstance(seen, BurnFinal):
            return None
        return BurnBecameFinal(seen.transfer_id, seen.message, seen.sender, seen.place)

    def final_to(self, fact: BurnBecameFinal) -> bytes:
        """The same, for keeping."""
        burn = BurnFinal(fact.message, fact.transfer_id, fact.sender, 0, fact.place)
        record = observation_to_wire(burn, deployment_id=self._deployment_id, sequence=0)
        return record.SerializeToString(deterministic=True)

    def seen_from(self, value: bytes) -> BurnWasSeen:
        """A burn's progress."""
        record = records_pb2.ProgressRecord()
        _parse(record, value)
        return self._seen(record)

    def seen_to(self, fact: BurnWasSeen) -> bytes:
        """The same, for keeping."""
        record = records_pb2.ProgressRecord(
            deployment_id=self._deployment_id,
            message=fact.message.pack(),
            tx=tx_to_wire(fact.tx),
            block_number=fact.block_number,
            blocks_behind_final=fact.blocks_behind_final,
            seen_at_ms=fact.at_ms,
            vanished=fact.vanished,
        )
        return record.SerializeToString(deterministic=True)

    def relayer_from(self, value: bytes) -> SaidByRelayer:
        """The relayer's word on a transfer."""
        record = records_pb2.TransferRecord()
        _parse(record, value)
        self._check_deployment(record.deployment_id)
        message, transfer_id = _message(record.message)
        return SaidByRelayer(
            transfer_id=transfer_id,
            message=message,
            revision=record.revision,
            phase=record.phase,
            reason=record.reason,
            until=record.until,
            who=record.who,
            funds_at=record.funds_at,
            terminal=record.terminal,
            steps=tuple(_step(step) for step in record.steps),
            at_ms=record.at_ms,
            refund_id=record.refund_id,
            refund_of=record.refund_of,
        )

    def relayer_to(self, fact: SaidByRelayer) -> bytes:
        """The same, for keeping."""
        record = records_pb2.TransferRecord(
            deployment_id=self._deployment_id,
            message=fact.message.pack(),
            revision=fact.revision,
            phase=fact.phase,
            reason=fact.reason,
            until=fact.until,
            who=fact.who,
            funds_at=fact.funds_at,
            terminal=fact.terminal,
            at_ms=fact.at_ms,
            refund_id=fact.refund_id,
            refund_of=fact.refund_of,
        )
        for step in fact.steps:
            wire = record.steps.add(
                kind=step.kind, chain=step.chain, at_ms=step.at_ms, note=step.note
            )
            if step.tx is not None:
                wire.tx.CopyFrom(tx_to_wire(step.tx))
            if step.block is not None:
                wire.block.CopyFrom(block_to_wire(step.block))
        return record.SerializeToString(deterministic=True)

    def _progress(self, value: bytes) -> BurnWasSeen | Coverage:
        envelope = records_pb2.ProgressEnvelope()
        _parse(envelope, value)
        if envelope.WhichOneof("record") == "burn":
            return self._seen(envelope.burn)
        chain = envelope.chain
        self._check_deployment(chain.deployment_id)
        through = block_from_wire(chain.through)
        return Coverage(through.chain, through, chain.head_number, chain.seen_at_ms)

    def _seen(self, record: records_pb2.ProgressRecord) -> BurnWasSeen:
        self._check_deployment(record.deployment_id)
        message, transfer_id = _message(record.message)
        return BurnWasSeen(
            transfer_id=transfer_id,
            message=message,
            tx=tx_from_wire(record.tx),
            block_number=record.block_number,
            blocks_behind_final=record.blocks_behind_final,
            vanished=record.vanished,
            at_ms=record.seen_at_ms,
        )

    def _check_deployment(self, found: str) -> None:
        if found != self._deployment_id:
            raise InvalidMessage("BAD_RECORD", f"deployment_id: {found!r} is not ours")


def _step(wire: records_pb2.TransferStep) -> StepSeen:
    return StepSeen(
        kind=wire.kind,
        chain=wire.chain,
        tx=tx_from_wire(wire.tx) if wire.HasField("tx") else None,
        block=block_from_wire(wire.block) if wire.HasField("block") else None,
        at_ms=wire.at_ms,
        note=wire.note,
    )


@lru_cache(_MESSAGES_REMEMBERED)
def _message(packed: bytes) -> tuple[TransferMessage, TransferId]:
    try:
        message = parse_message(packed)
    except (InvalidId, InvalidAmount) as error:
        raise InvalidMessage("BAD_RECORD", str(error)) from error
    return message, message.transfer_id(keccak256)


def _parse(record: object, value: bytes) -> None:
    try:
        record.ParseFromString(value)  # type: ignore[attr-defined]
    except Exception as error:
        raise InvalidMessage("BAD_RECORD", f"the record is not protobuf: {error}") from error
