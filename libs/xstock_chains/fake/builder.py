"""`BurnBuilder` of the fake family: every reason why a burn would fail, before it is built.

The payload is one JSON document; `FakeSigner` never sees it, a wallet or the devnet turns it into
a call with `burn_call`.
"""

import json
from collections.abc import Sequence

from xstock_chains.fake.chain import FakeChain
from xstock_chains.fake.node import FakeNode
from xstock_chains.fake.transactions import BurnCall
from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, parse_address
from xstock_core.observation import TxRef
from xstock_runtime.errors import InvalidMessage


class FakeBurnBuilder:
    """Checks and builds burns for one chain."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._domain = node.chain.domain

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Asset, pause, minimum, balance and recipient, each as one line."""
        if request.source is not self._domain:
            raise InvalidMessage(
                "WRONG_CHAIN", f"source {request.source.name} is not {self._domain.name}"
            )
        view = await self._node.view("check")
        chain, at = self._node.chain, view.head.number
        rules = chain.state.rules.get(request.asset, at)
        units = chain.state.balance.get((request.asset, request.sender), at)
        owned = units // 10 ** (chain.config.decimals - 8)
        minimum = chain.config.minimum_shares
        open_asset = rules is not None and not rules.paused
        return (
            _line("asset open for burning", found="yes" if open_asset else "no", expected="yes"),
            _at_least("amount against the route minimum", request.amount, minimum),
            _at_least("balance", owned, request.amount),
            _recipient(request, chain.config.bridge),
        )

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """One call, no approval; raises InvalidMessage BURN_REFUSED naming every failed check."""
        failed = [check for check in await self.check(request) if not check.passed]
        if failed:
            reasons = "; ".join(f"{c.name}: {c.found}, {c.remedy}" for c in failed)
            raise InvalidMessage("BURN_REFUSED", reasons)
        row = {
            "amount": str(request.amount),
            "asset": request.asset.hex(),
            "destination": int(request.destination),
            "recipient": request.recipient.hex(),
            "refund_address": request.refund_address.hex(),
            "sender": request.sender.hex(),
        }
        effect = f"burns {request.amount} units of 10^-8 share on {self._domain.name}"
        return UnsignedBurn(self._domain, json.dumps(row, sort_keys=True), (effect,), expires)

    def parse_address(self, text: str) -> Address32:
        """An address from 0x and 40 or 64 hex digits; raises InvalidId."""
        digits = text.removeprefix("0x")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if not text.startswith("0x") or len(raw) not in (20, 32):
            raise InvalidId("address", text, "give 0x and 40 or 64 hex digits")
        return parse_address(raw.rjust(32, b"\0"), self._domain)

    def show_address(self, address: Address32) -> str:
        """0x and 40 hex digits, or 64 where the address needs them."""
        short = not any(address[:12])
        return "0x" + (address[12:] if short else address).hex()


def execute_burn(chain: FakeChain, burn: UnsignedBurn) -> TxRef:
    """Queue a built burn on the chain, as the holder's wallet would after signing."""
    row = json.loads(burn.payload)
    call = BurnCall(
        AssetId(bytes.fromhex(row["asset"])),
        Domain(row["destination"]),
        Address32(bytes.fromhex(row["recipient"])),
        Address32(bytes.fromhex(row["refund_address"])),
        int(row["amount"]),
    )
    return chain.call(Address32(bytes.fromhex(row["sender"])), call)


def _line(name: str, *, found: str, expected: str) -> CheckResult:
    remedy = "" if found == expected else "wait until it is, or ask the issuer"
    return CheckResult(name, found == expected, expected, found, remedy)


def _at_least(name: str, found: int, least: int) -> CheckResult:
    remedy = "" if found >= least else f"needs at least {least}"
    return CheckResult(name, found >= least, f">= {least}", str(found), remedy)


def _recipient(request: BurnRequest, bridge: Address32) -> CheckResult:
    name, expected, found = "recipient", "an account of another chain", request.recipient.hex()
    if request.destination is request.source or request.recipient == bridge:
        remedy = "choose another chain than the source, and not the bridge"
        return CheckResult(name, passed=False, expected=expected, found=found, remedy=remedy)
    try:
        parse_address(request.recipient, request.destination, name)
    except InvalidId as error:
        remedy = error.remedy
        return CheckResult(name, passed=False, expected=expected, found=found, remedy=remedy)
    return CheckResult(name, passed=True, expected=expected, found=found)
