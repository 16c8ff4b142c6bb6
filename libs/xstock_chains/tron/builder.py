"""Checks and builds a holder's burn on Tron; holds no key and sends nothing.

The checks are the contracts' own (`solidity.burns`); here they are asked of a Tron server and
the burn becomes raw transactions of our own making: an approval where the allowance is too
small, then the burn. Each carries a reference block and an expiration, by which it is dead if it
was not sent. A transaction that an approval must precede cannot be simulated before it, so its
energy is then bounded by a measured figure.
"""

import json
from collections.abc import Sequence
from typing import Final

from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import selector, words
from xstock_chains.solidity.account import from_wire
from xstock_chains.solidity.burns import (
    ALLOWANCE,
    LIST,
    MULTIPLIER,
    BurnChecks,
    Step,
    coins_check,
    sanction_check,
    sanction_read,
    unscreened,
)
from xstock_chains.tron.address import account_text, parse_text, show, to_hex
from xstock_chains.tron.blocks import SolidChain
from xstock_chains.tron.calls import Read, call_body, data_or_raise, first_word, read_all
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.errors import CallFault, call_refused, parse_call
from xstock_chains.tron.fees import Prices, fee_limit, read_prices, with_margin
from xstock_chains.tron.frames import DAY_MS, make_frame, read_heads
from xstock_chains.tron.rpc import WALLET, TronRpc, number_of, object_of
from xstock_chains.tron.transaction import Frame, RawTransaction, Trigger, encode
from xstock_core.ids import Address32, AssetId
from xstock_runtime.errors import Transient

BURN_ENERGY: Final = 400_000
"""What a burn may use at most where it cannot be simulated yet; measured: docs/chains/tron.md."""
_MARGIN_MS: Final = 60_000


class TronBurnBuilder:
    """`BurnBuilder` for one server of one Tron network."""

    def __init__(self, chain: TronChain, registry: Registry, rpc: TronRpc) -> None:
        self.chain = chain
        self._checks = BurnChecks(chain, registry, account_text)
        self._rpc = rpc
        self._solid = SolidChain(rpc, chain)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def parse_address(self, text: str) -> Address32:
        """The wire form of a T… text; raises InvalidId on shape, checksum or zero."""
        return parse_text(text)

    def show_address(self, address: Address32) -> str:
        """The T… text."""
        return show(address)

    async def multiplier(self, asset: AssetId) -> int:
        """The token's multiplier now, scaled by 10^18; raises InvalidId for an unknown asset."""
        read = Read(self._checks.token(asset).address, selector("getCurrentMultiplier()"))
        (answer,) = await read_all(self._rpc, WALLET, [read])
        return words(data_or_raise(self._rpc, "getCurrentMultiplier", answer), 1, "multiplier")[0]

    # ------------------------------------------------------------------ checks

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Form, limits, balance, pauses, sanctions and recipient, as of the full node's state."""
        form = self._checks.form(request)
        if any(result.passed is not True for result in form):
            return form
        token = self._checks.token(request.asset)
        said = await self._said(request)
        _, _, newest = await read_heads(self._rpc)
        return [
            *form,
            *self._checks.judge(request, token, said, newest.time_ms // 1000),
            await self._sanctioned(request, said[LIST]),
            await self._coins(request),
        ]

    async def _said(self, request: BurnRequest) -> list[int | None]:
        reads = self._checks.reads(request, self._checks.token(request.asset))
        answers = await read_all(self._rpc, WALLET, [Read(to, data) for to, data in reads])
        return [first_word(answer) for answer in answers]

    async def _sanctioned(self, request: BurnRequest, screen: int | None) -> CheckResult:
        if not screen:
            return unscreened()
        read = Read(*sanction_read(screen, request))
        (answer,) = await read_all(self._rpc, WALLET, [read])
        return sanction_check(first_word(answer))

    async def _coins(self, request: BurnRequest) -> CheckResult:
        """An account that was never activated is {}: it has nothing."""
        address = to_hex(from_wire(request.sender, "sender"))
        try:
            answer = object_of(await self._rpc.wallet("getaccount", address=address), "account")
        except Transient:
            return coins_check(None)
        return coins_check(number_of(answer.get("balance"), "balance"))

    # ------------------------------------------------------------------ building

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """An approval if the allowance is too small, then bridgeOut."""
        token = self._checks.token(request.asset)
        said = await self._said(request)
        multiplier = said[MULTIPLIER] or 0
        if multiplier == 0:
            raise Transient("MULTIPLIER_UNKNOWN", f"the multiplier of {token.symbol} is unknown")
        needed = self._checks.needed(request, multiplier)
        steps = [self._checks.burn(request)]
        if (said[ALLOWANCE] or 0) < needed:
            steps.insert(0, self._checks.approval(request, needed))
        frame = await self._frame(expires)
        prices = await read_prices(self._rpc)
        transactions = [
            await self._transaction(request, step, frame, prices, first=step is steps[0])
            for step in steps
        ]
        document = {"family": "tron", "expires": expires, "transactions": transactions}
        return UnsignedBurn(
            chain=self.chain.domain,
            payload=json.dumps(document, sort_keys=True, separators=(",", ":")),
            effects=self._checks.effects(request, token, multiplier, approves=len(steps) == 2),
            expires=expires,
        )

    async def _frame(self, expires: int) -> Frame:
        """Until `expires` (Unix seconds), within what a node takes."""
        genesis, solid, newest = await read_heads(self._rpc)
        self._solid.check_id(genesis)
        latest = newest.time_ms + DAY_MS - _MARGIN_MS
        return make_frame(solid, min(expires * 1000, latest), self.chain.facts)

    async def _transaction(
        self, request: BurnRequest, step: Step, frame: Frame, prices: Prices, *, first: bool
    ) -> dict[str, object]:
        trigger = Trigger(from_wire(request.sender, "sender"), step.to, step.data)
        energy = await self._energy(trigger, step.label) if first else BURN_ENERGY
        limit = fee_limit(step.label, with_margin(energy), prices, self.chain.facts)
        raw = encode(RawTransaction(frame, trigger, limit))
        return {
            "raw_data": raw.hex(),
            "expiration": frame.expiration_ms,
            "fee_limit": limit,
            "effect": step.label,
        }

    async def _energy(self, trigger: Trigger, what: str) -> int:
        body = call_body(trigger.contract, trigger.data, trigger.owner)
        outcome = parse_call(await self._rpc.wallet("triggerconstantcontract", **body))
        if isinstance(outcome, CallFault):
            raise call_refused(what, outcome, self._rpc.host)
        return outcome.energy
