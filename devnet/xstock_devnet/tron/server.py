"""The HTTP face: /wallet, /walletsolidity, /jsonrpc and /devnet on one port, and the anvil behind.

Errors are java-tron's: HTTP 200 with {"Error": …}; a path that it does not serve is Jetty's 405
page. A body is parsed only where the method reads one, as there.
"""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.tron import witness
from xstock_devnet.tron.chain import ChainError, ChainOptions, TronChain
from xstock_devnet.tron.control import Control
from xstock_devnet.tron.evm import Evm
from xstock_devnet.tron.jsonrpc import JsonRpc
from xstock_devnet.tron.wallet import FULL, SOLID, JavaError, Wallet
from xstock_runtime.clock import Clock

BODY_BYTES_MAX = 4 * 1024 * 1024
CONTENT_TYPE = "application/json;charset=utf-8"
BODILESS = frozenset({"getnowblock", "getchainparameters", "getnodeinfo", "listnodes"})
FULL_ONLY = frozenset(
    {
        *("broadcasthex", "broadcasttransaction", "triggersmartcontract", "deploycontract"),
        *("createtransaction", "getaccountresource", "getaccountnet", "getcontract"),
        *("getcontractinfo", "getchainparameters", "validateaddress", "getmemofee"),
        *("gettransactionfrompending", "gettransactionlistfrompending", "getpendingsize"),
        *("listnodes",),
    }
)
JSON_RPC = {"/jsonrpc": FULL, "/solidity/jsonrpc": SOLID}
"""The solidity interface's JSON-RPC is a port of its own in java-tron, a path here."""
BLOCK_GAS_LIMIT = 10_000_000_000
FASTJSON_FAILURE = "class com.alibaba.fastjson.JSONException : expect ':' at 0, actual \x1a"
"""java-tron's words for one malformed body, given for any."""
JETTY_PAGE = """<html>
<head>
<meta http-equiv="Content-Type" content="text/html;charset=ISO-8859-1"/>
<title>Error 405 HTTP method {method} is not supported by this URL</title>
</head>
<body><h2>HTTP ERROR 405 HTTP method {method} is not supported by this URL</h2>
<table>
<tr><th>URI:</th><td>{path}</td></tr>
<tr><th>STATUS:</th><td>405</td></tr>
<tr><th>MESSAGE:</th><td>HTTP method {method} is not supported by this URL</td></tr>
<tr><th>SERVLET:</th><td>org.eclipse.jetty.servlet.ServletHandler$Default404Servlet-68e47e7</td></tr>
</table>
<hr/><a href="https://eclipse.org/jetty">Powered by Jetty:// 9.4.53.v20231009</a><hr/>

</body>
</html>
"""


class TronService:
    """One chain with its anvil and its HTTP server."""

    def __init__(
        self, folder: Path, clock: Clock, options: ChainOptions, *, automine: bool = True
    ) -> None:
        identity = witness.genesis(witness.address_of(witness.faucet_key()))[1]
        self._anvil = AnvilNode(
            folder,
            chain_id=int.from_bytes(identity[-4:], "big"),
            name="tron-anvil",
            accounts=1,
            port=free_ports(1)[0],
            extra=(
                *("--hardfork", "paris", "--no-mining", "--base-fee", "0", "--gas-price", "0"),
                *("--balance", "0", "--timestamp", "1", "--gas-limit", str(BLOCK_GAS_LIMIT)),
                *("--disable-code-size-limit", "--disable-default-create2-deployer"),
                *("--order", "fifo"),
            ),
        )
        self._evm = Evm(self._anvil.url)
        self.chain = TronChain(self._evm, clock, options)
        self._control = Control(self.chain, clock, automine=automine)
        self._wallet = Wallet(self.chain).methods()
        self._json_rpc = JsonRpc(self.chain)
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Start anvil, make the genesis and listen on loopback; return the port."""
        await self._anvil.start()
        await self._evm.open()
        await self.chain.open()
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_post("/devnet/{command}", self._command)
        application.router.add_route("*", "/{tail:.*}", self._request)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._control.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop serving, then anvil."""
        await self._control.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._evm.aclose()
        await self._anvil.stop()

    async def _command(self, request: web.Request) -> web.Response:
        name = request.match_info["command"]
        command = self._control.commands().get(name)
        try:
            if command is None:
                names = ", ".join(self._control.commands())
                raise ChainError(f"command: {name!r} is not one of {names}")
            body = _json_body(await request.text())
            answer = await command(body)
        except (ChainError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"ok": True, **answer})

    async def _request(self, request: web.Request) -> web.Response:
        if self._control.failed:
            return web.Response(
                status=500, text="the local chain stopped making blocks; see its log"
            )
        if request.path in JSON_RPC:
            answer = await self._json_rpc.answer(await request.text(), JSON_RPC[request.path])
            text = json.dumps(answer, separators=(",", ":"))
            return web.Response(
                body=text.encode(), headers={"Content-Type": "application/json-rpc"}
            )
        _, interface, name = f"{request.path}//".split("/", 3)[:3]
        side = {"wallet": FULL, "walletsolidity": SOLID}.get(interface)
        method = self._wallet.get(name)
        served = method is not None and side is not None
        if not served or method is None or side is None or (side.solid and name in FULL_ONLY):
            return _not_served(request)
        try:
            body = await _wallet_body(request, name)
            answer = await method(body, side)
        except JavaError as error:
            answer = {"Error": str(error)}
        return _java_json(answer)


async def _wallet_body(request: web.Request, name: str) -> Mapping[str, Any]:
    """Return the request's fields; raises JavaError for a body that does not parse."""
    if request.method == "GET":
        return dict(request.query)
    text = await request.text()
    try:
        return _json_body(text)
    except ValueError as error:
        if name in BODILESS:
            return {}
        raise JavaError(FASTJSON_FAILURE) from error


def _json_body(text: str) -> Mapping[str, Any]:
    body = json.loads(text) if text.strip() else {}
    if not isinstance(body, dict):
        raise ValueError(f"body: {text[:40]!r} is not a JSON object")
    return body


def _java_json(answer: Any) -> web.Response:
    text = json.dumps(answer, separators=(",", ":")) + "\n"
    return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})


def _not_served(request: web.Request) -> web.Response:
    page = JETTY_PAGE.format(method=request.method, path=html.escape(request.path))
    headers = {"Content-Type": "text/html;charset=iso-8859-1"}
    return web.Response(status=405, text=page, headers=headers)
