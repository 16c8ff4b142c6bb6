"""What somebody would try against the contracts, each with the defence that stops it.

An attack runs against a world and says how it ended: the exit code or the skip's name, or HARM.
The same function is run twice: against the real contracts it must be refused as named, and
against contracts whose defence was taken out of the source it must do HARM. So no defence here is
untested and no test here is a test of nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.chains.ton_contracts.compiler import Change
from tests.chains.ton_contracts.world import (
    ACK,
    CAPACITY,
    CUSTODY,
    DAY,
    EVM_RECIPIENT,
    ONE,
    SOLANA,
    TON,
    TWO,
    WINDOW,
    Item,
    Transaction,
    World,
    cancel,
    exits,
    skips,
)

HARM: Final = "HARM"
STRANGER: Final = "stranger"
_FLOOR = "assert (in.valueCoins >= BURN_VALUE_MIN) throw Refusal.WalletValueTooLow;"


@dataclass(frozen=True, slots=True)
class Attack:
    """`run` returns the refusal or HARM; `removed` takes the defence out."""

    name: str
    run: Callable[[World], str]
    refusal: str
    removed: Sequence[Change]


def ending(seen: Sequence[Transaction], to: str = "bridge") -> str:
    """The first exit code or skip, or HARM. A second answer of a true wallet, which the bridge
    refuses, stops nothing: its mint has been credited."""
    seen = [tx for tx in seen if tx["op"] != ACK or tx["from"] == STRANGER]
    refused = [str(code) for code in exits(seen, to)] + skips(seen)
    return refused[0] if refused else HARM


def _signed_by(signers: Sequence[tuple[int, str]]) -> Callable[[World], str]:
    return lambda world: ending(world.release(Item(), signers=signers))


def _lying(**lies: Any) -> Callable[[World], str]:
    return lambda world: ending(world.release(Item(), **lies))


def _deadline(seconds: int) -> Callable[[World], str]:
    return lambda world: ending(world.release(Item(), deadline=world.now + seconds))


def _later_deadline(world: World) -> str:
    """Signed for the deadline 0, submitted with a good one."""
    return ending(world.release(Item(), signed_deadline=0))


def _other_items(world: World) -> str:
    return ending(world.release(Item(amount=99 * ONE), items=[Item()]))


def _reordered(world: World) -> str:
    first, second = Item(counter=1), Item(counter=2, recipient="bob")
    return ending(world.release(second, first, items=[first, second]))


def _replay(world: World) -> str:
    world.release(Item())
    return ending(world.release(Item()))


def _replay_in_one_batch(world: World) -> str:
    return ending(world.release(Item(), Item()))


def _release_in_flight(world: World) -> str:
    world.release(Item(), hold=True)
    again = world.release(Item())
    return ending(again)


def _replay_below_the_floor(world: World) -> str:
    """A whole word done and forgotten, then its first item again."""
    for start in range(0, 256, 64):
        counters = range(max(1, start), start + 64)
        world.release(*(Item(counter=counter) for counter in counters))
    return ending(world.release(Item(counter=5)))


def _hashed(world: World, **changed: Any) -> Item:
    return replace(Item(source=SOLANA, burned_at=world.now, tag=0x51), **changed)


def _replay_under_another_day(world: World) -> str:
    world.release(_hashed(world))
    return ending(world.release(_hashed(world, burned_at=world.now - 2 * DAY)))


def _replay_after_the_window(world: World) -> str:
    old = _hashed(world)
    world.release(old)
    world.warp(3 * WINDOW + 2 * DAY)
    return ending(world.release(old))


def _forget_within_three_windows(world: World) -> str:
    """A nonce in use must not read as unused while somebody may still ask."""
    item = _hashed(world)
    world.release(item)
    world.warp(2 * WINDOW)
    world.release(Item(counter=9))
    return "settled" if world.state(item) == "settled" else HARM


def _release_after_cancel(world: World) -> str:
    world.release(cancel(Item()))
    return ending(world.release(Item()))


def _cancel_after_release(world: World) -> str:
    world.release(Item())
    return ending(world.release(cancel(Item())))


def _underfunded(world: World) -> str:
    return ending(world.release(Item(), Item(counter=2), value=89 * TON // 1000))


def _too_much(world: World) -> str:
    return ending(world.release(Item(amount=CAPACITY + ONE)))


def _while_paused(world: World) -> str:
    world.admin("agent", pause={"deadline": "0", "signers": []})
    return ending(world.release(Item()))


def _to_nobody(world: World) -> str:
    return ending(world.release(Item(recipient="0")))


def _to_the_bridge(world: World) -> str:
    return ending(world.release(Item(recipient="bridge")))


def _forged_burn(origin: str) -> Callable[[World], str]:
    def run(world: World) -> str:
        world.release(Item())
        payload = {"destination": 1, "recipient": EVM_RECIPIENT}
        body = {"units": str(ONE), "owner": "alice", "payload": payload}
        return ending(world.send(origin, "bridge", TON // 10, burn_notification=body))

    return run


def _forged_ack(world: World) -> str:
    item = Item()
    world.release(item, hold=True)
    tag = {"source": item.source, "nonce": str(item.nonce), "pay_to": "alice"}
    body = {"units": str(ONE), "excess_to": STRANGER, **tag}
    return ending(world.send(STRANGER, "bridge", TON // 10, mint_ack=body))


def _forged_credit(world: World) -> str:
    world.release(Item())
    body = {"units": str(10**15), "from": "bob"}
    seen = world.send(STRANGER, "wallet:alice", TON // 10, internal_transfer=body)
    return ending(seen, "wallet:alice")


def _burn(**order: Any) -> Callable[[World], str]:
    def run(world: World) -> str:
        world.release(Item())
        return ending(world.burn(**order))

    return run


def _burn_while_paused(world: World) -> str:
    world.release(Item())
    world.admin("agent", pause={"deadline": "0", "signers": []})
    return ending(world.burn())


def _starved_burn(world: World) -> str:
    """Without the floor the tokens are gone: the refusal cannot pay its way back."""
    world.release(Item())
    seen = world.burn(destination=77, value=5 * TON // 1000)
    refused = exits(seen[:1], "wallet:alice")
    if refused:
        return str(refused[0])
    return HARM if world.held_by("alice") == 0 else "returned"


def _anothers_burn(world: World) -> str:
    world.release(Item())
    body = {"units": str(ONE), "response": STRANGER, "payload": None}
    body["payload"] = {"destination": CUSTODY, "recipient": STRANGER}  # type: ignore[assignment]
    return ending(world.send(STRANGER, "wallet:alice", TON // 10, burn=body), "wallet:alice")


def _more_than_held(world: World) -> str:
    """A coins field cannot go below zero, so even without the check nothing is gained."""
    world.release(Item())
    return ending(world.burn(amount=2 * ONE), "wallet:alice")


def _redirect_by_a_stranger(world: World) -> str:
    world.park(Item())
    body = {"source": Item().source, "nonce": str(Item().nonce), "pay_to": STRANGER}
    return ending(world.send(STRANGER, "bridge", TON // 10, redirect=body))


def _retry_while_paused(world: World) -> str:
    world.park(Item())
    world.admin("agent", pause={"deadline": "0", "signers": []})
    body = {"source": Item().source, "nonce": str(Item().nonce)}
    return ending(world.send(STRANGER, "bridge", TON // 10, retry=body))


def _retry_over_the_bucket(world: World) -> str:
    world.park(Item(amount=CAPACITY))
    world.release(Item(counter=2, recipient="bob", amount=CAPACITY))
    body = {"source": Item().source, "nonce": str(Item().nonce)}
    return ending(world.send(STRANGER, "bridge", TON // 10, retry=body))


def _unknown_called_known(world: World) -> str:
    """Whoever submits must not be able to park what would have been credited."""
    world.release(Item(recipient="newcomer"), known="1")
    return HARM if world.state(Item()) == "parked" else world.state(Item())


def _other_amount_for_parked(world: World) -> str:
    world.park(Item())
    return ending(world.release(Item(amount=2 * ONE)))


def _pause_by(world: World, origin: str) -> list[Transaction]:
    return world.admin(origin, pause={"deadline": "0", "signers": []})


def _pause_for_ever(world: World) -> str:
    _pause_by(world, "agent")
    world.warp(DAY + 1)
    return ending(_pause_by(world, "agent"))


def _pause_by_nobody(world: World) -> str:
    return ending(_pause_by(world, STRANGER))


def _admins_message(origin: str, **body: Any) -> Callable[[World], str]:
    return lambda world: ending(world.admin(origin, **body))


_LIMITS = {"kind": 4, "minimum": "1", "capacity": str(10**18), "refill": "1"}
_OWN_GUARDS = {"kind": 2, "epoch": 1, "threshold": 1, "guards": ["thief"]}


def _change_too_early(world: World) -> str:
    world.admin(propose={"action": _OWN_GUARDS})
    world.warp(DAY - 1)
    return ending(world.admin(apply={"action": _OWN_GUARDS}))


def _change_unproposed(world: World) -> str:
    return ending(world.admin(apply={"action": _LIMITS}))


def _change_long_forgotten(world: World) -> str:
    world.admin(propose={"action": _LIMITS})
    world.warp(DAY + 14 * DAY + 1)
    return ending(world.admin(apply={"action": _LIMITS}))


def _change_by_a_stranger(world: World) -> str:
    world.admin(propose={"action": _LIMITS})
    world.warp(DAY)
    return ending(world.admin(STRANGER, apply={"action": _LIMITS}))


def _admin_that_nobody_is(world: World) -> str:
    action = {"kind": 5, "account": "lost key"}
    return ending(world.change(action))


def _guards(**change: Any) -> Callable[[World], str]:
    action = {"kind": 2, "epoch": 1, "threshold": 2, "guards": ["a", "b", "c"], **change}
    return lambda world: ending(world.change(action))


def _unpause_after_a_new_pause(world: World) -> str:
    _pause_by(world, "agent")
    action = {"kind": 1, "pause_count": 1}
    world.admin(propose={"action": action})
    signed = {"deadline": str(world.now + 60), "pause_count": 1, "signers": [[0, "guard 0"]]}
    world.admin(STRANGER, pause=signed)
    world.warp(DAY)
    return ending(world.admin(apply={"action": action}))


def _old_epoch(world: World) -> str:
    world.change({"kind": 2, "epoch": 1, "threshold": 2, "guards": ["guard 0", "guard 1", "new"]})
    return ending(world.release(Item(), epoch=1))


def _after_retirement(world: World) -> str:
    world.change({"kind": 6})
    return ending(world.release(Item()))


def _release(old: str, new: str = "") -> Change:
    return Change("release.tolk", old, new)


def _guard(old: str, new: str = "") -> Change:
    return Change("guards.tolk", old, new)


def _burning(old: str, new: str = "") -> Change:
    return Change("burn.tolk", old, new)


def _govern(old: str, new: str = "") -> Change:
    return Change("governance.tolk", old, new)


def _wallet(old: str, new: str = "") -> Change:
    return Change("wallet.tolk", old, new)


def _answer(old: str, new: str = "") -> Change:
    return Change("answers.tolk", old, new)


_VALID = """    assert (isSignatureValid(digest, given.signature as slice, publicKey))
        throw Refusal.SignatureInvalid;
"""
_NOT_USED = """    if ((openUsed & bit) != 0) {
        return skipOf(stateInWord(bit));
    }
"""
_NOT_USED_HASHED = """    if (state != STATE_NONE) {
        return skipOf(state);
    }
"""
_WINDOW = "if (blockchain.now() > item.burnedAt + WINDOW_SECONDS) {"
_PADDING = "assert ((order.recipient >> 160) == 0) throw Refusal.RecipientRefused;"
_IS_WALLET = "assert (sender == basechain(wallet)) throw Refusal.NotOurWallet;"
_ADMIN_ONLY = """        assert (sender == governance.admin) throw Refusal.NotAdmin;
    }
    match (action) {"""

ATTACKS: Final = (
    Attack(
        "one signature",
        _signed_by(TWO[:1]),
        "213",
        [_guard("assert (valid >= threshold) throw Refusal.TooFewSignatures;")],
    ),
    Attack(
        "one guard twice",
        _signed_by((TWO[0], TWO[0])),
        "214",
        [_guard("assert (given.guard > previous) throw Refusal.SignersNotAscending;")],
    ),
    Attack("a stranger as a guard", _signed_by((TWO[0], (1, STRANGER))), "216", [_guard(_VALID)]),
    Attack(
        "a guard beyond the set",
        _signed_by((TWO[0], (9, STRANGER))),
        "215",
        [
            _guard(
                "assert (key.isFound) throw Refusal.SignerUnknown;",
                "if (!key.isFound) { return 0; }",
            )
        ],
    ),
    Attack(
        "another network's permit",
        _lying(global_id=-3),
        "216",
        [_guard(".storeInt(networkId(), 32)", ".storeInt(-3, 32)")],
    ),
    Attack(
        "another domain's permit",
        _lying(domain=7),
        "216",
        [_guard(".storeUint(DOMAIN, 32)", ".storeUint(7, 32)")],
    ),
    Attack(
        "another bridge's permit",
        _lying(bridge="1"),
        "216",
        [_guard(".storeUint(me, 256)", ".storeUint(1, 256)")],
    ),
    Attack(
        "another epoch's permit",
        _lying(epoch=2),
        "216",
        [_guard(".storeUint(epoch, 32)", ".storeUint(2, 32)")],
    ),
    Attack("a rotated guard set's permit", _old_epoch, "216", [_govern("    self.epoch += 1;\n")]),
    Attack(
        "another deadline than signed",
        _later_deadline,
        "216",
        [_guard(".storeUint(deadline, 64)", ".storeUint(0, 64)")],
    ),
    Attack(
        "a pause's signature",
        _lying(op=0x78730005),
        "216",
        [_guard(".storeUint(op, 32)", ".storeUint(DIGEST_OF_PAUSE, 32)")],
    ),
    Attack("other items than signed", _other_items, "216", [_guard(_VALID)]),
    Attack("items in another order than signed", _reordered, "216", [_guard(_VALID)]),
    Attack(
        "a deadline that has come",
        _deadline(0),
        "211",
        [_guard("assert (deadline > blockchain.now()) throw Refusal.DeadlinePassed;")],
    ),
    Attack(
        "a deadline beyond the hour",
        _deadline(3601),
        "212",
        [
            _guard(
                "assert (deadline <= blockchain.now() + PERMIT_SECONDS_MAX)"
                " throw Refusal.DeadlineTooFar;"
            )
        ],
    ),
    Attack("a replay", _replay, "ALREADY_RELEASED", [_release(_NOT_USED)]),
    Attack("an item twice in a batch", _replay_in_one_batch, "IN_FLIGHT", [_release(_NOT_USED)]),
    Attack("a release in flight again", _release_in_flight, "IN_FLIGHT", [_release(_NOT_USED)]),
    Attack(
        "a replay of a forgotten word",
        _replay_below_the_floor,
        "ALREADY_RELEASED",
        [Change("nonces.tolk", "        openUsed = WORD_FULL;\n")],
    ),
    Attack(
        "a hashed nonce with another day",
        _replay_under_another_day,
        "ALREADY_RELEASED",
        [_release(_NOT_USED_HASHED)],
    ),
    Attack(
        "a hashed nonce that is forgotten",
        _replay_after_the_window,
        "NONCE_EXPIRED",
        [_release(_WINDOW, "if (false) {")],
    ),
    Attack(
        "a hashed nonce forgotten early",
        _forget_within_three_windows,
        "settled",
        [Change("nonces.tolk", "if (end + 3 * WINDOW_SECONDS > now) {", "if (end > now) {")],
    ),
    Attack(
        "a release after its cancel",
        _release_after_cancel,
        "ALREADY_CANCELLED",
        [_release(_NOT_USED)],
    ),
    Attack(
        "a cancel after its release",
        _cancel_after_release,
        "ALREADY_RELEASED",
        [_release(_NOT_USED)],
    ),
    Attack(
        "a batch that cannot pay",
        _underfunded,
        "217",
        [_release("assert (value >= needed) throw Refusal.ValueTooLow;")],
    ),
    Attack(
        "more than the bucket",
        _too_much,
        "BUCKET_EMPTY",
        [
            _release("if (item.amount > batchLevel) {", "if (false) {"),
            _release("    batchLevel -= item.amount;\n"),
        ],
    ),
    Attack(
        "a release while paused",
        _while_paused,
        "BRIDGE_PAUSED",
        [_release("bridge.isPaused() ? SKIP_BRIDGE_PAUSED : 0", "0")],
    ),
    Attack(
        "a release after retirement",
        _after_retirement,
        "RETIRED",
        [_release("bridge.retired ? SKIP_RETIRED : ")],
    ),
    Attack(
        "a release to nobody",
        _to_nobody,
        "RECIPIENT_REFUSED",
        [_release("(item.recipient == 0) | ")],
    ),
    Attack(
        "a release to the bridge",
        _to_the_bridge,
        "RECIPIENT_REFUSED",
        [_release(" | (item.recipient == batchMe)")],
    ),
    Attack("a look-alike wallet's burn", _forged_burn(STRANGER), "201", [_burning(_IS_WALLET)]),
    Attack(
        "another owner's wallet's burn", _forged_burn("wallet:bob"), "201", [_burning(_IS_WALLET)]
    ),
    Attack("a look-alike's acknowledgement", _forged_ack, "201", [_answer(_IS_WALLET)]),
    Attack(
        "a look-alike's credit",
        _forged_credit,
        "304",
        [_wallet("assert (in.senderAddress == sender) throw Refusal.SenderUnknown;")],
    ),
    Attack(
        "a stranger's burn",
        _anothers_burn,
        "301",
        [
            _wallet(
                """            assert (in.senderAddress == wallet.owner) throw Refusal.NotOwner;
            assert (wallet.units >= message.units) throw Refusal.BalanceTooLow;
            assert (message.payload != null)""",
                """            assert (wallet.units >= message.units) throw Refusal.BalanceTooLow;
            assert (message.payload != null)""",
            )
        ],
    ),
    Attack("a starved burn", _starved_burn, "303", [_wallet(_FLOOR)]),
    Attack(
        "a burn with another op",
        _burn(op=1),
        "202",
        [
            _burning(
                "assert (s.loadUint(32) == BURN_PAYLOAD_OP) throw Refusal.PayloadMalformed;",
                "s.loadUint(32);",
            )
        ],
    ),
    Attack(
        "a burn with too long a payload",
        _burn(tail_bits=8),
        "202",
        [
            _burning("(bits == BURN_PAYLOAD_BITS) |", "(bits >= BURN_PAYLOAD_BITS) |"),
            _burning(
                "bits == BURN_PAYLOAD_BITS ? owner", "bits < BURN_PAYLOAD_BITS_WITH_REFUND ? owner"
            ),
        ],
    ),
    Attack(
        "a burn of less than the minimum",
        _burn(amount=ONE // 200),
        "204",
        [_burning("assert (shares >= bridge.minimum) throw Refusal.BelowMinimum;")],
    ),
    Attack(
        "a burn to nobody",
        _burn(recipient="0"),
        "206",
        [_burning("assert (order.recipient != 0) throw Refusal.RecipientRefused;")],
    ),
    Attack(
        "a burn to 32 bytes on a 20-byte chain",
        _burn(recipient="0x" + "c0" * 32),
        "206",
        [_burning(_PADDING)],
    ),
    Attack(
        "a refund to the bridge",
        _burn(refund_to="bridge"),
        "209",
        [_burning(" & (order.refundTo != me)")],
    ),
    Attack(
        "a refund to nobody", _burn(refund_to="0"), "209", [_burning("(order.refundTo != 0) & ")]
    ),
    Attack(
        "a burn while paused",
        _burn_while_paused,
        "207",
        [
            _burning(
                "    assert (!bridge.isPaused() | (order.destination == CUSTODY))"
                " throw Refusal.Paused;\n"
            )
        ],
    ),
    Attack(
        "a stranger's redirect",
        _redirect_by_a_stranger,
        "232",
        [_answer("assert (account == parked.recipient) throw Refusal.NotRecipient;")],
    ),
    Attack(
        "a retry while paused",
        _retry_while_paused,
        "207",
        [_answer("assert (!bridge.isPaused()) throw Refusal.Paused;")],
    ),
    Attack(
        "a retry over the bucket",
        _retry_over_the_bucket,
        "233",
        [_answer("assert (bridge.draw(parked.amount)) throw Refusal.BucketEmpty;")],
    ),
    Attack(
        "a wallet called known that is not",
        _unknown_called_known,
        "settled",
        [_answer("((message.mark & BARE) != 0) & (value >= MINT_AGAIN_VALUE_MIN)", "false")],
    ),
    Attack(
        "another amount for a parked item",
        _other_amount_for_parked,
        "AMOUNT_DIFFERS",
        [_release("if (item.amount != amount) {", "if (false) {")],
    ),
    Attack(
        "a pause by nobody",
        _pause_by_nobody,
        "222",
        [_govern("assert (sender == governance.agent) throw Refusal.NotAgent;")],
    ),
    Attack(
        "a pause without end by one key",
        _pause_for_ever,
        "223",
        [
            _govern(
                "now() >= last.loadValue() + PAUSE_COOLDOWN",
                "now() >= last.loadValue() - PAUSE_COOLDOWN",
            )
        ],
    ),
    Attack(
        "an unpause older than the pause",
        _unpause_after_a_new_pause,
        "227",
        [
            _govern(
                "assert (action.pauseCount == governance.pauseCount) throw Refusal.ChangeRefused;"
            )
        ],
    ),
    Attack(
        "a stranger's proposal",
        _admins_message(STRANGER, propose={"action": _LIMITS}),
        "221",
        [
            _govern(
                """    assert (sender == governance.admin) throw Refusal.NotAdmin;
    val action = message.action.hash();""",
                "    val action = message.action.hash();",
            )
        ],
    ),
    Attack(
        "a stranger's change",
        _change_by_a_stranger,
        "221",
        [_govern(_ADMIN_ONLY, "    }\n    match (action) {")],
    ),
    Attack(
        "a change nobody proposed",
        _change_unproposed,
        "224",
        [
            _govern(
                """    assert (found.isFound) throw Refusal.ChangeNotProposed;
    val readyAt = found.loadValue();""",
                "    val readyAt = found.isFound ? found.loadValue() as int : blockchain.now();",
            )
        ],
    ),
    Attack(
        "a change before its time",
        _change_too_early,
        "225",
        [
            _govern("assert (blockchain.now() >= readyAt) throw Refusal.ChangeTooEarly;"),
        ],
    ),
    Attack(
        "a change long after its time",
        _change_long_forgotten,
        "226",
        [
            _govern(
                "assert (blockchain.now() <= readyAt + PROPOSAL_SECONDS_MAX)"
                " throw Refusal.ChangeExpired;"
            )
        ],
    ),
    Attack(
        "an admin whose key nobody holds",
        _admin_that_nobody_is,
        "221",
        [_govern("assert (sender == action.admin) throw Refusal.NotAdmin;")],
    ),
    Attack(
        "half of the guards as a threshold",
        _guards(threshold=1, guards=["a", "b"]),
        "227",
        [
            _govern("""    assert ((change.threshold <= count) & (2 * change.threshold > count))
        throw Refusal.ChangeRefused;
""")
        ],
    ),
    Attack(
        "a guard's key twice",
        _guards(guards=["a", "a", "b"]),
        "227",
        [_govern(" & keys.addIfNotExists(key, true)")],
    ),
    Attack(
        "guards for another epoch",
        _guards(epoch=2),
        "227",
        [_govern("assert (change.epoch == self.epoch) throw Refusal.ChangeRefused;")],
    ),
    Attack(
        "a stranger's lane",
        _admins_message(STRANGER, open_lane={"destination": 9, "kind": 2}),
        "221",
        [
            _govern(
                """    assert (sender == governance.admin) throw Refusal.NotAdmin;
    val destination""",
                "    val destination",
            )
        ],
    ),
    Attack(
        "a lane to the own domain",
        _admins_message("admin", open_lane={"destination": 6, "kind": 2}),
        "228",
        [_govern(" & (destination != DOMAIN)")],
    ),
    Attack(
        "a lane opened again",
        _admins_message("admin", open_lane={"destination": 1, "kind": 2}),
        "228",
        [
            _govern(
                "assert (side.lanesOut.addIfNotExists(destination, "
                "{ kind: message.kind, counter: 0 }))\n        throw Refusal.LaneRefused;",
                "side.lanesOut.set(destination, { kind: message.kind, counter: 0 });",
            )
        ],
    ),
    Attack(
        "a stranger's display multiplier",
        _admins_message(STRANGER, set_display_multiplier={"numerator": "2", "denominator": "1"}),
        "221",
        [
            _govern(
                """    assert (sender == governance.admin) throw Refusal.NotAdmin;
    assert ((message.numerator""",
                "    assert ((message.numerator",
            )
        ],
    ),
)
