"""Releases: batches, answers, parked items, cancelled ones, and what they cost."""

import random

import pytest

from tests.chains.ton_contracts.vm import Vm
from tests.chains.ton_contracts.world import (
    ACK,
    BNB,
    CAPACITY,
    DAY,
    EXCESSES,
    MINT,
    ONE,
    SOLANA,
    TON,
    TWO,
    WINDOW,
    Item,
    World,
    build_world,
    cancel,
    exits,
    logs,
    skips,
)

ITEM_PRICE_MAX = 13 * TON // 1000
"""nanoTON an item to a known wallet in a batch of 10 or more (the project's target)."""


def _keyed(item: Item) -> dict[str, object]:
    return {"source": item.source, "nonce": str(item.nonce)}


def test_release__acknowledged__is_settled_and_logged(world: World) -> None:
    item = Item()
    seen = world.release(item)
    alice = world.account("alice")
    assert logs(seen) == [
        {
            "name": "Released",
            "source": item.source,
            "nonce": item.nonce,
            "amount": ONE,
            "recipient": alice,
            "paid_to": alice,
        }
    ]
    assert (world.state(item), world.supply, world.held_by("alice")) == ("settled", ONE, ONE)


def test_release__before_its_answer__is_in_flight(world: World) -> None:
    """F26: minted, and nothing is said to be released until the wallet has answered."""
    item = Item()
    seen = world.release(item, hold=True)
    assert (logs(seen), world.state(item)) == ([], "in flight")
    assert skips(world.release(cancel(item))) == ["IN_FLIGHT"]
    assert (world.state(item), world.held_by("alice")) == ("settled", ONE)


def test_batch__of_good_and_bad_items__does_the_good_ones(world: World) -> None:
    world.release(Item(counter=1))
    seen = world.release(
        Item(counter=1),
        Item(counter=2, amount=0),
        Item(counter=3, recipient="0"),
        Item(counter=4, recipient="bob"),
        cancel(Item(counter=5)),
    )
    assert skips(seen) == ["ALREADY_RELEASED", "AMOUNT_ZERO", "RECIPIENT_REFUSED"]
    states = [world.state(Item(counter=n)) for n in range(1, 7)]
    assert states == ["settled", "none", "none", "settled", "cancelled", "none"]
    assert world.supply == 2 * ONE


def test_executions__of_many_keys__agree_with_the_single_answer(world: World) -> None:
    world.release(Item(counter=1), cancel(Item(counter=2)))
    world.park(Item(counter=3, recipient="bob"))
    keys = [[1, str(Item(counter=n).nonce)] for n in (1, 2, 3, 4)]
    packed = world.get("executions", ("keys", keys))[0]
    assert [(packed >> 4 * i) & 15 for i in range(4)] == [2, 4, 3, 0]


@pytest.mark.parametrize(
    ("lies", "code"),
    [
        ({"version": 2}, 218),
        ({"count": 1}, 218),
        ({"count": 3, "value": TON}, 218),
        ({"count": 0}, 218),
    ],
)
def test_batch__whose_header_lies__is_refused(
    world: World, lies: dict[str, int], code: int
) -> None:
    seen = world.release(Item(), Item(counter=2), **lies)  # type: ignore[arg-type]
    assert (exits(seen), world.supply) == ([code], 0)


@pytest.mark.parametrize("item", [Item(source=0), Item(source=6), Item(counter=0), Item(action=3)])
def test_item__that_no_guard_would_sign__refuses_the_batch(world: World, item: Item) -> None:
    assert exits(world.release(item)) == [218]


def test_batch__of_101_items__is_refused(world: World) -> None:
    seen = world.release(*(Item(counter=n) for n in range(1, 102)))
    assert exits(seen) == [218]


def test_submitter__outside_the_basechain__is_refused(world: World) -> None:
    assert exits(world.release(Item(), sender="-1:relayer")) == [208]


def test_all_three_guards__signing__are_accepted(world: World) -> None:
    world.release(Item(), signers=(*TWO, (2, "guard 2")))
    assert world.state(Item()) == "settled"


def test_bounced_mint__is_parked__with_supply_and_bucket_as_before(world: World) -> None:
    """The mint that a wallet refuses leaves no token anywhere."""
    item = Item(amount=3 * ONE)
    world.vm("break_account", of="wallet:alice")
    bucket = world.get("bucket")
    seen = world.release(item)
    alice = world.account("alice")
    parked = {"source": 1, "nonce": item.nonce, "amount": 3 * ONE}
    assert logs(seen) == [{"name": "MintParked", **parked, "recipient": alice, "paid_to": alice}]
    assert (world.state(item), world.supply, world.get("bucket")) == ("parked", 0, bucket)
    arguments = (("number", "1"), ("number", str(item.nonce)))
    assert world.get("parked_item", *arguments) == [-1, alice, alice, 3 * ONE, 0]


def test_parked_item__retried_by_anyone__settles_once(world: World) -> None:
    item = Item()
    world.park(item)
    world.vm("mend_account", of="wallet:alice")
    seen = world.send("stranger", "bridge", TON // 10, retry=_keyed(item))
    assert [log["name"] for log in logs(seen)] == ["Released"]
    assert (world.state(item), world.held_by("alice")) == ("settled", ONE)
    assert exits(world.send("stranger", "bridge", TON // 10, retry=_keyed(item))) == [231]
    assert skips(world.release(item)) == ["ALREADY_RELEASED"]
    assert world.supply == ONE


def test_parked_item__retried_in_vain__is_parked_again(world: World) -> None:
    item = Item()
    world.park(item)
    seen = world.send("stranger", "bridge", TON // 10, retry=_keyed(item))
    assert [log["name"] for log in logs(seen)] == ["MintParked"]
    assert (world.state(item), world.supply) == ("parked", 0)


def test_parked_item__redirected_by_its_recipient__names_both(world: World) -> None:
    item = Item()
    world.park(item)
    body = {**_keyed(item), "pay_to": "bob"}
    seen = world.send("alice", "bridge", TON // 10, redirect=body)
    alice, bob = world.account("alice"), world.account("bob")
    released = logs(seen, "Released")[0]
    assert (released["recipient"], released["paid_to"]) == (alice, bob)
    assert logs(seen, "Redirected")[0]["paid_to"] == bob
    assert (world.state(item), world.held_by("bob")) == ("settled", ONE)


def test_parked_item__redirected_in_vain__still_belongs_to_its_recipient(world: World) -> None:
    item = Item()
    world.park(item)
    world.vm("break_account", of="wallet:bob")
    body = {**_keyed(item), "pay_to": "bob"}
    parked = logs(world.send("alice", "bridge", TON // 10, redirect=body), "MintParked")[0]
    assert parked["recipient"] == world.account("alice")
    assert exits(world.send("bob", "bridge", TON // 10, redirect=body)) == [232]
    body["pay_to"] = "carol"
    seen = world.send("alice", "bridge", TON // 10, redirect=body)
    assert logs(seen, "Released")[0]["recipient"] == world.account("alice")
    assert world.held_by("carol") == ONE


def test_parked_item__cancelled_by_guards__can_never_be_released(world: World) -> None:
    item = Item()
    world.park(item)
    assert [log["name"] for log in logs(world.release(cancel(item)))] == ["Cancelled"]
    assert world.state(item) == "cancelled"
    assert skips(world.release(item)) == ["ALREADY_CANCELLED"]
    assert exits(world.send("stranger", "bridge", TON // 10, retry=_keyed(item))) == [231]
    assert world.supply == 0


def test_parked_item__signed_again_to_another_recipient__is_released_there(world: World) -> None:
    world.park(Item())
    seen = world.release(Item(recipient="bob"))
    assert logs(seen, "Released")[0]["recipient"] == world.account("bob")
    assert (world.state(Item()), world.held_by("bob"), world.supply) == ("settled", ONE, ONE)


def test_cancel__while_paused__goes_on(world: World) -> None:
    world.admin("agent", pause={"deadline": "0", "signers": []})
    world.release(cancel(Item()))
    assert world.state(Item()) == "cancelled"


def test_bucket__emptied__refills_with_time_burns_and_nothing_else(world: World) -> None:
    world.release(Item(amount=CAPACITY))
    assert skips(world.release(Item(counter=2))) == ["BUCKET_EMPTY"]
    assert world.state(Item(counter=2)) == "none"
    world.burn(amount=5 * ONE)
    assert world.get("bucket")[1] == 5 * ONE
    world.warp(100)
    assert world.get("bucket") == [CAPACITY, 5 * ONE + 100 * 1000, 1000]
    world.release(Item(counter=2, amount=5 * ONE))
    assert world.state(Item(counter=2)) == "settled"


def test_pause__by_a_guard__ends_after_a_day(world: World) -> None:
    signed = {"deadline": str(world.now + 60), "pause_count": 0, "signers": [[1, "guard 1"]]}
    seen = world.admin("anyone", pause=signed)
    assert logs(seen)[0]["by"] == world.vm("key", of="guard 1")
    assert skips(world.release(Item())) == ["BRIDGE_PAUSED"]
    assert exits(world.admin("anyone", pause=signed)) == [216]
    world.warp(DAY)
    world.release(Item())
    assert world.state(Item()) == "settled"


def test_pause__confirmed_by_m_guards__lasts_until_the_admin_lifts_it(world: World) -> None:
    signers = [list(pair) for pair in TWO]
    signed = {"deadline": str(world.now + 60), "pause_count": 0, "signers": signers}
    world.admin("anyone", confirm_pause=signed)
    assert world.get("pause_state") == [0xFFFFFFFF, 1]
    world.warp(30 * DAY)
    assert skips(world.release(Item())) == ["BRIDGE_PAUSED"]
    world.change({"kind": 1, "pause_count": 1})
    assert world.get("pause_state") == [0, 1]
    world.release(Item())
    assert world.state(Item()) == "settled"


def test_pause__confirmed_by_one_guard__is_refused(world: World) -> None:
    signed = {"deadline": str(world.now + 60), "pause_count": 0, "signers": [[0, "guard 0"]]}
    assert exits(world.admin("anyone", confirm_pause=signed)) == [213]


def test_guards__rotated__make_older_signatures_void(world: World) -> None:
    names = ["new 0", "new 1", "new 2"]
    seen = world.change({"kind": 2, "epoch": 1, "threshold": 2, "guards": names})
    assert logs(seen, "GuardsChanged") == [
        {"name": "GuardsChanged", "epoch": 2, "threshold": 2, "count": 3}
    ]
    assert exits(world.release(Item())) == [216]
    world.vm("epoch", epoch=2)
    world.release(Item(), signers=((0, "new 0"), (1, "new 1")))
    assert world.state(Item()) == "settled"


def test_admin__handed_over__is_the_new_one_only(world: World) -> None:
    action = {"kind": 5, "account": "heir"}
    assert exits(world.change(action)) == [221]
    assert world.get("people") == ["admin", "agent"]
    world.admin("heir", apply={"action": action})
    assert world.get("people") == ["heir", "agent"]
    assert exits(world.admin(propose={"action": action})) == [221]


def test_limits__changed__hold_from_then_on(world: World) -> None:
    world.change({"kind": 4, "minimum": str(ONE), "capacity": str(2 * ONE), "refill": "1"})
    assert (world.get("minimum"), world.get("bucket")) == ([ONE], [2 * ONE, 2 * ONE, 1])
    assert skips(world.release(Item(amount=3 * ONE))) == ["BUCKET_EMPTY"]


def test_proposal__withdrawn__cannot_be_applied(world: World) -> None:
    action = {"kind": 6}
    world.admin(propose={"action": action})
    hashed = str(world.vm("action", action=action))
    assert world.get("ready_at", ("number", hashed)) == [world.now + DAY]
    world.admin(withdraw={"action": action})
    world.warp(DAY)
    assert exits(world.admin(apply={"action": action})) == [224]


def test_retired_bridge__burns_and_cancels__but_never_mints(world: World) -> None:
    """What guards wait for before they sign for a successor."""
    world.release(Item(amount=2 * ONE))
    world.park(Item(counter=2, recipient="bob"))
    world.change({"kind": 6})
    assert world.get("get_jetton_data")[1] == 0
    assert world.get("config")[6] == -1
    assert skips(world.release(Item(counter=3))) == ["RETIRED"]
    retried = world.send("anyone", "bridge", TON // 10, retry=_keyed(Item(counter=2)))
    assert exits(retried) == [234]
    assert len(logs(world.burn(), "BurnedToBridge")) == 1
    world.release(cancel(Item(counter=2)))
    assert world.state(Item(counter=2)) == "cancelled"


# ---------------------------------------------------------------------- hashed nonces


def _hashed(number: int, burned_at: int, recipient: str = "alice") -> Item:
    return Item(
        counter=number * 7919, tag=number, source=SOLANA, burned_at=burned_at, recipient=recipient
    )


def test_hashed_nonce__at_the_edges_of_its_window(world: World) -> None:
    burned = world.now
    world.warp(WINDOW)
    world.release(_hashed(1, burned), value=TON)
    assert world.state(_hashed(1, burned)) == "settled"
    world.warp(1)
    assert skips(world.release(_hashed(2, burned))) == ["NONCE_EXPIRED"]
    assert skips(world.release(cancel(_hashed(2, burned)))) == ["NONCE_EXPIRED"]
    assert skips(world.release(_hashed(3, world.now + 3601))) == ["BURNED_LATER"]
    world.release(_hashed(3, world.now + 3600))
    assert world.state(_hashed(3, 0)) == "settled"


def test_hashed_nonces__older_than_three_windows__are_pruned(world: World) -> None:
    burned = world.now
    world.release(_hashed(1, burned), cancel(_hashed(2, burned)))
    assert world.get("nonces")[0] == 2
    world.warp(3 * WINDOW)
    world.release(Item())
    assert (world.get("nonces")[0], world.state(_hashed(2, 0))) == (2, "cancelled")
    world.warp(DAY)
    world.release(Item(counter=2))
    assert (world.get("nonces")[0], world.state(_hashed(2, 0))) == (0, "none")


def test_parked_hashed_nonce__retried_after_its_day_is_forgotten__settles(world: World) -> None:
    item = _hashed(1, world.now)
    world.park(item)
    world.vm("mend_account", of="wallet:alice")
    world.warp(3 * WINDOW + 2 * DAY)
    world.release(Item(counter=2, recipient="bob"))
    assert (world.get("nonces")[0], world.state(item)) == (0, "parked")
    seen = world.send("anyone", "bridge", TON // 10, retry=_keyed(item))
    assert [log["name"] for log in logs(seen)] == ["Released"]
    assert skips(world.release(item)) == ["NONCE_EXPIRED"]
    assert world.held_by("alice") == ONE


def test_hashed_nonces__over_a_year__never_fill_the_account(world: World) -> None:
    """A steady stream keeps three windows of them, however long it goes on."""
    number = 0
    most = 0
    for _ in range(120):
        batch = [cancel(_hashed(number + i + 1, world.now)) for i in range(20)]
        number += 20
        seen = world.release(*batch)
        assert exits(seen) == []
        most = max(most, world.vm("cells", of="bridge"))
        world.warp(3 * DAY)
    live = world.get("nonces")[0]
    assert live <= 20 * 8
    assert most <= 60 + 2 * 20 * 9


# ------------------------------------------------------------------- storage and fees


def test_storage__over_650_releases_in_order__hardly_grows(world: World) -> None:
    sizes = []
    for start in range(1, 651, 50):
        world.release(*(Item(counter=n) for n in range(start, start + 50)))
        sizes.append(world.vm("cells", of="bridge"))
    assert world.supply == 650 * ONE
    assert max(sizes) - sizes[0] <= 4
    assert world.state(Item(counter=3)) == "settled"
    assert world.state(Item(counter=651)) == "none"


def test_lane__with_a_hole__is_pruned_once_it_closes(world: World) -> None:
    for start in range(2, 514, 64):
        world.release(*(Item(counter=n) for n in range(start, min(start + 64, 513))))
    grown = world.vm("cells", of="bridge")
    assert world.state(Item(counter=1)) == "none"
    world.release(cancel(Item(counter=1)))
    assert world.vm("cells", of="bridge") < grown
    assert world.state(Item(counter=1)) == "cancelled"
    assert world.state(Item(counter=300)) == "settled"


def test_batch__of_100_items__fits_into_the_gas_limit(world: World) -> None:
    seen = world.release(*(Item(counter=n, recipient=f"holder {n}") for n in range(1, 101)))
    assert seen[0]["gas"] < 1_000_000
    assert len(logs(seen, "Released")) == 100
    assert world.supply == 100 * ONE


def test_batch__of_40_hashed_items__fits_beside_a_thousand_live_ones(world: World) -> None:
    for day in range(8):
        for chunk in range(3):
            start = day * 1000 + chunk * 40
            live = [cancel(_hashed(start + i + 1, world.now)) for i in range(40)]
            assert exits(world.release(*live)) == []
        world.warp(DAY)
    seen = world.release(*(_hashed(9000 + i, world.now, f"h{i}") for i in range(40)), value=2 * TON)
    assert (exits(seen), seen[0]["gas"] < 1_000_000) == ([], True)
    assert len(logs(seen, "Released")) == 40


def _price(world: World, first: int, owners: list[str], known: str) -> int:
    """nanoTON an item of a batch to these owners, everything returned."""
    before = world.coins("relayer")
    items = [Item(counter=first + n, recipient=owner) for n, owner in enumerate(owners)]
    world.release(*items, known=known)
    assert world.state(items[-1]) == "settled"
    attached = 30 * TON // 1000 * (len(owners) + 1)
    return (attached - (world.coins("relayer") - before)) // len(owners)


@pytest.mark.parametrize(
    ("count", "known", "unsaid", "new"),
    [
        (1, 20_000_000, 23_000_000, 33_000_000),
        (10, ITEM_PRICE_MAX, 16_000_000, 26_000_000),
        (50, ITEM_PRICE_MAX, 15_500_000, 25_500_000),
    ],
)
def test_price__of_an_item__stays_what_readme_says(
    world: World, count: int, known: int, unsaid: int, new: int
) -> None:
    owners = [f"holder {n}" for n in range(count)]
    bridge = world.coins("bridge")
    first = _price(world, 1, owners, "")
    again = _price(world, 1001, owners, "")
    cheapest = _price(world, 2001, owners, "1" * count)
    assert [first <= new, again <= unsaid, cheapest <= known] == [True] * 3, (
        first,
        again,
        cheapest,
    )
    assert world.coins("bridge") >= bridge


def test_known_wallet__that_is_broken__is_parked_by_the_second_bounce(world: World) -> None:
    world.vm("break_account", of="wallet:alice")
    bridge = world.coins("bridge")
    seen = world.release(Item(), known="1")
    assert [log["name"] for log in logs(seen)] == ["MintParked"]
    assert sum(tx["op"] == MINT and tx["to"] == "wallet:alice" for tx in seen) == 2
    assert (world.state(Item()), world.supply) == ("parked", 0)
    assert world.coins("bridge") >= bridge


def test_known_wallet__that_is_new__is_credited_at_its_submitters_cost(world: World) -> None:
    bridge = world.coins("bridge")
    hashed = _hashed(1, world.now, "bob")
    seen = world.release(Item(), hashed, Item(counter=2, recipient="carol"), known="11")
    assert len(logs(seen, "Released")) == 3
    states = [world.state(item) for item in (Item(), hashed, Item(counter=2))]
    assert states == ["settled"] * 3
    assert (world.supply, world.held_by("bob")) == (3 * ONE, ONE)
    assert world.coins("bridge") >= bridge


def test_excess__of_batch_and_answers__returns_to_the_submitter(world: World) -> None:
    seen = world.release(Item(), value=TON)
    returned = sum(tx["value"] for tx in seen if tx["op"] == EXCESSES and tx["to"] == "relayer")
    assert returned > TON - 40 * TON // 1000
    assert sum(tx["op"] == ACK for tx in seen) == 1


def test_balance__below_the_floor__is_said_and_filled_from_excess(vm: Vm) -> None:
    world = build_world(vm, balance=str(TON // 2))
    before = world.coins("bridge")
    seen = world.release(Item(), Item(counter=2))
    assert logs(seen, "BalanceLow")[0]["balance"] == before
    assert world.coins("bridge") - before >= 2 * 4 * TON // 1000
    assert world.get("balance_floor") == [TON]


def test_answer__with_too_few_coins__is_settled_all_the_same(world: World) -> None:
    """Prices rose: the bridge pays for the one answer that it will ever get."""
    item = Item()
    world.release(item, hold=True)
    tag = {**_keyed(item), "pay_to": "alice", "excess_to": "relayer"}
    body = {"units": str(ONE), **tag}
    seen = world.send("wallet:alice", "bridge", 2 * TON // 1000, mint_ack=body)
    answers = [tx for tx in seen if tx["op"] == ACK]
    assert [(tx["value"], tx["exit"]) for tx in answers[:1]] == [(2 * TON // 1000, 0)]
    assert [log["name"] for log in answers[0]["logs"]] == ["Released"]
    assert world.state(item) == "settled"


def test_supply__under_a_random_load__is_what_the_logs_say(world: World) -> None:
    """Method: 60 random steps (releases, replays, cancels, burns, retries) of a seeded source;
    after each, supply = released - burned and the holders hold exactly the supply."""
    seed = 20_261_122
    chance = random.Random(seed)
    holders = ["alice", "bob", "carol"]
    for step in range(60):
        holder = chance.choice(holders)
        item = Item(
            counter=chance.randint(1, 40),
            recipient=holder,
            amount=chance.randint(1, 5) * ONE,
            source=chance.choice([1, BNB]),
        )
        match chance.randint(0, 4):
            case 0 | 1:
                world.release(item, Item(counter=100 + step, recipient=holder))
            case 2:
                world.release(cancel(item))
            case 3:
                world.burn(holder, chance.randint(1, 3) * ONE)
            case _:
                world.send("anyone", "bridge", TON // 10, retry=_keyed(item))
        assert world.supply == world.totals.released - world.totals.burned
        assert world.supply == sum(world.held_by(name) for name in holders)
    assert world.totals.released > world.totals.burned > 0
