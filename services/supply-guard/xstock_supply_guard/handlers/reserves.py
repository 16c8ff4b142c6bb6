"""Proof of reserves: the issuer's public feed as one more attestor, by a signature of its own.

The feed says how many real shares are held of a symbol, and when. It cannot sign custody's paper,
which it has never seen; its voice counts for a paper that claims no more than the feed shows, as
long as the feed's own time is fresh. A feed that stands still therefore stops confirming, the
attestation in force grows old, and releases wait. What it said last is kept in this process only:
after a restart it is asked again before it counts. docs/collateral.md describes the form.
"""

import json
from collections import Counter
from datetime import datetime
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any, Final

from xstock_core.amount import SHARE_DECIMALS
from xstock_core.cap import Attestation
from xstock_core.ids import AssetId
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.model import PaperSignature, Reserves, SignedStatement

DIGEST_TAG: Final = b"xstock/reserves/1"
BODY_BYTES_MAX: Final = 65_536
_SHARES_MAX: Final = Decimal(2**64 - 1)
_DIGITS_MAX: Final = 60
_EXACT: Final = Context(prec=2 * _DIGITS_MAX)
"""More digits than a text may have: the default of 28 would round a longer one up."""


def _invalid(field: str, value: object, remedy: str) -> InvalidMessage:
    return InvalidMessage(
        "RESERVES_INVALID",
        f"{field}: {str(value)[:60]!r} is not valid; {remedy}",
        {"field": field, "value": str(value)[:60]},
    )


def note_reserves(desk: Desk, asset: AssetId, body: bytes, key_id: str, signature: bytes) -> int:
    """Take what the feed says of an asset; the units (10^-8 real share) that it shows.

    Raises InvalidMessage for what is not the feed's, of another asset, from the future, or older
    than what it said before.
    """
    key = desk.config.attestors.get(key_id)
    # SECURITY: without this check whoever stands between could confirm any attestation.
    if key is None or not desk.check_signature(key, keccak256(DIGEST_TAG + body), signature):
        raise _invalid("signature", key_id, "the feed signs with a registered attestor's key")
    document = _document(body)
    symbol = desk.config.assets[asset].symbol
    if document.get("symbol") != symbol:
        raise _invalid("symbol", document.get("symbol"), f"asked for {symbol}")
    held = _units(document.get("sharesHeld"))
    as_of = _seconds(document.get("timestamp"))
    if as_of > desk.now + desk.config.policy.clock_skew_seconds_max:
        raise _invalid("timestamp", as_of, f"it lies in the future (now {desk.now})")
    known = desk.live.reserves.get(asset)
    if known is not None and as_of < known.as_of:
        raise _invalid("timestamp", as_of, f"the feed was at {known.as_of} before")
    desk.live.reserves[asset] = Reserves(asset, held, as_of, key_id, key, body, signature)
    return held


def _document(body: bytes) -> dict[str, Any]:
    """JSON with every number exact and every field given once."""
    if len(body) > BODY_BYTES_MAX:
        raise _invalid("body", f"{len(body)} bytes", f"at most {BODY_BYTES_MAX}")
    try:
        found = json.loads(body, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise _invalid("body", error, "give one JSON object, every field once") from error
    if not isinstance(found, dict):
        raise _invalid("body", type(found).__name__, "give one JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice")
    return dict(pairs)


def _units(value: object) -> int:
    """Whole units of 10^-8 share, rounded down; a decimal string or an exact number."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise _invalid("sharesHeld", value, "give a decimal string")
    text = str(value)
    try:
        shares = Decimal(text) if len(text) <= _DIGITS_MAX else Decimal("NaN")
    except InvalidOperation:
        shares = Decimal("NaN")
    if not shares.is_finite() or not 0 <= shares <= _SHARES_MAX:
        raise _invalid("sharesHeld", value, "give a decimal string, 0 or more")
    return int(shares.scaleb(SHARE_DECIMALS, _EXACT).to_integral_value(ROUND_FLOOR))


def _seconds(value: object) -> int:
    """Unix seconds of a number of seconds or of an RFC 3339 text with its zone."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise _invalid("timestamp", value, "give Unix seconds or RFC 3339") from error
        if moment.tzinfo is not None:
            return int(moment.timestamp())
    raise _invalid("timestamp", value, "give Unix seconds or RFC 3339 with its zone")


def feed_voice(desk: Desk, attestation: Attestation, paper: PaperSignature) -> list[PaperSignature]:
    """The feed's voice for this paper, if it confirms it now: at least as much, and fresh."""
    said = desk.live.reserves.get(attestation.asset)
    if said is None or attestation.held_decimals != SHARE_DECIMALS:
        return []
    age = desk.now - said.as_of
    if age > desk.config.policy.attestation_age_seconds_max:
        return []
    # SECURITY: a feed that shows less than the paper claims confirms nothing.
    if said.held_units < attestation.held_units:
        return []
    statement = SignedStatement(
        kind=paper.statement.kind,
        paper=said.body,
        digest=paper.statement.digest,
        key_id=said.key_id,
        signature=said.signature,
    )
    return [PaperSignature(paper.subject, said.public_key, statement)]
