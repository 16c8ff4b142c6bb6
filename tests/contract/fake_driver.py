"""The fake family under the contract suite, read through one node or through a quorum."""

from collections.abc import Sequence

from tests.contract.fake_world import (
    ASSET,
    GUARDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    fake_config,
)
from xstock_chains.fake import (
    FakeAdmin,
    FakeBurnBuilder,
    FakeChain,
    FakeCodec,
    FakeNode,
    FakeReader,
    FakeWriter,
)
from xstock_chains.fake.admin import expectation_of
from xstock_chains.fake.builder import execute_burn
from xstock_chains.fake.state import AssetRules
from xstock_chains.ports import (
    BurnBuilder,
    ChainAdmin,
    ChainReader,
    ChainWriter,
    Cursor,
    ReleaseCodec,
    Signer,
    UnsignedBurn,
)
from xstock_chains.quorum import Quorum
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_runtime.clock import SeededRandomness, VirtualClock


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

    def __init__(self, domain: Domain, *, nodes: int = 1) -> None:
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

    def new_reader(self) -> ChainReader:
        """One reader, or a quorum of them."""
        readers = [FakeReader(node) for node in self.nodes]
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
