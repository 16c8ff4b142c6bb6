"""Topics as data: created if absent, never altered behind an operator's back.

A topic that exists with other settings is left alone; changing partitions would move keys, which
is a decision for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.kafka.records import dead_letter_topic

_TOPIC_ALREADY_EXISTS = 36
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: `retention_days` of history, `cleanup` is "delete", "compact" or both by comma.

    With `dead_letters` its `<name>.dlq` is created too (one partition, a year).
    """

    name: str
    partitions: int = 6
    replication: int = 1
    retention_days: int = 30
    cleanup: str = "delete"
    min_in_sync: int = 1
    dead_letters: bool = True
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.partitions < 1 or self.replication < 1 or self.retention_days < 1:
            raise ValueError(
                f"topic {self.name!r}: partitions {self.partitions}, replication "
                f"{self.replication}, retention_days {self.retention_days} must be at least 1"
            )

    def new_topics(self) -> list[NewTopic]:
        """What to ask the broker for."""
        own = NewTopic(
            name=self.name,
            num_partitions=self.partitions,
            replication_factor=self.replication,
            topic_configs={
                "retention.ms": str(self.retention_days * _DAY_MS),
                "cleanup.policy": self.cleanup,
                "min.insync.replicas": str(self.min_in_sync),
                **self.extra,
            },
        )
        if not self.dead_letters:
            return [own]
        dead = NewTopic(
            name=dead_letter_topic(self.name),
            num_partitions=1,
            replication_factor=self.replication,
            topic_configs={
                "retention.ms": str(365 * _DAY_MS),
                "min.insync.replicas": str(self.min_in_sync),
                "max.message.bytes": str(4 * 1024 * 1024),
            },
        )
        return [own, dead]


async def ensure_topics(
    bootstrap: str,
    specs: Sequence[TopicSpec],
    *,
    timeout_seconds: float = 30.0,
    security: Mapping[str, Any] | None = None,
) -> None:
    """Create the topics that do not exist yet.

    Raises Transient KAFKA_UNREACHABLE if the broker does not answer in time and Fatal
    TOPIC_REFUSED if it refuses one.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **(security or {}))
    topics = [topic for spec in specs for topic in spec.new_topics()]
    try:
        async with asyncio.timeout(timeout_seconds):
            await admin.start()
            response = await admin.create_topics(topics)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient(
            "KAFKA_UNREACHABLE",
            f"could not create topics at {bootstrap}: {str(error) or type(error).__name__}",
            {"bootstrap": bootstrap},
        ) from error
    finally:
        await admin.close()
    for name, code, *detail in response.topic_errors:
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise Fatal(
                "TOPIC_REFUSED",
                f"the broker refused topic {name!r} with error {code}: {detail}",
                {"topic": name, "error": code},
            )
