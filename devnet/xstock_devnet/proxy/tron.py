"""How a Tron provider lags, forks, hides and refuses: /wallet, /walletsolidity and /jsonrpc.

Blocks, transactions and their infos are seen as the view says, as a real node shows what it lacks:
`{}` and `[]`, like an unknown id or an empty block. /walletsolidity sees the final part of the
view. State cannot be read at an older block from any Tron node, so constant calls and accounts
pass as they are: what a pool answers whose other node is not behind. Broadcasts pass too.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import base58

from xstock_devnet.proxy.evm import METHOD_NAME, Evm
from xstock_devnet.proxy.family import ErrorFact, Heights, View, joined_url
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.rpc_errors import BALANCER
from xstock_devnet.proxy.wire import (
    JSON_TYPE,
    Answer,
    Ask,
    Call,
    Json,
    Reply,
    Request,
    rest,
    rest_calls,
    rest_name,
    rpc_calls,
)

SOLIDITY_MARK: Final = "#solidity="
"""In a node's URL: its solidity interface is at another address, which follows."""

_ID_NUMBER_DIGITS: Final = 16
_ADDRESS_BYTES: Final = 20
_NAME_PARTS: Final = ("wallet/", "walletsolidity/")
_SEND: Final = ("wallet/broadcasthex", "wallet/broadcasttransaction")
_CALLS: Final = ("wallet/estimateenergy", "wallet/triggerconstantcontract")
_LOOKUPS: Final = ("gettransactioninfobyid", "gettransactionbyid", "getblockbynum")


def _broadcast(means: str, code: str, message: str) -> ErrorFact:
    """A refused broadcast: text in plain for broadcasthex, in hex for broadcasttransaction."""

    def say(call: Call, given: int | None) -> Answer:  # noqa: ARG001
        in_hex = call.method == "wallet/broadcasttransaction" and not call.params.get("visible")
        text = message.encode().hex() if in_hex else message
        head = {} if call.method == "wallet/broadcasttransaction" else {"result": False}
        return Answer({**head, "code": code, "txid": _txid(call.params), "message": text})

    return ErrorFact(means, _SEND, say)


def _document(means: str, methods: tuple[str, ...], document: Json) -> ErrorFact:
    """A document with status 200, as Tron's errors come."""

    def say(call: Call, given: int | None) -> Answer:  # noqa: ARG001
        return Answer(document)

    return ErrorFact(means, methods, say)


def _java(name: str, text: str) -> Json:
    return {"Error": f"class {name} : {text}"}


ERRORS: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        **BALANCER,
        "dup_transaction": _broadcast(
            "the node knows this transaction already, which is not that it took it",
            "DUP_TRANSACTION_ERROR",
            "Dup transaction.",
        ),
        "tapos": _broadcast(
            "the reference block is not on this node's chain", "TAPOS_ERROR", "Tapos check error."
        ),
        "expiration": _broadcast(
            "the transaction has expired", "TRANSACTION_EXPIRATION_ERROR", "Transaction expired"
        ),
        "bandwidth": _broadcast(
            "the sender cannot pay for the bytes",
            "BANDWITH_ERROR",
            "Account resource insufficient error.",
        ),
        "contract_validate": _broadcast(
            "the contract is not there, or a field is wrong",
            "CONTRACT_VALIDATE_ERROR",
            "Contract validate error : No contract or not a smart contract",
        ),
        "signature": _broadcast(
            "a signature is wrong", "SIGERROR", "Validate signature error: Signature size is 64"
        ),
        "server_busy": _broadcast(
            "too many transactions wait at this node", "SERVER_BUSY", "Server busy."
        ),
        "no_connection": _broadcast("the node has no peers", "NO_CONNECTION", "No connection."),
        "block_unsolidified": _broadcast(
            "the node's blocks do not get solid", "BLOCK_UNSOLIDIFIED", "Block unsolidified."
        ),
        "too_big": _broadcast(
            "the transaction is too long",
            "TOO_BIG_TRANSACTION_ERROR",
            "Transaction size is too big.",
        ),
        "other": _broadcast("anything else", "OTHER_ERROR", "Other error: null"),
        "contract_exe": _document(
            "the simulated call reverts",
            _CALLS,
            {"result": {"code": "CONTRACT_EXE_ERROR", "message": b"REVERT opcode executed".hex()}},
        ),
        "estimate_disabled": _document(
            "this node does not estimate energy",
            ("wallet/estimateenergy",),
            {
                "result": {
                    "code": "CONTRACT_VALIDATE_ERROR",
                    "message": b"this node does not support estimate energy".hex(),
                }
            },
        ),
        "not_found": _document(
            "the node knows nothing of it: absence and ignorance look alike", _LOOKUPS, {}
        ),
        "lack_of_resources": _document(
            "the node's own rate limit",
            (),
            _java("java.lang.IllegalAccessException", "lack of computing resources"),
        ),
        "null_pointer": _document(
            "something broke inside", (), _java("java.lang.NullPointerException", "null")
        ),
    }
)


class Tron:
    """The Tron family: REST, and EVM's JSON-RPC on a path of it."""

    name = "tron"
    errors = ERRORS
    passes = (
        "broadcasts, pending transactions, and state: constant calls, accounts, parameters, node"
        " info"
    )
    hides_by: Mapping[str, str] = MappingProxyType(
        {
            "address": "the emitting contract: base58, 41… or 20 bytes in hex",
            "topic": "any topic of the log",
            "tx_hash": "the transaction (alone: the whole of it, with its info)",
            "receipts": "false: hidden from reads by block only",
        }
    )

    def __init__(self) -> None:
        self._rpc = Evm("/jsonrpc", old_state=False)

    def target(self, url: str, path: str) -> str:
        """The full node, or its solidity interface where that has an address of its own."""
        node, _, solidity = url.partition(SOLIDITY_MARK)
        return joined_url(solidity if solidity and "/walletsolidity" in path else node, path)

    def names(self, request: Request) -> list[str]:
        """The last two parts of the path, or every method that JSON-RPC bytes name."""
        if _is_rpc(request.path):
            return [name.decode() for name in METHOD_NAME.findall(request.body)]
        return [rest_name(request.path)]

    def calls(self, request: Request) -> list[Call]:
        """One REST call, or JSON-RPC."""
        return rpc_calls(request) if _is_rpc(request.path) else rest_calls(request)

    async def heights(self, ask: Ask) -> Heights:
        """The numbers of the latest and the solid block."""
        return Heights(await _height(ask, "/wallet"), await _height(ask, "/walletsolidity"))

    async def seen(self, call: Call, view: View, ask: Ask) -> Answer:
        """What a full node with this view answers."""
        if call.is_rpc:
            return await self._rpc.seen(call, view, ask)
        _, _, what = call.method.partition("/")
        if not call.method.startswith(_NAME_PARTS) or what not in _SEEN:
            return await ask(call)
        return await _SEEN[what](call, view, ask)

    def rate_limited(self, call: str) -> Reply:  # noqa: ARG002
        """What the public gateway says."""
        text = (
            "request rate exceeded the allowed_rps(15), and the query server is suspended for 5 s"
        )
        return Reply(429, f'{{"Error":"{text}"}}'.encode(), JSON_TYPE)


def _is_rpc(path: str) -> bool:
    return path.rstrip("/").endswith("jsonrpc")


# ------------------------------------------------------------------ blocks


async def _get_now_block(call: Call, view: View, ask: Ask) -> Answer:
    final = _is_final(call)
    limit = view.claimed(final=final)
    answer = await ask(call)
    if answer.refused or not _is_block(answer.document):
        return answer
    if limit is not None and _number(answer.document) > limit:
        answer = await ask(_block_call(call, limit))
    return answer.saying(_block_as_seen(view, answer.document))


def _block_call(call: Call, number: int) -> Call:
    """What asks the same interface for one block, as `call` would have it shown."""
    if call.method.endswith("/getblock"):
        return rest("POST", call.path, {**call.params, "id_or_num": str(number)})
    return rest("POST", f"{_folder(call)}/getblockbynum", {"num": number, **_visible(call)})


async def _get_block(call: Call, view: View, ask: Ask) -> Answer:
    """`getblock`: by number or id in one field, or the latest."""
    if not call.params.get("id_or_num"):
        return await _get_now_block(call, view, ask)
    if str(call.params["id_or_num"]).isdigit():
        return await _one_block(call, view, ask)
    return await _get_block_by_id(call, view, ask, field="id_or_num")


async def _get_block_by_id(call: Call, view: View, ask: Ask, field: str = "value") -> Answer:
    asked = str(call.params.get(field))
    real = view.fork.real_by_forked.get(asked) if view.fork else None
    answer = await ask(call.asking({**call.params, field: real or asked}))
    if answer.refused or not _is_block(answer.document):
        return answer
    number = _number(answer.document)
    hidden = view.beyond(number, final=_is_final(call)) or (view.forked(number) and real is None)
    return Answer({}) if hidden else answer.saying(_block_as_seen(view, answer.document))


async def _one_block(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused or not _is_block(answer.document):
        return answer
    if view.beyond(_number(answer.document), final=_is_final(call)):
        return Answer({})
    return answer.saying(_block_as_seen(view, answer.document))


async def _some_blocks(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused or "block" not in answer.document:
        return answer
    final = _is_final(call)
    many = answer.document["block"]
    left = [_block_as_seen(view, one) for one in many if not view.beyond(_number(one), final=final)]
    return answer.saying({"block": left} if left else {})


async def _latest_blocks(call: Call, view: View, ask: Ask) -> Answer:
    """`getblockbylatestnum`: the same number of blocks, up to the view's head."""
    limit, count = view.known(final=_is_final(call)), int(call.params.get("num") or 0)
    if limit is None or count <= 0:
        return await _some_blocks(call, view, ask)
    bounds = {"startNum": max(0, limit - count + 1), "endNum": limit + 1, **_visible(call)}
    path = f"{_folder(call)}/getblockbylimitnext"
    answer = await _some_blocks(rest("POST", path, bounds), view, ask)
    return answer.saying({"block": list(reversed(answer.document.get("block", [])))})


def _block_as_seen(view: View, block: dict[str, Json]) -> dict[str, Json]:
    """The block, or the empty one that stands there on the fork, without hidden transactions."""
    if view.fork is None or not view.forked(_number(block)):
        return _without_transactions(view, block)
    header = block["block_header"]
    raw = dict(header["raw_data"])
    if view.forked(_number(block) - 1):
        raw["parentHash"] = view.fork.hash_for(raw["parentHash"], _block_id)
    raw["txTrieRoot"] = "00" * 32
    left = {name: value for name, value in block.items() if name != "transactions"}
    forked = view.fork.hash_for(block["blockID"], _block_id)
    return {**left, "blockID": forked, "block_header": {**header, "raw_data": raw}}


def _without_transactions(view: View, block: dict[str, Json]) -> dict[str, Json]:
    many = block.get("transactions", [])
    left = [one for one in many if not _is_hidden(view, str(one.get("txID")), by_id=True)]
    return block if len(left) == len(many) else {**block, "transactions": left}


# ------------------------------------------------------------------ transactions


async def _info_by_id(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused or "blockNumber" not in answer.document:
        return answer
    info = answer.document
    shown = view.shows(int(info["blockNumber"]), final=_is_final(call))
    if not shown or _is_hidden(view, str(info["id"]), by_id=True):
        return Answer({})
    return answer.saying(_without_logs(view, info, by_id=True))


async def _infos_by_block(call: Call, view: View, ask: Ask) -> Answer:
    number = int(call.params.get("num") or 0)
    if not view.shows(number, final=_is_final(call)):
        return Answer([])
    answer = await ask(call)
    if answer.refused or not isinstance(answer.document, list):
        return answer
    left = [
        _without_logs(view, info, by_id=False)
        for info in answer.document
        if not _is_hidden(view, str(info["id"]), by_id=False)
    ]
    return answer.saying(left)


async def _transaction_by_id(call: Call, view: View, ask: Ask) -> Answer:
    """A transaction says no block, so its info is asked too; one in no block is shown."""
    path = f"{_folder(call)}/gettransactioninfobyid"
    info = await ask(rest("POST", path, {"value": call.params.get("value")}))
    number = None if info.refused else info.document.get("blockNumber")
    shown = number is None or view.shows(int(number), final=_is_final(call))
    if not shown or _is_hidden(view, str(call.params.get("value")), by_id=True):
        return Answer({})
    return await ask(call)


def _is_hidden(view: View, txid: str, *, by_id: bool) -> bool:
    """Whether a whole transaction is hidden: one named alone."""
    return any(
        hidden.tx_hash is not None
        and _hex(hidden.tx_hash) == txid.lower()
        and hidden.address is None
        and hidden.topic is None
        and (hidden.receipts or not by_id)
        for hidden in view.hidden
    )


def _without_logs(view: View, info: dict[str, Json], *, by_id: bool) -> dict[str, Json]:
    logs = info.get("log", [])
    reaching = [hidden for hidden in view.hidden if hidden.receipts or not by_id]
    txid = str(info.get("id"))
    left = [log for log in logs if not any(_matches(hidden, txid, log) for hidden in reaching)]
    if len(left) == len(logs):
        return info
    kept = {name: value for name, value in info.items() if name != "log"}
    return {**kept, "log": left} if left else kept


def _matches(hidden: HideParams, txid: str, log: dict[str, Json]) -> bool:
    topics = [_hex(str(topic)) for topic in log.get("topics", [])]
    return (
        (hidden.address is None or _account(hidden.address) == _account(str(log.get("address"))))
        and (hidden.topic is None or _hex(hidden.topic) in topics)
        and (hidden.tx_hash is None or _hex(hidden.tx_hash) == txid.lower())
    )


# ------------------------------------------------------------------ small facts


def _is_final(call: Call) -> bool:
    return call.method.startswith("walletsolidity/")


def _folder(call: Call) -> str:
    """The path before the last part: where the same interface is asked something else."""
    return call.path.rpartition("/")[0]


def _visible(call: Call) -> dict[str, Json]:
    return {"visible": call.params["visible"]} if "visible" in call.params else {}


def _is_block(document: Json) -> bool:
    return isinstance(document, dict) and "block_header" in document


def _number(block: dict[str, Any]) -> int:
    """A block's number, which zero leaves out."""
    return int(block["block_header"]["raw_data"].get("number", 0))


async def _height(ask: Ask, folder: str) -> int:
    answer = await ask(rest("POST", f"{folder}/getnowblock", {}))
    if answer.refused or not _is_block(answer.document):
        raise ValueError(f"the node does not say its {folder} block: {answer.document!r}")
    return _number(answer.document)


def _block_id(digest: bytes, real: str) -> str:
    """A block id begins with its number."""
    return real[:_ID_NUMBER_DIGITS] + digest.hex()[_ID_NUMBER_DIGITS:]


def _hex(text: str) -> str:
    return text.lower().removeprefix("0x")


def _account(text: str) -> str:
    """The 20 bytes of an address in any form, in hex."""
    digits = _hex(text)
    if len(digits) == 2 * _ADDRESS_BYTES + 2 and digits.startswith("41"):
        return digits[2:]
    if text.startswith("T"):
        return base58.b58decode_check(text).hex()[2:]
    return digits


def _txid(params: Mapping[str, Json]) -> str:
    """The id that a broadcast's answer names: given, or the hash of the raw data in the bytes."""
    given = params.get("txID")
    if given:
        return str(given)
    try:
        return hashlib.sha256(_raw_data(bytes.fromhex(str(params.get("transaction"))))).hexdigest()
    except ValueError:
        return ""


def _raw_data(transaction: bytes) -> bytes:
    """Field 1 of a protobuf Transaction; raises ValueError if it does not begin so."""
    if transaction[:1] != b"\x0a":
        raise ValueError("a Transaction begins with its raw data")
    length = shift = 0
    for index, byte in enumerate(transaction[1:6], start=2):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return transaction[index : index + length]
    raise ValueError("the length of the raw data has no end")


_SEEN: Final[Mapping[str, Callable[[Call, View, Ask], Awaitable[Answer]]]] = MappingProxyType(
    {
        "getnowblock": _get_now_block,
        "getblock": _get_block,
        "getblockbynum": _one_block,
        "getblockbyid": _get_block_by_id,
        "getblockbylimitnext": _some_blocks,
        "getblockbylatestnum": _latest_blocks,
        "gettransactioninfobyid": _info_by_id,
        "gettransactioninfobyblocknum": _infos_by_block,
        "gettransactionbyid": _transaction_by_id,
    }
)
