"""The fault catalogue: every id that is due is attacked by a test that names it in its docstring.

`DUE` grows with each issue and never shrinks. The catalogue's other ids count as coverage when a
test names them early. The coverage is printed at the end of the run.
"""

import ast
import re
import sys
from collections import defaultdict

import pytest

from tests.house import sources

FAULT = re.compile(r"\bF(\d\d)\b")
FAULT_RANGE = re.compile(r"\bF(\d\d)[-\u2013]F(\d\d)\b")
CATALOGUE = frozenset(f"F{number:02}" for number in range(1, 94))
DUE_BY_ISSUE = {
    "main job on three EVM chains": (
        "F01 F02 F03 F10 F14 F19 F20 F21 F29 F30 F38 F42 F43 F45 F46 F48 F49 F57 F62 F65 F66"
        " F73 F83 F88"
    ),
    "six chains, thirty routes": (
        "F09 F15 F16 F17 F18 F24 F25 F26 F27 F34 F35 F39 F40 F41 F44 F45 F50 F58 F80 F88"
    ),
    "the supply-guard, complete": ("F01-F13 F46-F58 F66-F72 F77-F79 F82-F85 F91 F92"),
}


def named_in(docstring: str) -> set[str]:
    """Return the ids a docstring names, ranges such as F01-F03 spelled out."""
    names = {f"F{number}" for number in FAULT.findall(docstring)}
    for first, last in FAULT_RANGE.findall(docstring):
        names |= {f"F{number:02}" for number in range(int(first), int(last) + 1)}
    return names


DUE = frozenset().union(*map(named_in, DUE_BY_ISSUE.values()))


def attackers_by_fault(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return which test functions name which id."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, module in modules.items():
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                for fault in named_in(ast.get_docstring(node) or ""):
                    found[fault].append(f"{path}::{node.name}")
    return dict(found)


def attacks() -> dict[str, list[str]]:
    """Return the attacking tests of this house, its own rules left out."""
    paths = [path for path in sources.python_files("tests") if "/house/" not in path]
    return attackers_by_fault({path: sources.tree(path) for path in paths})


def test_faults__every_due_id_is_attacked_by_a_test_that_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = attacks()
    with capsys.disabled():
        due, early = DUE & found.keys(), found.keys() - DUE
        sys.stdout.write(
            f"\nfaults: {len(due)}/{len(DUE)} due, {len(early)} early, of {len(CATALOGUE)}\n"
        )
    assert DUE - found.keys() == set()


def test_faults__every_named_id_is_in_the_catalogue() -> None:
    assert attacks().keys() - CATALOGUE == set()


def test_rule__id_in_docstring_counts_and_in_code_does_not() -> None:
    module = ast.parse(
        'def test_a():\n    """F01-F03, F49: attacked."""\ndef test_b():\n    x = "F62"\n'
        'def tool():\n    """F66"""\n'
    )
    assert attackers_by_fault({"t.py": module}).keys() == {"F01", "F02", "F03", "F49"}
