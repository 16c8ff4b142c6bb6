"""The Solana family under the contract suite: the real Token-2022 on a local chain, mined by hand.

One node serves the session; every test deploys with a key of its own, so its mints and multisig
are nobody else's. A test that reorganised the chain ends the node.
"""

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from base58 import b58encode

from tests.chains.solana.world import (
    AGENT,
    ELSEWHERE,
    GUARD_IDS,
    GUARDS,
    HOLDER,
    SHARE,
    SOL,
    TSLA,
    World,
    control,
    deploy,
    order,
    registry_of,
)
from xstock_chains.ports import (
    AssetOrder,
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
from xstock_chains.solana.address import show
from xstock_chains.solana.admin import SolanaAdmin
from xstock_chains.solana.builder import SolanaBurnBuilder
from xstock_chains.solana.chain import SolanaFacts, resolve_chain
from xstock_chains.solana.codec import SolanaReleaseCodec
from xstock_chains.solana.programs import (
    ata_of,
    burn_checked,
    compute_price,
    memo,
    set_pause,
)
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Rpc
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.writer import SolanaWriter
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_devnet.engines.solana import SolanaNode
from xstock_runtime.hashing import keccak256

HOLDINGS = 1_000_000 * SHARE


class SolanaUnderTest:
    """`ChainUnderTest` over a deployed world."""

    asset = TSLA
    holder = HOLDER.wire
    elsewhere = Domain.BNB
    away = ELSEWHERE
    counted = False
    guards: Sequence[Signer] = GUARDS
    guard_ids: tuple[str, ...] = GUARD_IDS
    threshold = 2
    batch_items_max = 1
    slotted = False
    replaces = False
    skips = False
    assets_mix = False
    shows_unfinal = True

    def __init__(self, world: World, number: int, readers: int = 1) -> None:
        self.world = world
        self._readers = readers
        self._burns = count(1)
        self.start = Cursor(Domain.SOLANA)
        self.reorganised = False
        self.recipient = LocalSigner(keccak256(b"recipient%d" % number)).wire
        self.domain = world.chain.domain
        self.bridge = world.reference()
        self.relayer: Signer = world.relayer
        self.relayer_address = world.relayer.wire
        self.reader: ChainReader = self.new_reader()
        self.writer: ChainWriter = world.writer
        self.codec: ReleaseCodec = world.codec
        self.builder: BurnBuilder = SolanaBurnBuilder(world.chain, world.registry, world.rpc)
        self.admin: ChainAdmin = SolanaAdmin(world.chain, world.registry, world.rpc)
        other = replace(world.chain, genesis_hash=b"\x02" * 32)
        self.swapped_admin: ChainAdmin = SolanaAdmin(other, world.registry, world.rpc)

    def new_reader(self) -> ChainReader:
        """One reader on the same connection, or a quorum whose members page differently."""
        readers = [SolanaReader(self.world.chain, self.world.rpc) for _ in range(self._readers)]
        if len(readers) == 1:
            return readers[0]
        for number, reader in enumerate(readers):
            reader._span = 1 + 2 * number
        return Quorum(readers, len(readers) // 2 + 1)

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burns of the holder in one block."""
        mint, reference = self.world.mint(), self.world.reference()
        account = ata_of(HOLDER.identity, mint)
        text = f"xsb1:{int(self.elsewhere)}:{self.away.hex()}".encode()
        burns = [
            await self.world.send(
                [
                    compute_price(next(self._burns)),
                    memo(text, HOLDER.identity),
                    burn_checked(account, mint, HOLDER.identity, amount, reference),
                ],
                HOLDER,
                mine=False,
            )
            for amount in amounts
        ]
        await self.mine()
        return burns

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """The one transaction, signed by the holder."""
        message = bytes.fromhex(json.loads(burn.payload)["message"][2:])
        return await self.world.send_message(message, HOLDER)

    async def mine(self, blocks: int = 1) -> None:
        """Blocks."""
        await self.world.mine(blocks)

    async def finalize(self) -> None:
        """The present head becomes final."""
        await self.world.finalize()

    async def drop(self, tx: TxRef) -> None:
        """The block of the transaction and all after it go."""
        self.reorganised = True
        await self.world.control("drop_tx", tx=b58encode(tx.id).decode())

    async def break_finality(self) -> None:
        """Final blocks are replaced; the node calls their successors final."""
        self.reorganised = True
        await self.world.control("break_finality", depth=4)

    async def time(self) -> int:
        """The newest block's time."""
        return await self.world.time()

    async def set_paused(self, *, paused: bool) -> None:
        """The mint's pause by the agent, in a block."""
        await self.world.send([set_pause(self.world.mint(), AGENT.identity, paused=paused)], AGENT)

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares at the head."""
        return await self.world.shares_of(holder)


class SolanaDeployments:
    """One node for many tests, and a new one after a test that reorganised it."""

    def __init__(self, folder: Path, readers: int = 1) -> None:
        self._readers = readers
        self._folder = folder
        self._numbers = count()
        self._running = AsyncExitStack()
        self._last: SolanaUnderTest | None = None
        self._node: SolanaNode | None = None
        self._rpc: Rpc | None = None

    async def fresh(self) -> SolanaUnderTest:
        """A new deployment, with a rich holder."""
        number = next(self._numbers)
        if self._last is None or self._last.reorganised:
            await self.aclose()
            self._node = await self._running.enter_async_context(
                SolanaNode(self._folder / str(number), block_ms=20, final_blocks=4)
            )
            self._rpc = Rpc(self._node.url)
            self._running.push_async_callback(self._rpc.aclose)
        assert self._node is not None
        assert self._rpc is not None
        world = await _deployed(self._node, self._rpc, number)
        self._last = SolanaUnderTest(world, number, self._readers)
        _, self._last.start = await world.read_all()
        return self._last

    async def aclose(self) -> None:
        """Stop the node."""
        await self._running.aclose()


async def _deployed(node: SolanaNode, rpc: Rpc, number: int) -> World:
    """A bridge with keys of this number's own, a rich holder, blocks made by hand."""
    deployer = LocalSigner(keccak256(b"deployer%d" % number))
    relayer = LocalSigner(keccak256(b"relayer%d" % number))
    await control(node, "automine", on=True)
    await control(node, "fund", address=show(deployer.identity), amount=1_000 * SOL)
    await control(node, "mine", blocks=2)
    what = order([AssetOrder("TSLAx", minimum_shares=1000)], relayer)
    deployment = await deploy(rpc, what, by=deployer)
    await deployment.fund([key.wire for key in (relayer, HOLDER, AGENT)])
    registry = registry_of(deployment)
    chain = resolve_chain(registry, Domain.SOLANA, SolanaFacts())
    codec = SolanaReleaseCodec(chain)
    reader, writer = SolanaReader(chain, rpc), SolanaWriter(chain, rpc, codec)
    world = World(node, rpc, chain, registry, codec, reader, writer, relayer)
    await world.control("automine", on=False)
    await world.issue(HOLDINGS)
    await world.finalize()
    return world
