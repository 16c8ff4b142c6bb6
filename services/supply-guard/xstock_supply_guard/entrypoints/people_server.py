"""What people may ask a guard besides halts: pauses, proposals, announcements; and who may not.

Decode, call the handler, encode. `DenialWatch` hears every call that was refused for who made it.
"""

from collections.abc import Mapping
from typing import Any

import grpc

from xstock_core.ids import Domain, parse_asset_id, parse_domain
from xstock_core.review import Scope
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.grpc_server import caller_identity, caller_roles
from xstock_runtime.logging import get_logger
from xstock_supply_guard import wire_people as wire
from xstock_supply_guard.handlers import pausing, proposals, standing
from xstock_supply_guard.handlers.alarms import settle_alarms
from xstock_supply_guard.handlers.denials import Denials, tell_denials
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.proposals import Person
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.model import Proposal
from xstock_wire.v1 import operator_pb2, operator_pb2_grpc, supply_guard_pb2

_log = get_logger("people")
_GUARD = "/xstock_wire.v1.SupplyGuardService/"
_OPERATOR = "/xstock_wire.v1.OperatorService/"
_LOOKERS = frozenset({"operator", "approver", "agent", "auditor"})
METHODS: Mapping[str, frozenset[str]] = {
    f"{_GUARD}SubmitCorporateAction": frozenset({"issuer", "operator"}),
    f"{_OPERATOR}Pause": frozenset({"operator", "agent"}),
    f"{_OPERATOR}ListPauses": _LOOKERS | {"gateway"},
    f"{_OPERATOR}Propose": frozenset({"operator", "approver"}),
    f"{_OPERATOR}Approve": frozenset({"approver"}),
    f"{_OPERATOR}ListProposals": _LOOKERS,
    f"{_OPERATOR}ListAlarms": _LOOKERS | {"gateway"},
}
"""Who may call what; a method that is not here is nobody's."""
_IDENTITY_CHARACTERS_MAX = 64
_TELL_SECONDS = 1.0
Context = grpc.aio.ServicerContext[Any, Any]


def person() -> Person:
    """Who makes the call that is being served."""
    return Person(caller_identity(), caller_roles())


class PeopleServicer(operator_pb2_grpc.OperatorServiceServicer):
    """The part of the operator's service that takes pauses and proposals."""

    _desk: Desk

    async def Pause(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.PauseRequest, context: Context
    ) -> operator_pb2.PauseResponse:
        """Stop releases of a scope for a while."""
        del context
        begun = await pausing.pause(
            self._desk,
            scope=_scope(self._desk, request.scope),
            reason=request.reason,
            until=request.until,
            by=caller_identity(),
            request_id=request.request_id,
        )
        return operator_pb2.PauseResponse(pause=wire.pause_to_wire(begun))

    async def ListPauses(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ListPausesRequest, context: Context
    ) -> operator_pb2.ListPausesResponse:
        """The pauses in force."""
        del request, context
        async with self._desk.store.read() as books:
            found = await books.pauses(self._desk.now)
        return operator_pb2.ListPausesResponse(pauses=[wire.pause_to_wire(one) for one in found])

    async def Propose(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ProposeRequest, context: Context
    ) -> operator_pb2.ProposeResponse:
        """Propose what takes two people."""
        del context
        kind, payload = wire.asked_from_wire(request)
        made = await proposals.propose(
            self._desk,
            person(),
            kind=kind,
            subject=request.subject,
            payload=payload,
            reason=request.reason,
            request_id=request.request_id,
        )
        return operator_pb2.ProposeResponse(proposal=self._shown(made))

    async def Approve(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ApproveRequest, context: Context
    ) -> operator_pb2.ApproveResponse:
        """Say yes to somebody else's proposal."""
        del context
        found = await proposals.approve(
            self._desk, person(), proposal_id=request.proposal_id, reason=request.reason
        )
        return operator_pb2.ApproveResponse(proposal=self._shown(found))

    async def ListProposals(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ListProposalsRequest, context: Context
    ) -> operator_pb2.ListProposalsResponse:
        """Proposals that wait, and those of the last 30 days."""
        del request, context
        since_ms = self._desk.clock.unix_ms() - proposals.LISTED_SECONDS * 1000
        async with self._desk.store.read() as books:
            found = await books.proposals(since_ms, proposals.LISTED_MAX)
        return operator_pb2.ListProposalsResponse(proposals=[self._shown(one) for one in found])

    async def ListAlarms(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.ListAlarmsRequest, context: Context
    ) -> operator_pb2.ListAlarmsResponse:
        """The alarms that stand."""
        del request, context
        async with self._desk.store.read() as books:
            found = await books.alarms()
        return operator_pb2.ListAlarmsResponse(alarms=[wire.alarm_to_wire(one) for one in found])

    def _shown(self, proposal: Proposal) -> operator_pb2.ProposalRecord:
        return wire.proposal_to_wire(proposal, self._desk.clock.unix_ms())


async def submit_corporate_action(
    desk: Desk, request: supply_guard_pb2.SubmitCorporateActionRequest
) -> supply_guard_pb2.SubmitCorporateActionResponse:
    """Book the issuer's announcement; what counts now."""
    action = wire.corporate_action_from_wire(request.announcement, desk.config.deployment_id)
    booked = await standing.submit_corporate_action(desk, action)
    opens, closes = standing.window_of(booked)
    return supply_guard_pb2.SubmitCorporateActionResponse(
        version=booked.version, opens=opens, closes=closes
    )


def _scope(desk: Desk, scope: operator_pb2.PauseScope) -> Scope:
    try:
        asset = parse_asset_id(scope.asset) if scope.asset else None
        source = _chain(desk, scope.source)
        destination = _chain(desk, scope.destination)
    except ValueError as error:
        raise InvalidMessage("FIELD_INVALID", f"scope.{error}") from error
    if asset is not None and asset not in desk.config.assets:
        text = f"scope.asset: {asset.hex()} is not registered; give a registered asset's id"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "scope.asset"})
    return Scope(asset, source, destination)


def _chain(desk: Desk, number: int) -> Domain | None:
    if not number:
        return None
    chain = parse_domain(number, "chain")
    if chain is not Domain.CUSTODY and chain not in desk.config.chains:
        raise ValueError(f"chain: {number} is none of this deployment; give one that is")
    return chain


class DenialWatch:
    """Counts denied calls as they happen, tells of those who keep trying, calms what is over."""

    def __init__(self, desk: Desk, metrics: GuardMetrics, clock: Clock) -> None:
        self._desk = desk
        self._metrics = metrics
        self._clock = clock
        self._denials = Denials()

    def note(self, identity: str, method: str) -> None:
        """A call of `identity` to `method` was denied."""
        name = identity[:_IDENTITY_CHARACTERS_MAX]
        self._metrics.denials.labels(name, method).inc()
        self._denials.note(name, method, self._clock.unix_ms())

    async def run(self) -> None:
        """Tell, for ever: one of the service's loops."""
        while True:
            await self.step()
            await self._clock.sleep(_TELL_SECONDS)

    async def step(self) -> tuple[str, ...]:
        """Tell of those who are due, calm what is over; what fails now is done next time."""
        try:
            told = await tell_denials(self._desk, self._denials)
            await settle_alarms(self._desk)
        except Transient as error:
            _log.warning("denials_untold", code=error.code, error=error.message)
            return ()
        for identity in told:
            _log.critical("caller_denied", identity=identity)
        return told
