"""Release batches: what they do, in what form, and what stays open."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chains.evm_contracts.batch import CANCEL, header, nonce_of, pack, sign, sign_all
from tests.chains.evm_contracts.chain import Reverted, Rpc, artifact, deploy
from tests.chains.evm_contracts.world import (
    ADMIN,
    AGENT,
    ASSET,
    CHAIN_ID,
    CUSTODY,
    ETHEREUM,
    GUARDS,
    ISSUER,
    ONE,
    RECIPIENT,
    SOLANA,
    SOURCE_BRIDGE,
    STRANGER,
    THIRD,
    UNIT,
    World,
    account,
    build_world,
)

pytestmark = pytest.mark.chains


def _refused(world: World, items: bytes) -> str:
    with pytest.raises(Reverted) as refusal:
        world.submit(items)
    return world.error(refusal.value)


def test_release__of_a_signed_item__mints_and_tells_everything(world: World) -> None:
    receipt = world.release(world.item())
    event = world.bridge.events(receipt)[0]
    assert event.name == "Released"
    assert event.args == {
        "assetId": ASSET,
        "source": ETHEREUM,
        "nonce": nonce_of(SOURCE_BRIDGE, 1),
        "recipient": RECIPIENT,
        "amount": 123_456_789,
    }
    assert world.shares(RECIPIENT) == 123_456_789 * UNIT
    assert world.is_released(world.item())
    assert not world.is_cancelled(world.item())


def test_release__signed_by_all_three__passes_like_two(world: World) -> None:
    assert world.released(world.release(world.item(), signers=GUARDS)) == [world.item().nonce]


def test_release__sent_by_anybody__passes(world: World) -> None:
    items = pack([world.item()])
    permit = world.permit(items)
    arguments = (items, permit.deadline, sign_all(permit, GUARDS[:2]))
    assert world.bridge.send("releaseBatch", *arguments, sender=STRANGER).ok


def test_release__of_many_lanes_and_a_hashed_nonce__keeps_them_apart(world: World) -> None:
    """The same counter of another tag, another source and a Solana hash are four items."""
    other_tag = nonce_of("0x" + "11" * 20, 1)
    items = [
        world.item(1),
        world.item(1, source=3),
        world.item(nonce=other_tag),
        world.item(source=SOLANA, nonce=bytes(range(100, 132))),
        world.item(source=CUSTODY, nonce=nonce_of("0x" + "22" * 20, 1)),
    ]
    receipt = world.release(*items)
    assert world.released(receipt) == [i.nonce for i in items]
    assert all(world.is_released(i) for i in items)
    assert world.shares(RECIPIENT) == 5 * 123_456_789 * UNIT


def test_release__of_counters_around_a_word_of_256__marks_exactly_those(world: World) -> None:
    done = [1, 255, 256, 257, 511, 512, 2**64 - 1]
    world.release(*(world.item(n, amount=1) for n in done))
    probed = [*done, 0, 2, 254, 258, 510, 513, 2**64 - 2]
    assert [n for n in probed if world.is_released(world.item(n))] == done


def test_release__of_two_assets__mints_each_its_own(world: World) -> None:
    other = b"\x42" * 32
    token = deploy(world.rpc, artifact("XStockToken"), ISSUER, "Nvidia", "NVDAx", ISSUER, ONE)
    token.must("setMinter", world.bridge.address, sender=ISSUER)
    world.bridge.must("registerAsset", other, token.address, 1, 10**12, 0, sender=ADMIN)
    receipt = world.release(world.item(1), world.item(2, asset=other, amount=7))
    assert len(world.released(receipt)) == 2
    assert token.call("sharesOf", RECIPIENT) == 7 * UNIT
    assert world.shares(RECIPIENT) == 123_456_789 * UNIT


def test_release__by_two_relayers_at_once__mints_once_and_tells_the_second(world: World) -> None:
    """F46: the loser of the race pays gas and harms nothing."""
    items = pack([world.item(1), world.item(2)])
    permit = world.permit(items)
    signatures = sign_all(permit, GUARDS[:2])
    first = world.submit_signed(items, permit.deadline, signatures)
    second = world.submit_signed(items, permit.deadline, signatures)
    assert len(world.released(first)) == 2
    assert world.skips(second) == ["ALREADY_RELEASED"] * 2
    assert world.shares(RECIPIENT) == 2 * 123_456_789 * UNIT


# ------------------------------------------------------------- skipped stays open


def test_skipped_item__once_the_minter_role_is_back__is_released(world: World) -> None:
    """F44: a refused mint marks nothing."""
    world.token.must("setMinter", STRANGER, sender=ISSUER)
    assert world.skips(world.release(world.item())) == ["TOKEN_REFUSED"]
    assert not world.is_released(world.item())
    assert not world.is_cancelled(world.item())
    world.token.must("setMinter", world.bridge.address, sender=ISSUER)
    assert world.released(world.release(world.item())) == [world.item().nonce]


def test_skipped_item__of_a_paused_token__is_released_later_at_full_bucket(world: World) -> None:
    """F58: the refused amount does not drain the bucket either."""
    level = world.bridge.call("releaseBucket", ASSET)[1]
    world.token.must("setPause", True, sender=ISSUER)
    assert world.skips(world.release(world.item())) == ["TOKEN_REFUSED"]
    assert world.bridge.call("releaseBucket", ASSET)[1] == level
    world.token.must("setPause", False, sender=ISSUER)
    assert world.released(world.release(world.item())) == [world.item().nonce]


def test_skipped_item__of_a_sanctioned_recipient__leaves_others_alone(world: World) -> None:
    bad = account("listed")
    world.sanctions.must("setSanctioned", bad, True, sender=ISSUER)
    receipt = world.release(world.item(1), world.item(2, recipient=bad), world.item(3))
    assert world.skips(receipt) == ["RECIPIENT_SANCTIONED"]
    assert world.shares(bad) == 0
    assert world.shares(RECIPIENT) == 2 * 123_456_789 * UNIT


def test_skipped_item__for_an_empty_bucket__is_released_after_the_refill(fresh_chain: Rpc) -> None:
    world = build_world(fresh_chain, capacity=10**12, refill=10**9)
    world.release(world.item(1, amount=10**12))
    assert world.skips(world.release(world.item(2, amount=10**12))) == ["BUCKET_EMPTY"]
    world.rpc.advance(1_000)
    assert world.released(world.release(world.item(2, amount=10**12))) == [world.item(2).nonce]


def test_bucket__over_any_window__releases_no_more_than_capacity_and_refill(
    fresh_chain: Rpc,
) -> None:
    """F53: forging at full speed is bounded by the bucket."""
    world = build_world(fresh_chain, capacity=10**12, refill=10**9)
    start = world.rpc.now()
    for counter in range(1, 41):
        world.release(world.item(counter, amount=10**11))
        world.rpc.advance(20)
    allowed = 10**12 + 10**9 * (world.rpc.now() - start)
    assert world.shares(RECIPIENT) <= allowed * UNIT
    assert world.shares(RECIPIENT) > 10**12 * UNIT


def test_release__of_an_unknown_asset__is_skipped_and_open_once_registered(world: World) -> None:
    item = world.item(asset=b"\x42" * 32)
    assert world.skips(world.release(item)) == ["ASSET_UNKNOWN"]
    token = deploy(world.rpc, artifact("XStockToken"), ISSUER, "Nvidia", "NVDAx", ISSUER, ONE)
    token.must("setMinter", world.bridge.address, sender=ISSUER)
    limits = (1, 10**16, 0)
    world.bridge.must("registerAsset", item.asset, token.address, *limits, sender=ADMIN)
    assert world.released(world.release(item)) == [item.nonce]


def test_release__of_a_token_without_a_multiplier__is_skipped(world: World) -> None:
    world.rpc("anvil_setCode", world.token.address, "0x60006000fd")
    assert world.skips(world.release(world.item())) in (
        ["TOKEN_UNAVAILABLE"],
        ["SCREEN_UNAVAILABLE"],
    )


def test_release__to_a_listless_token__is_not_screened(fresh_chain: Rpc) -> None:
    world = build_world(fresh_chain)
    plain = deploy(world.rpc, artifact("XStockToken"), ISSUER, "Plain", "PLAINx", ISSUER, ONE)
    plain.must("setMinter", world.bridge.address, sender=ISSUER)
    asset = b"\x43" * 32
    world.bridge.must("registerAsset", asset, plain.address, 1, 10**16, 0, sender=ADMIN)
    assert len(world.released(world.release(world.item(asset=asset)))) == 1


# ----------------------------------------------------------------------- cancel


def test_cancel__while_everything_is_paused__passes(world: World) -> None:
    world.bridge.must("pause", bytes(32), sender=AGENT)
    world.bridge.must("pause", ASSET, sender=GUARDS[0].address)
    receipt = world.release(world.item(action=CANCEL))
    event = world.bridge.events(receipt)[0]
    assert event.name == "Cancelled"
    assert event.args == {"assetId": ASSET, "source": ETHEREUM, "nonce": world.item().nonce}
    assert world.is_cancelled(world.item())
    assert not world.is_released(world.item())
    assert world.shares(RECIPIENT) == 0


def test_cancel__of_an_asset_nobody_registered__passes(world: World) -> None:
    """Tokens burned for an asset this chain does not have must be able to flow back."""
    item = world.item(action=CANCEL, asset=b"\x42" * 32)
    world.release(item)
    assert world.is_cancelled(item)


def test_cancel__twice__is_skipped_the_second_time(world: World) -> None:
    item = world.item(action=CANCEL)
    world.release(item)
    assert world.skips(world.release(item)) == ["ALREADY_CANCELLED"]


def test_cancel_and_release__in_one_batch__do_the_first_only(world: World) -> None:
    receipt = world.release(world.item(action=CANCEL), world.item())
    assert world.skips(receipt) == ["ALREADY_CANCELLED"]
    other = world.item(2)
    receipt = world.release(other, world.item(2, action=CANCEL))
    assert world.skips(receipt) == ["ALREADY_RELEASED"]
    assert world.is_released(other)


def test_executions__of_many_items__answer_in_order_and_apart(world: World) -> None:
    world.release(world.item(1), world.item(2, action=CANCEL))
    asked = [world.item(n) for n in (1, 2, 3)] + [world.item(1, source=3)]
    sources, nonces = [i.source for i in asked], [i.nonce for i in asked]
    assert world.bridge.call("executions", sources, nonces) == (1, 2, 0, 0)
    with pytest.raises(Reverted) as refused:
        world.bridge.call("executions", sources[1:], nonces)
    assert world.error(refused.value) == "LengthsDiffer"


def test_supplies__of_assets__are_of_one_block_and_unreadable_is_told(world: World) -> None:
    world.set_multiplier(THIRD)
    world.release(world.item())
    displayed, multipliers, inventories = world.bridge.call("supplies", [ASSET])
    assert displayed == (world.token.call("totalSupply"),)
    assert multipliers == (THIRD,)
    assert inventories == (world.inventory(),)
    assert inventories[0] > 0
    world.rpc("anvil_setCode", world.token.address, "0x60006000fd")
    assert world.bridge.call("supplies", [ASSET])[1] == (0,)


# -------------------------------------------------------------------- bad bytes


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (b"", "ItemsMalformed"),
        (b"\x01", "ItemsMalformed"),
        (b"\x00", "ItemsVersionRefused"),
        (b"\x01" + bytes(62), "ItemsMalformed"),
        (b"\x01" + bytes(63), "ItemsMalformed"),
        (b"\x01" + header(1, 1, bytes(24), ASSET, 0), "ItemsMalformed"),
        (b"\x01" + header(1, 1, bytes(24), ASSET, 1) + bytes(35), "ItemsMalformed"),
        (b"\x01" + header(1, 1, bytes(24), ASSET, 1) + bytes(37), "ItemsMalformed"),
        (b"\x01" + header(1, 0, bytes(24), ASSET, 1) + bytes(36), "ItemsMalformed"),
        (b"\x01" + header(0, 1, bytes(24), ASSET, 1) + bytes(36), "ItemsMalformed"),
        (b"\x01" + header(1, 1, bytes(24), ASSET, 65535) + bytes(36), "ItemsMalformed"),
    ],
)
def test_batch__malformed__is_refused_whole(world: World, items: bytes, error: str) -> None:
    """F37: bytes that are no batch do nothing at all."""
    assert _refused(world, items) == error


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.integers(0, 206), flip=st.integers(0, 206), bit=st.integers(0, 7))
def test_batch__cut_or_flipped_after_signing__is_refused(
    world: World, cut: int, flip: int, bit: int
) -> None:
    """Every byte is covered by the signatures."""
    items = pack([world.item(n) for n in range(1, 5)])
    permit = world.permit(items)
    signatures = sign_all(permit, GUARDS[:2])
    flipped = bytearray(items)
    flipped[flip % len(items)] ^= 1 << bit
    for forged in (items[: cut % len(items)], bytes(flipped)):
        with pytest.raises(Reverted):
            world.submit_signed(forged, permit.deadline, signatures)


@pytest.mark.parametrize("length", [0, 64, 129, 131])
def test_signatures__of_odd_length__are_refused(world: World, length: int) -> None:
    items = pack([world.item()])
    permit = world.permit(items)
    signatures = (sign_all(permit, GUARDS[:2]) + bytes(1))[:length]
    with pytest.raises(Reverted) as refusal:
        world.submit_signed(items, permit.deadline, signatures)
    expected = "SignatureLengthRefused" if length else "TooFewSignatures"
    assert world.error(refusal.value) == expected


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_signature__with_another_v__is_refused(world: World, v: int) -> None:
    items = pack([world.item()])
    permit = world.permit(items)
    bad = sign(permit, GUARDS[0])[:64] + bytes([v])
    with pytest.raises(Reverted) as refusal:
        world.submit_signed(items, permit.deadline, bad + sign(permit, GUARDS[1]))
    assert world.error(refusal.value) == "ECDSAInvalidSignature"


def test_permit__of_the_old_chain_after_a_fork_changed_its_id__is_refused(
    fresh_chain: Rpc,
) -> None:
    """F14: the chain id is read at every batch, not remembered from the deployment."""
    world = build_world(fresh_chain)
    world.rpc("anvil_setChainId", 10_001)
    try:
        with pytest.raises(Reverted) as refusal:
            world.submit(pack([world.item()]), chain_id=CHAIN_ID)
        assert world.error(refusal.value) == "SignerNotGuard"
        assert world.released(world.release(world.item())) == [world.item().nonce]
    finally:
        world.rpc("anvil_setChainId", CHAIN_ID)


def test_permit__at_its_deadline_and_an_hour_before__passes(world: World) -> None:
    start = world.rpc.now() + 100
    for counter, ahead in enumerate((0, 3600), start=1):
        items = pack([world.item(counter)])
        permit = world.permit(items, deadline=start + ahead)
        signatures = sign_all(permit, GUARDS[:2])
        world.rpc("evm_setNextBlockTimestamp", start)
        arguments = (items, permit.deadline, signatures)
        assert world.bridge.send("releaseBatch", *arguments, sender=STRANGER).ok
        start += 5_000
