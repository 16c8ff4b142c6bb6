"""Between generated messages and the model: pauses, proposals, announcements, screening lists."""

from dataclasses import dataclass

from xstock_core.ids import Address32, parse_asset_id
from xstock_core.review import Delay
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard import wire
from xstock_supply_guard.handlers.limits import UNLIMITED, limits_text, make_limits, parse_limits
from xstock_supply_guard.handlers.proposals import missing, state_of
from xstock_supply_guard.model import (
    CorporateAction,
    Limits,
    Pause,
    Proposal,
    ProposalKind,
    RaisedAlarm,
    SignedStatement,
)
from xstock_wire.codec import paper_digest
from xstock_wire.papers import CORPORATE_ACTION, SCREENING_LIST
from xstock_wire.v1 import common_pb2, operator_pb2, papers_pb2

SCREENING_REASONS = frozenset({"sanctions", "us-person", "issuer"})
SCREENING_BYTES_MAX = 64 * 1024 * 1024
_PREFIX = "PROPOSAL_KIND_"


def pause_to_wire(pause: Pause) -> operator_pb2.PauseRecord:
    """A pause for the wire."""
    scope = operator_pb2.PauseScope(
        asset=pause.asset or b"", source=pause.source or 0, destination=pause.destination or 0
    )
    return operator_pb2.PauseRecord(
        id=pause.id,
        scope=scope,
        reason=pause.reason,
        by=pause.by,
        at_ms=pause.at_ms,
        until=pause.until,
    )


def asked_from_wire(request: operator_pb2.ProposeRequest) -> tuple[ProposalKind, bytes]:
    """The kind and the payload as the guard keeps it; raises InvalidMessage."""
    if request.kind not in operator_pb2.ProposalKind.values() or not request.kind:
        text = f"kind: {request.kind} is not valid; give one of ProposalKind"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "kind"})
    kind = ProposalKind(operator_pb2.ProposalKind.Name(request.kind).removeprefix(_PREFIX))
    if kind is not ProposalKind.LIMITS:
        return kind, request.payload
    try:
        change = operator_pb2.LimitsChange.FromString(request.payload)
    except Exception as error:
        text = "payload: these bytes are no LimitsChange; serialise one"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "payload"}) from error
    limits = make_limits(
        bucket_shares=change.bucket_shares,
        refill_per_second=change.bucket_refill_shares_per_second,
        delays=[Delay(one.from_shares, one.seconds) for one in change.delays],
        manual_from=change.manual_review_shares,
    )
    return kind, limits_text(limits)


def limits_to_wire(limits: Limits) -> operator_pb2.LimitsChange:
    """Limits for the wire."""
    bucket = limits.bucket
    return operator_pb2.LimitsChange(
        bucket_shares=bucket.capacity if bucket else UNLIMITED,
        bucket_refill_shares_per_second=bucket.refill_per_second if bucket else 0,
        delays=[
            operator_pb2.DelayTier(from_shares=one.from_shares, seconds=one.seconds)
            for one in limits.delays
        ],
        manual_review_shares=limits.manual_from or 0,
    )


def proposal_to_wire(proposal: Proposal, now_ms: int) -> operator_pb2.ProposalRecord:
    """A proposal for the wire."""
    payload = proposal.payload
    if proposal.kind is ProposalKind.LIMITS:
        payload = limits_to_wire(parse_limits(payload)).SerializeToString(deterministic=True)
    return operator_pb2.ProposalRecord(
        id=proposal.id,
        kind=operator_pb2.ProposalKind.Value(f"{_PREFIX}{proposal.kind.value}"),
        subject=proposal.subject,
        payload=payload,
        reason=proposal.reason,
        by=proposal.by,
        at_ms=proposal.at_ms,
        expires_ms=proposal.expires_ms,
        approvals=proposal.approvals,
        executed_ms=proposal.executed_ms or 0,
        state=state_of(proposal, now_ms),
        missing="" if proposal.executed_ms else missing(proposal),
    )


def alarm_to_wire(raised: RaisedAlarm) -> operator_pb2.StandingAlarm:
    """An alarm that stands."""
    alarm = raised.alarm
    return operator_pb2.StandingAlarm(
        code=alarm.code, scope=alarm.scope, detail=alarm.detail, at_ms=raised.at_ms
    )


def corporate_action_from_wire(
    signed: common_pb2.SignedPaper, deployment_id: str
) -> CorporateAction:
    """The issuer's announcement; raises InvalidMessage."""
    statement = wire.statement_from_wire(signed, CORPORATE_ACTION, deployment_id)
    paper = wire.checked(
        "announcement", lambda: wire.parsed(papers_pb2.CorporateAction, statement.paper)
    )
    return CorporateAction(
        asset=wire.checked("asset", lambda: parse_asset_id(paper.asset)),
        event_id=paper.event_id,
        version=paper.version,
        activates_at=paper.activates_at,
        multiplier=wire.checked("multiplier", lambda: wire.decimal(paper.multiplier)),
        cancelled=paper.cancelled,
        statement=statement,
    )


@dataclass(frozen=True, slots=True)
class ScreeningPaper:
    """A screening list as it was signed; not yet believed."""

    sequence: int
    as_of: int
    expires: int
    accounts: dict[Address32, str]
    statement: SignedStatement


def screening_list_from_bytes(raw: bytes, deployment_id: str) -> ScreeningPaper:
    """The signed list in a file's bytes; raises InvalidMessage for what is none."""
    if len(raw) > SCREENING_BYTES_MAX:
        raise InvalidMessage("FIELD_INVALID", f"screening list: {len(raw)} bytes are too many")
    try:
        signed = common_pb2.SignedPaper.FromString(raw)
        paper = papers_pb2.ScreeningList.FromString(signed.paper)
    except Exception as error:
        text = "screening list: these bytes are no signed list; sign one: xstock screening-list"
        raise InvalidMessage("FIELD_INVALID", text) from error
    if signed.kind != SCREENING_LIST:
        text = f"kind: {signed.kind[:40]!r} is not valid; give {SCREENING_LIST!r}"
        raise InvalidMessage("FIELD_INVALID", text)
    accounts: dict[Address32, str] = {}
    for one in paper.accounts:
        if len(one.account) != 32 or one.reason not in SCREENING_REASONS:
            text = f"accounts: {one.account.hex()} {one.reason[:20]!r} is not valid; give 32 bytes"
            raise InvalidMessage("FIELD_INVALID", f"{text} and one of {sorted(SCREENING_REASONS)}")
        accounts[Address32(one.account)] = one.reason
    digest = paper_digest(SCREENING_LIST, deployment_id, signed.paper)
    statement = SignedStatement(
        SCREENING_LIST, signed.paper, digest, signed.key_id, signed.signature
    )
    return ScreeningPaper(paper.sequence, paper.as_of, paper.expires, accounts, statement)
