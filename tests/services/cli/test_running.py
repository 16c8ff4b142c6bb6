"""Signals end a command in order: what it started is stopped, once, and the exit code says so."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from xstock_cli.commands.local import _fresh
from xstock_cli.exits import UsageProblem
from xstock_cli.running import Stopped, run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run__signalled_twice__cleans_up_once_and_whole(number: signal.Signals) -> None:
    """A second Ctrl-C must not cut the cleaning up short: a half-stopped world is worse."""
    done: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
            done.append("cleaned")

    with pytest.raises(Stopped) as caught:
        run(work)
    assert done == ["cleaned"]
    assert caught.value.exit_code == 128 + number


def test_run__to_the_end__gives_the_result() -> None:
    async def work() -> int:
        return 7

    assert run(work) == 7


def test_fresh__folder_of_an_earlier_world__is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    with _fresh(folder):
        (folder / "old").touch()
    with _fresh(folder):
        assert not (folder / "old").exists()


def test_fresh__folder_with_somebody_s_files__is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter").touch()
    with pytest.raises(UsageProblem, match="--folder"), _fresh(folder):
        pass
    assert (folder / "letter").exists()


def test_fresh__folder_in_use__is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    with _fresh(folder), pytest.raises(UsageProblem, match="another"), _fresh(folder):
        pass
    assert folder.exists()
