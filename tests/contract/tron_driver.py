"""The Tron family under the contract suite: real contracts on a local chain, mined by hand.

One node serves the session; every test deploys anew, so its bridge and tokens are nobody else's
and a reorganisation in one test means nothing to the next.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path

from tests.chains.tron.world import (
    ELSEWHERE,
    GUARD_IDS,
    GUARDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SHARE,
    TSLA,
    World,
    blocks_coming,
    local_node,
    world_on,
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
    PreparedTx,
    ReleaseCodec,
    SendSlot,
    Signer,
    UnsignedBurn,
)
from xstock_chains.quorum import Quorum
from xstock_chains.solidity.account import from_wire
from xstock_chains.tron.address import account_text
from xstock_chains.tron.admin import TronAdmin
from xstock_chains.tron.blocks import landed
from xstock_chains.tron.builder import TronBurnBuilder
from xstock_chains.tron.chain import resolve_chain
from xstock_chains.tron.frames import frame_text, read_heads
from xstock_chains.tron.office import TronOffice
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.transaction import decode
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.tron import TronNode
from xstock_runtime.clock import SystemClock

HOLDINGS = 1_000_000 * SHARE
KEYS = {
    "admin": dev_private_key(0),
    "agent": dev_private_key(4),
    "stranger": dev_private_key(5),
    **{f"guard-{n}": dev_private_key(10 + n) for n in range(4)},
}
PEOPLE = tuple(TronSigner.from_hex(key) for who, key in KEYS.items() if who != "admin")
"""Who needs money for fees; the admin is the local chain's faucet."""
FEE_MONEY_SUN = 10**9


class TronUnderTest:
    """`ChainUnderTest` over a deployed world."""

    asset = TSLA
    holder = HOLDER.wire
    recipient = RECIPIENT.wire
    elsewhere = Domain.BNB
    away = ELSEWHERE
    counted = True
    guards: Sequence[Signer] = GUARDS
    guard_ids: tuple[str, ...] = GUARD_IDS
    threshold = 2
    relayer: Signer = RELAYER
    relayer_address = RELAYER.wire
    batch_items_max = 20
    slotted = False
    replaces = False
    skips = True
    assets_mix = True
    shows_unfinal = True
    spare_guard: Signer = TronSigner.from_hex(KEYS["guard-3"])
    delay_seconds = 600
    redeems_while_paused = True
    pause_ends = True
    lifts = "admin"

    def __init__(self, world: World, start: Cursor, readers: int = 1) -> None:
        self.world = world
        self._readers = readers
        self.start = start
        self.domain = world.chain.domain
        self.bridge = world.chain.bridge.wire
        self.reader: ChainReader = self.new_reader()
        self.writer: ChainWriter = world.writer
        self.codec: ReleaseCodec = world.codec
        self.builder: BurnBuilder = TronBurnBuilder(world.chain, world.registry, world.rpc)
        self.admin: ChainAdmin = TronAdmin(world.chain, world.registry, world.rpc)
        other = replace(world.chain, genesis_hash=b"\x02" * 32, chain_id=0x02020202)
        self.swapped_admin: ChainAdmin = TronAdmin(other, world.registry, world.rpc)

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """One reader on the same connection, or a quorum whose members page differently."""
        registry = with_issuer_inventory(
            self.world.registry, self.domain, self.asset, issuer_inventory
        )
        chain = resolve_chain(registry, self.domain, self.world.chain.facts)
        readers = [TronReader(chain, self.world.rpc) for _ in range(self._readers)]
        if len(readers) == 1:
            return readers[0]
        for number, reader in enumerate(readers):
            reader._span = 1 + 2 * number
        return Quorum(readers, len(readers) // 2 + 1)

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burns of the holder in one block."""
        return await self.world.burn(*amounts)

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """The built transactions, one block each; the last one is the burn."""
        ref = None
        for step in json.loads(burn.payload)["transactions"]:
            raw = bytes.fromhex(step["raw_data"])
            slot = SendSlot(self.domain, HOLDER.wire, frame_text(decode(raw).frame))
            prepared = PreparedTx(self.domain, slot, raw, "", simulated=False)
            ref = await self.writer.broadcast(await HOLDER.sign_transaction(prepared))
            await self.mine()
        assert ref is not None
        return ref

    async def mine(self, blocks: int = 1) -> None:
        """Blocks."""
        await self.world.mine(blocks)

    async def finalize(self) -> None:
        """The present head becomes solid."""
        await self.world.finalize()

    async def drop(self, tx: TxRef) -> None:
        """The transaction is gone for good."""
        await self.world.control("drop_tx", tx=tx.id.hex())

    async def break_finality(self) -> None:
        """Solid blocks are replaced by others, solid in their turn."""
        await self.world.control("break_finality", depth=2)

    async def time(self) -> int:
        """The newest block's time."""
        _, _, newest = await read_heads(self.world.rpc)
        return newest.time_ms // 1000

    async def set_paused(self, *, paused: bool) -> None:
        """The token's pause by its pauser, in a block."""
        await self.world.set_paused(paused=paused)

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares at the head."""
        return await self.world.shares_of(from_wire(holder))

    # ------------------------------------------------------------------ for the office

    def key_file(self, who: str) -> Path:
        """A development account's key."""
        path = self.world.node.folder / f"{who}.key"
        path.write_text(KEYS[who])
        return path

    def office(self, who: str | None) -> ChainOffice:
        """An office on the world's connection."""
        key = None if who is None else self.key_file(who)
        return TronOffice(self.world.chain, self.world.rpc, SystemClock(), key)

    def blocks_coming(self) -> AbstractAsyncContextManager[None]:
        """A block every few milliseconds."""
        return blocks_coming(self.world.node.url)

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """The contract holds the guards; the ports know none."""
        self.guards, self.guard_ids = guards, tuple(guard_ids)
        self.threshold = new.threshold

    async def pass_time(self, seconds: int) -> None:
        """The chain's clock is set so much later."""
        await self.world.control("warp", seconds=seconds)
        await self.mine()

    async def redeem(self, amount: int) -> bool:
        """A burn of the holder to custody."""
        return await self._burned(self.world.burn_data(amount, destination=Domain.CUSTODY))

    async def try_burn(self, amount: int) -> bool:
        """A burn of the holder to another chain."""
        return await self._burned(self.world.burn_data(amount))

    async def _burned(self, data: bytes) -> bool:
        tx = await self.world.send(HOLDER, self.world.chain.bridge.address, data)
        await self.mine()
        return landed(await self.world.info(tx))


class TronDeployments:
    """One node for many tests, each with a deployment of its own."""

    def __init__(self, folder: Path, readers: int = 1) -> None:
        self._folder = folder
        self._readers = readers
        self._running = AsyncExitStack()
        self._node: TronNode | None = None

    async def fresh(self) -> TronUnderTest:
        """A new deployment, a rich holder, and where reading begins."""
        if self._node is None:
            self._node = await self._running.enter_async_context(local_node(self._folder))
        world = await world_on(self._node)
        self._running.push_async_callback(world.rpc.aclose)
        await world.issue(HOLDINGS)
        await world.approve()
        for one in PEOPLE:
            address = account_text(one.identity)
            await world.control("fund", address=address, amount=FEE_MONEY_SUN)
        await world.finalize()
        _, start = await world.read_all()
        return TronUnderTest(world, start, self._readers)

    async def aclose(self) -> None:
        """Stop the node."""
        await self._running.aclose()
