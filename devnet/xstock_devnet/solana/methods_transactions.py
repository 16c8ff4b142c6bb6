"""RPC methods about transactions: send, simulate, look up, list by account.

A send is preflighted as a validator does it, at the commitment named, then waits for the next
block; with `skipPreflight` anything that can be decoded is taken, and dropped without a word if it
cannot land. The same bytes again while they wait are answered with their signature.
"""

import base64
from bisect import bisect_left
from collections.abc import Mapping
from functools import partial

from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from xstock_devnet.solana.arguments import (
    Arguments,
    key_of,
    signature_of,
    transaction_of,
    whole,
)
from xstock_devnet.solana.chain import BLOCKHASH_AGE_MAX, FAUCET, Block, Chain, Landed
from xstock_devnet.solana.errors import (
    Json,
    invalid_params,
    preflight_failed,
    transaction_not_found,
)
from xstock_devnet.solana.machine import Loaded, Outcome
from xstock_devnet.solana.methods_chain import Method, check_health, in_context
from xstock_devnet.solana.render import (
    Renderer,
    balances,
    inner_instructions,
    loaded_addresses,
    return_data,
    status_of,
)
from xstock_devnet.solana.render import account as shown_account

SIGNATURES_LISTED_MAX = 1_000
STATUSES_PER_CALL_MAX = 256
RECENT_STATUS_BLOCKS = 300
CONFIRMATIONS_MAX = 31
AIRDROP_UNITS = 10_000
NOT_IN_PREFLIGHT = (
    "loadedAddresses",
    "preBalances",
    "postBalances",
    "preTokenBalances",
    "postTokenBalances",
)


def transaction_methods(chain: Chain, renderer: Renderer) -> Mapping[str, Method]:
    """Return the methods of this module by name."""
    return {
        "sendTransaction": partial(_send, chain, renderer),
        "simulateTransaction": partial(_simulate, chain, renderer),
        "requestAirdrop": partial(_airdrop, chain),
        "getTransaction": partial(_transaction, chain, renderer),
        "getSignatureStatuses": partial(_statuses, chain),
        "getSignaturesForAddress": partial(_signatures_for_address, chain),
        "getFeeForMessage": partial(_fee_for_message, chain),
    }


def _send(chain: Chain, renderer: Renderer, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    encoding = arguments.option("encoding", "base58")
    loaded = chain.machine.load(*transaction_of(arguments.text(0), encoding))
    block = arguments.block(chain, "preflightCommitment")
    if not arguments.option("skipPreflight", otherwise=False):
        if loaded.signature in chain.pending:
            return loaded.signature
        check_health(chain)
        _preflight(chain, renderer, loaded, block)
    if loaded.signatures_valid():
        chain.submit(loaded)
    return loaded.signature


def _preflight(chain: Chain, renderer: Renderer, loaded: Loaded, block: Block) -> None:
    """Raise RpcFailure with the simulation's result if the transaction would not succeed."""
    outcome = _simulated(chain, loaded, block, check_signatures=True)
    if outcome.error is not None:
        result = _simulation_result(renderer, loaded, outcome)
        raise preflight_failed(outcome.error, result | dict.fromkeys(NOT_IN_PREFLIGHT))


def _simulate(chain: Chain, renderer: Renderer, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    encoding = arguments.option("encoding", "base58")
    transaction, raw = transaction_of(arguments.text(0), encoding)
    block = arguments.block(chain)
    check_signatures = bool(arguments.option("sigVerify", otherwise=False))
    replacement = None
    if arguments.option("replaceRecentBlockhash", otherwise=False):
        if check_signatures:
            raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
        transaction = _with_blockhash(transaction, block.blockhash)
        replacement = {
            "blockhash": str(block.blockhash),
            "lastValidBlockHeight": chain.last_valid_height(block),
        }
    loaded = chain.machine.load(transaction, raw)
    outcome = _simulated(chain, loaded, block, check_signatures=check_signatures)
    result = _simulation_result(renderer, loaded, outcome)
    result["replacementBlockhash"] = replacement
    if arguments.option("innerInstructions", otherwise=False) and outcome.landed:
        result["innerInstructions"] = inner_instructions(loaded, outcome, parsed=True)
    result["accounts"] = _accounts_after(
        chain, arguments.mapping("accounts"), loaded, outcome, block
    )
    return in_context(block, result)


def _simulated(chain: Chain, loaded: Loaded, block: Block, *, check_signatures: bool) -> Outcome:
    """Run the checks a block makes, then the transaction; what is not run has no fee."""
    if check_signatures and not loaded.signatures_valid():
        return Outcome("SignatureFailure", landed=False)
    refusal = chain.refusal(loaded, block)
    if refusal is not None:
        held = [chain.book.at(key, block.slot) for key in loaded.keys]
        return Outcome(refusal, landed=False, before=held, after=held)
    return chain.machine.simulate(loaded, block.slot)


def _simulation_result(renderer: Renderer, loaded: Loaded, outcome: Outcome) -> dict[str, Json]:
    seen = bool(outcome.before)
    tokens = partial(renderer.token_balances, loaded, zero=0.0)
    return {
        "accounts": None,
        "err": outcome.error,
        "fee": outcome.fee if outcome.landed else None,
        "innerInstructions": None,
        "loadedAccountsDataSize": outcome.loaded_bytes,
        "loadedAddresses": loaded_addresses(loaded),
        "logs": outcome.logs,
        "preBalances": balances(outcome.before) if seen else None,
        "postBalances": balances(outcome.after) if seen else None,
        "preTokenBalances": tokens(outcome.before) if seen else None,
        "postTokenBalances": tokens(outcome.after) if seen else None,
        "replacementBlockhash": None,
        "returnData": return_data(outcome),
        "unitsConsumed": outcome.units,
    }


def _accounts_after(
    chain: Chain,
    wanted: dict[str, Json] | None,
    loaded: Loaded,
    outcome: Outcome,
    block: Block,
) -> Json:
    """Return the accounts asked for as the simulation left them."""
    if wanted is None:
        return None
    addresses = wanted.get("addresses", [])
    if len(addresses) > len(loaded.keys):
        raise invalid_params(f"Too many accounts provided; max {len(loaded.keys)}")
    encoding = wanted.get("encoding") or "base64"
    if encoding in ("binary", "base58"):
        raise invalid_params("base58 encoding not supported")
    if outcome.error is not None:
        return [None] * len(addresses)
    after = dict(zip(loaded.keys, outcome.after, strict=True))
    shown = []
    for key in map(key_of, addresses):
        held = after[key] if key in after else chain.book.at(key, block.slot)
        shown.append(None if held is None else shown_account(held, encoding))
    return shown


def _airdrop(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 2, 2)
    loaded = airdrop(chain, arguments.key(0), arguments.integer(1))
    chain.submit(loaded)
    return loaded.signature


def airdrop(chain: Chain, receiver: Pubkey, lamports: int) -> Loaded:
    """Return a signed transfer from the faucet; its compute limit makes each a different one."""
    chain.airdrops += 1
    instructions = [
        set_compute_unit_limit(AIRDROP_UNITS + chain.airdrops),
        transfer(
            TransferParams(from_pubkey=FAUCET.pubkey(), to_pubkey=receiver, lamports=lamports)
        ),
    ]
    message = MessageV0.try_compile(FAUCET.pubkey(), instructions, [], chain.tip.blockhash)
    transaction = VersionedTransaction(message, [FAUCET])
    return Loaded(transaction, bytes(transaction))


def _transaction(chain: Chain, renderer: Renderer, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    if len(arguments.values) > 1 and isinstance(arguments.values[1], str):
        arguments.options = {"encoding": arguments.values[1]}
    signature = signature_of(arguments.values[0])
    entry = chain.landed_by(signature, arguments.history_block(chain))
    block = None if entry is None else chain.block_at(entry.slot)
    if entry is None or block is None:
        return None
    encoding = arguments.option("encoding", "json")
    highest = arguments.option("maxSupportedTransactionVersion")
    return renderer.transaction(entry, block, encoding, highest)


def _statuses(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    wanted = arguments.values[0]
    if not isinstance(wanted, list) or len(wanted) > STATUSES_PER_CALL_MAX:
        raise invalid_params(f"Too many inputs provided; max {STATUSES_PER_CALL_MAX}")
    history = bool(arguments.option("searchTransactionHistory", otherwise=False))
    block = chain.tip
    oldest = 0 if history else block.height - RECENT_STATUS_BLOCKS
    return in_context(block, [_status(chain, signature_of(one), oldest) for one in wanted])


def _status(chain: Chain, signature: str, oldest_height: int) -> Json:
    entry = chain.landed_by(signature, chain.tip)
    if entry is None or entry.height < oldest_height:
        return None
    level = _level(chain, entry)
    depth = min(CONFIRMATIONS_MAX, max(1, chain.tip.height - entry.height))
    return {
        "confirmationStatus": level,
        "confirmations": None if level == "finalized" else depth,
        "err": entry.outcome.error,
        "slot": entry.slot,
        "status": status_of(entry.outcome.error),
    }


def _level(chain: Chain, entry: Landed) -> str:
    if entry.height <= chain.final_height:
        return "finalized"
    return "confirmed" if entry.height <= chain.confirmed.height else "processed"


def _signatures_for_address(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    limit = whole(arguments.option("limit", SIGNATURES_LISTED_MAX))
    if not 1 <= limit <= SIGNATURES_LISTED_MAX:
        raise invalid_params(f"Invalid limit; max {SIGNATURES_LISTED_MAX}")
    before = arguments.option("before")
    until = arguments.option("until")
    before = None if before is None else signature_of(before)
    until = None if until is None else signature_of(until)
    block = arguments.history_block(chain)
    newest = _position(chain, before, block)
    oldest = _position(chain, until, block)
    history = chain.history_of(key)
    end = len(history) if newest is None else bisect_left(history, newest, key=_place)
    listed: list[Json] = []
    for entry in reversed(history[:end] if newest else history):
        if entry.slot < chain.first_slot or (oldest is not None and entry.position <= oldest):
            break
        if entry.slot <= block.slot:
            listed.append(_listed(chain, entry))
        if len(listed) == limit:
            break
    return listed


def _place(entry: Landed) -> tuple[int, int]:
    return entry.position


def _position(chain: Chain, signature: str | None, block: Block) -> tuple[int, int] | None:
    """Return where a cursor stands; raises RpcFailure for one that is not on the chain."""
    if signature is None:
        return None
    entry = chain.landed_by(signature, block)
    if entry is None:
        raise transaction_not_found(signature)
    return entry.position


def _listed(chain: Chain, entry: Landed) -> Json:
    block = chain.block_at(entry.slot)
    return {
        "blockTime": None if block is None else block.unix_seconds,
        "confirmationStatus": _level(chain, entry),
        "err": entry.outcome.error,
        "memo": entry.loaded.memo,
        "signature": entry.loaded.signature,
        "slot": entry.slot,
        "transactionIndex": entry.index,
    }


def _fee_for_message(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    message = _message_of(arguments.text(0))
    block = arguments.block(chain)
    age = chain.blockhash_age(message.recent_blockhash, block)
    if age is None or age > BLOCKHASH_AGE_MAX:
        return in_context(block, None)
    signatures = [Signature.default()] * message.header.num_required_signatures
    transaction = VersionedTransaction.populate(message, signatures)
    loaded = chain.machine.load(transaction, bytes(transaction))
    return in_context(block, loaded.fee)


def _message_of(text: str) -> Message | MessageV0:
    try:
        raw = base64.b64decode(text, validate=True)
        message = from_bytes_versioned(raw)
    except ValueError as error:
        raise invalid_params(f"failed to deserialize VersionedMessage: {error}") from error
    if not isinstance(message, Message | MessageV0):
        raise invalid_params("failed to deserialize VersionedMessage: unsupported version")
    return message


def _with_blockhash(transaction: VersionedTransaction, blockhash: Hash) -> VersionedTransaction:
    """Return the transaction with another blockhash and signatures that no longer matter."""
    message = transaction.message
    if isinstance(message, MessageV0):
        replaced: Message | MessageV0 = MessageV0(
            message.header,
            message.account_keys,
            blockhash,
            message.instructions,
            message.address_table_lookups,
        )
    else:
        header = message.header
        replaced = Message.new_with_compiled_instructions(
            header.num_required_signatures,
            header.num_readonly_signed_accounts,
            header.num_readonly_unsigned_accounts,
            message.account_keys,
            blockhash,
            message.instructions,
        )
    return VersionedTransaction.populate(replaced, transaction.signatures)
