"""Proposals: what one person may not do alone. Proposed, approved by another, executed once.

Every kind takes two different people; all but CANCEL take two approvers, the proposer counting as
one if an approver. A proposal's subject is checked when it is made and again when it is executed;
it expires after a day. Who, what and why are in the journal with every step. Carrying an approved
cancel, refund or rotation out on chain is others' work: they ask the books what was approved.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from xstock_core.ids import Address32, AssetId, TransferId, orphan_refund_nonce
from xstock_core.ledger import entry_of_orphan_write_off
from xstock_core.observation import OrphanBurn
from xstock_core.refusal import Reason
from xstock_core.release import ExecutionKey
from xstock_runtime.errors import invalid_field
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.halting import check_words
from xstock_supply_guard.handlers.limits import parse_limits, refit
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.handlers.pausing import PAUSED, scope_of, scope_text
from xstock_supply_guard.handlers.post import supply_steps
from xstock_supply_guard.model import (
    EVERYTHING_SCOPE,
    Alarm,
    Outcome,
    Posted,
    Proposal,
    ProposalKind,
    Ruling,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

_refused = partial(invalid_field, "PROPOSAL_REFUSED")

APPROVER = "approver"
PROPOSED = "PROPOSED"
"""The alarm of a proposal that waits."""
PROPOSAL_SECONDS = 86_400
LISTED_SECONDS = 30 * 86_400
LISTED_MAX = 1_000
_PEOPLE_MIN = 2
_REVIEWED = (Reason.SCREENED.value, Reason.MANUAL_REVIEW.value)
_SUBJECT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, with the roles that the certificate's name has here."""

    identity: str
    roles: frozenset[str]


def approvers_needed(kind: ProposalKind) -> int:
    """How many approvers a kind takes; people are at least two for every kind."""
    return 1 if kind is ProposalKind.CANCEL else 2


def missing(proposal: Proposal) -> str:
    """What a proposal still needs, in words; empty when it may be executed."""
    wanted = approvers_needed(proposal.kind) - len(set(proposal.approvals))
    if wanted > 0:
        return f"{wanted} more approver must agree"
    if len({proposal.by, *proposal.approvals}) < _PEOPLE_MIN:
        return "another person must agree"
    return ""


def state_of(proposal: Proposal, now_ms: int) -> str:
    """OPEN, EXECUTED or EXPIRED."""
    if proposal.executed_ms is not None:
        return "EXECUTED"
    return "EXPIRED" if proposal.expired(now_ms) else "OPEN"


async def propose(
    desk: Desk,
    person: Person,
    *,
    kind: ProposalKind,
    subject: bytes,
    payload: bytes = b"",
    reason: str,
    request_id: str,
) -> Proposal:
    """Keep a proposal; the same request again is the same proposal.

    Raises InvalidMessage for a subject that cannot be decided about, or a request id that was
    used for something else.
    """
    check_words("reason", reason)
    check_words("request_id", request_id)
    proposal_id = sha256(f"proposal|{person.identity}|{request_id}".encode()).hexdigest()[:32]
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        known = await unit.proposal(proposal_id)
        if known is not None:
            same = (known.kind, known.subject) == (kind, subject)
            # SECURITY: whoever asks for one figure must not be shown a proposal of another.
            if not same or payload not in (b"", known.payload):
                raise _refused("request_id", request_id, "it was used for something else")
            return known
        # SECURITY: only what can be decided about now; a blank approval would fit anything later.
        payload = await _CHECKS[kind](desk, unit, subject, payload)
        made = Proposal(
            id=proposal_id,
            kind=kind,
            subject=subject,
            payload=payload,
            reason=reason,
            by=person.identity,
            at_ms=now_ms,
            expires_ms=now_ms + PROPOSAL_SECONDS * 1000,
        )
        await unit.add_proposal(made)
        lines = [_proposed_line(made)]
        if APPROVER in person.roles:
            made = await _agree(unit, made, person, reason, now_ms, lines)
        await unit.journal(lines, now_ms)
        detail = f"{person.identity} proposes {kind.value}: {reason}"
        await unit.alarm([Alarm(PROPOSED, EVERYTHING_SCOPE, detail, proposal_id)], now_ms)
    return made


async def approve(desk: Desk, person: Person, *, proposal_id: str, reason: str) -> Proposal:
    """Say yes to somebody else's proposal, and execute it if that was the last yes it needed.

    Raises InvalidMessage for one's own, an unknown or an expired proposal, and for a subject that
    cannot be decided about any more. One that was executed is answered as it is.
    """
    check_words("reason", reason)
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        found = await unit.proposal(proposal_id)
        if found is None:
            raise _refused("proposal_id", proposal_id, "ListProposals shows those that are known")
        if found.executed_ms is not None:
            return found
        _check_yes(found, person, now_ms)
        lines: list[str] = []
        found = await _agree(unit, found, person, reason, now_ms, lines)
        if not missing(found):
            await _CHECKS[found.kind](desk, unit, found.subject, found.payload)
            await unit.execute_proposal(found.id, now_ms)
            lines.append(line("execute", id=found.id, kind=found.kind.value, subject=found.subject))
            found = replace(found, executed_ms=now_ms)
            execute = _EXECUTES.get(found.kind)
            if execute is not None:
                await execute(desk, unit, found, now_ms)
            await unit.calm(PROPOSED, [EVERYTHING_SCOPE], found.id)
        await unit.journal(lines, now_ms)
    return found


def _check_yes(found: Proposal, person: Person, now_ms: int) -> None:
    # SECURITY: without this check one person would be two (F92).
    if person.identity == found.by or person.identity in found.approvals:
        raise _refused("proposal_id", found.id, f"{person.identity} had a say; ask somebody else")
    if APPROVER not in person.roles:
        raise _refused("proposal_id", found.id, f"{person.identity} is no approver")
    if found.expired(now_ms):
        raise _refused("proposal_id", found.id, f"it expired at {found.expires_ms // 1000}")


async def _agree(
    unit: GuardUnit,
    proposal: Proposal,
    person: Person,
    reason: str,
    now_ms: int,
    lines: list[str],
) -> Proposal:
    await unit.approve_proposal(proposal.id, person.identity, reason, now_ms)
    lines.append(line("agree", id=proposal.id, by=person.identity, reason=reason))
    return replace(proposal, approvals=(*proposal.approvals, person.identity))


def _proposed_line(made: Proposal) -> str:
    return line(
        "propose",
        id=made.id,
        kind=made.kind.value,
        subject=made.subject,
        payload=made.payload,
        by=made.by,
        until=made.expires_ms // 1000,
        reason=made.reason,
    )


# what may be decided about: each check returns the payload to keep


async def _check_resume(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk, unit, subject, payload
    remedy = "a halt is ended with Resume, which asks for green books"
    raise _refused("kind", ProposalKind.RESUME.value, remedy)


async def _check_limits(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del unit
    if subject and AssetId(subject) not in desk.config.assets:
        raise _refused("subject", subject.hex(), "give a registered asset's id, or nothing for all")
    parse_limits(payload)
    return payload


async def _check_release(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk
    record = (await unit.claims(_ids(subject))).get(TransferId(subject))
    parked = record is not None and record.ruling.outcome is Outcome.PARKED
    if record is None or not parked or record.ruling.reason not in _REVIEWED:
        remedy = f"give a transfer that is parked here as {' or '.join(_REVIEWED)}"
        raise _refused("subject", subject.hex(), remedy)
    now = _about(record.ruling)
    if payload and payload != now:
        # SECURITY: who agreed to the size has not agreed to a recipient that was listed since,
        # nor who agreed to the recipient to a sender.
        raise _refused(
            "subject", subject.hex(), f"it is parked as {now.decode()} now; propose anew"
        )
    return now


def _ids(subject: bytes) -> list[TransferId]:
    """The identifier that a subject is; what has another size names nothing that is booked."""
    return [TransferId(subject)] if len(subject) == _SUBJECT_BYTES else []


def _about(ruling: Ruling) -> bytes:
    """What a RELEASE lets through: the reason and, for SCREENED, every address that is listed."""
    parties = ruling.detail.get("parties", "") if ruling.reason == Reason.SCREENED.value else ""
    return " ".join([ruling.reason, *parties.split(",")] if parties else [ruling.reason]).encode()


async def _check_transfer(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk
    ids = _ids(subject)
    if not await unit.known_burns(ids) and not await unit.claims(ids):
        raise _refused("subject", subject.hex(), "give the id of a transfer this guard has booked")
    return payload


async def _check_redirect(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk, unit, subject, payload
    # Two people must not agree on what nobody carries out (docs/refunds.md says what it needs).
    remedy = "no guard carries it out; have the parked refund retried once its chain takes it"
    raise _refused("kind", ProposalKind.REDIRECT.value, remedy)


async def _check_orphan(unit: GuardReads, subject: bytes, other: ProposalKind) -> OrphanBurn:
    orphan = (await unit.orphans(_ids(subject))).get(subject)
    if orphan is None:
        raise _refused("subject", subject.hex(), "give the nonce of an orphan burn booked here")
    # SECURITY: refunded and written off, its shares would exist and be no exposure.
    if await unit.approved(other, [subject]):
        raise _refused("subject", subject.hex(), f"its {other.value} was approved before")
    chain = orphan.place.block.chain
    refunded = ExecutionKey(chain, chain, orphan_refund_nonce(orphan.nonce, keccak256))
    if await unit.executions([refunded]):
        raise _refused("subject", subject.hex(), "it was refunded on its chain")
    return orphan


async def _check_refund_orphan(
    desk: Desk, unit: GuardReads, subject: bytes, payload: bytes
) -> bytes:
    del desk
    orphan = await _check_orphan(unit, subject, ProposalKind.WRITE_OFF)
    # SECURITY: what the issuer's permanent delegate took away must never be minted back.
    if not orphan.by_owner:
        remedy = "a delegate burned it, not its owner; it may be written off, never refunded"
        raise _refused("subject", subject.hex(), remedy)
    return payload


async def _check_write_off(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk
    await _check_orphan(unit, subject, ProposalKind.ORPHAN_REFUND)
    return payload


async def _check_lift(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    if subject.decode("ascii", "replace") not in {one.id for one in await unit.pauses(desk.now)}:
        raise _refused("subject", subject.hex(), "give the id of a pause in force; see ListPauses")
    return payload


async def _check_digest(desk: Desk, unit: GuardReads, subject: bytes, payload: bytes) -> bytes:
    del desk, unit
    if len(subject) != _SUBJECT_BYTES or not any(subject):
        raise _refused("subject", subject.hex(), "give the rotation's digest, 32 bytes")
    return payload


Check = Callable[[Desk, GuardReads, bytes, bytes], Awaitable[bytes]]
_CHECKS: Mapping[ProposalKind, Check] = {
    ProposalKind.RESUME: _check_resume,
    ProposalKind.LIMITS: _check_limits,
    ProposalKind.RELEASE: _check_release,
    ProposalKind.CANCEL: _check_transfer,
    ProposalKind.REFUND: _check_transfer,
    ProposalKind.ORPHAN_REFUND: _check_refund_orphan,
    ProposalKind.WRITE_OFF: _check_write_off,
    ProposalKind.LIFT_PAUSE: _check_lift,
    ProposalKind.ROTATION: _check_digest,
    ProposalKind.REDIRECT: _check_redirect,
}


# what happens at once; the other kinds are carried out by those who ask what was approved


async def _set_limits(desk: Desk, unit: GuardUnit, proposal: Proposal, now_ms: int) -> None:
    asset = AssetId(proposal.subject) if proposal.subject else None
    await unit.save_limits(asset, parse_limits(proposal.payload), now_ms)
    await refit(desk, unit, asset)


async def _write_off(desk: Desk, unit: GuardUnit, proposal: Proposal, now_ms: int) -> None:
    del desk, now_ms
    orphan = (await unit.orphans([proposal.subject]))[proposal.subject]
    posted = Posted(entry_of_orphan_write_off(orphan), None)
    if not await unit.known_entries([posted.entry.id]):
        before = await unit.balances([orphan.asset])
        await unit.post([posted], supply_steps(before, [posted]))


async def _lift(desk: Desk, unit: GuardUnit, proposal: Proposal, now_ms: int) -> None:
    del desk
    pause_id = proposal.subject.decode("ascii")
    pause = await unit.pause(pause_id)
    await unit.lift_pause(pause_id, now_ms)
    if pause is not None:
        await unit.calm(PAUSED, [scope_text(scope_of(pause))], pause_id)


Execute = Callable[[Desk, GuardUnit, Proposal, int], Awaitable[None]]
_EXECUTES: Mapping[ProposalKind, Execute] = {
    ProposalKind.LIMITS: _set_limits,
    ProposalKind.WRITE_OFF: _write_off,
    ProposalKind.LIFT_PAUSE: _lift,
}


async def reviewed(
    unit: GuardReads, ids: set[TransferId]
) -> tuple[frozenset[TransferId], Mapping[TransferId, frozenset[Address32]]]:
    """(let through MANUAL_REVIEW, let through SCREENED with whom that was about) among these."""
    manual: set[TransferId] = set()
    cleared: dict[TransferId, frozenset[Address32]] = {}
    for one in await unit.decisions(ProposalKind.RELEASE, ids) if ids else ():
        key = TransferId(one.subject)
        reason, *parties = one.payload.decode().split(" ")
        if reason == Reason.MANUAL_REVIEW.value:
            manual.add(key)
        else:
            known = cleared.get(key, frozenset())
            cleared[key] = known.union(Address32(bytes.fromhex(party)) for party in parties)
    return frozenset(manual), cleared
