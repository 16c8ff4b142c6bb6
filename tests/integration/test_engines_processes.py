"""Child processes: healthy before use, killed or drained on demand, never orphaned.

The services here are ten-line programs, so that what is tested is the supervision and not them.
"""

import asyncio
import signal
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path

import psutil
import pytest

from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import (
    ChildProcess,
    ProcessFailed,
    Service,
    Supervisor,
    grpc_health,
    http_health,
    tcp_open,
)
from xstock_devnet.settings import PROJECT_ROOT

HTTP_SERVICE = """
import http.server, os, signal, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["WORD"].encode())
def drain(*_):
    print("drained", flush=True); os._exit(0)
signal.signal(signal.SIGTERM, drain)
subprocess.Popen(["sleep", "600"])
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
GRPC_SERVICE = """
import concurrent.futures, grpc, sys
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
servicer = health.HealthServicer()
servicer.set("ready", health_pb2.HealthCheckResponse.SERVING)
servicer.set("busy", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start(); server.wait_for_termination()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("not leaving", flush=True)
while True: time.sleep(1)
"""


def http_service(folder: Path, name: str = "greeter") -> Service:
    (port,) = free_ports(1)
    child = ChildProcess(
        name,
        (sys.executable, "-c", HTTP_SERVICE, str(port)),
        log_file=folder / f"{name}.log",
        environment={"WORD": "hello"},
    )
    return Service(child, http_health(f"http://127.0.0.1:{port}/healthz"))


def failing(folder: Path, name: str = "broken") -> Service:
    program = "import sys; print('no key in KEY_FILE', flush=True); sys.exit(3)"
    child = ChildProcess(name, (sys.executable, "-c", program), log_file=folder / f"{name}.log")
    return Service(child, tcp_open(free_ports(1)[0]))


async def test_service__started__is_healthy_and_drains_when_asked(tmp_path: Path) -> None:
    service = http_service(tmp_path)
    await service.start()
    (left_behind,) = psutil.Process(service.child.pid).children()
    await service.terminate()
    assert service.child.exit_code == 0
    assert not left_behind.is_running() or left_behind.status() == psutil.STATUS_ZOMBIE
    assert service.child.last_log_lines().splitlines()[-1] == "drained"


async def test_service__killed__takes_its_descendants_along_and_restarts(tmp_path: Path) -> None:
    service = http_service(tmp_path)
    await service.start()
    first = service.child.pid
    (grandchild,) = psutil.Process(first).children()
    await service.kill9()
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    assert service.child.exit_code == -signal.SIGKILL
    await service.start()
    assert service.child.pid != first
    await service.kill9()


async def test_service__restart__comes_back_under_the_same_name(tmp_path: Path) -> None:
    service = http_service(tmp_path)
    await service.start()
    first = service.child.pid
    await service.restart()
    assert service.child.running
    assert service.child.pid != first
    assert service.child.last_log_lines().splitlines() == ["serving", "drained", "serving"]
    await service.kill9()


async def test_service__ends_before_it_is_healthy__error_carries_its_last_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(ProcessFailed, match=r"broken: ended with 3 before .*(.|\n)*KEY_FILE"):
        await failing(tmp_path).start()


async def test_child__ignores_sigterm__is_killed_and_reported(tmp_path: Path) -> None:
    child = ChildProcess("stubborn", (sys.executable, "-c", STUBBORN), log_file=tmp_path / "log")
    child.start()

    async def spoke() -> bool:
        return "not leaving" in child.last_log_lines()

    await child.wait_until(spoke, waiting_for="its first words", timeout_seconds=10)
    with pytest.raises(ProcessFailed, match=r"stubborn: has not ended within 0\.3 s"):
        await child.terminate(grace_seconds=0.3)
    assert child.exit_code == -signal.SIGKILL


async def test_child__wait_too_short__says_what_it_waited_for(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", ("sleep", "60"), log_file=tmp_path / "log")
    child.start()
    check = tcp_open(free_ports(1)[0])
    with pytest.raises(ProcessFailed, match=r"waited 0\.2 s for a port"):
        await child.wait_until(check, waiting_for="a port", timeout_seconds=0.2)
    await child.kill9()


async def test_child__started_twice__is_refused(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", ("sleep", "60"), log_file=tmp_path / "log")
    child.start()
    with pytest.raises(ProcessFailed, match="already running"):
        child.start()
    await child.kill9()


async def test_child__started_off_the_main_thread__is_refused(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", ("sleep", "60"), log_file=tmp_path / "log")
    with pytest.raises(ProcessFailed, match="on the main thread"):
        await asyncio.to_thread(child.start)
    assert not child.running


async def test_child__environment__is_the_allow_list_and_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "leak")
    child = ChildProcess("env", ("env",), log_file=tmp_path / "log", environment={"WORD": "passed"})
    child.start()
    await child.wait_ended(timeout_seconds=10)
    assert "WORD=passed" in child.last_log_lines()
    assert "SECRET_OF_THE_SHELL" not in child.last_log_lines()


async def test_grpc_health__per_service__tells_serving_from_not(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    child = ChildProcess(
        "grpc", (sys.executable, "-c", GRPC_SERVICE, str(port)), log_file=tmp_path / "log"
    )
    service = Service(child, grpc_health(f"127.0.0.1:{port}", "ready"))
    await service.start()
    assert not await grpc_health(f"127.0.0.1:{port}", "busy")()
    await service.kill9()
    assert not await grpc_health(f"127.0.0.1:{port}", "ready")()


def test_free_ports__many__differ_and_keep_clear_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(15_000 <= port < 32_000 for port in ports)


class Upwards:
    """Offers this port first, then its neighbours."""

    def __init__(self, port: int) -> None:
        self.offers = count(port)

    def uniform(self, low: float, high: float) -> float:
        return next(self.offers)


def test_free_ports__one_listened_on__is_not_offered() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        (port,) = free_ports(1, Upwards(taken))  # type: ignore[arg-type]
        assert port > taken


PICK = """
import sys
from tests.integration.test_engines_processes import Upwards
from xstock_devnet.engines.ports import free_ports
print(free_ports(1, Upwards(int(sys.argv[1])))[0])
"""


def test_free_ports__one_picked_elsewhere_and_not_yet_bound__is_not_offered() -> None:
    """Two test workers were told one port, and two deployments met on one chain."""
    (picked,) = free_ports(1)
    answer = subprocess.run(
        (sys.executable, "-c", PICK, str(picked)),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(answer.stdout) > picked


async def test_local_node__port_held_by_another_chain__is_not_taken_for_ours(
    tmp_path: Path,
) -> None:
    async with AnvilNode(tmp_path / "first", chain_id=1) as first:
        second = AnvilNode(tmp_path / "second", chain_id=1, port=first.port)
        with pytest.raises(ProcessFailed, match="in use"):
            await second.start()
        assert first.child.listens_on(first.port)
        assert not second.child.listens_on(first.port)


async def test_supervisor__block_ends__stops_in_reverse_order(tmp_path: Path) -> None:
    stopped: list[str] = []

    async def note(name: str) -> None:
        stopped.append(name)

    services = [http_service(tmp_path, "first"), http_service(tmp_path, "second")]
    async with Supervisor() as supervisor:
        supervisor.stop_later("engine", lambda: note("engine"))
        await supervisor.start(*services)
        supervisor.stop_later("door", lambda: note("door"))
        assert supervisor.ended() == []
        await services[0].kill9()
        assert supervisor.ended() == [services[0]]
    assert stopped == ["door", "engine"]
    assert not any(service.child.running for service in services)


async def test_supervisor__one_service_fails_to_start__leaves_nothing_running(
    tmp_path: Path,
) -> None:
    good = http_service(tmp_path)
    with pytest.raises(ProcessFailed, match="broken: ended with 3"):
        async with Supervisor() as supervisor:
            await supervisor.start(good, failing(tmp_path))
    assert not good.child.running


async def test_supervisor__a_stop_fails__the_rest_is_stopped_and_it_is_reported(
    tmp_path: Path,
) -> None:
    good = http_service(tmp_path)

    async def refuse() -> None:
        raise ProcessFailed("will not stop")

    async def run() -> None:
        async with Supervisor() as supervisor:
            await supervisor.start(good)
            supervisor.stop_later("engine", refuse)

    with pytest.raises(ProcessFailed, match="engine: will not stop"):
        await run()
    assert not good.child.running


async def test_supervisor__same_name_twice__is_refused(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start(http_service(tmp_path))
        with pytest.raises(ProcessFailed, match="supervised already"):
            await supervisor.start(http_service(tmp_path))
