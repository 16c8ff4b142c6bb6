"""The committed compiler output is what the committed sources compile to, byte for byte."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.chains.evm_contracts.compiler import node_binary

pytestmark = pytest.mark.house

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "libs/xstock_chains/solidity/artifacts"
SOURCES = ROOT / "contracts/evm"
SIZE_MAX = 24_576
PUSH0 = 0x5F


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fresh compiler output."""
    out = tmp_path_factory.mktemp("artifacts")
    build = [node_binary(), str(SOURCES / "build.mjs"), "--out", str(out)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    return out


def test_artifacts__recompiled__are_the_committed_bytes(compiled: Path) -> None:
    """F89: what is deployed comes from the sources in this repository and nothing else."""
    fresh = {path.name: path.read_bytes() for path in compiled.glob("*.json")}
    committed = {path.name: path.read_bytes() for path in ARTIFACTS.glob("*.json")}
    assert sorted(fresh) == sorted(committed)
    stale = [name for name, content in fresh.items() if committed[name] != content]
    assert stale == [], "run `npm run contracts` and commit the result"


def test_artifacts__recompiled_from_changed_sources__differ(tmp_path: Path) -> None:
    """The comparison above can fail: one changed constant is another artifact."""
    source = (SOURCES / "SanctionsList.sol").read_text()
    changed = source.replace("event SanctionChanged(", "event SanctionMoved(").replace(
        "emit SanctionChanged(", "emit SanctionMoved("
    )
    jobs = {"committed": {"SanctionsList.sol": source}, "changed": {"SanctionsList.sol": changed}}
    run = subprocess.run(
        [node_binary(), str(SOURCES / "build.mjs"), "--stdin"],
        input=json.dumps(jobs).encode(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    out = {job: artifacts["SanctionsList"] for job, artifacts in json.loads(run.stdout).items()}
    assert out["committed"]["sourceHash"] != out["changed"]["sourceHash"]
    assert out["committed"]["bytecode"] != out["changed"]["bytecode"]


@pytest.mark.parametrize("path", sorted(ARTIFACTS.glob("*.json")), ids=lambda p: p.stem)
def test_artifact__of_every_contract__fits_every_chain(path: Path) -> None:
    """No opcode younger than paris (a Tron network without PUSH0 burns the fee limit)."""
    artifact = json.loads(path.read_text())
    code = bytes.fromhex(artifact["deployedBytecode"]["object"][2:])
    assert 0 < len(code) <= SIZE_MAX
    assert artifact["settings"]["evmVersion"] == "paris"
    assert artifact["compiler"].startswith("0.8.30+")
    assert PUSH0 not in _opcodes(code)


def test_sources__of_the_contracts__name_no_other_compiler_version() -> None:
    for path in SOURCES.glob("*.sol"):
        assert re.findall(r"^pragma solidity (.*);$", path.read_text(), re.M) == ["0.8.30"]


def _opcodes(code: bytes) -> set[int]:
    found = set()
    at = 0
    while at < len(code):
        opcode = code[at]
        found.add(opcode)
        at += 1 + (opcode - 0x5F if 0x60 <= opcode <= 0x7F else 0)
    return found
