"""Attestations: custody's word on what it holds, in force once enough attestors have signed it.

K of the registered attestors must sign the very same paper; a signature given by one of them is
kept until the others come. A key signs one paper of a sequence and no other, so two papers of one
sequence never both gather K. Sequence and multiplier epoch only grow and the as-of is not in the
future; an old one may still be booked, but releases then wait. Zero holdings are a valid
statement: the cap is zero and everything waits. Every refusal is named and told as an alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from xstock_core.cap import Attestation
from xstock_core.ids import AssetId, TransferId
from xstock_runtime.errors import InvalidMessage, invalid_field
from xstock_supply_guard.handlers.cover import note_cover
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.inventory import note_names
from xstock_supply_guard.handlers.lines import attestation_line, line
from xstock_supply_guard.handlers.redemptions import book_paid
from xstock_supply_guard.handlers.reserves import feed_voice
from xstock_supply_guard.model import (
    Alarm,
    AttestationRecord,
    PaperSignature,
    SignedStatement,
    asset_scope,
)
from xstock_supply_guard.ports import GuardUnit

_invalid = partial(invalid_field, "ATTESTATION_INVALID")

REFUSED = "ATTESTATION_REFUSED"
DISPUTED = "ATTESTATION_DISPUTED"


@dataclass(frozen=True, slots=True)
class Attested:
    """What became of an attestation; `cap` is what follows from it once it is in force."""

    sequence: int
    cap: int
    in_force: bool = True
    signatures: int = 1
    needed: int = 1


@dataclass(frozen=True, slots=True)
class _Paper:
    """One attestation with the signatures that came with it, all of them valid."""

    attestation: Attestation
    paid: Sequence[TransferId]
    signed: tuple[PaperSignature, ...]

    @property
    def statement(self) -> SignedStatement:
        """The first of the signatures."""
        return self.signed[0].statement


async def submit_attestation(
    desk: Desk,
    attestation: Attestation,
    statement: SignedStatement,
    paid: Sequence[TransferId] = (),
    cosignatures: Sequence[SignedStatement] = (),
) -> Attested:
    """Take custody's statement; the same paper again gives the same answer.

    Raises InvalidMessage naming what cannot be believed.
    """
    try:
        return await _submit(desk, attestation, paid, (statement, *cosignatures))
    except InvalidMessage as refusal:
        await _tell(desk, attestation, statement, refusal)
        raise


async def _submit(
    desk: Desk,
    attestation: Attestation,
    paid: Sequence[TransferId],
    statements: Sequence[SignedStatement],
) -> Attested:
    if attestation.asset not in desk.config.assets:
        raise _invalid("asset", attestation.asset.hex(), "this asset is not registered")
    paper = _Paper(attestation, paid, valid_signatures(desk, attestation, statements))
    if attestation.as_of > desk.now + desk.config.policy.clock_skew_seconds_max:
        raise _invalid("as_of", attestation.as_of, f"it lies in the future (now {desk.now})")
    now_ms = desk.clock.unix_ms()
    lines: list[str] = []
    async with desk.store.write() as unit:
        held = (await unit.attestations([attestation.asset])).get(attestation.asset)
        in_force = held is not None and held.statement.digest == paper.statement.digest
        if held is not None and not in_force:
            _check_succession(held.attestation, attestation)
        voices = await _gather(desk, unit, paper, now_ms, lines)
        enough = len(voices) >= desk.config.policy.attestors_needed
        if enough and not in_force:
            await _put_in_force(desk, unit, paper, voices, now_ms, lines)
        if lines:
            await unit.journal(lines, now_ms)
    return Attested(
        sequence=attestation.sequence,
        cap=attestation.cap(desk.config.policy.margin_bps),
        in_force=enough or in_force,
        signatures=len(voices),
        needed=desk.config.policy.attestors_needed,
    )


def subject_of(attestation: Attestation) -> bytes:
    """What two attestations of one sequence have in common."""
    return attestation.asset + attestation.sequence.to_bytes(8, "big")


def valid_signatures(
    desk: Desk, attestation: Attestation, statements: Sequence[SignedStatement]
) -> tuple[PaperSignature, ...]:
    """The signatures, each by another registered attestor's key over the very same paper."""
    found: list[PaperSignature] = []
    for one in statements:
        if one.digest != statements[0].digest:
            raise _invalid("cosignatures", one.key_id, "every one must sign the very same paper")
        key = desk.config.attestors.get(one.key_id)
        # SECURITY: without this check anybody could lift the cap.
        if key is None or not desk.check_signature(key, one.digest, one.signature):
            raise _invalid("signature", one.key_id, "sign with a registered attestor's key")
        if any(known.public_key == key for known in found):
            raise _invalid("cosignatures", one.key_id, "this key has signed it already")
        found.append(PaperSignature(subject_of(attestation), key, one))
    return tuple(found)


async def _gather(
    desk: Desk, unit: GuardUnit, paper: _Paper, now_ms: int, lines: list[str]
) -> tuple[SignedStatement, ...]:
    """Keep the signatures that are new; all that count for this paper, one per public key."""
    known = await unit.paper_signatures(paper.statement.kind, paper.signed[0].subject)
    digests = {one.statement.key_id: one.statement.digest for one in known}
    fresh = [one for one in paper.signed if one.statement.key_id not in digests]
    for one in paper.signed:
        before = digests.get(one.statement.key_id, one.statement.digest)
        # SECURITY: a key that signed two papers of one sequence could carry both to K.
        if before != one.statement.digest:
            remedy = "this key has signed another paper of this sequence; take the next sequence"
            raise _invalid("sequence", paper.attestation.sequence, remedy)
    # SECURITY: the feed says what is held, never what was paid nor whose stock is unsold: there
    # custody's key would be alone.
    silent = paper.paid or paper.attestation.inventory
    feed = [] if silent else feed_voice(desk, paper.attestation, paper.signed[0])
    taken = digests.keys() | {one.statement.key_id for one in fresh}
    fresh += [one for one in feed if one.statement.key_id not in taken]
    if fresh:
        await unit.add_paper_signatures(fresh)
        lines.extend(_signature_line(paper.attestation, one.statement) for one in fresh)
    if any(digest != paper.statement.digest for digest in digests.values()):
        asset, sequence = paper.attestation.asset, paper.attestation.sequence
        text = f"attestors have signed different papers of sequence {sequence}"
        await unit.alarm([Alarm(DISPUTED, asset_scope(asset), text, str(sequence))], now_ms)
    return counted(desk, [*known, *fresh], paper.statement.digest)


def counted(
    desk: Desk, signatures: Sequence[PaperSignature], digest: bytes
) -> tuple[SignedStatement, ...]:
    """One statement per attestor's public key that has signed this paper and is registered now."""
    # SECURITY: counted by public key, so that one key never makes two voices.
    voices = {
        one.public_key: one.statement
        for one in signatures
        if one.statement.digest == digest
        and desk.config.attestors.get(one.statement.key_id) == one.public_key
    }
    return tuple(sorted(voices.values(), key=lambda one: one.key_id))


async def _put_in_force(
    desk: Desk,
    unit: GuardUnit,
    paper: _Paper,
    voices: tuple[SignedStatement, ...],
    now_ms: int,
    lines: list[str],
) -> None:
    attestation, margin = paper.attestation, desk.config.policy.margin_bps
    digest = paper.statement.digest
    # The feed's voice is over its own words; those stand in its `attest-signature` line.
    signers = [one for one in voices if one.paper == paper.statement.paper]
    lines.append(attestation_line(attestation, margin, signers))
    lines += await book_paid(unit, attestation.asset, paper.paid, digest, now_ms)
    record = AttestationRecord(attestation, paper.statement)
    await unit.add_attestation(record)
    await note_names(unit, desk, {attestation.asset: record}, now_ms)
    await note_cover(desk, unit, [attestation.asset], now_ms, lines)
    await unit.calm(REFUSED, [asset_scope(attestation.asset)])


def _check_succession(held: Attestation, next_one: Attestation) -> None:
    if next_one.sequence <= held.sequence:
        remedy = f"sequence {held.sequence} is in force; give a higher one"
        raise _invalid("sequence", next_one.sequence, remedy)
    if next_one.as_of < held.as_of:
        raise _invalid("as_of", next_one.as_of, f"the one in force is as of {held.as_of}")
    if next_one.multiplier_epoch < held.multiplier_epoch:
        remedy = f"epoch {held.multiplier_epoch} is in force"
        raise _invalid("multiplier_epoch", next_one.multiplier_epoch, remedy)


def _signature_line(attestation: Attestation, statement: SignedStatement) -> str:
    return line(
        "attest-signature",
        asset=attestation.asset,
        sequence=attestation.sequence,
        digest=statement.digest,
        key=statement.key_id,
        signature=statement.signature,
        paper=statement.paper,
    )


async def _tell(
    desk: Desk, attestation: Attestation, statement: SignedStatement, refusal: InvalidMessage
) -> None:
    """A refused statement is told at once and only once, until one of the asset is accepted."""
    asset: AssetId = attestation.asset
    field = str(refusal.metadata.get("field", ""))
    text = f"by {statement.key_id[:64]!r}: {refusal.message}"[:500]
    async with desk.store.write() as unit:
        now_ms = desk.clock.unix_ms()
        await unit.alarm([Alarm(REFUSED, asset_scope(asset), text, field)], now_ms)
