"""The machine that runs the contracts: a Node process spoken to in JSON lines.

It stays up for a whole test session, because the virtual machine takes a second to start.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xstock_devnet.engines.node import find_node

ROOT = Path(__file__).resolve().parents[3]
_SCRIPT = Path(__file__).parent / "vm.mjs"
_STOP_SECONDS = 5


class VmError(Exception):
    """A request could not be done at all: a mistake of the test, or a refused get method."""


class Vm:
    """One process; requests go one after the other."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Do one command of vm.mjs; raises VmError with its words."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": command, "with": arguments}) + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        if "error" in answer:
            raise VmError(answer["error"])
        return answer["ok"]


@contextmanager
def running_vm() -> Iterator[Vm]:
    """A machine for the time of the block."""
    command = (str(find_node().node), str(_SCRIPT))
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield Vm(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(_STOP_SECONDS)


def artifact(name: str) -> dict[str, Any]:
    """The committed compiler output of a contract."""
    path = ROOT / f"libs/xstock_chains/ton/artifacts/{name}.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content
