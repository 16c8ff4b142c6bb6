"""A partner API in this process that answers what a test tells it, for the command line's tests.

It runs in threads of its own, because every command runs an event loop of its own.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from xstock_runtime.grpc_errors import DETAILS_KEY, CallRefused
from xstock_wire.reasons import error_table
from xstock_wire.v1 import bridge_pb2, bridge_pb2_grpc


@dataclass
class FakeGateway(bridge_pb2_grpc.BridgeServiceServicer):
    """What it answers; `streams` are the frames of each connection in turn, then UNAVAILABLE."""

    transfers: dict[bytes, bridge_pb2.Transfer] = field(default_factory=dict)
    lookup: bridge_pb2.LookupTransfersResponse = field(
        default_factory=bridge_pb2.LookupTransfersResponse
    )
    streams: list[list[bridge_pb2.WatchTransfersResponse]] = field(default_factory=list)
    starts: list[bridge_pb2.WatchStart] = field(default_factory=list)
    refusal: CallRefused | None = None

    def LookupTransfers(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if self.refusal is not None:
            _abort(context, self.refusal)
        return self.lookup

    def GetTransfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        found = self.transfers.get(request.transfer_id)
        if found is None:
            _abort(context, CallRefused("TRANSFER_NOT_FOUND", "no such transfer"))
        return bridge_pb2.GetTransferResponse(transfer=found)

    def WatchTransfers(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.starts.append(request.start)
        frames = self.streams.pop(0) if self.streams else []
        yield from frames
        context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway restarts")


def fake_gateway(**answers: Any) -> FakeGateway:
    """One that gives these answers; methods without one answer UNIMPLEMENTED."""
    return FakeGateway(**answers)  # type: ignore[abstract]


def _abort(context: Any, error: CallRefused) -> None:
    code, status = error_table().status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(code, status.message)


@contextmanager
def serving(gateway: FakeGateway) -> Iterator[str]:
    """Its address while it serves."""
    server = grpc.server(ThreadPoolExecutor(4))
    bridge_pb2_grpc.add_BridgeServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def event(
    transfer: bridge_pb2.Transfer, token: bytes = b"token"
) -> bridge_pb2.WatchTransfersResponse:
    """A frame that tells a transfer's revision."""
    told = bridge_pb2.TransferEvent(
        event_id=f"{transfer.id.hex()}-{transfer.revision}", cause="TEST", transfer=transfer
    )
    return bridge_pb2.WatchTransfersResponse(event=told, resume_token=token)


def transfer(
    number: int = 1,
    *,
    revision: int = 1,
    state: Any = bridge_pb2.TRANSFER_STATE_SEEN,
    terminal: bool = False,
    reason: str = "",
) -> bridge_pb2.Transfer:
    """A transfer with plausible content."""
    return bridge_pb2.Transfer(
        id=bytes([number]) * 32,
        revision=revision,
        state=state,
        terminal=terminal,
        source="ethereum",
        destination="bnb",
        symbol="TSLAx",
        shares=125_000_000,
        waiting_for=bridge_pb2.WaitingFor(reason=reason),
    )
