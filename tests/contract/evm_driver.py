"""The EVM family under the contract suite: real contracts on a local node, mined by hand.

One node serves the session; every test starts from the same snapshot, with readers that have
no memory of the test before.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from tests.chains.evm.world import (
    ADMIN,
    ELSEWHERE,
    GUARDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SHARE,
    TSLA,
    World,
    running_world,
)
from tests.contract.driver import with_issuer_inventory
from xstock_chains.evm.admin import EvmAdmin
from xstock_chains.evm.builder import EvmBurnBuilder
from xstock_chains.evm.chain import EvmFacts, resolve_chain
from xstock_chains.evm.office import EvmOffice
from xstock_chains.evm.reader import EvmReader, eth_call
from xstock_chains.evm.rpc import data_of, quantity
from xstock_chains.evm.signer import LocalSigner
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
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of, selector
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_devnet.engines.anvil import dev_private_key
from xstock_runtime.clock import SystemClock

HOLDINGS = 1_000_000 * SHARE
KEYS = {
    "admin": dev_private_key(0),
    "agent": dev_private_key(4),
    "stranger": dev_private_key(5),
    **{f"guard-{n}": dev_private_key(10 + n) for n in range(4)},
}


class EvmUnderTest:
    """`ChainUnderTest` over a deployed world."""

    asset = TSLA
    holder = HOLDER.wire
    recipient = RECIPIENT.wire
    elsewhere = Domain.BNB
    away = ELSEWHERE
    counted = True
    guards: Sequence[Signer] = GUARDS
    threshold = 2
    relayer: Signer = RELAYER
    relayer_address = RELAYER.wire
    guard_ids: tuple[str, ...] = ("guard-0", "guard-1", "guard-2")
    batch_items_max = 200
    slotted = True
    replaces = True
    skips = True
    assets_mix = True
    shows_unfinal = True
    spare_guard: Signer = LocalSigner.from_hex(KEYS["guard-3"])
    delay_seconds = 600
    redeems_while_paused = True
    pause_ends = True
    lifts = "admin"

    def __init__(self, world: World, start: Cursor, readers: int = 1) -> None:
        self.world = world
        self._readers = readers
        self.start = start
        self.reorganised = False
        self.domain = world.chain.domain
        self.bridge = world.chain.bridge.wire
        self.reader: ChainReader = self.new_reader()
        self.writer: ChainWriter = world.writer
        self.codec: ReleaseCodec = world.codec
        both = _with_a_destination(world.registry)
        self.builder: BurnBuilder = EvmBurnBuilder(world.chain, both, world.rpc)
        self.admin: ChainAdmin = EvmAdmin(world.chain, both, world.rpc)
        other = resolve_chain(both, Domain.BNB, EvmFacts())
        self.swapped_admin: ChainAdmin = EvmAdmin(other, both, world.rpc)

    def new_reader(self, issuer_inventory: Sequence[Address32] = ()) -> ChainReader:
        """One reader on the same connection, or a quorum whose members page differently."""
        registry = with_issuer_inventory(
            self.world.registry, self.domain, self.asset, issuer_inventory
        )
        chain = resolve_chain(registry, self.domain, self.world.chain.facts)
        readers = [EvmReader(chain, self.world.rpc) for _ in range(self._readers)]
        if len(readers) == 1:
            return readers[0]
        for number, reader in enumerate(readers):
            reader._span = 1 + 2 * number
        return Quorum(readers, len(readers) // 2 + 1)

    async def burn(self, *amounts: int) -> Sequence[TxRef]:
        """Burns of the holder in one block."""
        bridge = self.world.chain.bridge.address
        burns = [
            await self._send(HOLDER.identity, bridge, self.world.burn_data(amount))
            for amount in amounts
        ]
        await self.mine()
        return burns

    async def execute_burn(self, burn: UnsignedBurn) -> TxRef:
        """The built transactions, one block each; the last one is the burn."""
        tx = None
        for step in json.loads(burn.payload)["transactions"]:
            to, data = bytes.fromhex(step["to"][2:]), bytes.fromhex(step["data"][2:])
            tx = await self._send(bytes.fromhex(step["from"][2:]), to, data)
            await self.mine()
        assert tx is not None
        return tx

    async def mine(self, blocks: int = 1) -> None:
        """Blocks."""
        await self.world.mine(blocks)

    async def finalize(self) -> None:
        """The present head becomes final."""
        await self.world.finalize()

    async def drop(self, tx: TxRef) -> None:
        """The block of the transaction and all after it are replaced by empty ones."""
        receipt = await self.world.rpc.call("eth_getTransactionReceipt", hex_of(tx.id))
        head = quantity(await self.world.rpc.call("eth_blockNumber"), "blockNumber")
        await self._reorg(head - quantity(receipt["blockNumber"], "blockNumber") + 1)

    async def break_finality(self) -> None:
        """Final blocks are replaced; the node calls their successors final."""
        await self._reorg(4)

    async def time(self) -> int:
        """The newest block's time."""
        block = await self.world.rpc.call("eth_getBlockByNumber", "latest", False)
        return quantity(block["timestamp"], "timestamp")

    async def set_paused(self, *, paused: bool) -> None:
        """The token's pause by its pauser, in a block."""
        data = selector("setPause(bool)") + encode(["bool"], [paused])
        await self._send(ADMIN.identity, self.world.token("TSLAx"), data)
        await self.mine()

    async def shares_of(self, holder: Address32) -> int:
        """The holder's shares at the head."""
        data = selector("sharesOf(address)") + holder
        method, params = eth_call(self.world.token("TSLAx"), data, "latest")
        raw = data_of(await self.world.rpc.call(method, *params), "sharesOf", 32)
        return int.from_bytes(raw, "big") // 10**10

    # ------------------------------------------------------------------ for the office

    def key_file(self, who: str) -> Path:
        """A development account's key."""
        path = self.world.node.folder / f"{who}.key"
        path.write_text(KEYS[who])
        return path

    def office(self, who: str | None) -> ChainOffice:
        """An office on the world's connection."""
        key = None if who is None else self.key_file(who)
        return EvmOffice(self.world.chain, self.world.rpc, SystemClock(), key)

    @asynccontextmanager
    async def blocks_coming(self) -> AsyncIterator[None]:
        """A block for every transaction."""
        await self.world.rpc.call("evm_setAutomine", True)
        try:
            yield
        finally:
            await self.world.rpc.call("evm_setAutomine", False)

    async def adopt(
        self, guards: Sequence[Signer], guard_ids: Sequence[str], new: GuardSet
    ) -> None:
        """The contract holds the guards; the ports know none."""
        self.guards, self.guard_ids = guards, tuple(guard_ids)
        self.threshold = new.threshold

    async def pass_time(self, seconds: int) -> None:
        """The next block's time lies so much later."""
        await self.world.rpc.call("evm_increaseTime", seconds)
        await self.mine()

    async def redeem(self, amount: int) -> bool:
        """A burn of the holder to custody."""
        return await self._burned(self.world.burn_data(amount, destination=Domain.CUSTODY))

    async def try_burn(self, amount: int) -> bool:
        """A burn of the holder to another chain."""
        return await self._burned(self.world.burn_data(amount))

    async def _burned(self, data: bytes) -> bool:
        tx = await self._send(HOLDER.identity, self.world.chain.bridge.address, data)
        await self.mine()
        receipt = await self.world.rpc.call("eth_getTransactionReceipt", hex_of(tx.id))
        return quantity(receipt["status"], "status") == 1

    async def _send(self, sender: bytes, to: bytes, data: bytes) -> TxRef:
        fields: dict[str, Any] = {"from": hex_of(sender), "to": hex_of(to), "data": hex_of(data)}
        fields["gas"] = hex(3_000_000)
        tx = await self.world.rpc.call("eth_sendTransaction", fields)
        return TxRef(self.domain, bytes.fromhex(tx[2:]))

    async def _reorg(self, depth: int) -> None:
        self.reorganised = True
        await self.world.rpc.call("anvil_reorg", depth, [])


def _with_a_destination(registry: Registry) -> Registry:
    """The registry with BNB beside it, at addresses where nothing is."""
    document = registry.model_dump()
    (chain,) = document["chains"]
    (bridge,) = chain["bridges"]
    there = {"name": "bnb", "domain": 2, "network_id": 56, "genesis_hash": b"\x02" * 32}
    there["bridges"] = ({**bridge, "address": "0x" + "22" * 20},)
    tokens = tuple(
        {**asset["deployments"][0], "chain": "bnb", "token": "0x" + f"{n + 48:02x}" * 20}
        for n, asset in enumerate(document["assets"])
    )
    for asset, token in zip(document["assets"], tokens, strict=True):
        asset["deployments"] = (*asset["deployments"], token)
    return Registry.model_validate(document | {"chains": (chain, {**chain, **there})})


class EvmDeployments:
    """One node for many tests, and a new one after a test that reorganised it.

    anvil does not restore blocks that were reorganised away when it goes back to a snapshot.
    """

    def __init__(self, folder: Path, readers: int = 1) -> None:
        self._readers = readers
        self._folder = folder
        self._numbers = count()
        self._running = AsyncExitStack()
        self._snapshot = ""
        self._last: EvmUnderTest | None = None

    async def fresh(self) -> EvmUnderTest:
        """The chain as it was after set-up."""
        if self._last is None or self._last.reorganised:
            await self.aclose()
            world = await self._running.enter_async_context(
                running_world(self._folder / str(next(self._numbers)))
            )
            self._last = EvmUnderTest(world, await _set_up(world))
        else:
            assert await self._last.world.rpc.call("evm_revert", self._snapshot) is True
        self._snapshot = await self._last.world.rpc.call("evm_snapshot")
        self._last = EvmUnderTest(self._last.world, self._last.start, self._readers)
        return self._last

    async def aclose(self) -> None:
        """Stop the node."""
        await self._running.aclose()


async def _set_up(world: World) -> Cursor:
    """Make the holder rich, take mining into our hands, and say where reading begins."""
    await world.issue(HOLDINGS)
    await world.approve()
    await world.finalize()
    _, start = await world.read_all()
    await world.rpc.call("evm_setAutomine", False)
    return start
