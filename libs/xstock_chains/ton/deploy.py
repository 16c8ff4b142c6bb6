"""Puts a bridge on TON: one minter per asset, paid from the deploying key's v4r2 wallet.

A minter's account follows from its first state, so what to do is read off the chain: an account
that runs our code there is done, and a deployment may be stopped anywhere and run again. Nothing
is taken over: an existing jetton's minter is another contract with another key to it, and only a
minter of ours can count burns and check guards. A token that is named for TON is therefore
refused, with the remedy to deploy ours and move holders over.
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, Final

from xstock_chains.ports import DeploymentOrder, DeployStep, StepState
from xstock_chains.ton.address import parse_text, show
from xstock_chains.ton.cells import internal_message
from xstock_chains.ton.chain import parse_guard
from xstock_chains.ton.messages import NANO, top_up_body
from xstock_chains.ton.minter import MinterPlan, artifact
from xstock_chains.ton.purse import Purse
from xstock_chains.ton.rpc import Toncenter
from xstock_chains.ton.wallets import V4_MESSAGES_MAX, v4_wallet
from xstock_core.ids import Address32, Domain, InvalidId, asset_id
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Fatal, Transient
from xstock_runtime.hashing import keccak256

MINTER_VALUE: Final = 2 * NANO
"""nanoTON a new minter starts with: above its balance floor for years of rent."""
FUND_BELOW: Final = 5 * NANO
FUND_WITH: Final = 20 * NANO
_SEND_FEES: Final = NANO // 5
_VALID_SECONDS: Final = 120
_TRIES: Final = 300
_WAIT_SECONDS: Final = 0.2
_BUCKET_SHARES: Final = 10**15
_BUCKET_REFILL: Final = 10**12
_ONE: Final = 10**18
DECIMALS: Final = 8
"""Live jettons' decimals are not verified: configuration, by default a share's own."""


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """One network's deployment."""

    chain: str
    domain: Domain
    global_id: int
    minters: tuple[MinterPlan, ...]
    block_time_ms: int
    batch_items_max: int


def plan_of(order: DeploymentOrder, deployer: Address32, decimals: int = DECIMALS) -> DeployPlan:
    """The plan of an order; raises InvalidId for addresses and for tokens that exist already."""
    guards = tuple(parse_guard(text, "guards") for text in order.guards)
    admin = deployer if order.admin is None else parse_party(order.admin, "admin")
    agent = parse_party(order.agent, "agent")
    minters = []
    for asset in order.assets:
        if asset.token is not None:
            remedy = (
                "a jetton that exists cannot be taken over: its minter is another contract; "
                "leave the token out, a minter of ours is deployed"
            )
            raise InvalidId(f"assets.{asset.symbol}.token", asset.token, remedy)
        common = gcd(asset.multiplier, _ONE)
        minters.append(
            MinterPlan(
                symbol=asset.symbol,
                asset=asset_id(asset.symbol, keccak256),
                decimals=decimals,
                minimum=asset.minimum_shares,
                bucket=_BUCKET_SHARES,
                bucket_refill=_BUCKET_REFILL,
                guards=guards,
                threshold=order.threshold,
                admin=admin,
                agent=agent,
                delay_seconds=order.delay_seconds,
                multiplier=(asset.multiplier // common, _ONE // common),
            )
        )
    return DeployPlan(
        chain=order.chain,
        domain=order.domain,
        global_id=order.network_id,
        minters=tuple(minters),
        block_time_ms=order.block_time_ms,
        batch_items_max=order.batch_items_max,
    )


def parse_party(text: str, field: str) -> Address32:
    """An account by its address, or by its ed25519 key: that key's v4r2 wallet."""
    try:
        return v4_wallet(parse_guard(text, field)).address
    except InvalidId:
        return parse_text(text, field)


class TonDeployment:
    """`Deployment` over one node; `state_file` remembers which network it is for."""

    def __init__(
        self,
        plan: DeployPlan,
        api: Toncenter,
        purse: Purse,
        clock: Clock,
        state_file: Path | None = None,
    ) -> None:
        self.plan = plan
        self._api = api
        self._purse = purse
        self._clock = clock
        self._state_file = state_file
        self._zero_state = b""
        self._blocks: dict[Address32, int] = {}

    async def run(self, *, dry_run: bool = False) -> AsyncIterator[DeployStep]:
        """Do what is missing, yielding each step; raises Fatal on another network's state."""
        await self._check_network(keep=not dry_run)
        missing = await self._missing()
        for minter in self.plan.minters:
            if minter not in missing:
                yield DeployStep(f"minter {minter.symbol}", StepState.ALREADY)
        if dry_run:
            for minter in missing:
                detail = f"at {show(minter.address)}"
                yield DeployStep(f"minter {minter.symbol}", StepState.PLANNED, detail)
            return
        await self._check_funds(len(missing) * MINTER_VALUE)
        for at in range(0, len(missing), V4_MESSAGES_MAX):
            part = missing[at : at + V4_MESSAGES_MAX]
            tx = await self._deploy(part)
            for minter in part:
                detail = f"at {show(minter.address)}"
                yield DeployStep(f"minter {minter.symbol}", StepState.DONE, detail, tx)
        await self._read_facts()

    async def _check_network(self, *, keep: bool) -> None:
        head = await self._api.masterchain_head()
        if head.global_id != self.plan.global_id:
            text = f"{self._api.host} is network {head.global_id}, not {self.plan.global_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": head.global_id})
        self._zero_state = await self._api.zero_state()
        file = self._state_file
        if file is None:
            return
        found = {"global_id": head.global_id, "zero_state": self._zero_state.hex()}
        if file.exists():
            known = json.loads(file.read_text(encoding="utf-8"))
            if known != found:
                text = f"the state file is of network {known}; use another for {found}"
                raise Fatal("WRONG_CHAIN", text, {"found": self._zero_state.hex()})
        elif keep:
            file.write_text(json.dumps(found), encoding="utf-8")

    async def _missing(self) -> list[MinterPlan]:
        """The minters that are not there yet; raises Fatal where other code stands."""
        accounts = await self._api.accounts([minter.address for minter in self.plan.minters])
        code = artifact("Bridge").hash
        missing = []
        for minter in self.plan.minters:
            account = accounts.get(minter.address)
            if account is None or not account.active:
                missing.append(minter)
            elif account.code_hash != code:
                text = f"{show(minter.address)} runs other code than {minter.symbol}'s minter"
                raise Fatal("CODE_UNEXPECTED", text, {"account": minter.address.hex()})
        return missing

    async def _check_funds(self, needed: int) -> None:
        balance = await self._purse.balance()
        if balance < needed + _SEND_FEES and needed:
            text = (
                f"{show(self._purse.address)} has {balance} nanoTON, needs {needed + _SEND_FEES}; "
                "send it coins and run again"
            )
            raise Transient("SENDER_UNFUNDED", text, {"balance": balance, "needed": needed})

    async def _deploy(self, part: Sequence[MinterPlan]) -> str:
        messages = [
            internal_message(minter.address, MINTER_VALUE, top_up_body(), init=minter.init)
            for minter in part
        ]
        signed = await self._purse.sign(messages, await self._valid_until())
        await self._api.send(signed.raw)
        await self._purse.landed(signed.ref)
        for _ in range(_TRIES):
            left = await self._missing()
            if not any(minter in left for minter in part):
                return signed.ref.id.hex()
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"minters of {signed.ref.id.hex()} are not there yet; run the deployment again"
        raise Ambiguous("DEPLOY_PENDING", text, {"tx": signed.ref.id.hex()})

    async def _valid_until(self) -> int:
        return (await self._api.masterchain_head()).time + _VALID_SECONDS

    async def fund(self, accounts: Sequence[Address32]) -> int:
        """Send coins to those below a few TON; how many were paid. Wallets deploy themselves with
        their first send, so nothing else is needed."""
        known = await self._api.accounts(list(accounts)) if accounts else {}
        poor = [
            account
            for account in dict.fromkeys(accounts)
            if account not in known or known[account].balance < FUND_BELOW
        ]
        await self._check_funds(len(poor) * FUND_WITH)
        for at in range(0, len(poor), V4_MESSAGES_MAX):
            part = poor[at : at + V4_MESSAGES_MAX]
            messages = [internal_message(to, FUND_WITH, top_up_body(), bounce=False) for to in part]
            signed = await self._purse.sign(messages, await self._valid_until())
            await self._api.send(signed.raw)
            await self._purse.landed(signed.ref)
            await self._until_paid(part)
        return len(poor)

    async def _until_paid(self, part: Sequence[Address32]) -> None:
        for _ in range(_TRIES):
            known = await self._api.accounts(list(part))
            if all(to in known and known[to].balance >= FUND_BELOW for to in part):
                return
            await self._clock.sleep(_WAIT_SECONDS)
        raise Transient("FUNDING_PENDING", "coins that were sent do not show yet; run again")

    # ------------------------------------------------------------------ the registry entry

    async def _read_facts(self) -> None:
        for minter in self.plan.minters:
            first = await self._api.transactions(minter.address, start_lt=0, limit=1)
            if not first:
                text = f"{self._api.host} lists no transaction of {minter.symbol}'s minter; repeat"
                raise Transient("NODE_BEHIND", text)
            self._blocks[minter.address] = first[0].mc_seqno or 0

    def chain_entry(self) -> dict[str, Any]:
        """The chain's entry for the registry file, once `run` has ended."""
        plan = self.plan
        return {
            "name": plan.chain,
            "domain": int(plan.domain),
            "family": "ton",
            "network_id": plan.global_id,
            "genesis_hash": "0x" + self._zero_state.hex(),
            "finality": "finalized",
            "block_time_ms": plan.block_time_ms,
            "batch_items_max": plan.batch_items_max,
            "bridges": [],
        }

    def asset_entries(self) -> dict[str, dict[str, Any]]:
        """symbol -> this chain's deployment of the asset for the registry file."""
        code_hash = "0x" + artifact("Bridge").hash.hex()
        return {
            minter.symbol: {
                "chain": self.plan.chain,
                "token": show(minter.address),
                "decimals": minter.decimals,
                "kind": "jetton",
                "minimum_shares": minter.minimum,
                "bridges": [
                    {
                        "address": show(minter.address),
                        "deployed_block": self._blocks[minter.address],
                        "code_hash": code_hash,
                        "retired_block": None,
                    }
                ],
            }
            for minter in self.plan.minters
        }
