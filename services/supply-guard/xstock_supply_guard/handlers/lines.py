"""The journal's lines: one fact, posting or decision each, as `verb field=value ...`.

Values hold no space, no line break and no control character (`words` escapes free text as in a
URL), so a line can be read back by splitting at spaces and at the first `=`. docs/journal.md
lists every verb with its fields; the offline verifier reads these lines and nothing else.
"""

from collections.abc import Sequence
from urllib.parse import quote, unquote

from xstock_core.cap import Attestation
from xstock_core.ids import AssetId, Domain
from xstock_core.inventory import InventoryReading
from xstock_core.ledger import Entry
from xstock_core.observation import BlockRef
from xstock_core.release import Action
from xstock_supply_guard.model import (
    ClaimRecord,
    Halt,
    IssueRecord,
    OrderPaper,
    Permit,
    SignedStatement,
)

_PLAIN = "/:,;.()+*'!?_-~"


def words(text: str) -> str:
    """Free text as one value: spaces, `%`, line breaks and what is not ASCII are escaped."""
    return quote(text, safe=_PLAIN)


def line(verb: str, **fields: object) -> str:
    """One line; bytes are hexadecimal, None is left out, text is escaped.

    A field whose name is a word of Python ends with `_` here and not in the line.
    """
    parts = [verb]
    for name, value in fields.items():
        if value is None:
            continue
        text = value.hex() if isinstance(value, bytes) else words(str(value))
        parts.append(f"{name.rstrip('_')}={text}")
    return " ".join(parts)


def entry_line(entry: Entry) -> str:
    """A posted entry in full: enough to recompute its id and every balance."""
    return (
        f"entry id={entry.id.hex()} kind={entry.kind.value} asset={entry.asset.hex()}"
        f" debit={entry.debit.text} credit={entry.credit.text} amount={entry.amount}"
        f" ref={entry.ref.hex()}"
    )


def through_line(block: BlockRef) -> str:
    """How far a chain is booked."""
    return (
        f"through chain={int(block.chain)} number={block.number} hash={block.hash.hex()}"
        f" time={block.time}"
    )


def ruling_line(record: ClaimRecord) -> str:
    """A verdict with what it is about."""
    ruling, message = record.ruling, record.message
    reason = f" reason={ruling.reason}" if ruling.reason else ""
    until = f" until={ruling.until}" if ruling.until else ""
    return (
        f"rule id={ruling.transfer_id.hex()} outcome={ruling.outcome.value}{reason}{until}"
        f" kind={message.kind.name} asset={message.asset.hex()} source={int(message.source)}"
        f" destination={int(message.destination)} amount={message.amount}"
    )


def permit_line(permit: Permit) -> str:
    """A signature that was given, with every item it is good for."""
    return line(
        "permit",
        digest=permit.digest,
        destination=int(permit.destination),
        epoch=permit.epoch,
        deadline=permit.deadline,
        release=_items(permit, Action.RELEASE),
        cancel=_items(permit, Action.CANCEL),
        signer=permit.signer,
        signature=permit.signature,
    )


def _items(permit: Permit, action: Action) -> str | None:
    found = [item.transfer_id.hex() for item in permit.items if item.action is action]
    return ",".join(found) or None


def attestation_line(
    attestation: Attestation, margin_bps: int, statements: Sequence[SignedStatement]
) -> str:
    """Custody's statement, the cap that follows and the papers that prove it."""
    return line(
        "attest",
        asset=attestation.asset,
        sequence=attestation.sequence,
        held=attestation.held_units,
        decimals=attestation.held_decimals,
        multiplier=attestation.multiplier,
        epoch=attestation.multiplier_epoch,
        as_of=attestation.as_of,
        margin=margin_bps,
        cap=attestation.cap(margin_bps),
        paper=statements[0].paper if statements else None,
        keys=",".join(one.key_id for one in statements) or None,
        signatures=",".join(one.signature.hex() for one in statements) or None,
    )


def inventory_line(asset: AssetId, inventory: Sequence[InventoryReading]) -> str:
    """The issuer inventory that this link's decisions stand on, chain by chain.

    Each part is chain:block:units:decimals:burned since:shares that count.
    """
    parts = [
        f"{int(one.chain)}:{one.number}:{one.units}:{one.decimals}:{one.burned}:{one.shares}"
        for one in inventory
    ]
    shares = sum(one.shares for one in inventory)
    return line("inventory", asset=asset, excluded=shares, chains=",".join(parts))


def order_line(issue: IssueRecord) -> str:
    """Where an issuance order stands now."""
    return line(
        "order",
        asset=issue.asset,
        number=issue.number,
        state=issue.state.value,
        expiry=issue.expiry or None,
        id=issue.transfer_id,
    )


def over_cap_line(asset: AssetId, exposure: int) -> str:
    """An asset's exposure was carried above its cap: its releases wait."""
    return line("over-cap", asset=asset, exposure=exposure)


def halt_line(halt: Halt) -> str:
    """A latched halt and what it covers; neither asset nor chain: everything."""
    chain: Domain | None = halt.chain
    return line(
        "halt",
        id=halt.id,
        by=halt.by,
        asset=halt.asset,
        chain=None if chain is None else int(chain),
        reason=halt.reason,
    )


def order_paper_line(order: OrderPaper) -> str:
    """An issuer's order that was granted, with the paper that proves it."""
    return line(
        "order-paper",
        asset=order.asset,
        number=order.order_number,
        paper=order.statement.paper,
        keys=order.statement.key_id,
        signatures=order.statement.signature,
    )


def read_line(text: str) -> tuple[str, dict[str, str]]:
    """A line's verb and fields; raises ValueError for what is no line."""
    verb, *parts = text.split(" ")
    fields = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{text[:80]!r} is no line of a journal")
        fields[name] = unquote(value)
    return verb, fields
