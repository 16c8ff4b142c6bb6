"""Which files the rules of the house speak of, and how a rule names what breaks it."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("libs", "services", "cli", "devnet")
GENERATED = "libs/xstock_wire/v1/"


@cache
def files(*suffixes: str) -> tuple[str, ...]:
    """Return the paths git would commit (tracked, or new and not ignored) with these endings."""
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    present = sorted({path for path in listed if (ROOT / path).is_file()})
    return tuple(path for path in present if path.endswith(suffixes))


def python_files(*rooms: str) -> list[str]:
    """Return the hand-written Python files of these top folders (none named: the product's)."""
    chosen = tuple(f"{room}/" for room in rooms or PRODUCT)
    return [
        path for path in files(".py") if path.startswith(chosen) and not path.startswith(GENERATED)
    ]


@cache
def text(path: str) -> str:
    """Return a file's text."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree(path: str) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(text(path), path)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of names, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := dotted(node.value)):
        return f"{inner}.{node.attr}"
    return ""


def imported_names(module: ast.Module) -> dict[str, str]:
    """Return what each imported local name stands for, e.g. `{"dt": "datetime.datetime"}`."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def uses(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each dotted name a module uses, with its line, imported names resolved."""
    names = imported_names(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)):
            head, _, rest = name.partition(".")
            yield node.lineno, ".".join(part for part in (names.get(head, head), rest) if part)
