"""The gRPC services: decode, call the handler, encode. Nothing is decided here."""

from collections.abc import Mapping
from typing import Any

import grpc

from xstock_core.ids import AssetId, Domain, TransferId, parse_asset_id, parse_domain
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.grpc_server import ANYONE, Access, caller_identity
from xstock_supply_guard import wire
from xstock_supply_guard.entrypoints import audit_server, people_server
from xstock_supply_guard.handlers import halting
from xstock_supply_guard.handlers.attesting import submit_attestation
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.opening import check_opening, submit_opening
from xstock_supply_guard.handlers.redemptions import submit_rejection
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.metrics import GuardMetrics
from xstock_wire.papers import ATTESTATION, OPENING, PaperKey
from xstock_wire.v1 import (
    operator_pb2,
    papers_pb2,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
)

CLAIMS_MAX = 1_000
PARKED_PAGE_USUAL = 100
PARKED_PAGE_MAX = 1_000
SERVICES = (
    "xstock_wire.v1.SupplyGuardService",
    "xstock_wire.v1.OperatorService",
    audit_server.SERVICE,
)
_GUARD, _OPERATOR = (f"/{name}/" for name in SERVICES[:2])
METHODS: Mapping[str, frozenset[str]] = {
    f"{_GUARD}ReviewTransfers": frozenset({"relayer"}),
    f"{_GUARD}SignRelease": frozenset({"relayer"}),
    f"{_GUARD}SubmitAttestation": frozenset({"custodian", "agent", "operator"}),
    f"{_GUARD}SubmitRejection": frozenset({"custodian"}),
    f"{_GUARD}ListRedemptions": frozenset({"custodian", "operator", "gateway", "agent", "auditor"}),
    f"{_GUARD}SignOpening": frozenset({"operator"}),
    f"{_GUARD}SubmitOpening": frozenset({"operator"}),
    f"{_GUARD}GetLedger": frozenset({ANYONE}),
    f"{_OPERATOR}Halt": frozenset({"operator", "agent"}),
    f"{_OPERATOR}Resume": frozenset({"approver"}),
    f"{_OPERATOR}ListHalts": frozenset({ANYONE}),
    f"{_OPERATOR}ListParked": frozenset({"operator", "approver", "gateway", "agent", "auditor"}),
    f"{_OPERATOR}RetryParked": frozenset({"operator"}),
}
"""Who may call what; a method that is not here is nobody's."""
Context = grpc.aio.ServicerContext[Any, Any]


def access(roles: Mapping[str, list[str]]) -> Access:
    """The access table of this guard."""
    methods = {**METHODS, **audit_server.METHODS, **people_server.METHODS}
    return Access({name: frozenset(given) for name, given in roles.items()}, methods)


class SupplyGuardServicer(supply_guard_pb2_grpc.SupplyGuardServiceServicer):
    """The guard itself."""

    def __init__(
        self, desk: Desk, metrics: GuardMetrics, paper_key: PaperKey | None = None
    ) -> None:
        self._desk = desk
        self._metrics = metrics
        self._paper_key = paper_key

    async def ReviewTransfers(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.ReviewTransfersRequest, context: Context
    ) -> supply_guard_pb2.ReviewTransfersResponse:
        """Judge a page of claims."""
        del context
        if len(request.claims) > CLAIMS_MAX:
            raise InvalidMessage(
                "FIELD_INVALID",
                f"claims: {len(request.claims)} are too many; give at most {CLAIMS_MAX}",
            )
        config = self._desk.config
        claims = [wire.claim_from_wire(claim, config.deployment_id) for claim in request.claims]
        with self._metrics.review_seconds.time():
            rulings = await review_transfers(self._desk, claims)
        for ruling in rulings:
            self._metrics.verdicts.labels(ruling.outcome.value, ruling.reason).inc()
        verdicts = [wire.ruling_to_wire(ruling) for ruling in rulings]
        return supply_guard_pb2.ReviewTransfersResponse(guard_id=config.guard_id, verdicts=verdicts)

    async def SignRelease(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SignReleaseRequest, context: Context
    ) -> supply_guard_pb2.SignReleaseResponse:
        """Sign one batch, or say what stands in the way."""
        del context
        config = self._desk.config
        asked = wire.sign_request_from_wire(request, config.deployment_id)
        answer = await sign_release(self._desk, asked)
        if answer.signature:
            self._metrics.signatures.labels(config.chains[asked.destination].name).inc()
        return supply_guard_pb2.SignReleaseResponse(
            guard_id=config.guard_id,
            signature=answer.signature,
            signer=answer.signer,
            digest=answer.digest,
            refusals=[wire.ruling_to_wire(ruling) for ruling in answer.refusals],
        )

    async def SubmitAttestation(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SubmitAttestationRequest, context: Context
    ) -> supply_guard_pb2.SubmitAttestationResponse:
        """Book custody's statement."""
        del context
        deployment = self._desk.config.deployment_id
        said = wire.attestation_from_wire(request.attestation, deployment)
        others = [
            wire.statement_from_wire(one, ATTESTATION, deployment) for one in request.cosignatures
        ]
        booked = await submit_attestation(self._desk, *said, others)
        return supply_guard_pb2.SubmitAttestationResponse(
            sequence=booked.sequence,
            cap=booked.cap,
            in_force=booked.in_force,
            signatures=booked.signatures,
            needed=booked.needed,
        )

    async def SubmitRejection(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SubmitRejectionRequest, context: Context
    ) -> supply_guard_pb2.SubmitRejectionResponse:
        """Book custody's refusal to pay a redemption."""
        del context
        config = self._desk.config
        rejected = wire.rejection_from_wire(request.rejection, config.deployment_id)
        await submit_rejection(self._desk, *rejected)
        return supply_guard_pb2.SubmitRejectionResponse(guard_id=config.guard_id)

    async def ListRedemptions(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.ListRedemptionsRequest, context: Context
    ) -> supply_guard_pb2.ListRedemptionsResponse:
        """Redemptions that wait for custody, a page at a time."""
        del context
        size = min(request.page_size or PARKED_PAGE_USUAL, PARKED_PAGE_MAX)
        after = _page_token(request.page_token)
        async with self._desk.store.read() as books:
            burns = await books.open_redemptions(after, size)
        last = burns[-1].transfer_id.hex() if len(burns) == size else ""
        return supply_guard_pb2.ListRedemptionsResponse(
            redemptions=[wire.redemption_to_wire(burn) for burn in burns], next_page_token=last
        )

    async def SignOpening(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SignOpeningRequest, context: Context
    ) -> supply_guard_pb2.SignOpeningResponse:
        """Sign an opening that this guard's own books agree with."""
        del context
        config = self._desk.config
        if self._paper_key is None:
            text = "paper_key_file: not set at this guard; it signs no papers without"
            raise InvalidMessage("KEY_MISSING", text)
        paper = wire.opening_from_wire(request.paper, config.deployment_id)
        await check_opening(self._desk, paper)
        message = papers_pb2.Opening.FromString(request.paper)
        signed = self._paper_key.sign(OPENING, config.deployment_id, message)
        return supply_guard_pb2.SignOpeningResponse(guard_id=config.guard_id, signature=signed)

    async def SubmitOpening(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SubmitOpeningRequest, context: Context
    ) -> supply_guard_pb2.SubmitOpeningResponse:
        """Book an opening that M guards have signed."""
        del context
        config = self._desk.config
        paper, said = wire.opening_statements(request.signatures, config.deployment_id)
        exposure = await submit_opening(self._desk, paper, said)
        return supply_guard_pb2.SubmitOpeningResponse(guard_id=config.guard_id, exposure=exposure)

    async def SubmitCorporateAction(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.SubmitCorporateActionRequest, context: Context
    ) -> supply_guard_pb2.SubmitCorporateActionResponse:
        """Book the issuer's announcement of a multiplier's change."""
        del context
        return await people_server.submit_corporate_action(self._desk, request)

    async def GetLedger(  # noqa: N802 - gRPC's name
        self, request: supply_guard_pb2.GetLedgerRequest, context: Context
    ) -> supply_guard_pb2.GetLedgerResponse:
        """The books of some assets, or of all."""
        del context
        books = await read_books(self._desk, {AssetId(asset) for asset in request.assets})
        return supply_guard_pb2.GetLedgerResponse(
            guard_id=self._desk.config.guard_id,
            assets=[wire.book_to_wire(book) for book in books.assets],
            signing=books.signing,
            not_signing_reason=books.not_signing_reason,
        )


class OperatorServicer(people_server.PeopleServicer):
    """The guard's part of what operators and the agent may do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Halt(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.HaltRequest, context: Context
    ) -> operator_pb2.HaltResponse:
        """Latch a halt."""
        del context
        asset, chain = _scope(request.scope)
        latched = await halting.halt(
            self._desk,
            asset=asset,
            chain=chain,
            reason=request.reason,
            by=caller_identity(),
            request_id=request.request_id,
        )
        return operator_pb2.HaltResponse(halt=wire.halt_to_wire(latched))

    async def Resume(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ResumeRequest, context: Context
    ) -> operator_pb2.ResumeResponse:
        """Approve the clearing of a halt."""
        del context
        cleared, missing = await halting.resume(
            self._desk, halt_id=request.halt_id, by=caller_identity(), reason=request.reason
        )
        return operator_pb2.ResumeResponse(cleared=cleared, missing=missing)

    async def ListHalts(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ListHaltsRequest, context: Context
    ) -> operator_pb2.ListHaltsResponse:
        """The halts in force."""
        del request, context
        async with self._desk.store.read() as books:
            halts = await books.halts()
        return operator_pb2.ListHaltsResponse(halts=[wire.halt_to_wire(halt) for halt in halts])

    async def ListParked(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ListParkedRequest, context: Context
    ) -> operator_pb2.ListParkedResponse:
        """Claims that wait for a person, a page at a time."""
        del context
        size = min(request.page_size or PARKED_PAGE_USUAL, PARKED_PAGE_MAX)
        after = _page_token(request.page_token)
        async with self._desk.store.read() as books:
            records = await books.parked(after, size)
        transfers = [
            operator_pb2.ParkedTransfer(
                transfer_id=record.ruling.transfer_id,
                message=record.message.pack(),
                reason=record.ruling.reason,
                since_ms=record.at_ms,
            )
            for record in records
        ]
        last = records[-1].ruling.transfer_id.hex() if len(records) == size else ""
        return operator_pb2.ListParkedResponse(transfers=transfers, next_page_token=last)

    async def RetryParked(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.RetryParkedRequest, context: Context
    ) -> operator_pb2.RetryParkedResponse:
        """The relayer's part: a guard judges a parked claim anew whenever it is asked."""
        del request
        text = "ask the relayer: a guard judges a parked claim anew whenever it is claimed"
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)


def _page_token(token: str) -> TransferId | None:
    try:
        return TransferId(bytes.fromhex(token)) if token else None
    except ValueError as error:
        text = "page_token: give what the answer before gave, or nothing"
        raise InvalidMessage("FIELD_INVALID", text) from error


def _scope(scope: operator_pb2.HaltScope) -> tuple[AssetId | None, Domain | None]:
    which = scope.WhichOneof("scope")
    try:
        if which == "asset":
            return parse_asset_id(scope.asset), None
        if which == "chain":
            return None, parse_domain(scope.chain)
    except ValueError as error:
        raise InvalidMessage("FIELD_INVALID", f"scope.{error}") from error
    return None, None
