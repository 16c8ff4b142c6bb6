"""The fake family under the contract suite, read through one node or through a quorum."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.contract.fake_world import (
    ASSET,
    DELAY_SECONDS,
    GUARDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    block_every_second,
    fake_config,
)
from xstock_chains.fake import (
    FakeAdmin,
    FakeBurnBuilder,
    FakeChain,
    FakeCodec,
    FakeNode,
    FakeOffice,
    FakeReader,
    FakeSigner,
    FakeWriter,
)
from xstock_chains.fake.admin import expectation_of
from xstock_chains.fake.builder import execute_burn
from xstock_chains.fake.state import AssetRules
from xstock_chains.ports import (
    BurnBuilder,
    ChainAdmin,
    ChainOffice,
    ChainReader,
    ChainWriter,
    Cursor,
    GuardSet,
    ReleaseCodec,
    Signer,
    UnsignedBurn,
)
from xstock_chains.quorum import Quorum
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_runtime.clock import SeededRandomness, VirtualClock

SEEDS = {
    "agent": b"agent",
    "admin": b"admin",
    "stranger": b"stranger",
    **{f"guard-{n}": f"guard-{n + 1}".encode() for n in range(4)},
}


class FakeUnderTest:
    """`ChainUnderTest` over one fake chain and `nodes` providers of it."""

    asset = ASSET
    holder = HOLDER.address
    recipient = RECIPIENT
    elsewhere = Domain.BNB
    away = RECIPIENT
    guards: Sequence[Signer] = GUARDS
    threshold = 2
    relayer: Signer = RELAYER
    relayer_address = RELAYER.address
    guard_ids: tuple[str, ...] = ("guard-0", "guard-1", "guard-2")
    batch_items_max = 200
    slotted = True
    replaces = True
    skips = True
    assets_mix = True
    shows_unfinal = True
    spare_guard: Signer = FakeSigner(SEEDS["guard-3"])
    delay_seconds = DELAY_SECONDS
    redeems_while_paused = True
    pause_ends = True
    lifts = "admin"

    def __init__(self, domain: Domain, *, nodes: int = 1, folder: Path | None = None) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.chain = FakeChain(fake_config(domain), self.clock)
        self.domain = domain
        self.start = Cursor(domain)
        self.bridge = self.chain.config.bridge
        self.counted = domain is not Domain.SOLANA
        self.nodes = [
            FakeNode(self.chain, self.clock, SeededRandomness(n), f"node-{n}") for n in range(nodes)
        ]
        self.reader: ChainReader = self.new_reader()
        self.writer: ChainWriter = FakeWriter(self.nodes[0])
        self.codec: ReleaseCodec = FakeCodec()
        self.builder: BurnBuilder = FakeBurnBuilder(self.nodes[0])
        genesis = self.chain.block(0)
        assert genesis is not None
        self.admin: ChainAdmin = FakeAdmin(
            self.nodes[0], expectation_of(self.chain.config, genesis.ref.hash)
        )
        other = Domain.MANTLE if domain is not Domain.MANTLE else Domain.BNB
        self.swapped_admin: ChainAdmin = FakeAdmin(
            self.nodes[0], expectation_of(fake_config(other), b"\x01" * 32)
        )

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """One reader, or a quorum of them."""
        owners = {self.asset: issuer_inventory}
        readers = [FakeReader(node, owners) for node in self.nodes]
        if len(readers) == 1:
            return readers[0]
        return Quorum(readers, len(readers) // 2 + 1, clock=self.clock)

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burns of the holder in one block."""
        burns = [
            self.chain.burn(self.holder, self.asset, self.elsewhere, RECIPIENT, amount)
            for amount in amounts
        ]
        self.chain.mine()
        return burns

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """The built burn in a block."""
        tx = execute_burn(self.chain, burn)
        self.chain.mine()
        return tx

    async def mine(self, blocks: int = 1) -> None:
        """Blocks."""
        self.chain.mine(blocks)

    async def finalize(self) -> None:
        """The present head becomes final."""
        self.chain.mine(self.chain.config.finality_lag_blocks)

    async def drop(self, tx: TxRef) -> None:
        """The block of the transaction and all after it are replaced."""
        found = self.chain.find(tx.id)
        assert found is not None
        depth = self.chain.head.number - found[0].ref.number + 1
        self.chain.reorg(depth, keep=lambda other: other.id != tx.id)
        self.chain.mine(depth)

    async def break_finality(self) -> None:
        """Every block but genesis is replaced, and as many are final again."""
        height = self.chain.head.number
        self.chain.reorg(height, past_finality=True)
        self.chain.mine(height)

    async def time(self) -> int:
        """The head's time."""
        return self.chain.head.time

    async def set_paused(self, *, paused: bool) -> None:
        """The asset's pause, in a block."""
        self.chain.set_rules(self.asset, AssetRules(paused=paused))
        self.chain.mine()

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares at the head."""
        units = self.chain.state.balance.get((self.asset, holder), self.chain.head.number)
        return units // 10**10

    # ------------------------------------------------------------------ for the office

    def key_file(self, who: str) -> Path:
        """The seed of a key."""
        assert self.folder is not None
        path = self.folder / f"{who}.key"
        path.write_bytes(SEEDS[who])
        return path

    def office(self, who: str | None) -> ChainOffice:
        """An office over the first node."""
        return FakeOffice(self.nodes[0], self.clock, None if who is None else self.key_file(who))

    def blocks_coming(self) -> AbstractAsyncContextManager[None]:
        """A block for every second that somebody waits."""
        return block_every_second(self.chain, self.clock)

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """The chain holds the guards; the ports know none."""
        self.guards, self.guard_ids = guards, tuple(guard_ids)
        self.threshold = new.threshold

    async def pass_time(self, seconds: int) -> None:
        """Virtual time."""
        await self.clock.advance(seconds)
        self.chain.mine()

    async def redeem(self, amount: int) -> bool:
        """A burn of the holder to custody."""
        return self._burned(Domain.CUSTODY, amount)

    async def try_burn(self, amount: int) -> bool:
        """A burn of the holder to another chain."""
        return self._burned(self.elsewhere, amount)

    def _burned(self, destination: Domain, amount: int) -> bool:
        tx = self.chain.burn(self.holder, self.asset, destination, RECIPIENT, amount)
        self.chain.mine()
        found = self.chain.find(tx.id)
        assert found is not None
        block, index = found
        return block.outcomes[index].succeeded
