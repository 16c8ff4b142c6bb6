"""What guards sign and destinations execute: items, batches and their dedup keys.

Pure content. How a batch is packed and hashed for a chain is that family's `ReleaseCodec`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from xstock_core.amount import Shares
from xstock_core.ids import HASHED_NONCES, Address32, AssetId, Domain, Nonce
from xstock_core.message import TransferMessage


class Action(IntEnum):
    """What the destination does with an item."""

    RELEASE = 1
    CANCEL = 2


class ExecutionKey(NamedTuple):
    """The destination's dedup key: an item of this key happens there at most once."""

    destination: Domain
    source: Domain
    nonce: Nonce


@dataclass(frozen=True, slots=True)
class ReleaseItem:
    """One thing to do on a destination.

    `burned_at` is the Unix time of the burn's final block where the nonce is a hash
    (`HASHED_NONCES`), 0 elsewhere: a destination that keeps such nonces for a while only (TON)
    needs it to know which ones it may have forgotten.
    """

    action: Action
    source: Domain
    nonce: Nonce
    asset: AssetId
    recipient: Address32
    amount: Shares
    burned_at: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseBatch:
    """Items for one destination under one guard epoch and one deadline.

    `bridge` is the destination's contract, `deadline` in Unix seconds. Items are in the order
    of `sorted_items`: one batch has one byte form. `terms` are what a permit of the destination's
    family names besides (Solana: blockhash, signers, compute budget), packed by its codec.
    """

    destination: Domain
    bridge: Address32
    epoch: int
    deadline: int
    items: tuple[ReleaseItem, ...]
    terms: bytes = b""


def item_of(
    message: TransferMessage, action: Action = Action.RELEASE, burned_at: int = 0
) -> ReleaseItem:
    """The item that releases (or cancels) this message on its destination.

    `burned_at` counts only where the source's nonces are hashes; every caller may give it.
    """
    return ReleaseItem(
        action=action,
        source=message.source,
        nonce=message.nonce,
        asset=message.asset,
        recipient=message.recipient,
        amount=message.amount,
        burned_at=burned_at if message.source in HASHED_NONCES else 0,
    )


def key_of(message: TransferMessage) -> ExecutionKey:
    """The message's dedup key on its destination."""
    return ExecutionKey(message.destination, message.source, message.nonce)


def sorted_items(items: Sequence[ReleaseItem]) -> tuple[ReleaseItem, ...]:
    """Items by action, asset, source and nonce: mixed assets would cost gas per item."""
    return tuple(sorted(items, key=lambda i: (i.action, i.asset, i.source, i.nonce)))
