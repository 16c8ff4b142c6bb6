"""Rows of the guard's tables as values of its model, and back as columns of whole pages."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from xstock_chains.ports import AssetSupply, Cursor
from xstock_core.amount import Shares
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, Nonce, TransferId
from xstock_core.message import TransferMessage, parse_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    Place,
    ReleaseFinal,
    TxRef,
)
from xstock_core.release import Action, ExecutionKey
from xstock_runtime.remembered import Remembered
from xstock_supply_guard.handlers.findings import refund_key
from xstock_supply_guard.model import (
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    Executed,
    Halt,
    IssueRecord,
    OrderState,
    Outcome,
    Permit,
    PermitItem,
    Posted,
    Ruling,
    Scan,
    SignedStatement,
)
from xstock_wire.papers import ATTESTATION

Columns = Mapping[str, tuple[str, Sequence[Any]]]
DOMAINS = {int(domain): domain for domain in Domain}
_ITEM_BYTES = 33
_OWNER_BYTES = 36
_ADDRESS_BYTES = 32
MESSAGES_REMEMBERED = 8_192
_messages: Remembered[bytes, TransferMessage] = Remembered(MESSAGES_REMEMBERED)


def packed(message: TransferMessage) -> bytes:
    """The bytes to store, remembered: a transfer is looked up several times on its short way."""
    raw = message.pack()
    _messages[raw] = message
    return raw


def parsed(raw: bytes) -> TransferMessage:
    """The message in stored bytes."""
    message = _messages.get(raw)
    if message is None:
        _messages[raw] = message = parse_message(raw)
    return message


def key_columns(keys: Collection[ExecutionKey]) -> dict[str, list[Any]]:
    """Parallel arrays of keys, for a join with unnest."""
    ordered = list(keys)
    return {
        "destinations": [int(key.destination) for key in ordered],
        "sources": [int(key.source) for key in ordered],
        "nonces": [bytes(key.nonce) for key in ordered],
    }


def block(chain: Domain, number: int | None, digest: bytes | None, time: int | None) -> Any:
    """A block reference, None if there is none."""
    if number is None or digest is None or time is None:
        return None
    return BlockRef(chain, number, bytes(digest), time)


def scan_of(row: Any) -> Scan:
    """A scan."""
    chain = DOMAINS[row.chain]
    return Scan(
        chain=chain,
        cursor=Cursor(chain, row.cursor),
        through=block(chain, row.through_number, row.through_hash, row.through_time),
        head=block(chain, row.head_number, row.head_hash, row.head_time),
        dissent_since_ms=row.dissent_since_ms,
    )


def scan_parameters(scan: Scan) -> dict[str, Any]:
    """A scan's columns."""
    through, head = scan.through, scan.head
    return {
        "chain": int(scan.chain),
        "cursor": scan.cursor.text,
        "through_number": through.number if through else None,
        "through_hash": through.hash if through else None,
        "through_time": through.time if through else None,
        "head_number": head.number if head else None,
        "head_hash": head.hash if head else None,
        "head_time": head.time if head else None,
        "dissent_since_ms": scan.dissent_since_ms,
    }


def burn_columns(burns: Sequence[BurnFinal]) -> Columns:
    """A page of burns."""
    places = [burn.place for burn in burns]
    return {
        "transfer_id": ("bytea", [burn.transfer_id for burn in burns]),
        "message": ("bytea", [packed(burn.message) for burn in burns]),
        "source": ("integer", [int(burn.message.source) for burn in burns]),
        "destination": ("integer", [int(burn.message.destination) for burn in burns]),
        "nonce": ("bytea", [burn.message.nonce for burn in burns]),
        "refund_nonce": ("bytea", [refund_key(burn).nonce for burn in burns]),
        "sender": ("bytea", [burn.sender for burn in burns]),
        "counter": ("numeric", [burn.counter for burn in burns]),
        **_place_columns(places),
    }


def _place_columns(places: Sequence[Place]) -> dict[str, tuple[str, Sequence[Any]]]:
    return {
        "block_number": ("bigint", [place.block.number for place in places]),
        "block_hash": ("bytea", [place.block.hash for place in places]),
        "block_time": ("bigint", [place.block.time for place in places]),
        "tx": ("bytea", [place.tx.id for place in places]),
        "place": ("integer", [place.index for place in places]),
    }


_block = lru_cache(maxsize=1_024)(BlockRef)
"""A block is the same for everything in it."""


def _place(chain: Domain, row: Any) -> Place:
    ref = _block(chain, row.block_number, bytes(row.block_hash), row.block_time)
    return Place(ref, TxRef(chain, bytes(row.tx)), row.place)


def burn_of(row: Any) -> BurnFinal:
    """A burn; its message was checked when it was booked."""
    message = parsed(bytes(row.message))
    return BurnFinal(
        message=message,
        transfer_id=TransferId(bytes(row.transfer_id)),
        sender=Address32(bytes(row.sender)),
        counter=int(row.counter),
        place=_place(message.source, row),
    )


def execution_columns(executions: Sequence[Executed]) -> Columns:
    """A page of executions."""
    facts = [one.fact for one in executions]
    amounts = [fact.amount if isinstance(fact, ReleaseFinal) else 0 for fact in facts]
    recipients = [fact.recipient if isinstance(fact, ReleaseFinal) else b"" for fact in facts]
    return {
        "nonce": ("bytea", [fact.nonce for fact in facts]),
        "source": ("integer", [int(fact.source) for fact in facts]),
        "destination": ("integer", [int(fact.destination) for fact in facts]),
        "released": ("boolean", [isinstance(fact, ReleaseFinal) for fact in facts]),
        "asset": ("bytea", [fact.asset for fact in facts]),
        "recipient": ("bytea", recipients),
        "amount": ("numeric", amounts),
        **_place_columns([fact.place for fact in facts]),
        "recorded_ms": ("bigint", [one.recorded_ms for one in executions]),
        "matched": ("boolean", [one.matched for one in executions]),
    }


def executed_of(row: Any) -> Executed:
    """An execution."""
    destination, source = DOMAINS[row.destination], DOMAINS[row.source]
    nonce, asset = Nonce(bytes(row.nonce)), AssetId(bytes(row.asset))
    place = _place(destination, row)
    fact: ReleaseFinal | CancelFinal
    if row.released:
        recipient, amount = Address32(bytes(row.recipient)), Shares(int(row.amount))
        fact = ReleaseFinal(destination, source, nonce, asset, recipient, amount, place)
    else:
        fact = CancelFinal(destination, source, nonce, asset, place)
    return Executed(fact, row.recorded_ms, row.matched)


def entry_columns(posted: Sequence[Posted]) -> Columns:
    """A page of entries."""
    entries = [one.entry for one in posted]
    return {
        "id": ("bytea", [entry.id for entry in entries]),
        "asset": ("bytea", [entry.asset for entry in entries]),
        "debit": ("text", [entry.debit.text for entry in entries]),
        "credit": ("text", [entry.credit.text for entry in entries]),
        "amount": ("numeric", [entry.amount for entry in entries]),
        "kind": ("text", [entry.kind.value for entry in entries]),
        "ref": ("bytea", [entry.ref for entry in entries]),
        "chain": ("integer", [int(one.at.chain) if one.at else None for one in posted]),
        "block_number": ("bigint", [one.at.number if one.at else None for one in posted]),
    }


def claim_columns(claims: Sequence[ClaimRecord]) -> Columns:
    """A page of claims."""
    rulings = [one.ruling for one in claims]
    return {
        "transfer_id": ("bytea", [ruling.transfer_id for ruling in rulings]),
        "message": ("bytea", [packed(one.message) for one in claims]),
        "outcome": ("text", [ruling.outcome.value for ruling in rulings]),
        "reason": ("text", [ruling.reason for ruling in rulings]),
        "until": ("bigint", [ruling.until for ruling in rulings]),
        "detail": ("text", [_detail_text(ruling.detail) for ruling in rulings]),
        "sequence": ("bigint", [ruling.sequence for ruling in rulings]),
        "at_ms": ("bigint", [one.at_ms for one in claims]),
        "expiry": ("bigint", [one.expiry for one in claims]),
    }


def _detail_text(detail: Mapping[str, str]) -> str:
    return json.dumps(dict(detail)) if detail else ""


def claim_of(row: Any) -> ClaimRecord:
    """A claim with its ruling."""
    ruling = Ruling(
        transfer_id=TransferId(bytes(row.transfer_id)),
        outcome=Outcome(row.outcome),
        reason=row.reason,
        until=row.until,
        detail=json.loads(row.detail) if row.detail else {},
        sequence=row.sequence,
    )
    return ClaimRecord(parsed(bytes(row.message)), ruling, row.at_ms, row.expiry)


def issue_columns(issues: Sequence[IssueRecord]) -> Columns:
    """A page of orders."""
    return {
        "asset": ("bytea", [one.asset for one in issues]),
        "number": ("numeric", [one.number for one in issues]),
        "transfer_id": ("bytea", [one.transfer_id for one in issues]),
        "state": ("text", [one.state.value for one in issues]),
        "expiry": ("bigint", [one.expiry for one in issues]),
        "message": ("bytea", [packed(one.message) if one.message else None for one in issues]),
        "destination": ("integer", [int(one.destination) for one in issues]),
    }


def issue_of(row: Any) -> IssueRecord:
    """An order."""
    return IssueRecord(
        asset=AssetId(bytes(row.asset)),
        number=int(row.number),
        transfer_id=TransferId(bytes(row.transfer_id)) if row.transfer_id else None,
        state=OrderState(row.state),
        expiry=row.expiry,
        message=parsed(bytes(row.message)) if row.message else None,
        destination=DOMAINS[row.destination],
    )


def attestation_parameters(record: AttestationRecord) -> dict[str, Any]:
    """An attestation's columns."""
    said, statement = record.attestation, record.statement
    return {
        "asset": said.asset,
        "sequence": said.sequence,
        "held_units": said.held_units,
        "held_decimals": said.held_decimals,
        "multiplier": said.multiplier,
        "multiplier_epoch": said.multiplier_epoch,
        "as_of": said.as_of,
        "paper": statement.paper,
        "digest": statement.digest,
        "key_id": statement.key_id,
        "signature": statement.signature,
        "inventory": b"".join(
            int(chain).to_bytes(4) + one for chain, one in sorted(said.inventory)
        ),
    }


def attestation_of(row: Any) -> AttestationRecord:
    """An attestation with its paper."""
    attestation = Attestation(
        asset=AssetId(bytes(row.asset)),
        held_units=int(row.held_units),
        held_decimals=row.held_decimals,
        multiplier=int(row.multiplier),
        multiplier_epoch=int(row.multiplier_epoch),
        sequence=int(row.sequence),
        as_of=row.as_of,
        inventory=_inventory_of(bytes(row.inventory)),
    )
    statement = SignedStatement(
        ATTESTATION, bytes(row.paper), bytes(row.digest), row.key_id, bytes(row.signature)
    )
    return AttestationRecord(attestation, statement)


def _inventory_of(packed: bytes) -> frozenset[tuple[Domain, Address32]]:
    return frozenset(
        (
            DOMAINS[int.from_bytes(packed[at : at + 4])],
            Address32(packed[at + 4 : at + _OWNER_BYTES]),
        )
        for at in range(0, len(packed), _OWNER_BYTES)
    )


def halt_of(row: Any) -> Halt:
    """A halt with its approvals."""
    return Halt(
        id=row.id,
        reason=row.reason,
        by=row.latched_by,
        at_ms=row.at_ms,
        asset=AssetId(bytes(row.asset)) if row.asset else None,
        chain=DOMAINS[row.chain] if row.chain else None,
        approvals=tuple(row.approvals or ()),
    )


def permit_parameters(permit: Permit) -> dict[str, Any]:
    """A permit's columns."""
    packed = b"".join(item.transfer_id + bytes((item.action,)) for item in permit.items)
    return {
        "digest": permit.digest,
        "destination": int(permit.destination),
        "epoch": permit.epoch,
        "deadline": permit.deadline,
        "items": packed,
        "signature": permit.signature,
        "signer": permit.signer,
        "at_ms": permit.at_ms,
    }


def permit_of(row: Any) -> Permit:
    """A permit."""
    packed = bytes(row.items)
    items = tuple(
        PermitItem(TransferId(packed[at : at + 32]), Action(packed[at + 32]))
        for at in range(0, len(packed), _ITEM_BYTES)
    )
    return Permit(
        digest=bytes(row.digest),
        destination=DOMAINS[row.destination],
        epoch=row.epoch,
        deadline=row.deadline,
        items=items,
        signature=bytes(row.signature),
        signer=bytes(row.signer),
        at_ms=row.at_ms,
    )


def reading_columns(readings: Sequence[BelievedSupply]) -> Columns:
    """A page of readings."""
    supplies = [one.supply for one in readings]
    return {
        "chain": ("integer", [int(one.chain) for one in readings]),
        "asset": ("bytea", [one.asset for one in supplies]),
        "block_number": ("bigint", [one.block.number for one in readings]),
        "block_hash": ("bytea", [one.block.hash for one in readings]),
        "block_time": ("bigint", [one.block.time for one in readings]),
        "token_units": ("numeric", [one.token_units for one in supplies]),
        "inventory_units": ("numeric", [one.bridge_inventory_units for one in supplies]),
        "decimals": ("integer", [one.decimals for one in supplies]),
        "multiplier": ("numeric", [one.multiplier for one in supplies]),
        "multiplier_epoch": ("numeric", [one.multiplier_epoch for one in supplies]),
        "paused": ("boolean", [one.paused for one in supplies]),
        "ledger": ("numeric", [one.ledger for one in readings]),
        "residue_units": ("numeric", [one.residue_units for one in readings]),
        "issuer_inventory_units": ("numeric", [one.issuer_inventory_units for one in supplies]),
        "inventory_owners": ("bytea", [b"".join(sorted(one.owners)) for one in readings]),
    }


def reading_of(row: Any) -> BelievedSupply:
    """A reading."""
    chain = DOMAINS[row.chain]
    supply = AssetSupply(
        asset=AssetId(bytes(row.asset)),
        token_units=int(row.token_units),
        bridge_inventory_units=int(row.inventory_units),
        decimals=row.decimals,
        multiplier=int(row.multiplier),
        multiplier_epoch=int(row.multiplier_epoch),
        paused=row.paused,
        issuer_inventory_units=int(row.issuer_inventory_units),
    )
    at = BlockRef(chain, row.block_number, bytes(row.block_hash), row.block_time)
    packed = bytes(row.inventory_owners)
    owners = frozenset(
        Address32(packed[begin : begin + _ADDRESS_BYTES])
        for begin in range(0, len(packed), _ADDRESS_BYTES)
    )
    return BelievedSupply(chain, at, supply, int(row.ledger), int(row.residue_units), owners)
