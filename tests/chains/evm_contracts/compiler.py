"""Contracts with one thing changed: to show that a test fails once its defence is gone.

A mutation replaces exact texts in the Solidity sources; a text that is not there exactly once
is an error, so a mutation cannot rot silently. All of a session's mutants are compiled in one
run of the compiler, without optimisation, and kept under build/ by the hash of their sources.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chains.evm_contracts.chain import ROOT

SOURCES = ROOT / "contracts/evm"
CACHE = ROOT / "build/contract_mutants"
BRIDGE = "XStockBridge.sol"
GUARD_SET = "GuardSet.sol"
TOKEN = "XStockToken.sol"

Sources = dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement in one source file."""

    file: str
    old: str
    new: str


def node_binary() -> str:
    """Node from the PATH or, where none is installed, from the wheel beside this Python."""
    return shutil.which("node") or str(Path(sys.executable).parent / "node")


class StaleMutation(Exception):
    """The text to replace is not in the source exactly once."""


def mutate(changes: Sequence[Change], *, unit: str = BRIDGE) -> Sources:
    """`unit` and every changed file, with the changes in."""
    texts = {unit: (SOURCES / unit).read_text()}
    for change in changes:
        text = texts.get(change.file) or (SOURCES / change.file).read_text()
        if text.count(change.old) != 1:
            raise StaleMutation(f"{change.file}: {text.count(change.old)} times: {change.old!r}")
        texts[change.file] = text.replace(change.old, change.new)
    return texts


def compile_all(jobs: Mapping[str, Sources]) -> dict[str, dict[str, Any]]:
    """{job: {contract: artifact}}, unoptimised; compiled only if sources or compiler changed."""
    done: dict[str, dict[str, Any]] = {}
    missing: dict[str, Sources] = {}
    base = b"".join(p.read_bytes() for p in sorted(SOURCES.glob("*.[sm]*")))
    keys = {
        job: hashlib.sha256(base + json.dumps(sources, sort_keys=True).encode()).hexdigest()
        for job, sources in jobs.items()
    }
    for job, sources in jobs.items():
        kept = CACHE / f"{keys[job]}.json"
        if kept.exists():
            done[job] = json.loads(kept.read_text())
        else:
            missing[job] = sources
    CACHE.mkdir(parents=True, exist_ok=True)
    names = sorted(missing)
    halves = [{name: missing[name] for name in names[start::2]} for start in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        for artifacts in pool.map(_compile, halves):
            done |= artifacts
    for job in names:
        _keep(CACHE / f"{keys[job]}.json", json.dumps(done[job]))
    return done


def _keep(path: Path, text: str) -> None:
    """Write whole or not at all: another test process may be reading."""
    own = path.with_suffix(f".{os.getpid()}")
    own.write_text(text)
    own.replace(path)


def _compile(jobs: Mapping[str, Sources]) -> dict[str, dict[str, Any]]:
    if not jobs:
        return {}
    run = subprocess.run(
        [node_binary(), str(SOURCES / "build.mjs"), "--stdin"],
        input=json.dumps(jobs).encode(),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    if run.returncode != 0:
        raise RuntimeError(run.stderr.decode())
    compiled: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return compiled
