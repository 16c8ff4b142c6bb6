"""How a TON provider lags, forks, hides and refuses: toncenter's /api/v2 and /api/v3.

Heights are masterchain seqnos; what is in a masterchain block is final, so a frozen finality is a
provider that sees nothing newer. Masterchain info, blocks, transactions (also by message and by
block), traces, getters and the last transaction of an account are seen as the view says; a page is
filled with what is visible, as an indexer's is. Getters at an older block are API v2's. Balances,
code and data of v3 pass as they are: what a pool answers whose other node is not behind. So do its
messages, jetton lists and pending transactions, which name no masterchain block, and the
transaction lists of v2.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from xstock_devnet.proxy.family import ErrorFact, Heights, View, joined_url
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.rpc_errors import BALANCER
from xstock_devnet.proxy.wire import (
    Answer,
    Ask,
    Call,
    Json,
    Reply,
    Request,
    rest,
    rest_calls,
    rest_name,
)

MASTERCHAIN: Final = -1
MASTERCHAIN_SHARD: Final = "8000000000000000"
_PAGE: Final = 1000
_V2_TYPES: Final = {"num": "num", "cell": "tvm.Cell", "slice": "tvm.Slice"}
_HASH_DIGITS: Final = 64
_PAGE_USUAL: Final = 10
_NO_HASH: Final = base64.b64encode(bytes(32)).decode()
_SEND: Final = ("v3/message", "v2/sendBoc", "v2/sendBocReturnHash")
_NOT_ACCEPTED: Final = (
    "LITE_SERVER_UNKNOWN: cannot apply external message to current state : External message was"
    " not accepted\nCannot run message on account: inbound external message rejected by"
    " transaction 2B8403E3965420876FD09E9DA7B431106887AE169675F5BF4FBC628E817207C7:\n"
    "exitcode={value}, steps=13, gas_used=0\nVM Log (truncated):\n..."
)
_BAD_BOC: Final = (
    "LITE_SERVER_UNKNOWN: cannot apply external message to current state : failed to parse"
    " external message external message is not a valid bag of cells"
)
_NOT_READY: Final = "LITE_SERVER_NOTREADY: block is not applied"
_RATE_LIMITED: Final = b'{"ok":false,"result":"Ratelimit exceed","code":429}'
_RATE_LIMITED_V3: Final = b'{"error":"Ratelimit exceed"}'


def _error(
    means: str, methods: tuple[str, ...], status: int, text: str, value: int = 0
) -> ErrorFact:
    """An error document in the words of the API's version; `{value}` may stand in the text."""

    def say(call: Call, given: int | None) -> Answer:
        said = text.format(value=value if given is None else given)
        whole = {"ok": False, "error": said, "code": status}
        document = {"error": said} if call.method.startswith("v3/") else whole
        return Answer(document, refused=True, status=status)

    return ErrorFact(means, methods, say)


def _say_rate_limit(call: Call, given: int | None) -> Answer:  # noqa: ARG001
    """The gateway's words, in which v2's text is a result."""
    reply = _rate_limited(call.method)
    return Answer(None, refused=True, status=reply.status, reply=reply)


def _rate_limited(method: str) -> Reply:
    return Reply(429, _RATE_LIMITED_V3 if method.startswith("v3/") else _RATE_LIMITED)


ERRORS: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        **BALANCER,
        "rate_limit": ErrorFact("too many requests, as the gateway says it", (), _say_rate_limit),
        "rate_limit_exceeded": _error(
            "too many requests, as the API itself says it", (), 429, "Ratelimit exceeded"
        ),
        "lite_server_network": _error(
            "no lite server answered in time", (), 504, "LITE_SERVER_NETWORK timeout"
        ),
        "lite_server_not_ready": _error(
            "a lite server lacks the block (HTTP 542)", (), 542, _NOT_READY
        ),
        "cannot_apply_external": _error(
            "the wallet refuses the message with exit code `value` (36: it has expired)",
            _SEND,
            500,
            _NOT_ACCEPTED,
            value=36,
        ),
        "bad_boc": _error("the message is no bag of cells", _SEND, 500, _BAD_BOC),
        "empty_boc": _error("the message is missing", _SEND, 422, "empty boc"),
        "exit_code": _error(
            "a simulation ends with exit code `value`",
            _SEND,
            500,
            "Exit code {value} != 0",
            value=36,
        ),
        "api_key": _error("the key is unknown", (), 401, "API key does not exist"),
        "network": _error("the key is for another network", (), 403, "Network not allowed"),
        "internal": _error("something broke inside", (), 500, "Internal Server Error"),
    }
)


class Ton:
    """The TON family."""

    name = "ton"
    errors = ERRORS
    passes = (
        "sends, pending transactions, v3's messages and jetton lists, v2's transaction lists, and"
        " balances, code and data of v3 (its getters and v2's reads are as old as the view)"
    )
    hides_by: Mapping[str, str] = MappingProxyType(
        {
            "address": "the account of the transaction, raw or user-friendly",
            "topic": "the opcode of a message in or out, as 0x…",
            "tx_hash": "the transaction, in base64 or hex",
            "receipts": "false: hidden from v3/transactions only",
        }
    )

    def target(self, url: str, path: str) -> str:
        """The base URL and the path."""
        return joined_url(url, path)

    def names(self, request: Request) -> list[str]:
        """The last two parts of the path."""
        return [rest_name(request.path)]

    def calls(self, request: Request) -> list[Call]:
        """One REST call."""
        return rest_calls(request)

    async def heights(self, ask: Ask) -> Heights:
        """The last masterchain block, which is both."""
        answer = await ask(rest("GET", "/api/v3/masterchainInfo", {}))
        try:
            seqno = int(answer.document["last"]["seqno"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"the node does not say its masterchain block: {answer.document!r}"
            ) from None
        return Heights(seqno, seqno)

    async def seen(self, call: Call, view: View, ask: Ask) -> Answer:
        """What an indexer with this view answers."""
        return await _SEEN.get(call.method, _pass)(call, view, ask)

    def rate_limited(self, call: str) -> Reply:
        """What toncenter says."""
        return _rate_limited(call)


async def _pass(call: Call, view: View, ask: Ask) -> Answer:  # noqa: ARG001
    return await ask(call)


# ------------------------------------------------------------------ blocks


async def _masterchain_info(call: Call, view: View, ask: Ask) -> Answer:
    """Of v3, and of v2, whose document has it in `result`."""
    answer = await ask(call)
    if answer.refused:
        return answer
    outer = answer.document
    info = outer.get("result", outer)
    limit, seqno = view.claimed(final=True), int(info["last"]["seqno"])
    last = info["last"]
    if limit is not None and seqno > limit:
        last = await _masterchain_block(last, limit, ask)
    seen = {**info, "last": _block_as_seen(view, last)}
    return answer.saying({**outer, "result": seen} if "result" in outer else seen)


async def _masterchain_block(pattern: Json, seqno: int, ask: Ask) -> Json:
    """The masterchain block of a seqno with the fields of `pattern`, a newer one."""
    wanted = {"workchain": MASTERCHAIN, "shard": MASTERCHAIN_SHARD, "seqno": seqno}
    answer = await ask(rest("GET", "/api/v3/blocks", wanted))
    found = [] if answer.refused else answer.document.get("blocks", [])
    block = found[0] if found else {}
    return {**pattern, **{name: block[name] for name in pattern if name in block}, "seqno": seqno}


async def _blocks(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused:
        return answer
    many = answer.document.get("blocks", [])
    left = [_block_as_seen(view, one) for one in many if not view.beyond(_committed(one))]
    return answer.saying({**answer.document, "blocks": left})


async def _shards_of(call: Call, view: View, ask: Ask) -> Answer:
    if view.beyond(int(call.params.get("seqno", 0)), final=True):
        return Answer({"error": "blocks not found"}, refused=True, status=404)
    return await ask(call)


def _committed(block: dict[str, Json]) -> int:
    """The masterchain seqno that commits a block; its own for a masterchain block."""
    reference = block.get("masterchain_block_ref")
    of = reference if reference and int(block["workchain"]) != MASTERCHAIN else block
    return int(of["seqno"])


def _block_as_seen(view: View, block: dict[str, Json]) -> dict[str, Json]:
    if view.fork is None or not view.forked(_committed(block)):
        return block
    hashes: dict[str, Json] = {
        name: view.fork.hash_for(str(block[name]), _base64)
        for name in ("root_hash", "file_hash")
        if name in block
    }
    empty: dict[str, Json] = {"tx_count": 0} if "tx_count" in block else {}
    return {**block, **hashes, **empty}


# ------------------------------------------------------------------ transactions


async def _transactions(call: Call, view: View, ask: Ask) -> Answer:
    """A full page of what the view has, from as many pages of the node as it takes."""
    limit, offset = (
        int(call.params.get("limit") or _PAGE_USUAL),
        int(call.params.get("offset") or 0),
    )
    rows: list[Json] = []
    before: list[Json] = []
    read = 0
    while True:
        page = {**call.params, "limit": _PAGE, "offset": read}
        answer = await ask(call.asking(page))
        if answer.refused:
            return answer
        many = answer.document.get("transactions", [])
        if many and many == before:
            raise ValueError("the node does not page by offset, and a view needs more than a page")
        rows += [row for row in many if _shows(view, row, by_list=call.method == "v3/transactions")]
        if len(many) < _PAGE or len(rows) >= offset + limit:
            break
        before, read = many, read + len(many)
    return answer.saying({**answer.document, "transactions": rows[offset : offset + limit]})


def _shows(view: View, row: dict[str, Json], *, by_list: bool) -> bool:
    seqno = row.get("mc_block_seqno")
    if seqno is not None and not view.shows(int(seqno), final=True):
        return False
    return not any(_hides(one, row) for one in view.hidden if one.receipts or by_list)


def _hides(hidden: HideParams, row: dict[str, Json]) -> bool:
    messages = [row.get("in_msg") or {}, *(row.get("out_msgs") or [])]
    opcodes = {str(one.get("opcode")).lower() for one in messages}
    return (
        (hidden.tx_hash is None or _hash(hidden.tx_hash) == _hash(str(row.get("hash"))))
        and (hidden.address is None or _account(hidden.address) == str(row.get("account")).upper())
        and (hidden.topic is None or hidden.topic.lower() in opcodes)
    )


async def _traces(call: Call, view: View, ask: Ask) -> Answer:
    """Traces whose end is in the view and none of whose transactions is hidden."""
    answer = await ask(call)
    if answer.refused:
        return answer
    left = [trace for trace in answer.document.get("traces", []) if _shows_trace(view, trace)]
    return answer.saying({**answer.document, "traces": left})


def _shows_trace(view: View, trace: dict[str, Json]) -> bool:
    end = trace.get("mc_seqno_end")
    if end is not None and not view.shows(int(end), final=True):
        return False
    return all(_shows(view, row, by_list=False) for row in trace.get("transactions", {}).values())


# ------------------------------------------------------------------ accounts


def _state_seqno(view: View) -> int | None:
    """The masterchain block whose state the view has; a fork's empty blocks change none."""
    known = view.known(final=True)
    if view.fork is None:
        return known
    last = view.fork.from_height - 1
    return last if known is None else min(known, last)


async def _run_at(call: Call, view: View, ask: Ask) -> Answer:
    """A read of v2, which takes a block: the view's last, unless an older one is asked for."""
    limit = _state_seqno(view)
    if limit is None:
        return await ask(call)
    asked = call.params.get("seqno")
    if asked is not None and int(asked) > limit:
        return ERRORS["lite_server_not_ready"].say(call, None)
    return await ask(call.asking({**call.params, "seqno": limit if asked is None else asked}))


async def _run_get_method(call: Call, view: View, ask: Ask) -> Answer:
    """A getter of v3, asked of v2 at the view's last block; its stack is written as v3's."""
    if _state_seqno(view) is None:
        return await ask(call)
    stack = [[_V2_TYPES[one["type"]], one["value"]] for one in call.params.get("stack") or []]
    path = call.path.replace("/v3/", "/v2/")
    answer = await _run_at(rest("POST", path, {**call.params, "stack": stack}), view, ask)
    if answer.refused:
        return Answer({"error": answer.document["error"]}, refused=True, status=answer.status)
    result = answer.document["result"]
    written = [_v3_entry(*entry) for entry in result["stack"]]
    return Answer({**{name: result[name] for name in ("gas_used", "exit_code")}, "stack": written})


def _v3_entry(kind: str, value: Json) -> Json:
    if kind == "num":
        return {"type": kind, "value": value}
    if kind not in _V2_TYPES:
        raise ValueError(f"a getter's {kind} cannot be written as v3 does")
    return {"type": kind, "value": value["bytes"]}


async def _address_information(call: Call, view: View, ask: Ask) -> Answer:
    """The account as it is, with the last transaction that the view has of it."""
    answer = await ask(call)
    if answer.refused:
        return answer
    last = await _last_transaction(str(call.params.get("address")), view, ask)
    return answer.saying(
        {**answer.document, "last_transaction_lt": last[0], "last_transaction_hash": last[1]}
    )


async def _account_states(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused:
        return answer
    accounts = []
    for one in answer.document.get("accounts", []):
        lt, found = await _last_transaction(str(one["address"]), view, ask)
        accounts.append({**one, "last_transaction_lt": lt, "last_transaction_hash": found})
    return answer.saying({**answer.document, "accounts": accounts})


async def _last_transaction(address: str, view: View, ask: Ask) -> tuple[str, str]:
    wanted = {"account": address, "sort": "desc", "limit": 1}
    bounds = replace(view, hidden=())  # a node knows its account, whatever an index lacks
    answer = await _transactions(rest("GET", "/api/v3/transactions", wanted), bounds, ask)
    rows = [] if answer.refused else answer.document["transactions"]
    return (str(rows[0]["lt"]), str(rows[0]["hash"])) if rows else ("0", _NO_HASH)


# ------------------------------------------------------------------ small facts


def _base64(digest: bytes, real: str) -> str:  # noqa: ARG001
    return base64.b64encode(digest).decode()


def _hash(text: str) -> bytes:
    """32 bytes from hex, base64 or base64url; what is neither stays text."""
    digits = text.removeprefix("0x")
    try:
        if len(digits) == _HASH_DIGITS:
            return bytes.fromhex(digits)
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error):
        return text.encode()


def _account(text: str) -> str:
    """An account in raw form, `0:HEX`, from raw or user-friendly text."""
    if ":" in text:
        return text.upper()
    raw = _hash(text)
    workchain = int.from_bytes(raw[1:2], "big", signed=True)
    return f"{workchain}:{raw[2:34].hex().upper()}"


_SEEN: Final[Mapping[str, Callable[[Call, View, Ask], Awaitable[Answer]]]] = MappingProxyType(
    {
        "v3/masterchainInfo": _masterchain_info,
        "v2/getMasterchainInfo": _masterchain_info,
        "v3/blocks": _blocks,
        "v3/transactions": _transactions,
        "v3/transactionsByMessage": _transactions,
        "v3/transactionsByMasterchainBlock": _transactions,
        "v3/traces": _traces,
        "v3/addressInformation": _address_information,
        "v2/getAddressInformation": _run_at,
        "v2/getAddressBalance": _run_at,
        "v2/getAddressState": _run_at,
        "v2/runGetMethod": _run_at,
        "v2/runGetMethodStd": _run_at,
        "v3/runGetMethod": _run_get_method,
        "v3/masterchainBlockShardState": _shards_of,
        "v3/masterchainBlockShards": _shards_of,
        "v3/accountStates": _account_states,
    }
)
