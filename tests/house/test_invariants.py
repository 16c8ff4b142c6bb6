"""Each invariant is in the book, in the code that keeps it, and in a test that attacks it."""

import re

from tests.house import sources

BOOK = "docs/INVARIANTS.md"
INVARIANT = re.compile(r"\bINV-\d\d\b")
ALL = {f"INV-{number:02}" for number in range(1, 17)}
PLACE = re.compile(r"`((?:libs|services|contracts|tests|devnet|cli)/[\w./-]+)")


def named_in(paths: list[str]) -> set[str]:
    """Return the invariant ids that these files name."""
    return {name for path in paths for name in INVARIANT.findall(sources.text(path))}


def test_invariants__book_code_and_tests__each_names_all() -> None:
    code = named_in(sources.python_files("libs", "services"))
    attacks = named_in([path for path in sources.python_files("tests") if "/house/" not in path])
    book = named_in([BOOK])
    assert {"book": ALL - book, "code": ALL - code, "tests": ALL - attacks} == {
        "book": set(),
        "code": set(),
        "tests": set(),
    }
    assert (book | code | attacks) - ALL == set()


def test_invariants__book__points_at_files_that_exist() -> None:
    places = PLACE.findall(sources.text(BOOK))
    assert places != []
    assert [place for place in places if not (sources.ROOT / place).exists()] == []
