"""Six local chains with the bridge on them and nothing else: no service, no broker, no database.

What people do by hand must work then. The chains make blocks by themselves, are deployed to as
`xstock deploy` does it, and are read and written through the product's own doors; guards here are
key files.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xstock_chains.addresses import parse_wire, show_identity, show_wire
from xstock_chains.families import Family
from xstock_chains.ports import ExecutionState, GuardSignature, ReleaseOrder
from xstock_chains.profiles import (
    Purpose,
    open_account,
    open_codec,
    open_reader,
    open_signer,
    open_writer,
)
from xstock_chains.registry import Registry, parse_registry
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, asset_id, counter_nonce
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, ReleaseItem
from xstock_devnet.chain_nodes import chain_node
from xstock_devnet.chain_setup import ChainSetup, deploy_chain, fund_accounts
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.plan import AGENT, CHAINS, DEPLOYER, GUARDS, RELAYER, AssetPlan, LocalChain
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import ServiceError
from xstock_runtime.hashing import keccak256

SHARE = 10**8
ASSET = AssetPlan("TSLAx", 10**18, 0)
KEYS = {
    "deployer": dev_private_key(DEPLOYER),
    "agent": dev_private_key(AGENT),
    "relayer": dev_private_key(RELAYER),
    "holder": dev_private_key(3),
    "stranger": "55" * 32,
    **{f"guard-{n}": f"{n:02x}" * 32 for n in (1, 2, 3, 4)},
}
FOREIGN_BRIDGE = Address32(bytes(12) + b"\x11" * 20)
PATIENCE_TRIES = 60
DELAY_SECONDS = 20
"""Between an admin's proposal and its effect."""


@dataclass
class BareChains:
    """Running chains, their registry and keys."""

    folder: Path
    nodes: dict[str, LocalNode] = field(default_factory=dict)
    setups: dict[str, ChainSetup] = field(default_factory=dict)
    registry: Registry = field(init=False)
    _counter: int = 0

    # ------------------------------------------------------------------ what is there

    @property
    def asset(self) -> AssetId:
        """The one asset."""
        return asset_id(ASSET.symbol, keccak256)

    def key_file(self, name: str) -> Path:
        """The file of a key: agent, deployer (who is the admin), guard-1 …"""
        return self.folder / f"{name}.key"

    def identity(self, name: str, family: Family) -> bytes:
        """What a key signs as on a family."""
        return open_signer(family, self.key_file(name)).identity

    def account(self, name: str, family: Family, purpose: Purpose = "holder") -> Address32:
        """From where a key sends on a family."""
        return open_account(family, open_signer(family, self.key_file(name)), purpose)

    def document(self, guards: Sequence[str], threshold: int, epoch: int) -> dict[str, Any]:
        """A registry with these guards."""
        setups = self.setups.values()
        deployments = [setup.asset_entries[ASSET.symbol] for setup in setups]
        families: list[Family] = sorted({setup.chain.family for setup in setups})
        return {
            "deployment_id": "bare",
            "environment": "development",
            "chains": [setup.chain_entry for setup in setups],
            "assets": [{"symbol": ASSET.symbol, "deployments": deployments}],
            "guards": [
                {
                    "id": name,
                    "keys": {f: show_identity(f, self.identity(name, f)) for f in families},
                    "endpoint": f"127.0.0.1:{7000 + at}",
                }
                for at, name in enumerate(guards)
            ],
            "threshold": threshold,
            "guard_epoch": epoch,
            "policy": {
                "attestation_age_seconds_max": 3600,
                "margin_bps": 0,
                "permit_seconds": 600,
            },
        }

    def write_registry(self, name: str, document: dict[str, Any]) -> Path:
        """A registry file."""
        path = self.folder / name
        path.write_text(json.dumps(document))
        return path

    # ------------------------------------------------------------------ releases by hand

    async def release(
        self, chain: str, signers: Sequence[str] = GUARDS[:2], registry: Registry | None = None
    ) -> ExecutionState | None:
        """Try to release one share with these keys' signatures; what became of it."""
        registry = registry or self.registry
        self._counter += 1
        entry = registry.chain(chain)
        item = ReleaseItem(
            Action.RELEASE,
            Domain.BNB if entry.domain is not Domain.BNB else Domain.MANTLE,
            counter_nonce(FOREIGN_BRIDGE, self._counter),
            self.asset,
            self.account("holder", entry.family),
            Shares(SHARE),
        )
        key = ExecutionKey(entry.domain, item.source, item.nonce)
        opened = open_writer(registry, chain, self.nodes[chain].url)
        try:
            tries = PATIENCE_TRIES if await self._send(chain, item, signers, registry) else 1
            for _ in range(tries):
                (found,) = await opened.port.find_executions([key])
                if found is not None:
                    return found.state
                await SystemClock().sleep(0.5)
            return None
        finally:
            await opened.aclose()

    async def _send(
        self, chain: str, item: ReleaseItem, signers: Sequence[str], registry: Registry
    ) -> bool:
        """What a relayer does, as far as the chain lets it; whether it was sent."""
        entry, url = registry.chain(chain), self.nodes[chain].url
        sender = self.account("relayer", entry.family, "relayer")
        writer, reader = open_writer(registry, chain, url), open_reader(registry, chain, [url])
        try:
            bridge = registry.bridge_on(chain, self.asset).address
            batch = ReleaseBatch(
                destination=entry.domain,
                bridge=parse_wire(entry.family, bridge),
                epoch=await writer.port.guard_epoch(),
                deadline=(await reader.port.finalized_head()).time + 600,
                items=(item,),
            )
            known = [guard.id for guard in registry.guards]
            named = signers if set(signers) <= set(known) else known
            terms = await writer.port.permit_terms(batch, sender, named[: registry.threshold])
            order = await self._signed(chain, replace(batch, terms=terms), signers, registry)
            slot = await writer.port.next_slot(sender, (), order)
            prepared = await writer.port.prepare(order, slot)
            if prepared.refused:
                return False
            key = open_signer(entry.family, self.key_file("relayer"))
            await writer.port.broadcast(await key.sign_transaction(prepared))
        except (ServiceError, InvalidId):
            return False
        finally:
            await writer.aclose()
            await reader.aclose()
        return True

    async def _signed(
        self, chain: str, batch: ReleaseBatch, signers: Sequence[str], registry: Registry
    ) -> ReleaseOrder:
        family = registry.chain(chain).family
        digest = open_codec(registry, chain).digest(batch)
        keys = [open_signer(family, self.key_file(name)) for name in signers]
        signed = [GuardSignature(key.identity, await key.sign_digest(digest)) for key in keys]
        return ReleaseOrder(batch, tuple(sorted(signed, key=lambda one: one.signer)))

    # ------------------------------------------------------------------ the command line

    async def xstock(self, *words: str) -> tuple[int, Any, str]:
        """Run the command as people do, with nothing but nodes: exit code, document, notes."""
        urls = [
            word for name, node in self.nodes.items() for word in ("--node", f"{name}={node.url}")
        ]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xstock_cli", *words, *urls, "--json"),
            env=kept,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        document = json.loads(out) if out.strip() else None
        return process.returncode or 0, document, err.decode()


@asynccontextmanager
async def bare_chains(
    folder: Path, chains: Sequence[LocalChain] = CHAINS
) -> AsyncIterator[BareChains]:
    """The chains, deployed to and paid for; stopped afterwards."""
    bare = BareChains(folder)
    for name, secret in KEYS.items():
        bare.key_file(name).write_text(secret)
    async with AsyncExitStack() as stack:
        for chain in chains:
            bare.nodes[chain.name] = chain_node(chain, folder / chain.name)
        await asyncio.gather(*(stack.enter_async_context(node) for node in bare.nodes.values()))
        setups = await asyncio.gather(*(_deploy(bare, chain) for chain in chains))
        bare.setups = {setup.chain.name: setup for setup in setups}
        await asyncio.gather(*(_fund(bare, setup) for setup in setups))
        document = bare.document(GUARDS, 2, 1)
        bare.write_registry("registry.json", document)
        bare.registry = parse_registry(json.dumps(document))
        yield bare


async def _deploy(bare: BareChains, chain: LocalChain) -> ChainSetup:
    family = chain.family
    return await deploy_chain(
        chain,
        bare.nodes[chain.name].url,
        bare.key_file("deployer"),
        guards=[show_identity(family, bare.identity(name, family)) for name in GUARDS],
        agent=show_wire(family, bare.account("agent", family)),
        relayer=show_wire(family, bare.account("relayer", family, "relayer")),
        assets=(ASSET,),
        external=None,
        folder=bare.folder,
        say=lambda _: None,
        delay_seconds=DELAY_SECONDS,
    )


async def _fund(bare: BareChains, setup: ChainSetup) -> None:
    family = setup.chain.family
    who: list[tuple[str, Purpose]] = [
        ("relayer", "relayer"),
        ("agent", "holder"),
        ("stranger", "holder"),
    ]
    await fund_accounts(setup, [bare.account(name, family, purpose) for name, purpose in who])
