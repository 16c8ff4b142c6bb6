"""`xstock open`: what its document says before anything is signed."""

from pathlib import Path

import pytest

from tests.services.cli.test_announcing import placed
from tests.services.cli.test_people import Guards, guards, typed
from tests.services.supply_guard.world import SHARE
from xstock_cli.exits import Exit

__all__ = ("guards",)


def test_open__to_look_first__says_what_the_supply_may_come_to(
    guards: Guards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    placed(guards, tmp_path)
    guards.do(guards.served["guard-1"].world.attest(50 * SHARE))
    code, said = typed(capfd, guards, "open", "TSLAx", "--dry-run", "--as", "operator-1")
    assert code == Exit.DONE
    assert (said["symbol"], said["open"], said["limit"]) == ("TSLAx", False, str(50 * SHARE))
    assert (said["signed"], said["booked"], said["refusals"]) == ([], [], {})
