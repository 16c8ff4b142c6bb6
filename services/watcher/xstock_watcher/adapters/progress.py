"""Advisory progress to Kafka, past the outbox: a lost record is replaced by the next one."""

from collections.abc import Sequence

from xstock_chains.ports import Progress
from xstock_core.observation import BlockRef
from xstock_runtime.kafka import BusProducer, Record
from xstock_wire.codec import block_to_wire, tx_to_wire
from xstock_wire.v1 import records_pb2

PROGRESS_TOPIC = "xstock.progress.v1"


class KafkaProgressBus:
    """ProgressBus over the process's one producer."""

    def __init__(self, producer: BusProducer, deployment_id: str) -> None:
        self._producer = producer
        self._deployment_id = deployment_id

    async def publish_burns(
        self, pending: Sequence[Progress], vanished: Sequence[Progress], at_ms: int
    ) -> None:
        """One record per burn, keyed by its nonce."""
        told = [(p, False) for p in pending] + [(p, True) for p in vanished]
        records = []
        for progress, gone in told:
            burn = records_pb2.ProgressRecord(
                deployment_id=self._deployment_id,
                message=progress.message.pack(),
                tx=tx_to_wire(progress.tx),
                block_number=progress.block_number,
                blocks_behind_final=progress.blocks_behind_final,
                seen_at_ms=at_ms,
                vanished=gone,
            )
            envelope = records_pb2.ProgressEnvelope(burn=burn)
            value = envelope.SerializeToString()
            records.append(Record(PROGRESS_TOPIC, progress.message.nonce, value))
        await self._producer.publish(records)

    async def publish_chain(self, through: BlockRef, head_number: int, at_ms: int) -> None:
        """One record, keyed by the chain."""
        chain = records_pb2.ChainProgressRecord(
            deployment_id=self._deployment_id,
            through=block_to_wire(through),
            head_number=head_number,
            seen_at_ms=at_ms,
        )
        key = int(through.chain).to_bytes(4, "big")
        value = records_pb2.ProgressEnvelope(chain=chain).SerializeToString()
        await self._producer.publish([Record(PROGRESS_TOPIC, key, value)])
