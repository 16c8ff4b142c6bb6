"""Blocks, transactions and accounts in the JSON of Solana's RPC.

Key sets and null-or-empty habits are those of the recorded validator: a transaction's token
balances show `uiAmount` null for zero while every other place shows 0.0, a block's transactions
carry no slot, `loadedAddresses` is left out of parsed ones.
"""

import base64
from collections.abc import Callable, Sequence

import base58
from solders.account import Account
from solders.instruction import CompiledInstruction
from solders.message import MessageV0
from solders.pubkey import Pubkey

from xstock_devnet.solana.chain import LEADER, Block, Landed
from xstock_devnet.solana.errors import Json, RpcFailure, invalid_params, version_unsupported
from xstock_devnet.solana.machine import Loaded, Outcome
from xstock_devnet.solana.programs import MEMO_PROGRAMS
from xstock_devnet.solana.tokens import read_mint, read_token_account, shown_amount

RENT_EPOCH_EXEMPT = 18_446_744_073_709_551_615
BASE58_BYTES_MAX = 128
BASE58_TOO_LONG = (
    "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
)
ENCODINGS = frozenset({"json", "jsonParsed", "base58", "base64"})


class Renderer:
    """Shows what landed; `account_of` finds the mints that a transaction does not name itself."""

    def __init__(self, account_of: Callable[[Pubkey], Account | None]) -> None:
        self._account_of = account_of

    def transaction(self, entry: Landed, block: Block, encoding: str, highest: int | None) -> Json:
        """Return a `getTransaction` answer; raises RpcFailure if its version was not asked for."""
        return {
            "slot": entry.slot,
            "blockTime": block.unix_seconds,
            "transactionIndex": entry.index,
            **self.in_block(entry, encoding, highest),
        }

    def in_block(self, entry: Landed, encoding: str, highest: int | None) -> Json:
        """Return a transaction as `getBlock` with full details lists it."""
        shown = entry.shown.get(encoding)
        if shown is None:
            shown = entry.shown[encoding] = {
                "meta": self.meta(entry, parsed=encoding == "jsonParsed"),
                "transaction": encoded_transaction(entry.loaded, encoding),
            }
        return {**shown, **_version(entry.loaded, highest)}

    def accounts_only(self, entry: Landed, highest: int | None) -> Json:
        """Return a transaction as `getBlock` with `accounts` details lists it."""
        meta = self.meta(entry, parsed=True)
        names = ("err", "fee", "preBalances", "postBalances", "preTokenBalances")
        return {
            "meta": {name: meta[name] for name in (*names, "postTokenBalances", "status")},
            "transaction": {
                "accountKeys": parsed_keys(entry.loaded),
                "signatures": [str(one) for one in entry.loaded.transaction.signatures],
            },
            **_version(entry.loaded, highest),
        }

    def meta(self, entry: Landed, *, parsed: bool) -> dict[str, Json]:
        """Return a landed transaction's `meta`."""
        outcome, loaded = entry.outcome, entry.loaded
        shown: dict[str, Json] = {
            "err": outcome.error,
            "status": status_of(outcome.error),
            "fee": outcome.fee,
            "preBalances": balances(outcome.before),
            "postBalances": balances(outcome.after),
            "innerInstructions": inner_instructions(loaded, outcome, parsed=parsed),
            "logMessages": outcome.logs,
            "preTokenBalances": self.token_balances(loaded, outcome.before, zero=None),
            "postTokenBalances": self.token_balances(loaded, outcome.after, zero=None),
            "rewards": [],
            "computeUnitsConsumed": outcome.units,
            "costUnits": entry.cost,
        }
        if not parsed:
            shown["loadedAddresses"] = loaded_addresses(loaded)
        if outcome.returned is not None:
            shown["returnData"] = return_data(outcome)
        return shown

    def token_balances(
        self, loaded: Loaded, accounts: Sequence[Account | None], *, zero: float | None
    ) -> list[Json]:
        """Return the token accounts among a transaction's accounts with what they held."""
        shown = []
        for index, account in enumerate(accounts):
            token = read_token_account(account)
            if token is None or account is None:
                continue
            decimals = self._decimals_of(token.mint, loaded, accounts)
            if decimals is None:
                continue
            amount = shown_amount(token.amount, decimals)
            if token.amount == 0:
                amount["uiAmount"] = zero
            shown.append(
                {
                    "accountIndex": index,
                    "mint": str(token.mint),
                    "owner": str(token.owner),
                    "programId": str(account.owner),
                    "uiTokenAmount": amount,
                }
            )
        return shown

    def _decimals_of(
        self, mint: Pubkey, loaded: Loaded, accounts: Sequence[Account | None]
    ) -> int | None:
        if mint in loaded.keys:
            state = read_mint(accounts[loaded.keys.index(mint)])
        else:
            state = read_mint(self._account_of(mint))
        return None if state is None else state.decimals


def block_header(block: Block) -> dict[str, Json]:
    """Return what every `getBlock` answer holds."""
    return {
        "blockHeight": block.height,
        "blockTime": block.unix_seconds,
        "blockhash": str(block.blockhash),
        "parentSlot": block.parent_slot,
        "previousBlockhash": str(block.previous),
    }


def block_rewards(block: Block) -> list[Json]:
    """Return the leader's reward, none for a block without fees."""
    if not block.leader_reward:
        return []
    return [
        {
            "commission": None,
            "lamports": block.leader_reward,
            "postBalance": block.leader_balance,
            "pubkey": str(LEADER.pubkey()),
            "rewardType": "Fee",
        }
    ]


def encoded_transaction(loaded: Loaded, encoding: str) -> Json:
    """Return a transaction in the encoding asked for; raises RpcFailure for an unknown one."""
    if encoding == "base64":
        return [base64.b64encode(loaded.raw).decode(), "base64"]
    if encoding == "base58":
        return [base58.b58encode(loaded.raw).decode(), "base58"]
    if encoding not in ENCODINGS:
        raise invalid_params(
            f"Invalid params: unknown variant `{encoding}`, expected one of"
            " `binary`, `base64`, `base58`, `json`, `jsonParsed`."
        )
    parsed = encoding == "jsonParsed"
    return {
        "message": _parsed_message(loaded) if parsed else _message(loaded),
        "signatures": [str(one) for one in loaded.transaction.signatures],
    }


def account(held: Account, encoding: str, data_slice: tuple[int, int] | None = None) -> Json:
    """Return an account; `data_slice` is offset and length. What cannot be parsed is base64."""
    data = bytes(held.data)
    size = len(data)
    if data_slice is not None:
        data = data[data_slice[0] : data_slice[0] + data_slice[1]]
    if encoding in ("base58", "binary"):
        if len(data) > BASE58_BYTES_MAX:
            raise RpcFailure(-32600, BASE58_TOO_LONG)
        text = base58.b58encode(data).decode()
        shown: Json = text if encoding == "binary" else [text, "base58"]
    else:
        shown = [base64.b64encode(data).decode(), "base64"]
    return {
        "data": shown,
        "executable": held.executable,
        "lamports": held.lamports,
        "owner": str(held.owner),
        "rentEpoch": RENT_EPOCH_EXEMPT,
        "space": size,
    }


def balances(accounts: Sequence[Account | None]) -> list[int]:
    """Return lamports, 0 for accounts that are not there."""
    return [0 if held is None else held.lamports for held in accounts]


def status_of(error: Json) -> Json:
    """Return the older form of an error, which still stands beside `err`."""
    return {"Ok": None} if error is None else {"Err": error}


def loaded_addresses(loaded: Loaded) -> Json:
    """Return the keys that came from lookup tables."""
    return {
        "readonly": [str(key) for key in loaded.loaded_readonly],
        "writable": [str(key) for key in loaded.loaded_writable],
    }


def return_data(outcome: Outcome) -> Json:
    """Return what the last program returned, None if nothing."""
    if outcome.returned is None:
        return None
    program, data = outcome.returned
    return {"programId": str(program), "data": [base64.b64encode(data).decode(), "base64"]}


def inner_instructions(loaded: Loaded, outcome: Outcome, *, parsed: bool) -> list[Json]:
    """Return what programs called, by the top-level instruction that led to it."""
    show = _parsed_instruction if parsed else _instruction
    return [
        {
            "index": index,
            "instructions": [
                show(loaded, call.instruction(), call.stack_height() or 1) for call in calls
            ],
        }
        for index, calls in enumerate(outcome.inner)
        if calls
    ]


def parsed_keys(loaded: Loaded) -> list[Json]:
    """Return the account keys with their rights, as parsed transactions list them."""
    signers = loaded.message.header.num_required_signatures
    static = len(loaded.static_keys)
    return [
        {
            "pubkey": str(key),
            "signer": index < signers,
            "source": "transaction" if index < static else "lookupTable",
            "writable": loaded.writable[index],
        }
        for index, key in enumerate(loaded.keys)
    ]


def _message(loaded: Loaded) -> Json:
    message = loaded.message
    header = message.header
    return {
        "accountKeys": [str(key) for key in loaded.static_keys],
        "header": {
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
            "numRequiredSignatures": header.num_required_signatures,
        },
        "instructions": [_instruction(loaded, one, 1) for one in message.instructions],
        "recentBlockhash": str(message.recent_blockhash),
        **_lookups(loaded),
    }


def _parsed_message(loaded: Loaded) -> Json:
    message = loaded.message
    return {
        "accountKeys": parsed_keys(loaded),
        "instructions": [_parsed_instruction(loaded, one, 1) for one in message.instructions],
        "recentBlockhash": str(message.recent_blockhash),
        **_lookups(loaded),
    }


def _lookups(loaded: Loaded) -> dict[str, Json]:
    if not isinstance(loaded.message, MessageV0):
        return {}
    lookups = [
        {
            "accountKey": str(lookup.account_key),
            "readonlyIndexes": list(lookup.readonly_indexes),
            "writableIndexes": list(lookup.writable_indexes),
        }
        for lookup in loaded.message.address_table_lookups
    ]
    return {"addressTableLookups": lookups}


def _instruction(loaded: Loaded, instruction: CompiledInstruction, height: int) -> Json:
    del loaded
    return {
        "accounts": list(instruction.accounts),
        "data": base58.b58encode(bytes(instruction.data)).decode(),
        "programIdIndex": instruction.program_id_index,
        "stackHeight": height,
    }


def _parsed_instruction(loaded: Loaded, instruction: CompiledInstruction, height: int) -> Json:
    program = loaded.keys[instruction.program_id_index]
    data = bytes(instruction.data)
    if program in MEMO_PROGRAMS:
        return {
            "parsed": data.decode(errors="replace"),
            "program": "spl-memo",
            "programId": str(program),
            "stackHeight": height,
        }
    return {
        "accounts": [str(loaded.keys[index]) for index in instruction.accounts],
        "data": base58.b58encode(data).decode(),
        "programId": str(program),
        "stackHeight": height,
    }


def _version(loaded: Loaded, highest: int | None) -> dict[str, Json]:
    """Return the version member: none for a reader that names no highest version it takes."""
    if highest is None:
        if loaded.version is not None:
            raise version_unsupported(loaded.version)
        return {}
    return {"version": "legacy" if loaded.version is None else loaded.version}
