"""How a Solana provider lags, forks, hides and refuses; heights are slots.

History is seen as the view says: slots, heights, blocks, blockhashes, signatures, statuses and
transactions, in the words of a real validator (null, an empty list, -32004, -32016, -32020). State
of an account at an older slot cannot be had from a node, so account and supply reads pass as they
are, with the slot they were truly read at: what a pool answers whose other node is not behind.
Sends pass too, unless the node is so far behind that a real one would call itself unhealthy.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import base58

from xstock_devnet.proxy.evm import METHOD_NAME
from xstock_devnet.proxy.family import ErrorFact, Heights, View, joined_url
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.rpc_errors import ANYWHERE, rpc_error, rpc_rate_limited
from xstock_devnet.proxy.wire import Answer, Ask, Call, Json, Reply, Request, rpc, rpc_calls

UNHEALTHY_SLOTS: Final = 128
"""How far behind a validator calls itself unhealthy (its default)."""

BLOCKHASH_SLOTS: Final = 150
"""How many of the latest blockhashes a transaction may name."""

_NO_BLOCK: Final = frozenset({-32004, -32007, -32009})
"""Codes that say a slot has no block (yet)."""

_PAGE: Final = 1000
_PREFLIGHT: Final = "Transaction simulation failed: "
_SEND: Final = ("sendTransaction",)
_BLOCKS: Final = ("getBlock", "getBlockTime")
_SIGNATURES: Final = ("getSignaturesForAddress",)


def _simulated(means: str, err: Json, text: str, value: int = 0) -> ErrorFact:
    """A preflight failure; to simulateTransaction the same is a result, not an error."""
    data: dict[str, Json] = dict.fromkeys(
        (
            *("accounts", "fee", "innerInstructions", "loadedAddresses", "postBalances"),
            *("postTokenBalances", "preBalances", "preTokenBalances", "replacementBlockhash"),
            "returnData",
        )
    )
    data |= {"err": err, "loadedAccountsDataSize": 0, "logs": [], "unitsConsumed": 0}
    fact = rpc_error(means, _SEND, -32002, _PREFLIGHT + text, data=data, value=value)

    def say(call: Call, given: int | None) -> Answer:
        answer = fact.say(call, given)
        if call.method != "simulateTransaction":
            return answer
        context = {"apiVersion": "4.2.2", "slot": 0}
        return Answer({"context": context, "value": answer.document["data"]})

    return ErrorFact(means, _SEND, say)


ERRORS: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        **ANYWHERE,
        "blockhash_not_found": _simulated(
            "the blockhash has expired or is not known to this node",
            "BlockhashNotFound",
            "Blockhash not found",
        ),
        "already_processed": _simulated(
            "the very transaction is on the chain",
            "AlreadyProcessed",
            "This transaction has already been processed",
        ),
        "signature_failure": _simulated(
            "a signature is missing or wrong",
            "SignatureFailure",
            "Transaction did not pass signature verification",
        ),
        "account_not_found": _simulated(
            "the payer has never had any money",
            "AccountNotFound",
            "Attempt to debit an account but found no record of a prior credit.",
        ),
        "custom_program_error": _simulated(
            "a program refuses with the number `value` (67: the mint is paused)",
            {"InstructionError": [0, {"Custom": "{value}"}]},
            "Error processing Instruction 0: custom program error: {value:#x}",
            value=67,
        ),
        "missing_required_signature": _simulated(
            "fewer multisig signers than it asks for",
            {"InstructionError": [0, "MissingRequiredSignature"]},
            "Error processing Instruction 0: missing required signature for instruction",
        ),
        "node_behind": rpc_error(
            "the node is `value` slots behind and says so",
            (*_SEND, "getHealth"),
            -32005,
            "Node is behind by {value} slots",
            data={"numSlotsBehind": "{value}"},
            value=150,
        ),
        "node_unhealthy": rpc_error(
            "the node does not know how far it is behind",
            (*_SEND, "getHealth"),
            -32005,
            "Node is unhealthy",
            data={"numSlotsBehind": None},
        ),
        "slot_skipped": rpc_error(
            "no block was made in that slot",
            _BLOCKS,
            -32007,
            "Slot {first} was skipped, or missing due to ledger jump to recent snapshot",
        ),
        "long_term_storage": rpc_error(
            "the slot was skipped, or its block is in no storage",
            _BLOCKS,
            -32009,
            "Slot {first} was skipped, or missing in long-term storage",
        ),
        "cleaned_up": rpc_error(
            "the block is pruned; the first one kept is `value`",
            _BLOCKS,
            -32001,
            "Block {first} cleaned up, does not exist on node. First available block: {value}",
            value=403,
        ),
        "block_not_available": rpc_error(
            "the node lacks the block as yet",
            _BLOCKS,
            -32004,
            "Block not available for slot {first}",
        ),
        "min_context_slot": rpc_error(
            "the node has not reached minContextSlot; it is at `value`",
            (),
            -32016,
            "Minimum context slot has not been reached",
            data={"contextSlot": "{value}"},
        ),
        "unknown_cursor": rpc_error(
            "the before/until signature is not known: dropped, or behind",
            _SIGNATURES,
            -32020,
            "Transaction {first} not found",
        ),
        "history_unavailable": rpc_error(
            "this node keeps no transaction history",
            ("getTransaction", *_SIGNATURES, "getBlock"),
            -32011,
            "Transaction history is not available from this node",
        ),
        "unsupported_version": rpc_error(
            "the reader did not say which transaction versions it takes",
            ("getTransaction", "getBlock"),
            -32015,
            "Transaction version (0) is not supported by the requesting client. Please try the"
            " request again with the following configuration parameter:"
            ' "maxSupportedTransactionVersion": 0',
        ),
    }
)


class Solana:
    """The Solana family."""

    name = "solana"
    errors = ERRORS
    passes = (
        "sends and simulations (up to 128 slots behind), and state: accounts, balances, supply;"
        " they say the slot they were truly read at"
    )
    hides_by: Mapping[str, str] = MappingProxyType(
        {
            "address": "an account that the transaction names",
            "topic": "text in its memo",
            "tx_hash": "the signature",
            "receipts": "false: hidden from getSignaturesForAddress only",
        }
    )

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
        """The processed and the finalized slot."""
        return Heights(await _slot(ask, "processed"), await _slot(ask, "finalized"))

    async def seen(self, call: Call, view: View, ask: Ask) -> Answer:
        """What a validator with this view answers."""
        limit = _config(call).get("minContextSlot")
        known = view.known(final=_is_final(call))
        if isinstance(limit, int) and known is not None and limit > known:
            return ERRORS["min_context_slot"].say(call, known)
        return await _SEEN.get(call.method, _pass)(call, view, ask)

    def rate_limited(self, call: str) -> Reply:
        """What public endpoints say."""
        return rpc_rate_limited(f"Too many requests for a specific RPC call{call and ': ' + call}")


# ------------------------------------------------------------------ heads


async def _pass(call: Call, view: View, ask: Ask) -> Answer:  # noqa: ARG001
    return await ask(call)


async def _get_slot(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    slot = await _claimed_slot(call, view, ask, answer.document)
    return answer if slot is None else Answer(slot)


async def _get_block_height(call: Call, view: View, ask: Ask) -> Answer:
    now = await _slot(ask, _commitment(call))
    slot = await _claimed_slot(call, view, ask, now)
    if slot is None:
        return await ask(call)
    return Answer((await _block(ask, slot))["blockHeight"])


async def _get_epoch_info(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused:
        return answer
    info = answer.document
    slot = await _claimed_slot(call, view, ask, info["absoluteSlot"])
    if slot is None:
        return answer
    back = info["absoluteSlot"] - slot
    height = (await _block(ask, slot))["blockHeight"]
    index = max(0, info["slotIndex"] - back)
    return Answer({**info, "absoluteSlot": slot, "slotIndex": index, "blockHeight": height})


async def _get_health(call: Call, view: View, ask: Ask) -> Answer:
    behind = await _slots_behind(view, ask)
    if behind > UNHEALTHY_SLOTS:
        return ERRORS["node_behind"].say(call, behind)
    return await ask(call)


async def _send(call: Call, view: View, ask: Ask) -> Answer:
    if not _config(call).get("skipPreflight"):
        return await _get_health(call, view, ask)
    return await ask(call)


async def _get_latest_blockhash(call: Call, view: View, ask: Ask) -> Answer:
    known = view.known(final=_is_final(call))
    answer = await ask(call)
    if answer.refused:
        return answer
    slot = answer.document["context"]["slot"]
    if not view.beyond(slot, final=_is_final(call)) and not view.forked(slot):
        return answer
    slot = await _block_slot(ask, slot if known is None else min(slot, known))
    block = _as_seen(view, slot, await _block(ask, slot))
    value = {
        "blockhash": block["blockhash"],
        "lastValidBlockHeight": block["blockHeight"] + BLOCKHASH_SLOTS,
    }
    context = {**answer.document["context"], "slot": slot}
    return Answer({"context": context, "value": value})


async def _is_blockhash_valid(call: Call, view: View, ask: Ask) -> Answer:
    """True only for a blockhash of a slot that the view has, or of its own fork."""
    real = call.params[0]
    forked = view.fork.real_by_forked.get(real) if view.fork else None
    answer = await ask(call.asking([forked or real, *call.params[1:]]))
    if answer.refused or forked or not answer.document["value"]:
        return answer
    head = await _slot(ask, "processed")
    first = max(0, head - BLOCKHASH_SLOTS)
    for slot in range(head, first - 1, -1):
        if view.shows(slot, final=_is_final(call)):
            return answer
        block = await _block_or_none(ask, slot)
        if block is not None and block["blockhash"] == real:
            return Answer({"context": _context(view, answer), "value": False})
    return answer


# ------------------------------------------------------------------ blocks


async def _get_block(call: Call, view: View, ask: Ask) -> Answer:
    slot = call.params[0]
    if view.beyond(slot, final=_is_final(call)):
        return ERRORS["block_not_available"].say(call, None)
    answer = await ask(call)
    if answer.refused or not isinstance(answer.document, dict):
        return answer
    block = _as_seen(view, slot, answer.document)
    for hidden in view.hidden:
        block = _without(hidden, block)
    return answer.saying(block)


async def _get_block_time(call: Call, view: View, ask: Ask) -> Answer:
    if view.beyond(call.params[0]):
        return ERRORS["block_not_available"].say(call, None)
    return await ask(call)


async def _get_blocks(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused:
        return answer
    final = _is_final(call)
    return answer.saying([slot for slot in answer.document if not view.beyond(slot, final=final)])


def _as_seen(view: View, slot: int, block: dict[str, Json]) -> dict[str, Json]:
    """The block itself, or the empty one that stands there on the fork."""
    if view.fork is None or not view.forked(slot):
        return block
    parent = block["previousBlockhash"]
    if view.forked(block["parentSlot"]):
        parent = view.fork.hash_for(parent, _base58)
    empty: dict[str, Json] = {name: [] for name in ("transactions", "signatures") if name in block}
    forked = view.fork.hash_for(block["blockhash"], _base58)
    return {**block, "blockhash": forked, "previousBlockhash": parent, **empty}


def _without(hidden: HideParams, block: dict[str, Json]) -> dict[str, Json]:
    """The block without hidden transactions, where the fault reaches as far."""
    if not hidden.receipts:
        return block
    left = dict(block)
    if "transactions" in block:
        left["transactions"] = [one for one in block["transactions"] if not _hides(hidden, one)]
    if "signatures" in block and hidden.address is None and hidden.topic is None:
        left["signatures"] = [one for one in block["signatures"] if one != hidden.tx_hash]
    return left


# ------------------------------------------------------------------ transactions


async def _get_transaction(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    found = answer.document
    if answer.refused or found is None:
        return answer
    hidden = any(one.receipts and _hides(one, found, call.params[0]) for one in view.hidden)
    shown = view.shows(found["slot"], final=_is_final(call))
    return answer if shown and not hidden else Answer(None)


async def _get_signature_statuses(call: Call, view: View, ask: Ask) -> Answer:
    answer = await ask(call)
    if answer.refused:
        return answer
    many = [
        _status(view, signature, status)
        for signature, status in zip(call.params[0], answer.document["value"], strict=True)
    ]
    return answer.saying({"context": _context(view, answer), "value": many})


def _status(view: View, signature: str, status: dict[str, Json] | None) -> Json:
    if status is None or not view.shows(status["slot"]):
        return None
    if any(one.receipts and _hides_signature(one, signature) for one in view.hidden):
        return None
    return _unfinal(view, status)


def _unfinal(view: View, row: dict[str, Json]) -> dict[str, Json]:
    """A status or row as it was before it was final, if the view has it so."""
    if row.get("confirmationStatus") != "finalized" or not view.beyond(row["slot"], final=True):
        return row
    waiting = {"confirmations": 1} if "confirmations" in row else {}
    return {**row, "confirmationStatus": "confirmed", **waiting}


async def _get_signatures(call: Call, view: View, ask: Ask) -> Answer:
    """A full page of what the view has: what it hides takes no place, as in a real index."""
    config, final = _config(call), _is_final(call)
    for cursor in filter(None, (config.get("before"), config.get("until"))):
        if not await _has(view, cursor, ask):
            return ERRORS["unknown_cursor"].say(call.asking([cursor]), None)
    limit = int(config.get("limit") or _PAGE)
    rows: list[dict[str, Json]] = []
    before = config.get("before")
    while True:
        page = {**config, "limit": limit, **({"before": before} if before else {})}
        answer = await ask(call.asking([call.params[0], page]))
        if answer.refused:
            return answer
        many = answer.document
        rows += [row for row in many if _shows_row(view, call.params[0], row, final=final)]
        if len(many) < limit or len(rows) >= limit:
            return Answer([_unfinal(view, row) for row in rows[:limit]])
        before = many[-1]["signature"]


def _shows_row(view: View, address: str, row: dict[str, Json], *, final: bool) -> bool:
    if not view.shows(row["slot"], final=final):
        return False
    return not any(
        hidden.address in (None, address)
        and hidden.tx_hash in (None, row["signature"])
        and (hidden.topic is None or hidden.topic in str(row.get("memo")))
        for hidden in view.hidden
    )


async def _has(view: View, signature: str, ask: Ask) -> bool:
    """Whether the view has the transaction of a cursor; an unknown one is the node's to refuse."""
    asked = rpc("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
    answer = await ask(asked)
    status = None if answer.refused else answer.document["value"][0]
    return status is None or view.shows(status["slot"])


def _hides_signature(hidden: HideParams, signature: str) -> bool:
    return hidden.tx_hash == signature and hidden.address is None and hidden.topic is None


def _hides(hidden: HideParams, found: dict[str, Json], signature: str = "") -> bool:
    """Whether a transaction, in any encoding, matches every field given."""
    text, raw = json.dumps(found), _raw(found)
    keys = [key for key in (hidden.tx_hash, hidden.address) if key not in (None, signature)]
    said = hidden.topic is None or hidden.topic in text or hidden.topic.encode() in raw
    return said and all(_has_key(str(key), text, raw) for key in keys)


def _has_key(key: str, text: str, raw: bytes) -> bool:
    """Whether base58 text stands in a document, or its bytes in the encoded transaction."""
    if f'"{key}"' in text:
        return True
    try:
        return base58.b58decode(key) in raw
    except ValueError:
        return False


def _raw(found: dict[str, Json]) -> bytes:
    encoded = found.get("transaction")
    if not isinstance(encoded, list):
        return b""
    text, encoding = encoded
    try:
        return base64.b64decode(text) if encoding == "base64" else base58.b58decode(text)
    except (ValueError, binascii.Error):
        return b""


# ------------------------------------------------------------------ what the node says itself


def _config(call: Call) -> dict[str, Json]:
    params = call.params if isinstance(call.params, list) else []
    return next((dict(one) for one in params if isinstance(one, dict)), {})


def _commitment(call: Call) -> str:
    return str(_config(call).get("commitment") or "finalized")


def _is_final(call: Call) -> bool:
    return _commitment(call) == "finalized"


async def _slot(ask: Ask, commitment: str) -> int:
    answer = await ask(rpc("getSlot", {"commitment": commitment}))
    if not isinstance(answer.document, int):
        raise ValueError(f"the node does not say its {commitment} slot: {answer.document!r}")
    return answer.document


async def _slots_behind(view: View, ask: Ask) -> int:
    claimed = view.claimed(final=False)
    return 0 if claimed is None else max(0, await _slot(ask, "processed") - claimed)


async def _claimed_slot(call: Call, view: View, ask: Ask, slot: Json) -> int | None:
    """The slot to report in place of a true one; None where the true one may stand."""
    claimed = view.claimed(final=_is_final(call))
    if claimed is None or not isinstance(slot, int) or slot <= claimed:
        return None
    return await _block_slot(ask, claimed)


def _context(view: View, answer: Answer) -> dict[str, Json]:
    """An answer's context, read no later than the view's head."""
    context: dict[str, Json] = dict(answer.document["context"])
    if view.known_head is not None:
        context["slot"] = min(context["slot"], view.known_head)
    return context


async def _block_slot(ask: Ask, slot: int) -> int:
    """The slot itself, or the nearest one below that has a block."""
    while slot > 0 and await _block_or_none(ask, slot) is None:
        slot -= 1
    return slot


async def _block(ask: Ask, slot: int) -> dict[str, Any]:
    block = await _block_or_none(ask, slot)
    if block is None:
        raise ValueError(f"the node has no block in slot {slot}, and a view is made from it")
    return block


async def _block_or_none(ask: Ask, slot: int) -> dict[str, Any] | None:
    config = {"transactionDetails": "none", "rewards": False, "commitment": "confirmed"}
    answer = await ask(rpc("getBlock", slot, {**config, "maxSupportedTransactionVersion": 0}))
    if isinstance(answer.document, dict) and not answer.refused:
        return answer.document
    if answer.refused and (answer.document or {}).get("code") not in _NO_BLOCK:
        raise ValueError(f"the node does not show slot {slot}: {answer.document!r}")
    return None


def _base58(digest: bytes, real: str) -> str:  # noqa: ARG001
    return base58.b58encode(digest).decode()


_SEEN: Final[Mapping[str, Callable[[Call, View, Ask], Awaitable[Answer]]]] = MappingProxyType(
    {
        "getSlot": _get_slot,
        "getBlockHeight": _get_block_height,
        "getEpochInfo": _get_epoch_info,
        "getHealth": _get_health,
        "sendTransaction": _send,
        "getLatestBlockhash": _get_latest_blockhash,
        "isBlockhashValid": _is_blockhash_valid,
        "getBlock": _get_block,
        "getBlockTime": _get_block_time,
        "getBlocks": _get_blocks,
        "getBlocksWithLimit": _get_blocks,
        "getTransaction": _get_transaction,
        "getSignatureStatuses": _get_signature_statuses,
        "getSignaturesForAddress": _get_signatures,
    }
)
