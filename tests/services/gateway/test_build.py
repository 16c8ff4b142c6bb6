"""Burns refused before they are built, and bytes that stay the same for their request id."""

import json
from dataclasses import replace

import pytest

from tests.builders import SHARE, TSLAX, an_address
from tests.services.gateway.world import (
    HOLDER,
    EvmSpeakingBuilder,
    GatewayWorld,
    a_burn_wanted,
    text_of,
)
from xstock_chains.fake.state import AssetRules
from xstock_chains.ports import BurnRequest, CheckResult
from xstock_core.ids import Address32, AssetId, Domain
from xstock_gateway.adapters.desk import FamilyDesk
from xstock_gateway.handlers import build as building
from xstock_gateway.refusals import ApiRefused
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import Transient
from xstock_wire.reasons import explain

GOOD = text_of(an_address(2))
WRONG_CHECKSUM = "0x" + "".join(
    letter.swapcase() if letter.isalpha() else letter for letter in GOOD[2:]
)
ASKED: dict[str, tuple[dict[str, object], str, str, str]] = {
    "no amount": ({"shares": 0}, "FIELD_INVALID", "shares", "exactly one of shares and amount"),
    "both amounts": ({"amount": "1"}, "FIELD_INVALID", "shares", "exactly one"),
    "zero text": ({"shares": 0, "amount": "0.0"}, "FIELD_INVALID", "amount", "give 1 to"),
    "above u64": ({"shares": 2**64}, "FIELD_INVALID", "shares", "give 1 to"),
    "sign": ({"shares": 0, "amount": "-1"}, "FIELD_INVALID", "amount", "plain decimal"),
    "exponent": ({"shares": 0, "amount": "1e3"}, "FIELD_INVALID", "amount", "plain decimal"),
    "endless": ({"shares": 0, "amount": "9" * 5000}, "FIELD_INVALID", "amount", "plain decimal"),
    "dust": (
        {"shares": 0, "amount": "1.123456789"},
        "AMOUNT_HAS_DUST",
        "amount",
        "1.12345678 or 1.12345679 would pass",
    ),
    "dust at the 30th digit": (
        {"shares": 0, "amount": "1.00000000000000000000000000001"},
        "AMOUNT_HAS_DUST",
        "amount",
        "1.00000000 or 1.00000001 would pass",
    ),
    "dust below one unit": (
        {"shares": 0, "amount": "0.000000001"},
        "AMOUNT_HAS_DUST",
        "amount",
        "decimals; 0.00000001 would pass",
    ),
    "below the minimum": ({"shares": 999}, "AMOUNT_BELOW_MINIMUM", "amount", "is 0.00001 shares"),
    "unknown asset": ({"symbol": "FAKEx"}, "ASSET_UNKNOWN", "symbol", "ListAssets"),
    "unknown source": ({"source": "moon"}, "CHAIN_UNKNOWN", "source", "ethereum, bnb"),
    "unknown destination": ({"destination": "moon"}, "CHAIN_UNKNOWN", "destination", "bnb"),
    "same chain": ({"destination": "ethereum"}, "FIELD_INVALID", "destination", "another chain"),
    "recipient checksum": (
        {"recipient": WRONG_CHECKSUM},
        "RECIPIENT_INVALID",
        "recipient",
        GOOD,
    ),
    "recipient of another family": (
        {"recipient": "So11111111111111111111111111111111111111112"},
        "RECIPIENT_INVALID",
        "recipient",
        "40 hexadecimal digits",
    ),
    "recipient zero": (
        {"recipient": "0x" + "00" * 20},
        "RECIPIENT_INVALID",
        "recipient",
        "zero address",
    ),
    "sender no address": ({"sender": "me"}, "RECIPIENT_INVALID", "sender", "40 hexadecimal"),
    "refund no address": ({"refund_to": "0x1"}, "RECIPIENT_INVALID", "refund_to", "40 hexa"),
    "no request id": ({"request_id": ""}, "FIELD_INVALID", "request_id", "UUID"),
}


@pytest.mark.parametrize("case", ASKED)
async def test_burn__asked_wrongly__refused_with_field_value_and_remedy(case: str) -> None:
    """F18, F50, F57: nothing is built, and the answer names field, value and remedy."""
    changes, reason, field, remedy = ASKED[case]
    world = GatewayWorld()
    wanted = a_burn_wanted(**changes)
    with pytest.raises(ApiRefused) as refused:
        await world.build.build(wanted)
    error = refused.value
    assert (error.reason, error.metadata["field"]) == (reason, field)
    assert remedy in error.text
    assert error.metadata["value"][:60] in error.text
    assert [name for name, _ in error.violations] == [field]
    assert explain(error.reason) is not None
    assert await world.store.built(wanted.request_id) is None


async def test_burn__of_an_asset_the_destination_has_not__route_is_closed() -> None:
    with pytest.raises(ApiRefused) as refused:
        await GatewayWorld().build.build(a_burn_wanted(symbol="NVDAx"))
    assert refused.value.reason == "ROUTE_CLOSED"
    assert refused.value.metadata == {"symbol": "NVDAx", "chain": "bnb"}


async def refused_check(world: GatewayWorld, **changes: object) -> ApiRefused:
    with pytest.raises(ApiRefused) as refused:
        await world.build.build(a_burn_wanted(**changes))
    assert await world.store.built(a_burn_wanted().request_id) is None
    return refused.value


async def test_burn__of_more_than_the_balance__refused_with_what_there_is() -> None:
    error = await refused_check(GatewayWorld(), shares=11 * SHARE)
    assert error.reason == "CHECK_FAILED"
    assert error.metadata["check"] == "balance"
    assert error.metadata["found"] == str(10 * SHARE)
    assert [name for name, _ in error.violations] == ["shares"]


async def test_burn__of_a_paused_asset__refused() -> None:
    world = GatewayWorld()
    chain = world.chains[Domain.ETHEREUM]
    chain.set_rules(TSLAX, AssetRules(paused=True))
    chain.mine()
    error = await refused_check(world)
    assert error.reason == "CHECK_FAILED"
    assert "wait" in error.text


async def test_burn__node_away__not_known_is_not_a_pass_and_not_a_verdict() -> None:
    world = GatewayWorld()
    world.nodes[Domain.ETHEREUM].faults.stopped = True
    error = await refused_check(world)
    assert error.reason == "CHAIN_UNREADABLE"


async def test_multiplier__of_a_token_that_cannot_be_read__is_not_known_for_now() -> None:
    desk = GatewayWorld().desks[Domain.ETHEREUM]
    assert await desk.multiplier(TSLAX) == 10**18
    with pytest.raises(Transient, match="SUPPLY_UNREAD"):
        await desk.multiplier(AssetId(b"\x5a" * 32))


async def test_burn__check_that_could_not_be_made__is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The defence is in, then out: without it a burn with an unknown check would be built."""
    world = GatewayWorld()
    desk = world.desks[Domain.ETHEREUM]
    checks = [replace(one, passed=None) for one in await desk.check(_request(world))]

    async def unknown(_self: object, _request: object) -> object:
        return checks

    monkeypatch.setattr(type(desk), "check", unknown)
    assert (await refused_check(world)).reason == "CHAIN_UNREADABLE"
    monkeypatch.setattr(building, "_refuse_failed", lambda _: None)
    assert (await world.build.build(a_burn_wanted())).shares == SHARE


def _request(world: GatewayWorld) -> BurnRequest:
    return world.build._request(a_burn_wanted())


async def test_burn__same_request_id__same_bytes_whatever_the_chain_did_since() -> None:
    world = GatewayWorld()
    first = await world.build.build(a_burn_wanted())
    world.chains[Domain.ETHEREUM].mine(5)
    assert await world.build.build(a_burn_wanted()) == first
    assert await world.restart().build.build(a_burn_wanted()) == first


async def test_burn__same_request_id_never_kept__gives_other_bytes() -> None:
    """Defence removed: a store that forgets gives a second burn that could land as well."""
    world = GatewayWorld()
    first = await world.build.build(a_burn_wanted())
    world.chains[Domain.ETHEREUM].mine(5)
    forgetful = GatewayWorld(clock=world.clock)
    forgetful.chains[Domain.ETHEREUM].mine(6)
    assert (await forgetful.build.build(a_burn_wanted())).burn != first.burn


@pytest.mark.parametrize(
    "change",
    [
        {"shares": 2 * SHARE},
        {"recipient": text_of(an_address(3))},
        {"refund_to": text_of(an_address(3))},
        {"source": "bnb", "destination": "ethereum"},
    ],
)
async def test_burn__same_request_id_for_another_burn__refused(change: dict[str, object]) -> None:
    world = GatewayWorld()
    await world.build.build(a_burn_wanted())
    with pytest.raises(ApiRefused) as refused:
        await world.build.build(a_burn_wanted(**change))
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_burn__two_builds_at_once__one_set_of_bytes() -> None:
    world = GatewayWorld()
    one = await world.build._build(a_burn_wanted(), world.build._request(a_burn_wanted()))
    world.chains[Domain.ETHEREUM].mine(5)
    two = await world.build._build(a_burn_wanted(), world.build._request(a_burn_wanted()))
    assert one.burn != two.burn
    assert await world.store.keep_built(one) == await world.store.keep_built(two) == one


async def test_burn__bytes_expired__are_not_given_again() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    built = await world.build.build(a_burn_wanted())
    await clock.advance(601.0)
    with pytest.raises(ApiRefused) as refused:
        await world.build.build(a_burn_wanted())
    assert refused.value.reason == "QUOTE_EXPIRED"
    assert refused.value.metadata["expired_at"] == str(built.burn.expires)


async def test_burn__fine__names_shares_display_and_effects() -> None:
    world = GatewayWorld()
    built = await world.build.build(a_burn_wanted(shares=0, amount="1.5"))
    assert (built.shares, built.displayed) == (150_000_000, "1.5")
    assert built.burn.effects
    assert all(check.passed for check in built.checks)
    transaction = json.loads(built.burn.payload)["transactions"][0]
    call = json.loads(bytes.fromhex(transaction["data"][2:]))
    assert call["refund_address"] == HOLDER.hex()


async def test_redemption__while_nothing_closes_one__is_refused_before_a_burn_is_built() -> None:
    with pytest.raises(ApiRefused, match="custody") as refused:
        await GatewayWorld().build.build(
            a_burn_wanted(destination="custody", recipient="0x" + "ab" * 32)
        )
    assert refused.value.reason == "ROUTE_CLOSED"


async def test_redemption__once_open__carries_the_custody_reference() -> None:
    world = GatewayWorld()
    world.build.redemptions_open = True
    built = await world.build.build(
        a_burn_wanted(destination="custody", recipient="0x" + "ab" * 32)
    )
    transaction = json.loads(built.burn.payload)["transactions"][0]
    call = json.loads(bytes.fromhex(transaction["data"][2:]))
    assert (call["destination"], call["recipient"]) == (100, "ab" * 32)
    another = a_burn_wanted(
        request_id="9b2c3d4e-0000-4000-8000-000000000001", destination="custody", recipient="0x12"
    )
    with pytest.raises(ApiRefused, match="32 bytes in hex"):
        await world.build.build(another)


async def test_burn__the_destination_would_refuse_the_recipient__is_not_built() -> None:
    """F18: what only the destination can tell of an address is asked before the tokens are gone."""

    class Refusing(EvmSpeakingBuilder):
        """A chain on which the recipient is a mint."""

        async def check_recipient(self, asset: AssetId, recipient: Address32) -> list[CheckResult]:
            return [CheckResult("recipient", False, "a wallet", "a mint", "give a wallet")]

    world = GatewayWorld()
    assert (await world.build.build(a_burn_wanted())).burn.payload
    for chain, desk in world.desks.items():
        if chain is not Domain.ETHEREUM:
            assert isinstance(desk, FamilyDesk)
            world.desks[chain] = replace(desk, builder=Refusing(world.nodes[chain]))
    another = a_burn_wanted(request_id="9b2c3d4e-0000-4000-8000-000000000002")
    with pytest.raises(ApiRefused, match="found a mint, needs a wallet"):
        await world.build.build(another)
