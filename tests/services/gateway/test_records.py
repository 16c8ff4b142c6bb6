"""What comes over Kafka: believed only whole, of this deployment, and written by one of us."""

import pytest

from tests.builders import a_release
from tests.services.gateway.facts import DEPLOYMENT, covered, final, said, seen
from tests.services.gateway.world import GatewayWorld
from xstock_gateway.adapters.records import (
    OBSERVATIONS,
    PROGRESS,
    TOPICS,
    TRANSFERS,
    RecordCodec,
)
from xstock_gateway.entrypoints.kafka import Intake
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.view import StepSeen
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.kafka import Message, Received
from xstock_runtime.metrics import Metrics
from xstock_wire.codec import block_to_wire, observation_to_wire
from xstock_wire.v1 import records_pb2

CODEC = RecordCodec(DEPLOYMENT)


def received(topic: str, value: bytes) -> Received:
    return Received(topic, 0, 0, 0, b"", value)


def test_record__written_and_read__is_the_same_fact() -> None:
    for word in (said(1, 3), said(2, 5, steps=(StepSeen("RELEASED", 2, None, None, 7, "n"),))):
        assert CODEC.decode(received(TRANSFERS, CODEC.relayer_to(word))) == word
    assert CODEC.decode(received(OBSERVATIONS, CODEC.final_to(final(1)))) == final(1)
    look = seen(1, gone=True)
    burn = records_pb2.ProgressRecord.FromString(CODEC.seen_to(look))
    envelope = records_pb2.ProgressEnvelope(burn=burn)
    assert CODEC.decode(received(PROGRESS, envelope.SerializeToString())) == look
    chain = records_pb2.ChainProgressRecord(
        deployment_id=DEPLOYMENT,
        through=block_to_wire(covered().through),
        head_number=covered().head_number,
        seen_at_ms=covered().at_ms,
    )
    envelope = records_pb2.ProgressEnvelope(chain=chain)
    assert CODEC.decode(received(PROGRESS, envelope.SerializeToString())) == covered()


def test_record__observation_that_is_no_burn__says_nothing_to_the_gateway() -> None:
    record = observation_to_wire(a_release(), deployment_id=DEPLOYMENT, sequence=1)
    assert CODEC.decode(received(OBSERVATIONS, record.SerializeToString())) is None


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("value", [b"", b"\xff" * 40, b"\x0a\xff", bytes(179)])
def test_record__garbage__is_refused_by_type(topic: str, value: bytes) -> None:
    """F65, F37: poison is an InvalidMessage, never another exception."""
    with pytest.raises(InvalidMessage):
        CODEC.decode(received(topic, value))


def test_record__of_another_deployment_or_topic__is_refused() -> None:
    other = RecordCodec("other")
    for topic, value in (
        (TRANSFERS, other.relayer_to(said(1))),
        (OBSERVATIONS, other.final_to(final(1))),
        (PROGRESS, other.seen_to(seen(1))),
        ("xstock.unknown.v1", CODEC.relayer_to(said(1))),
    ):
        with pytest.raises(InvalidMessage):
            CODEC.decode(received(topic, value))


async def test_intake__page_of_everything__one_save_and_nothing_for_what_says_nothing() -> None:
    world = GatewayWorld()
    metrics = GatewayMetrics.create(Metrics("test"))
    intake = Intake(world.ingest, metrics)
    bodies = [seen(1), None, covered(), final(1), said(1, 1), said(1, 1)]
    page = [Message(received(TRANSFERS, b""), body) for body in bodies]
    await intake.take(page)
    await intake.take(page)
    assert (await world.store.journal_bounds())[2] == 3
    assert list(await world.store.coverage()) == [covered()]
    assert metrics.journal_lines._value.get() == 3
