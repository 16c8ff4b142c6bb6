"""Rows of proposals, pauses, limits, announcements and alarms as values of the model, and back."""

import json
from collections.abc import Sequence
from typing import Any

from xstock_core.amount import Shares
from xstock_core.bucket import Bucket
from xstock_core.ids import Address32, AssetId, Nonce, orphan_refund_nonce
from xstock_core.observation import BlockRef, OrphanBurn, Place, TxRef
from xstock_core.review import Delay
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.rows import DOMAINS, Columns
from xstock_supply_guard.model import (
    Alarm,
    CorporateAction,
    Limits,
    Pause,
    Proposal,
    ProposalKind,
    RaisedAlarm,
    SignedStatement,
)
from xstock_wire.papers import CORPORATE_ACTION

_ALL_ASSETS = bytes(32)


def proposal_of(row: Any) -> Proposal:
    """A proposal with its approvals."""
    return Proposal(
        id=row.id,
        kind=ProposalKind(row.kind),
        subject=bytes(row.subject),
        payload=bytes(row.payload),
        reason=row.reason,
        by=row.proposed_by,
        at_ms=row.at_ms,
        expires_ms=row.expires_ms,
        approvals=tuple(row.approvals or ()),
        executed_ms=row.executed_ms,
    )


def proposal_parameters(proposal: Proposal) -> dict[str, Any]:
    """A new proposal's columns."""
    return {
        "id": proposal.id,
        "kind": proposal.kind.value,
        "subject": proposal.subject,
        "payload": proposal.payload,
        "reason": proposal.reason,
        "proposed_by": proposal.by,
        "at_ms": proposal.at_ms,
        "expires_ms": proposal.expires_ms,
    }


def pause_of(row: Any) -> Pause:
    """A pause."""
    return Pause(
        id=row.id,
        reason=row.reason,
        by=row.paused_by,
        at_ms=row.at_ms,
        until=row.until,
        asset=AssetId(bytes(row.asset)) if row.asset else None,
        source=DOMAINS[row.source] if row.source else None,
        destination=DOMAINS[row.destination] if row.destination else None,
    )


def pause_parameters(pause: Pause) -> dict[str, Any]:
    """A pause's columns."""
    return {
        "id": pause.id,
        "asset": pause.asset,
        "source": int(pause.source) if pause.source else None,
        "destination": int(pause.destination) if pause.destination else None,
        "reason": pause.reason,
        "paused_by": pause.by,
        "at_ms": pause.at_ms,
        "until": pause.until,
    }


def limited_asset(row: Any) -> AssetId | None:
    """The asset of a row of limits; None for all the others."""
    asset = bytes(row.asset)
    return None if asset == _ALL_ASSETS else AssetId(asset)


def limits_of(row: Any) -> Limits:
    """Limits; their bucket is full."""
    bucket = None
    if row.bucket_shares is not None:
        shares = int(row.bucket_shares)
        bucket = Bucket(shares, int(row.bucket_refill), shares, 0)
    return Limits(
        bucket=bucket,
        delays=tuple(Delay(shares, seconds) for shares, seconds in json.loads(row.delays)),
        manual_from=None if row.manual_from is None else int(row.manual_from),
    )


def limits_parameters(asset: AssetId | None, limits: Limits) -> dict[str, Any]:
    """The columns of limits."""
    bucket = limits.bucket
    return {
        "asset": _ALL_ASSETS if asset is None else asset,
        "bucket_shares": bucket.capacity if bucket else None,
        "bucket_refill": bucket.refill_per_second if bucket else None,
        "delays": json.dumps([[one.from_shares, one.seconds] for one in limits.delays]),
        "manual_from": limits.manual_from,
    }


def corporate_action_of(row: Any) -> CorporateAction:
    """An announcement with its paper."""
    statement = SignedStatement(
        CORPORATE_ACTION, bytes(row.paper), bytes(row.digest), row.key_id, bytes(row.signature)
    )
    return CorporateAction(
        asset=AssetId(bytes(row.asset)),
        event_id=row.event_id,
        version=int(row.version),
        activates_at=row.activates_at,
        multiplier=int(row.multiplier),
        cancelled=row.cancelled,
        statement=statement,
    )


def corporate_action_parameters(action: CorporateAction) -> dict[str, Any]:
    """An announcement's columns."""
    return {
        "asset": action.asset,
        "event_id": action.event_id,
        "version": action.version,
        "activates_at": action.activates_at,
        "multiplier": action.multiplier,
        "cancelled": action.cancelled,
        "paper": action.statement.paper,
        "digest": action.statement.digest,
        "key_id": action.statement.key_id,
        "signature": action.statement.signature,
    }


def orphan_columns(orphans: Sequence[OrphanBurn]) -> Columns:
    """A page of orphan burns."""
    blocks = [one.place.block for one in orphans]
    return {
        "nonce": ("bytea", [one.nonce for one in orphans]),
        "refund_nonce": (
            "bytea",
            [orphan_refund_nonce(one.nonce, keccak256) for one in orphans],
        ),
        "asset": ("bytea", [one.asset for one in orphans]),
        "owner": ("bytea", [one.owner for one in orphans]),
        "amount": ("numeric", [one.amount for one in orphans]),
        "reason": ("text", [one.reason for one in orphans]),
        "chain": ("integer", [int(block.chain) for block in blocks]),
        "block_number": ("bigint", [block.number for block in blocks]),
        "block_hash": ("bytea", [block.hash for block in blocks]),
        "block_time": ("bigint", [block.time for block in blocks]),
        "tx": ("bytea", [one.place.tx.id for one in orphans]),
        "place": ("integer", [one.place.index for one in orphans]),
    }


def orphan_of(row: Any) -> OrphanBurn:
    """An orphan burn."""
    chain = DOMAINS[row.chain]
    at = BlockRef(chain, row.block_number, bytes(row.block_hash), row.block_time)
    return OrphanBurn(
        asset=AssetId(bytes(row.asset)),
        owner=Address32(bytes(row.owner)),
        amount=Shares(int(row.amount)),
        reason=row.reason,
        nonce=Nonce(bytes(row.nonce)),
        place=Place(at, TxRef(chain, bytes(row.tx)), row.place),
    )


def raised_alarm_of(row: Any) -> RaisedAlarm:
    """An alarm that stands."""
    return RaisedAlarm(Alarm(row.code, row.scope, row.detail, row.about), row.at_ms)
