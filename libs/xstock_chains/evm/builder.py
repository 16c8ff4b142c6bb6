"""Checks and builds a holder's burn on an EVM chain; holds no key and sends nothing.

Every reason why the burn would fail is found before bytes exist, because a burn that reaches
the wrong form of recipient can only be parked. The bytes carry the account's nonce, so a retried
build that is signed twice lands at most once. What could not be found out is unknown, not fine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode

from xstock_chains.evm.address import checksummed, from_wire, parse_text, to_wire
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import block_call, parse_header
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.solidity.abi import hex_of, selector, words
from xstock_chains.solidity.contracts import TOKEN_UNITS_PER_SHARE_UNIT, TokenContract
from xstock_core.amount import displayed_decimal
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, parse_address
from xstock_runtime.errors import Fatal, Transient

_ONE: Final = 10**18
_BRIDGE_GAS_PER_APPROVE_GAS: Final = 8
"""A burn was measured at 2.5 times an approval; the limit costs nothing if it is not used."""
_BALANCE, _ALLOWANCE, _PAUSED, _MULTIPLIER, _LIST, _MINIMUM, _BRIDGE_PAUSE = range(7)
_ASSET_PAUSE, _KIND, _LATEST, _COINS, _NONCE, _TIP, _CHAIN = range(7, 14)


@dataclass(frozen=True, slots=True)
class _Step:
    """One transaction to sign."""

    label: str
    to: bytes
    data: bytes
    gas: int


class EvmBurnBuilder:
    """`BurnBuilder` for one node of one EVM chain."""

    def __init__(self, chain: EvmChain, registry: Registry, rpc: Rpc) -> None:
        self.chain = chain
        self._registry = registry
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def parse_address(self, text: str) -> Address32:
        """The wire form of 0x text; raises InvalidId on shape, checksum or zero."""
        return to_wire(parse_text(text))

    def show_address(self, address: Address32) -> str:
        """The EIP-55 text."""
        return checksummed(from_wire(address))

    async def multiplier(self, asset: AssetId) -> int:
        """The token's multiplier now, scaled by 10^18; raises InvalidId for an unknown asset."""
        token = self._token(asset)
        call = eth_call(token.address, selector("getCurrentMultiplier()"), "latest")
        (answer,) = await self._rpc.batch([call])
        return words(data_of(answer, "getCurrentMultiplier"), 2, "getCurrentMultiplier")[0]

    # ------------------------------------------------------------------ checks

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Form, limits, balance, pauses, sanctions and recipient, as of the latest block."""
        form = self._form(request)
        if any(result.passed is not True for result in form):
            return form
        token = self._token(request.asset)
        answers = await self._rpc.batch_settled(self._calls(request, token))
        listed = await self._sanctioned(request, answers[_LIST])
        return [
            *form,
            self._amount(request, answers),
            self._balance(request, token, answers[_BALANCE]),
            self._token_pause(token, answers[_PAUSED]),
            *self._bridge_pauses(request, answers),
            self._lane(answers[_KIND]),
            listed,
            _coins(answers[_COINS]),
        ]

    def _token(self, asset: AssetId) -> TokenContract:
        token = self.chain.by_asset().get(asset)
        if token is None:
            raise InvalidId("asset", asset.hex(), f"it is not registered on {self.chain.name}")
        return token

    def _form(self, request: BurnRequest) -> list[CheckResult]:
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
        if request.destination not in (Domain.ETHEREUM, Domain.BNB, Domain.MANTLE):
            return set()
        if self._asset_check(request).passed is not True:
            return set()
        there = self._registry.chain(request.destination)
        token = self._registry.asset(request.asset).on(there.name)
        texts = [bridge.address for bridge in there.bridges]
        texts += [] if token is None else [token.token]
        own = [self.chain.bridge.address, self._token(request.asset).address]
        return {to_wire(one) for one in [*own, *map(parse_text, texts)]}

    def _refund_check(self, request: BurnRequest) -> CheckResult:
        remedy = "name an address of your own on the source chain"
        try:
            parse_address(request.sender, self.chain.domain, "sender")
            address = parse_address(request.refund_address, self.chain.domain, "refund_address")
        except InvalidId as error:
            return CheckResult("refund address", False, "an address", str(error), error.remedy)  # noqa: FBT003
        token = self.chain.by_asset().get(request.asset)
        refused = {self.chain.bridge.wire} | ({to_wire(token.address)} if token else set())
        shown = checksummed(from_wire(address))
        return CheckResult("refund address", address not in refused, "a holder", shown, remedy)

    def _calls(self, request: BurnRequest, token: TokenContract) -> list[Call]:
        sender, bridge = request.sender, self.chain.bridge
        kind = selector("recipientKind(uint32)") + int(request.destination).to_bytes(32, "big")
        return [
            eth_call(token.address, selector("sharesOf(address)") + sender, "latest"),
            eth_call(
                token.address,
                selector("allowance(address,address)") + sender + bridge.wire,
                "latest",
            ),
            eth_call(token.address, selector("isPaused()"), "latest"),
            eth_call(token.address, selector("getCurrentMultiplier()"), "latest"),
            eth_call(token.address, selector("sanctionsList()"), "latest"),
            eth_call(bridge.address, selector("minimumOf(bytes32)") + token.asset, "latest"),
            eth_call(bridge.address, selector("pausedUntil(bytes32)") + bytes(32), "latest"),
            eth_call(bridge.address, selector("pausedUntil(bytes32)") + token.asset, "latest"),
            eth_call(bridge.address, kind, "latest"),
            block_call("latest"),
            ("eth_getBalance", [hex_of(from_wire(sender, "sender")), "latest"]),
        ]

    def _amount(self, request: BurnRequest, answers: Sequence[Any]) -> CheckResult:
        minimum = _first_word(answers[_MINIMUM])
        if minimum is None:
            return _unknown("amount", "the bridge's minimum")
        remedy = f"burn at least {minimum} units of 10^-8 share"
        enough = 0 < request.amount < 2**64 and request.amount >= minimum
        return CheckResult("amount", enough, f"at least {minimum}", str(request.amount), remedy)

    def _balance(self, request: BurnRequest, token: TokenContract, answer: Any) -> CheckResult:
        units = _first_word(answer)
        if units is None:
            return _unknown("balance", f"the sender's {token.symbol}")
        held = units // TOKEN_UNITS_PER_SHARE_UNIT
        remedy = f"the sender holds {held} units of 10^-8 share; burn at most that"
        expected = f"at least {request.amount}"
        return CheckResult("balance", held >= request.amount, expected, str(held), remedy)

    def _token_pause(self, token: TokenContract, answer: Any) -> CheckResult:
        paused = _first_word(answer)
        if paused is None:
            return _unknown("token pause", f"whether {token.symbol} is paused")
        remedy = f"wait until the issuer lifts the pause of {token.symbol}"
        return CheckResult("token pause", not paused, "not paused", str(bool(paused)), remedy)

    def _bridge_pauses(self, request: BurnRequest, answers: Sequence[Any]) -> list[CheckResult]:
        """A redemption goes through a pause of the bridge."""
        if request.destination is Domain.CUSTODY:
            return []
        now = parse_header(answers[_LATEST]).time
        results = []
        for name, at in (("bridge pause", _BRIDGE_PAUSE), ("asset pause", _ASSET_PAUSE)):
            until = _first_word(answers[at])
            if until is None:
                results.append(_unknown(name, "the bridge's pause"))
                continue
            remedy = f"paused until Unix time {until}; wait"
            results.append(CheckResult(name, until <= now, "not paused", str(until), remedy))
        return results

    def _lane(self, answer: Any) -> CheckResult:
        kind = _first_word(answer)
        if kind is None:
            return _unknown("lane", "whether the bridge burns towards this chain")
        remedy = "the bridge does not burn towards this chain; choose another"
        return CheckResult("lane", kind != 0, "open", "open" if kind else "closed", remedy)

    async def _sanctioned(self, request: BurnRequest, answer: Any) -> CheckResult:
        """Sanctions block the transfer into the bridge; a token without a list screens nobody."""
        address = _first_word(answer)
        if not address:
            return CheckResult("sanctions", passed=True, expected="not listed", found="no list")
        screen = address.to_bytes(20, "big")
        data = selector("isSanctioned(address)")
        calls = [eth_call(screen, data + request.sender, "latest")]
        listed = _first_word((await self._rpc.batch_settled(calls))[0])
        if listed is None:
            return _unknown("sanctions", "the sanctions list")
        remedy = "the token refuses transfers of this sender; use another account"
        found = "listed" if listed else "not listed"
        return CheckResult("sanctions", not listed, "not listed", found, remedy)

    # ------------------------------------------------------------------ building

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """An approval if the allowance is too small, then bridgeOut; nonces in their order."""
        token = self._token(request.asset)
        answers = await self._facts(request, token)
        multiplier = _first_word(answers[_MULTIPLIER]) or 0
        if multiplier == 0:
            raise Transient("MULTIPLIER_UNKNOWN", f"the multiplier of {token.symbol} is unknown")
        needed = request.amount * TOKEN_UNITS_PER_SHARE_UNIT * multiplier // _ONE
        steps = await self._steps(request, token, needed, _first_word(answers[_ALLOWANCE]) or 0)
        nonce = quantity(answers[_NONCE], "eth_getTransactionCount")
        fees = self._fees(answers)
        common = {
            "chain_id": self.chain.chain_id,
            "value": 0,
            "max_fee_per_gas": fees["maxFeePerGas"],
            "max_priority_fee_per_gas": fees["maxPriorityFeePerGas"],
        }
        transactions = [
            {
                "effect": step.label,
                "from": checksummed(from_wire(request.sender)),
                "nonce": nonce + at,
                "to": checksummed(step.to),
                "data": hex_of(step.data),
                "gas": step.gas,
                **common,
            }
            for at, step in enumerate(steps)
        ]
        document = {"family": "evm", "expires": expires}
        return UnsignedBurn(
            chain=self.chain.domain,
            payload=json.dumps(
                document | {"transactions": transactions}, sort_keys=True, separators=(",", ":")
            ),
            effects=self._effects(request, token, multiplier, approves=len(steps) == 2),
            expires=expires,
        )

    async def _facts(self, request: BurnRequest, token: TokenContract) -> list[Any]:
        account = hex_of(from_wire(request.sender, "sender"))
        extra: list[Call] = [
            ("eth_getTransactionCount", [account, "latest"]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_chainId", []),
        ]
        answers = await self._rpc.batch_settled(self._calls(request, token) + extra)
        for at in (_ALLOWANCE, _LATEST, _NONCE, _CHAIN):
            if isinstance(answers[at], RpcFault):
                raise self._rpc.refused("a read for the burn", answers[at])
        found = quantity(answers[_CHAIN], "eth_chainId")
        if found != self.chain.chain_id:
            text = f"{self._rpc.host} is chain {found}, registered is {self.chain.chain_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": found})
        return answers

    async def _steps(
        self, request: BurnRequest, token: TokenContract, needed: int, allowance: int
    ) -> list[_Step]:
        account = hex_of(from_wire(request.sender, "sender"))
        bridge = self.chain.bridge.address
        approve = _approve(bridge, needed + needed // 100 + 1)
        call = {"from": account, "to": hex_of(token.address), "data": hex_of(approve)}
        gas = quantity(await self._rpc.call("eth_estimateGas", call), "eth_estimateGas")
        burn = _Step("bridgeOut", bridge, bridge_out(request), gas * _BRIDGE_GAS_PER_APPROVE_GAS)
        if allowance >= needed:
            return [burn]
        return [_Step("approve", token.address, approve, gas * 2), burn]

    def _fees(self, answers: Sequence[Any]) -> dict[str, int]:
        facts = self.chain.facts
        base = quantity(answers[_LATEST].get("baseFeePerGas", "0x0"), "baseFeePerGas")
        asked = answers[_TIP]
        tip = facts.tip_per_gas if isinstance(asked, RpcFault) else quantity(asked, "tip")
        most = min(2 * base + tip, facts.fee_per_gas_max)
        return {"maxFeePerGas": most, "maxPriorityFeePerGas": min(tip, most)}

    def _effects(
        self,
        request: BurnRequest,
        token: TokenContract,
        multiplier: int,
        *,
        approves: bool,
    ) -> tuple[str, ...]:
        sender = checksummed(from_wire(request.sender))
        bridge = checksummed(self.chain.bridge.address)
        refund = checksummed(from_wire(request.refund_address))
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
        raw = f"0x{request.recipient.hex()}"
        if request.destination is Domain.CUSTODY:
            return f"by custody, account {raw}"
        entry = self._registry.chain(request.destination)
        shown = checksummed(from_wire(request.recipient)) if entry.family == "evm" else raw
        return f"on {entry.name} to {shown}"


def _first_word(answer: Any) -> int | None:
    """The first word of an answer; None where the call failed or answered nothing."""
    if isinstance(answer, RpcFault):
        return None
    raw = data_of(answer, "eth_call")
    return int.from_bytes(raw[:32], "big") if len(raw) >= 32 else None


def _unknown(name: str, what: str) -> CheckResult:
    remedy = "ask again, or another node"
    return CheckResult(name, None, "known", f"{what} could not be read", remedy)


def _coins(answer: Any) -> CheckResult:
    if isinstance(answer, RpcFault):
        return _unknown("fee", "the sender's balance of the chain's coin")
    coins = quantity(answer, "eth_getBalance")
    remedy = "send the sender some of the chain's coin for the fee"
    return CheckResult("fee", coins > 0, "some of the chain's coin", str(coins), remedy)


def _approve(spender: bytes, amount: int) -> bytes:
    return selector("approve(address,uint256)") + to_wire(spender) + amount.to_bytes(32, "big")


def bridge_out(request: BurnRequest) -> bytes:
    """The call data of this very burn; holders compare with it before they sign."""
    return selector("bridgeOut(bytes32,uint64,uint32,bytes32,address)") + encode(
        ["bytes32", "uint64", "uint32", "bytes32", "address"],
        [
            request.asset,
            request.amount,
            int(request.destination),
            request.recipient,
            checksummed(from_wire(request.refund_address, "refund_address")),
        ],
    )
