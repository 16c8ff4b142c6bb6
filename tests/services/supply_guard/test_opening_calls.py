"""Carrying an opening out over the wire: who signs, who books, and what an interruption leaves."""

from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest

from tests.services.supply_guard.collateral import (
    GUARD_PAPERS,
    attested,
    audited,
    config_of,
    live_before,
    out,
    paper_of,
)
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_runtime.errors import ServiceError
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.entrypoints.servers import SupplyGuardServicer
from xstock_supply_guard.metrics import GuardMetrics
from xstock_wire.openings import Outcome, carry_out, propose
from xstock_wire.papers import PaperKey


class _Refusal(grpc.aio.AioRpcError):
    """What a guard's refusal looks like to its caller."""

    def __init__(self, error: ServiceError) -> None:
        code = grpc.StatusCode.FAILED_PRECONDITION
        empty = grpc.aio.Metadata()
        super().__init__(code, empty, empty, details=str(error))


@dataclass
class Guard:
    """One guard's servicer, called as a stub is; `away` guards answer nothing."""

    key: PaperKey
    world: World = field(default_factory=World)
    away: bool = False

    def __post_init__(self) -> None:
        config = config_of(self.world.desk.config, 2)
        self.world.desk.config = replace(config, guard_id=self.key.key_id)
        metrics = GuardMetrics.create(Metrics("test"))
        self.servicer: Any = SupplyGuardServicer(self.world.desk, metrics, self.key)

    def __getattr__(self, method: str) -> Any:
        async def call(request: Any) -> Any:
            if self.away:
                raise _Refusal(ServiceError("AWAY", "nobody is here"))
            try:
                return await getattr(self.servicer, method)(request, None)
            except ServiceError as error:
                raise _Refusal(error) from error

        return call

    async def see(self, units: int = 50 * 10**18 + 7) -> None:
        """This guard reads its chains and custody's statement."""
        await live_before(self.world, units)
        await attested(self.world, paper_of(self.world))
        await audited(self.world)


@pytest.fixture
async def guards() -> dict[str, Guard]:
    """Three guards over chains that say the same."""
    found = {key.key_id: Guard(key) for key in GUARD_PAPERS}
    for guard in found.values():
        await guard.see()
    return found


async def test_opening__three_guards_agree__booked_everywhere_with_its_residue(
    guards: dict[str, Guard],
) -> None:
    found = await propose(guards, ASSET)  # type: ignore[arg-type]
    assert (found.open, found.total, found.unread) == (False, 50 * SHARE, ())
    assert [one.residue_units for one in found.paper.chains] == ["7", "0", "0"]
    assert found.limit == 1000 * SHARE
    done = await carry_out(guards, found.paper, 2)  # type: ignore[arg-type]
    assert (set(done.booked), done.refusals) == (set(guards), {})
    assert [await out(guard.world) for guard in guards.values()] == [50 * SHARE] * 3
    assert (await propose(guards, ASSET)).open  # type: ignore[arg-type]


async def test_opening__one_guard_away__the_others_book_and_it_follows_with_the_same_paper(
    guards: dict[str, Guard],
) -> None:
    """Run again by somebody who knows nothing of the first time."""
    first = (await propose(guards, ASSET)).paper  # type: ignore[arg-type]
    guards["guard-3"].away = True
    done = await carry_out(guards, first, 2)  # type: ignore[arg-type]
    assert set(done.booked) == {"guard-1", "guard-2"}
    assert "nobody is here" in done.refusals["guard-3"]
    guards["guard-3"].away = False
    again = await propose(guards, ASSET)  # type: ignore[arg-type]
    assert (again.open, again.paper, again.limit) == (False, first, 1000 * SHARE)
    done = await carry_out(guards, again.paper, 2)  # type: ignore[arg-type]
    assert set(done.booked) == set(guards)
    assert await out(guards["guard-3"].world) == 50 * SHARE


async def test_opening__two_guards_read_something_else__nothing_is_booked() -> None:
    """One guard's word, true or a lie, is not M."""
    guards = {key.key_id: Guard(key) for key in GUARD_PAPERS}
    await guards["guard-1"].see(60 * 10**18)
    await guards["guard-2"].see()
    await guards["guard-3"].see()
    found = await propose(guards, ASSET)  # type: ignore[arg-type]
    assert found.total == 60 * SHARE
    done = await carry_out(guards, found.paper, 2)  # type: ignore[arg-type]
    assert isinstance(done, Outcome)
    assert (done.signed, done.booked) == (("guard-1",), ())
    assert "shows 5000000000 and 7" in done.refusals["guard-2"]
    assert [await out(guard.world) for guard in guards.values()] == [0, 0, 0]
