"""Which transfers go into the next batch, and which M guards are asked to sign it.

Pure. A batch is formed only from items that the same M guards granted: mixing grants would ask
a guard to sign what it never judged. The oldest transfer always goes first, with the guards that
granted most of what waits with it, so that a batch is large and nobody is overtaken for ever.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.refusal import Granted
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, item_of, sorted_items
from xstock_core.transfer import TransferState, burned_at
from xstock_relayer.model import Transfer

BridgesByAsset = Mapping[tuple[Domain, AssetId], bytes]


@dataclass(frozen=True, slots=True)
class Choice:
    """The guards to ask and the transfers to release, oldest first."""

    guards: tuple[str, ...]
    transfers: tuple[Transfer, ...]


def granted_by(state: TransferState) -> frozenset[str]:
    """The guards that grant this transfer now."""
    return frozenset(str(r.guard) for r in state.rulings if isinstance(r.verdict, Granted))


def choose(
    waiting: Sequence[Transfer],
    *,
    needed: int,
    limit: int,
    shunned: Collection[str] = (),
    bridges: BridgesByAsset,
    able: Callable[[Transfer], frozenset[str]] = lambda transfer: granted_by(transfer.state),
) -> Choice | None:
    """The next batch of at most `limit` items, or None while no M guards agree on anything.

    `able` names the guards that may sign a transfer. One that needs more of them than `needed`
    (an issuance where M does not survive the bad guards) brings more into its batch.

    `waiting` is in order of age; `shunned` guards are asked only if there is no other way. All
    of a batch go to one bridge: that of the oldest transfer.
    """
    grants = [able(transfer) for transfer in waiting]
    popular = Counter(guard for granted in grants for guard in granted)
    for oldest, granted in zip(waiting, grants, strict=True):
        quorum = max(needed, oldest.state.needed)
        if len(granted) < quorum:
            continue
        bridge = bridge_of(oldest, bridges)
        ranked = sorted(granted, key=lambda g: (g in shunned, -popular[g], g))
        guards = frozenset(ranked[:quorum])
        # SECURITY: only what these same guards granted may be put before them.
        taken = [
            one
            for one, by in zip(waiting, grants, strict=True)
            if guards <= by
            and one.state.needed <= len(guards)
            and bridge_of(one, bridges) == bridge
        ]
        return Choice(tuple(sorted(guards)), tuple(taken[:limit]))
    return None


def bridge_of(transfer: Transfer, bridges: BridgesByAsset) -> bytes | None:
    """The bridge on the destination that releases this transfer; None: it cannot be released."""
    message = transfer.state.message
    return None if message is None else bridges.get((message.destination, message.asset))


def form(
    transfers: Sequence[Transfer],
    *,
    bridges: BridgesByAsset,
    epoch: int,
    deadline: int,
    action: Action = Action.RELEASE,
) -> tuple[ReleaseBatch, tuple[TransferId, ...]]:
    """The batch of these transfers of one destination, and their ids in the items' order.

    All of them are released, or all of them cancelled: the two are never in one batch.
    """
    by_item: dict[ReleaseItem, TransferId] = {}
    destination = None
    for transfer in transfers:
        message = transfer.state.message
        if message is None:
            raise ValueError(f"transfer {transfer.id.hex()} has no message; it cannot be released")
        by_item[item_of(message, action, burned_at(transfer.state))] = transfer.id
        destination = message.destination
    if destination is None:
        raise ValueError("a batch needs at least one transfer")
    bridge = bridge_of(transfers[0], bridges)
    if bridge is None or any(bridge_of(one, bridges) != bridge for one in transfers):
        raise ValueError("a batch goes to one registered bridge")
    items = sorted_items(tuple(by_item))
    batch = ReleaseBatch(destination, Address32(bridge), epoch, deadline, items)
    return batch, tuple(by_item[item] for item in items)
