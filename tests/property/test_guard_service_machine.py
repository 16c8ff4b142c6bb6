"""Random histories of one real guard, over its memory and over real PostgreSQL.

Method: Hypothesis drives `guard_service.GuardService` through burns, scans, lies, claims, orders,
signatures, restarts and falling collateral, and asks the promises after every step. The same
machine runs over the in-memory store and over PostgreSQL, where every example has a database of
its own. Then each defence is taken out, and the search must find the broken promise over either.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engines import Databases, EngineChoice
from tests.integration.supply_guard.conftest import ROLE, prepare
from tests.property.guard_service import HELD, GuardService
from tests.services.supply_guard.world import DEPLOYMENT, SHARE
from xstock_core.ids import Domain
from xstock_core.invariants import InvariantId, InvariantViolation
from xstock_core.policy import POLICIES, check_cap, check_evidence
from xstock_core.release import Action
from xstock_core.signing import SIGNING_POLICIES, check_covered
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.ports import GuardStore

T = TypeVar("T")
DESTINATION = st.sampled_from((Domain.BNB, Domain.MANTLE))
AMOUNT = st.sampled_from([1, SHARE, 15 * SHARE, 30 * SHARE])
PICK = st.integers(min_value=0, max_value=10**6)


@dataclass
class Home:
    """Where the machine's guard lives: an event loop of its own, and a store per example."""

    name: str
    runner: asyncio.Runner
    open_store: Callable[[], Coroutine[Any, Any, GuardStore]]
    close_store: Callable[[], Coroutine[Any, Any, None]]
    examples: int

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


async def _memory() -> GuardStore:
    return MemoryGuardStore()


async def _forget() -> None:
    """A memory needs no closing."""


@dataclass
class FreshDatabases:
    """A database per example, made from one that was migrated once."""

    databases: Databases
    opened: list[tuple[Database, str]] = field(default_factory=list)

    async def open(self) -> GuardStore:
        copy = await self.databases.copy_of("supply-guard", prepare)
        url = copy.url(user=ROLE, driver="postgresql")
        database = Database(DatabaseSettings(url), SystemClock(), SystemRandomness())
        await database.open()
        self.opened.append((database, copy.name))
        lease = AdvisoryLease(LeaseSettings("guard/guard-1", "first", 30.0))
        await database.run(lease.acquire)
        return PostgresGuardStore(
            database, guard_id="guard-1", deployment_id=DEPLOYMENT, lease=lease
        )

    async def close(self) -> None:
        while self.opened:
            database, name = self.opened.pop()
            await database.close()
            await self.databases.server.drop_database(name)


@pytest.fixture(scope="module")
def memory_home() -> Iterator[Home]:
    """The guard of unit tests."""
    with asyncio.Runner() as runner:
        yield Home("memory", runner, _memory, _forget, 60)


@pytest.fixture(scope="module")
def postgres_home(
    engine_name: str, engines: EngineChoice, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    """The guard over PostgreSQL, on a server whose connections belong to this loop."""
    server = engines.postgres(engine_name, tmp_path_factory.mktemp("machine"))
    with asyncio.Runner() as runner:
        try:
            runner.run(server.start())
            fresh = FreshDatabases(Databases(server))
            yield Home("postgres", runner, fresh.open, fresh.close, 12)
        finally:
            runner.run(server.remove())


class GuardServiceMachine(RuleBasedStateMachine):
    """The rules of the world; `home` is where its guard lives."""

    home: ClassVar[Home]

    def weaken(self, guard: GuardService) -> None:
        """All defences stay."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = GuardService(self.home.run(self.home.open_store()))
        self.home.run(self.guard.open())
        self.weaken(self.guard)

    def teardown(self) -> None:
        self.home.run(self.home.close_store())

    @rule(destination=DESTINATION, amount=AMOUNT)
    def burn(self, destination: Domain, amount: int) -> None:
        self.guard.burn(destination, amount)

    @rule()
    def blocks_become_final_and_are_scanned(self) -> None:
        self.guard.world.mine()
        self.home.run(self.guard.world.scan())

    @rule(chain=st.sampled_from((Domain.ETHEREUM, Domain.BNB, Domain.MANTLE)))
    def one_chain_is_scanned(self, chain: Domain) -> None:
        self.guard.world.chains[chain].mine()
        self.home.run(self.guard.world.scan(chain))

    @precondition(lambda self: self.guard.burns)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def claim(self, picks: list[int]) -> None:
        claims = [self.home.run(self.guard.claim(pick)) for pick in picks]
        self.home.run(self.guard.review(claims))

    @precondition(lambda self: self.guard.burns)
    @rule(pick=PICK, more=st.sampled_from([0, 1, SHARE]), away=st.booleans())
    def lie_and_have_it_signed(self, pick: int, more: int, *, away: bool) -> None:
        lie = self.home.run(self.guard.claim(pick, more=more, away=away))
        self.home.run(self.guard.review([lie]))
        if lie.message.transfer_id() in self.guard.granted:
            self.home.run(self.guard.sign_and_execute(lie.message, Action.RELEASE))

    @rule(ahead=st.integers(min_value=0, max_value=2), amount=AMOUNT, destination=DESTINATION)
    def order(self, ahead: int, amount: int, destination: Domain) -> None:
        number = 2 + len(self.guard.orders) % 4 + ahead
        claim = self.home.run(self.guard.order(number, amount, destination))
        self.home.run(self.guard.review([claim]))

    @precondition(lambda self: self.guard.granted)
    @rule(pick=PICK, action=st.sampled_from(Action))
    def have_a_grant_signed(self, pick: int, action: Action) -> None:
        granted = list(self.guard.granted.values())
        message = granted[pick % len(granted)]
        self.home.run(self.guard.sign_and_execute(message, action))

    @rule(held=st.sampled_from([HELD, HELD, 99 * SHARE, 200 * SHARE]))
    def attest(self, held: int) -> None:
        self.home.run(self.guard.attest(held))

    @rule(seconds=st.sampled_from([1, 600, 4_000]))
    def wait(self, seconds: int) -> None:
        self.home.run(self.guard.world.clock.advance(seconds))

    @rule()
    def restart(self) -> None:
        self.home.run(self.guard.restart())

    @invariant()
    def promises_hold(self) -> None:
        self.home.run(self.guard.check())


def machine(
    at: Home, taken_out: Callable[[GuardService], None] = lambda _: None
) -> type[GuardServiceMachine]:
    """The machine at this home; `taken_out` takes a defence out of every example."""

    class Machine(GuardServiceMachine):
        home = at

        def weaken(self, guard: GuardService) -> None:
            taken_out(guard)

    return Machine


def search(home: Home) -> settings:
    """A bounded number of histories; the failing one is printed with how to repeat it."""
    return settings(
        max_examples=home.examples,
        stateful_step_count=20,
        deadline=None,
        print_blob=True,
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def hunt(home: Home) -> settings:
    """The first history that breaks a promise will do; the same ones every time."""
    return settings(
        search(home),
        max_examples=100,
        report_multiple_bugs=False,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
    )


def _without_evidence(guard: GuardService) -> None:
    guard.review_policies = [rule for rule in POLICIES if rule is not check_evidence]


def _without_cap(guard: GuardService) -> None:
    guard.review_policies = [rule for rule in POLICIES if rule is not check_cap]
    guard.signing_policies = [rule for rule in SIGNING_POLICIES if rule is not check_covered]


REMOVED: dict[str, tuple[Callable[[GuardService], None], set[InvariantId]]] = {
    "evidence": (
        _without_evidence,
        {InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN, InvariantId.SAME_CONTENT},
    ),
    "cap": (_without_cap, {InvariantId.CAP}),
}


def test_guard_service__random_histories_over_memory__keep_every_promise(
    memory_home: Home,
) -> None:
    run_state_machine_as_test(machine(memory_home), settings=search(memory_home))


def test_guard_service__random_histories_over_postgresql__keep_every_promise(
    postgres_home: Home,
) -> None:
    run_state_machine_as_test(machine(postgres_home), settings=search(postgres_home))


def _expect_broken(home: Home, name: str) -> None:
    taken_out, expected = REMOVED[name]
    with pytest.raises(InvariantViolation) as broken:
        run_state_machine_as_test(machine(home, taken_out), settings=hunt(home))
    assert broken.value.id in expected


@pytest.mark.parametrize("name", REMOVED)
def test_guard_service__defence_removed_over_memory__the_search_finds_the_broken_promise(
    memory_home: Home, name: str
) -> None:
    """Each defence removed in this test's own composition."""
    _expect_broken(memory_home, name)


@pytest.mark.parametrize("name", REMOVED)
def test_guard_service__defence_removed_over_postgresql__the_search_finds_the_broken_promise(
    postgres_home: Home, name: str
) -> None:
    """Each defence removed in this test's own composition."""
    _expect_broken(postgres_home, name)
