"""Token and Token-2022 accounts read from their bytes, and amounts as the RPC shows them.

Layouts: https://github.com/solana-program/token-2022 (state of `Account` and `Mint`, and the
type-length-value extensions after byte 166). A mint with a scaled amount multiplies what is shown,
never what is held; the products are cut, not rounded, as the program does.
"""

import struct
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, localcontext

from solders.account import Account
from solders.pubkey import Pubkey

from xstock_devnet.solana.errors import Json
from xstock_devnet.solana.programs import TOKEN_PROGRAMS

ACCOUNT_BYTES = 165
MINT_BYTES = 82
MULTISIG_BYTES = 355
KIND_MINT = 1
KIND_ACCOUNT = 2
EXTENSION_SCALED_AMOUNT = 25


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A holder's account: whose, of which mint, how much (smallest unit)."""

    mint: Pubkey
    owner: Pubkey
    amount: int


@dataclass(frozen=True, slots=True)
class Mint:
    """A token: supply in smallest units, and the multiplier that applies at a given time."""

    supply: int
    decimals: int
    multiplier: Decimal
    new_multiplier: Decimal
    new_multiplier_at: int

    def multiplier_at(self, unix_seconds: int) -> Decimal:
        """Return what a raw amount is multiplied with to be shown."""
        due = unix_seconds >= self.new_multiplier_at
        return self.new_multiplier if due else self.multiplier


def read_token_account(account: Account | None) -> TokenAccount | None:
    """Return a token account, None if this is not an initialised one."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = bytes(account.data)
    if not _is_kind(data, ACCOUNT_BYTES, KIND_ACCOUNT) or data[108] == 0:
        return None
    amount = int.from_bytes(data[64:72], "little")
    return TokenAccount(Pubkey(data[:32]), Pubkey(data[32:64]), amount)


def read_mint(account: Account | None) -> Mint | None:
    """Return a mint, None if this is not an initialised one."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = bytes(account.data)
    if not _is_kind(data, MINT_BYTES, KIND_MINT) or data[45] != 1:
        return None
    supply = int.from_bytes(data[36:44], "little")
    scaled = _extension(data, EXTENSION_SCALED_AMOUNT)
    if scaled is None:
        return Mint(supply, data[44], Decimal(1), Decimal(1), 0)
    now, due, then = struct.unpack("<dqd", scaled[32:56])
    return Mint(supply, data[44], Decimal(now), Decimal(then), due)


def shown_amount(amount: int, decimals: int, multiplier: Decimal = Decimal(1)) -> Json:
    """Return a `uiTokenAmount`: raw, decimal text and number."""
    with localcontext() as context:
        context.prec = 60
        context.rounding = ROUND_DOWN
        units = (Decimal(amount) * multiplier).to_integral_value(rounding=ROUND_DOWN)
        text = f"{units.scaleb(-decimals):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": float(text),
        "uiAmountString": text or "0",
    }


def _is_kind(data: bytes, base: int, kind: int) -> bool:
    if len(data) == base:
        return True
    return len(data) > ACCOUNT_BYTES and len(data) != MULTISIG_BYTES and data[165] == kind


def _extension(data: bytes, wanted: int) -> bytes | None:
    position = ACCOUNT_BYTES + 1
    while position + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, position)
        if kind == 0:
            return None
        if kind == wanted:
            return data[position + 4 : position + 4 + length]
        position += 4 + length
    return None
