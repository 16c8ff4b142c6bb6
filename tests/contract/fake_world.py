"""Fake chains ready to use: one asset, one rich holder, three guards, a relayer, k providers."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from tests.contract.driver import meanwhile
from xstock_chains.fake import (
    FakeChain,
    FakeConfig,
    FakeNode,
    FakeReader,
    FakeSigner,
    GuardSet,
    People,
)
from xstock_chains.ports import GuardSignature, ReleaseCodec, ReleaseOrder
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, asset_id, counter_nonce
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_runtime.clock import SeededRandomness, VirtualClock

ASSET: AssetId = asset_id("TSLAx")
OTHER_ASSET: AssetId = asset_id("AAPLx")
SHARE = 100_000_000
HOLDER = FakeSigner(b"holder")
RELAYER = FakeSigner(b"relayer")
AGENT = FakeSigner(b"agent")
ADMIN = FakeSigner(b"admin")
DELAY_SECONDS = 600
GUARDS = tuple(FakeSigner(f"guard-{n}".encode()) for n in (1, 2, 3))
RECIPIENT = FakeSigner(b"recipient").address


def guard_set(epoch: int = 1, threshold: int = 2) -> GuardSet:
    """The three guards of these tests."""
    return GuardSet(epoch, threshold, frozenset(guard.identity for guard in GUARDS))


def block_every_second(chain: FakeChain, clock: VirtualClock) -> AbstractAsyncContextManager[None]:
    """A block for every second that somebody waits."""

    async def tick() -> None:
        await clock.advance(1)
        chain.mine()

    return meanwhile(tick)


def fake_config(domain: Domain = Domain.ETHEREUM, *, finality_lag_blocks: int = 2) -> FakeConfig:
    """A chain on which the holder owns a million shares of each asset."""
    opening = {(asset, HOLDER.address): 10**6 * SHARE for asset in (ASSET, OTHER_ASSET)}
    return FakeConfig(
        domain,
        (ASSET, OTHER_ASSET),
        guard_set(),
        finality_lag_blocks=finality_lag_blocks,
        opening=opening,
        people=People(AGENT.identity, ADMIN.identity, DELAY_SECONDS),
    )


def release_item(
    counter: int = 1,
    *,
    amount: int = SHARE,
    action: Action = Action.RELEASE,
    source: Domain = Domain.MANTLE,
    recipient: Address32 = RECIPIENT,
    asset: AssetId = ASSET,
) -> ReleaseItem:
    """An item as if burned on another chain."""
    nonce = counter_nonce(Address32(b"\0" * 12 + b"\x11" * 20), counter)
    return ReleaseItem(action, source, nonce, asset, recipient, Shares(amount))


async def signed_order(
    codec: ReleaseCodec, batch: ReleaseBatch, guards: tuple[FakeSigner, ...] = GUARDS[:2]
) -> ReleaseOrder:
    """The batch with the signatures of these guards."""
    digest = codec.digest(batch)
    signatures = [GuardSignature(g.identity, await g.sign_digest(digest)) for g in guards]
    return ReleaseOrder(batch, tuple(sorted(signatures, key=lambda s: s.signer)))


def batch_for(chain: FakeChain, *items: ReleaseItem, epoch: int = 1) -> ReleaseBatch:
    """A batch for this chain that expires in ten minutes of its time."""
    deadline = chain.head.time + 600
    return ReleaseBatch(chain.domain, chain.config.bridge, epoch, deadline, sorted_items(items))


@dataclass
class Providers:
    """One chain shown by k nodes."""

    count: int = 3
    domain: Domain = Domain.ETHEREUM
    seed: int = 1
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.chain = FakeChain(fake_config(self.domain), self.clock)
        self.nodes = [
            FakeNode(self.chain, self.clock, SeededRandomness(self.seed + n), f"node-{n}")
            for n in range(self.count)
        ]
        self.readers = [FakeReader(node) for node in self.nodes]

    def burn(self, amount: int = SHARE, destination: Domain = Domain.BNB) -> None:
        """Burn and make the block."""
        self.chain.burn(HOLDER.address, ASSET, destination, RECIPIENT, amount)
        self.chain.mine()

    def finalize(self) -> None:
        """Make what is there final."""
        self.chain.mine(self.chain.config.finality_lag_blocks)
