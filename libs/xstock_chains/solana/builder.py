"""Checks and builds a holder's burn on Solana; holds no key and sends nothing.

Every reason why the burn would fail, or would be nobody's transfer, is found before bytes exist,
for on Solana no contract refuses: a burn to the wrong form of recipient is an orphan. Recipients
*on* Solana are checked here too (`check_recipient`), for whoever burns elsewhere. What could not
be found out is unknown, not fine.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from xstock_chains.addresses import parse_wire, show_wire
from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.solana.address import parse_text, show
from xstock_chains.solana.blocks import CONFIRMED
from xstock_chains.solana.burn import (
    COMPUTE_LIMIT_MAX,
    COMPUTE_PRICE_MAX,
    BurnFees,
    burn_message,
)
from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.errors import parse_failure
from xstock_chains.solana.fees import usual_fee
from xstock_chains.solana.mint import Mint, TokenAccount, parse_mint, parse_token_account
from xstock_chains.solana.programs import SYSTEM, TOKEN_2022, ata_of, is_on_curve
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
from xstock_chains.solana.wire import transaction_bytes
from xstock_core.amount import displayed_decimal
from xstock_core.ids import U64_MAX, Address32, AssetId, Domain, InvalidId, parse_address
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

_ONE: Final = 10**18
_LIMIT_MARGIN_PERCENT: Final = 120
_FEE_LAMPORTS_MIN: Final = 10_000


class SolanaBurnBuilder:
    """`BurnBuilder` for one node of one Solana deployment."""

    def __init__(self, chain: SolanaChain, registry: Registry, rpc: Rpc) -> None:
        self.chain = chain
        self._registry = registry
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def parse_address(self, text: str) -> Address32:
        """The wire form of an address text; raises InvalidId."""
        return parse_text(text)

    def show_address(self, address: Address32) -> str:
        """The base-58 text."""
        return show(address)

    async def multiplier(self, asset: AssetId) -> int:
        """The mint's multiplier now, scaled by 10^18; raises InvalidId for an unknown asset."""
        token = self.chain.asset_of(asset)
        mint = parse_mint((await self._accounts([token.mint]))[0], token.symbol)
        return mint.multiplier(await self._now())[0]

    # ------------------------------------------------------------------ checks

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Form, limits, balance, freeze, pause and recipient, as of the confirmed state."""
        form = [
            self._source_check(request),
            self._asset_check(request),
            self._recipient_check(request),
            self._refund_check(request),
        ]
        if any(result.passed is not True for result in form):
            return form
        token = self.chain.asset_of(request.asset)
        account, mint, payer = await self._accounts(
            [ata_of(request.sender, token.mint), token.mint, request.sender]
        )
        held = parse_token_account(account)
        return [
            *form,
            self._amount_check(request, token),
            _balance_check(request, token, held),
            _frozen_check(token, held),
            _pause_check(token, parse_mint(mint, token.symbol)),
            _coins_check(payer),
        ]

    def _source_check(self, request: BurnRequest) -> CheckResult:
        right = request.source is self.chain.domain and request.destination is not request.source
        route = f"{int(request.source)} to {int(request.destination)}"
        remedy = "build the burn on its source chain, towards another chain"
        return CheckResult("route", right, f"from {int(self.chain.domain)}", route, remedy)

    def _asset_check(self, request: BurnRequest) -> CheckResult:
        remedy = "choose an asset that both chains have"
        known = any(one.asset == request.asset for one in self.chain.assets)
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
        refused = request.recipient in self._refused_recipients(request)
        remedy = "bridges and tokens cannot receive; give the holder's own address"
        return CheckResult("recipient", not refused, expected, request.recipient.hex(), remedy)

    def _refused_recipients(self, request: BurnRequest) -> set[bytes]:
        """The destination's bridges and token."""
        if request.destination is Domain.CUSTODY or not self._asset_check(request).passed:
            return set()
        there = self._registry.chain(request.destination)
        token = self._registry.asset(request.asset).on(there.name)
        texts = [one.address for one in self._registry.bridges_on(there.name, request.asset)]
        texts += [] if token is None else [token.token]
        return {bytes(parse_wire(there.family, text)) for text in texts}

    def _refund_check(self, request: BurnRequest) -> CheckResult:
        remedy = "name an account of your own on Solana"
        try:
            parse_address(request.sender, self.chain.domain, "sender")
            address = parse_address(request.refund_address, self.chain.domain, "refund_address")
        except InvalidId as error:
            return CheckResult("refund address", False, "an address", str(error), error.remedy)  # noqa: FBT003
        refused = self._never_holders()
        right = address not in refused and request.sender not in refused
        return CheckResult("refund address", right, "a holder", show(address), remedy)

    def _never_holders(self) -> set[bytes]:
        keys = {self.chain.multisig.key, *(one.mint for one in self.chain.assets)}
        return keys | {ref.key for one in self.chain.assets for ref in one.references}

    def _amount_check(self, request: BurnRequest, token: SolanaAsset) -> CheckResult:
        minimum = token.minimum
        remedy = f"burn at least {minimum} units of 10^-8 share"
        enough = minimum <= request.amount <= U64_MAX
        return CheckResult("amount", enough, f"at least {minimum}", str(request.amount), remedy)

    async def check_recipient(self, asset: AssetId, recipient: Address32) -> Sequence[CheckResult]:
        """Whether this account of Solana can receive the asset: a key that a person or program
        holds, no mint, token account or bridge, and not frozen. Raises InvalidId (asset)."""
        token = self.chain.asset_of(asset)
        owner, account, mint = await self._accounts(
            [recipient, ata_of(recipient, token.mint), token.mint]
        )
        held = parse_token_account(account)
        return [
            self._holder_check(recipient, owner),
            _receivable_check(token, held, parse_mint(mint, token.symbol)),
        ]

    def _holder_check(self, recipient: Address32, owner: Account | None) -> CheckResult:
        expected = "a wallet, or an account of a program that can hold tokens"
        shown = show(recipient)
        if recipient in self._never_holders():
            remedy = "bridges and tokens cannot receive; give the holder's own address"
            return CheckResult("recipient", False, expected, shown, remedy)  # noqa: FBT003
        if owner is None and not is_on_curve(recipient):
            remedy = (
                "no key controls this address and no account exists there; give a wallet's address"
            )
            return CheckResult("recipient", False, expected, f"{shown}, off curve", remedy)  # noqa: FBT003
        if owner is not None and owner.owner == TOKEN_2022 and owner.data:
            remedy = "this is a token account, mint or multisig; give the owner's address"
            return CheckResult("recipient", False, expected, f"{shown}, a token's", remedy)  # noqa: FBT003
        if owner is not None and owner.owner != SYSTEM and is_on_curve(recipient):
            remedy = "this account belongs to a program; give a wallet's address"
            found = f"{shown}, of program {show(owner.owner)}"
            return CheckResult("recipient", False, expected, found, remedy)  # noqa: FBT003
        return CheckResult("recipient", passed=True, expected=expected, found=shown)

    # ------------------------------------------------------------------ building

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """The one transaction: memo, BurnChecked; its fees by simulation."""
        token = self.chain.asset_of(request.asset)
        calls: list[Call] = [
            ("getGenesisHash", []),
            ("getLatestBlockhash", [CONFIRMED]),
            ("getRecentPrioritizationFees", [[show(token.mint)]]),
            (
                "getAccountInfo",
                [show(token.mint), {"encoding": "base64", **CONFIRMED}],
            ),
        ]
        genesis, latest, recent, raw = await self._rpc.batch(calls)
        if key_of(genesis, "getGenesisHash") != self.chain.genesis_hash:
            text = f"{self._rpc.host} serves another chain than {self.chain.name}"
            raise Fatal("WRONG_CHAIN", text, {"found": genesis})
        fields = dict_of(with_context(latest, "getLatestBlockhash")[1], "getLatestBlockhash")
        blockhash = key_of(fields.get("blockhash"), "blockhash")
        mint = parse_mint(account_of(with_context(raw, "getAccountInfo")[1]), token.symbol)
        fees = BurnFees(COMPUTE_LIMIT_MAX, min(usual_fee(recent), COMPUTE_PRICE_MAX))
        fees = BurnFees(await self._limit(request, token, fees, blockhash), fees.price)
        message = burn_message(request, token, fees, blockhash)
        document = {
            "family": "solana",
            "message": "0x" + message.hex(),
            "last_valid_block_height": number_of(
                fields.get("lastValidBlockHeight"), "lastValidBlockHeight"
            ),
            "expires": expires,
        }
        multiplier, _ = mint.multiplier(await self._now())
        return UnsignedBurn(
            chain=self.chain.domain,
            payload=json.dumps(document, sort_keys=True, separators=(",", ":")),
            effects=self._effects(request, token, multiplier),
            expires=expires,
        )

    async def _limit(
        self, request: BurnRequest, token: SolanaAsset, fees: BurnFees, blockhash: bytes
    ) -> int:
        message = burn_message(request, token, fees, blockhash)
        raw = b64encode(transaction_bytes([bytes(64)], message)).decode()
        options = {"encoding": "base64", "sigVerify": False, **CONFIRMED}
        answer = await self._rpc.call("simulateTransaction", raw, options)
        fields = dict_of(with_context(answer, "simulateTransaction")[1], "simulateTransaction")
        if fields.get("err") is not None:
            failure = parse_failure(fields["err"])
            if failure.name == "BlockhashNotFound":
                text = f"{self._rpc.host} does not know its own blockhash yet; ask again"
                raise Transient("BLOCKHASH_UNKNOWN", text)
            text = f"the burn would fail: {failure}; see the checks"
            raise InvalidMessage("CALL_REVERTED", text, {"failure": failure})
        used = number_of(fields.get("unitsConsumed") or 0, "unitsConsumed")
        return min(used * _LIMIT_MARGIN_PERCENT // 100 + 1, COMPUTE_LIMIT_MAX)

    def _effects(
        self, request: BurnRequest, token: SolanaAsset, multiplier: int
    ) -> tuple[str, ...]:
        shown = displayed_decimal(request.amount, multiplier)
        return (
            f"{show(request.sender)} burns {displayed_decimal(request.amount, _ONE)} shares of "
            f"{token.symbol} ({shown} displayed) on {self.chain.name}",
            f"as many shares are to be released {self._destination(request)}",
            f"if it is cancelled, they come back to {show(request.refund_address)}",
        )

    def _destination(self, request: BurnRequest) -> str:
        """Where to and to whom, as people write it."""
        if request.destination is Domain.CUSTODY:
            return f"by custody, account 0x{request.recipient.hex()}"
        entry = self._registry.chain(request.destination)
        return f"on {entry.name} to {show_wire(entry.family, request.recipient)}"

    async def _accounts(self, keys: Sequence[bytes]) -> list[Account | None]:
        options = {"encoding": "base64", **CONFIRMED}
        answer = await self._rpc.call("getMultipleAccounts", [show(key) for key in keys], options)
        shown = list_of(with_context(answer, "getMultipleAccounts")[1], "getMultipleAccounts")
        return [account_of(one) for one in shown]

    async def _now(self) -> int:
        """The newest confirmed block's time."""
        slot = number_of(await self._rpc.call("getSlot", CONFIRMED), "getSlot")
        time = await self._rpc.call("getBlockTime", slot)
        if time is None:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} has no time of slot {slot} yet")
        return number_of(time, "getBlockTime")


def _balance_check(
    request: BurnRequest, token: SolanaAsset, held: TokenAccount | None
) -> CheckResult:
    amount = 0 if held is None else held.amount
    remedy = f"the sender holds {amount} units of 10^-8 {token.symbol}; burn at most that"
    expected = f"at least {request.amount}"
    return CheckResult("balance", amount >= request.amount, expected, str(amount), remedy)


def _frozen_check(token: SolanaAsset, held: TokenAccount | None) -> CheckResult:
    frozen = held is not None and held.frozen
    remedy = f"the issuer froze this account of {token.symbol}; ask the issuer"
    return CheckResult(
        "account", not frozen, "not frozen", "frozen" if frozen else "not frozen", remedy
    )


def _pause_check(token: SolanaAsset, mint: Mint) -> CheckResult:
    remedy = f"wait until the issuer lifts the pause of {token.symbol}"
    found = "paused" if mint.paused else "not paused"
    return CheckResult("token pause", not mint.paused, "not paused", found, remedy)


def _receivable_check(token: SolanaAsset, held: TokenAccount | None, mint: Mint) -> CheckResult:
    frozen = mint.new_accounts_frozen if held is None else held.frozen
    remedy = f"the issuer must thaw the recipient's account of {token.symbol} first"
    found = "frozen" if frozen else "not frozen"
    return CheckResult("recipient account", not frozen, "not frozen", found, remedy)


def _coins_check(payer: Account | None) -> CheckResult:
    lamports = 0 if payer is None else payer.lamports
    remedy = f"send the sender at least {_FEE_LAMPORTS_MIN} lamports for the fee"
    enough = lamports >= _FEE_LAMPORTS_MIN
    return CheckResult("fee", enough, f"at least {_FEE_LAMPORTS_MIN}", str(lamports), remedy)
