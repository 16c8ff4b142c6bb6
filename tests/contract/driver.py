"""What a chain family gives the contract suite: its ports, and hands to move the chain with.

One small driver per family lets Solana, Tron and TON join by writing this class and adding a
line to `conftest.py`; the tests know nothing else of a family.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from xstock_chains.addresses import show_wire
from xstock_chains.ports import (
    BurnBuilder,
    ChainAdmin,
    ChainOffice,
    ChainReader,
    ChainWriter,
    Cursor,
    GuardSet,
    GuardSignature,
    ReleaseCodec,
    ReleaseOrder,
    SignedTx,
    Signer,
    UnsignedBurn,
)
from xstock_chains.registry import Registry
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, counter_nonce
from xstock_core.observation import TxRef
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_runtime.errors import Ambiguous

SHARE = 100_000_000
FOREIGN_BRIDGE = Address32(b"\0" * 12 + b"\x11" * 20)


class ChainUnderTest(Protocol):
    """One fresh deployment of one family, with one asset, a rich holder and three guards."""

    domain: Domain
    start: Cursor
    """Where the suite begins to read: after the deployment's own first movements."""
    bridge: Address32
    asset: AssetId
    holder: Address32
    recipient: Address32
    """An account of this chain that accepts what it gets and holds nothing yet."""
    elsewhere: Domain
    """A destination that burns may name; its addresses have the EVM width."""
    away: Address32
    """The recipient there."""
    counted: bool
    """Whether burns carry dense lane counters."""
    reader: ChainReader
    writer: ChainWriter
    codec: ReleaseCodec
    builder: BurnBuilder
    admin: ChainAdmin
    swapped_admin: ChainAdmin
    """The self-test with another chain's registry entry."""
    guards: Sequence[Signer]
    threshold: int
    guard_ids: tuple[str, ...]
    """The guards' names in the registry, in the order of `guards`."""
    relayer: Signer
    relayer_address: Address32
    batch_items_max: int
    """How many items one transaction carries; 1 where every release is its own."""
    slotted: bool
    """Whether slots follow each other, so that a gap must be filled."""
    replaces: bool
    """Whether a fee can be raised in the same slot."""
    skips: bool
    """Whether what cannot be done is skipped with an event; else it never lands."""
    assets_mix: bool
    """Whether a batch may carry items of several assets."""
    shows_unfinal: bool
    """Whether reads show what is in a block that is not final; else the last final state."""

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """Another reader with no memory, as after a restart; with these owners of issuer
        inventory of the asset, as after a change of the registry."""
        ...

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burn these amounts of shares towards `elsewhere`, all in one block, and make it."""
        ...

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """Sign and send what the builder built, and make the block."""
        ...

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks with what waits for one."""
        ...

    async def finalize(self) -> None:
        """Make everything that is in a block final."""
        ...

    async def drop(self, tx: TxRef) -> None:
        """Reorganise a transaction that is not final out of the chain for good."""
        ...

    async def break_finality(self) -> None:
        """Replace final blocks by others at the same heights, final in their turn."""
        ...

    async def time(self) -> int:
        """The newest block's time in Unix seconds."""
        ...

    async def set_paused(self, *, paused: bool) -> None:
        """Pause or un-pause the asset, in a block."""
        ...

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares at the newest block."""
        ...


class GovernedChain(ChainUnderTest, Protocol):
    """What the suite of `ChainOffice` needs besides: keys in files, and time.

    Keys are named: "agent", "admin", "stranger", the guards by `guard_ids`, and "guard-3", who is
    no guard yet. All have money for fees.
    """

    spare_guard: Signer
    """The key of "guard-3"."""
    delay_seconds: int
    """How long the chain makes the admin wait between proposal and effect; 0: not at all."""
    redeems_while_paused: bool
    """Whether a pause lets redemptions through."""
    pause_ends: bool
    """Whether a pause by one key ends by itself."""

    lifts: str
    """Whose key lifts a pause: "admin", or where there is no delay "agent"."""

    def key_file(self, who: str) -> Path:
        """The file with this one's key."""
        ...

    def office(self, who: str | None) -> ChainOffice:
        """An office over one node with this one's key; None only looks."""
        ...

    def blocks_coming(self) -> AbstractAsyncContextManager[None]:
        """Blocks are made quickly while something waits for them."""
        ...

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """From now on these are the guards: the ports as opened from the new registry."""
        ...

    async def pass_time(self, seconds: int) -> None:
        """Let chain time pass, and make a block."""
        ...

    async def redeem(self, amount: int) -> bool:
        """Burn towards CUSTODY, and make the block: whether it succeeded."""
        ...

    async def try_burn(self, amount: int) -> bool:
        """Burn towards `elsewhere`, and make the block: whether it succeeded."""
        ...


@asynccontextmanager
async def meanwhile(step: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Take this step again and again until the block is left, also when something fails in it."""

    async def steps() -> None:
        while True:
            await step()

    stepping = asyncio.create_task(steps())
    try:
        yield
    finally:
        stepping.cancel()
        with suppress(asyncio.CancelledError):
            await stepping


def with_issuer_inventory(
    registry: Registry, domain: Domain, asset: AssetId, owners: Sequence[Address32]
) -> Registry:
    """The registry that names these owners of an asset's issuer inventory on a chain."""
    chain, symbol = registry.chain(domain), registry.asset(asset).symbol
    texts = tuple(show_wire(chain.family, owner) for owner in owners)
    document = registry.model_dump()
    for entry in document["assets"]:
        for deployment in entry["deployments"]:
            if (entry["symbol"], deployment["chain"]) == (symbol, chain.name):
                deployment["issuer_inventory"] = texts
    return Registry.model_validate(document)


def item(
    counter: int,
    recipient: Address32,
    asset: AssetId,
    *,
    action: Action = Action.RELEASE,
    source: Domain = Domain.MANTLE,
    amount: int = SHARE,
) -> ReleaseItem:
    """An item as if burned on another chain."""
    nonce = counter_nonce(FOREIGN_BRIDGE, counter)
    return ReleaseItem(action, source, nonce, asset, recipient, Shares(amount))


async def batch_of(chain: ChainUnderTest, *items: ReleaseItem) -> ReleaseBatch:
    """A batch for this chain that expires in ten minutes of its time, with the terms that its
    permit names besides."""
    epoch = await chain.writer.guard_epoch()
    deadline = await chain.time() + 600
    batch = ReleaseBatch(chain.domain, chain.bridge, epoch, deadline, sorted_items(items))
    guards = chain.guard_ids[: chain.threshold]
    terms = await chain.writer.permit_terms(batch, chain.relayer_address, guards)
    return replace(batch, terms=terms)


async def authorise(
    chain: ChainUnderTest, batch: ReleaseBatch, guards: int | None = None
) -> ReleaseOrder:
    """The batch signed by so many guards, by default just enough."""
    signers = chain.guards[: chain.threshold if guards is None else guards]
    digest = chain.codec.digest(batch)
    signatures = [GuardSignature(g.identity, await g.sign_digest(digest)) for g in signers]
    return ReleaseOrder(batch, tuple(sorted(signatures, key=lambda s: s.signer)))


async def signed_release(chain: ChainUnderTest, *items: ReleaseItem, used: int = 0) -> SignedTx:
    """An authorised batch, prepared in the slot after `used` ones, and signed."""
    order = await authorise(chain, await batch_of(chain, *items))
    slots = [await chain.writer.next_slot(chain.relayer_address, (), order)]
    for _ in range(used):
        slots.append(await chain.writer.next_slot(chain.relayer_address, slots, order))
    prepared = await chain.writer.prepare(order, slots[-1])
    return await chain.relayer.sign_transaction(prepared)


async def release(chain: ChainUnderTest, *items: ReleaseItem) -> SignedTx:
    """Release the items, in as many transactions as they need, and make the block."""
    size = chain.batch_items_max
    for at in range(0, len(items), size):
        signed = await signed_release(chain, *items[at : at + size])
        await chain.writer.broadcast(signed)
    await chain.mine()
    return signed


async def attempt(chain: ChainUnderTest, one: ReleaseItem) -> SignedTx:
    """Send an item that will not happen, and make the block; a chain without skips may refuse
    the bytes at once, which says nothing for certain."""
    signed = await signed_release(chain, one)
    with suppress(Ambiguous):
        await chain.writer.broadcast(signed)
    await chain.mine()
    return signed
