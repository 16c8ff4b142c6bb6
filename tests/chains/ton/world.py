"""One local TON chain and, per test, a fresh minter on it, deployed by the product's own plan.

Everything goes through the adapter under test, except what an outsider does: blocks, coins and
reorgs by the control API, other people's wallets by their keys.
"""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ports import (
    AssetOrder,
    Cursor,
    DeploymentOrder,
    GuardSignature,
    PreparedTx,
    ReleaseOrder,
    SendSlot,
    SignedTx,
)
from xstock_chains.registry import Registry
from xstock_chains.ton.address import raw, show
from xstock_chains.ton.cells import end, internal_message
from xstock_chains.ton.chain import TonChain, TonMinter, resolve_chain
from xstock_chains.ton.codec import TonReleaseCodec
from xstock_chains.ton.deploy import MINTER_VALUE, DeployPlan, plan_of
from xstock_chains.ton.doors import codec_of
from xstock_chains.ton.messages import APPLY, PAUSE, PROPOSE, burn_body, burn_payload, top_up_body
from xstock_chains.ton.minter import artifact, jetton_wallet
from xstock_chains.ton.purse import Purse
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import Toncenter, Transaction
from xstock_chains.ton.signer import HIGHLOAD, LocalSigner, payload
from xstock_chains.ton.wallets import V4_MESSAGES_MAX, highload_inner
from xstock_chains.ton.writer import TonWriter, parse_query
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, asset_id, issue_nonce
from xstock_core.observation import Observation
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.ton import TonNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256

SHARE = 10**8
TON = 10**9
GLOBAL_ID = -239
FINAL_BLOCKS = 12
BLOCK_MS = 40
"""While a test lets the chain make blocks by itself."""
TRACE_BLOCKS = 7
"""Blocks in which an external message has had all its effects, and its first is not final."""
TSLA = asset_id("TSLAx", keccak256)
DEPLOYER = LocalSigner.from_hex(dev_private_key(0))
GUARDS = tuple(LocalSigner(bytes((n,)) * 32) for n in (21, 22, 23))
ELSEWHERE = Address32(bytes(12) + bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc"))
UNPAUSE = 1
VALUE = 60_000_000


@dataclass
class World:
    """A deployed minter and hands to move its chain."""

    node: TonNode
    api: Toncenter
    control: httpx.AsyncClient
    chain: TonChain
    registry: Registry
    codec: TonReleaseCodec
    reader: TonReader
    writer: TonWriter
    holder: LocalSigner
    relayer: LocalSigner
    agent: LocalSigner
    recipient: Address32
    plan: DeployPlan
    guards: Sequence[LocalSigner] = GUARDS
    opened: list[Toncenter] = field(default_factory=list)
    orders: int = 0
    sent: int = 0

    @property
    def holder_account(self) -> Address32:
        """The holder's account: a wallet whose sends need not wait for each other."""
        return self.holder.relayer_wallet

    @property
    def minter(self) -> TonMinter:
        """The minter of the first asset."""
        return self.chain.minters[0]

    @property
    def bridge(self) -> Address32:
        """Its account."""
        return self.minter.address

    # ------------------------------------------------------------------ the chain itself

    async def devnet(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command of the control API."""
        answer = await self.control.post(f"{self.node.url}/devnet/{command}", json=arguments)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def mine(self, times: int = 1) -> None:
        """As many blocks as a message needs to have all its effects, so many times."""
        await self.devnet("mine", blocks=TRACE_BLOCKS * times)

    async def finalize(self) -> None:
        """Let everything that is in a block be committed, block by block."""
        await self.devnet("mine", blocks=FINAL_BLOCKS + 1)

    async def settle(self) -> None:
        """Let what was sent have all its effects, final."""
        await self.mine()
        await self.finalize()

    async def give(self, *accounts: Address32, coins: int = 100 * TON) -> None:
        """Coins, from the next block on."""
        for account in accounts:
            await self.devnet("fund", address=raw(account), amount=coins)

    async def send(self, signer: LocalSigner, *messages: Cell) -> bytes:
        """Messages of a v4r2 wallet, not mined yet; the normalised hash."""
        purse = Purse(Domain.TON, self.api, signer, SystemClock())
        signed = await purse.sign(messages, 2**32 - 1)
        return await self.api.send(signed.raw)

    async def send_by_holder(self, *messages: Cell) -> None:
        """Messages of the holder, each in a slot of its own, not mined yet."""
        head = await self.api.masterchain_head()
        for message in messages:
            self.sent += 1
            inner = highload_inner(self.sent, head.time - 30, message)
            slot = SendSlot(Domain.TON, self.holder_account, str(self.sent))
            content = payload(HIGHLOAD, inner, deploy=True)
            prepared = PreparedTx(Domain.TON, slot, content, "", simulated=False)
            await self.api.send((await self.holder.sign_transaction(prepared)).raw)

    def holder_of(self, name: bytes) -> LocalSigner:
        """Another key of this world."""
        return LocalSigner(keccak256(name + self.bridge))

    async def signed_message(self, message: Cell) -> SignedTx:
        """Any message of the relayer's, signed, in its next slot."""
        sender = self.relayer.relayer_wallet
        slot = await self.writer.next_slot(sender, ())
        query = parse_query(slot)
        content = payload(
            HIGHLOAD, highload_inner(query.counter, query.created_at, message), deploy=True
        )
        prepared = PreparedTx(Domain.TON, slot, content, "", simulated=False)
        return await self.relayer.sign_transaction(prepared)

    async def drop(self, tx: bytes) -> None:
        """A message or transaction and all that it caused is gone for good."""
        await self.devnet("drop_tx", tx=text_of(tx))

    async def landed(self, account: Address32) -> list[Transaction]:
        """An account's transactions that no masterchain block commits yet, oldest first."""
        return sorted(await self.api.pending([account]), key=lambda tx: tx.lt)

    # ------------------------------------------------------------------ burns

    def burn_message(self, amount: int, payload: Cell | None = None, value: int = VALUE) -> Cell:
        """The message of the holder's wallet that burns so many shares."""
        order = burn_payload(int(Domain.BNB), ELSEWHERE, None) if payload is None else payload
        body = burn_body(self.minter.asset.units(amount), self.holder_account, order)
        wallet = jetton_wallet(self.bridge, self.holder_account)
        return internal_message(wallet, value, body)

    async def burn(self, *amounts: int) -> None:
        """Burns of the holder, all in one block, with all their effects."""
        await self.send_by_holder(*(self.burn_message(amount) for amount in amounts))
        await self.mine()

    # ------------------------------------------------------------------ releases

    def item(self, counter: int, **changes: Any) -> ReleaseItem:
        """A valid issuance of one share to the holder, unless changed."""
        fields: dict[str, Any] = {
            "action": Action.RELEASE,
            "source": Domain.CUSTODY,
            "nonce": issue_nonce(TSLA, counter, keccak256),
            "asset": TSLA,
            "recipient": self.holder_account,
            "amount": Shares(SHARE),
        }
        return ReleaseItem(**(fields | changes))

    async def order(
        self, items: Sequence[ReleaseItem], signers: Sequence[LocalSigner] = GUARDS[:2]
    ) -> ReleaseOrder:
        """A batch signed by guards, good for half an hour of the chain's time."""
        head = await self.api.masterchain_head()
        batch = ReleaseBatch(Domain.TON, self.bridge, 1, head.time + 1800, sorted_items(items))
        digest = self.codec.digest(batch)
        signatures = [
            GuardSignature(one.identity, await one.sign_digest(digest)) for one in signers
        ]
        return ReleaseOrder(batch, tuple(signatures))

    async def signed(self, *items: ReleaseItem) -> SignedTx:
        """A prepared and signed release in the relayer's next slot."""
        order = await self.order(items)
        slot = await self.writer.next_slot(self.relayer.relayer_wallet, ())
        return await self.relayer.sign_transaction(await self.writer.prepare(order, slot))

    async def release(self, *items: ReleaseItem) -> SignedTx:
        """Release the items, with all their effects."""
        signed = await self.signed(*items)
        await self.writer.broadcast(signed)
        await self.mine()
        return signed

    async def issue(self, amount: int) -> None:
        """New shares for the holder, final."""
        self.orders += 1
        await self.release(self.item(self.orders, amount=Shares(amount)))
        await self.finalize()

    async def read_all(self, after: Cursor | None = None) -> tuple[list[Observation], Cursor]:
        """Every final observation after a cursor, and where reading ended."""
        cursor = after or Cursor(Domain.TON)
        found: list[Observation] = []
        while True:
            page = await self.reader.read_page(cursor, limit=100)
            found.extend(page.observations)
            cursor = page.cursor
            if not page.more:
                return found, cursor

    # ------------------------------------------------------------------ admin and agent

    async def pause(self) -> None:
        """The agent's pause, final."""
        body = Builder().store_uint(PAUSE, 32).store_uint(0, 64).store_uint(0, 64).store_bit(0)
        await self.send(self.agent, internal_message(self.bridge, VALUE, end(body)))
        await self.settle()

    async def unpause(self) -> None:
        """The admin proposes and, once the delay is over, applies."""
        count = (await self.api.run(self.bridge, "pause_state")).integer(1)
        action = end(Builder().store_uint(UNPAUSE, 8).store_uint(count, 32))
        for op in (PROPOSE, APPLY):
            body = end(Builder().store_uint(op, 32).store_uint(0, 64).store_ref(action))
            await self.send(DEPLOYER, internal_message(self.bridge, VALUE, body))
            await self.settle()
            if op == PROPOSE:
                await self.devnet("warp", seconds=self.plan.minters[0].delay_seconds)
                await self.finalize()

    async def units_of(self, owner: Address32) -> int:
        """Jetton units of an owner, committed ones."""
        wallet = jetton_wallet(self.bridge, owner)
        account = (await self.api.accounts([wallet])).get(wallet)
        if account is None or not account.active:
            return 0
        return (await self.api.run(wallet, "get_wallet_data")).integer(0)


def registry_of(plan: DeployPlan, zero_state: bytes, minters: Sequence[dict[str, Any]]) -> Registry:
    """The registry of this deployment, with BNB beside it at an address where nothing is."""
    bridge = {"deployed_block": 1, "code_hash": "0x" + "02" * 32, "retired_block": None}
    bnb = {"name": "bnb", "domain": 2, "family": "evm", "network_id": 56}
    common = {"finality": "finalized", "block_time_ms": 400}
    chains = [
        {
            **common,
            "name": "ton",
            "domain": 6,
            "family": "ton",
            "network_id": plan.global_id,
            "genesis_hash": "0x" + zero_state.hex(),
            "batch_items_max": plan.batch_items_max,
        },
        {
            **common,
            **bnb,
            "genesis_hash": "0x" + "02" * 32,
            "batch_items_max": 200,
            "bridges": [{**bridge, "address": "0x" + "22" * 20}],
        },
    ]
    assets = [
        {
            "symbol": minter["symbol"],
            "deployments": [
                {key: value for key, value in minter.items() if key != "symbol"},
                {
                    "chain": "bnb",
                    "token": "0x" + f"{number + 48:02x}" * 20,
                    "decimals": 18,
                    "kind": "evm_shares",
                    "minimum_shares": 1,
                },
            ],
        }
        for number, minter in enumerate(minters)
    ]
    guards = [
        {
            "id": f"guard-{number}",
            "keys": {"ton": guard.identity.hex(), "evm": "0x" + f"{number + 1:02x}" * 20},
            "endpoint": "127.0.0.1:1",
        }
        for number, guard in enumerate(GUARDS)
    ]
    document = {
        "deployment_id": "test",
        "environment": "development",
        "chains": chains,
        "assets": assets,
        "guards": guards,
        "threshold": 2,
        "guard_epoch": 1,
        "policy": {"attestation_age_seconds_max": 3600, "margin_bps": 0, "permit_seconds": 600},
    }
    return Registry.model_validate_json(json.dumps(document))


def order_of(*symbols: str, agent: str, delay_seconds: int = 0) -> DeploymentOrder:
    """What `xstock deploy` would ask for."""
    return DeploymentOrder(
        chain="ton",
        domain=Domain.TON,
        network_id=GLOBAL_ID,
        guards=tuple(guard.identity.hex() for guard in GUARDS),
        threshold=2,
        agent=agent,
        assets=tuple(AssetOrder(symbol) for symbol in symbols),
        block_time_ms=400,
        batch_items_max=100,
        delay_seconds=delay_seconds,
    )


class Chains:
    """One node for many tests; every world is a minter, keys and accounts of its own."""

    def __init__(self, node: TonNode) -> None:
        self.node = node
        self.control = httpx.AsyncClient(trust_env=False, timeout=60.0)
        self._apis: list[Toncenter] = []
        self._numbers = count(1)
        self.worlds: list[World] = []

    async def aclose(self) -> None:
        """Close the connections."""
        await self.control.aclose()
        for world in self.worlds:
            for opened in world.opened:
                await opened.aclose()
        for api in self._apis:
            await api.aclose()

    def connect(self, url: str | None = None) -> Toncenter:
        """One more connection, closed at the end."""
        api = Toncenter(url or self.node.url)
        self._apis.append(api)
        return api

    async def fresh(
        self,
        *symbols: str,
        decimals: int = 8,
        holdings: int = 1_000_000 * SHARE,
        delay_seconds: int = 0,
    ) -> World:
        """A minter per symbol with a rich holder and a funded relayer, all of it final."""
        number = next(self._numbers)
        holder, relayer, agent = (_key(number, role) for role in (b"h", b"r", b"a"))
        order = order_of(
            *(symbols or ("TSLAx",)), agent=agent.identity.hex(), delay_seconds=delay_seconds
        )
        plan = plan_of(order, DEPLOYER.holder_wallet, decimals)
        minters = tuple(replace(minter, salt=number) for minter in plan.minters)
        plan = replace(plan, minters=minters)
        api = self.connect()
        zero_state = await api.zero_state()
        code = "0x" + artifact("Bridge").hash.hex()
        entries = [
            {
                "symbol": minter.symbol,
                "chain": "ton",
                "token": show(minter.address),
                "decimals": decimals,
                "kind": "jetton",
                "minimum_shares": minter.minimum,
                "bridges": [
                    {
                        "address": show(minter.address),
                        "deployed_block": 1,
                        "code_hash": code,
                        "retired_block": None,
                    }
                ],
            }
            for minter in minters
        ]
        registry = registry_of(plan, zero_state, entries)
        chain = resolve_chain(registry, "ton")
        codec = codec_of(chain)
        world = World(
            node=self.node,
            api=api,
            control=self.control,
            chain=chain,
            registry=registry,
            codec=codec,
            reader=TonReader(chain, api),
            writer=TonWriter(chain, api, codec),
            holder=holder,
            relayer=relayer,
            agent=agent,
            recipient=Address32(keccak256(b"recipient %d" % number)),
            plan=plan,
        )
        self.worlds.append(world)
        await world.give(world.holder_account, relayer.relayer_wallet, agent.holder_wallet)
        deployments = [
            internal_message(minter.address, MINTER_VALUE, top_up_body(), init=minter.init)
            for minter in minters
        ]
        for at in range(0, len(deployments), V4_MESSAGES_MAX):
            await world.send(DEPLOYER, *deployments[at : at + V4_MESSAGES_MAX])
            await world.settle()
        if holdings:
            await world.issue(holdings)
        return world


def _key(number: int, role: bytes) -> LocalSigner:
    return LocalSigner(keccak256(role + b" %d" % number))


def asset_of(symbol: str) -> AssetId:
    """The asset's id."""
    return asset_id(symbol, keccak256)


def text_of(hash_: bytes) -> str:
    """A hash as the control API takes it."""
    return base64.b64encode(hash_).decode()


@asynccontextmanager
async def running_chains(folder: Path) -> AsyncIterator[Chains]:
    """A node mined by hand."""
    async with TonNode(
        folder, block_ms=BLOCK_MS, final_blocks=FINAL_BLOCKS, automine=False
    ) as node:
        chains = Chains(node)
        try:
            yield chains
        finally:
            await chains.aclose()
