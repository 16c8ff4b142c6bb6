"""Contracts with one defence taken out: to show that a test fails once it is gone.

A mutation replaces exact texts in the Tolk sources; a text that is not there exactly once is an
error, so a mutation cannot rot silently. All of a session's mutants are compiled in one run and
kept under build/ by the hash of their sources.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chains.ton_contracts.vm import ROOT
from xstock_devnet.engines.node import find_node

SOURCES = ROOT / "contracts/ton"
CACHE = ROOT / "build/ton_mutants"

Codes = dict[str, str]
"""{contract: code in base64}."""


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement in one source file."""

    file: str
    old: str
    new: str = ""


class StaleMutation(Exception):
    """The text to replace is not in the source exactly once."""


def mutate(changes: Sequence[Change]) -> dict[str, str]:
    """Every changed file, with the changes in."""
    texts: dict[str, str] = {}
    for change in changes:
        text = texts.get(change.file) or (SOURCES / change.file).read_text()
        if text.count(change.old) != 1:
            raise StaleMutation(f"{change.file}: {text.count(change.old)} times: {change.old!r}")
        texts[change.file] = text.replace(change.old, change.new)
    return texts


def compile_all(jobs: Mapping[str, dict[str, str]]) -> dict[str, Codes]:
    """{job: codes}; compiled only if sources or compiler changed."""
    base = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.[tm]*")))
    keys = {
        job: hashlib.sha256(base + json.dumps(texts, sort_keys=True).encode()).hexdigest()
        for job, texts in jobs.items()
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    missing = {job: jobs[job] for job in jobs if not (CACHE / f"{keys[job]}.json").exists()}
    for job, codes in _compile(missing).items():
        (CACHE / f"{keys[job]}.json").write_text(json.dumps(codes))
    return {job: json.loads((CACHE / f"{keys[job]}.json").read_text()) for job in jobs}


def _compile(jobs: Mapping[str, dict[str, str]]) -> dict[str, Codes]:
    if not jobs:
        return {}
    run = subprocess.run(
        [str(find_node().node), str(SOURCES / "build.mjs"), "--stdin"],
        input=json.dumps(jobs).encode(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return {
        job: {name: artifact["codeBoc64"] for name, artifact in artifacts.items()}
        for job, artifacts in json.loads(run.stdout).items()
    }
