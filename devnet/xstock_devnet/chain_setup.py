"""Puts the bridge on one chain of a local world, and funds who must pay there.

The very deployment that `xstock deploy` runs, on a node of ours or of somebody else's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xstock_chains.ports import (
    AssetOrder,
    ChainReader,
    Deployment,
    DeploymentOrder,
    DeployStep,
    StepState,
    SupplyReading,
)
from xstock_chains.profiles import PROFILES, open_deployment, open_reader, read_network_id
from xstock_chains.registry import Registry
from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS, Amount
from xstock_core.ids import Address32, AssetId
from xstock_devnet.plan import THRESHOLD, AssetPlan, External, LocalChain
from xstock_devnet.processes import ProcessFailed
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Transient

GRANTS_SECONDS_MAX: Final = 900
FINAL_SECONDS_MAX: Final = 300
"""Longer than any chain here takes to make a deployment final, Ethereum's main network aside."""


@dataclass(frozen=True, slots=True)
class ChainSetup:
    """A chain with the bridge on it, as the registry will carry it."""

    chain: LocalChain
    order: DeploymentOrder
    url: str
    key_file: Path
    chain_entry: dict[str, Any]
    asset_entries: dict[str, dict[str, Any]]


async def deploy_chain(
    chain: LocalChain,
    url: str,
    key_file: Path,
    *,
    guards: Sequence[str],
    agent: str,
    relayer: str,
    assets: Sequence[AssetPlan],
    external: External | None,
    folder: Path,
    say: Callable[[str], None],
    delay_seconds: int = 60,
) -> ChainSetup:
    """Deploy and take the roles; raises ProcessFailed when somebody else must act first.

    Guards, agent and relayer in the chain's own text; the key file's account pays.
    """
    tokens = {} if external is None else external.tokens
    order = DeploymentOrder(
        chain=chain.name,
        domain=chain.domain,
        network_id=await read_network_id(chain.domain, url),
        guards=tuple(guards),
        threshold=THRESHOLD,
        agent=agent,
        assets=tuple(
            AssetOrder(asset.symbol, token=tokens.get(asset.symbol), multiplier=asset.multiplier)
            for asset in assets
        ),
        block_time_ms=chain.block_ms,
        batch_items_max=PROFILES[chain.domain].batch_items_max,
        delay_seconds=delay_seconds,
        relayer=relayer,
    )
    state_file = folder / f"deploy-{chain.name}.json"
    opened = open_deployment(order, url, key_file, state_file, SystemClock())
    try:
        steps = await _run(opened.port, chain.name, say)
        entry, entries = opened.port.chain_entry(), opened.port.asset_entries()
    finally:
        await opened.aclose()
    done = sum(step.state is StepState.DONE for step in steps)
    say(f"  {chain.name}: the bridge stands, {done} transactions")
    return ChainSetup(chain, order, url, key_file, entry, entries)


async def fund_accounts(setup: ChainSetup, accounts: Sequence[Address32]) -> None:
    """Give gas money to those of the accounts that lack it."""
    opened = open_deployment(setup.order, setup.url, setup.key_file, None, SystemClock())
    try:
        await opened.port.fund(accounts)
    finally:
        await opened.aclose()


async def _run(deployment: Deployment, chain: str, say: Callable[[str], None]) -> list[DeployStep]:
    """Deploy; where another key must grant a role, say so once and look again until it has."""
    clock = SystemClock()
    deadline = clock.monotonic() + GRANTS_SECONDS_MAX
    told: set[str] = set()
    while True:
        steps = [step async for step in deployment.run()]
        waiting = [step for step in steps if step.state is StepState.WAITING]
        if not waiting:
            return steps
        for step in waiting:
            if step.name not in told:
                told.add(step.name)
                say(f"  {chain}: {step.name}: {step.detail}")
        if clock.monotonic() > deadline:
            names = ", ".join(step.name for step in waiting)
            raise ProcessFailed(
                f"{chain}: waited {GRANTS_SECONDS_MAX} s for somebody else to send: {names}"
            )
        await clock.sleep(2.0)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token says by now: whole units of 10^-8 share, what is left over, its multiplier."""

    shares: int
    residue_units: int
    multiplier: int
    multiplier_epoch: int
    block: int


async def read_token_facts(
    registry: Registry, chain: LocalChain, url: str
) -> dict[str, TokenFacts]:
    """Every asset of a chain by symbol, at one recent block.

    Where only final state is shown (Tron) a token just made is not there yet: it is waited for,
    and Transient says which one did not come.
    """
    opened = open_reader(registry, chain.name, [url])
    symbols = {asset.id: asset.symbol for asset in registry.assets if asset.on(chain.name)}
    try:
        reading = await _whole_reading(opened.port, chain.name, symbols)
    finally:
        await opened.aclose()
    facts = {}
    for supply in reading.supplies:
        circulating = supply.token_units - supply.bridge_inventory_units
        units = Amount(circulating, supply.decimals, supply.asset)
        shares, residue = units.convert(SHARE_DECIMALS)
        facts[symbols[supply.asset]] = TokenFacts(
            shares.units,
            residue.units,
            supply.multiplier,
            supply.multiplier_epoch,
            reading.block.number,
        )
    return facts


async def _whole_reading(
    reader: ChainReader, chain: str, symbols: Mapping[AssetId, str]
) -> SupplyReading:
    clock = SystemClock()
    deadline = clock.monotonic() + FINAL_SECONDS_MAX
    while True:
        reading = await reader.read_supply(list(symbols))
        unread = symbols.keys() - {supply.asset for supply in reading.supplies}
        if not unread:
            return reading
        if clock.monotonic() > deadline:
            names = sorted(symbols[asset] for asset in unread)
            text = (
                f"{chain}: waited {FINAL_SECONDS_MAX} s for the supply of {names}; look at their "
                "tokens"
            )
            raise Transient("SUPPLY_UNREAD", text, {"chain": chain})
        await clock.sleep(1.0)


def displayed_units(shares: int, multiplier: int) -> int:
    """The real stock behind shares, rounded up."""
    return -(-shares * multiplier // MULTIPLIER_ONE)
