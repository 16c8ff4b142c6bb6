"""A burn is checked before it is built, and what is built lands once as described."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.evm.world import (
    ELSEWHERE,
    GUARDS,
    HOLDER,
    SHARE,
    SPY,
    TSLA,
    World,
    registry_document,
)
from xstock_chains.evm.builder import EvmBurnBuilder
from xstock_chains.ports import BurnRequest, PreparedTx, SendSlot
from xstock_chains.registry import parse_registry
from xstock_chains.solidity.abi import selector
from xstock_core.ids import Address32, Domain, InvalidId
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal

EXPIRES = 1_900_000_000


def builder_of(world: World) -> EvmBurnBuilder:
    """A builder whose registry knows BNB as well."""
    entry = json.loads(world.registry.chain("ethereum").model_dump_json())
    bnb = entry | {"name": "bnb", "domain": 2, "network_id": 56}
    assets = {
        one.symbol: [
            json.loads(one.deployments[0].model_dump_json()),
            json.loads(one.deployments[0].model_dump_json()) | {"chain": "bnb"},
        ]
        for one in world.registry.assets
    }
    registry = parse_registry(json.dumps(registry_document([entry, bnb], assets)))
    return EvmBurnBuilder(world.chain, registry, world.rpc)


def request(**changes: Any) -> BurnRequest:
    fields: dict[str, Any] = {
        "message_kind": int(Kind.TRANSFER),
        "source": Domain.ETHEREUM,
        "destination": Domain.BNB,
        "asset": TSLA,
        "sender": HOLDER.wire,
        "recipient": ELSEWHERE,
        "refund_address": HOLDER.wire,
        "amount": 3 * SHARE,
    }
    return BurnRequest(**(fields | changes))


async def failing(builder: EvmBurnBuilder, wanted: BurnRequest) -> list[str]:
    return [check.name for check in await builder.check(wanted) if check.passed is not True]


async def send_built(world: World, payload: str) -> list[Any]:
    receipts = []
    for fields in json.loads(payload)["transactions"]:
        fields = {
            **{name: fields[name] for name in ("from", "nonce", "to", "data", "gas", "value")},
            "type": 2,
            "chainId": fields["chain_id"],
            "maxFeePerGas": fields["max_fee_per_gas"],
            "maxPriorityFeePerGas": fields["max_priority_fee_per_gas"],
        }
        slot = SendSlot(Domain.ETHEREUM, HOLDER.wire, str(fields["nonce"]))
        prepared = PreparedTx(
            Domain.ETHEREUM, slot, json.dumps(fields).encode(), "", simulated=False
        )
        signed = await HOLDER.sign_transaction(prepared)
        await world.rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
        receipts.append(await world.receipt("0x" + signed.ref.id.hex()))
    return receipts


@pytest.mark.parametrize("asset", [TSLA, SPY])
async def test_builder__a_fine_burn__is_built_and_lands(world: World, asset: Any) -> None:
    await world.issue(10 * SHARE, asset=asset)
    builder = builder_of(world)
    wanted = request(asset=asset)
    assert await failing(builder, wanted) == []
    built = await builder.build(wanted, expires=EXPIRES)
    assert await builder.build(wanted, expires=EXPIRES) == built
    labels = [one["effect"] for one in json.loads(built.payload)["transactions"]]
    assert labels == ["approve", "bridgeOut"]
    receipts = await send_built(world, built.payload)
    assert [receipt["status"] for receipt in receipts] == ["0x1", "0x1"]
    await world.finalize()
    found, _ = await world.read_all()
    (burn,) = [one for one in found if isinstance(one, BurnFinal)]
    assert burn.message.amount == wanted.amount
    assert burn.message.recipient == wanted.recipient


async def test_builder__allowance_is_there__one_transaction_is_enough(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    built = await builder_of(world).build(request(), expires=EXPIRES)
    assert [one["effect"] for one in json.loads(built.payload)["transactions"]] == ["bridgeOut"]


async def test_builder__signed_twice__lands_at_most_once(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    built = await builder_of(world).build(request(), expires=EXPIRES)
    await send_built(world, built.payload)
    await world.finalize()
    again = json.loads(built.payload)["transactions"][0]
    assert again["nonce"] < int(
        await world.rpc.call("eth_getTransactionCount", "0x" + HOLDER.identity.hex(), "latest"),
        16,
    )


NUMBERS = [-1, 0, 999, 2**64, 2**256 - 1]


@pytest.mark.parametrize("amount", NUMBERS)
async def test_builder__numeric_abuse__is_refused_before_bytes_exist(
    world: World, amount: int
) -> None:
    """F57: negative, zero, below the minimum, and more than a message can carry."""
    await world.issue(10 * SHARE)
    assert "amount" in await failing(builder_of(world), request(amount=amount))


async def test_builder__more_than_the_balance__names_what_is_held(world: World) -> None:
    await world.issue(2 * SHARE)
    checks = await builder_of(world).check(request(amount=2 * SHARE + 1))
    (check,) = [one for one in checks if one.passed is not True]
    assert check.name == "balance"
    assert str(2 * SHARE) in check.remedy


async def test_builder__recipients_that_cannot_receive__are_refused(world: World) -> None:
    """F18: wrong padding, zero, the bridge and the token never become a burn."""
    await world.issue(10 * SHARE)
    builder = builder_of(world)
    for recipient in (
        b"\x01" * 32,
        bytes(32),
        world.chain.bridge.wire,
        bytes(12) + world.token("TSLAx"),
    ):
        assert await failing(builder, request(recipient=Address32(recipient))) == ["recipient"]


async def test_builder__paused_token_or_bridge__is_refused_but_redemption_goes_on(
    world: World,
) -> None:
    """F58: the issuer's pause and the bridge's own are told apart."""
    await world.issue(10 * SHARE)
    builder = builder_of(world)
    await world.call_token("TSLAx", "setPause(bool)", True)
    assert await failing(builder, request()) == ["token pause"]
    await world.call_token("TSLAx", "setPause(bool)", False)
    bridge = world.chain.bridge.address
    await world.rpc.call("anvil_setBalance", "0x" + GUARDS[0].identity.hex(), hex(10**18))
    await world.send(GUARDS[0], bridge, selector("pause(bytes32)") + bytes(32))
    assert await failing(builder, request()) == ["bridge pause"]
    redeem = replace(request(), destination=Domain.CUSTODY, message_kind=int(Kind.REDEEM))
    assert await failing(builder, redeem) == []


async def test_builder__unknown_asset_wrong_source_or_own_chain__is_refused(
    world: World,
) -> None:
    builder = builder_of(world)
    unknown = type(TSLA)(b"\x09" * 32)
    assert await failing(builder, request(asset=unknown)) == ["asset"]
    assert "route" in await failing(builder, request(source=Domain.BNB))
    assert "route" in await failing(builder, request(destination=Domain.ETHEREUM))
    assert "asset" in await failing(builder, request(destination=Domain.MANTLE))


def test_builder__address_text__is_checked_by_its_checksum(world: World) -> None:
    builder = builder_of(world)
    good = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    assert builder.show_address(builder.parse_address(good)) == good
    assert builder.parse_address(good.lower()) == builder.parse_address(good)
    for bad in (
        good[:-1] + "4",
        good[2:],
        good + "0",
        "",
        "0x" + "0" * 40,
        "TQ5...",
        "0X" + good[2:],
    ):
        with pytest.raises(InvalidId):
            builder.parse_address(bad)
