"""IssuanceService, TransferService and OperatorService: decode, call the handler, encode."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from xstock_core.ids import (
    AssetId,
    Domain,
    InvalidId,
    Nonce,
    TransferId,
    parse_domain,
    parse_nonce,
    parse_transfer_id,
)
from xstock_core.review import Scope
from xstock_relayer.entrypoints.orders import cancel_paper_from_wire, order_paper_from_wire
from xstock_relayer.handlers.issuing import Issuer
from xstock_relayer.handlers.operating import Operator
from xstock_relayer.handlers.returning import Returner
from xstock_relayer.model import Halt, Transfer
from xstock_runtime.clock import Randomness
from xstock_runtime.errors import invalid_field
from xstock_runtime.grpc_server import Access, caller_identity
from xstock_wire.v1 import operator_pb2, operator_pb2_grpc, relayer_pb2, relayer_pb2_grpc

_invalid = partial(invalid_field, "FIELD_INVALID")

Context = grpc.aio.ServicerContext[Any, Any]
ISSUANCE = "xstock_wire.v1.IssuanceService"
OPERATOR = "xstock_wire.v1.OperatorService"
TRANSFER = "xstock_wire.v1.TransferService"
SERVICES = (ISSUANCE, OPERATOR, TRANSFER)
_PAGE_DEFAULT = 100
_PAGE_MAX = 1000
_REASON_MAX = 500


def access(roles: Mapping[str, Sequence[str]]) -> Access:
    """Who may call what: issuers hand in orders, operators operate, the agent looks and halts."""
    operators, look = frozenset({"operator"}), frozenset({"operator", "agent"})
    methods = {
        f"/{ISSUANCE}/SubmitIssueOrder": frozenset({"issuer"}),
        f"/{TRANSFER}/CancelTransfer": frozenset({"operator", "gateway"}),
        f"/{TRANSFER}/RefundOrphan": operators,
        f"/{OPERATOR}/Halt": look,
        f"/{OPERATOR}/Resume": operators,
        f"/{OPERATOR}/ListHalts": look,
        f"/{OPERATOR}/ListParked": look,
        f"/{OPERATOR}/RetryParked": operators,
    }
    return Access({who: frozenset(names) for who, names in roles.items()}, methods)


def operators(roles: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The identities that may ask for a cancellation without a holder's paper."""
    return frozenset(who for who, names in roles.items() if "operator" in names)


class TransferServicer(relayer_pb2_grpc.TransferServiceServicer):
    """What may be asked about a transfer that does not arrive."""

    def __init__(self, returner: Returner, operators: Collection[str]) -> None:
        self._returner = returner
        self._operators = frozenset(operators)

    async def CancelTransfer(  # noqa: N802
        self, request: relayer_pb2.TransferServiceCancelTransferRequest, context: Context
    ) -> relayer_pb2.TransferServiceCancelTransferResponse:
        """Ask for a cancellation and the refund that follows."""
        transfer_id = _transfer_id(request.transfer_id.hex(), "transfer_id")
        reason = _reason(request.reason)
        paper = cancel_paper_from_wire(request.request) if request.HasField("request") else None
        who = caller_identity()
        if paper is None and who not in self._operators:
            text = f"{who} is no operator: hand in the holder's signed request"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        after = await self._returner.cancel(transfer_id, reason, who, paper)
        waiting = after.view.waiting_for
        return relayer_pb2.TransferServiceCancelTransferResponse(
            phase=after.view.phase.value,
            reason=waiting.reason if waiting is not None else "",
            refund_id=after.state.refund_id or b"",
        )

    async def RefundOrphan(  # noqa: N802
        self, request: relayer_pb2.RefundOrphanRequest, context: Context
    ) -> relayer_pb2.RefundOrphanResponse:
        """Open the refund of an orphan burn."""
        del context
        nonce = _nonce(request.nonce)
        opened = await self._returner.refund_orphan(
            nonce, _reason(request.reason), caller_identity()
        )
        return relayer_pb2.RefundOrphanResponse(refund_id=opened.id, phase=opened.view.phase.value)


class IssuanceServicer(relayer_pb2_grpc.IssuanceServiceServicer):
    """Takes the issuer's signed orders."""

    def __init__(self, issuer: Issuer, issuers: Mapping[str, bytes]) -> None:
        self._issuer = issuer
        self._issuers = dict(issuers)

    async def SubmitIssueOrder(  # noqa: N802
        self, request: relayer_pb2.SubmitIssueOrderRequest, context: Context
    ) -> relayer_pb2.SubmitIssueOrderResponse:
        """Open the order's transfer; the same order again gives the same answer."""
        del context
        order, paper = order_paper_from_wire(request.order, self._issuers)
        issued = await self._issuer.submit(order, paper)
        waiting = issued.shown.waiting_for
        return relayer_pb2.SubmitIssueOrderResponse(
            transfer_id=issued.transfer_id,
            message=issued.message.pack(),
            phase=issued.shown.phase.value,
            reason=waiting.reason if waiting is not None else "",
        )


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    """The operators' part of the relayer."""

    def __init__(self, operator: Operator, randomness: Randomness) -> None:
        self._operator = operator
        self._randomness = randomness

    async def Halt(  # noqa: N802
        self, request: operator_pb2.HaltRequest, context: Context
    ) -> operator_pb2.HaltResponse:
        """Latch a halt."""
        del context
        halt_id = request.request_id or str(self._randomness.uuid4())
        if len(halt_id) > 64 or not halt_id.isascii():
            raise _invalid("request_id", halt_id[:80], "give at most 64 ASCII characters")
        scope = _scope(request.scope)
        reason = _reason(request.reason)
        halt = await self._operator.halt(halt_id, scope, reason, caller_identity())
        return operator_pb2.HaltResponse(halt=_halt_to_wire(halt))

    async def Resume(  # noqa: N802
        self, request: operator_pb2.ResumeRequest, context: Context
    ) -> operator_pb2.ResumeResponse:
        """Approve the clearing of a halt."""
        del context
        _reason(request.reason)
        cleared, missing = await self._operator.resume(request.halt_id, caller_identity())
        return operator_pb2.ResumeResponse(cleared=cleared, missing=missing)

    async def ListHalts(  # noqa: N802
        self, request: operator_pb2.ListHaltsRequest, context: Context
    ) -> operator_pb2.ListHaltsResponse:
        """The halts in force."""
        del request, context
        halts = [_halt_to_wire(halt) for halt in self._operator.list_halts()]
        return operator_pb2.ListHaltsResponse(halts=halts)

    async def ListParked(  # noqa: N802
        self, request: operator_pb2.ListParkedRequest, context: Context
    ) -> operator_pb2.ListParkedResponse:
        """Transfers that wait for a person."""
        del context
        size = min(request.page_size or _PAGE_DEFAULT, _PAGE_MAX)
        after = _transfer_id(request.page_token, "page_token") if request.page_token else None
        found = await self._operator.list_parked(after, size)
        token = found[-1].id.hex() if len(found) == size else ""
        return operator_pb2.ListParkedResponse(
            transfers=[_parked(transfer) for transfer in found], next_page_token=token
        )

    async def RetryParked(  # noqa: N802
        self, request: operator_pb2.RetryParkedRequest, context: Context
    ) -> operator_pb2.RetryParkedResponse:
        """Let a parked transfer go on."""
        del context
        transfer_id = _transfer_id(request.transfer_id.hex(), "transfer_id")
        reason = _reason(request.reason)
        phase = await self._operator.retry_parked(transfer_id, reason, caller_identity())
        return operator_pb2.RetryParkedResponse(phase=phase.value)


def _reason(reason: str) -> str:
    if not 1 <= len(reason) <= _REASON_MAX:
        raise _invalid("reason", f"{len(reason)} characters", f"give 1 to {_REASON_MAX}")
    return reason


def _transfer_id(digits: str, field: str) -> TransferId:
    try:
        return parse_transfer_id(bytes.fromhex(digits), field)
    except (InvalidId, ValueError) as error:
        raise _invalid(field, digits[:80], "give 32 bytes") from error


def _nonce(value: bytes) -> Nonce:
    try:
        return parse_nonce(value)
    except InvalidId as error:
        raise _invalid("nonce", value.hex()[:80], error.remedy) from error


def _scope(wire: operator_pb2.HaltScope) -> Scope:
    """A chain's halt stops what goes to it; what comes from it is the guards' to judge."""
    kind = wire.WhichOneof("scope")
    if kind == "asset":
        if len(wire.asset) != 32:
            raise _invalid("scope.asset", wire.asset.hex(), "give the 32 bytes of an asset id")
        return Scope(asset=AssetId(wire.asset))
    if kind == "chain":
        try:
            return Scope(destination=parse_domain(wire.chain, "scope.chain"))
        except InvalidId as error:
            raise _invalid("scope.chain", wire.chain, error.remedy) from error
    return Scope()


def _halt_to_wire(halt: Halt) -> operator_pb2.HaltRecord:
    record = operator_pb2.HaltRecord(
        id=halt.id,
        reason=halt.reason,
        by=halt.by,
        at_ms=halt.at_ms,
        approvals=halt.approvals,
    )
    chain: Domain | None = halt.scope.destination or halt.scope.source
    if halt.scope.asset is not None:
        record.scope.asset = halt.scope.asset
    elif chain is not None:
        record.scope.chain = int(chain)
    return record


def _parked(transfer: Transfer) -> operator_pb2.ParkedTransfer:
    shown, state = transfer.view, transfer.state
    since = max((at for name, at in transfer.moments if name == "PARKED"), default=0)
    return operator_pb2.ParkedTransfer(
        transfer_id=transfer.id,
        message=state.message.pack() if state.message is not None else b"",
        reason=shown.waiting_for.reason if shown.waiting_for is not None else "",
        since_ms=since,
    )
