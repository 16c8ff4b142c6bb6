"""Who may do what: construction, pauses, delayed changes, registration."""

from typing import Any

import pytest

from tests.chains.evm_contracts import batch
from tests.chains.evm_contracts.batch import Guard, wire
from tests.chains.evm_contracts.chain import Reverted, Rpc, artifact, deploy
from tests.chains.evm_contracts.compiler import TOKEN, Change, compile_all, mutate
from tests.chains.evm_contracts.world import (
    ADMIN,
    AGENT,
    ASSET,
    CAPACITY,
    DELAY_SECONDS,
    GUARDS,
    HOLDER,
    ISSUER,
    MINIMUM,
    ONE,
    RECIPIENT,
    REFILL,
    STRANGER,
    World,
    deploy_bridge,
)

pytestmark = pytest.mark.chains

DAY = 86_400
WHOLE_BRIDGE = bytes(32)
ENDLESS = 2**32 - 1
NOBODY = Guard(GUARDS[0].key, "0x" + "00" * 20)


def _refusal(world: World, name: str, *args: Any, sender: str = ADMIN) -> str:
    with pytest.raises(Reverted) as refused:
        world.bridge.must(name, *args, sender=sender)
    return world.error(refused.value)


# ------------------------------------------------------------------ construction


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"threshold": 0}, "ThresholdRefused"),
        ({"threshold": 4}, "ThresholdRefused"),
        ({"threshold": 1}, "ThresholdRefused"),
        ({"guards": GUARDS[:2], "threshold": 1}, "ThresholdRefused"),
        ({"guards": (), "threshold": 1}, "GuardCountRefused"),
        (
            {"guards": [batch.guard(f"many {n}") for n in range(33)], "threshold": 17},
            "GuardCountRefused",
        ),
        ({"guards": (GUARDS[0], GUARDS[0], GUARDS[1])}, "GuardRefused"),
        ({"guards": (NOBODY, GUARDS[0], GUARDS[1])}, "GuardRefused"),
        ({"domain": 0}, "DomainRefused"),
        ({"domain": 100}, "DomainRefused"),
        ({"delay_seconds": 0}, "DelayIsZero"),
    ],
)
def test_bridge__misconfigured__does_not_come_to_be(
    world: World, changes: dict[str, Any], error: str
) -> None:
    """F10, F83: no zero threshold, no minority, no guard twice, no default domain."""
    with pytest.raises(Reverted) as refused:
        deploy_bridge(world.rpc, **changes)
    assert world.error(refused.value) == error


def test_bridge__as_built__tells_its_configuration(world: World) -> None:
    bridge = world.bridge
    assert bridge.call("DOMAIN") == 2
    assert bridge.call("guardEpoch") == 1
    assert bridge.call("threshold") == 2
    assert bridge.call("guards") == tuple(g.address for g in GUARDS)
    assert bridge.call("agent") == AGENT
    assert bridge.call("owner") == ADMIN
    assert bridge.call("delaySeconds") == DELAY_SECONDS
    assert bridge.call("assets") == (ASSET,)
    assert bridge.call("tokenOf", ASSET) == world.token.address
    assert bridge.call("minimumOf", ASSET) == MINIMUM
    assert bridge.call("releaseBucket", ASSET) == (CAPACITY, CAPACITY, REFILL)
    kinds = [bridge.call("recipientKind", d) for d in (0, 1, 2, 3, 4, 5, 6, 7, 100)]
    assert kinds == [0, 1, 0, 1, 2, 1, 2, 0, 3]


# ------------------------------------------------------------------------ pauses


@pytest.mark.parametrize("scope", [WHOLE_BRIDGE, ASSET], ids=["bridge", "asset"])
@pytest.mark.parametrize("key", [AGENT, GUARDS[2].address], ids=["agent", "guard"])
def test_pause__by_one_key__ends_by_itself_after_a_day(
    world: World, scope: bytes, key: str
) -> None:
    world.bridge.must("pause", scope, sender=key)
    assert world.skips(world.release(world.item())) != []
    world.rpc.advance(DAY)
    assert world.skips(world.release(world.item())) == []


def test_pause__by_the_same_key__is_possible_again_after_seven_days(world: World) -> None:
    world.bridge.must("pause", WHOLE_BRIDGE, sender=AGENT)
    world.rpc.advance(7 * DAY)
    world.bridge.must("pause", WHOLE_BRIDGE, sender=AGENT)
    assert world.skips(world.release(world.item())) == ["BRIDGE_PAUSED"]


def test_pause__of_another_scope_by_the_same_key__counts_as_the_same_key(world: World) -> None:
    world.bridge.must("pause", ASSET, sender=AGENT)
    assert _refusal(world, "pause", WHOLE_BRIDGE, sender=AGENT) == "PauseCooldown"


def test_pause__confirmed_by_m_guards__does_not_end_by_itself(world: World) -> None:
    world.bridge.must("pause", WHOLE_BRIDGE, sender=GUARDS[0].address)
    world.bridge.must("confirmPause", WHOLE_BRIDGE, sender=GUARDS[1].address)
    assert world.bridge.call("pausedUntil", WHOLE_BRIDGE) == ENDLESS
    world.rpc.advance(30 * DAY)
    assert world.skips(world.release(world.item())) == ["BRIDGE_PAUSED"]


def test_pause__of_keys_in_their_cooldown__is_possible_for_m_of_them_together(
    world: World,
) -> None:
    for guard in GUARDS[:2]:
        world.bridge.must("pause", ASSET, sender=guard.address)
        world.rpc.advance(DAY + 60)
    assert _refusal(world, "pause", ASSET, sender=GUARDS[0].address) == "PauseCooldown"
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[0].address)
    assert world.bridge.call("pausedUntil", ASSET) < world.rpc.now()
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[1].address)
    assert world.bridge.call("pausedUntil", ASSET) == ENDLESS


def test_pause__voted_for_a_day_apart__is_not_confirmed(world: World) -> None:
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[0].address)
    world.rpc.advance(DAY + 60)
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[1].address)
    assert world.bridge.call("pausedUntil", ASSET) == 0


def test_pause__voted_in_an_older_epoch__is_not_confirmed(world: World) -> None:
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[0].address)
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.bridge.must("rotateGuards", guards, 2, sender=ADMIN)
    world.bridge.must("confirmPause", ASSET, sender=GUARDS[1].address)
    assert world.bridge.call("pausedUntil", ASSET) == 0


def test_pause__of_an_unknown_asset__is_refused(world: World) -> None:
    unknown = b"\x42" * 32
    assert _refusal(world, "pause", unknown, sender=AGENT) == "AssetUnknown"
    sender = GUARDS[0].address
    assert _refusal(world, "confirmPause", unknown, sender=sender) == "AssetUnknown"


def test_confirmation__by_the_agent_or_the_admin__is_refused(world: World) -> None:
    for key in (AGENT, ADMIN):
        assert _refusal(world, "confirmPause", WHOLE_BRIDGE, sender=key) == "NotGuard"


def test_pause__by_the_admin__is_refused(world: World) -> None:
    assert _refusal(world, "pause", WHOLE_BRIDGE, sender=ADMIN) == "NotGuardOrAgent"


def test_unpause__proposed_and_waited_for__lifts_the_pause(world: World) -> None:
    for guard in GUARDS[:2]:
        world.bridge.must("confirmPause", ASSET, sender=guard.address)
    world.propose_and_wait("proposeUnpause", ASSET)
    world.bridge.must("unpause", ASSET, sender=ADMIN)
    assert world.released(world.release(world.item())) == [world.item().nonce]


def test_unpause__of_what_is_not_paused__cannot_be_proposed(world: World) -> None:
    assert _refusal(world, "proposeUnpause", ASSET) == "NotPaused"


# --------------------------------------------------------------- delayed changes


def test_rotation__proposed_and_waited_for__raises_the_epoch_and_changes_the_signers(
    world: World,
) -> None:
    fresh = tuple(batch.guard(f"fresh {n}") for n in range(5))
    addresses = [g.address for g in fresh]
    world.propose_and_wait("proposeGuards", addresses, 3)
    world.bridge.must("rotateGuards", addresses, 3, sender=ADMIN)
    assert world.bridge.call("guardEpoch") == 2
    with pytest.raises(Reverted) as refused:
        world.release(world.item(), signers=fresh[:2])
    assert world.error(refused.value) == "TooFewSignatures"
    assert world.released(world.release(world.item(), signers=fresh[:3])) == [world.item().nonce]


def test_rotation__to_other_guards_than_proposed__is_refused(world: World) -> None:
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    other = [*guards[:2], batch.guard("other").address]
    assert _refusal(world, "rotateGuards", other, 2) == "ChangeNotProposed"
    assert _refusal(world, "rotateGuards", guards, 3) == "ChangeNotProposed"


def test_rotation__applied_once__needs_a_new_proposal(world: World) -> None:
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.bridge.must("rotateGuards", guards, 2, sender=ADMIN)
    assert _refusal(world, "rotateGuards", guards, 2) == "ChangeNotProposed"


def test_proposal__withdrawn_or_too_old__cannot_be_applied(world: World) -> None:
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.rpc.advance(15 * DAY)
    assert _refusal(world, "rotateGuards", guards, 2) == "ChangeExpired"
    world.propose_and_wait("proposeAgent", STRANGER)
    event = world.bridge.events(world.bridge.must("proposeAgent", STRANGER, sender=ADMIN))[0]
    world.rpc.advance(DELAY_SECONDS)
    world.bridge.must("withdrawProposal", event.args["proposal"], sender=ADMIN)
    assert _refusal(world, "setAgent", STRANGER) == "ChangeNotProposed"
    again = event.args["proposal"]
    assert _refusal(world, "withdrawProposal", again) == "ChangeNotProposed"


def test_agent__changed_behind_the_delay__pauses(world: World) -> None:
    world.propose_and_wait("proposeAgent", STRANGER)
    world.bridge.must("setAgent", STRANGER, sender=ADMIN)
    assert _refusal(world, "pause", WHOLE_BRIDGE, sender=AGENT) == "NotGuardOrAgent"
    world.bridge.must("pause", WHOLE_BRIDGE, sender=STRANGER)


def test_limits__changed_behind_the_delay__hold_at_once(world: World) -> None:
    limits = (ASSET, 5_000, 10**10, 7)
    world.bridge.must("proposeLimits", *limits, sender=ADMIN)
    assert _refusal(world, "setLimits", *limits) == "ChangeTooEarly"
    world.rpc.advance(DELAY_SECONDS)
    world.bridge.must("setLimits", *limits, sender=ADMIN)
    assert world.bridge.call("releaseBucket", ASSET) == (10**10, 10**10, 7)
    assert world.bridge.call("minimumOf", ASSET) == 5_000
    assert world.skips(world.release(world.item(amount=10**10 + 1))) == ["BUCKET_EMPTY"]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("proposeGuards", ([g.address for g in GUARDS], 2)),
        ("rotateGuards", ([g.address for g in GUARDS], 2)),
        ("proposeUnpause", (WHOLE_BRIDGE,)),
        ("unpause", (WHOLE_BRIDGE,)),
        ("proposeAgent", (STRANGER,)),
        ("setAgent", (STRANGER,)),
        ("proposeLimits", (ASSET, 1, 1, 1)),
        ("setLimits", (ASSET, 1, 1, 1)),
        ("withdrawProposal", (bytes(32),)),
        ("registerAsset", (b"\x01" * 32, RECIPIENT, 1, 1, 1)),
        ("openLane", (7, 1)),
        ("transferOwnership", (STRANGER,)),
    ],
)
@pytest.mark.parametrize("key", [STRANGER, AGENT, GUARDS[0].address])
def test_admin_right__used_by_another_key__is_refused(
    world: World, name: str, args: tuple[Any, ...], key: str
) -> None:
    """F84: no other single key can do what the admin can."""
    assert _refusal(world, name, *args, sender=key) == "OwnableUnauthorizedAccount"


def test_admin__handing_over__needs_the_new_one_to_accept(world: World) -> None:
    world.bridge.must("transferOwnership", STRANGER, sender=ADMIN)
    assert world.bridge.call("owner") == ADMIN
    world.bridge.must("acceptOwnership", sender=STRANGER)
    assert world.bridge.call("owner") == STRANGER


def test_admin__leaving_for_nobody__is_refused(world: World) -> None:
    assert _refusal(world, "renounceOwnership") == "AdminMayNotLeave"


# ------------------------------------------------------------------ registration


def test_lane__opened_by_the_admin__takes_burns(world: World) -> None:
    world.fund(10**9)
    world.bridge.must("openLane", 7, 1, sender=ADMIN)
    world.burn(10**8, destination=7, recipient=wire(RECIPIENT))
    assert world.bridge.call("laneCounters", [7]) == (1,)
    assert _refusal(world, "openLane", 7, 2) == "LaneAlreadyOpen"


@pytest.mark.parametrize("lane", [(0, 1), (2, 1), (7, 0), (7, 3)])
def test_lane__to_nowhere__is_refused(world: World, lane: tuple[int, int]) -> None:
    assert _refusal(world, "openLane", *lane) in {"DomainRefused", "DestinationUnknown"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (Change(TOKEN, "return 18;", "return 8;"), "decimals"),
        (Change(TOKEN, "nonce = _nonceNow(periodsPassed);", "current = 0;"), "multiplier"),
        (
            Change(TOKEN, "function transferSharesFrom(", "function transferSharesOf("),
            "transferSharesFrom",
        ),
    ],
    ids=["decimals", "multiplier", "capability"],
)
def test_asset__of_an_unfit_token__is_not_registered(
    world: World, change: Change, what: str
) -> None:
    """F88: an older token without transferSharesFrom, other decimals, no multiplier."""
    compiled = compile_all({what: mutate([change], unit=TOKEN)})[what]["XStockToken"]
    token = deploy(world.rpc, compiled, ISSUER, "Old", "OLDx", ISSUER, ONE)
    limits = (1, 1, 1)
    assert _refusal(world, "registerAsset", b"\x01" * 32, token.address, *limits) == "TokenUnfit"


@pytest.mark.parametrize(
    ("asset", "limits", "error"),
    [
        (bytes(32), (1, 1, 1), "AssetUnknown"),
        (b"\x01" * 32, (0, 1, 1), "MinimumIsZero"),
        (b"\x01" * 32, (1, 0, 1), "BucketIsZero"),
    ],
)
def test_asset__with_a_zero__is_not_registered(
    world: World, asset: bytes, limits: tuple[int, int, int], error: str
) -> None:
    """F10: a default value is never configuration."""
    token = deploy(world.rpc, artifact("XStockToken"), ISSUER, "New", "NEWx", ISSUER, ONE)
    assert _refusal(world, "registerAsset", asset, token.address, *limits) == error


def test_asset__of_an_address_without_code__is_not_registered(world: World) -> None:
    assert _refusal(world, "registerAsset", b"\x01" * 32, HOLDER, 1, 1, 1) == "TokenUnfit"


def test_self_test__of_a_sound_asset__says_so(world: World) -> None:
    expected = (True, True, True, True, 18, ONE)
    assert world.bridge.call("selfTest", ASSET) == expected


def test_self_test__after_roles_were_taken__says_which(world: World) -> None:
    """F88: the start-up self-test reads the roles from the token, not from memory."""
    world.token.must("setMinter", STRANGER, sender=ISSUER)
    assert world.bridge.call("selfTest", ASSET)[:3] == (False, True, True)
    world.token.must("setBurner", STRANGER, sender=ISSUER)
    assert world.bridge.call("selfTest", ASSET)[:3] == (False, False, True)


def test_self_test__of_a_paused_token__still_finds_the_capability(world: World) -> None:
    world.token.must("setPause", True, sender=ISSUER)
    assert world.bridge.call("selfTest", ASSET)[2] is True


def test_rpc__of_the_world__speaks_the_domain_it_was_built_for(fresh_chain: Rpc) -> None:
    bridge = deploy_bridge(fresh_chain, domain=3)
    assert bridge.call("DOMAIN") == 3
    assert bridge.call("recipientKind", 3) == 0
    assert bridge.call("recipientKind", 2) == 1
