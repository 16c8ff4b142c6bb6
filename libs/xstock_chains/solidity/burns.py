"""A holder's burn on a Solidity chain: its call data, and every reason why it would fail.

Reasons are found before bytes exist, because a burn that reaches the wrong form of recipient can
only be parked. What could not be found out is unknown, not fine. How the contracts are asked and
how a transaction is made is a family's own; answers come here as first words, None for none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode

from xstock_chains.addresses import parse_wire, show_wire
from xstock_chains.ports import BurnRequest, CheckResult
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.solidity.abi import selector
from xstock_chains.solidity.account import from_wire, to_wire
from xstock_chains.solidity.contracts import (
    TOKEN_UNITS_PER_SHARE_UNIT,
    ContractChain,
    TokenContract,
)
from xstock_core.amount import displayed_decimal
from xstock_core.ids import EVM_WIDTH_DOMAINS, AssetId, Domain, InvalidId, parse_address

_ONE: Final = 10**18
BALANCE, ALLOWANCE, PAUSED, MULTIPLIER, LIST, MINIMUM, BRIDGE_PAUSE, ASSET_PAUSE, KIND = range(9)
"""Where the answers to `BurnChecks.reads` stand."""

Show = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Step:
    """One call to sign."""

    label: str
    to: bytes
    data: bytes


class BurnChecks:
    """What is checked of a burn on one chain; `show` writes 20 bytes as the family does."""

    def __init__(self, chain: ContractChain, registry: Registry, show: Show) -> None:
        self.chain = chain
        self._registry = registry
        self._show = show

    def token(self, asset: AssetId) -> TokenContract:
        """The asset's token here; raises InvalidId for an unknown asset."""
        token = self.chain.by_asset().get(asset)
        if token is None:
            raise InvalidId("asset", asset.hex(), f"it is not registered on {self.chain.name}")
        return token

    # ------------------------------------------------------------------ without a node

    def form(self, request: BurnRequest) -> list[CheckResult]:
        """Route, asset, recipient and refund address."""
        return [
            self._source_check(request),
            self._asset_check(request),
            self._recipient_check(request),
            self._refund_check(request),
        ]

    def _source_check(self, request: BurnRequest) -> CheckResult:
        right = request.source is self.chain.domain and request.destination is not request.source
        route = f"{int(request.source)} to {int(request.destination)}"
        remedy = "build the burn on its source chain, towards another chain"
        return CheckResult("route", right, f"from {int(self.chain.domain)}", route, remedy)

    def _asset_check(self, request: BurnRequest) -> CheckResult:
        remedy = "choose an asset that both chains have"
        known = request.asset in self.chain.by_asset()
        if known and request.destination is not Domain.CUSTODY:
            try:
                there = self._registry.chain(request.destination).name
                known = self._registry.asset(request.asset).on(there) is not None
            except InvalidRegistry as error:
                return CheckResult("asset", passed=False, found=error.message, remedy=remedy)
        found = request.asset.hex()
        return CheckResult("asset", known, "registered on both chains", found, remedy)

    def _recipient_check(self, request: BurnRequest) -> CheckResult:
        expected = "an address of the destination that can hold tokens"
        try:
            parse_address(request.recipient, request.destination, "recipient")
        except InvalidId as error:
            return CheckResult("recipient", False, expected, str(error), error.remedy)  # noqa: FBT003
        text = request.recipient.hex()
        refused = request.recipient in self._refused_recipients(request)
        remedy = "bridges and tokens cannot receive; give the holder's own address"
        return CheckResult("recipient", not refused, expected, text, remedy)

    def _refused_recipients(self, request: BurnRequest) -> set[bytes]:
        """The contracts that this chain's bridge or the destination's would refuse."""
        if request.destination not in EVM_WIDTH_DOMAINS:
            return set()
        if self._asset_check(request).passed is not True:
            return set()
        there = self._registry.chain(request.destination)
        token = self._registry.asset(request.asset).on(there.name)
        texts = [bridge.address for bridge in there.bridges]
        texts += [] if token is None else [token.token]
        own = {self.chain.bridge.wire, to_wire(self.token(request.asset).address)}
        return own | {parse_wire(there.family, text) for text in texts}

    def _refund_check(self, request: BurnRequest) -> CheckResult:
        remedy = "name an address of your own on the source chain"
        try:
            parse_address(request.sender, self.chain.domain, "sender")
            address = parse_address(request.refund_address, self.chain.domain, "refund_address")
        except InvalidId as error:
            return CheckResult("refund address", False, "an address", str(error), error.remedy)  # noqa: FBT003
        token = self.chain.by_asset().get(request.asset)
        refused = {self.chain.bridge.wire} | ({to_wire(token.address)} if token else set())
        shown = self._show(from_wire(address))
        return CheckResult("refund address", address not in refused, "a holder", shown, remedy)

    # ------------------------------------------------------------------ with what a node said

    def reads(self, request: BurnRequest, token: TokenContract) -> list[tuple[bytes, bytes]]:
        """(contract, call data) of what must be known, in the order of BALANCE … KIND."""
        sender, bridge = request.sender, self.chain.bridge
        pause = selector("pausedUntil(bytes32)")
        kind = selector("recipientKind(uint32)") + int(request.destination).to_bytes(32, "big")
        return [
            (token.address, selector("sharesOf(address)") + sender),
            (token.address, selector("allowance(address,address)") + sender + bridge.wire),
            (token.address, selector("isPaused()")),
            (token.address, selector("getCurrentMultiplier()")),
            (token.address, selector("sanctionsList()")),
            (bridge.address, selector("minimumOf(bytes32)") + token.asset),
            (bridge.address, pause + bytes(32)),
            (bridge.address, pause + token.asset),
            (bridge.address, kind),
        ]

    def judge(
        self, request: BurnRequest, token: TokenContract, said: Sequence[int | None], now: int
    ) -> list[CheckResult]:
        """Amount, balance, pauses and lane by those answers; `now` is the newest block's time."""
        return [
            self._amount(request, said[MINIMUM]),
            self._balance(request, token, said[BALANCE]),
            self._token_pause(token, said[PAUSED]),
            *self._bridge_pauses(request, said, now),
            self._lane(said[KIND]),
        ]

    def _amount(self, request: BurnRequest, minimum: int | None) -> CheckResult:
        if minimum is None:
            return unknown("amount", "the bridge's minimum")
        remedy = f"burn at least {minimum} units of 10^-8 share"
        enough = 0 < request.amount < 2**64 and request.amount >= minimum
        return CheckResult("amount", enough, f"at least {minimum}", str(request.amount), remedy)

    def _balance(
        self, request: BurnRequest, token: TokenContract, units: int | None
    ) -> CheckResult:
        if units is None:
            return unknown("balance", f"the sender's {token.symbol}")
        held = units // TOKEN_UNITS_PER_SHARE_UNIT
        remedy = f"the sender holds {held} units of 10^-8 share; burn at most that"
        expected = f"at least {request.amount}"
        return CheckResult("balance", held >= request.amount, expected, str(held), remedy)

    def _token_pause(self, token: TokenContract, paused: int | None) -> CheckResult:
        if paused is None:
            return unknown("token pause", f"whether {token.symbol} is paused")
        remedy = f"wait until the issuer lifts the pause of {token.symbol}"
        return CheckResult("token pause", not paused, "not paused", str(bool(paused)), remedy)

    def _bridge_pauses(
        self, request: BurnRequest, said: Sequence[int | None], now: int
    ) -> list[CheckResult]:
        """A redemption goes through a pause of the bridge."""
        if request.destination is Domain.CUSTODY:
            return []
        results = []
        for name, at in (("bridge pause", BRIDGE_PAUSE), ("asset pause", ASSET_PAUSE)):
            until = said[at]
            if until is None:
                results.append(unknown(name, "the bridge's pause"))
                continue
            remedy = f"paused until Unix time {until}; wait"
            results.append(CheckResult(name, until <= now, "not paused", str(until), remedy))
        return results

    def _lane(self, kind: int | None) -> CheckResult:
        if kind is None:
            return unknown("lane", "whether the bridge burns towards this chain")
        remedy = "the bridge does not burn towards this chain; choose another"
        return CheckResult("lane", kind != 0, "open", "open" if kind else "closed", remedy)

    # ------------------------------------------------------------------ the calls

    def needed(self, request: BurnRequest, multiplier: int) -> int:
        """What the bridge must be allowed to take, displayed, in the token's own units."""
        return request.amount * TOKEN_UNITS_PER_SHARE_UNIT * multiplier // _ONE

    def approval(self, request: BurnRequest, needed: int) -> Step:
        """The approval that a burn of so much needs, one percent above it."""
        data = approve(self.chain.bridge.address, needed + needed // 100 + 1)
        return Step("approve", self.token(request.asset).address, data)

    def burn(self, request: BurnRequest) -> Step:
        """The burn."""
        return Step("bridgeOut", self.chain.bridge.address, bridge_out(request))

    def effects(
        self, request: BurnRequest, token: TokenContract, multiplier: int, *, approves: bool
    ) -> tuple[str, ...]:
        """What signing does, in words."""
        sender = self._show(from_wire(request.sender))
        bridge = self._show(self.chain.bridge.address)
        refund = self._show(from_wire(request.refund_address))
        shown = displayed_decimal(request.amount, multiplier)
        effects = [
            f"{sender} burns {displayed_decimal(request.amount, _ONE)} shares of {token.symbol} "
            f"({shown} displayed) on {self.chain.name}",
            f"as many shares are to be released {self._destination(request)}",
            f"if it is cancelled, they come back to {refund}",
        ]
        if approves:
            effects.insert(0, f"the bridge {bridge} may take {shown} and 1 % more, displayed")
        return tuple(effects)

    def _destination(self, request: BurnRequest) -> str:
        """Where to and to whom, as people write it."""
        if request.destination is Domain.CUSTODY:
            return f"by custody, account 0x{request.recipient.hex()}"
        entry = self._registry.chain(request.destination)
        return f"on {entry.name} to {show_wire(entry.family, request.recipient)}"


def sanction_read(screen: int, request: BurnRequest) -> tuple[bytes, bytes]:
    """(contract, call data) that asks the token's sanctions list about the sender."""
    return screen.to_bytes(20, "big"), selector("isSanctioned(address)") + request.sender


def sanction_check(listed: int | None) -> CheckResult:
    """Sanctions block the transfer into the bridge."""
    if listed is None:
        return unknown("sanctions", "the sanctions list")
    remedy = "the token refuses transfers of this sender; use another account"
    found = "listed" if listed else "not listed"
    return CheckResult("sanctions", not listed, "not listed", found, remedy)


def unscreened() -> CheckResult:
    """A token without a list screens nobody."""
    return CheckResult("sanctions", passed=True, expected="not listed", found="no list")


def coins_check(coins: int | None) -> CheckResult:
    """Whether the sender has some of the chain's coin."""
    if coins is None:
        return unknown("fee", "the sender's balance of the chain's coin")
    remedy = "send the sender some of the chain's coin for the fee"
    return CheckResult("fee", coins > 0, "some of the chain's coin", str(coins), remedy)


def unknown(name: str, what: str) -> CheckResult:
    """A check whose answer could not be had."""
    return CheckResult(
        name, None, "known", f"{what} could not be read", "ask again, or another node"
    )


def approve(spender: bytes, amount: int) -> bytes:
    """The call data of an approval, in displayed units."""
    return approve_head(spender) + amount.to_bytes(32, "big")


def approve_head(spender: bytes) -> bytes:
    """What the call data of every approval of this spender begins with."""
    return selector("approve(address,uint256)") + to_wire(spender)


def bridge_out(request: BurnRequest) -> bytes:
    """The call data of this very burn; holders compare with it before they sign."""
    return selector("bridgeOut(bytes32,uint64,uint32,bytes32,address)") + encode(
        ["bytes32", "uint64", "uint32", "bytes32", "address"],
        [
            request.asset,
            request.amount,
            int(request.destination),
            request.recipient,
            from_wire(request.refund_address, "refund_address"),
        ],
    )
