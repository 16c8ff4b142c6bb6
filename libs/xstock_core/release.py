"""What guards sign and destinations execute: items, batches and their dedup keys.

Pure content. How a batch is packed and hashed for a chain is that family's `ReleaseCodec`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, Nonce
from xstock_core.message import TransferMessage


class Action(IntEnum):
    """What the destination does with an item."""

    RELEASE = 1
    CANCEL = 2


@dataclass(frozen=True, slots=True)
class ExecutionKey:
    """The destination's dedup key: an item of this key happens there at most once."""

    destination: Domain
    source: Domain
    nonce: Nonce


@dataclass(frozen=True, slots=True)
class ReleaseItem:
    """One thing to do on a destination."""

    action: Action
    source: Domain
    nonce: Nonce
    asset: AssetId
    recipient: Address32
    amount: Shares


@dataclass(frozen=True, slots=True)
class ReleaseBatch:
    """Items for one destination under one guard epoch and one deadline.

    `bridge` is the destination's contract, `deadline` in Unix seconds. Items are in the order
    of `sorted_items`: one batch has one byte form.
    """

    destination: Domain
    bridge: Address32
    epoch: int
    deadline: int
    items: tuple[ReleaseItem, ...]


def item_of(message: TransferMessage, action: Action = Action.RELEASE) -> ReleaseItem:
    """The item that releases (or cancels) this message on its destination."""
    return ReleaseItem(
        action=action,
        source=message.source,
        nonce=message.nonce,
        asset=message.asset,
        recipient=message.recipient,
        amount=message.amount,
    )


def key_of(message: TransferMessage) -> ExecutionKey:
    """The message's dedup key on its destination."""
    return ExecutionKey(message.destination, message.source, message.nonce)


def sorted_items(items: Sequence[ReleaseItem]) -> tuple[ReleaseItem, ...]:
    """Items by action, asset, source and nonce: mixed assets would cost gas per item."""
    return tuple(sorted(items, key=lambda i: (i.action, i.asset, i.source, i.nonce)))
