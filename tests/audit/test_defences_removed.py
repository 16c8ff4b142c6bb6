"""A guard whose defence was taken out writes down what it did, and the verifier sees it.

The compositions are those of the guard's own "defence removed" tests; here nobody looks at the
guard, only at its exported journal.
"""

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.audit import journals
from tests.audit.test_verify_journal import checker
from tests.services.supply_guard import test_defences_removed as removed
from tests.services.supply_guard.world import World

__all__ = ["checker"]
Story = Callable[..., Awaitable[None]]
REMOVED: dict[str, tuple[Story, str]] = {
    "the cap, in both places": (
        removed.test_cap_check__removed_in_both_places__exposure_passes_the_cap,
        "was above the cap",
    ),
    "cover, at signing": (
        removed.test_signing_gate__without_cover_check__signs_on_an_attestation_of_zero,
        "was above the cap 0",
    ),
    "halts, at signing": (
        removed.test_signing_gate__without_halt_check__signs_through_a_halt,
        "through halt",
    ),
    "the second person": (
        removed.test_two_people__one_is_made_enough__one_person_resumes,
        r"cleared by 1 person\(s\)",
    ),
}


@pytest.mark.parametrize("defence", REMOVED)
async def test_verifier__defence_taken_out_of_the_guard__its_journal_tells(
    checker: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, defence: str
) -> None:
    story, why = REMOVED[defence]
    worlds: list[World] = []
    begin = World.__post_init__

    def noted(self: World) -> None:
        begin(self)
        worlds.append(self)

    monkeypatch.setattr(World, "__post_init__", noted)
    wanted: dict[str, Any] = {"monkeypatch": monkeypatch}
    names = inspect.signature(story).parameters
    await story(**{name: wanted[name] for name in names})
    path = await journals.export(worlds[-1], tmp_path / "journal.jsonl")
    with pytest.raises(checker.Wrong, match=why):
        checker.verify(path)
