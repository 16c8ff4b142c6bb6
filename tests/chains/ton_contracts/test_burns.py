"""Burns: what the bridge counts, what comes back to the holder, what the standards promise."""

import pytest

from tests.chains.ton_contracts.vm import Vm
from tests.chains.ton_contracts.world import (
    BURN_NOTIFICATION,
    CUSTODY,
    DAY,
    ETHEREUM,
    EVM_RECIPIENT,
    EXCESSES,
    ONE,
    SOLANA,
    TON,
    Item,
    World,
    build_world,
    exits,
    logs,
)


def test_burn__to_another_chain__is_counted_and_logged(world: World) -> None:
    world.release(Item(amount=5 * ONE))
    world.burn(amount=2 * ONE)
    seen = world.burn(amount=ONE, refund_to="bob")
    assert logs(seen) == [
        {
            "name": "BurnedToBridge",
            "destination": ETHEREUM,
            "counter": 2,
            "amount": ONE,
            "asset": world.asset,
            "recipient": int(EVM_RECIPIENT, 16),
            "sender": world.account("alice"),
            "refund_to": world.account("bob"),
        }
    ]
    assert (world.supply, world.held_by("alice")) == (2 * ONE, 2 * ONE)


def test_counters__of_lanes__are_dense_and_apart(world: World) -> None:
    world.release(Item(amount=5 * ONE))
    world.burn()
    world.burn(destination=SOLANA, recipient="0x" + "ab" * 32)
    seen = world.burn()
    assert [log["counter"] for log in logs(seen)] == [2]
    assert (world.counter(ETHEREUM), world.counter(SOLANA), world.counter(77)) == (2, 1, -1)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"destination": 77}, 203),
        ({"destination": 6}, 203),
        ({"destination": 0}, 203),
        ({"recipient": "0"}, 206),
        ({"recipient": "0x" + "c0" * 32}, 206),
        ({"amount": 1}, 204),
        ({"op": 5}, 202),
        ({"tail_bits": 1}, 202),
    ],
)
def test_burn__refused__returns_the_tokens(
    world: World, order: dict[str, object], code: int
) -> None:
    """F16: the notification bounces and the wallet restores what it took off."""
    world.release(Item())
    before = world.coins("alice")
    seen = world.burn(value=40 * TON // 1000, **order)  # type: ignore[arg-type]
    assert exits(seen) == [code]
    assert logs(seen) == []
    assert (world.supply, world.held_by("alice")) == (ONE, ONE)
    assert world.counter(ETHEREUM) == 0
    assert 40 * TON // 1000 - (world.coins("alice") - before) < 15 * TON // 1000


def test_burn__without_a_payload__is_refused_by_the_wallet(world: World) -> None:
    """A plain burn by a wallet application cannot destroy anything."""
    world.release(Item())
    body = {"units": str(ONE), "response": "alice", "payload": None}
    seen = world.send("alice", "wallet:alice", TON // 10, burn=body)
    assert exits(seen, "wallet:alice") == [306]
    assert world.held_by("alice") == ONE


def test_burn__at_the_floor__pays_its_way(world: World) -> None:
    world.release(Item())
    seen = world.burn(value=40 * TON // 1000)
    assert len(logs(seen, "BurnedToBridge")) == 1
    assert any(tx["op"] == EXCESSES and tx["to"] == "alice" for tx in seen)


def test_burn__just_below_the_floor__touches_nothing(world: World) -> None:
    world.release(Item())
    seen = world.burn(value=40 * TON // 1000 - 1)
    assert exits(seen, "wallet:alice") == [303]
    assert world.held_by("alice") == ONE


def test_redemption__while_paused__goes_on(world: World) -> None:
    world.release(Item())
    world.admin("agent", pause={"deadline": "0", "signers": []})
    seen = world.burn(destination=CUSTODY, recipient="0x" + "77" * 32)
    assert [log["destination"] for log in logs(seen)] == [CUSTODY]


def test_burn__of_dust_of_an_18_decimals_jetton__is_refused(vm: Vm) -> None:
    world = build_world(vm, decimals=18)
    world.release(Item())
    assert world.supply == ONE * 10**10
    assert exits(world.burn(amount=ONE * 10**10 - 1)) == [205]
    assert logs(world.burn(amount=ONE * 10**10))[0]["amount"] == ONE
    assert world.supply == 0


def test_release__of_dust_of_a_6_decimals_jetton__is_skipped(vm: Vm) -> None:
    world = build_world(vm, decimals=6)
    seen = world.release(Item(amount=ONE + 1), Item(counter=2))
    assert [log["reason"] for log in logs(seen, "ReleaseSkipped")] == [18]
    assert (world.supply, world.held_by("alice")) == (10**6, 10**6)
    assert logs(world.burn(amount=10**6))[0]["amount"] == ONE


def test_burn__by_an_owner_outside_the_basechain__never_begins(world: World) -> None:
    world.release(Item())
    body = {"units": str(ONE), "to": "-1:carol", "response": "alice"}
    seen = world.send("alice", "wallet:alice", TON // 10, transfer=body)
    assert exits(seen, "wallet:alice") == [305]
    assert world.held_by("alice") == ONE


def test_transfer__between_holders__moves_the_units(world: World) -> None:
    world.release(Item(amount=3 * ONE))
    body = {"units": str(ONE), "to": "bob", "response": "alice", "forward": "1"}
    seen = world.send("alice", "wallet:alice", TON // 20 + 1, transfer=body)
    assert (world.held_by("alice"), world.held_by("bob")) == (2 * ONE, ONE)
    assert any(tx["op"] == 0x7362D09C and tx["to"] == "bob" for tx in seen)
    assert any(tx["op"] == EXCESSES and tx["to"] == "alice" for tx in seen)


def test_transfer__that_bounces__comes_back(world: World) -> None:
    world.release(Item())
    world.vm("break_account", of="wallet:bob")
    body = {"units": str(ONE), "to": "bob", "response": "alice"}
    world.send("alice", "wallet:alice", TON // 10, transfer=body)
    assert world.held_by("alice") == ONE


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"to": "bridge"}, 308),
        ({"bare": True}, 307),
        ({"units": str(2 * ONE)}, 302),
        ({"forward": str(TON)}, 303),
    ],
)
def test_transfer__that_cannot_work__is_refused(
    world: World, changed: dict[str, object], code: int
) -> None:
    world.release(Item())
    body = {"units": str(ONE), "to": "bob", "response": "alice", **changed}
    seen = world.send("alice", "wallet:alice", TON // 10, transfer=body)
    assert exits(seen, "wallet:alice") == [code]
    assert world.held_by("alice") == ONE


def test_notification__that_the_bridge_refuses__bounces(world: World) -> None:
    """F16: a burn counts only if the bridge's own transaction succeeded."""
    world.release(Item())
    seen = world.burn(destination=77)
    refused = [tx for tx in seen if tx["op"] == BURN_NOTIFICATION and tx["to"] == "bridge"]
    assert [(tx["aborted"], tx["bounce"]) for tx in refused] == [(True, "ok")]


def test_discovery__of_a_wallet__answers_for_the_basechain_only(world: World) -> None:
    for owner, known in (("alice", True), ("-1:alice", False)):
        body = {"owner": owner, "include": True}
        seen = world.send("asker", "bridge", TON // 10, provide_wallet_address=body)
        assert (seen[-1]["op"], seen[-1]["to"]) == (0xD1735400, "asker")
        assert (seen[-1]["wallet_known"]) is known


def test_display_multiplier__set_by_the_admin__is_logged_and_shown(world: World) -> None:
    assert world.get("get_display_multiplier") == [1, 1]
    body = {"numerator": "1000918", "denominator": "1000000"}
    seen = world.admin(set_display_multiplier=body)
    name = "display_multiplier_changed"
    assert logs(seen) == [{"name": name, "numerator": 1000918, "denominator": 1000000}]
    assert world.get("get_display_multiplier") == [1000918, 1000000]
    assert world.supply == 0


def test_self_test__of_a_new_bridge__shows_what_was_deployed(world: World) -> None:
    assert world.get("config") == [6, -239, world.asset, 8, DAY, 0, 0]
    assert world.get("network") == [12, -239]
    assert world.get("guard_set")[:3] == [1, 2, 3]
    assert world.get("people") == ["admin", "agent"]
    assert world.held_by("alice") == 0
    wallet = world.get("get_wallet_address", ("address", "alice"))
    assert wallet == ["wallet:alice"]
