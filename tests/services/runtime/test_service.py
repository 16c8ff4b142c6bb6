"""Running and ending a service: loud crashes, ordered drains, bounded exits."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal
from xstock_runtime.health import Progress
from xstock_runtime.service import EXIT_CRASH, EXIT_OK, Service, run_until_signal

Bootstrap = Callable[[], AbstractAsyncContextManager[Service]]


def service(
    events: list[str],
    loops: dict[str, Callable[[], Awaitable[None]]],
    drain: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (),
) -> Bootstrap:
    @asynccontextmanager
    async def bootstrap() -> AsyncIterator[Service]:
        progress = Progress(SystemClock())
        events.append("opened")
        try:
            yield Service("example", progress, loops, drain)
        finally:
            events.append(f"closed draining={progress.draining}")

    return bootstrap


async def forever() -> None:
    await asyncio.Event().wait()


async def terminate_soon() -> None:
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    await forever()


async def test_service__on_sigterm__drains_in_order_then_closes_with_status_0() -> None:
    events: list[str] = []

    async def step(name: str) -> None:
        events.append(name)

    bootstrap = service(
        events,
        {"terminate": terminate_soon, "work": forever},
        (("grpc", lambda: step("grpc")), ("flush", lambda: step("flush"))),
    )
    assert await run_until_signal(bootstrap, 5) == EXIT_OK
    assert events == ["opened", "grpc", "flush", "closed draining=True"]


async def test_service__drain_step_hangs__is_cut_short_and_still_ends() -> None:
    """F75: SIGTERM ends the process within its grace."""
    events: list[str] = []
    bootstrap = service(events, {"terminate": terminate_soon}, (("stuck", forever),))
    began = asyncio.get_running_loop().time()
    assert await run_until_signal(bootstrap, 0.2) == EXIT_OK
    assert asyncio.get_running_loop().time() - began < 2


@pytest.mark.parametrize("how", ["raises", "returns", "fatal"])
async def test_service__one_loop_ends__brings_all_down_loudly_with_status_1(
    how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[str] = []

    async def ending() -> None:
        await asyncio.sleep(0.01)
        if how == "raises":
            raise ValueError("unexpected thing")
        if how == "fatal":
            raise Fatal("FENCED", "another writes")

    status = await run_until_signal(service(events, {"bad": ending, "work": forever}), 5)
    assert status == EXIT_CRASH
    assert events == ["opened", "closed draining=True"]
    shown = "".join(capsys.readouterr())
    expected = {"raises": "unexpected thing", "returns": "'bad' returned", "fatal": "FENCED"}
    assert expected[how] in shown
    assert "service_crashed" in shown


async def test_service__bootstrap_fails__is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def bootstrap() -> AsyncIterator[Service]:
        raise Fatal("READ_ONLY_SERVER", "that is a standby")
        yield

    assert await run_until_signal(bootstrap, 5) == EXIT_CRASH
    assert "READ_ONLY_SERVER" in "".join(capsys.readouterr())
