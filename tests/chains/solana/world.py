"""A local Solana with a bridge and two mints, deployed by the product's own `deploy`.

Everything goes through the adapter under test, except what an outsider does: that is raw
instructions, sent with keys of the test, and the local chain's control API.
"""

import json
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from base58 import b58encode

from xstock_chains.ports import (
    AssetOrder,
    Cursor,
    DeploymentOrder,
    GuardSignature,
    PreparedTx,
    ReleaseOrder,
    SignedTx,
)
from xstock_chains.registry import Registry
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED
from xstock_chains.solana.chain import SolanaChain, SolanaFacts, resolve_chain
from xstock_chains.solana.codec import SolanaReleaseCodec
from xstock_chains.solana.deploy import DeployState, SolanaDeployment
from xstock_chains.solana.mint import parse_token_account
from xstock_chains.solana.programs import ata_of
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Rpc, account_of
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.wire import Instruction, compile_message, parse_message, transaction_bytes
from xstock_chains.solana.writer import SolanaWriter
from xstock_core.ids import Address32, Domain, asset_id, issue_nonce
from xstock_core.observation import Observation, TxRef
from xstock_core.release import Action, ReleaseBatch, ReleaseItem
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.solana import SolanaNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256

SHARE = 10**8
TSLA = asset_id("TSLAx", keccak256)
SPY = asset_id("SPYx", keccak256)
SOL = 10**9
DEPLOYER = LocalSigner.from_hex(dev_private_key(0))
RELAYER, HOLDER, RECIPIENT, AGENT, STRANGER = (
    LocalSigner(bytes((number,)) * 32) for number in range(1, 6)
)
GUARDS = tuple(LocalSigner(bytes((number,)) * 32) for number in (11, 12, 13))
GUARD_IDS = ("guard-0", "guard-1", "guard-2")
ELSEWHERE = Address32(bytes(12) + bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc"))


async def control(node: SolanaNode, command: str, **body: Any) -> dict[str, Any]:
    """One command of a local chain's control API."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{node.url}/devnet/{command}", json=body)
    document: dict[str, Any] = answer.json()
    assert document.get("ok") is True, document
    return document


@dataclass
class World:
    """A deployed chain and hands to move it."""

    node: SolanaNode
    rpc: Rpc
    chain: SolanaChain
    registry: Registry
    codec: SolanaReleaseCodec
    reader: SolanaReader
    writer: SolanaWriter
    relayer: LocalSigner = RELAYER
    orders: int = 0
    opened: list[Rpc] = field(default_factory=list)

    def connect(self, url: str | None = None) -> Rpc:
        """One more connection, closed with the world."""
        rpc = Rpc(url or self.node.url)
        self.opened.append(rpc)
        return rpc

    # ------------------------------------------------------------------ the chain itself

    async def control(self, command: str, **body: Any) -> dict[str, Any]:
        """One command of the local chain's control API."""
        return await control(self.node, command, **body)

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks, and one more, whose votes confirm them."""
        await self.control("mine", blocks=blocks + 1)

    async def finalize(self) -> None:
        """Everything that is in a block becomes final."""
        await self.control("finalize")

    async def send(
        self, instructions: Sequence[Instruction], *signers: LocalSigner, mine: bool = True
    ) -> TxRef:
        """A transaction of a test's own keys, the first one pays; in a block unless told not."""
        answer = await self.rpc.call("getLatestBlockhash", CONFIRMED)
        blockhash = parse_hash(answer["value"]["blockhash"])
        message = compile_message(signers[0].identity, instructions, blockhash)
        return await self.send_message(message, *signers, mine=mine)

    async def send_message(self, message: bytes, *signers: LocalSigner, mine: bool = True) -> TxRef:
        """A message with these keys' signatures, sent without a preflight."""
        by_key = {one.identity: one.sign(message) for one in signers}
        parsed = parse_message(message)
        signatures = [by_key.get(key, bytes(64)) for key in parsed.keys[: parsed.signers]]
        raw = b64encode(transaction_bytes(signatures, message)).decode()
        await self.rpc.call("sendTransaction", raw, {"encoding": "base64", "skipPreflight": True})
        if mine:
            await self.mine()
        return TxRef(self.chain.domain, signatures[0])

    async def outcome(self, tx: TxRef) -> Any:
        """The status of a transaction; fails where the chain never saw it."""
        text = b58encode(tx.id).decode()
        answer = await self.rpc.call("getSignatureStatuses", [text])
        assert answer["value"][0] is not None, f"{text} is in no block"
        return answer["value"][0]["err"]

    async def account(self, key: bytes) -> Any:
        """An account at the newest block."""
        options = {"encoding": "base64", "commitment": "processed"}
        answer = await self.rpc.call("getAccountInfo", show(key), options)
        return account_of(answer["value"])

    async def shares_of(self, owner: bytes, asset: bytes = TSLA) -> int:
        """What an owner holds at the newest block."""
        mint = self.mint(asset)
        held = parse_token_account(await self.account(ata_of(owner, mint)))
        return 0 if held is None else held.amount

    def mint(self, asset: bytes = TSLA) -> bytes:
        """The asset's mint."""
        return next(one.mint for one in self.chain.assets if one.asset == asset)

    def reference(self, asset: bytes = TSLA) -> Address32:
        """The asset's reference key."""
        return next(one.reference.key for one in self.chain.assets if one.asset == asset)

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

    async def batch(self, item: ReleaseItem, guards: Sequence[int] = (0, 1)) -> ReleaseBatch:
        """A batch with terms, good for half an hour of the chain's time."""
        bare = ReleaseBatch(
            destination=self.chain.domain,
            bridge=self.reference(item.asset),
            epoch=await self.writer.guard_epoch(),
            deadline=await self.time() + 1800,
            items=(item,),
        )
        ids = [GUARD_IDS[number] for number in guards]
        terms = await self.writer.permit_terms(bare, self.relayer.wire, ids)
        return ReleaseBatch(
            bare.destination, bare.bridge, bare.epoch, bare.deadline, bare.items, terms
        )

    async def order(self, item: ReleaseItem, guards: Sequence[int] = (0, 1)) -> ReleaseOrder:
        """A batch signed by guards."""
        return self.signed(await self.batch(item, guards), guards)

    def signed(self, batch: ReleaseBatch, guards: Sequence[int] = (0, 1)) -> ReleaseOrder:
        """A batch with these guards' signatures."""
        digest = self.codec.digest(batch)
        signatures = tuple(
            GuardSignature(GUARDS[n].identity, GUARDS[n].sign(digest)) for n in guards
        )
        return ReleaseOrder(batch, signatures)

    async def prepare(self, item: ReleaseItem) -> PreparedTx:
        """A prepared transaction of the relayer in the order's slot."""
        order = await self.order(item)
        slot = await self.writer.next_slot(self.relayer.wire, [], order)
        return await self.writer.prepare(order, slot)

    async def release(self, item: ReleaseItem, *, mine: bool = True) -> SignedTx:
        """Prepare, sign and broadcast one item; in a block unless told not."""
        signed = await self.relayer.sign_transaction(await self.prepare(item))
        await self.writer.broadcast(signed)
        if mine:
            await self.mine()
        return signed

    async def issue(self, shares: int, to: Address32 = HOLDER.wire, asset: bytes = TSLA) -> None:
        """Bring supply in by the next issuance order."""
        self.orders += 1
        item = self.item(self.orders + 1_000_000, amount=shares, recipient=to, asset=asset)
        await self.release(item)

    # ------------------------------------------------------------------ reading

    async def time(self) -> int:
        """The newest confirmed block's time."""
        slot = await self.rpc.call("getSlot", CONFIRMED)
        time: int = await self.rpc.call("getBlockTime", slot)
        return time

    async def read_all(
        self, reader: Any = None, after: Cursor | None = None, limit: int = 1000
    ) -> tuple[list[Observation], Cursor]:
        """Everything after the cursor, page by page, and the last cursor."""
        reader = reader or self.reader
        cursor = after or Cursor(self.chain.domain)
        found: list[Observation] = []
        while True:
            page = await reader.read_page(cursor, limit=limit)
            found.extend(page.observations)
            cursor = page.cursor
            if not page.more:
                return found, cursor


def parse_hash(text: str) -> bytes:
    """A blockhash of an answer."""
    from xstock_chains.solana.rpc import key_of

    return key_of(text, "blockhash")


def set_multiplier(mint: bytes, multiplier: float, at: int) -> Instruction:
    """UpdateMultiplier of the scaled UI amount extension, by the deployer."""
    from xstock_chains.solana.programs import TOKEN_2022
    from xstock_chains.solana.wire import Meta

    accounts = (Meta(mint, writable=True), Meta(DEPLOYER.identity, signer=True))
    return Instruction(TOKEN_2022, accounts, bytes((43, 1)) + struct.pack("<dq", multiplier, at))


def registry_document(
    chains: Sequence[dict[str, Any]], assets: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """A registry around these chain and asset entries."""
    return {
        "deployment_id": "test",
        "environment": "development",
        "chains": list(chains),
        "assets": [{"symbol": name, "deployments": one} for name, one in assets.items()],
        "guards": [
            {
                "id": guard_id,
                "keys": {
                    "solana": show(guard.identity),
                    "evm": "0x" + f"{n + 1:02x}" * 20,
                },
                "endpoint": f"127.0.0.1:{7000 + n}",
            }
            for n, (guard_id, guard) in enumerate(zip(GUARD_IDS, GUARDS, strict=True))
        ],
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


def beside(chain: dict[str, Any]) -> dict[str, Any]:
    """BNB as another chain of the registry, at addresses where nothing is."""
    shared = {key: chain[key] for key in ("finality", "block_time_ms", "batch_items_max")}
    return shared | {
        "name": "bnb",
        "domain": 2,
        "family": "evm",
        "network_id": 56,
        "genesis_hash": "0x" + "02" * 32,
        "bridges": [
            {
                "address": "0x" + "22" * 20,
                "deployed_block": 1,
                "code_hash": "0x" + "07" * 32,
                "retired_block": None,
            }
        ],
    }


def order(
    assets: Sequence[AssetOrder] | None = None, relayer: LocalSigner = RELAYER
) -> DeploymentOrder:
    """Two assets: one at multiplier 1, one below it."""
    return DeploymentOrder(
        chain="solana",
        domain=Domain.SOLANA,
        network_id=101,
        guards=tuple(show(guard.identity) for guard in GUARDS),
        threshold=2,
        agent=show(AGENT.identity),
        assets=tuple(
            assets
            or (
                AssetOrder("TSLAx", minimum_shares=1000),
                AssetOrder("SPYx", multiplier=3 * 10**17, minimum_shares=1000),
            )
        ),
        block_time_ms=400,
        batch_items_max=1,
        relayer=show(relayer.identity),
    )


async def deploy(
    rpc: Rpc,
    what: DeploymentOrder,
    state: Path | None = None,
    by: LocalSigner = DEPLOYER,
) -> SolanaDeployment:
    """Deploy and return what was deployed."""
    deployment = SolanaDeployment(what, rpc, by, SystemClock(), DeployState.load(state))
    async for _ in deployment.run():
        pass
    return deployment


def registry_of(deployment: SolanaDeployment) -> Registry:
    """The registry of this deployment with BNB beside it."""
    chain = deployment.chain_entry()
    assets = {
        symbol: [
            entry,
            {
                "chain": "bnb",
                "token": "0x" + f"{n + 48:02x}" * 20,
                "decimals": 18,
                "kind": "evm_shares",
                "minimum_shares": 1000,
            },
        ]
        for n, (symbol, entry) in enumerate(deployment.asset_entries().items())
    }
    document = registry_document([chain, beside(chain)], assets)
    return Registry.model_validate_json(json.dumps(document))


@asynccontextmanager
async def running_world(
    folder: Path,
    final_blocks: int = 32,
    skip_every: int = 0,
    what: DeploymentOrder | None = None,
) -> AsyncIterator[World]:
    """A node, deployed, in the test's hands; gone afterwards."""
    async with SolanaNode(
        folder, block_ms=20, final_blocks=final_blocks, skip_every=skip_every
    ) as node:
        rpc = Rpc(node.url)
        try:
            deployment = await deploy(rpc, what or order())
            keys = (RELAYER, HOLDER, AGENT, STRANGER)
            await deployment.fund([key.wire for key in keys])
            registry = registry_of(deployment)
            chain = resolve_chain(registry, Domain.SOLANA, SolanaFacts())
            codec = SolanaReleaseCodec(chain)
            reader, writer = SolanaReader(chain, rpc), SolanaWriter(chain, rpc, codec)
            world = World(node, rpc, chain, registry, codec, reader, writer)
            await world.control("automine", on=False)
            await world.finalize()
            yield world
            for opened in world.opened:
                await opened.aclose()
        finally:
            await rpc.aclose()
