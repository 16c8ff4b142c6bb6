"""The exposition server: right answers, and none to nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from xstock_runtime.clock import VirtualClock
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics, MetricsServer, host_and_port


@pytest.fixture
def progress() -> Progress:
    registry = Progress(VirtualClock())
    registry.register("outbox", 10)
    return registry


@pytest.fixture
async def server(progress: Progress) -> AsyncIterator[MetricsServer]:
    metrics = Metrics("xstock")
    metrics.counter("pages", "Pages handled.", ["topic"]).labels("t").inc(3)
    async with MetricsServer(metrics, progress, "127.0.0.1:0") as running:
        yield running


async def get(server: MetricsServer, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}")


async def test_metrics__scraped__show_the_registry(server: MetricsServer) -> None:
    answer = await get(server, "/metrics")
    assert answer.status_code == 200
    assert 'xstock_pages_total{topic="t"} 3.0' in answer.text


async def test_healthz__follows_progress(server: MetricsServer, progress: Progress) -> None:
    before = await get(server, "/healthz")
    progress.beat("outbox")
    after = await get(server, "/healthz")
    assert (before.status_code, after.status_code) == (503, 200)
    assert json.loads(before.text)["dependencies"]["outbox"]["reason"] == "no progress yet"


async def test_livez__answers_while_unready(server: MetricsServer) -> None:
    assert (await get(server, "/livez")).text == "alive\n"


async def test_other_paths_and_methods__are_refused(server: MetricsServer) -> None:
    assert (await get(server, "/etc/passwd")).status_code == 404
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{server.port}/metrics", content=b"x")
    assert answer.status_code == 405


async def test_server__endless_header__drops_that_connection_only(server: MetricsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000)
    assert await reader.read() == b""
    writer.close()
    assert (await get(server, "/livez")).status_code == 200


@pytest.mark.parametrize("listen", ["", "8080", "host:", "host:70000", "host:x"])
def test_address__not_host_and_port__is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        host_and_port(listen)
