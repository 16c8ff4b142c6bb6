"""The proxy process: passes bytes through, unless a fault strikes the request.

Without a fault nothing is parsed: the body goes to the upstream over a kept-alive connection and
the answer comes back as it is (methods are counted by a scan for their name). With one, each call
of the request, single or batch, is rewritten, asked and rewritten back by itself.
"""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp import web

from xstock_devnet.proxy.evm import Answered, Fork, Json, View, hide_events, tell_lies
from xstock_devnet.proxy.faults import (
    DelayParams,
    DepthParams,
    Endpoint,
    Fault,
    FaultBook,
    FaultKind,
    ForkParams,
    FreezeParams,
    HideParams,
    LieParams,
    RateLimitParams,
)

METHOD_NAME = re.compile(rb'"method"\s*:\s*"([A-Za-z0-9_]+)"')
HEADERS = {"Content-Type": "application/json"}
BODY_BYTES_MAX = 64 * 1024 * 1024
UPSTREAM_TIMEOUT_SECONDS = 60
HANG_POLL_SECONDS = 0.1
SEES_OTHERWISE = frozenset(
    {
        FaultKind.LAG,
        FaultKind.STALE,
        FaultKind.FREEZE_FINALITY,
        FaultKind.DROP_BLOCK,
        FaultKind.HIDE_EVENT,
        FaultKind.LIE,
    }
)


class RpcProxy:
    """Providers by identity, chain and number, in front of `upstreams[chain][n % len]`."""

    def __init__(self, upstreams: Mapping[str, Sequence[str]]) -> None:
        self.upstreams = {chain: tuple(urls) for chain, urls in upstreams.items()}
        self.faults = FaultBook()
        self.counts: defaultdict[Endpoint, Counter[str]] = defaultdict(Counter)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None
        self._admin: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            ("GET", "/healthz"): self._health,
            ("GET", "/admin/faults"): self._list_faults,
            ("POST", "/admin/faults"): self._add_fault,
            ("DELETE", "/admin/faults"): self._remove_faults,
            ("GET", "/admin/stats"): self._stats,
            ("DELETE", "/admin/stats"): self._forget_stats,
        }

    async def start(self, port: int = 0) -> int:
        """Listen on a loopback port (0: any free one) and return it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=UPSTREAM_TIMEOUT_SECONDS),
        )
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=0.5
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; requests still hanging are dropped."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        admin = self._admin.get((request.method, request.path))
        if admin is not None:
            return await admin(request)
        endpoint = self._endpoint(request.path)
        if endpoint is None:
            known = ", ".join(sorted(self.upstreams))
            text = f"{request.path}: expected /<identity>/<chain>/<n> with a chain of {known}"
            return web.Response(status=404, text=text)
        body = await request.content.read(-1)
        methods = [name.decode() for name in METHOD_NAME.findall(body)]
        self.counts[endpoint].update(methods)
        struck = self.faults.striking(endpoint, methods)
        if not struck:
            return await self._pass(endpoint, body)
        return await self._strike(request, endpoint, body, struck)

    def _endpoint(self, path: str) -> Endpoint | None:
        parts = path.strip("/").split("/")
        if len(parts) != 3 or parts[1] not in self.upstreams or not parts[2].isdigit():
            return None
        return Endpoint(parts[0], parts[1], int(parts[2]))

    async def _post(self, endpoint: Endpoint, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("the proxy is not started; call start() first")
        urls = self.upstreams[endpoint.chain]
        url = urls[endpoint.provider % len(urls)]
        async with self._session.post(url, data=body, headers=HEADERS) as answer:
            return answer.status, await answer.read()

    async def _pass(self, endpoint: Endpoint, body: bytes) -> web.Response:
        try:
            status, answer = await self._post(endpoint, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            return web.Response(status=502, text=f"{endpoint.chain} upstream: {error!r}")
        return web.Response(status=status, body=answer, headers=HEADERS)

    async def _strike(
        self, request: web.BaseRequest, endpoint: Endpoint, body: bytes, struck: list[Fault]
    ) -> web.Response:
        """Apply faults in the order a request meets them: connection, wait, content, reply."""
        for fault in struck:
            early = await self._before(request, fault)
            if early is not None:
                return early
        views = [fault for fault in struck if fault.kind in SEES_OTHERWISE]
        answer = await (
            self._rewrite(endpoint, body, views) if views else self._pass(endpoint, body)
        )
        if any(fault.kind is FaultKind.LOSE_REPLIES for fault in struck):
            return _drop(request)
        return answer

    async def _before(self, request: web.BaseRequest, fault: Fault) -> web.Response | None:
        match fault.kind, fault.params:
            case FaultKind.STOP, _:
                return _drop(request)
            case FaultKind.ERROR, _:
                return web.Response(status=500, text="injected error")
            case FaultKind.RATE_LIMIT, RateLimitParams(retry_after_seconds=seconds):
                return web.Response(status=429, headers={"Retry-After": str(seconds)})
            case FaultKind.DELAY, DelayParams(seconds=wait):
                await asyncio.sleep(wait)
            case FaultKind.HANG, _:
                while self.faults.in_force(fault) and not _gone(request):
                    await asyncio.sleep(HANG_POLL_SECONDS)
                return _drop(request)
        return None

    async def _rewrite(self, endpoint: Endpoint, body: bytes, faults: list[Fault]) -> web.Response:
        calls = json.loads(body)
        try:
            views = [await self._view(endpoint, fault) for fault in faults]
            if isinstance(calls, list):
                answers: Json = [await self._one(endpoint, call, faults, views) for call in calls]
            else:
                answers = await self._one(endpoint, calls, faults, views)
        except (aiohttp.ClientError, TimeoutError) as error:
            return web.Response(status=502, text=f"{endpoint.chain} upstream: {error!r}")
        except ValueError as error:
            return web.Response(status=500, text=f"a fault cannot be applied: {error}")
        return web.Response(body=json.dumps(answers).encode(), headers=HEADERS)

    async def _one(
        self, endpoint: Endpoint, call: Json, faults: list[Fault], views: list[View]
    ) -> Json:
        """Answer one call as seen through every view in turn, then hide and lie."""
        asked = call
        try:
            for view in views:
                asked = view.request(asked)
        except Answered as known:
            answer = {"jsonrpc": "2.0", "id": call.get("id"), **known.members}
        else:
            _, raw = await self._post(endpoint, json.dumps(asked).encode())
            answer = json.loads(raw)
        if "result" not in answer:
            return answer
        result = answer["result"]
        for fault, view in zip(faults, views, strict=True):
            result = view.result(call, result)
            match fault.params:
                case HideParams() as hidden:
                    result = hide_events(hidden, str(call.get("method")), result)
                case LieParams(rules=rules):
                    result = tell_lies(rules, call, result)
        return {**answer, "result": result}

    async def _view(self, endpoint: Endpoint, fault: Fault) -> View:
        match fault.kind, fault.params:
            case ((FaultKind.LAG | FaultKind.STALE), DepthParams(blocks=blocks)):
                latest = await self._height(endpoint, "latest")
                final = await self._height(endpoint, "finalized")
                honest = fault.kind is FaultKind.STALE
                return View(max(0, latest - blocks), max(0, final - blocks), honest_heads=honest)
            case FaultKind.FREEZE_FINALITY, FreezeParams(at=at):
                frozen = fault.memory.setdefault(endpoint.chain, at)
                if frozen is None:
                    frozen = await self._height(endpoint, "finalized")
                    fault.memory[endpoint.chain] = frozen
                return View(final=frozen)
            case FaultKind.DROP_BLOCK, ForkParams(from_number=number):
                return View(fork=fault.memory.setdefault(endpoint.chain, Fork(number)))
        return View()

    async def _height(self, endpoint: Endpoint, tag: str) -> int:
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [tag, False]}
        _, raw = await self._post(endpoint, json.dumps(call).encode())
        return int(json.loads(raw)["result"]["number"], 16)

    async def _health(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        return web.json_response({"chains": sorted(self.upstreams)})

    async def _list_faults(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        return web.json_response([fault.to_json() for fault in self.faults.all()])

    async def _add_fault(self, request: web.BaseRequest) -> web.Response:
        try:
            body: Any = json.loads(await request.content.read(-1))
            fault = self.faults.add(body)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(fault.to_json(), status=201)

    async def _remove_faults(self, request: web.BaseRequest) -> web.Response:
        wanted = dict(request.query)
        unknown = set(wanted) - {"id", "identity", "chain", "provider", "fault"}
        if unknown:
            text = f"{', '.join(sorted(unknown))}: filter by id, identity, chain, provider, fault"
            return web.json_response({"error": text}, status=400)
        return web.json_response({"lifted": self.faults.remove(**wanted)})

    async def _stats(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        rows = [
            {
                "identity": endpoint.identity,
                "chain": endpoint.chain,
                "provider": endpoint.provider,
                "methods": dict(counter),
            }
            for endpoint, counter in self.counts.items()
        ]
        return web.json_response(rows)

    async def _forget_stats(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        self.counts.clear()
        return web.json_response({})


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _drop(request: web.BaseRequest) -> web.Response:
    """Cut the connection without a reply, as a node that has gone away does."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503, text="stopped")
