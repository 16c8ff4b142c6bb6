"""The HTTP face: Solana's JSON-RPC at `/`, the control API at `/devnet/<command>`, the block clock.

One request at a time touches the chain, so an answer is always of one moment. All RPC errors come
with HTTP 200, as a validator sends them; control errors with 400 and what to do instead.
"""

import asyncio
import json
from collections.abc import Callable, Mapping

from aiohttp import web

from xstock_devnet.solana.chain import Chain
from xstock_devnet.solana.control import CONTROLS, ControlRefused
from xstock_devnet.solana.errors import (
    Json,
    RpcFailure,
    invalid_request,
    method_not_found,
    parse_error,
)
from xstock_devnet.solana.methods_accounts import account_methods
from xstock_devnet.solana.methods_chain import Method, chain_methods
from xstock_devnet.solana.methods_transactions import transaction_methods
from xstock_devnet.solana.render import Renderer
from xstock_runtime.clock import Clock

BODY_BYTES_MAX = 8 * 1024 * 1024
JSON_TYPE = "application/json"


class SolanaService:
    """One chain on one loopback port; blocks come by the clock while `automine` is on."""

    def __init__(self, chain: Chain, clock: Clock, *, automine: bool = True) -> None:
        self.chain = chain
        self.automine = automine
        self._clock = clock
        self._methods = rpc_methods(chain)
        self._runner: web.AppRunner | None = None
        self._blocks: asyncio.Task[None] | None = None

    async def start(self, port: int = 0) -> int:
        """Serve on a loopback port (0: any free one), begin to make blocks; return the port."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.add_routes(
            [
                web.post("/", self._rpc),
                web.get("/health", self._health),
                web.post("/devnet/{command}", self._control),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self._blocks = asyncio.create_task(self._make_blocks())
        return int(self._runner.addresses[0][1])

    async def watch_blocks(self) -> None:
        """Wait for as long as blocks are made; raises what ended it, so the process ends too."""
        if self._blocks is not None:
            await asyncio.shield(self._blocks)

    async def stop(self) -> None:
        """Stop serving; the chain is forgotten with the process."""
        if self._blocks is not None:
            self._blocks.cancel()
            await asyncio.wait({self._blocks})
        if self._runner is not None:
            await self._runner.cleanup()

    async def _make_blocks(self) -> None:
        """Make a block each interval; a late one is not made up for, as on a slow network."""
        interval = self.chain.settings.block_ms / 1000
        due = self._clock.monotonic() + interval
        while True:
            await self._clock.sleep(due - self._clock.monotonic())
            if self.automine:
                self.chain.mine()
            due = max(due + interval, self._clock.monotonic())

    async def _rpc(self, request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(text=answer_body(self._methods, body), content_type=JSON_TYPE)

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok")

    async def _control(self, request: web.Request) -> web.Response:
        try:
            command = CONTROLS[request.match_info["command"]]
        except KeyError:
            known = ", ".join(sorted(CONTROLS))
            return _refused(f"command: {request.match_info['command']!r}; known are {known}")
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ControlRefused("body: not a JSON object")
            return web.json_response({"ok": True, **command(self, body)})
        except (ControlRefused, ValueError) as error:
            return _refused(str(error))


def rpc_methods(chain: Chain) -> Mapping[str, Method]:
    """Return every RPC method of the node by name."""
    renderer = Renderer(chain.book.newest)
    return {
        **chain_methods(chain, renderer),
        **account_methods(chain),
        **transaction_methods(chain, renderer),
    }


def answer_body(methods: Mapping[str, Method], body: bytes) -> str:
    """Return the answer to one request body: a call, or a batch of them."""
    try:
        request = json.loads(body)
    except ValueError:
        return json.dumps(_failed(parse_error(), None))
    if isinstance(request, list):
        if not request:
            return json.dumps(_failed(invalid_request(), None))
        return json.dumps([answer_call(methods, call) for call in request])
    return json.dumps(answer_call(methods, request))


def answer_call(methods: Mapping[str, Method], call: Json) -> Json:
    """Return the answer to one call."""
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        return _failed(invalid_request(), None)
    method: Callable[[Json], Json] | None = methods.get(call["method"])
    try:
        if method is None:
            raise method_not_found()
        return {"jsonrpc": "2.0", "result": method(call.get("params")), "id": call.get("id")}
    except RpcFailure as failure:
        return _failed(failure, call.get("id"))


def _failed(failure: RpcFailure, identifier: Json) -> Json:
    return {"jsonrpc": "2.0", "error": failure.as_json(), "id": identifier}


def _refused(reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=400)
