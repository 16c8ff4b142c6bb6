"""Real child processes: start, wait for health, freeze, kill -9, restart, stop; no orphans.

Every child leads a session of its own, so one signal reaches all it started and the terminal's
Ctrl-C reaches only us; it is launched through `launch.py`, so it also dies when we are killed.
Output goes to a file per child, and every error ends with the last lines of that file. Nothing is
restarted behind the caller's back: tests and the devnet decide what lives.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc.aio
import httpx
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from xstock_devnet.settings import inherited_environment

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 30


class ProcessFailed(Exception):
    """A child ended, or did not get ready or stop, as it should have; names child and cause."""


class ChildProcess:
    """One command, started as often as the caller likes, with the same environment and log file.

    `environment` is laid over the allow-list of `settings.inherited_environment`; it never shows on
    a command line. `death_signal` is what the kernel sends when this process dies first.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        drop_root: bool = False,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log_file = log_file
        self.environment = dict(environment or {})
        self._folder = folder
        self._rights = "drop" if drop_root else "keep"
        self._death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The operating system's id of the running child; raises ProcessFailed if there is none."""
        if self._popen is None:
            raise ProcessFailed(f"{self.name}: not started; call start() first")
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the child was started and has not ended (a frozen child is running)."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The ended child's exit status, negative for a signal; None while it runs or never ran."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start the child; raises ProcessFailed if it runs already or this is not the main thread.

        The kernel ties a child's life to the *thread* that started it, so a worker thread that ends
        would take the child along.
        """
        if self.running:
            raise ProcessFailed(f"{self.name}: already running as pid {self.pid}")
        if threading.current_thread() is not threading.main_thread():
            raise ProcessFailed(f"{self.name}: start children on the main thread, they die with it")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        launcher = (sys.executable, "-I", "-S", str(LAUNCHER))
        settings = (str(os.getpid()), str(int(self._death_signal)), self._rights)
        with self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                (*launcher, *settings, *self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**inherited_environment(), **self.environment},
                start_new_session=True,
            )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and all of its process group; an ended child is left alone."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def freeze(self) -> None:
        """Stop the child's clock, as a long collection or a paused machine would (SIGSTOP)."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen child go on (SIGCONT)."""
        self.send_signal(signal.SIGCONT)

    async def kill9(self) -> None:
        """Kill the child and every descendant at once, with no chance to clean up, and reap it."""
        if not self.running:
            return
        family = _family(self.pid)
        self.send_signal(signal.SIGKILL)
        await self.wait_ended(timeout_seconds=10)
        await _kill_all(family)

    async def terminate(
        self, *, grace_seconds: float = 10, stop_signal: signal.Signals = signal.SIGTERM
    ) -> None:
        """Ask the child to end; after `grace_seconds` kill it and raise ProcessFailed saying so.

        Descendants that the child left behind are killed.
        """
        if not self.running:
            return
        self.thaw()
        family = _family(self.pid)
        with suppress(ProcessLookupError):
            os.kill(self.pid, stop_signal)
        try:
            await self.wait_ended(timeout_seconds=grace_seconds)
        except ProcessFailed:
            await self.kill9()
            raise
        finally:
            await _kill_all(family)

    async def wait_ended(self, *, timeout_seconds: float) -> int:
        """Return the exit status once the child ended; raises ProcessFailed after the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self.running:
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ProcessFailed(self._story(f"has not ended within {timeout_seconds} s")) from None
        code = self.exit_code
        if code is None:
            raise ProcessFailed(f"{self.name}: never started")
        return code

    async def wait_until(
        self,
        ready: Callable[[], Awaitable[bool]],
        *,
        waiting_for: str,
        timeout_seconds: float,
    ) -> None:
        """Poll `ready` until it is true; raises ProcessFailed if the child ends or time runs out.

        `ready` answers False for "not yet"; whatever it raises is a fault and passes through.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await ready():
                    if not self.running:
                        raise ProcessFailed(
                            self._story(f"ended with {self.exit_code} before {waiting_for}")
                        )
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ProcessFailed(
                self._story(f"waited {timeout_seconds} s for {waiting_for}")
            ) from None

    def listens_on(self, port: int) -> bool:
        """Whether the child, or a process it started, serves this TCP port: not somebody else."""
        if not self.running:
            return False
        return any(_listens(pid, port) for pid in (self.pid, *(p.pid for p in _family(self.pid))))

    def last_log_lines(self, count: int = LOG_TAIL_LINES) -> str:
        """Return the end of the child's log file, at most `count` lines of its last 64 KiB."""
        if not self.log_file.exists():
            return "(no log)"
        with self.log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 65_536))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-count:])

    def _story(self, what: str) -> str:
        return f"{self.name}: {what}\n--- end of {self.log_file}\n{self.last_log_lines()}"


def _family(pid: int) -> list[psutil.Process]:
    """Return every descendant of `pid`, also those that left its group as PostgreSQL's do."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _listens(pid: int, port: int) -> bool:
    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.AccessDenied:
        return True  # a system that lets nobody look: the answer has to do
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found)


async def _kill_all(family: list[psutil.Process]) -> None:
    """Kill what is left of a family and return when none of it runs."""
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    while any(_alive(process) for process in family):
        await asyncio.sleep(POLL_SECONDS)


def _alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs; one that waits only to be reaped does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Service:
    """A `ChildProcess` with a way to tell that it is healthy, restarted under the same identity."""

    def __init__(
        self,
        child: ChildProcess,
        healthy: Callable[[], Awaitable[bool]],
        *,
        start_timeout_seconds: float = 180,
        grace_seconds: float = 10,
    ) -> None:
        self.child = child
        self._healthy = healthy
        self._start_timeout_seconds = start_timeout_seconds
        self._grace_seconds = grace_seconds

    @property
    def name(self) -> str:
        """The child's name, as logs and errors carry it."""
        return self.child.name

    async def start(self) -> None:
        """Start the child, return once healthy; raises ProcessFailed with its last log lines."""
        self.child.start()
        await self.wait_healthy()

    async def wait_healthy(self) -> None:
        """Return once the health check says yes; raises ProcessFailed after the start timeout."""
        await self.child.wait_until(
            self._healthy,
            waiting_for=f"{self.name} to report healthy",
            timeout_seconds=self._start_timeout_seconds,
        )

    async def kill9(self) -> None:
        """Kill the service with no chance to drain."""
        await self.child.kill9()

    async def terminate(self) -> None:
        """Ask the service to drain and end; raises ProcessFailed if it had to be killed."""
        await self.child.terminate(grace_seconds=self._grace_seconds)

    async def restart(self) -> None:
        """End the service if it runs (politely) and start it again with the same environment."""
        await self.terminate()
        await self.start()


class Supervisor:
    """Everything that was started, stopped in reverse order when the block ends, come what may."""

    def __init__(self) -> None:
        self._stops: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self.services: dict[str, Service] = {}

    async def __aenter__(self) -> Self:
        """Begin with nothing started."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; a stop that failed is reported only if nothing else went wrong."""
        failures = await self.stop_all()
        if failures and error is None:
            raise ProcessFailed("; ".join(failures))

    def stop_later(self, name: str, stop: Callable[[], Awaitable[None]]) -> None:
        """Remember how to stop something that was started by other means (an engine, a server)."""
        self._stops.append((name, stop))

    async def start(self, *services: Service) -> None:
        """Start services side by side and wait for all; raises ProcessFailed for a name used twice.

        They are stopped side by side too, after everything that was started later, even if one of
        them never became healthy.
        """
        for service in services:
            if service.name in self.services:
                raise ProcessFailed(f"{service.name}: a service of this name is supervised already")
            self.services[service.name] = service
        self.stop_later(
            ", ".join(service.name for service in services),
            lambda: _stop_side_by_side(services),
        )
        for service in services:
            service.child.start()
        await asyncio.gather(*(service.wait_healthy() for service in services))

    def ended(self) -> list[Service]:
        """Return the services that should run and do not, in the order they were started."""
        return [service for service in self.services.values() if not service.child.running]

    async def stop_all(self) -> list[str]:
        """Stop all in reverse order; return what went wrong, a line each, never ending early."""
        failures: list[str] = []
        while self._stops:
            name, stop = self._stops.pop()
            try:
                await stop()
            except Exception as error:  # noqa: BLE001 - the rest must still be stopped
                failures.append(f"{name}: {error}")
        self.services.clear()
        return failures


async def _stop_side_by_side(services: Sequence[Service]) -> None:
    """Ask all to drain at once; raises ProcessFailed naming each that had to be killed."""
    ends = await asyncio.gather(
        *(service.terminate() for service in services), return_exceptions=True
    )
    failures = [str(end) for end in ends if isinstance(end, Exception)]
    if failures:
        raise ProcessFailed("; ".join(failures))


def grpc_health(address: str, service: str = "") -> Callable[[], Awaitable[bool]]:
    """Return a check that asks the standard gRPC health service at `address` (plaintext)."""

    async def check() -> bool:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=1, wait_for_ready=False
                )
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return check


def http_health(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that is true once `url` answers 200 (e.g. `http://127.0.0.1:9000/healthz`)."""

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(timeout=1, trust_env=False) as client:
                return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return check


def tcp_open(port: int) -> Callable[[], Awaitable[bool]]:
    """Return a check that is true once something accepts connections on this loopback port."""

    async def check() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return check
