"""The plumbing as a real process: settings refused with status 2, SIGTERM under load with 0."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.services.runtime.grpc_example import COUNT, ECHO
from xstock_devnet.settings import inherited_environment
from xstock_runtime.grpc_client import ChannelSettings, open_channel

ENVIRONMENT = {
    "XSTOCK_EXAMPLE_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1/x",
    "XSTOCK_EXAMPLE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "XSTOCK_EXAMPLE_KAFKA_MAC_KEY": bytes(range(32)).hex(),
    "XSTOCK_EXAMPLE_INSECURE_DEV": "true",
}


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.services.runtime.example_main"),
        stderr=asyncio.subprocess.PIPE,
        env={**inherited_environment(), **environment},
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def listening_port(child: asyncio.subprocess.Process) -> int:
    assert child.stderr is not None
    async for line in child.stderr:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry["event"] == "ready":
                return int(entry["port"])
    raise AssertionError("the process ended before it was ready")


async def test_process__settings_missing__ends_with_status_2_and_names_them() -> None:
    async with process({**ENVIRONMENT, "XSTOCK_EXAMPLE_KAFKA_MAC_KEY": "00"}) as child:
        _, err = await child.communicate()
    assert child.returncode == 2
    assert b"XSTOCK_EXAMPLE_KAFKA_MAC_KEY = ***: must be at least 32 random bytes" in err
    assert b"hunter2" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_process__signalled_under_load__ends_with_status_0_within_its_grace(
    number: signal.Signals,
) -> None:
    """F75: twice per signal, with streams and calls open; never a hang."""
    for _ in range(2):
        async with process(ENVIRONMENT) as child:
            port = await listening_port(child)
            async with calling(port) as channel:
                count, echo = channel.unary_stream(COUNT), channel.unary_unary(ECHO)
                streams = [count(b"") for _ in range(20)]
                for stream in streams:
                    await stream.read()
                load = [asyncio.ensure_future(_call(echo)) for _ in range(20)]
                child.send_signal(number)
                async with asyncio.timeout(10):
                    _, err = await child.communicate()
                await asyncio.gather(*load)
        assert child.returncode == 0, err.decode()
        assert b"service_stopped" in err


async def test_process__signalled_twice__leaves_at_once() -> None:
    async with process(ENVIRONMENT) as child:
        port = await listening_port(child)
        async with calling(port) as channel:
            stream = channel.unary_stream(COUNT)(b"")
            await stream.read()
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            child.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                await child.communicate()
    assert child.returncode == 1


def calling(port: int) -> Any:
    return open_channel(ChannelSettings(f"127.0.0.1:{port}"))


async def _call(echo: Any) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        for _ in range(200):
            await echo(b"x", timeout=5)
