"""Puts the bridge on a Solana chain: the guards' multisig, mints under it, reference keys.

Every address is derived from the deploying key and from what it is for, and each step is one
transaction that happens whole or not at all; so the chain itself says what is done, and a run
may be stopped anywhere and repeated. A test mint gets the extensions that xStocks have; an
existing one is taken over: its authority moves to the multisig last, by this key or, where
another has it, as a `waiting` step that says who must act.
"""

import json
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xstock_chains.ports import AssetOrder, DeploymentOrder, DeployStep, StepState
from xstock_chains.solana.address import parse_text, show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED
from xstock_chains.solana.mint import MULTISIG_SIZE, facts_hash_input, multisig_data, parse_mint
from xstock_chains.solana.programs import (
    DECIMALS,
    SYSTEM,
    TOKEN_2022,
    create_with_seed,
    initialize_mint,
    initialize_multisig,
    seeded_address,
    set_mint_authority,
    transfer,
    xstock_extensions,
)
from xstock_chains.solana.rpc import (
    Account,
    Call,
    Rpc,
    account_of,
    dict_of,
    key_of,
    list_of,
    number_of,
    with_context,
)
from xstock_chains.solana.sending import DEPLOY, Sender
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.wire import Instruction
from xstock_core.ids import Address32, InvalidId
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal
from xstock_runtime.hashing import keccak256

_MINT_BASE_SIZE: Final = 166
_EXTENSION_SIZES: Final = (64, 32, 1, 64, 56, 33)
"""Metadata pointer, permanent delegate, default state, hook, scaled UI amount, pausable."""
_SIGNATURES_MAX: Final = 1_000
_PAGES_MAX: Final = 100
_FUND_LAMPORTS_MAX: Final = 1_000 * 10**9
_FUND_PART: Final = 50
"""An account gets at most this part of what the deploying key has."""
_ONE: Final = 10**18


@dataclass(slots=True)
class DeployState:
    """What a deployment must remember besides the chain: where reading begins."""

    path: Path | None
    genesis: str = ""
    first_slot: int = 0

    @classmethod
    def load(cls, path: Path | None) -> "DeployState":
        """Read the file if there is one."""
        if path is None or not path.exists():
            return cls(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, document["genesis"], document["first_slot"])

    def save(self) -> None:
        """Write the file whole, or not at all."""
        if self.path is None:
            return
        document = {"genesis": self.genesis, "first_slot": self.first_slot}
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
        beside.replace(self.path)


@dataclass(frozen=True, slots=True)
class _Asset:
    """One asset's mint and whether it is ours to make."""

    order: AssetOrder
    mint: bytes
    created: bool
    seed: bytes

    @property
    def reference(self) -> bytes:
        """The read-only reference key: derived, so nobody holds a key to it."""
        return keccak256(b"xstock/solana/reference/1" + self.mint)


class SolanaDeployment:
    """`Deployment` of one Solana chain by an order."""

    def __init__(
        self,
        order: DeploymentOrder,
        rpc: Rpc,
        signer: LocalSigner,
        clock: Clock,
        state: DeployState,
    ) -> None:
        if order.relayer is None:
            remedy = "name the relayer's account: its key is the base of every marker"
            raise InvalidId("relayer", None, remedy)
        self.order = order
        self.waiting: list[str] = []
        self._rpc = rpc
        self._signer = signer
        self._sender = Sender(rpc, signer, clock, DEPLOY)
        self._state = state
        self._lane_key = parse_text(order.relayer, "relayer")
        self._guards = tuple(bytes(parse_text(one, "guards")) for one in order.guards)
        self._agent = bytes(parse_text(order.agent, "agent"))
        self._admin = (
            signer.identity if order.admin is None else bytes(parse_text(order.admin, "admin"))
        )
        self._data = multisig_data(order.threshold, self._guards)
        self._multisig_seed = keccak256(self._data)[:16].hex().encode()
        self.multisig = seeded_address(signer.identity, self._multisig_seed, TOKEN_2022)
        self._assets = [self._asset(one) for one in order.assets]

    def _asset(self, order: AssetOrder) -> _Asset:
        seed = keccak256(self.multisig + order.symbol.encode())[:16].hex().encode()
        if order.token is not None:
            return _Asset(order, bytes(parse_text(order.token, order.symbol)), False, seed)  # noqa: FBT003
        mint = seeded_address(self._signer.identity, seed, TOKEN_2022)
        return _Asset(order, mint, True, seed)  # noqa: FBT003

    async def run(self, *, dry_run: bool = False) -> AsyncIterator[DeployStep]:
        """Do what is missing, yielding each step; raises Fatal on another chain's state."""
        await self._check_chain(dry_run=dry_run)
        accounts = await self._accounts([self.multisig, *(one.mint for one in self._assets)])
        yield await self._multisig_step(accounts[0], dry_run=dry_run)
        for asset, account in zip(self._assets, accounts[1:], strict=True):
            yield await self._mint_step(asset, account, dry_run=dry_run)

    async def _check_chain(self, *, dry_run: bool) -> None:
        calls: list[Call] = [("getGenesisHash", []), ("getSlot", [FINALIZED])]
        genesis, slot = await self._rpc.batch(calls)
        found = key_of(genesis, "getGenesisHash").hex()
        state = self._state
        if state.genesis and state.genesis != found:
            text = f"the state file is of the chain with genesis {state.genesis}; use another"
            raise Fatal("WRONG_CHAIN", text, {"found": found})
        if not state.genesis:
            state.genesis = found
            state.first_slot = await self._first_slot(number_of(slot, "getSlot"))
            if not dry_run:
                state.save()

    async def _first_slot(self, final: int) -> int:
        """The final slot now, or the one before the multisig's oldest transaction where it
        exists already and the state file is lost."""
        options: dict[str, Any] = {"limit": _SIGNATURES_MAX, **CONFIRMED}
        first = final + 1
        for _ in range(_PAGES_MAX):
            answer = await self._rpc.call("getSignaturesForAddress", show(self.multisig), options)
            listed = [dict_of(one, "signature") for one in list_of(answer, "signatures")]
            if listed:
                first = min(first, number_of(listed[-1].get("slot"), "signature.slot"))
                options["before"] = listed[-1].get("signature")
            if len(listed) < _SIGNATURES_MAX:
                return max(1, first - 1)
        text = "the state file is lost and the multisig's history too long; restore the file"
        raise Fatal("STATE_LOST", text, {"multisig": show(self.multisig)})

    async def _accounts(self, keys: Sequence[bytes]) -> list[Account | None]:
        options = {"encoding": "base64", **CONFIRMED}
        calls: list[Call] = [
            ("getMultipleAccounts", [[show(key) for key in keys[at : at + 100]], options])
            for at in range(0, len(keys), 100)
        ]
        answers = await self._rpc.batch(calls)
        return [
            account_of(one)
            for answer in answers
            for one in list_of(with_context(answer, "accounts")[1], "accounts")
        ]

    # ------------------------------------------------------------------ steps

    async def _multisig_step(self, account: Account | None, *, dry_run: bool) -> DeployStep:
        name, detail = "multisig", f"at {show(self.multisig)}"
        if account is not None and account.data == self._data:
            return DeployStep(name, StepState.ALREADY, detail)
        if account is not None and account.owner != SYSTEM:
            text = f"{show(self.multisig)} holds another account; use another deploying key"
            raise Fatal("ADDRESS_TAKEN", text, {"address": show(self.multisig)})
        if dry_run:
            return DeployStep(name, StepState.PLANNED, detail)
        instructions = [
            create_with_seed(
                self._signer.identity,
                self.multisig,
                self._multisig_seed,
                await self._rent(MULTISIG_SIZE),
                MULTISIG_SIZE,
            ),
            initialize_multisig(self.multisig, self.order.threshold, self._guards),
        ]
        return DeployStep(name, StepState.DONE, detail, await self._sender.send(name, instructions))

    async def _mint_step(
        self, asset: _Asset, account: Account | None, *, dry_run: bool
    ) -> DeployStep:
        name, detail = f"token {asset.order.symbol}", f"at {show(asset.mint)}"
        if account is None or (asset.created and account.owner == SYSTEM):
            if not asset.created:
                raise InvalidId("token", show(asset.mint), "no account is there; check the text")
            if dry_run:
                return DeployStep(name, StepState.PLANNED, detail)
            tx = await self._sender.send(name, await self._mint_instructions(asset))
            return DeployStep(name, StepState.DONE, detail, tx)
        mint = parse_mint(account, asset.order.symbol)
        if mint.decimals != DECIMALS:
            raise InvalidId("token", show(asset.mint), f"it has {mint.decimals} decimals, not 8")
        if mint.authority == self.multisig:
            return DeployStep(name, StepState.ALREADY, detail)
        return await self._authority_step(asset, mint.authority, dry_run=dry_run)

    async def _authority_step(
        self, asset: _Asset, authority: bytes | None, *, dry_run: bool
    ) -> DeployStep:
        """The authority of an existing mint moves to the multisig, the last thing of all."""
        name = f"authority {asset.order.symbol}"
        if authority != self._signer.identity or not self.order.take_roles:
            holder = "nobody" if authority is None else show(authority)
            self.waiting.append(name)
            detail = (
                f"{holder} must SetAuthority MintTokens of {show(asset.mint)} "
                f"to {show(self.multisig)}"
            )
            return DeployStep(name, StepState.WAITING, detail)
        if dry_run:
            return DeployStep(name, StepState.PLANNED)
        move = set_mint_authority(asset.mint, self._signer.identity, self.multisig)
        return DeployStep(name, StepState.DONE, "", await self._sender.send(name, [move]))

    async def _mint_instructions(self, asset: _Asset) -> list[Instruction]:
        """A whole xStock mint in one transaction, its authority the multisig at the end."""
        deployer, symbol = self._signer.identity, asset.order.symbol
        size = _MINT_BASE_SIZE + sum(4 + part for part in _EXTENSION_SIZES)
        name = f"{symbol} test token"
        metadata = 4 + 64 + 4 + len(name) + 4 + len(symbol) + 4 + 4
        rent = await self._rent(size + metadata)
        multiplier = struct.pack("<d", asset.order.multiplier / _ONE)
        before, after = xstock_extensions(
            mint=asset.mint,
            issuer=self._admin,
            pauser=self._agent,
            creator=deployer,
            multiplier=multiplier,
            name=name,
            symbol=symbol,
        )
        return [
            create_with_seed(deployer, asset.mint, asset.seed, rent, size),
            *before,
            initialize_mint(asset.mint, deployer, self._admin),
            *after,
            set_mint_authority(asset.mint, deployer, self.multisig),
        ]

    async def _rent(self, size: int) -> int:
        answer = await self._rpc.call("getMinimumBalanceForRentExemption", size)
        return number_of(answer, "getMinimumBalanceForRentExemption")

    async def fund(self, accounts: Sequence[Address32]) -> int:
        """Give SOL to those accounts that have less than a quarter of what each would get."""
        mine, *held = await self._accounts([self._signer.identity, *accounts])
        owned = 0 if mine is None else mine.lamports
        share = min(_FUND_LAMPORTS_MAX, owned // _FUND_PART)
        poor = [
            account
            for account, found in zip(accounts, held, strict=True)
            if (0 if found is None else found.lamports) < share // 4
        ]
        if poor:
            paid = [transfer(self._signer.identity, account, share) for account in poor]
            for at in range(0, len(paid), 10):
                await self._sender.send("funding", paid[at : at + 10])
        return len(poor)

    # ------------------------------------------------------------------ the registry entry

    def chain_entry(self) -> dict[str, Any]:
        """The chain's entry for the registry file, once `run` has ended."""
        order = self.order
        return {
            "name": order.chain,
            "domain": int(order.domain),
            "family": "solana",
            "network_id": order.network_id,
            "genesis_hash": "0x" + self._state.genesis,
            "finality": "finalized",
            "block_time_ms": order.block_time_ms,
            "batch_items_max": 1,
            "bridges": [
                {
                    "address": show(self.multisig),
                    "deployed_block": self._state.first_slot,
                    "code_hash": "0x" + keccak256(self._data).hex(),
                    "retired_block": None,
                }
            ],
            "lane_keys": [{"key": show(self._lane_key), "retired_block": None}],
        }

    def asset_entries(self) -> dict[str, dict[str, Any]]:
        """symbol -> this chain's deployment of the asset for the registry file."""
        return {asset.order.symbol: self._asset_entry(asset) for asset in self._assets}

    def _asset_entry(self, asset: _Asset) -> dict[str, Any]:
        facts = facts_hash_input(asset.mint, asset.reference, DECIMALS, self.multisig)
        return {
            "chain": self.order.chain,
            "token": show(asset.mint),
            "decimals": DECIMALS,
            "kind": "token_2022",
            "minimum_shares": asset.order.minimum_shares,
            "bridges": [
                {
                    "address": show(asset.reference),
                    "deployed_block": self._state.first_slot,
                    "code_hash": "0x" + keccak256(facts).hex(),
                    "retired_block": None,
                }
            ],
        }
