"""Redemptions: burned towards custody, closed by custody's word, one way or the other.

A redemption is exposure until an attestation in force lists it as paid; then its shares leave the
books in the same transaction. Custody may refuse one instead, and its shares flow back by a REFUND.
PAID and REJECTED exclude each other for ever: the second word is refused, whoever says it. A burn
may be booked after the word about it; the word is kept and applied then.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.ledger import Entry, entry_of_redemption_paid, post_all
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_runtime.errors import InvalidMessage, invalid_field
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import refund_key
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import (
    Alarm,
    Posted,
    RedemptionRecord,
    RedemptionState,
    SignedStatement,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

_invalid = partial(invalid_field, "REDEMPTION_INVALID")

REFUSED = "REDEMPTION_REFUSED"
CONFLICT = "a redemption is either paid or rejected, once and for ever"
_REASON_CHARACTERS_MAX = 500


async def book_paid(
    unit: GuardUnit, asset: AssetId, paid: Sequence[TransferId], digest: bytes, at_ms: int
) -> list[str]:
    """Close these redemptions in the attestation's own transaction; the lines that say so.

    One that was paid before changes nothing. Raises InvalidMessage for one that is no redemption
    of this asset, or that was rejected.
    """
    if not paid:
        return []
    closed = await unit.redemptions(paid)
    burns = await unit.burns(paid)
    refunded = await _refunded(unit, burns.values())
    for one in paid:
        # SECURITY: paid out and minted back would be the same shares twice.
        if closed.get(one) is RedemptionState.REJECTED:
            raise _invalid("paid", one.hex(), f"it was rejected; {CONFLICT}")
        if one in refunded:
            raise _invalid("paid", one.hex(), f"its shares were minted back; {CONFLICT}")
        if one in burns and not _redeems(burns[one], asset):
            raise _invalid("paid", one.hex(), "it is no redemption of this asset")
    fresh = [one for one in dict.fromkeys(paid) if one not in closed]
    records = [RedemptionRecord(one, RedemptionState.PAID, digest, at_ms, asset) for one in fresh]
    if records:
        await unit.add_redemptions(records)
    # Of all, not of the fresh alone: another asset's list may have named one before its burn came.
    entries = [entry_of_redemption_paid(burn.message) for burn in burns.values()]
    await _post(unit, asset, entries)
    return [line("redemption", id=one, state="PAID", asset=asset, digest=digest) for one in fresh]


async def _refunded(unit: GuardReads, burns: Iterable[BurnFinal]) -> set[TransferId]:
    """Redemptions among these whose refund is on their chain, whether or not custody's rejection
    has come here."""
    by_refund = {refund_key(one): one.transfer_id for one in burns}
    executed = await unit.executions(list(by_refund)) if by_refund else {}
    return {by_refund[key] for key in executed}


def _redeems(burn: BurnFinal, asset: AssetId) -> bool:
    return burn.message.kind is Kind.REDEEM and burn.message.asset == asset


async def _post(unit: GuardUnit, asset: AssetId, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    known = await unit.known_entries([entry.id for entry in entries])
    _, fresh = post_all(await unit.balances([asset]), known, entries)
    await unit.post([Posted(entry, None) for entry in fresh], [])


async def paid_before(unit: GuardReads, burns: Sequence[BurnFinal]) -> list[Posted]:
    """What burns of this page close at once, because custody's word came first."""
    redeems = {one.transfer_id: one for one in burns if one.message.kind is Kind.REDEEM}
    if not redeems:
        return []
    closed = await unit.redemption_records(redeems)
    # An attestation speaks of its own asset alone: a list that names another's pays nothing.
    return [
        Posted(entry_of_redemption_paid(burn.message), burn.place.block)
        for key, burn in redeems.items()
        if key in closed and closed[key].asset == burn.message.asset
    ]


async def submit_rejection(
    desk: Desk, transfer_id: TransferId, reason: str, statement: SignedStatement
) -> None:
    """Book custody's refusal to pay; the same again changes nothing.

    Raises InvalidMessage for a key that is not custody's, for what is no redemption, and for one
    that was paid.
    """
    try:
        await _reject(desk, transfer_id, reason, statement)
    except InvalidMessage as refusal:
        text = f"by {statement.key_id[:64]!r}: {refusal.message}"[:500]
        async with desk.store.write() as unit:
            scope = f"transfer/{transfer_id.hex()}"
            await unit.alarm([Alarm(REFUSED, scope, text)], desk.clock.unix_ms())
        raise


async def _reject(
    desk: Desk, transfer_id: TransferId, reason: str, statement: SignedStatement
) -> None:
    # SECURITY: whoever could reject could have redeemed shares minted back after they were paid.
    if not signed_by_custody(desk, statement):
        raise _invalid("signature", statement.key_id, "sign with a custodian's registered key")
    if not 1 <= len(reason.strip()) <= _REASON_CHARACTERS_MAX:
        raise _invalid("reason", reason[:40], f"give 1 to {_REASON_CHARACTERS_MAX} characters")
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        state = (await unit.redemptions([transfer_id])).get(transfer_id)
        if state is RedemptionState.REJECTED:
            return
        # SECURITY: minted back and paid out would be the same shares twice.
        if state is RedemptionState.PAID:
            raise _invalid("transfer_id", transfer_id.hex(), f"it was paid; {CONFLICT}")
        burn = (await unit.burns([transfer_id])).get(transfer_id)
        if burn is not None and burn.message.destination is not Domain.CUSTODY:
            raise _invalid("transfer_id", transfer_id.hex(), "it is no redemption")
        digest = statement.digest
        record = RedemptionRecord(
            transfer_id, RedemptionState.REJECTED, digest, now_ms, reason=reason
        )
        await unit.add_redemptions([record])
        said = _rejection_line(transfer_id, reason, statement)
        await unit.journal([said], now_ms)


def signed_by_custody(desk: Desk, statement: SignedStatement) -> bool:
    """Whether a registered key of custody itself has signed."""
    key = desk.config.attestors.get(statement.key_id)
    if key is None or statement.key_id not in desk.config.custodians:
        return False
    return desk.check_signature(key, statement.digest, statement.signature)


def _rejection_line(transfer_id: TransferId, reason: str, statement: SignedStatement) -> str:
    return line(
        "redemption",
        id=transfer_id,
        state="REJECTED",
        reason=reason,
        digest=statement.digest,
        paper=statement.paper,
        keys=statement.key_id,
        signatures=statement.signature,
    )


async def refunds_of_paid(unit: GuardReads, refunded: Iterable[BurnFinal]) -> set[TransferId]:
    """Redemptions among these refunded burns that custody had paid."""
    redeems = [burn.transfer_id for burn in refunded if burn.message.kind is Kind.REDEEM]
    closed = await unit.redemptions(redeems) if redeems else {}
    return {key for key, state in closed.items() if state is RedemptionState.PAID}
