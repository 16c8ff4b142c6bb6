"""How an EVM provider lags, forks, hides and lies: pure rewriting of JSON-RPC requests and results.

A *view* is what the provider claims to see: a highest block, a final block, perhaps a fork. Tags
are replaced by the view's numbers before a request goes out, and what lies beyond the view is taken
out of what comes back, in the way real nodes do it: an unknown block is null, events of blocks the
node lacks are an empty list (never an error: that is the trap), state there is "header not found".
"""

import copy
import hashlib
from dataclasses import dataclass, field
from typing import Any

from xstock_devnet.proxy.faults import HideParams, LieRule, PatchStep

Json = Any

BLOCK_PARAM_BY_METHOD = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_getProof": 2,
    "eth_feeHistory": 1,
}
BLOCK_BY_NUMBER_METHODS = frozenset(
    {"eth_getBlockByNumber", "eth_getBlockReceipts", "eth_getBlockTransactionCountByNumber"}
)
HEAD_TAGS = frozenset({"latest", "pending"})
FINAL_TAGS = frozenset({"finalized", "safe"})
UNKNOWN_HEADER = {"code": -32000, "message": "header not found"}


class Answered(Exception):
    """Carries the members of a response (`result` or `error`) that needs no upstream call."""

    def __init__(self, **members: Json) -> None:
        super().__init__(members)
        self.members = members


@dataclass(slots=True)
class Fork:
    """A branch of other, empty blocks from a height on, the same for every request."""

    from_number: int
    real_hashes: dict[str, str] = field(default_factory=dict)

    def hash_for(self, real: str) -> str:
        """Return the fork's hash in place of a real one, and remember it for requests by hash."""
        forked = "0x" + hashlib.sha256(f"fork {self.from_number} {real}".encode()).hexdigest()
        self.real_hashes[forked] = real
        return forked


@dataclass(frozen=True, slots=True)
class View:
    """What the provider claims to see; None leaves that part as it is.

    `honest_heads` lets it report true heads while it answers all else from `head`.
    """

    head: int | None = None
    final: int | None = None
    honest_heads: bool = False
    fork: Fork | None = None

    def request(self, call: Json) -> Json:
        """Return the call to send upstream; raises Answered if the view alone decides."""
        method, params = call.get("method"), list(call.get("params") or [])
        if method == "eth_blockNumber" and self.head is not None and not self.honest_heads:
            raise Answered(result=hex(self.head))
        if method in BLOCK_BY_NUMBER_METHODS and params:
            params[0] = self._block_by_number(params[0])
        elif method in BLOCK_PARAM_BY_METHOD:
            self._state_block(params, BLOCK_PARAM_BY_METHOD[method])
        elif method == "eth_getLogs" and params:
            params[0] = self._log_filter(dict(params[0]))
        elif method == "eth_getBlockByHash" and self.fork and params:
            params[0] = self.fork.real_hashes.get(params[0], params[0])
        return {**call, "params": params}

    def result(self, call: Json, result: Json) -> Json:
        """Return the upstream's result as the view shows it; `call` is the caller's own request."""
        if call.get("method") == "eth_getLogs" or isinstance(result, list):
            return [item for item in result or [] if self._shows(item)]
        if not isinstance(result, dict):
            return result
        if "parentHash" in result:
            return self._block(call, result)
        return result if self._shows(result) else None

    def _number(self, tag: Json) -> Json:
        if tag in FINAL_TAGS and self.final is not None:
            return hex(self.final)
        if tag in HEAD_TAGS and self.head is not None:
            return hex(self.head)
        return tag

    def _beyond(self, block: Json) -> bool:
        is_number = isinstance(block, str) and block.startswith("0x") and len(block) < 66
        return self.head is not None and is_number and int(block, 16) > self.head

    def _block_by_number(self, tag: Json) -> Json:
        if self.honest_heads and not str(tag).startswith("0x"):
            return tag
        number = self._number(tag)
        if self._beyond(number):
            raise Answered(result=None)
        return number

    def _state_block(self, params: list[Json], index: int) -> None:
        while len(params) <= index:
            params.append("latest" if len(params) == index else None)
        block = params[index]
        if isinstance(block, dict):
            if self._beyond(block.get("blockNumber")):
                raise Answered(error=UNKNOWN_HEADER)
            return
        params[index] = self._number(block)
        if self._beyond(params[index]):
            raise Answered(error=UNKNOWN_HEADER)

    def _log_filter(self, wanted: dict[str, Json]) -> dict[str, Json]:
        if "blockHash" in wanted:
            return wanted
        for name in ("fromBlock", "toBlock"):
            wanted[name] = self._number(wanted.get(name, "latest"))
        if self._beyond(wanted["fromBlock"]):
            raise Answered(result=[])
        if self._beyond(wanted["toBlock"]):
            wanted["toBlock"] = hex(self.head or 0)
        return wanted

    def _shows(self, item: Json) -> bool:
        if not isinstance(item, dict) or not isinstance(item.get("blockNumber"), str):
            return True
        number = int(item["blockNumber"], 16)
        hidden = self.head is not None and number > self.head
        forked = self.fork is not None and number >= self.fork.from_number
        return not (hidden or forked)

    def _block(self, call: Json, block: dict[str, Json]) -> Json:
        if block.get("number") is None:  # pending: on no branch yet
            return block
        number = int(block["number"], 16)
        asked_for_head = self.honest_heads and not str(call["params"][0]).startswith("0x")
        if self.head is not None and number > self.head and not asked_for_head:
            return None
        if self.fork is None or number < self.fork.from_number:
            return block
        by_real_hash = call["params"][0] == block["hash"]
        if by_real_hash:
            return None
        parent = block["parentHash"]
        return {
            **block,
            "hash": self.fork.hash_for(block["hash"]),
            "parentHash": self.fork.hash_for(parent) if number > self.fork.from_number else parent,
            "transactions": [],
            "logsBloom": "0x" + "00" * 256,
        }


def hide_events(hidden: HideParams, method: str, result: Json) -> Json:
    """Leave matching events out of an `eth_getLogs` result and, if asked, out of receipts."""
    if method == "eth_getLogs" and isinstance(result, list):
        return [log for log in result if not _matches(hidden, log)]
    if not hidden.receipts:
        return result
    if method == "eth_getTransactionReceipt" and isinstance(result, dict):
        return {**result, "logs": [log for log in result["logs"] if not _matches(hidden, log)]}
    if method == "eth_getBlockReceipts" and isinstance(result, list):
        return [hide_events(hidden, "eth_getTransactionReceipt", each) for each in result]
    return result


def _matches(hidden: HideParams, log: dict[str, Json]) -> bool:
    asked = (
        (hidden.address, str(log.get("address", ""))),
        (hidden.tx_hash, str(log.get("transactionHash", ""))),
    )
    fields_match = all(want is None or want.lower() == have.lower() for want, have in asked)
    topics = [str(topic).lower() for topic in log.get("topics", [])]
    return fields_match and (hidden.topic is None or hidden.topic.lower() in topics)


def tell_lies(rules: tuple[LieRule, ...], call: Json, result: Json) -> Json:
    """Return the result with every rule's patch applied whose method and `where` fit the call."""
    asked = str(call.get("params")).lower()
    for rule in rules:
        if rule.method == call.get("method") and rule.where.lower() in asked:
            for step in rule.patch:
                result = apply_patch(result, step)
    return result


def apply_patch(document: Json, step: PatchStep) -> Json:
    """Return a copy of `document` with one JSON-pointer step applied (`-` appends to a list).

    Raises ValueError if the path is not there: a lie that cannot be told must not pass silently.
    """
    if step.path == "":
        return copy.deepcopy(step.value) if step.op != "remove" else None
    changed = copy.deepcopy(document)
    *parents, last = step.path.split("/")[1:]
    place = changed
    try:
        for part in parents:
            place = place[_key(place, part)]
        if step.op == "remove":
            del place[_key(place, last)]
        elif isinstance(place, list) and step.op == "add":
            place.insert(len(place) if last == "-" else int(last), copy.deepcopy(step.value))
        else:
            place[_key(place, last)] = copy.deepcopy(step.value)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"path {step.path!r} is not in the result: {error!r}") from None
    return changed


def _key(place: Json, part: str) -> Json:
    return int(part) if isinstance(place, list) else part
