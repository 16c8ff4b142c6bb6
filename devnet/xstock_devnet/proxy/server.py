"""The proxy process: passes bytes through, unless a fault strikes the request.

Without a fault nothing is parsed: verb, path, query and body go to the upstream over a kept-alive
connection and the answer comes back as it is (calls are counted by a glance at their names). With
one, each call of the request is answered by itself, as its chain's family would see it.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp
from aiohttp import web

from xstock_devnet.proxy.families import USUAL, family_named, fitted
from xstock_devnet.proxy.family import Family, Fork, Heights, View
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
    Params,
    RateLimitParams,
    RefuseParams,
    read_fault,
)
from xstock_devnet.proxy.patch import tell_lies
from xstock_devnet.proxy.wire import (
    JSON_TYPE,
    Answer,
    Ask,
    Call,
    Reply,
    Request,
    answer_of,
    reply_of,
    request_of,
)

FORWARDED: Final = ("Content-Type", "X-API-Key", "TRON-PRO-API-KEY", "Authorization")
UPSTREAM_TIMEOUT_SECONDS: Final = 60
HANG_POLL_SECONDS: Final = 0.1
ENDPOINT_PARTS: Final = 3
SEES_OTHERWISE: Final = frozenset(
    {
        FaultKind.LAG,
        FaultKind.STALE,
        FaultKind.FREEZE_FINALITY,
        FaultKind.DROP_BLOCK,
        FaultKind.HIDE_EVENT,
        FaultKind.LIE,
        FaultKind.REFUSE,
    }
)


@dataclass(slots=True)
class Struck:
    """One request that faults change: what is asked, of whom, and the node's heights once known."""

    endpoint: Endpoint
    family: Family
    request: Request
    faults: list[Fault]
    ask: Ask
    heights: Heights | None = None

    async def true_heights(self) -> Heights:
        """The node's own heights, asked once a request."""
        if self.heights is None:
            self.heights = await self.family.heights(self.ask)
        return self.heights


class RpcProxy:
    """Providers by identity, chain and number, in front of `upstreams[chain][n % len]`.

    `families` names the family of each chain that is not EVM; raises ValueError for another word.
    """

    def __init__(
        self, upstreams: Mapping[str, Sequence[str]], families: Mapping[str, str] | None = None
    ) -> None:
        self.upstreams = {chain: tuple(urls) for chain, urls in upstreams.items()}
        self.families = {
            chain: family_named((families or {}).get(chain, USUAL)) for chain in self.upstreams
        }
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

    # ------------------------------------------------------------------ requests of readers

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        admin = self._admin.get((raw.method, raw.path))
        if admin is not None:
            return await admin(raw)
        endpoint, path = self._endpoint(raw.path)
        if endpoint is None:
            known = ", ".join(sorted(self.upstreams))
            text = f"{raw.path}: expected /<identity>/<chain>/<n> with a chain of {known}"
            return web.Response(status=404, text=text)
        body = await raw.content.read(-1)
        headers = {name: raw.headers[name] for name in FORWARDED if name in raw.headers}
        headers.setdefault("Content-Type", JSON_TYPE)
        request = Request(raw.method, path, raw.rel_url.raw_query_string, body, headers)
        names = self.families[endpoint.chain].names(request)
        self.counts[endpoint].update(names)
        struck = self.faults.striking(endpoint, names)
        if not struck:
            return _response(await self._pass(endpoint, request))
        return await self._strike(raw, endpoint, request, struck)

    def _endpoint(self, path: str) -> tuple[Endpoint | None, str]:
        """The provider that a path names, and the path after it, as the node is to have it."""
        parts = path.split("/", ENDPOINT_PARTS + 1)[1:]
        known = len(parts) >= ENDPOINT_PARTS and parts[1] in self.upstreams
        if not known or not parts[2].isdigit():
            return None, ""
        tail = "".join(f"/{part}" for part in parts[ENDPOINT_PARTS:] if part)
        return Endpoint(parts[0], parts[1], int(parts[2])), tail

    async def _send(self, endpoint: Endpoint, request: Request) -> Reply:
        if self._session is None:
            raise RuntimeError("the proxy is not started; call start() first")
        urls = self.upstreams[endpoint.chain]
        family = self.families[endpoint.chain]
        url = family.target(urls[endpoint.provider % len(urls)], request.path)
        if request.query:
            url += ("&" if "?" in url else "?") + request.query
        body = request.body if request.verb != "GET" else None
        async with self._session.request(
            request.verb, url, data=body, headers=dict(request.headers)
        ) as answer:
            content_type = answer.headers.get("Content-Type", JSON_TYPE)
            return Reply(answer.status, await answer.read(), content_type)

    async def _pass(self, endpoint: Endpoint, request: Request) -> Reply:
        try:
            return await self._send(endpoint, request)
        except (aiohttp.ClientError, TimeoutError) as error:
            return _text(502, f"{endpoint.chain} upstream: {error!r}")

    async def _strike(
        self, raw: web.BaseRequest, endpoint: Endpoint, request: Request, struck: list[Fault]
    ) -> web.Response:
        """Apply faults in the order a request meets them: connection, wait, content, reply."""
        for fault in struck:
            early = await self._before(raw, endpoint, request, fault)
            if early is not None:
                return early
        views = [fault for fault in struck if fault.kind in SEES_OTHERWISE]
        reply = await (
            self._rewrite(endpoint, request, views) if views else self._pass(endpoint, request)
        )
        if any(fault.kind is FaultKind.LOSE_REPLIES for fault in struck):
            return _drop(raw)
        return _response(reply)

    async def _before(
        self, raw: web.BaseRequest, endpoint: Endpoint, request: Request, fault: Fault
    ) -> web.Response | None:
        match fault.kind, fault.params:
            case FaultKind.STOP, _:
                return _drop(raw)
            case FaultKind.ERROR, _:
                return web.Response(status=500, text="injected error")
            case FaultKind.RATE_LIMIT, RateLimitParams(retry_after_seconds=seconds):
                family = self.families[endpoint.chain]
                answer = _response(family.rate_limited(next(iter(family.names(request)), "")))
                answer.headers["Retry-After"] = str(seconds)
                return answer
            case FaultKind.DELAY, DelayParams(seconds=wait):
                await asyncio.sleep(wait)
            case FaultKind.HANG, _:
                while self.faults.in_force(fault) and not _gone(raw):
                    await asyncio.sleep(HANG_POLL_SECONDS)
                return _drop(raw)
        return None

    async def _rewrite(self, endpoint: Endpoint, request: Request, faults: list[Fault]) -> Reply:
        """Answer call by call; what cannot be read as calls is the node's to refuse."""
        family = self.families[endpoint.chain]

        async def ask(call: Call) -> Answer:
            asked = request_of(call)
            headers = {**request.headers, **asked.headers}
            return answer_of(call, await self._send(endpoint, replace(asked, headers=headers)))

        struck = Struck(endpoint, family, request, faults, ask)
        try:
            calls = family.calls(request)
        except ValueError:
            return await self._pass(endpoint, request)
        try:
            answers = [await self._one(struck, call) for call in calls]
        except (aiohttp.ClientError, TimeoutError) as error:
            return _text(502, f"{endpoint.chain} upstream: {error!r}")
        except (ValueError, LookupError, TypeError) as error:
            return _text(500, f"a fault cannot be applied: {error!r}")
        return reply_of(request, calls, answers)

    async def _one(self, struck: Struck, call: Call) -> Answer:
        """Answer one call: refused, or as seen through all views at once, then lied about."""
        faults = [fault for fault in struck.faults if fault.params.hits(call.method)]
        for fault in faults:
            if isinstance(fault.params, RefuseParams):
                said = struck.family.errors[fault.params.error]
                return said.say(call, fault.params.value)
        view = View()
        for fault in faults:
            view = view.joined(await self._view(struck, fault))
        answer = await (
            struck.ask(call) if view.is_plain else struck.family.seen(call, view, struck.ask)
        )
        for fault in faults:
            if isinstance(fault.params, LieParams) and not answer.refused:
                answer = tell_lies(fault.params.rules, call, answer)
        return answer

    async def _view(self, struck: Struck, fault: Fault) -> View:
        chain = struck.endpoint.chain
        match fault.kind, fault.params:
            case ((FaultKind.LAG | FaultKind.STALE), DepthParams(blocks=blocks)):
                true = await struck.true_heights()
                head, final = max(0, true.head - blocks), max(0, true.final - blocks)
                if fault.kind is FaultKind.STALE:
                    return View(known_head=head, known_final=final)
                return View(head, final, head, final)
            case FaultKind.FREEZE_FINALITY, FreezeParams(at=at):
                if fault.memory.setdefault(chain, at) is None:
                    fault.memory[chain] = (await struck.true_heights()).final
                return View(final=fault.memory[chain], known_final=fault.memory[chain])
            case FaultKind.DROP_BLOCK, ForkParams(from_number=number):
                return View(fork=fault.memory.setdefault(chain, Fork(number)))
            case FaultKind.HIDE_EVENT, HideParams() as hidden:
                return View(hidden=(hidden,))
        return View()

    # ------------------------------------------------------------------ administration

    async def _health(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        names = {chain: family.name for chain, family in self.families.items()}
        return web.json_response({"chains": sorted(self.upstreams), "families": names})

    async def _list_faults(self, request: web.BaseRequest) -> web.Response:  # noqa: ARG002
        return web.json_response([fault.to_json() for fault in self.faults.all()])

    async def _add_fault(self, raw: web.BaseRequest) -> web.Response:
        try:
            body: Any = json.loads(await raw.content.read(-1))
            request, params = read_fault(body)
            fault = self.faults.add(request, self._fitted(request.chain, request.fault, params))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(fault.to_json(), status=201)

    def _fitted(self, chain: str | None, kind: FaultKind, params: Params) -> Params:
        """The params as the struck chains take them; raises ValueError for what none of them is."""
        if chain is not None and chain not in self.upstreams:
            raise ValueError(f"chain: {chain!r} is none of {', '.join(sorted(self.upstreams))}")
        struck = self.families if chain is None else {chain: self.families[chain]}
        return fitted(kind, params, struck)

    async def _remove_faults(self, raw: web.BaseRequest) -> web.Response:
        wanted = dict(raw.query)
        unknown = set(wanted) - {"id", "identity", "chain", "provider", "fault"}
        if unknown:
            text = f"{', '.join(sorted(unknown))}: filter by id, identity, chain, provider, fault"
            return web.json_response({"error": text}, status=400)
        return web.json_response({"lifted": self.faults.remove(**wanted)})

    async def _stats(self, raw: web.BaseRequest) -> web.Response:  # noqa: ARG002
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

    async def _forget_stats(self, raw: web.BaseRequest) -> web.Response:  # noqa: ARG002
        self.counts.clear()
        return web.json_response({})


def _response(reply: Reply) -> web.Response:
    headers = {"Content-Type": reply.content_type}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _text(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), "text/plain; charset=utf-8")


def _gone(raw: web.BaseRequest) -> bool:
    return raw.transport is None or raw.transport.is_closing()


def _drop(raw: web.BaseRequest) -> web.Response:
    """Cut the connection without a reply, as a node that has gone away does."""
    if raw.transport is not None:
        raw.transport.abort()
    return web.Response(status=503, text="stopped")
