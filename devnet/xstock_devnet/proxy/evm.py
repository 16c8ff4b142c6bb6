"""How an EVM provider lags, forks, hides and refuses: JSON-RPC rewritten on its way.

Tags are replaced by the view's numbers before a call goes out, and what lies beyond the view is
taken out of what comes back, in the way real nodes do it: an unknown block is null, events of
blocks the node lacks are an empty list (never an error: that is the trap), state there is "header
not found". State is therefore as old as the view says: the one family where all of it can be.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from xstock_devnet.proxy.family import ErrorFact, Heights, View, joined_url
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.rpc_errors import ANYWHERE, rpc_error, rpc_rate_limited
from xstock_devnet.proxy.wire import Answer, Ask, Call, Json, Reply, Request, rpc, rpc_calls

METHOD_NAME: Final = re.compile(rb'"method"\s*:\s*"([A-Za-z0-9_]+)"')
BLOCK_PARAM_BY_METHOD: Final = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_getProof": 2,
    "eth_feeHistory": 1,
}
BLOCK_BY_NUMBER_METHODS: Final = frozenset(
    {"eth_getBlockByNumber", "eth_getBlockReceipts", "eth_getBlockTransactionCountByNumber"}
)
HEAD_TAGS: Final = frozenset({"latest", "pending"})
FINAL_TAGS: Final = frozenset({"finalized", "safe"})
UNKNOWN_HEADER: Final = {"code": -32000, "message": "header not found"}
_HASH_CHARACTERS: Final = 66
_SEND: Final = ("eth_sendRawTransaction",)
_STATE: Final = ("eth_call", "eth_getBalance", "eth_getCode", "eth_getTransactionCount")
_LOGS: Final = ("eth_getLogs",)

ERRORS: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        **ANYWHERE,
        "header_not_found": rpc_error(
            "the node lacks the block asked about", _STATE, -32000, "header not found"
        ),
        "missing_trie_node": rpc_error(
            "state of that block is pruned",
            _STATE,
            -32000,
            "missing trie node 0123456789abcdef (path ) state is not available",
        ),
        "history_pruned": rpc_error(
            "blocks of that age are gone", _LOGS, 4444, "pruned history unavailable"
        ),
        "limit_exceeded": rpc_error(
            "too many events match", _LOGS, -32005, "query returned more than 10000 results"
        ),
        "range_too_wide": rpc_error(
            "the block range is too wide", _LOGS, -32602, "block range is too large"
        ),
        "execution_reverted": rpc_error(
            "the call reverts", ("eth_call", "eth_estimateGas"), 3, "execution reverted", data="0x"
        ),
        "nonce_too_low": rpc_error(
            "the nonce is used by a mined transaction", _SEND, -32000, "nonce too low"
        ),
        "nonce_too_high": rpc_error("the nonce is too far ahead", _SEND, -32000, "nonce too high"),
        "already_known": rpc_error("it is in the pool already", _SEND, -32000, "already known"),
        "replacement_underpriced": rpc_error(
            "the nonce is taken in the pool, for about as much",
            _SEND,
            -32000,
            "replacement transaction underpriced",
        ),
        "underpriced": rpc_error(
            "the fee is too low for the pool", _SEND, -32000, "transaction underpriced"
        ),
        "fee_below_base": rpc_error(
            "the fee is below the block's base fee",
            _SEND,
            -32000,
            "max fee per gas less than block base fee",
        ),
        "insufficient_funds": rpc_error(
            "the sender cannot pay", _SEND, -32000, "insufficient funds for gas * price + value"
        ),
        "gas_limit": rpc_error(
            "more gas than a block has", _SEND, -32000, "exceeds block gas limit"
        ),
        "pool_full": rpc_error("the pool is full", _SEND, -32000, "txpool is full"),
    }
)


class Answered(Exception):
    """Carries an answer that needs no node."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class Evm:
    """The EVM family at a path of the node, with or without state of older blocks."""

    name = "evm"
    errors = ERRORS
    passes = "sends and the pool; on a fork, state, which is the true branch's"
    hides_by: Mapping[str, str] = MappingProxyType(
        {
            "address": "the emitting contract",
            "topic": "any topic of the log",
            "tx_hash": "the transaction",
            "receipts": "false: hidden from eth_getLogs only",
        }
    )

    def __init__(self, path: str = "", *, old_state: bool = True) -> None:
        self._path = path
        self._old_state = old_state

    def target(self, url: str, path: str) -> str:
        """The node's own URL."""
        return joined_url(url, path)

    def names(self, request: Request) -> list[str]:
        """Every method that the bytes name."""
        return [name.decode() for name in METHOD_NAME.findall(request.body)]

    def calls(self, request: Request) -> list[Call]:
        """One JSON-RPC call, or those of a batch."""
        return rpc_calls(request)

    async def heights(self, ask: Ask) -> Heights:
        """The numbers of the latest and the finalized block."""
        return Heights(await self._height(ask, "latest"), await self._height(ask, "finalized"))

    async def seen(self, call: Call, view: View, ask: Ask) -> Answer:
        """The call with the view's numbers, and of its result what the view has."""
        try:
            asked = self._request(call, view)
        except Answered as known:
            return known.answer
        answer = await ask(asked)
        if answer.refused:
            return answer
        result = _result(call, view, answer.document)
        for hidden in view.hidden:
            result = hide_events(hidden, call.method, result)
        return answer.saying(result)

    def rate_limited(self, call: str) -> Reply:  # noqa: ARG002
        """What providers of EVM nodes say."""
        return rpc_rate_limited("Too Many Requests")

    async def _height(self, ask: Ask, tag: str) -> int:
        answer = await ask(rpc(*("eth_getBlockByNumber", tag, False), path=self._path))
        if not isinstance(answer.document, dict) or "number" not in answer.document:
            raise ValueError(f"the node does not say its {tag} block: {answer.document!r}")
        return int(answer.document["number"], 16)

    def _request(self, call: Call, view: View) -> Call:
        """The call to put to the node; raises Answered if the view alone decides."""
        method, params = call.method, list(call.params)
        if method == "eth_blockNumber" and view.head is not None:
            raise Answered(Answer(hex(view.head)))
        if method in BLOCK_BY_NUMBER_METHODS and params:
            params[0] = _block_by_number(view, params[0])
        elif method in BLOCK_PARAM_BY_METHOD and self._old_state:
            _state_block(view, params, BLOCK_PARAM_BY_METHOD[method])
        elif method == "eth_getLogs" and params:
            params[0] = _log_filter(view, dict(params[0]))
        elif method == "eth_getBlockByHash" and view.fork and params:
            params[0] = view.fork.real_by_forked.get(params[0], params[0])
        return call.asking(params)


def _claimed(view: View, tag: Json) -> Json:
    """The number a tag stands for in what the view claims; the tag itself where it is true."""
    if tag in FINAL_TAGS or tag in HEAD_TAGS:
        number = view.claimed(final=tag in FINAL_TAGS)
        return tag if number is None else hex(number)
    return tag


def _known(view: View, tag: Json) -> Json:
    """The number a tag stands for in what the view knows."""
    if tag in FINAL_TAGS or tag in HEAD_TAGS:
        number = view.known(final=tag in FINAL_TAGS)
        return tag if number is None else hex(number)
    return tag


def _beyond(view: View, block: Json) -> bool:
    is_number = isinstance(block, str) and block.startswith("0x") and len(block) < _HASH_CHARACTERS
    return is_number and view.beyond(int(block, 16))


def _block_by_number(view: View, tag: Json) -> Json:
    if not str(tag).startswith("0x"):
        return _claimed(view, tag)
    if _beyond(view, tag):
        raise Answered(Answer(None))
    return tag


def _state_block(view: View, params: list[Json], index: int) -> None:
    while len(params) <= index:
        params.append("latest" if len(params) == index else None)
    block = params[index]
    if not isinstance(block, dict):
        block = params[index] = _known(view, block)
    number = block.get("blockNumber") if isinstance(block, dict) else block
    if _beyond(view, number):
        raise Answered(Answer(UNKNOWN_HEADER, refused=True))


def _log_filter(view: View, wanted: dict[str, Json]) -> dict[str, Json]:
    if "blockHash" in wanted:
        return wanted
    for name in ("fromBlock", "toBlock"):
        wanted[name] = _known(view, wanted.get(name, "latest"))
    if _beyond(view, wanted["fromBlock"]):
        raise Answered(Answer([]))
    if _beyond(view, wanted["toBlock"]):
        wanted["toBlock"] = hex(view.known_head or 0)
    return wanted


def _result(call: Call, view: View, result: Json) -> Json:
    """The node's result as the view shows it; `call` is the reader's own."""
    if call.method == "eth_getLogs" or isinstance(result, list):
        return [item for item in result or [] if _shows(view, item)]
    if not isinstance(result, dict):
        return result
    if "parentHash" in result:
        return _block(call, view, result)
    return result if _shows(view, result) else None


def _shows(view: View, item: Json) -> bool:
    number = item.get("blockNumber") if isinstance(item, dict) else None
    return view.shows(int(number, 16)) if isinstance(number, str) and number != "0x" else True


def _block(call: Call, view: View, block: dict[str, Json]) -> Json:
    if block.get("number") is None:  # pending: on no branch yet
        return block
    number, asked = int(block["number"], 16), call.params[0]
    by_tag = not str(asked).startswith("0x")
    if view.beyond(number) and not by_tag:
        return None
    if view.fork is None or not view.forked(number):
        return block
    if asked == block["hash"]:
        return None
    parent = block["parentHash"]
    return {
        **block,
        "hash": view.fork.hash_for(block["hash"], _hex),
        "parentHash": view.fork.hash_for(parent, _hex) if view.forked(number - 1) else parent,
        "transactions": [],
        "logsBloom": "0x" + "00" * 256,
    }


def _hex(digest: bytes, real: str) -> str:  # noqa: ARG001
    return "0x" + digest.hex()


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
