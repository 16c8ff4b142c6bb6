"""Acts by hand on TON: pauses of every minter, and what the admin changes behind a delay.

The chain mines by itself here, as a real one does; the contract's delays are waited for by warping
its time. What the office says is held against the minters' own getters.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytoniq_core.boc.builder import Builder

from tests.chains.ton.world import DEPLOYER, GUARDS, TSLA, VALUE, Chains, World, asset_of
from xstock_chains.ports import AdminAct, Cursor, GuardSet, PauseState, StepState
from xstock_chains.ton.address import show_wallet
from xstock_chains.ton.cells import end, internal_message, store_account
from xstock_chains.ton.messages import APPLY, CONFIRM_PAUSE, PROPOSE, change_body
from xstock_chains.ton.office import (
    PAUSE_COOLDOWN_SECONDS,
    PAUSE_SECONDS,
    PROPOSAL_SECONDS_MAX,
    TonOffice,
)
from xstock_chains.ton.signer import LocalSigner
from xstock_core.ids import Address32, AssetId
from xstock_core.observation import Role, RoleMoved
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

SPY = asset_of("SPYx")
DELAY = 3_600
STRANGER = LocalSigner(b"\x51" * 32)
NEXT = tuple(LocalSigner(bytes((number,)) * 32) for number in (22, 23, 24, 25))
"""Two of the present guards and two others."""
NEW = GuardSet(tuple(one.identity for one in NEXT), 3, 2)


@pytest.fixture
async def running(chains: Chains) -> AsyncIterator[Chains]:
    """The module's chain, mining by itself for the length of a test."""
    yield chains
    await mining(chains, on=False)


async def mining(chains: Chains, *, on: bool) -> None:
    """Let the chain make its blocks by itself, or stop it."""
    await chains.control.post(f"{chains.node.url}/devnet/automine", json={"on": on})


async def world_of(chains: Chains, *symbols: str, delay: int = 0) -> World:
    """Fresh minters on the running chain, with an admin, an agent and guards that have coins."""
    world = await chains.fresh(*symbols, holdings=0, delay_seconds=delay)
    await world.give(DEPLOYER.holder_wallet, *(guard.holder_wallet for guard in GUARDS))
    await mining(chains, on=True)
    return world


def office_of(world: World, signer: LocalSigner | None) -> TonOffice:
    """The office with this key in hand."""
    return TonOffice(world.chain, world.api, signer, SystemClock())


def key_files(folder: Path, signers: Sequence[int]) -> list[Path]:
    """Files with the keys of these guards' seeds."""
    files = []
    for number in signers:
        file = folder / f"guard-{number}.key"
        file.write_text((bytes((number,)) * 32).hex(), encoding="ascii")
        files.append(file)
    return files


def states(acts: Sequence[AdminAct]) -> list[StepState]:
    """How the acts stand."""
    return [act.state for act in acts]


async def acts_of(office: TonOffice, new: GuardSet, **options: Any) -> list[AdminAct]:
    """A whole run of a rotation."""
    return [act async for act in office.rotate(new, **options)]


async def paused_until(world: World, at: int = 0) -> int:
    """By the minter's own getter."""
    return (await world.api.run(world.chain.minters[at].address, "pause_state")).integer(0)


# ---------------------------------------------------------------------- pause


async def test_pause__five_minters_by_the_agent__all_stop_for_a_day(running: Chains) -> None:
    """F58: what the agent does alone; five are more than one send of its wallet carries."""
    world = await world_of(running, "TSLAx", "SPYx", "Ax", "Bx", "Cx")
    office = office_of(world, world.agent)
    assert [one.paused for one in await office.pause_states()] == [False] * 5
    acts = await office.pause()
    assert states(acts) == [StepState.DONE] * 5
    assert len({act.tx for act in acts}) == 5
    for at, act in enumerate(acts):
        assert act.until == await paused_until(world, at)
    told = await office.pause_states()
    assert told == [
        PauseState(m.asset.asset, True, a.until)
        for m, a in zip(world.chain.minters, acts, strict=True)
    ]
    before = (await world.devnet("state"))["transactions"]
    assert states(await office.pause()) == [StepState.ALREADY] * 5
    assert (await world.devnet("state"))["transactions"] == before


async def test_pause__by_one_guards_signature__stops_as_well(running: Chains) -> None:
    world = await world_of(running)
    acts = await office_of(world, GUARDS[1]).pause([TSLA])
    assert states(acts) == [StepState.DONE]
    assert acts[0].until == await paused_until(world)


async def test_pause__agents_second_within_a_week__names_the_cooldown(running: Chains) -> None:
    """One key alone must not hold the bridge still for ever: the next guard, or M of them."""
    world = await world_of(running)
    office = office_of(world, world.agent)
    (first,) = await office.pause()
    await world.devnet("warp", seconds=PAUSE_SECONDS + 10)
    await world.devnet("mine", blocks=2)
    assert not (await office.pause_states())[0].paused
    with pytest.raises(InvalidMessage, match="PAUSE_COOLDOWN") as refusal:
        await office.pause()
    again_at = (first.until or 0) - PAUSE_SECONDS + PAUSE_COOLDOWN_SECONDS
    assert refusal.value.metadata["until"] == str(again_at)
    assert states(await office_of(world, GUARDS[0]).pause()) == [StepState.DONE]


async def test_pause__agents_second_sent_all_the_same__the_contract_refuses(
    running: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own look at the cooldown taken out: the minter's is the one that holds."""
    world = await world_of(running)
    office = office_of(world, world.agent)
    await office.pause()
    await world.devnet("warp", seconds=PAUSE_SECONDS + 10)
    await world.devnet("mine", blocks=2)
    monkeypatch.setattr(office, "_pause_refusal", lambda *_: None)
    with pytest.raises(InvalidMessage, match=r"ACT_REFUSED.*223.*seven days"):
        await office.pause()
    assert not (await office.pause_states())[0].paused


async def test_pause__some_minters_in_cooldown__the_others_stop_all_the_same(
    running: Chains,
) -> None:
    """An emergency stops what it can: what it cannot says from when."""
    world = await world_of(running, "TSLAx", "SPYx")
    office = office_of(world, world.agent)
    await office.pause([SPY])
    await world.devnet("warp", seconds=PAUSE_SECONDS + 10)
    await world.devnet("mine", blocks=2)
    acts = await office.pause()
    assert states(acts) == [StepState.DONE, StepState.WAITING]
    assert acts[1].until is not None
    assert "has paused before" in acts[1].detail


async def test_pause__one_minter_cannot_be_read__the_others_stop_all_the_same(
    running: Chains,
) -> None:
    world = await world_of(running, "TSLAx", "SPYx")
    broken, whole = world.chain.minters
    lost = replace(broken, address=Address32(b"\x77" * 32))
    office = TonOffice(
        replace(world.chain, minters=(lost, whole)), world.api, world.agent, SystemClock()
    )
    acts = await office.pause()
    assert {act.name: act.state for act in acts} == {
        "pause TSLAx": StepState.WAITING,
        "pause SPYx": StepState.DONE,
    }
    assert await paused_until(world, 1)
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await office.pause([TSLA])


async def test_pause__strangers_key__is_refused_and_says_who_may(running: Chains) -> None:
    world = await world_of(running)
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT") as refusal:
        await office_of(world, STRANGER).pause()
    assert show_wallet(world.agent.holder_wallet) in refusal.value.message
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await office_of(world, None).pause()
    with pytest.raises(InvalidMessage, match="ASSET_UNKNOWN"):
        await office_of(world, world.agent).pause([AssetId(b"\x05" * 32)])


async def test_pause__the_wallet_is_empty__says_who_needs_coins(
    running: Chains, tmp_path: Path
) -> None:
    world = await world_of(running)
    keys = key_files(tmp_path, [21, 22])
    with pytest.raises(Transient, match="SENDER_UNFUNDED") as refusal:
        await office_of(world, STRANGER).confirm_pause(keys)
    assert show_wallet(STRANGER.holder_wallet) in refusal.value.message


async def test_pause__another_network_behind_the_address__is_fatal(running: Chains) -> None:
    """F14, F88."""
    world = await world_of(running)
    other = replace(world.chain, global_id=-3)
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await TonOffice(other, world.api, world.agent, SystemClock()).pause()


# ---------------------------------------------------------------------- until it is lifted


async def test_confirm_pause__by_m_guards__lasts_until_the_admin_lifts_it(
    running: Chains, tmp_path: Path
) -> None:
    world = await world_of(running, "TSLAx", "SPYx", delay=DELAY)
    office = office_of(world, world.agent)
    await office.pause()
    keys = key_files(tmp_path, [21, 23])
    assert states(await office.confirm_pause(keys)) == [StepState.DONE] * 2
    assert await paused_until(world) == 2**32 - 1
    assert states(await office.confirm_pause(keys)) == [StepState.ALREADY] * 2
    admin = office_of(world, DEPLOYER)
    assert await admin.pause_states() == [PauseState(TSLA, True), PauseState(SPY, True)]
    acts = await admin.unpause()
    assert states(acts) == [StepState.WAITING] * 2
    assert all(act.until for act in acts)
    assert states(await admin.unpause([TSLA])) == [StepState.WAITING]
    await world.devnet("warp", seconds=DELAY)
    await world.devnet("mine", blocks=2)
    assert states(await admin.unpause()) == [StepState.DONE] * 2
    assert await paused_until(world) == 0
    assert states(await admin.unpause()) == [StepState.ALREADY] * 2


@pytest.mark.parametrize("numbers", [[21], [21, 21], []])
async def test_confirm_pause__too_few_guards__waits_for_more_and_sends_nothing(
    running: Chains, tmp_path: Path, numbers: list[int]
) -> None:
    """INV-12: one guard's key, twice, is one guard's."""
    world = await world_of(running)
    office = office_of(world, world.agent)
    (act,) = await office.confirm_pause(key_files(tmp_path, numbers))
    assert act.state is StepState.WAITING
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await office.confirm_pause(key_files(tmp_path, [*numbers, 24]))
    assert await paused_until(world) == 0


async def test_confirm_pause__one_signature_sent_all_the_same__the_contract_refuses(
    running: Chains,
) -> None:
    """INV-12, our own count taken out: the minter's is the one that holds."""
    world = await world_of(running)
    office = office_of(world, world.agent)
    head, desks = await office._desks()
    body = await office._signed(CONFIRM_PAUSE, desks[0], GUARDS[:1], head.time + 600)
    with pytest.raises(InvalidMessage, match=r"ACT_REFUSED.*213"):
        await office._send_all("confirm pause", [(desks[0], body)])
    assert await paused_until(world) == 0


async def test_confirm_pause__without_an_office_key__a_guards_wallet_sends(
    running: Chains, tmp_path: Path
) -> None:
    world = await world_of(running)
    acts = await office_of(world, None).confirm_pause(key_files(tmp_path, [22, 23]))
    assert states(acts) == [StepState.DONE]
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await office_of(world, None).unpause()


async def test_unpause__a_pause_came_after_the_proposal__is_proposed_anew(
    running: Chains, tmp_path: Path
) -> None:
    """What was proposed for one emergency must not lift the next one."""
    world = await world_of(running, delay=DELAY)
    await office_of(world, world.agent).pause()
    admin = office_of(world, DEPLOYER)
    (first,) = await admin.unpause()
    await office_of(world, world.agent).confirm_pause(key_files(tmp_path, [21, 22]))
    await world.devnet("warp", seconds=DELAY)
    await world.devnet("mine", blocks=2)
    (second,) = await admin.unpause()
    assert second.state is StepState.WAITING
    assert (second.until or 0) > (first.until or 0)
    assert await paused_until(world) == 2**32 - 1


async def test_unpause__by_another_than_the_admin__is_refused(running: Chains) -> None:
    world = await world_of(running)
    office = office_of(world, world.agent)
    await office.pause()
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT") as refusal:
        await office.unpause()
    assert show_wallet(DEPLOYER.holder_wallet) in refusal.value.message


# ---------------------------------------------------------------------- rotation


async def test_rotation__proposed_waited_applied__only_the_new_guards_count(
    running: Chains, tmp_path: Path
) -> None:
    """Add one guard, remove one, raise the threshold; every run says how far it is."""
    world = await world_of(running, "TSLAx", "SPYx", delay=DELAY)
    office = office_of(world, DEPLOYER)
    old = GuardSet(tuple(guard.identity for guard in GUARDS), 2, 1)
    assert await office.guard_set() == old
    planned = await acts_of(office_of(world, None), NEW, dry_run=True)
    assert states(planned) == [StepState.PLANNED] * 4
    first = await acts_of(office, NEW)
    assert states(first) == [StepState.DONE] * 2 + [StepState.WAITING] * 2
    again = await acts_of(office, NEW)
    assert states(again) == [StepState.ALREADY] * 2 + [StepState.WAITING] * 2
    assert [act.until for act in again] == [act.until for act in first]
    await world.devnet("warp", seconds=DELAY)
    await world.devnet("mine", blocks=2)
    assert states(await acts_of(office, NEW)) == [StepState.ALREADY] * 2 + [StepState.DONE] * 2
    assert await office.guard_set() == NEW
    assert await world.writer.guard_epoch() == 2
    assert states(await acts_of(office, NEW)) == [StepState.ALREADY] * 2
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await office.confirm_pause(key_files(tmp_path, [21, 22, 23]))
    few = await office.confirm_pause(key_files(tmp_path, [22, 23]))
    assert states(few) == [StepState.WAITING] * 2


async def test_rotation__one_minter_moved_before__goes_on_with_the_other(running: Chains) -> None:
    """Stopped between two minters: what is done is done, and nobody calls it whole."""
    world = await world_of(running, "TSLAx", "SPYx")
    alone = replace(world.chain, minters=world.chain.minters[:1])
    office = TonOffice(alone, world.api, DEPLOYER, SystemClock())
    assert states(await acts_of(office, NEW)) == [StepState.DONE] * 2
    whole = office_of(world, DEPLOYER)
    with pytest.raises(InvalidMessage, match="GUARDS_MIXED"):
        await whole.guard_set()
    acts = await acts_of(whole, NEW)
    assert states(acts) == [StepState.ALREADY, StepState.DONE, StepState.DONE]
    assert await whole.guard_set() == NEW


async def test_rotation__proposal_too_old__is_proposed_again(running: Chains) -> None:
    world = await world_of(running, delay=DELAY)
    office = office_of(world, DEPLOYER)
    await acts_of(office, NEW)
    await world.devnet("warp", seconds=DELAY + PROPOSAL_SECONDS_MAX + 60)
    await world.devnet("mine", blocks=2)
    assert states(await acts_of(office, NEW)) == [StepState.DONE, StepState.WAITING]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"threshold": 2}, "GUARD_SET_REFUSED"),
        ({"threshold": 5}, "GUARD_SET_REFUSED"),
        ({"identities": NEW.identities[:1] * 3}, "GUARD_SET_REFUSED"),
        ({"identities": ()}, "GUARD_SET_REFUSED"),
        ({"identities": (*NEW.identities[:3], bytes(32))}, "GUARD_SET_REFUSED"),
        ({"identities": (*NEW.identities[:3], b"\x01" * 20)}, "GUARD_SET_REFUSED"),
        ({"identities": (*NEW.identities[:3], b"\x02" + bytes(31))}, "GUARD_SET_REFUSED"),
        ({"epoch": 1}, "GUARD_EPOCH_UNEXPECTED"),
        ({"epoch": 3}, "GUARD_EPOCH_UNEXPECTED"),
    ],
)
async def test_rotation__insane_set__is_refused_before_anything_is_sent(
    running: Chains, changes: dict[str, Any], code: str
) -> None:
    """F83, INV-12: half of the guards is never enough, and no key counts twice."""
    world = await world_of(running)
    before = (await world.devnet("state"))["transactions"]
    with pytest.raises(InvalidMessage, match=code):
        await acts_of(office_of(world, DEPLOYER), replace(NEW, **changes))
    assert (await world.devnet("state"))["transactions"] == before


async def test_rotation__by_another_than_the_admin__is_refused(running: Chains) -> None:
    world = await world_of(running)
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await acts_of(office_of(world, world.agent), NEW)


# ---------------------------------------------------------------------- what readers tell of it


async def test_rotation__the_reader_tells_of_the_guard_set_that_changed(running: Chains) -> None:
    """INV-16: whoever may sign is watched."""
    world = await world_of(running)
    _, cursor = await world.read_all()
    await acts_of(office_of(world, DEPLOYER), NEW)
    moved = await told_after(world, cursor)
    assert [(one.role, one.subject) for one in moved] == [(Role.GUARD_SET, world.bridge)]


async def test_pause_lifted__the_reader_tells_of_no_right_that_moved(running: Chains) -> None:
    """What guards act on must not be said of a pause that ends."""
    world = await world_of(running)
    _, cursor = await world.read_all()
    await office_of(world, world.agent).pause()
    await office_of(world, DEPLOYER).unpause()
    assert await told_after(world, cursor) == []


@pytest.mark.parametrize(
    ("action", "by", "role"),
    [
        ((3, STRANGER.holder_wallet), DEPLOYER, Role.PAUSER),
        ((4, (1, 10**12, 10**6)), DEPLOYER, Role.OWNER),
        ((5, GUARDS[0].holder_wallet), GUARDS[0], Role.OWNER),
        ((6, None), DEPLOYER, Role.MINTER),
    ],
    ids=["agent", "limits", "admin", "retire"],
)
async def test_change_of_the_admins__applied__is_told_as_the_right_it_moves(
    running: Chains, action: tuple[int, Any], by: LocalSigner, role: Role
) -> None:
    """INV-16: whoever may pause, own or mint is watched."""
    world = await world_of(running)
    _, cursor = await world.read_all()
    kind, content = action
    builder = Builder().store_uint(kind, 8)
    if kind == 4:
        for number in content:
            builder.store_uint(number, 64)
    elif content is not None:
        store_account(builder, content)
    cell = end(builder)
    await mining(running, on=False)
    for op, signer in ((PROPOSE, DEPLOYER), (APPLY, by)):
        await world.send(signer, internal_message(world.bridge, VALUE, change_body(op, cell)))
        await world.settle()
    moved = await told_after(world, cursor)
    assert [(one.role, one.subject, one.holder) for one in moved] == [
        (role, world.bridge, bytes(cell.hash))
    ]


async def told_after(world: World, cursor: Cursor) -> list[RoleMoved]:
    """Rights that moved after a cursor, once everything is final."""
    await world.devnet("automine", on=False)
    await world.finalize()
    found, _ = await world.read_all(cursor)
    return [one for one in found if isinstance(one, RoleMoved)]
