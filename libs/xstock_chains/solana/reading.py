"""One transaction as the chain executed it: flat instructions with full keys, and balances.

Accounts come from the message and from the address lookup tables that the node resolved;
programs are known by their ids, never by a node's "parsed" form (which mislabels BurnChecked)
and never by log text, which anybody can write (F09).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from base58 import b58decode

from xstock_chains.solana.programs import (
    AUTHORITY_OWNER,
    BATCH,
    INITIALIZE_ACCOUNT,
    INITIALIZE_ACCOUNT_2,
    INITIALIZE_ACCOUNT_3,
    SET_AUTHORITY,
    TOKEN_2022,
    TRANSFER_HOOK,
)
from xstock_chains.solana.rpc import base64_of, dict_of, invalid, key_of, list_of, number_of
from xstock_chains.solana.wire import (
    KEY_SIZE,
    SIGNATURE_SIZE,
    Transaction,
    malformed,
    parse_transaction,
)
from xstock_runtime.errors import InvalidMessage

TOP_LEVEL: Final = 0xFF
"""The inner index of a top-level instruction."""
_INNER_MAX: Final = 0xFE
_HOOK_UPDATE: Final = 1


@dataclass(frozen=True, slots=True)
class Executed:
    """One instruction that ran; `height` is its depth of calls, 1 at the top, 0 if unknown."""

    outer: int
    inner: int
    height: int
    program: bytes
    accounts: tuple[bytes, ...]
    data: bytes
    batched: bool = False
    """One of several in a Batch of the token program; numbered after what the caller called."""

    @property
    def order(self) -> int:
        """Its place within the transaction: a top-level one comes before those it calls."""
        return self.outer * 256 + (0 if self.inner == TOP_LEVEL else self.inner + 1)


@dataclass(frozen=True, slots=True)
class Ran:
    """A transaction that succeeded, as far as the bridge looks at it."""

    transaction: Transaction
    instructions: tuple[Executed, ...]
    owners: Mapping[bytes, bytes]
    """token account -> owner, before the transaction or as it was created in it."""

    @property
    def id(self) -> bytes:
        """The first signature."""
        return self.transaction.signatures[0]

    def signed_by(self, key: bytes) -> bool:
        """Whether this key signed the transaction itself."""
        message = self.transaction.message
        return key in message.keys[: message.signers]


def succeeded(meta: Any) -> bool:
    """SECURITY: a failed transaction has no effects, whatever it contains (F09, F44)."""
    fields = dict_of(meta, "transaction.meta")
    if "err" not in fields:
        raise invalid("transaction.meta", sorted(fields), "an object with `err`")
    return fields["err"] is None


def raw_of(entry: Any) -> bytes:
    """The bytes of a transaction in a block or an answer to getTransaction."""
    return base64_of(dict_of(entry, "transaction").get("transaction"), "transaction.transaction")


def concerns(entry: Any, raw: bytes, keys: frozenset[bytes], texts: frozenset[str]) -> bool:
    """Whether a transaction names one of these accounts, itself or through a lookup table.

    Asked of every transaction of every block, so its accounts are looked up where they lie; what
    cannot be read so is left to the parser.
    """
    try:
        if _names(raw, keys):
            return True
    except IndexError:
        return True
    loaded = (entry.get("meta") or {}).get("loadedAddresses") or {}
    return any(text in texts for part in loaded.values() for text in part)


def _names(raw: bytes, keys: frozenset[bytes]) -> bool:
    """Signatures, perhaps a version, a header of three, then the accounts."""
    at = 1 + SIGNATURE_SIZE * raw[0]
    at += 4 if raw[at] & 0x80 else 3
    first, count = at + 1, raw[at]
    return any(
        raw[start : start + KEY_SIZE] in keys
        for start in range(first, first + KEY_SIZE * count, KEY_SIZE)
    )


def parse_ran(entry: Any, raw: bytes) -> Ran:
    """The transaction with its inner instructions; raises InvalidMessage."""
    meta = meta_of(entry)
    transaction = parse_transaction(raw)
    keys = _all_keys(transaction, meta)
    instructions = _instructions(transaction, meta, keys)
    return Ran(transaction, instructions, _owners(meta, keys, instructions))


def keys_of(entry: Any, raw: bytes) -> tuple[bytes, ...]:
    """Every account that a transaction lists, by its index in the node's own balances; raises
    InvalidMessage."""
    return _all_keys(parse_transaction(raw), meta_of(entry))


def meta_of(entry: Any) -> dict[str, Any]:
    """What the node says of how a transaction went; raises InvalidMessage."""
    return dict_of(dict_of(entry, "transaction").get("meta"), "transaction.meta")


def _all_keys(transaction: Transaction, meta: dict[str, Any]) -> tuple[bytes, ...]:
    message = transaction.message
    if not message.lookups:
        return message.keys
    loaded = dict_of(meta.get("loadedAddresses"), "loadedAddresses")
    added = tuple(
        key_of(text, f"loadedAddresses.{part}")
        for part in ("writable", "readonly")
        for text in list_of(loaded.get(part), part)
    )
    if len(added) != message.lookups:
        raise invalid("loadedAddresses", len(added), f"{message.lookups} addresses")
    return message.keys + added


def _instructions(
    transaction: Transaction, meta: dict[str, Any], keys: tuple[bytes, ...]
) -> tuple[Executed, ...]:
    inner: dict[int, list[Any]] = {}
    for group in list_of(meta.get("innerInstructions"), "innerInstructions"):
        fields = dict_of(group, "innerInstructions")
        number = number_of(fields.get("index"), "innerInstructions.index")
        inner[number] = list_of(fields.get("instructions"), "innerInstructions.instructions")
    found: list[Executed] = []
    for outer, one in enumerate(transaction.message.instructions):
        program, accounts = _keyed(keys, one.program, list(one.accounts))
        found.append(Executed(outer, TOP_LEVEL, 1, program, accounts, one.data))
        called = [_called(outer, at, raw, keys) for at, raw in enumerate(inner.pop(outer, []))]
        called += _batched([found[-1], *called])
        if outer > TOP_LEVEL or len(called) > _INNER_MAX:
            raise malformed("it has more instructions than can be numbered")
        found.extend(called)
    if inner:
        raise invalid("innerInstructions", sorted(inner), "numbers of top-level instructions")
    return tuple(found)


def _called(outer: int, at: int, raw: Any, keys: tuple[bytes, ...]) -> Executed:
    fields = dict_of(raw, "inner instruction")
    accounts = [number_of(one, "account") for one in list_of(fields.get("accounts"), "accounts")]
    program, named = _keyed(keys, number_of(fields.get("programIdIndex"), "program"), accounts)
    height = fields.get("stackHeight")
    depth = 0 if height is None else number_of(height, "stackHeight")
    text = fields.get("data")
    try:
        data = b58decode(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None:
        raise invalid("inner instruction.data", text, "base 58")
    return Executed(outer, at, depth, program, named, data)


def _batched(instructions: Sequence[Executed]) -> list[Executed]:
    """What the batches among a top-level instruction and its calls hold.

    SECURITY: a Batch runs token instructions without calling anything, so that a node shows none
    of them; a burn or an unauthorised mint in one would be told by nobody. Data: for each, a count
    of accounts, a length, so much data; accounts one after another (token-2022, `process_batch`).
    """
    found: list[Executed] = []
    free = len(instructions) - 1
    for batch in instructions:
        if batch.program != TOKEN_2022 or batch.data[:1] != bytes((BATCH,)):
            continue
        rest, accounts = batch.data[1:], batch.accounts
        height = batch.height + 1 if batch.height else 0
        while rest:
            count, size = rest[0], rest[1] if len(rest) > 1 else 0
            named, data, accounts = accounts[:count], rest[2 : 2 + size], accounts[count:]
            if len(rest) < 2 or len(named) != count or len(data) != size:
                raise malformed("a batch of token instructions ends too early")
            inner = free + len(found)
            found.append(
                Executed(batch.outer, inner, height, TOKEN_2022, named, data, batched=True)
            )
            rest = rest[2 + size :]
    return found


def _keyed(
    keys: tuple[bytes, ...], program: int, accounts: list[int]
) -> tuple[bytes, tuple[bytes, ...]]:
    if program >= len(keys) or any(at >= len(keys) for at in accounts):
        raise malformed("an instruction names an account that is not there")
    return keys[program], tuple(keys[at] for at in accounts)


def _owners(
    meta: dict[str, Any], keys: tuple[bytes, ...], instructions: Sequence[Executed]
) -> dict[bytes, bytes]:
    """Owners before the transaction; for accounts that it created, the first ones it gave."""
    owners: dict[bytes, bytes] = {}
    for one in instructions:
        if one.program != TOKEN_2022 or not one.data:
            continue
        account, owner = _ownership(one)
        if account is not None and owner is not None:
            owners.setdefault(account, owner)
    for field in ("postTokenBalances", "preTokenBalances"):
        for entry in list_of(meta.get(field), field):
            fields = dict_of(entry, field)
            at = number_of(fields.get("accountIndex"), f"{field}.accountIndex")
            if at >= len(keys) or fields.get("owner") is None:
                raise InvalidMessage("RPC_MALFORMED", f"{field}: an entry without account or owner")
            owner = key_of(fields["owner"], f"{field}.owner")
            if field == "preTokenBalances":
                owners[keys[at]] = owner
            else:
                owners.setdefault(keys[at], owner)
    return owners


def _ownership(one: Executed) -> tuple[bytes | None, bytes | None]:
    """(account, owner) of an instruction that gives a token account its first owner."""
    number = one.data[0]
    if number == INITIALIZE_ACCOUNT and len(one.accounts) >= 3:
        return one.accounts[0], one.accounts[2]
    if number in (INITIALIZE_ACCOUNT_2, INITIALIZE_ACCOUNT_3) and len(one.data) >= 33:
        return one.accounts[0], one.data[1:33]
    return None, None


def new_hook(one: Executed) -> bytes | None:
    """The program that from now on runs with every transfer, nothing (b"") for none; None for
    other instructions. Update of the transfer hook extension."""
    if one.program != TOKEN_2022 or one.data[:2] != bytes((TRANSFER_HOOK, _HOOK_UPDATE)):
        return None
    program = one.data[2:34]
    return program if any(program) else b""


def new_authority(one: Executed) -> tuple[int, bytes] | None:
    """(kind, new authority or nothing) of a SetAuthority; None for other instructions."""
    if one.program != TOKEN_2022 or len(one.data) < 3 or one.data[0] != SET_AUTHORITY:
        return None
    kind, given = one.data[1], one.data[2]
    if kind == AUTHORITY_OWNER:
        return None
    return kind, one.data[3:35] if given == 1 else b""
