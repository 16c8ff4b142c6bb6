"""Refusing weak Kafka settings (F62).

aiokafka's defaults lose data: acks=1, no idempotence, auto-commit, `latest`, read_uncommitted.
These checks look at the final keyword arguments, whoever merged them, and count an absent key as
its weak default.
"""

from __future__ import annotations

from collections.abc import Mapping

from xstock_runtime.errors import Fatal

_PRODUCER: dict[str, tuple[tuple[object, ...], object]] = {
    "acks": (("all", -1), 1),
    "enable_idempotence": ((True,), False),
}
_CONSUMER: dict[str, tuple[tuple[object, ...], object]] = {
    "enable_auto_commit": ((False,), True),
    "auto_offset_reset": (("earliest",), "latest"),
    "isolation_level": (("read_committed",), "read_uncommitted"),
}


def check_producer_config(config: Mapping[str, object]) -> None:
    """Raise Fatal WEAK_KAFKA_SETTINGS unless every ack means "on all in-sync replicas, once"."""
    _check("producer", _PRODUCER, config)


def check_consumer_config(config: Mapping[str, object]) -> None:
    """Raise Fatal WEAK_KAFKA_SETTINGS if a record could be skipped, or read before it is final."""
    _check("consumer", _CONSUMER, config)
    if not config.get("group_id"):
        raise Fatal(
            "WEAK_KAFKA_SETTINGS",
            "consumer group_id is empty; set a group so that offsets survive a restart",
            {"field": "group_id"},
        )


def _check(
    role: str, wanted: Mapping[str, tuple[tuple[object, ...], object]], config: Mapping[str, object]
) -> None:
    for field, (allowed, default) in wanted.items():
        value = config.get(field, default)
        if not any(value is choice or value == choice for choice in allowed) or (
            isinstance(value, bool) != isinstance(allowed[0], bool)
        ):
            raise Fatal(
                "WEAK_KAFKA_SETTINGS",
                f"{role} {field} is {value!r}; set it to {allowed[0]!r}",
                {"field": field, "value": value, "remedy": f"{field}={allowed[0]!r}"},
            )
