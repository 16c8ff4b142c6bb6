"""Puts the bridge on one chain of a local world, and funds who must pay there.

The very deployment that `xstock deploy` runs, on a node of ours or of somebody else's.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xstock_chains.evm.address import checksummed, parse_text
from xstock_chains.evm.deploy import (
    DeployPlan,
    DeployState,
    EvmDeployment,
    TokenPlan,
)
from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import DeployStep, PreparedTx, SendSlot, StepState
from xstock_chains.profiles import open_reader
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of
from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.plan import AGENT, DEPLOYER, THRESHOLD, AssetPlan, External, LocalChain
from xstock_devnet.processes import ProcessFailed
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Transient

GAS_MONEY_WEI: Final = 10**18
GRANTS_SECONDS_MAX: Final = 900
_RECEIPT_TRIES: Final = 600


@dataclass(frozen=True, slots=True)
class ChainSetup:
    """A chain with the bridge on it, as the registry will carry it."""

    chain: LocalChain
    chain_entry: dict[str, Any]
    asset_entries: dict[str, dict[str, Any]]


async def deploy_chain(
    chain: LocalChain,
    url: str,
    *,
    guards: Sequence[bytes],
    assets: Sequence[AssetPlan],
    external: External | None,
    folder: Path,
    fund: Sequence[bytes],
    say: Callable[[str], None],
) -> ChainSetup:
    """Deploy, take the roles, fund; raises ProcessFailed when somebody else must act first."""
    key = dev_private_key(DEPLOYER) if external is None else external.funded_key
    signer = LocalSigner.from_hex(key)
    agent = LocalSigner.from_hex(dev_private_key(AGENT)).identity
    tokens = {} if external is None else external.tokens
    rpc = Rpc(url)
    try:
        chain_id = quantity(await rpc.call("eth_chainId"), "eth_chainId")
        plan = DeployPlan(
            chain=chain.name,
            domain=chain.domain,
            chain_id=chain_id,
            guards=tuple(guards),
            threshold=THRESHOLD,
            agent=agent,
            tokens=tuple(_token(asset, tokens) for asset in assets),
            block_time_ms=chain.block_seconds * 1000,
            delay_seconds=60,
        )
        state = DeployState.load(folder / f"deploy-{chain.name}.json")
        deployment = EvmDeployment(plan, rpc, signer, SystemClock(), state)
        steps = [step async for step in deployment.run()]
        waiting = [step.detail for step in steps if step.state is StepState.WAITING]
        if waiting:
            raise ProcessFailed(
                f"{chain.name}: somebody else must act first:\n" + "\n".join(waiting)
            )
        await _fund(rpc, chain, chain_id, signer, fund)
    finally:
        await rpc.aclose()
    done = sum(step.state is StepState.DONE for step in steps)
    say(f"  {chain.name}: bridge {checksummed(deployment.bridge)}, {done} transactions")
    return ChainSetup(chain, deployment.chain_entry(), deployment.asset_entries())


async def _run(
    deployment: EvmDeployment, chain: str, say: Callable[[str], None]
) -> list[DeployStep]:
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


def _token(asset: AssetPlan, tokens: dict[str, str]) -> TokenPlan:
    given = tokens.get(asset.symbol)
    token = None if given is None else parse_text(given, f"token {asset.symbol}")
    return TokenPlan(asset.symbol, token=token, multiplier=asset.multiplier)


async def _fund(
    rpc: Rpc, chain: LocalChain, chain_id: int, signer: LocalSigner, accounts: Sequence[bytes]
) -> None:
    """Give gas money to accounts that have none (none of them on a fresh local chain)."""
    balances = await rpc.batch([("eth_getBalance", [hex_of(a), "latest"]) for a in accounts])
    poor = [
        account
        for account, balance in zip(accounts, balances, strict=True)
        if quantity(balance, "balance") < GAS_MONEY_WEI // 10
    ]
    if not poor:
        return
    mine = hex_of(signer.identity)
    nonce = quantity(await rpc.call("eth_getTransactionCount", mine, "latest"), "nonce")
    price = quantity(await rpc.call("eth_gasPrice"), "eth_gasPrice")
    hashes = []
    for index, account in enumerate(poor):
        fields = {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce + index,
            "from": checksummed(signer.identity),
            "to": checksummed(account),
            "value": GAS_MONEY_WEI,
            "data": "0x",
            "gas": 21_000,
            "maxFeePerGas": 3 * price,
            "maxPriorityFeePerGas": min(price, 10**9),
        }
        slot = SendSlot(chain.domain, signer.wire, str(nonce + index))
        payload = json.dumps(fields).encode()
        prepared = PreparedTx(chain.domain, slot, payload, "", simulated=True)
        signed = await signer.sign_transaction(prepared)
        hashes.append(await rpc.call("eth_sendRawTransaction", hex_of(signed.raw)))
    clock = SystemClock()
    for tx in hashes:
        for _ in range(_RECEIPT_TRIES):
            if await rpc.call("eth_getTransactionReceipt", tx) is not None:
                break
            await clock.sleep(0.1)
        else:
            raise ProcessFailed(f"{chain.name}: waited 60 s for the funding transaction {tx}")


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
    """Every asset of a chain by symbol, at one recent block; Transient if one cannot be read."""
    opened = open_reader(registry, chain.name, [url])
    symbols = {asset.id: asset.symbol for asset in registry.assets if asset.on(chain.name)}
    try:
        reading = await opened.port.read_supply(list(symbols))
    finally:
        await opened.aclose()
    unread = symbols.keys() - {supply.asset for supply in reading.supplies}
    if unread:
        names = sorted(symbols[asset] for asset in unread)
        text = f"{chain.name} does not show the supply of {names}; look at their tokens"
        raise Transient("SUPPLY_UNREAD", text, {"chain": chain.name})
    facts = {}
    for supply in reading.supplies:
        unit = 10 ** (supply.decimals - SHARE_DECIMALS)
        circulating = supply.token_units - supply.bridge_inventory_units
        shares, residue = divmod(circulating, unit)
        facts[symbols[supply.asset]] = TokenFacts(
            shares, residue, supply.multiplier, supply.multiplier_epoch, reading.block.number
        )
    return facts


def displayed_units(shares: int, multiplier: int) -> int:
    """The real stock behind shares, rounded up."""
    return -(-shares * multiplier // MULTIPLIER_ONE)
