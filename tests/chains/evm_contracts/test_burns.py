"""Burns into the bridge: what they emit, what they count, what they refuse."""

import json
from typing import Any

import pytest
from eth_abi.abi import encode

from tests.chains.evm_contracts import batch
from tests.chains.evm_contracts.batch import nonce_of, wire
from tests.chains.evm_contracts.chain import (
    ROOT,
    Receipt,
    Reverted,
    Rpc,
    artifact,
    deploy,
    running_anvil,
    send_raw,
)
from tests.chains.evm_contracts.world import (
    ADMIN,
    AGENT,
    ASSET,
    CAPACITY,
    CUSTODY,
    ETHEREUM,
    GUARDS,
    HOLDER,
    ISSUER,
    RECIPIENT,
    REFILL,
    SOLANA,
    STRANGER,
    UNIT,
    World,
    build_world,
    deploy_bridge,
    fund_actors,
    sign_token_permit,
)
from xstock_core.message import Kind, make_message

pytestmark = pytest.mark.chains

VECTORS = json.loads((ROOT / "tests/core/vectors.json").read_text())


def _refused(world: World, amount: int, **changes: Any) -> str:
    with pytest.raises(Reverted) as refusal:
        world.burn(amount, **changes)
    return world.error(refusal.value)


def test_burn__of_a_holder__emits_every_field_of_the_message(world: World) -> None:
    world.fund(10**9)
    receipt = world.burn(123_456_789, refund_to=STRANGER)
    event = world.bridge.events(receipt, "BurnedToBridge")[0]
    assert event.args == {
        "assetId": ASSET,
        "destination": ETHEREUM,
        "counter": 1,
        "sender": HOLDER,
        "refundTo": STRANGER,
        "recipient": wire(RECIPIENT),
        "amount": 123_456_789,
    }


def test_burn__without_a_refund_address__names_the_sender(world: World) -> None:
    world.fund(10**9)
    event = world.bridge.events(world.burn(10**8, refund_to="0x" + "00" * 20))[0]
    assert event.args["refundTo"] == HOLDER


def test_burn__on_several_lanes__counts_each_from_one_without_holes(world: World) -> None:
    world.fund(10**10)
    lanes = [ETHEREUM, SOLANA, ETHEREUM, ETHEREUM, SOLANA]
    events = [
        world.bridge.events(
            world.burn(
                10**8,
                destination=lane,
                recipient=b"\x07" * 32 if lane == SOLANA else wire(RECIPIENT),
            )
        )[0]
        for lane in lanes
    ]
    assert [e.args["counter"] for e in events] == [1, 1, 2, 3, 2]
    assert world.bridge.call("laneCounters", [ETHEREUM, SOLANA, 3, 7]) == (3, 2, 0, 0)


def test_burn__refused__leaves_no_hole_in_the_lane(world: World) -> None:
    world.fund(10**9)
    assert not world.bridge.send(
        "bridgeOut", ASSET, 10**17, ETHEREUM, wire(RECIPIENT), HOLDER, sender=HOLDER
    ).ok
    assert world.bridge.events(world.burn(10**8))[0].args["counter"] == 1


def test_burn__while_paused__passes_as_a_redemption_only(world: World) -> None:
    world.fund(10**9)
    world.bridge.must("pause", bytes(32), sender=AGENT)
    world.bridge.must("pause", ASSET, sender=GUARDS[0].address)
    receipt = world.burn(10**8, destination=CUSTODY, recipient=b"\xff" * 32)
    assert world.bridge.events(receipt)[0].args["destination"] == CUSTODY
    assert _refused(world, 10**8) == "BridgePaused"


def test_burn__of_an_unknown_asset__is_refused(world: World) -> None:
    assert _refused(world, 10**8, asset=b"\x01" * 32) == "AssetUnknown"


def test_burn__of_more_than_the_holder_has__is_refused(world: World) -> None:
    world.fund(10**9)
    assert _refused(world, 10**9 + 1) == "BalanceTooLow"


def test_burn__without_an_allowance__is_refused(world: World) -> None:
    world.release(world.item(recipient=HOLDER))
    assert _refused(world, 10**8) == "AllowanceTooLow"


def test_burn__of_a_paused_token__is_refused(world: World) -> None:
    world.fund(10**9)
    world.token.must("setPause", True, sender=ISSUER)
    assert _refused(world, 10**8) == "TransfersPaused"


def test_burn__by_a_sanctioned_holder__is_refused_by_the_token(world: World) -> None:
    world.fund(10**9)
    world.sanctions.must("setSanctioned", HOLDER, True, sender=ISSUER)
    assert _refused(world, 10**8) == "Sanctioned"


def test_burn__after_the_burner_role_was_lost__is_refused_and_keeps_the_tokens(
    world: World,
) -> None:
    world.fund(10**9)
    world.token.must("setBurner", STRANGER, sender=ISSUER)
    assert _refused(world, 10**8) == "NotRole"
    assert world.shares(HOLDER) == 10**9 * UNIT


def test_burn__of_an_amount_beyond_64_bits__is_not_even_decoded(world: World) -> None:
    """F57: an amount at 18 decimals by mistake must not be cut down to 64 bits."""
    world.fund(10**9)
    good = world.bridge.calldata("bridgeOut", ASSET, 10**8, ETHEREUM, wire(RECIPIENT), HOLDER)
    words = encode(
        ["bytes32", "uint256", "uint32", "bytes32", "address"],
        [ASSET, 2**64 + 10**8, ETHEREUM, wire(RECIPIENT), HOLDER],
    )
    bridge = world.bridge.address
    assert send_raw(world.rpc, bridge, good, HOLDER, 10**6).ok
    assert not send_raw(world.rpc, bridge, good[:10] + words.hex(), HOLDER, 10**6).ok


def test_burn__leaves_dust_with_the_holder(world: World) -> None:
    """F50: shares finer than 10^-8 cannot cross and are not destroyed."""
    world.fund(10**9)
    world.token.must("transferShares", STRANGER, 1, sender=HOLDER)
    assert _refused(world, 10**9) == "BalanceTooLow"
    world.burn(10**9 - 1)
    assert world.shares(HOLDER) == UNIT - 1


def test_burn__refills_the_bucket_by_its_amount(fresh_chain: Rpc) -> None:
    world = build_world(fresh_chain, capacity=10**12, refill=0)
    world.fund(10**12)
    assert world.bridge.call("releaseBucket", ASSET) == (10**12, 0, 0)
    world.burn(4 * 10**11)
    assert world.bridge.call("releaseBucket", ASSET) == (10**12, 4 * 10**11, 0)
    receipt = world.release(world.item(1, amount=4 * 10**11), world.item(2, amount=1))
    assert world.skips(receipt) == ["BUCKET_EMPTY"]


# ----------------------------------------------------------------------- permits


def test_permit__of_the_holder__pays_for_the_burn(world: World) -> None:
    holder = _holder_with_key(world)
    signed = sign_token_permit(world, holder, 2**200)
    receipt = _burn_with_permit(world, holder.address, signed)
    assert world.bridge.events(receipt)[0].args["sender"] == holder.address


def test_permit__of_somebody_else__spends_nothing_of_theirs(world: World) -> None:
    holder = _holder_with_key(world)
    signed = sign_token_permit(world, holder, 2**200)
    with pytest.raises(Reverted) as refusal:
        _burn_with_permit(world, STRANGER, signed)
    assert world.error(refusal.value) == "AllowanceTooLow"
    assert world.shares(holder.address) == 10**9 * UNIT


def test_permit__refused_by_the_token__is_ignored_if_the_allowance_suffices(world: World) -> None:
    world.fund(10**9)
    receipt = _burn_with_permit(world, HOLDER, (1, 0, 27, b"\x01" * 32, b"\x02" * 32))
    assert world.bridge.events(receipt)[0].args["amount"] == 10**8


def test_permit__refused_by_the_token_without_allowance__is_refused(world: World) -> None:
    world.release(world.item(recipient=HOLDER))
    with pytest.raises(Reverted) as refusal:
        _burn_with_permit(world, HOLDER, (1, 0, 27, b"\x01" * 32, b"\x02" * 32))
    assert world.error(refusal.value) == "AllowanceTooLow"


def _holder_with_key(world: World) -> batch.Guard:
    holder = batch.guard("holder with a key")
    world.rpc("anvil_setBalance", holder.address, hex(10**21))
    world.release(world.item(recipient=holder.address, amount=10**9))
    world.token.must("setDelegateMode", True, sender=ISSUER)
    return holder


def _burn_with_permit(world: World, sender: str, signed: tuple[object, ...]) -> Receipt:
    burn = (ASSET, 10**8, ETHEREUM, wire(RECIPIENT), sender)
    return world.bridge.must("bridgeOutWithPermit", *burn, *signed, sender=sender)


# ----------------------------------------------------------------- golden vectors


def test_burn__of_the_first_golden_vector__rebuilds_its_transfer_id() -> None:
    """The vector was computed independently for the first contract of anvil's first account."""
    vector = VECTORS[0]
    first_account = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    sender = "0x" + vector["refund_address"][24:]
    with running_anvil("--chain-id", "1", "--hardfork", "paris") as rpc:
        fund_actors(rpc)
        guards = [g.address for g in GUARDS]
        bridge = deploy(
            rpc, artifact("XStockBridge"), first_account, 1, ADMIN, AGENT, guards, 2, 600
        )
        assert bridge.address == "0x" + vector["source_bridge"][24:]
        token = deploy(rpc, artifact("XStockToken"), ISSUER, "Tesla", "TSLAx", ISSUER, 10**18)
        sanctions = deploy(rpc, artifact("SanctionsList"), ISSUER, ISSUER)
        for role in ("setMinter", "setBurner"):
            token.must(role, bridge.address, sender=ISSUER)
        limits = (1_000, CAPACITY, REFILL)
        bridge.must("registerAsset", ASSET, token.address, *limits, sender=ADMIN)
        world = World(rpc, bridge, token, sanctions)
        world.release(world.item(source=2, recipient=sender, amount=10**9))
        world.approve(sender)
        receipt = world.burn(
            int(vector["amount"]),
            sender=sender,
            destination=vector["destination"],
            recipient=bytes.fromhex(vector["recipient"]),
        )
        event = bridge.events(receipt, "BurnedToBridge")[0]
    message = make_message(
        kind=Kind.TRANSFER,
        source=1,
        destination=event.args["destination"],
        nonce=nonce_of(bridge.address, event.args["counter"]),
        source_bridge=wire(bridge.address),
        asset=event.args["assetId"],
        refund_address=wire(event.args["refundTo"]),
        recipient=event.args["recipient"],
        amount=event.args["amount"],
    )
    assert message.pack().hex() == vector["message"]
    assert message.transfer_id().hex() == vector["transfer_id"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v["destination"] in {1, 2, 3}], ids=lambda v: v["name"]
)
def test_release__of_a_golden_vector__emits_the_message_content(
    fresh_chain: Rpc, vector: dict[str, str | int]
) -> None:
    fresh = build_world(fresh_chain)
    domain = int(vector["destination"])
    asset = bytes.fromhex(str(vector["asset_id"]))
    bridge = deploy_bridge(fresh_chain, domain=domain)
    for role in ("setMinter", "setBurner"):
        fresh.token.must(role, bridge.address, sender=ISSUER)
    bridge.must("registerAsset", asset, fresh.token.address, 1, CAPACITY, 1, sender=ADMIN)
    world = World(fresh_chain, bridge, fresh.token, fresh.sanctions, asset)
    item = world.item(
        source=int(vector["source"]),
        nonce=bytes.fromhex(str(vector["nonce"])),
        recipient="0x" + str(vector["recipient"])[24:],
        amount=int(vector["amount"]),
    )
    event = bridge.events(world.release(item), "Released")[0]
    assert event.args == {
        "assetId": asset,
        "source": item.source,
        "nonce": item.nonce,
        "recipient": item.recipient,
        "amount": item.amount,
    }
    assert world.is_released(item)
    assert not world.is_cancelled(item)
