"""One local chain behind a proxy, as two providers of one reader: the first struck, the other not.

Blocks are made by command only, so every height in a test is known.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_devnet.proxy.server import RpcProxy

READER = "guard-1"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider endpoint as a reader uses it."""

    url: str
    client: httpx.AsyncClient

    async def rpc(self, method: str, *params: object, path: str = "") -> Any:
        """The result of a JSON-RPC call, or its error object."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        answer = (await self.ask("POST", path, json=body)).json()
        return answer["result"] if "result" in answer else answer["error"]

    async def get(self, path: str, **query: object) -> Any:
        """The document of a GET."""
        return (await self.ask("GET", path, params=query)).json()

    async def post(self, path: str, **body: object) -> Any:
        """The document of a POST."""
        return (await self.ask("POST", path, json=body)).json()

    async def ask(self, verb: str, path: str = "", **more: Any) -> httpx.Response:
        """The HTTP answer itself."""
        return await self.client.request(verb, self.url + path, **more)


@dataclass(frozen=True, slots=True)
class Proxied:
    """A local chain, the proxy before it and the two providers."""

    chain: str
    admin: ProxyAdmin
    node: Provider

    @property
    def struck(self) -> Provider:
        """The provider that `strike` strikes."""
        return self.provider(0)

    @property
    def spared(self) -> Provider:
        """Its neighbour before the same chain."""
        return self.provider(1)

    def provider(self, number: int) -> Provider:
        """One provider of the reader."""
        return Provider(self.admin.endpoint(READER, self.chain, number), self.node.client)

    async def strike(self, fault: str, **params: Any) -> int:
        """Put a fault on the first provider."""
        return await self.admin.add(fault, chain=self.chain, identity=READER, provider=0, **params)

    async def told(self, command: str, **body: object) -> Any:
        """Have the chain itself do something."""
        answer = await self.node.ask("POST", f"/devnet/{command}", json=body)
        return answer.raise_for_status().json()


@asynccontextmanager
async def proxied(family: str, node_url: str) -> AsyncIterator[Proxied]:
    """A proxy before one running chain, without any fault."""
    proxy = RpcProxy({family: [node_url]}, {family: family})
    try:
        admin = ProxyAdmin(f"http://127.0.0.1:{await proxy.start()}")
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            yield Proxied(family, admin, Provider(node_url, client))
    finally:
        await proxy.stop()
