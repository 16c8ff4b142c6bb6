"""What callers pass: keys, signatures, commitments, transactions, with a validator's refusals."""

import base64
import binascii
from collections.abc import Sequence

import base58
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import SanitizeError, VersionedTransaction

from xstock_devnet.solana.chain import Block, Chain
from xstock_devnet.solana.errors import (
    Json,
    below_confirmed,
    context_slot_not_reached,
    invalid_params,
)

COMMITMENTS = ("processed", "confirmed", "finalized")
OLD_COMMITMENTS = {
    "recent": "processed",
    "single": "confirmed",
    "singleGossip": "confirmed",
    "max": "finalized",
    "root": "finalized",
}
PACKET_BYTES = 1_232
PACKET_BASE64_CHARS = 1_644
PACKET_BASE58_CHARS = 1_683
TRANSACTION_TYPE = "solana_transaction::versioned::VersionedTransaction"


class Arguments:
    """The `params` of one call: by position, with the options object that comes last."""

    def __init__(self, params: Json, least: int, options_at: int) -> None:
        if params is None:
            params = []
        if not isinstance(params, list):
            raise invalid_params("`params` should be an array")
        if len(params) < least:
            raise invalid_params(f"`params` should have at least {least} argument(s)")
        self.values: list[Json] = params
        options = params[options_at] if len(params) > options_at else None
        if options is not None and not isinstance(options, dict):
            raise invalid_params(f"Invalid params: invalid type: {_kind(options)}, expected object")
        self.options: dict[str, Json] = options or {}

    def integer(self, position: int) -> int:
        """Return a whole number that must not be negative."""
        return whole(self.values[position])

    def text(self, position: int) -> str:
        """Return a string."""
        return _string(self.values[position])

    def key(self, position: int) -> Pubkey:
        """Return an account's address."""
        return key_of(self.values[position])

    def option(self, name: str, otherwise: Json = None) -> Json:
        """Return an option, `otherwise` if it is not given or null."""
        value = self.options.get(name)
        return otherwise if value is None else value

    def mapping(self, name: str) -> dict[str, Json] | None:
        """Return an option that is an object, None if it is not given."""
        return None if (value := self.option(name)) is None else mapping(value)

    def commitment(self, name: str = "commitment", otherwise: str = "finalized") -> str:
        """Return the commitment asked for; `finalized` where none is."""
        value = self.option(name, otherwise)
        value = OLD_COMMITMENTS.get(value, value) if isinstance(value, str) else value
        if value not in COMMITMENTS:
            raise invalid_params(
                f"Invalid params: unknown variant `{value}`, expected one of `processed`,"
                " `confirmed`, `finalized`."
            )
        return str(value)

    def block(self, chain: Chain, name: str = "commitment", otherwise: str = "finalized") -> Block:
        """Return the block that a call reads at; raises RpcFailure before `minContextSlot`."""
        block = block_of(chain, self.commitment(name, otherwise))
        least = self.option("minContextSlot")
        if least is not None and whole(least) > block.slot:
            raise context_slot_not_reached(block.slot)
        return block

    def history_block(self, chain: Chain) -> Block:
        """Return the block up to which history is read; raises RpcFailure for `processed`."""
        if self.commitment() == "processed":
            raise below_confirmed()
        return self.block(chain)


def block_of(chain: Chain, commitment: str) -> Block:
    """Return the newest block that a commitment sees."""
    if commitment == "processed":
        return chain.tip
    return chain.confirmed if commitment == "confirmed" else chain.finalized


def whole(value: Json) -> int:
    """Return a whole number that is not negative; raises RpcFailure for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected u64.")
    return value


def mapping(value: Json) -> dict[str, Json]:
    """Return an object; raises RpcFailure for anything else."""
    if not isinstance(value, dict):
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected a map.")
    return value


def key_of(value: Json) -> Pubkey:
    """Return an address; raises RpcFailure naming what is wrong with the text."""
    return Pubkey(_base58(_string(value), 32, "Invalid param: "))


def signature_of(value: Json) -> str:
    """Return a transaction id; raises RpcFailure naming what is wrong with the text."""
    return str(Signature(_base58(_string(value), 64, "Invalid param: ")))


def hash_of(value: Json) -> Hash:
    """Return a blockhash; raises RpcFailure naming what is wrong with the text."""
    return Hash(_base58(_string(value), 32, ""))


def keys_of(values: Json, limit: int) -> Sequence[Pubkey]:
    """Return a list of addresses; raises RpcFailure for more than `limit`."""
    if not isinstance(values, list):
        raise invalid_params(f"Invalid params: invalid type: {_kind(values)}, expected a sequence.")
    if len(values) > limit:
        raise invalid_params(f"Too many inputs provided; max {limit}")
    return [key_of(value) for value in values]


def transaction_of(text: str, encoding: str) -> tuple[VersionedTransaction, bytes]:
    """Return a transaction and its bytes; raises RpcFailure as the validator words it."""
    raw = _decoded(text, encoding)
    if len(raw) > PACKET_BYTES:
        raise invalid_params(
            f"decoded {TRANSACTION_TYPE} too large: {len(raw)} bytes (max: {PACKET_BYTES} bytes)"
        )
    try:
        transaction = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise invalid_params(f"failed to deserialize {TRANSACTION_TYPE}: {error}") from error
    if not isinstance(transaction.message, Message | MessageV0):
        raise invalid_params(f"failed to deserialize {TRANSACTION_TYPE}: unsupported version")
    try:
        transaction.sanitize()
    except SanitizeError as error:
        raise invalid_params(
            "invalid transaction: Transaction failed to sanitize accounts offsets correctly"
        ) from error
    return transaction, raw


def _decoded(text: str, encoding: str) -> bytes:
    most = PACKET_BASE64_CHARS if encoding == "base64" else PACKET_BASE58_CHARS
    if encoding not in ("base64", "base58"):
        raise invalid_params(
            f"unsupported encoding: {encoding}. Supported encodings: base58, base64"
        )
    if len(text) > most:
        raise invalid_params(
            f"{encoding} encoded {TRANSACTION_TYPE} too large: {len(text)} bytes"
            f" (max: encoded/raw {most}/{PACKET_BYTES})"
        )
    if encoding == "base58":
        try:
            return base58.b58decode(text)
        except ValueError as error:
            raise invalid_params(f"invalid base58 encoding: {error}") from error
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise invalid_params(f"invalid base64 encoding: {_base64_fault(text)}") from error


def _base64_fault(text: str) -> str:
    """Say what is wrong with base64 in the words of Rust's decoder."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for position, character in enumerate(text.rstrip("=")):
        if character not in alphabet:
            return f"InvalidByte({position}, {ord(character)})"
    return "InvalidPadding"


def _base58(text: str, size: int, prefix: str) -> bytes:
    try:
        data = base58.b58decode(text)
    except ValueError as error:
        raise invalid_params(f"{prefix}Invalid") from error
    if len(data) != size:
        raise invalid_params(f"{prefix}WrongSize")
    return data


def _string(value: Json) -> str:
    if not isinstance(value, str):
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
    return value


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return "sequence" if isinstance(value, list) else "map"
