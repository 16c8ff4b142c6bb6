"""`xstock announce` and `screening-list`: papers that hold releases, as they are typed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.test_registry import document
from tests.services.cli.test_people import Guards, guards, typed
from tests.services.supply_guard.people import final_burn
from tests.services.supply_guard.test_people_screening import SCREENER
from tests.services.supply_guard.world import DEPLOYMENT
from xstock_cli.commands.announcing import _scaled
from xstock_cli.exits import Exit, UsageProblem
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.screening import SignedListFile
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_supply_guard.model import Outcome

__all__ = ("guards",)


def placed(guards: Guards, folder: Path) -> None:
    """A registry of the guards' deployment, and the keys that sign papers."""
    written: dict[str, Any] = {**document(), "deployment_id": DEPLOYMENT}
    (folder / "registry.json").write_text(json.dumps(written))
    (folder / "keys").mkdir()
    for name in ("issuer-1", "screener-1"):
        secret = keccak256(b"test/paper/" + name.encode()).hex()
        (folder / "keys" / f"{name}.key").write_text(secret)
    world = json.loads(guards.world_file.read_text())
    world |= {"registry": str(folder / "registry.json"), "keys": str(folder / "keys")}
    guards.world_file.write_text(json.dumps(world))


def test_announce__to_every_guard__holds_the_asset(
    guards: Guards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    placed(guards, tmp_path)
    world = guards.served["guard-1"].world
    guards.do(world.funded())
    claim = guards.do(final_burn(world))
    at = str(SystemClock().unix_ms() // 1000)
    said = ("announce", "TSLAx", "split-1", "--activates", at, "--multiplier", "10")
    signed = ("--key", "issuer-1", "--key-id", "issuer-1", "--as", "operator-1")
    code, told = typed(capfd, guards, *said, *signed)
    assert code == Exit.DONE
    assert set(told["guards"]) == {"guard-1", "guard-2"}
    assert guards.do(world.outcome(claim)) == (Outcome.HELD, "CORPORATE_ACTION_WINDOW")
    code, _ = typed(capfd, guards, *said, *signed, "--version", "2", "--cancelled")
    assert code == Exit.DONE
    assert guards.do(world.outcome(claim)) == (Outcome.GRANTED, "")
    code, refused = typed(capfd, guards, *said, "--key", "screener-1", "--key-id", "x")
    assert code != Exit.DONE
    assert all("error" in one for one in refused["guards"].values())


def test_screening_list__signed_into_a_file__is_what_a_guard_reads(
    guards: Guards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    placed(guards, tmp_path)
    listed = [{"chain": "bnb", "account": "0x" + "ab" * 20, "reason": "sanctions"}]
    (tmp_path / "accounts.json").write_text(json.dumps(listed))
    words = (
        *("screening-list", str(tmp_path / "accounts.json"), "--out", str(tmp_path / "list")),
        *("--sequence", "3", "--key", "screener-1", "--key-id", "screener-1"),
    )
    code, said = typed(capfd, guards, *words)
    assert (code, said["accounts"]) == (Exit.DONE, 1)
    keys = {SCREENER.key_id: SCREENER.public_key}
    provider = SignedListFile(tmp_path / "list", keys, DEPLOYMENT, signature_valid, SystemClock())
    account = bytes(12) + b"\xab" * 20
    answer = asyncio.run(provider.listed([account]))  # type: ignore[list-item]
    assert (answer.sequence, answer.listed) == (3, {account: "sanctions"})
    (tmp_path / "accounts.json").write_text('[{"chain": "bnb"}]')
    code, _ = typed(capfd, guards, *words)
    assert code == Exit.USAGE


def test_multiplier__as_a_decimal__is_scaled_in_integers() -> None:
    assert _scaled("10") == str(10 * 10**18)
    assert _scaled("1.0009180758") == "1000918075800000000"
    for wrong in ("", "-1", "1e3", "1." + "0" * 19, "one"):
        with pytest.raises(UsageProblem):
            _scaled(wrong)
