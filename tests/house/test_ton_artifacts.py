"""TON's committed compiler output is what the committed sources compile to, byte for byte."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from xstock_devnet.engines.node import find_node

pytestmark = pytest.mark.house

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "libs/xstock_chains/ton/artifacts"
SOURCES = ROOT / "contracts/ton"


def _build(*arguments: str, stdin: bytes = b"") -> bytes:
    command = [str(find_node().node), str(SOURCES / "build.mjs"), *arguments]
    run = subprocess.run(command, input=stdin, check=True, cwd=ROOT, capture_output=True)
    return run.stdout


def test_artifacts__recompiled__are_the_committed_bytes(tmp_path: Path) -> None:
    """F89: what is deployed comes from the sources in this repository and nothing else."""
    _build("--out", str(tmp_path))
    fresh = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    committed = {path.name: path.read_bytes() for path in ARTIFACTS.glob("*.json")}
    assert sorted(fresh) == sorted(committed)
    stale = [name for name, content in fresh.items() if committed[name] != content]
    assert stale == [], "run `make contracts` and commit the result"


def test_artifacts__recompiled_from_changed_sources__differ() -> None:
    """The comparison above can fail: one changed constant is another artifact."""
    source = (SOURCES / "wallet.tolk").read_text()
    changed = source.replace('BURN_VALUE_MIN = ton("0.04")', 'BURN_VALUE_MIN = ton("0.05")')
    jobs = {"committed": {"wallet.tolk": source}, "changed": {"wallet.tolk": changed}}
    built = json.loads(_build("--stdin", stdin=json.dumps(jobs).encode()))
    out = {job: artifacts["Wallet"] for job, artifacts in built.items()}
    assert out["committed"]["sourceHash"] != out["changed"]["sourceHash"]
    assert out["committed"]["codeHash"] != out["changed"]["codeHash"]
    assert built["committed"]["Bridge"] == built["changed"]["Bridge"]


@pytest.mark.parametrize("name", ["Bridge", "Wallet"])
def test_artifact__of_each_contract__names_its_compiler(name: str) -> None:
    artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
    assert artifact["contractName"] == name
    assert artifact["compiler"] == "tolk 1.3.0"
    assert re.fullmatch(r"[0-9a-f]{64}", artifact["codeHash"])


def test_sources__of_the_contracts__keep_to_the_line_length() -> None:
    for path in SOURCES.glob("*.tolk"):
        assert [line for line in path.read_text().splitlines() if len(line) > 100] == []


def test_exit_codes__of_the_sources__stand_in_the_readme() -> None:
    readme = (SOURCES / "README.md").read_text()
    for code in re.findall(r"= (\d{3}) ", (SOURCES / "errors.tolk").read_text()):
        assert re.search(rf"\b{code}\b", readme) or int(code) in (225, 202), code
