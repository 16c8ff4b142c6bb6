"""Running a service: settings, logs, named loops, signals, drain, exit status.

`run_service(Settings, bootstrap)` is all a `__main__.py` needs. `bootstrap(settings)` is an async
context manager that yields a `Service`: loops that run for ever and drain steps in order. A loop
that ends or raises brings the whole process down loudly with status 1 (the supervisor restarts
it): a process that limps is worse than one that is gone. SIGTERM or SIGINT drains: progress says
"draining", the steps run in order within `drain_seconds`, loops are cancelled, status 0; a second
signal leaves at once. Status 2 is for settings, see `settings.py`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import uvloop

from xstock_runtime import logging
from xstock_runtime.errors import ServiceError
from xstock_runtime.health import Progress
from xstock_runtime.settings import ServiceSettings, load

EXIT_OK = 0
EXIT_CRASH = 1
_log = logging.get_logger("service")
_NEW_OBJECTS_BEFORE_COLLECTION = 10_000
Loop = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Service:
    """What `bootstrap` built: `loops` by name, `drain` steps (name, step) in order."""

    name: str
    progress: Progress
    loops: Mapping[str, Loop]
    drain: Sequence[tuple[str, Loop]] = field(default_factory=tuple)


class LoopEndedError(Exception):
    """A loop that should run for ever returned."""


S = TypeVar("S", bound=ServiceSettings)


def run_service(
    name: str,
    settings_class: type[S],
    bootstrap: Callable[[S], AbstractAsyncContextManager[Service]],
) -> None:
    """Load settings, run until a signal or a crash, then exit the process with its status."""
    settings = load(settings_class)
    logging.configure(name, level=settings.log_level, json=settings.log_json)
    sys.exit(uvloop.run(run_until_signal(lambda: bootstrap(settings), settings.drain_seconds)))


async def run_until_signal(
    bootstrap: Callable[[], AbstractAsyncContextManager[Service]], drain_seconds: float
) -> int:
    """The process's exit status after a signal (0) or a crash (1); never raises an Exception."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, number, stop)
    try:
        return await _run(bootstrap, stop, drain_seconds)
    except Exception as error:  # noqa: BLE001 - the outermost frame: log everything, exit 1
        for cause in _causes(error):
            _log_crash(cause)
        return EXIT_CRASH
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _run(
    bootstrap: Callable[[], AbstractAsyncContextManager[Service]],
    stop: asyncio.Event,
    drain_seconds: float,
) -> int:
    starting = asyncio.ensure_future(_serve(bootstrap, stop, drain_seconds))
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # Bounds the exit even if start-up or the release of resources hangs (F75).
            await asyncio.wait({starting}, timeout=drain_seconds + 5)
        if not starting.done():
            _log.error("service_exit_forced", after_seconds=drain_seconds + 5)
            starting.cancel()
            return EXIT_CRASH
        return starting.result()
    finally:
        waiting.cancel()


async def _serve(
    bootstrap: Callable[[], AbstractAsyncContextManager[Service]],
    stop: asyncio.Event,
    drain_seconds: float,
) -> int:
    async with bootstrap() as service:
        spare_the_collector()
        _log.info("service_started", loops=sorted(service.loops))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_forever(name, loop), name=name)
                    for name, loop in service.loops.items()
                ]
                await stop.wait()
                await _drain(service, drain_seconds)
                for task in tasks:
                    task.cancel()
        finally:
            service.progress.drain()
    _log.info("service_stopped")
    return EXIT_OK


def spare_the_collector() -> None:
    """Keep modules and what start-up built out of every later search for garbage.

    They live as long as the process; walking them took 100 ms a time, a tenth of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_BEFORE_COLLECTION)


async def _forever(name: str, loop: Loop) -> None:
    await loop()
    raise LoopEndedError(f"loop {name!r} returned; it must run until it is cancelled")


async def _drain(service: Service, drain_seconds: float) -> None:
    service.progress.drain()
    try:
        async with asyncio.timeout(drain_seconds):
            for name, step in service.drain:
                _log.info("service_draining", step=name)
                await step()
    except TimeoutError:
        _log.error("service_drain_cut_short", after_seconds=drain_seconds)


def _on_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(EXIT_CRASH)
    _log.info("service_stopping", signal=number.name)
    stop.set()


def _causes(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in _causes(inner)]
    return [error]


def _log_crash(error: BaseException) -> None:
    if isinstance(error, ServiceError):
        _log.critical(
            "service_crashed", code=error.code, error=error.message, metadata=error.metadata
        )
    else:
        _log.critical("service_crashed", error=repr(error), exc_info=error)
