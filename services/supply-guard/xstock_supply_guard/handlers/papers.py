"""Signed papers: custody's attestations and the issuer's orders, believed only by their keys.

A paper is bound to its kind and to this deployment by its digest. An attestation's sequence and
multiplier epoch only grow, its as-of is not in the future; an old one may still be booked, but
releases then wait. Zero holdings are a valid statement: the cap is zero and everything waits.
"""

from dataclasses import dataclass

from xstock_core.cap import Attestation
from xstock_core.ids import AssetId, InvalidId, custody_bridge, issue_nonce
from xstock_core.ledger import exposure
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import attestation_line, over_cap_line
from xstock_supply_guard.model import AttestationRecord, OrderPaper, SignedStatement, VoidPaper


@dataclass(frozen=True, slots=True)
class Attested:
    """The attestation that is in force after a submission, and the cap that follows."""

    sequence: int
    cap: int


def _invalid(field: str, value: object, remedy: str) -> InvalidMessage:
    return InvalidMessage(
        "ATTESTATION_INVALID",
        f"{field}: {value!r} is not valid; {remedy}",
        {"field": field, "value": value},
    )


async def submit_attestation(
    desk: Desk, attestation: Attestation, statement: SignedStatement
) -> Attested:
    """Book custody's statement. Raises InvalidMessage naming what cannot be believed."""
    if attestation.asset not in desk.config.assets:
        raise _invalid("asset", attestation.asset.hex(), "this asset is not registered")
    # SECURITY: without this check anybody could lift the cap.
    key = desk.config.attestors.get(statement.key_id)
    if key is None or not desk.check_signature(key, statement.digest, statement.signature):
        raise _invalid("signature", statement.key_id, "sign with a registered attestor's key")
    if attestation.as_of > desk.now + desk.config.policy.clock_skew_seconds_max:
        raise _invalid("as_of", attestation.as_of, f"it lies in the future (now {desk.now})")
    margin = desk.config.policy.margin_bps
    async with desk.store.write() as unit:
        held = (await unit.attestations([attestation.asset])).get(attestation.asset)
        if held is None or held.attestation != attestation:
            if held is not None:
                _check_succession(held.attestation, attestation)
            await unit.add_attestation(AttestationRecord(attestation, statement))
            now_ms = desk.clock.unix_ms()
            asset = attestation.asset
            lines = [attestation_line(attestation, margin, [statement])]
            used = exposure(await unit.balances([asset]), asset)
            if used > attestation.cap(margin):
                lines.append(over_cap_line(asset, used))
            await unit.journal(lines, now_ms)
    return Attested(attestation.sequence, attestation.cap(margin))


def _check_succession(held: Attestation, next_one: Attestation) -> None:
    if next_one.sequence <= held.sequence:
        remedy = f"sequence {held.sequence} is in force; give a higher one"
        raise _invalid("sequence", next_one.sequence, remedy)
    if next_one.as_of < held.as_of:
        raise _invalid("as_of", next_one.as_of, f"the one in force is as of {held.as_of}")
    if next_one.multiplier_epoch < held.multiplier_epoch:
        remedy = f"epoch {held.multiplier_epoch} is in force"
        raise _invalid("multiplier_epoch", next_one.multiplier_epoch, remedy)


def issuer_address(public_key: bytes) -> bytes:
    """The refund address of the issuances that this key orders."""
    return keccak256(public_key)


def order_message(desk: Desk, order: OrderPaper) -> TransferMessage | None:
    """The ISSUE message that this order means; None for an unregistered key or a bad field."""
    key = desk.config.issuers.get(order.statement.key_id)
    if key is None:
        return None
    try:
        return make_message(
            kind=Kind.ISSUE,
            source=100,
            destination=order.destination,
            nonce=issue_nonce(order.asset, order.order_number, keccak256),
            source_bridge=custody_bridge(keccak256),
            asset=order.asset,
            refund_address=issuer_address(key),
            recipient=order.recipient,
            amount=order.amount,
        )
    except (InvalidId, ValueError):
        return None


def signed_by_issuer(desk: Desk, statement: SignedStatement) -> bool:
    """SECURITY: whether a registered issuer signed; without it anybody could issue."""
    key = desk.config.issuers.get(statement.key_id)
    return key is not None and desk.check_signature(key, statement.digest, statement.signature)


def void_covers(desk: Desk, void: VoidPaper, asset: AssetId, number: int) -> bool:
    """Whether this paper is the issuer's withdrawal of that order."""
    same = (void.asset, void.order_number) == (asset, number)
    return same and signed_by_issuer(desk, void.statement)
