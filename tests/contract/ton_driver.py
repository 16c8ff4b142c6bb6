"""TON under the contract suite: the real contracts on a local chain, mined by hand.

One node serves the session; every test gets a minter, a holder and a relayer of its own on it.
A call crosses several accounts and a block each, so `mine` makes the blocks of a whole trace.
"""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from pytoniq_core.boc.cell import Cell

from tests.chains.ton.world import (
    DEPLOYER,
    ELSEWHERE,
    FINAL_BLOCKS,
    GUARDS,
    TSLA,
    Chains,
    World,
    running_chains,
    text_of,
)
from tests.contract.driver import with_issuer_inventory
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
from xstock_chains.ton.address import parse_text
from xstock_chains.ton.admin import TonAdmin
from xstock_chains.ton.builder import TonBurnBuilder
from xstock_chains.ton.cells import internal_message
from xstock_chains.ton.chain import resolve_chain
from xstock_chains.ton.doors import codec_of
from xstock_chains.ton.messages import burn_payload
from xstock_chains.ton.office import TonOffice
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import parse_boc
from xstock_chains.ton.signer import LocalSigner
from xstock_chains.ton.writer import TonWriter
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_runtime.clock import SystemClock

DELAY_SECONDS = 600
SPARE = LocalSigner(b"\x18" * 32)
STRANGER = LocalSigner(b"\x51" * 32)
CUSTODIAN = Address32(b"\x07" * 32)


class TonUnderTest:
    """`ChainUnderTest` over a fresh minter."""

    domain = Domain.TON
    asset = TSLA
    elsewhere = Domain.BNB
    away = ELSEWHERE
    counted = True
    guards: Sequence[Signer] = GUARDS
    guard_ids: tuple[str, ...] = ("guard-0", "guard-1", "guard-2")
    threshold = 2
    batch_items_max = 100
    slotted = False
    replaces = False
    skips = True
    assets_mix = False
    shows_unfinal = False
    spare_guard: Signer = SPARE
    delay_seconds = DELAY_SECONDS
    redeems_while_paused = True
    pause_ends = True
    lifts = "admin"

    def __init__(self, world: World, start: Cursor, readers: int = 1) -> None:
        self.world = world
        self.start = start
        self.broken = False
        self._readers = readers
        self.bridge = world.bridge
        self.holder = world.holder_account
        self.recipient = world.recipient
        self.relayer: Signer = world.relayer
        self.relayer_address = world.relayer.relayer_wallet
        self.reader: ChainReader = self.new_reader()
        self.writer: ChainWriter = world.writer
        self.codec: ReleaseCodec = world.codec
        self.builder: BurnBuilder = TonBurnBuilder(world.chain, world.registry, world.api)
        self.admin: ChainAdmin = TonAdmin(world.chain, world.api)
        other = replace(world.chain, global_id=-3, zero_state=b"\x05" * 32)
        self.swapped_admin: ChainAdmin = TonAdmin(other, world.api)

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """One reader on the same connection, or a quorum of them."""
        registry = with_issuer_inventory(
            self.world.registry, self.domain, self.asset, issuer_inventory
        )
        chain = replace(self.world.chain, minters=resolve_chain(registry, self.domain).minters)
        readers = [TonReader(chain, self.world.api) for _ in range(self._readers)]
        return readers[0] if len(readers) == 1 else Quorum(readers, len(readers) // 2 + 1)

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burns of the holder in one block; the minter's transactions."""
        before = {tx.hash for tx in await self.world.landed(self.bridge)}
        await self.world.burn(*amounts)
        return await self._new_at_the_minter(before)

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """The built message by the holder's wallet."""
        (message,) = json.loads(burn.payload)["messages"]
        before = {tx.hash for tx in await self.world.landed(self.bridge)}
        body = parse_boc(base64.b64encode(bytes.fromhex(message["body"])), "body")
        to, value = parse_text(message["to"]), int(message["value"])
        await self.world.send_by_holder(internal_message(to, value, body))
        await self.mine()
        (burned,) = await self._new_at_the_minter(before)
        return burned

    async def _new_at_the_minter(self, before: set[bytes]) -> Sequence[TxRef]:
        found = await self.world.landed(self.bridge)
        return [TxRef(self.domain, tx.hash) for tx in found if tx.hash not in before]

    async def mine(self, blocks: int = 1) -> None:
        """Blocks enough for whole traces."""
        await self.world.mine(blocks)

    async def finalize(self) -> None:
        """What is in a block is committed, block by block."""
        await self.world.finalize()

    async def drop(self, tx: TxRef) -> None:
        """The whole trace of a message or a transaction is gone for good."""
        await self.world.devnet("drop_tx", tx=text_of(tx.id))

    async def break_finality(self) -> None:
        """Committed blocks are replaced by others."""
        self.broken = True
        await self.world.devnet("break_finality", depth=FINAL_BLOCKS)

    async def time(self) -> int:
        """The chain's time."""
        return int((await self.world.devnet("state"))["time"])

    async def set_paused(self, *, paused: bool) -> None:
        """The agent's pause, lifted by the admin."""
        await (self.world.pause() if paused else self.world.unpause())

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares once everything is committed: nothing else can be read."""
        await self.finalize()
        return await self.world.units_of(holder)

    # ------------------------------------------------------------------ for the office

    def key_file(self, who: str) -> Path:
        """The seed of a key."""
        guards = dict(zip(self.guard_ids, GUARDS, strict=False))
        named = {
            "agent": self.world.agent,
            "admin": DEPLOYER,
            "stranger": STRANGER,
            "guard-3": SPARE,
            **guards,
        }
        path = self.world.node.folder / f"{who}-{self.bridge.hex()[:16]}.key"
        path.write_text(bytes(named[who]._key).hex(), encoding="ascii")
        return path

    def office(self, who: str | None) -> ChainOffice:
        """An office on the world's connection."""
        key = None if who is None else LocalSigner.from_file(self.key_file(who))
        return TonOffice(self.world.chain, self.world.api, key, SystemClock())

    @asynccontextmanager
    async def blocks_coming(self) -> AsyncIterator[None]:
        """Blocks by the clock; whoever may act has coins."""
        people = (*GUARDS, SPARE, STRANGER)
        await self.world.give(*(one.holder_wallet for one in people))
        await self.world.finalize()
        await self.world.devnet("automine", on=True)
        try:
            yield
        finally:
            await self.world.devnet("automine", on=False)

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """The ports of a registry with the new set."""
        world = self.world
        self.guards, self.guard_ids, self.threshold = guards, tuple(guard_ids), new.threshold
        world.chain = replace(
            world.chain,
            guards=new.identities,
            threshold=new.threshold,
            guard_epoch=new.epoch,
        )
        world.codec = codec_of(world.chain)
        world.writer = TonWriter(world.chain, world.api, world.codec)
        self.codec, self.writer = world.codec, world.writer

    async def pass_time(self, seconds: int) -> None:
        """The chain's clock jumps, and its blocks say so."""
        await self.world.devnet("warp", seconds=seconds)
        await self.finalize()

    async def redeem(self, amount: int) -> bool:
        """A burn of the holder to custody."""
        return await self._burned(amount, burn_payload(int(Domain.CUSTODY), CUSTODIAN, None))

    async def try_burn(self, amount: int) -> bool:
        """A burn of the holder to another chain."""
        return await self._burned(amount, None)

    async def _burned(self, amount: int, payload: Cell | None) -> bool:
        before = {tx.hash for tx in await self.world.landed(self.bridge)}
        await self.world.send_by_holder(self.world.burn_message(amount, payload))
        await self.mine()
        landed = await self.world.landed(self.bridge)
        (burned,) = [tx for tx in landed if tx.hash not in before]
        return burned.succeeded


class TonDeployments:
    """One node for many tests, and a new one after a test that broke its finality."""

    def __init__(self, folder: Path, readers: int = 1) -> None:
        self._folder = folder
        self._readers = readers
        self._numbers = count()
        self._running = AsyncExitStack()
        self._chains: Chains | None = None
        self._last: TonUnderTest | None = None

    async def fresh(self) -> TonUnderTest:
        """A fresh minter."""
        if self._chains is None or (self._last is not None and self._last.broken):
            await self.aclose()
            folder = self._folder / str(next(self._numbers))
            self._chains = await self._running.enter_async_context(running_chains(folder))
        world = await self._chains.fresh(delay_seconds=DELAY_SECONDS)
        _, start = await world.read_all()
        self._last = TonUnderTest(world, start, self._readers)
        return self._last

    async def aclose(self) -> None:
        """Stop the node."""
        await self._running.aclose()
