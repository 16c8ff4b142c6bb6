"""One local chain with a bridge and two tokens, deployed by the product's own `deploy`.

Everything goes through the adapter under test, except what an outsider does (mining, reorgs,
tokens' owners): that is raw JSON-RPC on the development accounts of the node.
"""

import json
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from xstock_chains.evm.address import checksummed, to_wire
from xstock_chains.evm.chain import EvmChain, EvmFacts, resolve_chain
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.evm.deploy import EvmDeployment
from xstock_chains.evm.reader import EvmReader
from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.evm.writer import EvmWriter
from xstock_chains.ports import Cursor, GuardSignature, PreparedTx, ReleaseOrder, SignedTx
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of, selector
from xstock_chains.solidity.deploying import DeployPlan, DeployState, TokenPlan
from xstock_core.ids import Address32, AssetId, Domain, asset_id, issue_nonce
from xstock_core.observation import Observation
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_devnet.engines.anvil import AnvilNode, dev_private_key
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Ambiguous
from xstock_runtime.hashing import keccak256

SHARE = 10**8
CHAIN_ID = 1
SYMBOLS = {"TSLAx": 10**18, "SPYx": 3 * 10**17}
TSLA = asset_id("TSLAx", keccak256)
SPY = asset_id("SPYx", keccak256)
ADMIN, RELAYER, HOLDER, RECIPIENT, AGENT = (
    LocalSigner.from_hex(dev_private_key(n)) for n in range(5)
)
GUARDS = tuple(LocalSigner.from_hex(dev_private_key(n)) for n in (10, 11, 12))
ELSEWHERE = to_wire(bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc"))


@dataclass
class World:
    """A deployed chain and hands to move it."""

    node: AnvilNode
    rpc: Rpc
    chain: EvmChain
    registry: Registry
    codec: EvmReleaseCodec
    reader: EvmReader
    writer: EvmWriter
    orders: int = 0
    holding: bool = False
    final_after: int = 2
    opened: list[Rpc] = field(default_factory=list)

    def connect(self, url: str | None = None) -> Rpc:
        """One more connection, closed with the world."""
        rpc = Rpc(url or self.node.url)
        self.opened.append(rpc)
        return rpc

    # ------------------------------------------------------------------ the chain itself

    async def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks at once."""
        await self.rpc.call("anvil_mine", hex(blocks))

    async def finalize(self) -> None:
        """Let everything that is in a block become final (anvil: two epochs later)."""
        await self.mine(self.final_after)

    async def send(self, sender: LocalSigner, to: bytes, data: bytes, gas: int = 3_000_000) -> Any:
        """A transaction of a development account; its receipt."""
        fields = {"from": hex_of(sender.identity), "to": hex_of(to), "data": hex_of(data)}
        fields["gas"] = hex(gas)
        return await self.receipt(await self.rpc.call("eth_sendTransaction", fields))

    async def receipt(self, tx: str) -> Any:
        """The receipt of a transaction that is mined at once (a moment after it is taken)."""
        while True:
            found = await self.rpc.call("eth_getTransactionReceipt", tx)
            if found is not None:
                return found
            await SystemClock().sleep(0.002)

    async def hold_blocks(self) -> None:
        """From now on a block is mined only when asked for."""
        self.holding = True
        await self.rpc.call("evm_setAutomine", False)

    async def call_token(self, symbol: str, signature: str, *values: Any) -> Any:
        """A transaction of the tokens' owner."""
        types = signature[signature.index("(") + 1 : -1].split(",")
        data = selector(signature) + encode(types, list(values))
        return await self.send(ADMIN, self.token(symbol), data)

    def token(self, symbol: str) -> bytes:
        """The token's address."""
        return next(one.address for one in self.chain.tokens if one.symbol == symbol)

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
        self, items: Sequence[ReleaseItem], signers: Sequence[LocalSigner] = GUARDS[:2]
    ) -> ReleaseOrder:
        """A batch signed by guards, good for half an hour of the chain's time."""
        block = await self.rpc.call("eth_getBlockByNumber", "latest", False)
        batch = ReleaseBatch(
            destination=self.chain.domain,
            bridge=self.chain.bridge.wire,
            epoch=await self.writer.guard_epoch(),
            deadline=quantity(block["timestamp"], "timestamp") + 1800,
            items=sorted_items(items),
        )
        digest = self.codec.digest(batch)
        signatures = tuple(
            [GuardSignature(one.identity, await one.sign_digest(digest)) for one in signers]
        )
        return ReleaseOrder(batch, signatures)

    async def prepare(self, items: Sequence[ReleaseItem]) -> PreparedTx:
        """A prepared transaction of the relayer in its next slot."""
        slot = await self.writer.next_slot(RELAYER.wire, [])
        return await self.writer.prepare(await self.order(items), slot)

    async def release(self, *items: ReleaseItem) -> SignedTx:
        """Prepare, sign and broadcast one batch."""
        signed = await RELAYER.sign_transaction(await self.prepare(items))
        await self.writer.broadcast(signed)
        if not self.holding:
            await self.receipt(hex_of(signed.ref.id))
        return signed

    async def issue(
        self, shares: int, *, asset: AssetId = TSLA, to: Address32 = HOLDER.wire
    ) -> None:
        """Bring supply in by the next issuance order, and let the bridge take it out again."""
        self.orders += 1
        await self.release(self.item(self.orders, asset=asset, amount=shares, recipient=to))

    # ------------------------------------------------------------------ burns

    async def approve(self, holder: LocalSigner = HOLDER) -> None:
        """A full allowance for the bridge on every token."""
        for token in self.chain.tokens:
            data = selector("approve(address,uint256)") + to_wire(self.chain.bridge.address)
            await self.send(holder, token.address, data + b"\xff" * 32)

    def burn_data(
        self,
        shares: int,
        *,
        asset: AssetId = TSLA,
        destination: int = Domain.BNB,
        recipient: bytes = ELSEWHERE,
        refund_to: bytes = HOLDER.identity,
    ) -> bytes:
        """The call data of bridgeOut."""
        return selector("bridgeOut(bytes32,uint64,uint32,bytes32,address)") + encode(
            ["bytes32", "uint64", "uint32", "bytes32", "address"],
            [asset, shares, int(destination), recipient, checksummed(refund_to)],
        )

    async def burn(self, shares: int, *, sender: LocalSigner = HOLDER, **changes: Any) -> Any:
        """Burn towards BNB unless changed; the receipt."""
        data = self.burn_data(shares, **changes)
        return await self.send(sender, self.chain.bridge.address, data)

    # ------------------------------------------------------------------ reading

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
                "id": f"guard-{n}",
                "keys": {"evm": checksummed(guard.identity)},
                "endpoint": f"127.0.0.1:{7000 + n}",
            }
            for n, guard in enumerate(GUARDS)
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


def plan(domain: Domain = Domain.ETHEREUM, chain_id: int = CHAIN_ID) -> DeployPlan:
    """Two tokens: one at multiplier 1, one below it."""
    return DeployPlan(
        chain=domain.name.lower(),
        domain=domain,
        chain_id=chain_id,
        guards=tuple(guard.identity for guard in GUARDS),
        threshold=2,
        agent=AGENT.identity,
        tokens=tuple(
            TokenPlan(symbol, multiplier=value, minimum_shares=1000)
            for symbol, value in SYMBOLS.items()
        ),
        block_time_ms=1000,
        delay_seconds=600,
    )


async def deploy(rpc: Rpc, what: DeployPlan) -> EvmDeployment:
    """Deploy and return what was deployed.

    anvil that mines at each transaction can keep one for ever that it accepted (foundry's issue
    10122). It is told to forget it, the run's warnings say so, and the deployment is run again, as
    its own error asks.
    """
    deployment = EvmDeployment(what, rpc, ADMIN, SystemClock(), DeployState(None))
    try:
        await run_all(deployment)
    except Ambiguous as error:
        if error.code != "DEPLOY_PENDING":
            raise
        warnings.warn(f"{error}; the pool: {await rpc.call('txpool_inspect')}", stacklevel=2)
        await rpc.call("anvil_dropAllTransactions")
        await run_all(deployment)
    return deployment


async def run_all(deployment: EvmDeployment) -> None:
    """Every step of it."""
    async for _ in deployment.run():
        pass


@asynccontextmanager
async def running_world(folder: Path, slots_in_an_epoch: int = 1) -> AsyncIterator[World]:
    """A node, deployed; gone afterwards. Final is what lies two epochs below the latest block."""
    async with AnvilNode(folder, chain_id=CHAIN_ID, slots_in_an_epoch=slots_in_an_epoch) as node:
        rpc = Rpc(node.url)
        try:
            deployment = await deploy(rpc, plan())
            assets = {name: [entry] for name, entry in deployment.asset_entries().items()}
            document = registry_document([deployment.chain_entry()], assets)
            registry = Registry.model_validate_json(json.dumps(document))
            chain = resolve_chain(registry, Domain.ETHEREUM, EvmFacts())
            codec = EvmReleaseCodec({chain.domain: chain.chain_id})
            reader, writer = EvmReader(chain, rpc), EvmWriter(chain, rpc, codec)
            world = World(node, rpc, chain, registry, codec, reader, writer)
            world.final_after = 2 * slots_in_an_epoch
            yield world
            for opened in world.opened:
                await opened.aclose()
        finally:
            await rpc.aclose()
