"""Building a burn: every check first, then bytes that stay the same for their request id.

Refused before anything is built: unknown asset or chain, recipient of the wrong family or
checksum, dust (with the nearest amounts that pass), zero, more than the balance, a paused
asset. A check that could not be made is not a pass, and a node that is away is no verdict.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xstock_chains.ports import BurnRequest, CheckResult
from xstock_chains.registry import AssetEntry, Registry
from xstock_core.amount import (
    MULTIPLIER_ONE,
    AmountHasDust,
    InvalidAmount,
    Shares,
    displayed_decimal,
    parse_share_decimal,
    parse_shares,
)
from xstock_core.ids import Address32, Domain, InvalidId, parse_address
from xstock_core.message import Kind
from xstock_gateway.ports import BuiltBurn, ChainDesk, GatewayStore
from xstock_gateway.refusals import ApiRefused, field_refused
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient

CUSTODY = "custody"
EXPIRES_SECONDS = 600
_FIELD_OF_CHECK = {
    "route": "destination",
    "lane": "destination",
    "asset": "symbol",
    "token pause": "symbol",
    "asset pause": "symbol",
    "bridge pause": "source",
    "recipient": "recipient",
    "refund address": "refund_to",
    "amount": "shares",
    "balance": "shares",
    "sanctions": "sender",
    "fee": "sender",
}
"""Which field of the request a caller would change to pass a check."""


@dataclass(frozen=True, slots=True)
class BurnWanted:
    """What the caller asked for, as text."""

    request_id: str
    source: str
    destination: str
    symbol: str
    shares: int
    amount: str
    sender: str
    recipient: str
    refund_to: str

    def content(self) -> bytes:
        """The hash of everything but the request id."""
        fields = {
            "source": self.source,
            "destination": self.destination,
            "symbol": self.symbol,
            "shares": self.shares,
            "amount": self.amount,
            "sender": self.sender,
            "recipient": self.recipient,
            "refund_to": self.refund_to,
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()


@dataclass(slots=True)
class BuildHandler:
    """Builds burns on the desk of their source chain."""

    registry: Registry
    store: GatewayStore
    desks: Mapping[Domain, ChainDesk]
    clock: Clock
    redemptions_open: bool = False
    """Open where custody's attestations list what it has paid out: an open redemption counts as
    exposure, and without that list nothing would ever close it."""

    async def build(self, wanted: BurnWanted) -> BuiltBurn:
        """The burn for this request id; raises ApiRefused with the field that is wrong."""
        _check_request_id(wanted.request_id)
        before = await self.store.built(wanted.request_id)
        if before is not None:
            return self._again(before, wanted)
        built = await self._build(wanted, self._request(wanted))
        return self._again(await self.store.keep_built(built), wanted)

    async def _check_recipient(self, request: BurnRequest) -> Sequence[CheckResult]:
        """The destination's own look at the recipient; custody has no chain to ask."""
        there = self.desks.get(request.destination)
        if there is None:
            return ()
        return await there.check_recipient(request.asset, request.recipient)

    async def _build(self, wanted: BurnWanted, request: BurnRequest) -> BuiltBurn:
        desk = self.desks[request.source]
        expires = self.clock.unix_ms() // 1000 + EXPIRES_SECONDS
        try:
            checks = [*await desk.check(request), *await self._check_recipient(request)]
            _refuse_failed(checks)
            multiplier = await desk.multiplier(request.asset)
            burn = await desk.build(request, expires=expires)
        except (Transient, Ambiguous) as error:
            raise _unreadable("node", f"{wanted.source} did not answer: {error.code}") from error
        except InvalidMessage as error:
            raise _unreadable(
                "build", f"{wanted.source} changed between check and build: {error.message}"
            ) from error
        return BuiltBurn(
            request_id=wanted.request_id,
            content=wanted.content(),
            burn=burn,
            checks=tuple(checks),
            shares=Shares(request.amount),
            displayed=displayed_decimal(request.amount, multiplier),
        )

    def _again(self, before: BuiltBurn, wanted: BurnWanted) -> BuiltBurn:
        if before.content != wanted.content():
            raise field_refused(
                "REQUEST_ID_REUSED",
                "request_id",
                wanted.request_id,
                "it was used for another burn; make a new UUID for every burn",
            )
        if before.burn.expires <= self.clock.unix_ms() // 1000:
            raise ApiRefused(
                "QUOTE_EXPIRED",
                "request_id: the bytes built under it have expired; if they were never sent, "
                "build again under a new request_id. They carry the account's nonce, so at most "
                "one of the two can land",
                {"request_id": wanted.request_id, "expired_at": before.burn.expires},
            )
        return before

    def _request(self, wanted: BurnWanted) -> BurnRequest:
        source = self._domain("source", wanted.source)
        redeem = wanted.destination == CUSTODY
        if redeem and not self.redemptions_open:
            raise ApiRefused(
                "ROUTE_CLOSED",
                "destination: 'custody' is not open: no custodian of this deployment lists paid "
                "redemptions; redeem with the issuer directly",
                {"symbol": wanted.symbol, "chain": CUSTODY},
            )
        destination = Domain.CUSTODY if redeem else self._domain("destination", wanted.destination)
        if source is destination:
            raise field_refused(
                "FIELD_INVALID",
                "destination",
                wanted.destination,
                "choose another chain than the source",
            )
        asset = self._asset(wanted, source, destination)
        amount = self._amount(wanted, asset)
        sender = self._address("sender", wanted.sender, source)
        refund = self._address("refund_to", wanted.refund_to, source) if wanted.refund_to else None
        return BurnRequest(
            message_kind=int(Kind.REDEEM if redeem else Kind.TRANSFER),
            source=source,
            destination=destination,
            asset=asset.id,
            sender=sender,
            recipient=self._recipient(wanted.recipient, destination),
            refund_address=refund or sender,
            amount=amount,
        )

    def _domain(self, field: str, name: str) -> Domain:
        for entry in self.registry.chains:
            if entry.name == name:
                return entry.domain
        names = ", ".join(entry.name for entry in self.registry.chains)
        raise field_refused("CHAIN_UNKNOWN", field, name, f"use one of: {names}")

    def _asset(self, wanted: BurnWanted, source: Domain, destination: Domain) -> AssetEntry:
        for entry in self.registry.assets:
            if entry.symbol == wanted.symbol:
                break
        else:
            raise field_refused(
                "ASSET_UNKNOWN", "symbol", wanted.symbol, "ListAssets names those that exist"
            )
        for domain in (source, destination):
            if domain is Domain.CUSTODY:
                continue
            if entry.on(self.registry.chain(domain).name) is None:
                raise ApiRefused(
                    "ROUTE_CLOSED",
                    f"symbol: {wanted.symbol} is not deployed on "
                    f"{self.registry.chain(domain).name}; choose another chain",
                    {"symbol": wanted.symbol, "chain": self.registry.chain(domain).name},
                )
        return entry

    def _amount(self, wanted: BurnWanted, asset: AssetEntry) -> Shares:
        if (wanted.shares != 0) == (wanted.amount != ""):
            raise field_refused(
                "FIELD_INVALID", "shares", wanted.shares, "set exactly one of shares and amount"
            )
        try:
            if wanted.amount:
                amount = parse_share_decimal(wanted.amount, "amount")
            else:
                amount = parse_shares(wanted.shares, "shares")
        except AmountHasDust as error:
            raise field_refused(
                "AMOUNT_HAS_DUST", error.field, error.value, error.remedy
            ) from error
        except InvalidAmount as error:
            raise field_refused("FIELD_INVALID", error.field, error.value, error.remedy) from error
        deployment = asset.on(wanted.source)
        minimum = 1 if deployment is None else deployment.minimum_shares
        if amount < minimum:
            raise field_refused(
                "AMOUNT_BELOW_MINIMUM",
                "amount",
                amount,
                f"the least that {wanted.source} burns of {asset.symbol} is "
                f"{displayed_decimal(minimum, MULTIPLIER_ONE)} shares ({minimum} units)",
            )
        return amount

    def _address(self, field: str, text: str, domain: Domain) -> Address32:
        try:
            return self.desks[domain].parse_address(text)
        except InvalidId as error:
            raise field_refused("RECIPIENT_INVALID", field, text, error.remedy) from error

    def _recipient(self, text: str, destination: Domain) -> Address32:
        if destination is not Domain.CUSTODY:
            return self._address("recipient", text, destination)
        try:
            raw = bytes.fromhex(text.removeprefix("0x"))
            return parse_address(raw, Domain.CUSTODY, "recipient")
        except (ValueError, InvalidId) as error:
            raise field_refused(
                "RECIPIENT_INVALID",
                "recipient",
                text,
                "for custody give the custody account reference: 32 bytes in hex",
            ) from error


def _check_request_id(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError as error:
        raise field_refused(
            "FIELD_INVALID", "request_id", text, "give a UUID that you made for this burn"
        ) from error


def _refuse_failed(checks: Sequence[CheckResult]) -> None:
    """SECURITY: unknown is not a pass; a burn that cannot be released must not be built."""
    for check in checks:
        if check.passed is None:
            raise _unreadable(check.name, check.found)
        if not check.passed:
            field = _FIELD_OF_CHECK.get(check.name, check.name)
            raise ApiRefused(
                "CHECK_FAILED",
                f"{check.name}: found {check.found}, needs {check.expected}; {check.remedy}",
                {
                    "check": check.name,
                    "found": check.found,
                    "expected": check.expected,
                    "field": field,
                    "remedy": check.remedy,
                },
                [(field, f"{check.name}: {check.remedy}")],
            )


def _unreadable(check: str, found: str) -> ApiRefused:
    return ApiRefused(
        "CHAIN_UNREADABLE",
        f"{check}: could not be found out ({found}); try again",
        {"check": check, "found": found},
    )
