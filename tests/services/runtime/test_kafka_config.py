"""F62: a service refuses to start on settings that can lose or invent records."""

import inspect
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal
from xstock_runtime.kafka import (
    BusProducer,
    ConsumerSettings,
    ProducerSettings,
    check_consumer_config,
    check_producer_config,
)

KEY = bytes(range(32))
PRODUCER = ProducerSettings("127.0.0.1:1", KEY)
CONSUMER = ConsumerSettings("127.0.0.1:1", ("t",), "group", (KEY,))


def library_defaults(kind: type[Any]) -> dict[str, object]:
    return {
        name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()
    }


def test_own_settings__pass_the_check() -> None:
    check_producer_config(PRODUCER.config())
    check_consumer_config(CONSUMER.config())


def test_library_defaults__are_refused_both_ways() -> None:
    """F62: what aiokafka would do by itself is just what must not start."""
    with pytest.raises(Fatal, match="acks"):
        check_producer_config({**library_defaults(AIOKafkaProducer)})
    with pytest.raises(Fatal, match="enable_auto_commit"):
        check_consumer_config({**library_defaults(AIOKafkaConsumer), "group_id": "g"})
    with pytest.raises(Fatal, match="acks"):
        check_producer_config({})


@pytest.mark.parametrize(
    ("field", "weak"),
    [("acks", 1), ("acks", 0), ("acks", "1"), ("enable_idempotence", False)],
)
def test_producer__weak_setting__is_refused_with_field_value_and_remedy(
    field: str, weak: object
) -> None:
    """F62: acks and idempotence."""
    with pytest.raises(Fatal) as refused:
        BusProducer(ProducerSettings("127.0.0.1:1", KEY, extra={field: weak}), SystemClock())
    assert refused.value.code == "WEAK_KAFKA_SETTINGS"
    assert refused.value.metadata["field"] == field
    assert repr(weak) in refused.value.message


@pytest.mark.parametrize(
    ("field", "weak"),
    [
        ("enable_auto_commit", True),
        ("auto_offset_reset", "latest"),
        ("auto_offset_reset", "none"),
        ("isolation_level", "read_uncommitted"),
        ("group_id", None),
        ("group_id", ""),
    ],
)
def test_consumer__weak_setting__is_refused_by_name(field: str, weak: object) -> None:
    """F62: auto-commit, latest, read_uncommitted, no group."""
    with pytest.raises(Fatal, match=field):
        check_consumer_config({**CONSUMER.config(), field: weak})


@pytest.mark.parametrize("field", ["enable_auto_commit", "auto_offset_reset", "isolation_level"])
def test_consumer__setting_absent__counts_as_the_weak_default(field: str) -> None:
    """F62: silence is not consent."""
    config = CONSUMER.config()
    del config[field]
    with pytest.raises(Fatal, match=field):
        check_consumer_config(config)
