"""The Solana family under the contract suite: the real Token-2022 on a local chain, mined by hand.

One node serves the session; every test deploys with a key of its own, so its mints and multisig
are nobody else's. A test that reorganised the chain ends the node.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
    STRANGER,
    TSLA,
    World,
    control,
    deploy,
    order,
    registry_of,
)
from tests.contract.driver import with_issuer_inventory
from xstock_chains.ports import (
    AssetOrder,
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
from xstock_chains.solana.address import show
from xstock_chains.solana.admin import SolanaAdmin
from xstock_chains.solana.builder import SolanaBurnBuilder
from xstock_chains.solana.chain import Multisig, SolanaFacts, resolve_chain
from xstock_chains.solana.codec import SolanaReleaseCodec
from xstock_chains.solana.mint import multisig_data, parse_mint
from xstock_chains.solana.office import SolanaOffice
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
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256

HOLDINGS = 1_000_000 * SHARE


SPARE = LocalSigner(b"\x0e" * 32)
CUSTODIAN = Address32(b"\x07" * 32)
KEYS = {
    "agent": AGENT,
    "stranger": STRANGER,
    **dict(zip(GUARD_IDS, GUARDS, strict=True)),
    "guard-3": SPARE,
}


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
    spare_guard: Signer = SPARE
    delay_seconds = 0
    redeems_while_paused = False
    pause_ends = False
    lifts = "agent"

    def __init__(self, world: World, number: int, readers: int = 1) -> None:
        self.world = world
        self._deployer = deployer_of(number)
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

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """One reader on the same connection, or a quorum whose members page differently."""
        registry = with_issuer_inventory(
            self.world.registry, Domain.SOLANA, self.asset, issuer_inventory
        )
        assets = resolve_chain(registry, Domain.SOLANA, self.world.chain.facts).assets
        chain = replace(self.world.chain, assets=assets)
        readers = [SolanaReader(chain, self.world.rpc) for _ in range(self._readers)]
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

    # ------------------------------------------------------------------ for the office

    def key_file(self, who: str) -> Path:
        """The seed of a key."""
        key = self._deployer if who == "admin" else KEYS[who]
        path = self.world.node.folder / f"{who}.key"
        path.write_text(bytes(key._key).hex(), encoding="ascii")
        return path

    def office(self, who: str | None) -> ChainOffice:
        """An office on the world's connection."""
        key = None if who is None else LocalSigner.from_file(self.key_file(who))
        return SolanaOffice(self.world.chain, self.world.rpc, key, SystemClock())

    @asynccontextmanager
    async def blocks_coming(self) -> AsyncIterator[None]:
        """Blocks by the clock."""
        await self.world.control("automine", on=True)
        try:
            yield
        finally:
            await self.world.control("automine", on=False)

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """The ports of a registry with the mints' new multisig."""
        world = self.world
        self.guards, self.guard_ids, self.threshold = guards, tuple(guard_ids), new.threshold
        named = {one.identity: name for one, name in zip(guards, guard_ids, strict=True)}
        authority = parse_mint(await world.account(world.mint()), "mint").authority
        assert authority is not None
        data = multisig_data(new.threshold, new.identities)
        world.chain = replace(
            world.chain,
            multisig=Multisig(authority, keccak256(data)),
            predecessors=(*world.chain.predecessors, world.chain.multisig.key),
            guards=new.identities,
            guard_ids=tuple(named[key] for key in new.identities),
            threshold=new.threshold,
            epoch=new.epoch,
        )
        world.codec = SolanaReleaseCodec(world.chain)
        world.writer = SolanaWriter(world.chain, world.rpc, world.codec)
        self.codec, self.writer = world.codec, world.writer

    async def pass_time(self, seconds: int) -> None:
        """The chain's clock jumps."""
        await self.world.control("warp", seconds=seconds)
        await self.mine()

    async def redeem(self, amount: int) -> bool:
        """A burn of the holder to custody."""
        return await self._burned(f"xsb1:{int(Domain.CUSTODY)}:{CUSTODIAN.hex()}", amount)

    async def try_burn(self, amount: int) -> bool:
        """A burn of the holder to another chain."""
        return await self._burned(f"xsb1:{int(self.elsewhere)}:{self.away.hex()}", amount)

    async def _burned(self, text: str, amount: int) -> bool:
        mint, owner = self.world.mint(), HOLDER.identity
        burn = burn_checked(ata_of(owner, mint), mint, owner, amount, self.world.reference())
        price = compute_price(next(self._burns))
        tx = await self.world.send([price, memo(text.encode(), owner), burn], HOLDER)
        return await self.world.outcome(tx) is None


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


def deployer_of(number: int) -> LocalSigner:
    """Each deployment's own key, so that its addresses are nobody else's."""
    return LocalSigner(keccak256(b"deployer%d" % number))


async def _deployed(node: SolanaNode, rpc: Rpc, number: int) -> World:
    """A bridge with keys of this number's own, a rich holder, blocks made by hand."""
    deployer = deployer_of(number)
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
