"""Token-2022 accounts as bytes: mints with their extensions, token accounts, multisigs.

Layouts: SPL Token `state.rs`, Token-2022 `extension/*`; every offset here is tested against
accounts of a real validator. The multiplier of the scaled UI amount is a float for display only:
its shortest decimal text, which is what the issuer wrote, becomes an integer scaled by 10^18, and
no amount is computed from it.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any, Final

from xstock_chains.solana.programs import TOKEN_2022
from xstock_chains.solana.rpc import Account
from xstock_runtime.errors import InvalidMessage

MINT_SIZE: Final = 82
ACCOUNT_SIZE: Final = 165
MULTISIG_SIZE: Final = 355
_MULTISIG_MEMBERS_MAX: Final = 11
_ONE: Final = 10**18
_TYPE_MINT: Final = 1
_TYPE_ACCOUNT: Final = 2

EXT_DEFAULT_STATE: Final = 6
EXT_PERMANENT_DELEGATE: Final = 12
EXT_TRANSFER_HOOK: Final = 14
EXT_METADATA_POINTER: Final = 18
EXT_METADATA: Final = 19
EXT_SCALED_UI: Final = 25
EXT_PAUSABLE: Final = 26
FROZEN: Final = 2


@dataclass(frozen=True, slots=True)
class Mint:
    """A Token-2022 mint."""

    authority: bytes | None
    supply: int
    decimals: int
    freeze_authority: bytes | None
    extensions: dict[int, bytes]

    @property
    def paused(self) -> bool:
        """Whether the pausable extension says so."""
        raw = self.extensions.get(EXT_PAUSABLE)
        return raw is not None and len(raw) == 33 and raw[32] != 0

    @property
    def pauser(self) -> bytes | None:
        """Who may pause and resume; None where nobody may."""
        raw = self.extensions.get(EXT_PAUSABLE)
        return raw[:32] if raw is not None and len(raw) == 33 and any(raw[:32]) else None

    @property
    def new_accounts_frozen(self) -> bool:
        """Whether the default state of new accounts is frozen."""
        return self.extensions.get(EXT_DEFAULT_STATE, b"\0")[:1] == bytes((FROZEN,))

    def multiplier(self, now: int) -> tuple[int, int]:
        """(multiplier scaled by 10^18, its epoch) at this Unix second.

        The epoch is the effective timestamp of the multiplier in force, 0 before the first
        scheduled one: it changes whenever the multiplier does. Raises InvalidMessage for a
        multiplier that is no positive finite number.
        """
        raw = self.extensions.get(EXT_SCALED_UI)
        if raw is None:
            return _ONE, 0
        if len(raw) != 56:
            raise _malformed("scaled UI amount extension")
        old, effective, new = struct.unpack("<dqd", raw[32:])
        chosen, epoch = (new, max(effective, 0)) if now >= effective else (old, 0)
        if not isfinite(chosen) or chosen <= 0:
            raise _malformed("multiplier")
        scaled = Fraction(repr(chosen)) * _ONE
        return (scaled.numerator * 2 + scaled.denominator) // (2 * scaled.denominator), epoch


def parse_mint(account: Account | None, name: str) -> Mint:
    """The mint in this account; raises InvalidMessage if it is none of Token-2022."""
    if account is None or account.owner != TOKEN_2022 or len(account.data) < MINT_SIZE:
        text = f"{name}: the registered mint is no Token-2022 mint; correct the registry"
        raise InvalidMessage("MINT_UNREADABLE", text, {"asset": name})
    data = account.data
    has_authority, authority, supply, decimals, initialized = struct.unpack_from("<I32sQBB", data)
    has_freeze, freeze = struct.unpack_from("<I32s", data, 46)
    if initialized != 1:
        raise InvalidMessage("MINT_UNREADABLE", f"{name}: the mint is not initialised")
    return Mint(
        authority=authority if has_authority == 1 else None,
        supply=supply,
        decimals=decimals,
        freeze_authority=freeze if has_freeze == 1 else None,
        extensions=_extensions(data, _TYPE_MINT),
    )


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A Token-2022 account."""

    mint: bytes
    owner: bytes
    amount: int
    frozen: bool


def parse_token_account(account: Account | None) -> TokenAccount | None:
    """The token account, None if this is none of Token-2022."""
    if account is None or account.owner != TOKEN_2022 or not is_token_account(account.data):
        return None
    mint, owner, amount = struct.unpack_from("<32s32sQ", account.data)
    return TokenAccount(mint, owner, amount, account.data[108] == FROZEN)


def is_token_account(data: bytes) -> bool:
    """Whether these bytes of the token program are a token account, not a mint or multisig."""
    if len(data) == ACCOUNT_SIZE:
        return True
    return (
        len(data) > ACCOUNT_SIZE
        and len(data) != MULTISIG_SIZE
        and data[ACCOUNT_SIZE] == _TYPE_ACCOUNT
    )


def multisig_data(threshold: int, keys: tuple[bytes, ...]) -> bytes:
    """The whole data of a multisig account with these members in this order."""
    head = bytes((threshold, len(keys), 1)) + b"".join(keys)
    return head + bytes(MULTISIG_SIZE - len(head))


def parse_multisig(account: Account | None) -> tuple[int, tuple[bytes, ...]] | None:
    """(threshold, members in their order); None if this is no multisig of Token-2022."""
    if account is None or account.owner != TOKEN_2022 or len(account.data) != MULTISIG_SIZE:
        return None
    threshold, count, initialized = account.data[:3]
    if initialized != 1 or not 1 <= threshold <= count <= _MULTISIG_MEMBERS_MAX:
        return None
    keys = account.data[3 : 3 + 32 * count]
    return threshold, tuple(keys[at : at + 32] for at in range(0, len(keys), 32))


def facts_hash_input(mint: bytes, reference: bytes, decimals: int, multisig: bytes) -> bytes:
    """What a reference's `code_hash` in the registry is the keccak256 of: the facts that make
    this mint this asset's, which the self-test compares with the chain."""
    return b"xstock/solana/mint/1" + mint + reference + multisig + bytes((decimals,))


def _extensions(data: bytes, kind: int) -> dict[int, bytes]:
    """type -> value of the extensions behind the base account (TLV, little endian)."""
    if len(data) <= ACCOUNT_SIZE:
        return {}
    if data[ACCOUNT_SIZE] != kind:
        raise _malformed("account type")
    found: dict[int, bytes] = {}
    at = ACCOUNT_SIZE + 1
    while at + 4 <= len(data):
        number, size = struct.unpack_from("<HH", data, at)
        if number == 0:
            break
        value = data[at + 4 : at + 4 + size]
        if len(value) != size:
            raise _malformed("extension length")
        found[number] = value
        at += 4 + size
    return found


def _malformed(what: str) -> InvalidMessage:
    facts: dict[str, Any] = {"field": what}
    return InvalidMessage("MINT_UNREADABLE", f"the mint's {what} cannot be read", facts)
