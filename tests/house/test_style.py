"""House rules that no linter has, made executable.

Each rule also has a test that shows it a bad example: a rule that cannot fail guards nothing.
"""

import ast
from collections.abc import Iterable

from tests.house import sources

FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = frozenset(
    {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
)
ENVIRONMENT = ("os.environ", "os.getenv", "os.putenv", "os.environb")
CLOCKS = (
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"),
    *("time.perf_counter_ns", "time.sleep", "time.localtime", "time.gmtime"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
    *("datetime.date.today", "datetime.now", "datetime.utcnow"),
)
CHANCE = ("random.", "secrets.", "os.urandom", "uuid.uuid1", "uuid.uuid4", "numpy.random.")
CLOCK_FILE = "libs/xstock_runtime/clock.py"


def forbidden_uses(
    uses: Iterable[tuple[int, str]], exact: Iterable[str], prefixes: Iterable[str] = ()
) -> list[tuple[int, str]]:
    """Return the uses that are one of `exact`, reach into one, or begin with a prefix."""
    exact, prefixes = tuple(exact), tuple(prefixes)
    return [
        (line, name)
        for line, name in uses
        if name in exact
        or name.startswith(tuple(f"{one}." for one in exact))
        or name.startswith(prefixes)
    ]


def long_functions(module: ast.Module) -> list[tuple[int, str]]:
    """Return functions of 70 lines or more, decorators not counted."""
    return [
        (node.lineno, node.name)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 >= FUNCTION_LINES_MAX
    ]


def forbidden_parts(path: str) -> set[str]:
    """Return the words of a path that name no idea."""
    return {part.removesuffix(".py") for part in path.split("/")} & FORBIDDEN_NAMES


def test_environment__read_in_settings_only() -> None:
    offenders = {
        path: found
        for path in sources.python_files()
        if not path.endswith("/settings.py")
        and (found := forbidden_uses(sources.uses(sources.tree(path)), ENVIRONMENT))
    }
    assert offenders == {}


def test_clocks_and_chance__come_through_the_clock_module_only() -> None:
    offenders = {
        path: found
        for path in sources.python_files()
        if path != CLOCK_FILE
        and (found := forbidden_uses(sources.uses(sources.tree(path)), CLOCKS, CHANCE))
    }
    assert offenders == {}


def test_functions__are_under_seventy_lines() -> None:
    offenders = {
        path: found
        for path in sources.python_files()
        if (found := long_functions(sources.tree(path)))
    }
    assert offenders == {}


def test_modules__open_with_a_docstring() -> None:
    silent = [
        path
        for path in sources.python_files()
        if sources.text(path).strip() and not ast.get_docstring(sources.tree(path))
    ]
    assert silent == []


def test_names__say_what_is_inside() -> None:
    offenders = {
        path for path in sources.python_files(*sources.PRODUCT, "tests") if forbidden_parts(path)
    }
    assert offenders == set()


def test_migration_free_packages__have_a_type_marker() -> None:
    roots = [path for path in sources.python_files() if path.count("/") in (2, 3)]
    packages = {path.rsplit("/", 1)[0] for path in roots if path.endswith("__init__.py")}
    tops = {path for path in packages if path.rsplit("/", 1)[-1].startswith("xstock_")}
    missing = {path for path in tops if not (sources.ROOT / path / "py.typed").exists()}
    assert len(tops) == 10
    assert missing == set()


def test_rule__environment_read_under_another_name__is_seen() -> None:
    bad = sources.uses(
        ast.parse("from os import environ as e\nfrom os import getenv\ne['A']\ngetenv('B')")
    )
    assert [line for line, _ in forbidden_uses(bad, ENVIRONMENT)] == [3, 4]


def test_rule__clock_and_chance_under_another_name__are_seen() -> None:
    bad = sources.uses(
        ast.parse(
            "import time as t\nfrom datetime import datetime as d\nimport random\n"
            "t.time()\nd.now()\nrandom.choice([1])\nt.strftime('x')"
        )
    )
    lines = {line for line, _ in forbidden_uses(bad, CLOCKS, CHANCE)}
    assert lines == {4, 5, 6}


def test_rule__long_function__is_seen() -> None:
    body = "\n".join("    x = 1" for _ in range(FUNCTION_LINES_MAX - 1))
    assert long_functions(ast.parse(f"def long():\n{body}")) == [(1, "long")]
    assert long_functions(ast.parse("def short():\n    x = 1")) == []


def test_rule__meaningless_name__is_seen() -> None:
    assert forbidden_parts("libs/xstock_core/utils.py") == {"utils"}
    assert forbidden_parts("libs/xstock_core/common/ids.py") == {"common"}
    assert forbidden_parts("libs/xstock_core/amount.py") == set()
