"""toncenter's HTTP API v3 over one node: bounded in time and size, answers parsed once, strictly.

The given address is a base to which `/api/v3/…` is appended, so a proxy's path prefix stays. A
key for higher rates is given in the address, as `?api_key=…` or `#api_key=…`, and goes out as a
header; errors show the host only. Nothing is retried here: that is the caller's schedule. Answers
become small values in bytes and integers; one that cannot be read is `InvalidMessage`.
Reference: the API's own OpenAPI document (v3 2.1).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from pydantic_core import from_json
from pytoniq_core.boc.cell import Cell

from xstock_chains.ton.address import parse_text, raw
from xstock_chains.ton.cells import boc_of, load_account, malformed, op_of, slice_of
from xstock_chains.ton.errors import refused, send_refused
from xstock_core.ids import Address32, InvalidId
from xstock_runtime.errors import Transient

MASTER_SHARD: Final = "8000000000000000"
PAGE_MAX: Final = 1000
"""The API's own bound of one list."""
_FINALITIES: Final = {0: False, 1: False, 2: True, "pending": False, "confirmed": False}
_BAG: Final = bytes.fromhex("b5ee9c72")
_INDEXED: Final = 0x80
_NOT_PLAIN: Final = 0x18
_HEAD_CHARS: Final = 88
_HEAD_LEAST: Final = 11
Query = Sequence[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds of one request."""

    timeout_seconds: float = 10.0
    response_bytes_max: int = 64 * 1024 * 1024
    connections_max: int = 16


@dataclass(frozen=True, slots=True)
class McBlock:
    """A masterchain block; `start_lt` is its first logical time."""

    seqno: int
    hash: bytes
    time: int
    start_lt: int
    global_id: int


@dataclass(frozen=True, slots=True)
class AccountHead:
    """An account as the node knows it now: its last transaction is where its chain ends."""

    address: Address32
    active: bool
    balance: int
    """nanoTON."""
    lt: int
    hash: bytes
    code_hash: bytes
    data: Cell | None
    absent: bool = False
    """The node says that no contract stands there; one that is frozen does."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message; source or destination None is outside the chain (external)."""

    hash: bytes
    source: Address32 | None
    destination: Address32 | None
    value: int
    lt: int
    bounced: bool
    norm: bytes | None
    """An external message's hash as no relay can change it (TEP-467)."""
    body: str
    """A bag of cells in base64; parsed only where it matters."""

    def cell(self) -> Cell:
        """The body; raises InvalidMessage if it is no bag of cells."""
        return parse_boc(self.body, "message.body")

    def op(self) -> int:
        """The op of the body, 0 if it has none, without making its cells: a release has hundreds.
        Raises InvalidMessage if it is no bag of cells."""
        found = _first_word(self.body)
        return op_of(self.cell()) if found is None else found


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of an account, linked to the one before it."""

    account: Address32
    hash: bytes
    lt: int
    time: int
    prev_lt: int
    prev_hash: bytes
    mc_seqno: int | None
    """The masterchain block that commits it; None while none does."""
    finalized: bool
    """False where the API itself says that it is not final."""
    succeeded: bool
    """Compute and action phases succeeded, nothing was skipped, and it was not aborted."""
    exit_code: int | None
    messages_created: int
    actions_skipped: int
    in_msg: Message | None
    out_msgs: tuple[Message, ...]

    def final_by(self, head: int) -> bool:
        """SECURITY: a masterchain block up to `head` commits it; nothing less is final (F26)."""
        return self.finalized and self.mc_seqno is not None and self.mc_seqno <= head


class Toncenter:
    """Calls to one node. Close it with `aclose`."""

    def __init__(self, url: str, limits: RpcLimits | None = None) -> None:
        self.limits = limits or RpcLimits()
        self._base, headers, self.host = _address(url)
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=self.limits.timeout_seconds,
            limits=httpx.Limits(max_connections=self.limits.connections_max),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # ------------------------------------------------------------------ blocks

    async def masterchain_head(self) -> McBlock:
        """The last masterchain block: what it commits is final."""
        answer = await self.get("masterchainInfo")
        return parse_block(answer.get("last"))

    async def masterchain_block(self, seqno: int) -> McBlock | None:
        """The masterchain block of this number, None if the node has none."""
        query = (("workchain", -1), ("shard", MASTER_SHARD), ("seqno", seqno), ("limit", 1))
        blocks = _list(await self.get("blocks", query), "blocks")
        if not blocks:
            return None
        block = parse_block(blocks[0])
        if block.seqno != seqno:
            raise malformed("blocks.seqno", block.seqno, f"the block asked for, {seqno}")
        return block

    # ------------------------------------------------------------------ accounts

    async def accounts(
        self, addresses: Sequence[Address32], *, with_data: bool = False
    ) -> dict[Address32, AccountHead]:
        """Their present state; an account that never existed is not in the answer."""
        query: list[tuple[str, str | int]] = [("address", raw(one)) for one in addresses]
        query.append(("include_boc", "true" if with_data else "false"))
        rows = _list(await self.get("accountStates", query), "accounts")
        heads = [_account(row) for row in rows]
        return {head.address: head for head in heads if head.address in set(addresses)}

    async def account_at(self, address: Address32, seqno: int) -> AccountHead:
        """An account's state with its data at a masterchain block (API v2, which alone takes one).

        Raises Transient where the node keeps no state of that block.
        """
        query: list[tuple[str, str | int]] = [("address", raw(address)), ("seqno", seqno)]
        result = _of_block(await self.get("getAddressInformation", query, version="v2"), seqno)
        last = _object(result.get("last_transaction_id"), "last_transaction_id")
        code, data = result.get("code"), result.get("data")
        return AccountHead(
            address=address,
            active=result.get("state") == "active",
            balance=int(result.get("balance") or 0),
            lt=_integer(last, "lt"),
            hash=_hash(last.get("hash"), "last_transaction_id.hash"),
            code_hash=_code_hash(code) if code else b"",
            data=None if not data else parse_boc(data, "data"),
            absent=result.get("state") == "uninitialized",
        )

    async def run(self, address: Address32, method: str, stack: Sequence[Any] = ()) -> "Stack":
        """A get method at the node's latest state; raises Transient where it cannot be run."""
        body = {"address": raw(address), "method": method, "stack": [_entry(one) for one in stack]}
        answer = await self.post("runGetMethod", body)
        if answer.get("exit_code") not in (0, 1):
            raise self._no_result(address, method, answer.get("exit_code"))
        return Stack(method, _list(answer, "stack"))

    def _no_result(self, address: Address32, method: str, code: Any) -> Transient:
        facts = {"host": self.host, "method": method, "exit_code": code}
        text = f"{self.host}: {method} of {raw(address)} ended with exit code {code}"
        return Transient("GET_METHOD_FAILED", text, facts)

    async def zero_state(self) -> bytes:
        """The root hash of the network's zero state (API v2)."""
        answer = await self.get("getMasterchainInfo", version="v2")
        init = _object(_object(answer.get("result"), "result").get("init"), "init")
        return _hash(init.get("root_hash"), "init.root_hash")

    async def shard_time(self, seqno: int) -> int:
        """The least time of the shards' last blocks that a masterchain block commits."""
        query = (("seqno", seqno),)
        blocks = _list(await self.get("masterchainBlockShardState", query), "blocks")
        times = [
            _integer(_object(one, "block"), "gen_utime")
            for one in blocks
            if _object(one, "block").get("workchain") == 0
        ]
        if not times:
            raise malformed("blocks", blocks, "the shards of the basechain")
        return min(times)

    # ------------------------------------------------------------------ transactions

    async def transactions(
        self, account: Address32, *, start_lt: int, limit: int, end_lt: int | None = None
    ) -> list[Transaction]:
        """Of one account from a logical time on, oldest first, at most `limit`."""
        query: list[tuple[str, str | int]] = [("account", raw(account)), ("start_lt", start_lt)]
        if end_lt is not None:
            query.append(("end_lt", end_lt))
        query += [("limit", min(limit, PAGE_MAX)), ("sort", "asc")]
        found = _transactions(await self.get("transactions", query))
        for tx in found:
            if tx.account != account:
                raise malformed("transactions.account", raw(tx.account), raw(account))
        return found

    async def transaction(self, tx: bytes) -> Transaction | None:
        """The transaction with this hash, None if the node knows none."""
        query = (("hash", b64(tx)), ("limit", 1))
        found = _transactions(await self.get("transactions", query))
        return next((one for one in found if one.hash == tx), None)

    async def by_message(self, message: bytes) -> list[Transaction]:
        """Transactions that an inbound message of this hash caused (normalised for externals)."""
        query = (("msg_hash", b64(message)), ("direction", "in"), ("limit", 10))
        return _transactions(await self.get("transactionsByMessage", query))

    async def pending(self, accounts: Sequence[Address32]) -> list[Transaction]:
        """Of these accounts, what no masterchain block commits yet; advisory."""
        query = [("account", raw(account)) for account in accounts]
        return _transactions(await self.get("pendingTransactions", query))

    async def send(self, boc: bytes) -> bytes:
        """Send an external message; its normalised hash. Raises Ambiguous where the node's
        answer does not say that it was accepted, InvalidMessage for bytes it cannot read."""
        request = self._http.build_request(
            "POST", f"{self._base}/api/v3/message", json={"boc": b64(boc)}
        )
        status, said, retry_after = await self._exchange(request)
        if status != 200:
            raise send_refused(status, _error_text(said), self.host, retry_after)
        answer = self._document(said)
        return _hash(answer.get("message_hash_norm"), "message_hash_norm")

    # ------------------------------------------------------------------ transport

    async def get(self, method: str, query: Query = (), version: str = "v3") -> dict[str, Any]:
        """One GET; raises Transient on anything that is no answer."""
        url = f"{self._base}/api/{version}/{method}"
        if query:
            url += "?" + urlencode(query)
        return await self._answer(self._http.build_request("GET", url))

    async def post(
        self, method: str, body: Mapping[str, Any], version: str = "v3"
    ) -> dict[str, Any]:
        """One POST of JSON; raises Transient on anything that is no answer."""
        url = f"{self._base}/api/{version}/{method}"
        return await self._answer(self._http.build_request("POST", url, json=body))

    async def _answer(self, request: httpx.Request) -> dict[str, Any]:
        status, said, retry_after = await self._exchange(request)
        if status != 200:
            raise refused(status, _error_text(said), self.host, retry_after)
        return self._document(said)

    def _document(self, said: bytes) -> dict[str, Any]:
        try:
            answer = from_json(said)  # SECURITY: bounds nesting, which json.loads does not
        except ValueError as error:
            raise malformed("answer", said[:60], "JSON") from error
        if not isinstance(answer, dict):
            raise malformed("answer", said[:60], "a JSON object")
        return answer

    async def _exchange(self, request: httpx.Request) -> tuple[int, bytes, str]:
        """(status, body, Retry-After) of one request, within the limits."""
        try:
            response = await self._http.send(request, stream=True)
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
        except httpx.TimeoutException as error:
            seconds = self.limits.timeout_seconds
            raise self._transient("RPC_TIMEOUT", f"no answer in {seconds} s") from error
        except httpx.HTTPError as error:
            raise self._transient("RPC_UNREACHABLE", type(error).__name__) from error
        return response.status_code, body, response.headers.get("Retry-After", "")

    async def _read(self, response: httpx.Response) -> bytes:
        limit, size = self.limits.response_bytes_max, 0
        parts: list[bytes] = []
        async for part in response.aiter_bytes():
            size += len(part)
            if size > limit:
                raise self._transient("RPC_ANSWER_TOO_LARGE", f"more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def _transient(self, code: str, what: str) -> Transient:
        return Transient(code, f"{self.host}: {what}", {"host": self.host, "detail": what})


class Stack:
    """The results of a get method, read by position."""

    def __init__(self, method: str, entries: Sequence[Any]) -> None:
        self._method = method
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def integer(self, at: int) -> int:
        """The number at this position; raises InvalidMessage."""
        value = self._value(at, ("num",))
        try:
            return int(value, 0)
        except (TypeError, ValueError) as error:
            raise malformed(f"{self._method}[{at}]", value, "a number") from error

    def cell(self, at: int) -> Cell | None:
        """The cell or slice at this position; None for null."""
        if at < len(self._entries) and self._is_null(self._entries[at]):
            return None
        return parse_boc(self._value(at, ("cell", "slice")), f"{self._method}[{at}]")

    def account(self, at: int) -> Address32:
        """The standard address in the slice at this position; raises InvalidMessage."""
        cell = self.cell(at)
        found = None if cell is None else load_account(slice_of(cell), self._method)
        if found is None:
            raise malformed(f"{self._method}[{at}]", "none", "an address")
        return found

    def _value(self, at: int, types: Sequence[str]) -> Any:
        entry = self._entries[at] if at < len(self._entries) else None
        if not isinstance(entry, dict) or entry.get("type") not in types:
            raise malformed(f"{self._method}[{at}]", entry, f"one of {', '.join(types)}")
        return entry.get("value")

    @staticmethod
    def _is_null(entry: Any) -> bool:
        if not isinstance(entry, dict):
            return False
        kind, value = entry.get("type"), entry.get("value")
        return kind == "null" or (kind in ("list", "tuple", "cell") and value in (None, []))


def parse_boc(text: Any, field: str) -> Cell:
    """The one root cell in base64 text; raises InvalidMessage for anything else."""
    try:
        return Cell.one_from_boc(base64.b64decode(text, validate=True))
    except Exception as error:
        raise malformed(field, text, "a bag of cells in base64") from error


def _first_word(body: str) -> int | None:
    """The first 32 bits of a bag's root cell where it is plain and comes first; 0 for a shorter
    one, None where only the whole parser can tell (block.tlb, `serialized_boc`)."""
    try:
        head = base64.b64decode(body[:_HEAD_CHARS], validate=True)
    except (ValueError, binascii.Error):
        return None
    if len(head) < _HEAD_LEAST or head[:4] != _BAG or head[4] & _INDEXED:
        return None
    size, offset = head[4] & 7, head[5]
    at = 6 + 3 * size + offset
    root, cell = head[at : at + size], at + size
    if any(root) or len(head) < cell + 2 or head[cell] & _NOT_PLAIN:
        return None
    if head[cell + 1] >> 1 < 4:
        return 0
    word = head[cell + 2 : cell + 6]
    return int.from_bytes(word, "big") if len(word) == 4 else None


def parse_block(value: Any) -> McBlock:
    """A masterchain block of an answer; raises InvalidMessage."""
    fields = _object(value, "block")
    if _integer(fields, "workchain") != -1:
        raise malformed("block.workchain", fields.get("workchain"), "the masterchain, -1")
    return McBlock(
        seqno=_integer(fields, "seqno"),
        hash=_hash(fields.get("root_hash"), "block.root_hash"),
        time=_integer(fields, "gen_utime"),
        start_lt=_integer(fields, "start_lt"),
        global_id=_integer(fields, "global_id"),
    )


def parse_transaction(value: Any) -> Transaction:
    """A transaction of an answer; raises InvalidMessage."""
    fields = _object(value, "transaction")
    description = _object(fields.get("description"), "transaction.description")
    compute = _object(description.get("compute_ph") or {}, "compute_ph")
    action = _object(description.get("action") or {}, "action")
    seqno = fields.get("mc_block_seqno")
    messages = fields.get("out_msgs") or []
    return Transaction(
        account=_account_text(fields.get("account"), "transaction.account"),
        hash=_hash(fields.get("hash"), "transaction.hash"),
        lt=_integer(fields, "lt"),
        time=_integer(fields, "now"),
        prev_lt=_integer(fields, "prev_trans_lt"),
        prev_hash=_hash(fields.get("prev_trans_hash"), "prev_trans_hash"),
        mc_seqno=None if not seqno else _integer(fields, "mc_block_seqno"),
        finalized=_finalized(fields),
        succeeded=_succeeded(description, compute, action),
        exit_code=compute.get("exit_code"),
        messages_created=int(action.get("msgs_created") or 0),
        actions_skipped=int(action.get("skipped_actions") or 0),
        in_msg=None if fields.get("in_msg") is None else _message(fields["in_msg"]),
        out_msgs=tuple(sorted((_message(one) for one in messages), key=lambda m: m.lt)),
    )


def _finalized(fields: Mapping[str, Any]) -> bool:
    """What the API says itself, where it says it; an emulated transaction never happened."""
    return _FINALITIES.get(fields.get("finality", 2), True) and not fields.get("emulated", False)


def _succeeded(
    description: Mapping[str, Any], compute: Mapping[str, Any], action: Mapping[str, Any]
) -> bool:
    """SECURITY: an aborted transaction has no effects, whatever a node shows for it."""
    return (
        description.get("aborted") is False
        and description.get("type") == "ord"
        and compute.get("skipped") is not True
        and compute.get("success") is True
        and action.get("success") is True
    )


def _message(value: Any) -> Message:
    fields = _object(value, "message")
    content = _object(fields.get("message_content") or {}, "message_content")
    return Message(
        hash=_hash(fields.get("hash"), "message.hash"),
        source=_maybe_account(fields.get("source"), "message.source"),
        destination=_maybe_account(fields.get("destination"), "message.destination"),
        value=int(fields.get("value") or 0),
        lt=int(fields.get("created_lt") or 0),
        bounced=fields.get("bounced") is True,
        norm=None if not fields.get("hash_norm") else _hash(fields["hash_norm"], "hash_norm"),
        body=content.get("body") or "",
    )


def _account(value: Any) -> AccountHead:
    fields = _object(value, "account")
    code_hash, data = fields.get("code_hash"), fields.get("data_boc")
    return AccountHead(
        address=_account_text(fields.get("address"), "account.address"),
        active=fields.get("status") == "active",
        balance=int(fields.get("balance") or 0),
        lt=_integer(fields, "last_transaction_lt"),
        hash=_hash(fields.get("last_transaction_hash"), "last_transaction_hash"),
        code_hash=b"" if not code_hash else _hash(code_hash, "account.code_hash"),
        data=None if not data else parse_boc(data, "account.data_boc"),
        absent=fields.get("status") in ("uninit", "nonexist"),
    )


def _of_block(answer: Mapping[str, Any], seqno: int) -> Mapping[str, Any]:
    """The result of a v2 question about one masterchain block, which must be of that block."""
    result = _object(answer.get("result"), "result")
    block = _object(result.get("block_id") or {}, "block_id")
    if block.get("workchain") == -1 and block.get("seqno") != seqno:
        raise malformed("block_id.seqno", block.get("seqno"), f"the block asked for, {seqno}")
    return result


@lru_cache(maxsize=16)
def _code_hash(code: str) -> bytes:
    return bytes(parse_boc(code, "code").hash)


def _transactions(answer: Mapping[str, Any]) -> list[Transaction]:
    return [parse_transaction(one) for one in _list(answer, "transactions")]


def _list(answer: Mapping[str, Any], field: str) -> list[Any]:
    value = answer.get(field)
    if not isinstance(value, list):
        raise malformed(field, value, "a list")
    return value


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise malformed(field, value, "an object")
    return value


def _integer(fields: Mapping[str, Any], field: str) -> int:
    value = fields.get(field)
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(field)
        return int(value)
    except ValueError as error:
        raise malformed(field, value, "an integer") from error


def _hash(value: Any, field: str) -> bytes:
    try:
        found = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise malformed(field, value, "32 bytes in base64") from error
    if len(found) != 32:
        raise malformed(field, value, "32 bytes in base64")
    return found


def _account_text(value: Any, field: str) -> Address32:
    try:
        return parse_text(value, field)
    except InvalidId as error:
        raise malformed(field, value, "an account of the basechain") from error


def _maybe_account(value: Any, field: str) -> Address32 | None:
    """None for nothing and for what is no account of the basechain (external, masterchain)."""
    if not isinstance(value, str) or not value.startswith("0:"):
        return None
    return _account_text(value, field) if any(bytes.fromhex(value[2:])) else None


def _entry(value: Any) -> dict[str, str]:
    if isinstance(value, int):
        return {"type": "num", "value": hex(value)}
    kind, cell = value if isinstance(value, tuple) else ("cell", value)
    return {"type": kind, "value": b64(boc_of(cell))}


def b64(data: bytes) -> str:
    """Standard base64 text."""
    return base64.b64encode(data).decode()


def _error_text(said: bytes) -> str:
    """The node's own words: `error` or `result` of its JSON, else the beginning of its page."""
    try:
        document = from_json(said)
        return str(document.get("error") or document.get("result") or "")[:2000]
    except (ValueError, AttributeError):
        return said[:200].decode("utf-8", "replace")


def _address(url: str) -> tuple[str, dict[str, str], str]:
    """(base without trailing slash, headers, host) of a node's address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url: a node's address starts with http:// or https:// and names a host")
    given = dict(parse_qsl(parts.query)) | dict(parse_qsl(parts.fragment))
    key = given.get("api_key", "")
    headers = {"X-API-Key": key} if key else {}
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", headers, host
