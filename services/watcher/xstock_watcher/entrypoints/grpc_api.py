"""WatcherService: decode, call the handler, encode."""

from typing import Any

import grpc

from xstock_chains.ports import Progress
from xstock_core.observation import Observation
from xstock_runtime.clock import Clock
from xstock_watcher.handlers import WatcherHandlers
from xstock_watcher.ports import Numbered
from xstock_wire.codec import block_to_wire, observation_to_wire, tx_from_wire, tx_to_wire
from xstock_wire.v1 import records_pb2, watcher_pb2, watcher_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
_PAGE_DEFAULT = 500
_PAGE_MAX = 5_000


class WatcherService(watcher_pb2_grpc.WatcherServiceServicer):
    """One chain's watcher, asked by hand."""

    def __init__(self, handlers: WatcherHandlers, deployment_id: str, clock: Clock) -> None:
        self._handlers = handlers
        self._deployment_id = deployment_id
        self._clock = clock

    async def ReObserve(  # noqa: N802
        self, request: watcher_pb2.ReObserveRequest, context: Context
    ) -> watcher_pb2.ReObserveResponse:
        """Look at one transaction now."""
        del context
        looked = await self._handlers.look(tx_from_wire(request.tx))
        response = watcher_pb2.ReObserveResponse(
            verdict=watcher_pb2.LookVerdict.Value(f"LOOK_VERDICT_{looked.verdict}"),
            observations=[self._record(found) for found in looked.observations],
            pending=[self._pending(progress) for progress in looked.pending],
        )
        if looked.through is not None:
            response.through.CopyFrom(block_to_wire(looked.through))
        return response

    async def GetCursor(  # noqa: N802
        self, request: watcher_pb2.GetCursorRequest, context: Context
    ) -> watcher_pb2.GetCursorResponse:
        """How far the watcher has read."""
        del request, context
        position = await self._handlers.store.position()
        response = watcher_pb2.GetCursorResponse(sequence=position.sequence)
        if position.through is not None:
            response.through.CopyFrom(block_to_wire(position.through))
        if position.head is not None:
            response.head.CopyFrom(block_to_wire(position.head))
        return response

    async def ListObservations(  # noqa: N802
        self, request: watcher_pb2.ListObservationsRequest, context: Context
    ) -> watcher_pb2.ListObservationsResponse:
        """A page in sequence order."""
        del context
        size = min(request.page_size or _PAGE_DEFAULT, _PAGE_MAX)
        page = await self._handlers.store.list_after(request.after_sequence, size)
        return watcher_pb2.ListObservationsResponse(
            observations=[self._record(numbered) for numbered in page]
        )

    def _record(self, found: Numbered | Observation) -> records_pb2.ObservationRecord:
        numbered = found if isinstance(found, Numbered) else Numbered(0, found)
        return observation_to_wire(
            numbered.observation, deployment_id=self._deployment_id, sequence=numbered.sequence
        )

    def _pending(self, progress: Progress) -> records_pb2.ProgressRecord:
        return records_pb2.ProgressRecord(
            deployment_id=self._deployment_id,
            message=progress.message.pack(),
            tx=tx_to_wire(progress.tx),
            block_number=progress.block_number,
            blocks_behind_final=progress.blocks_behind_final,
            seen_at_ms=self._clock.unix_ms(),
        )
