"""Checks and builds a holder's burn on TON; holds no key and sends nothing.

Every reason why the burn would fail is found before bytes exist. Above all the coins: a burn that
cannot pay its way through three accounts would be refused by the jetton wallet, and one that ran
dry behind it would lose the tokens, so a burn too poor in TON is refused before it is built. What
could not be found out is unknown, not fine. The payload is one message for any wallet app.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytoniq_core.boc.cell import Cell

from xstock_chains.addresses import show_wire
from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.ton.address import parse_text, show
from xstock_chains.ton.cells import account_slice, boc_of
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.messages import burn_body, burn_payload
from xstock_chains.ton.minter import jetton_wallet
from xstock_chains.ton.rpc import AccountHead, Toncenter
from xstock_core.amount import displayed_decimal
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, parse_address
from xstock_runtime.errors import InvalidMessage, Transient

BURN_VALUE: Final = 60_000_000
"""nanoTON attached to a burn: above the wallet's floor of 0.04 even where a wallet app takes its
own fee from it; what is left returns."""
BURN_FEES: Final = 20_000_000
_ONE: Final = 10**18
_UNTIL_LIFTED: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the chain says of a burn now; None is unknown."""

    minimum: int | None
    paused_until: int | None
    lane: int | None
    held: int | None
    wallet: Address32 | None
    coins: int | None
    now: int | None


class TonBurnBuilder:
    """`BurnBuilder` for one node of one TON network."""

    def __init__(self, chain: TonChain, registry: Registry, api: Toncenter) -> None:
        self.chain = chain
        self._registry = registry
        self._api = api

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    def parse_address(self, text: str) -> Address32:
        """The account of raw or user-friendly text; raises InvalidId."""
        return parse_text(text)

    def show_address(self, address: Address32) -> str:
        """The user-friendly, bounceable text."""
        return show(address)

    async def multiplier(self, asset: AssetId) -> int:
        """The display multiplier now, scaled by 10^18; raises InvalidId for an unknown asset."""
        stack = await self._api.run(self._minter(asset).address, "get_display_multiplier")
        if stack.integer(0) <= 0 or stack.integer(1) <= 0:
            raise Transient("MULTIPLIER_UNKNOWN", f"the multiplier of {asset.hex()} is unknown")
        return stack.integer(0) * _ONE // stack.integer(1)

    # ------------------------------------------------------------------ checks

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Form, limits, balance, pause, lane and coins, as of the last committed state."""
        form = [
            self._route(request),
            self._asset(request),
            self._recipient(request),
            self._refund(request),
        ]
        if any(result.passed is not True for result in form):
            return form
        minter = self._minter(request.asset)
        facts = await self._facts(request, minter)
        return [
            *form,
            _amount(request, minter, facts),
            _balance(request, minter, facts),
            _pause(request, facts),
            _lane(facts),
            _wallet(request, minter, facts),
            self.coins(facts.coins),
        ]

    def _minter(self, asset: AssetId) -> TonMinter:
        minter = self.chain.in_use.get(asset)
        if minter is None:
            raise InvalidId("asset", asset.hex(), f"it is not registered on {self.chain.name}")
        return minter

    def _route(self, request: BurnRequest) -> CheckResult:
        right = request.source is self.chain.domain and request.destination is not request.source
        route = f"{int(request.source)} to {int(request.destination)}"
        remedy = "build the burn on its source chain, towards another chain"
        return CheckResult("route", right, f"from {int(self.chain.domain)}", route, remedy)

    def _asset(self, request: BurnRequest) -> CheckResult:
        remedy = "choose an asset that both chains have"
        known = request.asset in self.chain.in_use
        if known and request.destination is not Domain.CUSTODY:
            try:
                there = self._registry.chain(request.destination).name
                known = self._registry.asset(request.asset).on(there) is not None
            except InvalidRegistry as error:
                return CheckResult("asset", passed=False, found=error.message, remedy=remedy)
        found = request.asset.hex()
        return CheckResult("asset", known, "registered on both chains", found, remedy)

    def _recipient(self, request: BurnRequest) -> CheckResult:
        expected = "an address of the destination that can hold tokens"
        try:
            parse_address(request.recipient, request.destination, "recipient")
        except InvalidId as error:
            return CheckResult("recipient", False, expected, str(error), error.remedy)  # noqa: FBT003
        return CheckResult("recipient", True, expected, request.recipient.hex())  # noqa: FBT003

    def _refund(self, request: BurnRequest) -> CheckResult:
        remedy = "name an account of your own on TON"
        try:
            parse_address(request.sender, self.chain.domain, "sender")
            address = parse_address(request.refund_address, self.chain.domain, "refund_address")
        except InvalidId as error:
            return CheckResult("refund address", False, "an address", str(error), error.remedy)  # noqa: FBT003
        right = address not in self.chain.by_address
        return CheckResult("refund address", right, "a holder", show(address), remedy)

    def coins(self, balance: int | None) -> CheckResult:
        """SECURITY: a starved burn loses the tokens; the wallet and this check both refuse it."""
        if balance is None:
            return _unknown("fee", "the sender's TON")
        needed = BURN_VALUE + BURN_FEES
        remedy = f"send the sender's wallet TON: a burn needs {needed} nanoTON, most of it returns"
        return CheckResult("fee", balance >= needed, f"{needed} nanoTON", str(balance), remedy)

    async def _facts(self, request: BurnRequest, minter: TonMinter) -> _Facts:
        wallet = jetton_wallet(minter.address, request.sender)
        accounts, head, *numbers = await asyncio.gather(
            self._accounts([request.sender, wallet]),
            self._time(),
            self._number(minter.address, "minimum"),
            self._number(minter.address, "pause_state"),
            self._number(minter.address, "lane_counter", int(request.destination)),
        )
        held: int | None = 0
        if accounts is None:
            held = None
        elif wallet in accounts and accounts[wallet].active:
            held = await self._number(wallet, "get_wallet_data")
        coins = None
        if accounts is not None:
            sender = accounts.get(request.sender)
            coins = 0 if sender is None else sender.balance
        derived = await self._derived(minter, request.sender)
        return _Facts(numbers[0], numbers[1], numbers[2], held, derived, coins, head)

    async def _accounts(self, of: Sequence[Address32]) -> dict[Address32, AccountHead] | None:
        try:
            return await self._api.accounts(of)
        except (Transient, InvalidMessage):
            return None

    async def _time(self) -> int | None:
        try:
            return (await self._api.masterchain_head()).time
        except (Transient, InvalidMessage):
            return None

    async def _number(self, address: Address32, method: str, *arguments: int) -> int | None:
        """The first number of a get method, None where it could not be read."""
        try:
            return (await self._api.run(address, method, arguments)).integer(0)
        except (Transient, InvalidMessage):
            return None

    async def _derived(self, minter: TonMinter, owner: Address32) -> Address32 | None:
        """The jetton wallet as the minter itself derives it."""
        try:
            stack = await self._api.run(
                minter.address, "get_wallet_address", [account_slice(owner)]
            )
            return stack.account(0)
        except (Transient, InvalidMessage):
            return None

    # ------------------------------------------------------------------ building

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """One message to the holder's jetton wallet; raises Transient for a sender that is known
        to be too poor in TON (F44): such a burn must not even be built."""
        minter = self._minter(request.asset)
        account = (await self._api.accounts([request.sender])).get(request.sender)
        fee = self.coins(0 if account is None else account.balance)
        if fee.passed is not True:
            facts = {"found": fee.found, "expected": fee.expected}
            raise Transient(
                "SENDER_UNFUNDED", f"the sender has too little TON; {fee.remedy}", facts
            )
        multiplier = await self.multiplier(request.asset)
        effects = self._effects(request, minter, multiplier)
        message = {
            "to": show(jetton_wallet(minter.address, request.sender)),
            "value": str(BURN_VALUE),
            "body": boc_of(burn_of(request, minter)).hex(),
            "effect": effects[0],
        }
        document = {"family": "ton", "valid_until": expires, "messages": [message]}
        return UnsignedBurn(
            chain=self.chain.domain,
            payload=json.dumps(document, sort_keys=True, separators=(",", ":")),
            effects=effects,
            expires=expires,
        )

    def _effects(self, request: BurnRequest, minter: TonMinter, multiplier: int) -> tuple[str, ...]:
        shown = displayed_decimal(request.amount, multiplier)
        shares = displayed_decimal(request.amount, _ONE)
        return (
            f"{show(request.sender)} burns {shares} shares of {minter.asset.symbol} "
            f"({shown} displayed) on {self.chain.name}",
            f"as many shares are to be released {self._destination(request)}",
            f"if it is cancelled, they come back to {show(request.refund_address)}",
            f"{displayed_decimal(BURN_VALUE, 10**17)} TON go along for fees, what is left returns",
        )

    def _destination(self, request: BurnRequest) -> str:
        """Where to and to whom, in the destination's own text."""
        if request.destination is Domain.CUSTODY:
            return f"by custody, account 0x{request.recipient.hex()}"
        entry = self._registry.chain(request.destination)
        return f"on {entry.name} to {show_wire(entry.family, request.recipient)}"


def burn_of(request: BurnRequest, minter: TonMinter) -> Cell:
    """The body of this very burn; holders compare with it before they sign."""
    refund = None if request.refund_address == request.sender else request.refund_address
    payload = burn_payload(int(request.destination), request.recipient, refund)
    return burn_body(minter.asset.units(request.amount), request.sender, payload)


def _amount(request: BurnRequest, minter: TonMinter, facts: _Facts) -> CheckResult:
    if facts.minimum is None:
        return _unknown("amount", "the minter's minimum")
    remedy = f"burn at least {facts.minimum} units of 10^-8 share"
    try:
        minter.asset.units(request.amount)
    except InvalidId as error:
        return CheckResult("amount", False, "no dust", str(request.amount), error.remedy)  # noqa: FBT003
    enough = 0 < request.amount < 2**64 and request.amount >= facts.minimum
    return CheckResult("amount", enough, f"at least {facts.minimum}", str(request.amount), remedy)


def _balance(request: BurnRequest, minter: TonMinter, facts: _Facts) -> CheckResult:
    if facts.held is None:
        return _unknown("balance", f"the sender's {minter.asset.symbol}")
    remedy = f"the sender holds {facts.held} units of the jetton; burn at most that"
    try:
        enough = facts.held >= minter.asset.units(request.amount)
    except InvalidId:
        enough = False
    return CheckResult("balance", enough, f"at least {request.amount}", str(facts.held), remedy)


def _pause(request: BurnRequest, facts: _Facts) -> CheckResult:
    """A redemption goes through a pause of the minter."""
    until, now = facts.paused_until, facts.now
    if until is None or now is None:
        return _unknown("asset pause", "the minter's pause")
    if request.destination is Domain.CUSTODY:
        until = 0
    lifts = "until it is lifted" if until == _UNTIL_LIFTED else f"until Unix time {until}"
    return CheckResult(
        "asset pause", until <= now, "not paused", str(until), f"paused {lifts}; wait"
    )


def _lane(facts: _Facts) -> CheckResult:
    if facts.lane is None:
        return _unknown("lane", "whether the minter burns towards this chain")
    remedy = "the minter does not burn towards this chain; choose another"
    return CheckResult("lane", facts.lane >= 0, "open", str(facts.lane), remedy)


def _wallet(request: BurnRequest, minter: TonMinter, facts: _Facts) -> CheckResult:
    if facts.wallet is None:
        return _unknown("jetton wallet", "where the minter keeps the sender's tokens")
    ours = jetton_wallet(minter.address, request.sender)
    remedy = "the minter's wallet code is another than ours; correct the registry"
    return CheckResult(
        "jetton wallet", facts.wallet == ours, show(ours), show(facts.wallet), remedy
    )


def _unknown(name: str, what: str) -> CheckResult:
    remedy = "ask again, or another node"
    return CheckResult(name, None, "known", f"{what} could not be read", remedy)
