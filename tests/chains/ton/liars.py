"""A node that lies in one way: its answers are changed on their way to the production parser."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from xstock_chains.ton.address import raw
from xstock_chains.ton.rpc import Query, Toncenter
from xstock_core.ids import Address32

Json = dict[str, Any]
Tamper = Callable[[str, Json], Json]


class LyingToncenter(Toncenter):
    """The node at `url` with `tamper(method, answer)` between it and its reader."""

    def __init__(self, url: str, tamper: Tamper) -> None:
        super().__init__(url)
        self._tamper = tamper

    async def get(self, method: str, query: Query = (), version: str = "v3") -> Json:
        """As the node says it, changed."""
        return self._tamper(method, deepcopy(await super().get(method, query, version)))

    async def post(self, method: str, body: Mapping[str, Any], version: str = "v3") -> Json:
        """As the node says it, changed."""
        return self._tamper(method, deepcopy(await super().post(method, body, version)))


def on_transactions(change: Callable[[list[Json]], list[Json]]) -> Tamper:
    """Change the lists of an account's transactions."""

    def tamper(method: str, answer: Json) -> Json:
        if method == "transactions":
            answer["transactions"] = change(answer["transactions"])
        return answer

    return tamper


def hiding(number: int) -> Tamper:
    """One transaction of every list is left out."""
    return on_transactions(lambda found: [tx for at, tx in enumerate(found) if at != number])


def without_the_last(found: list[Json]) -> list[Json]:
    """The newest transaction is not there yet."""
    return found[:-1]


def without_logs_of_the_last(found: list[Json]) -> list[Json]:
    """The newest transaction shows no external-out messages."""
    for tx in found[-1:]:
        tx["out_msgs"] = [out for out in tx["out_msgs"] if out["destination"] is not None]
    return found


def each(**changes: Any) -> Tamper:
    """Every transaction with these fields."""
    return on_transactions(lambda found: [{**tx, **changes} for tx in found])


class LyingAccount(Toncenter):
    """The node at `url`, which shows one account at a block otherwise (API v2)."""

    def __init__(self, url: str, account: Address32, change: Callable[[Json], Json]) -> None:
        super().__init__(url)
        self._account = account
        self._change = change

    async def get(self, method: str, query: Query = (), version: str = "v3") -> Json:
        """As the node says it; changed where it is about that account."""
        answer = deepcopy(await super().get(method, query, version))
        asked = dict(query) if method == "getAddressInformation" else {}
        if asked.get("address") == raw(self._account):
            answer["result"] = self._change(answer["result"])
        return answer
