"""Prometheus metrics and the small HTTP server that shows them.

A service makes one `Metrics` and names every metric once, in its own metrics.py. The server is
plain asyncio: GET /metrics, /healthz (200 or 503 with each dependency's progress), /livez (the
event loop answers). It listens on loopback unless told otherwise and bounds every request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from xstock_runtime.health import Progress
from xstock_runtime.logging import get_logger

_log = get_logger("metrics")
_REQUEST_BYTES_MAX = 8192
_REQUEST_SECONDS = 5.0
_CONNECTIONS_MAX = 64
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One process's own registry; `prefix` begins every name."""

    def __init__(self, prefix: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = prefix

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """A count that only grows; Prometheus appends _total."""
        return Counter(name, meaning, labels, namespace=self._prefix, registry=self.registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """A level that goes up and down."""
        return Gauge(name, meaning, labels, namespace=self._prefix, registry=self.registry)

    def histogram(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> Histogram:
        """A distribution; by default of seconds."""
        return Histogram(
            name, meaning, labels, namespace=self._prefix, registry=self.registry, buckets=buckets
        )

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self.registry)


def host_and_port(listen: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Raises ValueError naming the value."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {listen!r} is not host:port")
    return host.strip("[]"), int(port)


class MetricsServer:
    """Serves one registry and one progress report. `start` then `stop`, or `async with`."""

    def __init__(self, metrics: Metrics, progress: Progress, listen: str) -> None:
        self._metrics = metrics
        self._progress = progress
        self._host, self._port = host_and_port(listen)
        self._server: asyncio.Server | None = None
        self._open = 0

    async def __aenter__(self) -> MetricsServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port in use, also when port 0 was asked for. RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the metrics server is not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises OSError if the address is taken."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=_REQUEST_BYTES_MAX
        )

    async def stop(self) -> None:
        """Stop listening; a response being written may be cut."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > _CONNECTIONS_MAX:
                return
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _log.debug("metrics_request_dropped")
        finally:
            self._open -= 1
            writer.close()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method != b"GET":
            return _http(405, b"only GET here\n", "text/plain")
        if path == b"/metrics":
            return _http(200, self._metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
        if path == b"/healthz":
            report = json.dumps(self._progress.report(), indent=1).encode()
            return _http(200 if self._progress.ready() else 503, report, "application/json")
        if path == b"/livez":
            return _http(200, b"alive\n", "text/plain")
        return _http(404, b"try /metrics, /healthz or /livez\n", "text/plain")


_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def _http(status: int, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n"
    )
    return head.encode() + body
