"""The client of the proxy's admin API: how tests and the demo put faults in and take them out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class ProxyAdmin:
    """Speaks to one proxy at `base_url`, e.g. `http://127.0.0.1:8600`."""

    base_url: str

    def endpoint(self, identity: str, chain: str, provider: int) -> str:
        """Return the RPC address of one provider as one reader uses it."""
        return f"{self.base_url}/{identity}/{chain}/{provider}"

    async def add(
        self,
        fault: str,
        *,
        identity: str | None = None,
        chain: str | None = None,
        provider: int | None = None,
        **params: Any,
    ) -> int:
        """Put a fault in force and return its id; raises ValueError if the proxy refuses it."""
        target = {"identity": identity, "chain": chain, "provider": provider}
        return int((await self.put({**target, "fault": fault, "params": params}))["id"])

    async def put(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Put a fault in force and return it as it is; raises ValueError if the proxy refuses."""
        return dict(await self._ask("POST", "/admin/faults", dict(request)))

    async def lift(self, **wanted: str | int) -> int:
        """Lift faults by id, identity, chain, provider, fault (none given: all); say how many."""
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        answer = await self._ask("DELETE", f"/admin/faults?{query}", None)
        return int(answer["lifted"])

    async def faults(self) -> list[dict[str, Any]]:
        """Return the faults in force and how often each has struck."""
        return list(await self._ask("GET", "/admin/faults", None))

    async def stats(self) -> list[dict[str, Any]]:
        """Return how often each endpoint was asked each method."""
        return list(await self._ask("GET", "/admin/stats", None))

    async def _ask(self, method: str, path: str, body: object) -> Any:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.request(method, self.base_url + path, json=body)
        if answer.is_client_error:
            raise ValueError(f"{method} {path}: {answer.json()['error']}")
        return answer.raise_for_status().json()
