"""`xstock demo` as a process: stopped in the middle it leaves nothing running behind."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil

from xstock_cli.screen import LOGS_KEPT


async def test_demo__terminated_while_it_starts__stops_everything_and_says_where_the_logs_are() -> (
    None
):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xstock_cli", "demo", "--json"),
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = ""
    while "deploying the bridge" not in said:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, said
        said += line.decode()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 5
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 128 + signal.SIGTERM
    assert out == b""
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    _logs_are_kept(Path(err.decode().split(LOGS_KEPT, 1)[1].splitlines()[0].strip()))


def _logs_are_kept(folder: Path) -> None:
    assert any(folder.iterdir())
    shutil.rmtree(folder.parent)
