"""TON under the contract suite: the real contracts on a local chain, mined by hand.

One node serves the session; every test gets a minter, a holder and a relayer of its own on it.
A call crosses several accounts and a block each, so `mine` makes the blocks of a whole trace.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from tests.chains.ton.world import (
    ELSEWHERE,
    FINAL_BLOCKS,
    GUARDS,
    TSLA,
    Chains,
    World,
    running_chains,
    text_of,
)
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
from xstock_chains.ton.address import parse_text
from xstock_chains.ton.admin import TonAdmin
from xstock_chains.ton.builder import TonBurnBuilder
from xstock_chains.ton.cells import internal_message
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import parse_boc
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef


class TonUnderTest:
    """`ChainUnderTest` over a fresh minter."""

    domain = Domain.TON
    asset = TSLA
    elsewhere = Domain.BNB
    away = ELSEWHERE
    counted = True
    guards: Sequence[Signer] = GUARDS
    guard_ids = ("guard-0", "guard-1", "guard-2")
    threshold = 2
    batch_items_max = 100
    slotted = False
    replaces = False
    skips = True
    assets_mix = False
    shows_unfinal = False

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

    def new_reader(self) -> ChainReader:
        """One reader on the same connection, or a quorum of them."""
        readers = [TonReader(self.world.chain, self.world.api) for _ in range(self._readers)]
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
        world = await self._chains.fresh()
        _, start = await world.read_all()
        self._last = TonUnderTest(world, start, self._readers)
        return self._last

    async def aclose(self) -> None:
        """Stop the node."""
        await self._running.aclose()
