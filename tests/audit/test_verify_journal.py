"""The offline verifier: it passes an honest journal, and finds every way in which one can lie.

Each lie is told twice where that is possible: in the file alone (the hashes no longer fit), and
with every link made to fit again, as a guard would that lies throughout.
"""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.audit import journals
from tests.services.supply_guard.world import SHARE, World
from xstock_cli.commands.audit import verifier
from xstock_cli.exits import UsageProblem
from xstock_cli.journal_file import JournalFile

FILE = Path(__file__).parents[2] / "audit" / "verify_journal.py"
Documents = list[dict[str, Any]]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """The verifier as a module, loaded by path as anybody would."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("verify_journal", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_journal"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def world() -> World:
    """A guard with a history."""
    made = World()
    await journals.history(made)
    return made


@pytest.fixture
async def journal(world: World, tmp_path: Path) -> Path:
    """Its exported journal."""
    return await journals.export(world, tmp_path / "journal.jsonl")


KEYS = {"guard-1": journals.PAPER_KEY.public_key}


async def test_verifier__honest_journal__says_ok_with_the_ledgers_figures(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    proof = await journals.prove(world, tmp_path / "proof.json")
    report = checker.verify(journal, [proof], KEYS)
    document = report.document()
    (asset,) = document["assets"].values()
    assert asset["exposure"] == 100 * SHARE
    assert asset["supply/2"] == 40 * SHARE
    assert asset["in_flight"] == 6 * SHARE
    assert asset["cap"] == 1000 * SHARE
    assert document["lines"]["permit"] == 2
    assert document["proofs"][0]["signature_checked"]
    assert checker.main([str(journal)]) == checker.OK


def test_verifier__alone_without_any_package__runs_and_says_ok(journal: Path) -> None:
    """Isolated, without site packages: what an auditor has on a laptop."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(verifier()), str(journal)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK: guard guard-1")


def test_verifier__imports__are_of_the_standard_library_only() -> None:
    """It shares no code with the guard."""
    names = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names
    assert not any(name.startswith("xstock") for name in names)


def lines_with(documents: Documents, verb: str) -> list[tuple[int, int]]:
    """Where lines of this verb stand: document and line."""
    return [
        (at, n)
        for at, one in enumerate(documents[1:], 1)
        for n, line in enumerate(one["lines"])
        if line.startswith(f"{verb} ")
    ]


def change(verb: str, old: str, new: str, which: int = 0) -> Callable[[Documents], None]:
    """Replace part of a line."""

    def act(documents: Documents) -> None:
        at, n = lines_with(documents, verb)[which]
        line = documents[at]["lines"][n]
        assert old in line
        documents[at]["lines"][n] = line.replace(old, new)

    return act


def drop(verb: str, which: int = 0) -> Callable[[Documents], None]:
    """Take a line out."""

    def act(documents: Documents) -> None:
        at, n = lines_with(documents, verb)[which]
        del documents[at]["lines"][n]
        if not documents[at]["lines"]:
            del documents[at]

    return act


def double(verb: str) -> Callable[[Documents], None]:
    """Say a line twice."""

    def act(documents: Documents) -> None:
        at, n = lines_with(documents, verb)[0]
        documents[at]["lines"].append(documents[at]["lines"][n])

    return act


LIES: dict[str, tuple[Callable[[Documents], None], str]] = {
    "an amount changed": (change("entry", "amount=", "amount=1"), "not the id"),
    "an account changed": (
        change("entry", "credit=open_issuance", "credit=supply/2"),
        "not the id",
    ),
    "a posting said twice": (double("entry"), "posted twice"),
    "a verdict taken out": (drop("rule", 1), "never ruled on"),
    "a refusal signed": (change("rule", "outcome=GRANTED", "outcome=HELD", 1), "ruled HELD"),
    "a cap lifted": (change("attest", "cap=", "cap=1"), "does not follow"),
    "holdings made small": (
        change("attest", "held=100000000000 ", "held=1000000000 "),
        "does not follow",
    ),
    "a permit given twice": (double("permit"), "given twice"),
    "an approval taken out": (drop("approve"), "cleared by 1 person"),
    "a halt that was not cleared": (drop("clear"), "through halt"),
    "no attestation at all": (drop("attest"), "above the cap None"),
}


@pytest.mark.parametrize("lie", LIES)
def test_verifier__journal_that_lies__found_by_hash_and_by_sense(
    checker: ModuleType, journal: Path, lie: str
) -> None:
    """Changed afterwards, the hashes tell; made to fit again, the rules tell."""
    act, why = LIES[lie]
    documents = journals.read(journal)
    act(documents)
    journals.write(journal, documents)
    with pytest.raises(checker.Wrong, match=r"link \d+: (its digest|its sequence|it does not)"):
        checker.verify(journal)
    journals.write(journal, journals.rehash(documents))
    with pytest.raises(checker.Wrong, match=why):
        checker.verify(journal)
    assert checker.main([str(journal), "--json"]) == checker.WRONG


def test_verifier__small_attestation_with_its_own_cap__finds_the_permit_above_it(
    checker: ModuleType, journal: Path
) -> None:
    """INV-04: a release signed while exposure was above the cap is named with its figures."""
    documents = journals.read(journal)
    change("attest", "held=100000000000 ", "held=10 ")(documents)
    change("attest", "cap=100000000000", "cap=10")(documents)
    journals.write(journal, journals.rehash(documents))
    with pytest.raises(checker.Wrong, match="was above the cap 10"):
        checker.verify(journal)


def test_verifier__link_taken_out_or_the_end_cut_off__found(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    """A hole shows by itself; a shortened journal shows against a signed proof."""
    documents = journals.read(journal)
    journals.write(tmp_path / "hole.jsonl", [*documents[:4], *documents[5:]])
    with pytest.raises(checker.Wrong, match="link 4: its sequence is 5"):
        checker.verify(tmp_path / "hole.jsonl")
    del world


async def test_verifier__another_history_than_was_proved__found_by_the_proof(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    """A guard that rewrites its journal afterwards cannot take back what it has signed."""
    proof = await journals.prove(world, tmp_path / "proof.json")
    documents = journals.read(journal)
    cut = journals.write(tmp_path / "cut.jsonl", documents[:-1])
    with pytest.raises(checker.Wrong, match="speaks of link"):
        checker.verify(cut, [proof], KEYS)
    documents[2]["at_ms"] += 1
    journals.write(journal, journals.rehash(documents))
    checker.verify(journal)
    with pytest.raises(checker.Wrong, match="another history was shown"):
        checker.verify(journal, [proof], KEYS)


async def test_verifier__proof_of_a_stranger_or_with_other_figures__refused(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    """The signature is over every byte, under the key of the guard that is named."""
    proof = await journals.prove(world, tmp_path / "proof.json")
    with pytest.raises(checker.Wrong, match="not of key 'guard-1'"):
        checker.verify(journal, [proof], {"guard-1": b"\x02" + b"\x11" * 32})
    text = proof.read_text()
    proof.write_text(text.replace(journals.read(proof)[0]["paper"][-8:-6], "7f"))
    with pytest.raises(checker.Wrong, match="not of key 'guard-1'"):
        checker.verify(journal, [proof], KEYS)


async def test_verifier__proof_of_every_past_moment__agrees_with_the_journal(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    """What a guard says of the past is what its journal said then, link by link."""
    documents = journals.read(journal)[1:]
    last = {one["at_ms"]: one["sequence"] for one in documents}
    assert len(last) > 4
    proofs = [
        await journals.prove(world, tmp_path / f"{at_ms}.json", at_ms) for at_ms in sorted(last)
    ]
    report = checker.verify(journal, proofs, KEYS)
    assert [one.sequence for one in report.proofs] == [last[at] for at in sorted(last)]


def test_verifier__no_journal_or_another_format__says_so(
    checker: ModuleType, tmp_path: Path
) -> None:
    assert checker.main([str(tmp_path / "none.jsonl")]) == checker.USAGE
    (tmp_path / "x.jsonl").write_text('{"format": "xstock-journal/1"}\n')
    assert checker.main([str(tmp_path / "x.jsonl")]) == checker.USAGE


def test_keccak__known_vectors__match(checker: ModuleType) -> None:
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    abc = "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    assert checker.keccak256(b"").hex() == empty
    assert checker.keccak256(b"abc").hex() == abc
    assert len({checker.keccak256(bytes(n)) for n in (135, 136, 137, 272)}) == 4


# RFC 8032, 7.1, tests 1 to 3: public key, message, signature.
ED25519 = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize(("key", "message", "signature"), ED25519)
def test_ed25519__vectors_of_rfc_8032__accepted_and_nothing_near_them(
    checker: ModuleType, key: str, message: str, signature: str
) -> None:
    public, said, signed = (bytes.fromhex(one) for one in (key, message, signature))
    assert checker.signature_valid(public, said, signed)
    assert not checker.signature_valid(public, said + b"x", signed)
    assert not checker.signature_valid(public, said, signed[:-1] + bytes((signed[-1] ^ 1,)))


def test_secp256k1__our_signers_papers__accepted_low_s_only(checker: ModuleType) -> None:
    """Against another implementation (libsecp256k1), and its mirror with a high s."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    for n in range(4):
        digest = checker.keccak256(bytes((n,)))
        signature = journals.PAPER_KEY._key.sign_recoverable(digest, hasher=None)
        key = journals.PAPER_KEY.public_key
        assert checker.signature_valid(key, digest, signature)
        assert not checker.signature_valid(key, checker.keccak256(b"other"), signature)
        high = order - int.from_bytes(signature[32:64], "big")
        mirror = signature[:32] + high.to_bytes(32, "big")
        assert not checker.signature_valid(key, digest, mirror)


def cut(path: Path, size: int) -> Path:
    """The file as a process leaves it that is killed while it writes."""
    with path.open("rb+") as file:
        file.truncate(size)
    return path


async def test_export__killed_in_the_middle_of_a_line__goes_on_where_it_stopped(
    checker: ModuleType, world: World, journal: Path
) -> None:
    whole = journals.read(journal)
    for size in (9_000, 5_003, 10):
        await journals.export(world, cut(journal, size))
        assert journals.read(journal) == whole
    checker.verify(journal)


def test_export__into_another_guards_file__refused(journal: Path) -> None:
    with pytest.raises(UsageProblem, match="guard-2"):
        JournalFile.resume(journal, "guard-2")
