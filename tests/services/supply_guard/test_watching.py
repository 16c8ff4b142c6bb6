"""Rights and code watched by a quorum; mints outside the bridge found within two polls."""

from collections.abc import Callable

import pytest

from tests.services.supply_guard.world import ASSET, CHAINS, HOLDER, SHARE, World
from xstock_chains.fake.transactions import MoveRoleCall, PlainBurnCall
from xstock_chains.ports import CheckResult, SelfTest
from xstock_core.ids import Address32, Domain
from xstock_core.observation import Role
from xstock_runtime.errors import Transient
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import findings
from xstock_supply_guard.handlers.watching import RightsWatch, watch_step

GOOD = CheckResult("TSLAx minter", passed=True, expected="bridge", found="bridge")
STOLEN = CheckResult("TSLAx minter", passed=False, expected="bridge", found="a stranger")
CODE = CheckResult("bridge code", passed=False, expected="aa", found="bb")
EPOCH = CheckResult("guard epoch", passed=False, expected="1", found="2")


class Provider:
    """A node whose self-test says what it is told to say; None is silence."""

    def __init__(self, *checks: CheckResult) -> None:
        self._checks = checks

    async def self_test(self) -> SelfTest:
        """The next answer."""
        if not self._checks:
            raise Transient("AWAY", "the node is away")
        return SelfTest(Domain.BNB, self._checks)


def watch(*providers: Provider) -> RightsWatch:
    """Two of these must agree."""
    return RightsWatch(Domain.BNB, providers, 2)


async def funded() -> World:
    """A guard with books."""
    world = World()
    await world.funded()
    return world


@pytest.mark.parametrize("wrong", [STOLEN, CODE])
async def test_rights__two_providers_show_another_minter_or_code__chain_halts_with_evidence(
    wrong: CheckResult,
) -> None:
    """F82, F88: what the registry does not know stops the chain, with what each provider said."""
    world = await funded()
    message = await world.granted()
    found = await watch_step(world.desk, watch(Provider(wrong), Provider(wrong), Provider(GOOD)))
    assert found.halted
    assert [halt.split(":")[0] for halt in await world.halts()] == ["ROLE_OR_CODE_CHANGED"]
    answer = await world.sign(message)
    assert (answer.signature, answer.refusals[0].reason) == (b"", "HALTED")
    assert isinstance(world.store, MemoryGuardStore)
    assert wrong.found in world.store.evidence[-1][2]
    again = await watch_step(world.desk, watch(Provider(wrong), Provider(wrong)))
    assert not again.halted


@pytest.mark.parametrize(
    "providers",
    [
        (Provider(STOLEN), Provider(GOOD), Provider(GOOD)),
        (Provider(STOLEN), Provider(), Provider()),
        (Provider(STOLEN), Provider(CODE), Provider(GOOD)),
    ],
)
async def test_rights__one_liar_or_two_that_differ__halt_nothing(
    providers: tuple[Provider, ...],
) -> None:
    """F01: a lone provider can stop nobody's chain; its word is told."""
    world = await funded()
    found = await watch_step(world.desk, watch(*providers))
    assert not found.halted
    assert found.disputed
    assert await world.halts() == []


async def test_rights__guard_set_rotated__is_told_and_halts_nothing() -> None:
    """It takes the guards' own signatures, and a permit under the old epoch is worth nothing."""
    world = await funded()
    found = await watch_step(world.desk, watch(Provider(EPOCH), Provider(EPOCH), Provider(EPOCH)))
    assert found.wrong == (EPOCH,)
    assert await world.halts() == []
    async with world.store.read() as books:
        codes = [raised.alarm.code for raised in await books.alarms()]
    assert "GUARD_SET_UNEXPECTED" in codes


async def test_rights__a_role_moves_in_a_final_block__the_watch_is_rung_at_once() -> None:
    """The next look does not wait for the clock."""
    world = await funded()
    bell = world.desk.live.rights[Domain.BNB]
    chain = world.chains[Domain.BNB]
    chain.call(HOLDER, MoveRoleCall(Role.MINTER, Address32(b"\x07" * 32), b"\x08" * 32))
    chain.mine(4)
    began = world.clock.monotonic()
    await world.scan(Domain.BNB)
    await bell.wait_rung(1000)
    assert world.clock.monotonic() == began


async def alarms_of(world: World) -> dict[str, str]:
    """What stands, by code."""
    async with world.store.read() as books:
        return {raised.alarm.code: raised.alarm.detail for raised in await books.alarms()}


async def test_right__moved_on_a_chain__a_person_is_told_until_a_look_finds_all_as_registered() -> (
    None
):
    """F82: of rights that no registry names too; one provider alone ends nothing."""
    world = await funded()
    chain = world.chains[Domain.BNB]
    chain.call(HOLDER, MoveRoleCall(Role.PAUSER, Address32(b"\x07" * 32), b"\x08" * 32))
    chain.mine(4)
    await world.scan(Domain.BNB)
    said = (await alarms_of(world))["RIGHT_MOVED"]
    assert said.startswith(f"PAUSER of {'07' * 32} on chain {int(Domain.BNB)} went to {'08' * 32}")
    for unsure in ((Provider(GOOD),), (Provider(GOOD), Provider(GOOD), Provider(STOLEN))):
        await watch_step(world.desk, watch(*unsure))
        assert "RIGHT_MOVED" in await alarms_of(world)
    await watch_step(world.desk, watch(Provider(GOOD), Provider(GOOD)))
    assert await alarms_of(world) == {}


class Slow(Provider):
    """A node that shows its state; a right moves before its answer is here."""

    def __init__(self, world: World) -> None:
        super().__init__(GOOD)
        self._world = world

    async def self_test(self) -> SelfTest:
        """The state of before."""
        shown = await super().self_test()
        await self._world.clock.advance(1)
        self._world.chains[Domain.BNB].mine(4)
        await self._world.scan(Domain.BNB)
        return shown


async def test_right__moved_while_the_providers_answer__is_not_over_with_that_look() -> None:
    """What they showed is of before; the next look says whether all is as registered."""
    world = await funded()
    call = MoveRoleCall(Role.PAUSER, Address32(b"\x07" * 32), b"\x08" * 32)
    world.chains[Domain.BNB].call(HOLDER, call)
    await watch_step(world.desk, watch(Slow(world), Provider(GOOD)))
    assert "RIGHT_MOVED" in await alarms_of(world)
    await watch_step(world.desk, watch(Provider(GOOD), Provider(GOOD)))
    assert await alarms_of(world) == {}


async def test_rights__guard_set_as_registered_again__the_alarm_is_over() -> None:
    world = await funded()
    await watch_step(world.desk, watch(Provider(EPOCH), Provider(EPOCH)))
    assert "GUARD_SET_UNEXPECTED" in await alarms_of(world)
    await watch_step(world.desk, watch(Provider(GOOD), Provider(GOOD)))
    assert await alarms_of(world) == {}


async def polls_until_halted(world: World, domain: Domain) -> int:
    """How many looks (a scan and an audit each) until the asset is halted; 9 for never."""
    for poll in range(1, 9):
        await world.scan(domain)
        await world.audit(domain)
        if await world.halts():
            return poll
        world.chains[domain].mine(4)
    return 9


@pytest.mark.parametrize("domain", CHAINS)
async def test_mint__outside_the_bridge__halts_the_asset_within_two_polls_with_an_alarm(
    domain: Domain,
) -> None:
    """F55, F82: the token's own event tells at the first look after it is final."""
    world = await funded()
    world.chains[domain].mint_outside(ASSET, HOLDER, SHARE)
    world.chains[domain].mine(4)
    assert await polls_until_halted(world, domain) <= 2
    async with world.store.read() as books:
        assert [raised.alarm.code for raised in await books.alarms()] == ["HALTED"]


@pytest.mark.parametrize("blind", [lambda _: None], ids=["the event is not looked at"])
async def test_mint__event_defence_removed__the_reading_still_finds_it(
    monkeypatch: pytest.MonkeyPatch, blind: Callable[[object], None]
) -> None:
    """F55: two independent looks, one at events and one at the supply itself."""
    world = await funded()
    monkeypatch.setattr(findings, "minted_outside", blind)
    world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, SHARE * 10**10)
    world.chains[Domain.BNB].mine(4)
    assert await polls_until_halted(world, Domain.BNB) <= 4


async def test_orphan_burn__booked_and_told_once__halts_nothing() -> None:
    """INV-16: anybody can burn; it waits for a person and stops nobody."""
    world = await funded()
    world.chains[Domain.ETHEREUM].call(HOLDER, PlainBurnCall(ASSET, SHARE, "no memo"))
    world.chains[Domain.ETHEREUM].mine(4)
    await world.scan()
    async with world.store.read() as books:
        told = [raised.alarm for raised in await books.alarms()]
    assert [alarm.code for alarm in told] == ["ORPHAN_BURN"]
    assert await world.halts() == []


async def test_supply__below_the_ledger__is_told_once_per_asset_and_halts_nothing() -> None:
    """INV-16: a holder who burned outside the bridge endangers nobody; a person is told."""
    world = await funded()
    chain = world.chains[Domain.ETHEREUM]
    chain.mint_outside(ASSET, HOLDER, -SHARE * 10**10)
    for _ in range(4):
        chain.mine(4)
        await world.scan()
        await world.audit(Domain.ETHEREUM)
    async with world.store.read() as books:
        told = [raised.alarm for raised in await books.alarms()]
    assert [(one.code, one.about) for one in told] == [("SUPPLY_BELOW_LEDGER", "chain/1")]
    assert await world.halts() == []
