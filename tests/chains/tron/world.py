"""One local Tron chain with a bridge and two tokens, deployed by the product's own `deploy`.

Everything goes through the adapter under test, except what an outsider does (blocks, finality,
reorganisations): that is the local chain's control API. Blocks are made by hand.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from eth_abi.abi import encode

from tests.contract.driver import meanwhile
from xstock_chains.ports import Cursor, GuardSignature, PreparedTx, ReleaseOrder, SendSlot, SignedTx
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import selector
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.deploying import DeployPlan, DeployState, TokenPlan
from xstock_chains.tron.address import account_text
from xstock_chains.tron.calls import Read, data_or_raise, read_all
from xstock_chains.tron.chain import TronChain, TronFacts, resolve_chain
from xstock_chains.tron.codec import TronReleaseCodec
from xstock_chains.tron.deploy import TronDeployment, read_network_id
from xstock_chains.tron.frames import frame_text, make_frame, read_heads
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import WALLET, TronRpc
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.transaction import RawTransaction, Trigger
from xstock_chains.tron.transaction import encode as encode_raw
from xstock_chains.tron.writer import TronWriter
from xstock_core.ids import AssetId, Domain, asset_id, issue_nonce
from xstock_core.observation import Observation, TxRef
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.tron import TronNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256

SHARE = 10**8
SYMBOLS = {"TSLAx": 10**18, "SPYx": 3 * 10**17}
TSLA = asset_id("TSLAx", keccak256)
SPY = asset_id("SPYx", keccak256)
ADMIN, RELAYER, HOLDER, RECIPIENT, AGENT = (
    TronSigner.from_hex(dev_private_key(n)) for n in range(5)
)
GUARDS = tuple(TronSigner.from_hex(dev_private_key(n)) for n in (10, 11, 12))
GUARD_IDS = ("guard-0", "guard-1", "guard-2")
ELSEWHERE = to_wire(bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc"))
TRIGGER_FEE_LIMIT = 500_000_000
FINAL_BLOCKS = 3


@dataclass
class World:
    """A deployed chain and hands to move it."""

    node: TronNode
    rpc: TronRpc
    chain: TronChain
    registry: Registry
    codec: TronReleaseCodec
    reader: TronReader
    writer: TronWriter
    orders: int = 0
    sent: Any = field(default_factory=count)

    # ------------------------------------------------------------------ the chain itself

    async def control(self, command: str, **body: Any) -> dict[str, Any]:
        """A command of the local chain's own."""
        return await control(self.node.url, command, **body)

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks with what waits for one."""
        await self.control("mine", blocks=blocks)

    async def finalize(self) -> None:
        """Everything that is in a block becomes solid."""
        await self.control("finalize")

    async def send(self, sender: TronSigner, to: bytes, data: bytes) -> TxRef:
        """A call that waits for a block; no two of them are the same transaction."""
        signed = await self.signed(sender, to, data)
        return await self.writer.broadcast(signed)

    async def signed(self, sender: TronSigner, to: bytes, data: bytes) -> SignedTx:
        """A signed call."""
        _, solid, newest = await read_heads(self.rpc)
        expiration = newest.time_ms + 60_000 + next(self.sent)
        frame = make_frame(solid, expiration, self.chain.facts)
        raw = encode_raw(
            RawTransaction(frame, Trigger(sender.identity, to, data), TRIGGER_FEE_LIMIT)
        )
        slot = SendSlot(self.chain.domain, sender.wire, frame_text(frame))
        prepared = PreparedTx(self.chain.domain, slot, raw, "", simulated=False)
        return await sender.sign_transaction(prepared)

    async def info(self, tx: TxRef) -> dict[str, Any]:
        """The full node's execution info of a transaction."""
        found: dict[str, Any] = await self.rpc.wallet("gettransactioninfobyid", value=tx.id.hex())
        return found

    def token(self, symbol: str) -> bytes:
        """The token's address."""
        return next(one.address for one in self.chain.tokens if one.symbol == symbol)

    async def set_paused(self, *, paused: bool, symbol: str = "TSLAx") -> None:
        """The token's pause by its pauser, in a block."""
        data = selector("setPause(bool)") + encode(["bool"], [paused])
        await self.send(ADMIN, self.token(symbol), data)
        await self.mine()

    async def shares_of(self, account: bytes, symbol: str = "TSLAx") -> int:
        """Somebody's shares in message units, at the newest block."""
        read = Read(self.token(symbol), selector("sharesOf(address)") + to_wire(account))
        (answer,) = await read_all(self.rpc, WALLET, [read])
        return int.from_bytes(data_or_raise(self.rpc, "sharesOf", answer), "big") // 10**10

    # ------------------------------------------------------------------ releases

    def item(self, counter: int, **changes: Any) -> ReleaseItem:
        """A valid issuance of one share, unless changed."""
        asset = changes.get("asset", TSLA)
        fields: dict[str, Any] = {
            "action": Action.RELEASE,
            "source": Domain.CUSTODY,
            "nonce": issue_nonce(asset, counter, keccak256),
            "asset": asset,
            "recipient": HOLDER.wire,
            "amount": SHARE,
        }
        return ReleaseItem(**(fields | changes))

    async def order(
        self, items: Sequence[ReleaseItem], signers: Sequence[TronSigner] = GUARDS[:2]
    ) -> ReleaseOrder:
        """A batch signed by guards, good for half an hour of the chain's time."""
        _, _, newest = await read_heads(self.rpc)
        batch = ReleaseBatch(
            destination=self.chain.domain,
            bridge=self.chain.bridge.wire,
            epoch=await self.writer.guard_epoch(),
            deadline=newest.time_ms // 1000 + 1800,
            items=sorted_items(items),
        )
        digest = self.codec.digest(batch)
        signatures = tuple(
            [GuardSignature(one.identity, await one.sign_digest(digest)) for one in signers]
        )
        return ReleaseOrder(batch, signatures)

    async def prepare(self, items: Sequence[ReleaseItem]) -> PreparedTx:
        """A prepared transaction of the relayer in a slot of its own."""
        order = await self.order(items)
        slot = await self.writer.next_slot(RELAYER.wire, [], order)
        return await self.writer.prepare(order, slot)

    async def release(self, *items: ReleaseItem) -> SignedTx:
        """Prepare, sign, broadcast one batch, and make the block."""
        signed = await RELAYER.sign_transaction(await self.prepare(items))
        await self.writer.broadcast(signed)
        await self.mine()
        return signed

    async def issue(self, shares: int, *, asset: AssetId = TSLA) -> None:
        """Bring supply in by the next issuance order."""
        self.orders += 1
        await self.release(self.item(self.orders, asset=asset, amount=shares))

    # ------------------------------------------------------------------ burns

    async def approve(self, holder: TronSigner = HOLDER) -> None:
        """A full allowance for the bridge on every token."""
        for token in self.chain.tokens:
            data = selector("approve(address,uint256)") + self.chain.bridge.wire + b"\xff" * 32
            await self.send(holder, token.address, data)
        await self.mine()

    def burn_data(
        self, shares: int, *, asset: AssetId = TSLA, destination: int = Domain.BNB
    ) -> bytes:
        """The call data of bridgeOut."""
        return selector("bridgeOut(bytes32,uint64,uint32,bytes32,address)") + encode(
            ["bytes32", "uint64", "uint32", "bytes32", "address"],
            [asset, shares, int(destination), ELSEWHERE, HOLDER.identity],
        )

    async def burn(self, *amounts: int, asset: AssetId = TSLA) -> list[TxRef]:
        """Burns of the holder towards BNB, all in one block."""
        bridge = self.chain.bridge.address
        refs = [
            await self.send(HOLDER, bridge, self.burn_data(amount, asset=asset))
            for amount in amounts
        ]
        await self.mine()
        return refs

    # ------------------------------------------------------------------ reading

    async def read_all(
        self, reader: Any = None, after: Cursor | None = None, limit: int = 1000
    ) -> tuple[list[Observation], Cursor]:
        """Everything after the cursor, page by page, and the last cursor."""
        reader = reader or TronReader(self.chain, self.rpc)
        cursor = after or Cursor(self.chain.domain)
        found: list[Observation] = []
        while True:
            page = await reader.read_page(cursor, limit=limit)
            found.extend(page.observations)
            cursor = page.cursor
            if not page.more:
                return found, cursor


async def control(url: str, command: str, **body: Any) -> dict[str, Any]:
    """A command of a local chain's own control API."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(f"{url}/devnet/{command}", json=body)
    said: dict[str, Any] = answer.json()
    assert answer.status_code == 200, said
    return said


def blocks_coming(url: str) -> AbstractAsyncContextManager[None]:
    """Make blocks quickly while something waits for them."""

    async def tick() -> None:
        await control(url, "mine", blocks=1)
        await SystemClock().sleep(0.02)

    return meanwhile(tick)


def plan(chain_id: int) -> DeployPlan:
    """Two tokens: one at multiplier 1, one below it."""
    return DeployPlan(
        chain="tron",
        domain=Domain.TRON,
        chain_id=chain_id,
        guards=tuple(guard.identity for guard in GUARDS),
        threshold=2,
        agent=AGENT.identity,
        tokens=tuple(
            TokenPlan(symbol, multiplier=value, minimum_shares=1000)
            for symbol, value in SYMBOLS.items()
        ),
        block_time_ms=400,
        delay_seconds=600,
        batch_items_max=20,
    )


def registry_of(deployment: TronDeployment) -> Registry:
    """A registry with this deployment, and BNB beside it as a destination."""
    bridge = {"deployed_block": 1, "code_hash": "0x" + "07" * 32, "retired_block": None}
    bnb = {
        "name": "bnb",
        "domain": 2,
        "family": "evm",
        "network_id": 56,
        "genesis_hash": "0x" + "02" * 32,
        "finality": "finalized",
        "block_time_ms": 750,
        "batch_items_max": 200,
        "bridges": [{**bridge, "address": "0x" + "22" * 20}],
    }
    evm = {"decimals": 18, "kind": "evm_shares", "minimum_shares": 1000}
    assets = [
        {
            "symbol": symbol,
            "deployments": [
                entry,
                {**evm, "chain": "bnb", "token": "0x" + f"{at + 48:02x}" * 20},
            ],
        }
        for at, (symbol, entry) in enumerate(deployment.asset_entries().items())
    ]
    guards = [
        {
            "id": name,
            "keys": {"tron": account_text(key.identity), "evm": "0x" + key.identity.hex()},
            "endpoint": f"127.0.0.1:{7000 + at}",
        }
        for at, (name, key) in enumerate(zip(GUARD_IDS, GUARDS, strict=True))
    ]
    document = {
        "deployment_id": "test",
        "environment": "development",
        "chains": [deployment.chain_entry(), bnb],
        "assets": assets,
        "guards": guards,
        "threshold": 2,
        "guard_epoch": 1,
        "issuers": [{"key_id": "issuer", "public_key": "02" * 33}],
        "attestors": [{"key_id": "custodian", "public_key": "03" * 33}],
        "policy": {
            "attestation_age_seconds_max": 3600,
            "margin_bps": 0,
            "permit_seconds": 1800,
        },
    }
    return Registry.model_validate_json(json.dumps(document))


async def deploy(rpc: TronRpc, what: DeployPlan, state: DeployState) -> TronDeployment:
    """Deploy and return what was deployed."""
    deployment = TronDeployment(what, rpc, ADMIN, SystemClock(), state)
    async for _ in deployment.run():
        pass
    return deployment


async def world_on(node: TronNode) -> World:
    """A new deployment on a running chain, with money for fees where it is needed."""
    rpc = TronRpc(node.url)
    async with blocks_coming(node.url):
        deployment = await deploy(rpc, plan(await read_network_id(rpc)), DeployState(None))
        await deployment.fund([RELAYER.wire, HOLDER.wire])
    registry = registry_of(deployment)
    chain = resolve_chain(registry, Domain.TRON, TronFacts())
    codec = TronReleaseCodec({chain.domain: chain.chain_id})
    writer = TronWriter(chain, rpc, codec)
    return World(node, rpc, chain, registry, codec, TronReader(chain, rpc), writer)


def local_node(folder: Path) -> TronNode:
    """A chain whose blocks are made by hand."""
    return TronNode(folder, automine=False, final_blocks=FINAL_BLOCKS)
