"""The instructions we send and recognise, and the addresses that programs derive.

Layouts from the programs' own sources: system program (solana-system-interface), SPL Token-2022,
associated token account, compute budget and memo. Only what the bridge needs is here.
"""

import struct
from hashlib import sha256
from typing import Final

from base58 import b58decode
from solders.pubkey import Pubkey

from xstock_chains.solana.wire import Instruction, Meta

SYSTEM: Final = bytes(32)
TOKEN_2022: Final = b58decode("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED: Final = b58decode("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
COMPUTE_BUDGET: Final = b58decode("ComputeBudget111111111111111111111111111111")
MEMO: Final = b58decode("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
"""The memo program that checks its signers; version 1 (Memo1…) does not and counts for nothing."""

CREATE_ACCOUNT: Final = 0
TRANSFER: Final = 2
ALLOCATE_WITH_SEED: Final = 9
"""System program instruction numbers (u32, little endian)."""

INITIALIZE_MINT: Final = 0
INITIALIZE_ACCOUNT: Final = 1
INITIALIZE_MULTISIG: Final = 2
SET_AUTHORITY: Final = 6
MINT_TO: Final = 7
BURN: Final = 8
MINT_TO_CHECKED: Final = 14
BURN_CHECKED: Final = 15
INITIALIZE_ACCOUNT_2: Final = 16
INITIALIZE_ACCOUNT_3: Final = 18
INITIALIZE_MULTISIG_2: Final = 19
INITIALIZE_MINT_2: Final = 20
TRANSFER_HOOK: Final = 36
BATCH: Final = 255
"""Token-2022 instruction numbers (u8)."""

AUTHORITY_MINT: Final = 0
AUTHORITY_OWNER: Final = 2
DECIMALS: Final = 8
MARKER_SPACE: Final = 1


def transfer(sender: bytes, to: bytes, lamports: int) -> Instruction:
    """Lamports from an account that signs."""
    data = struct.pack("<IQ", TRANSFER, lamports)
    accounts = (Meta(sender, signer=True, writable=True), Meta(to, writable=True))
    return Instruction(SYSTEM, accounts, data)


def allocate_with_seed(
    account: bytes, base: bytes, seed: bytes, space: int, extra: tuple[Meta, ...] = ()
) -> Instruction:
    """AllocateWithSeed for the system program; accounts after the second are not looked at."""
    data = struct.pack("<I", ALLOCATE_WITH_SEED) + base + struct.pack("<Q", len(seed)) + seed
    data += struct.pack("<Q", space) + SYSTEM
    accounts = (Meta(account, writable=True), Meta(base, signer=True), *extra)
    return Instruction(SYSTEM, accounts, data)


def create_ata(payer: bytes, ata: bytes, owner: bytes, mint: bytes) -> Instruction:
    """CreateIdempotent of the associated token account program."""
    accounts = (
        Meta(payer, signer=True, writable=True),
        Meta(ata, writable=True),
        Meta(owner),
        Meta(mint),
        Meta(SYSTEM),
        Meta(TOKEN_2022),
    )
    return Instruction(ASSOCIATED, accounts, b"\x01")


def mint_to_checked(
    mint: bytes, account: bytes, multisig: bytes, signers: tuple[bytes, ...], amount: int
) -> Instruction:
    """MintToChecked by a multisig."""
    accounts = (
        Meta(mint, writable=True),
        Meta(account, writable=True),
        Meta(multisig),
        *(Meta(key, signer=True) for key in signers),
    )
    return Instruction(TOKEN_2022, accounts, amount_data(MINT_TO_CHECKED, amount))


def burn_checked(
    account: bytes, mint: bytes, owner: bytes, amount: int, reference: bytes
) -> Instruction:
    """BurnChecked by the owner, naming the asset's reference key."""
    accounts = (
        Meta(account, writable=True),
        Meta(mint, writable=True),
        Meta(owner, signer=True),
        Meta(reference),
    )
    return Instruction(TOKEN_2022, accounts, amount_data(BURN_CHECKED, amount))


def amount_data(number: int, amount: int) -> bytes:
    """The data of a checked token instruction of 8 decimals."""
    return struct.pack("<BQB", number, amount, DECIMALS)


def memo(text: bytes, signer: bytes) -> Instruction:
    """A memo that this key signs."""
    return Instruction(MEMO, (Meta(signer, signer=True),), text)


def compute_limit(units: int) -> Instruction:
    """SetComputeUnitLimit."""
    return Instruction(COMPUTE_BUDGET, (), struct.pack("<BI", 2, units))


def compute_price(micro_lamports: int) -> Instruction:
    """SetComputeUnitPrice."""
    return Instruction(COMPUTE_BUDGET, (), struct.pack("<BQ", 3, micro_lamports))


def seeded_address(base: bytes, seed: bytes, owner: bytes = SYSTEM) -> bytes:
    """Pubkey::create_with_seed."""
    return sha256(base + seed + owner).digest()


def ata_of(owner: bytes, mint: bytes) -> bytes:
    """The associated Token-2022 account of an owner."""
    program = Pubkey.from_bytes(ASSOCIATED)
    return bytes(Pubkey.find_program_address([owner, TOKEN_2022, mint], program)[0])


def is_on_curve(key: bytes) -> bool:
    """Whether a key may be somebody's ed25519 public key; program-derived addresses are not."""
    return bool(Pubkey.from_bytes(key).is_on_curve())


def create_with_seed(
    payer: bytes, account: bytes, seed: bytes, lamports: int, space: int
) -> Instruction:
    """CreateAccountWithSeed for the token program, base and payer being one key."""
    data = struct.pack("<I", 3) + payer + struct.pack("<Q", len(seed)) + seed
    data += struct.pack("<QQ", lamports, space) + TOKEN_2022
    accounts = (Meta(payer, signer=True, writable=True), Meta(account, writable=True))
    return Instruction(SYSTEM, accounts, data)


def initialize_multisig(account: bytes, threshold: int, members: tuple[bytes, ...]) -> Instruction:
    """InitializeMultisig2."""
    accounts = (Meta(account, writable=True), *(Meta(key) for key in members))
    return Instruction(TOKEN_2022, accounts, bytes((INITIALIZE_MULTISIG_2, threshold)))


def initialize_mint(mint: bytes, authority: bytes, freezer: bytes) -> Instruction:
    """InitializeMint2 with 8 decimals."""
    data = bytes((INITIALIZE_MINT_2, DECIMALS)) + authority + b"\x01" + freezer
    return Instruction(TOKEN_2022, (Meta(mint, writable=True),), data)


def set_mint_authority(
    mint: bytes, now: bytes, then: bytes, signers: tuple[bytes, ...] = ()
) -> Instruction:
    """SetAuthority MintTokens by the present authority's key, or by these members of it where it
    is a multisig."""
    data = bytes((SET_AUTHORITY, AUTHORITY_MINT, 1)) + then
    accounts = (
        Meta(mint, writable=True),
        Meta(now, signer=not signers),
        *(Meta(key, signer=True) for key in signers),
    )
    return Instruction(TOKEN_2022, accounts, data)


def set_pause(mint: bytes, authority: bytes, *, paused: bool) -> Instruction:
    """Pause or Resume of the pausable extension."""
    accounts = (Meta(mint, writable=True), Meta(authority, signer=True))
    return Instruction(TOKEN_2022, accounts, bytes((44, 1 if paused else 2)))


def xstock_extensions(
    *,
    mint: bytes,
    issuer: bytes,
    pauser: bytes,
    creator: bytes,
    multiplier: bytes,
    name: str,
    symbol: str,
) -> tuple[list[Instruction], list[Instruction]]:
    """(before, after InitializeMint2): the extensions that xStocks have. `multiplier` is the
    little-endian f64; the metadata is written by `creator`, who has the mint's authority then."""
    on_mint = (Meta(mint, writable=True),)
    fields = b"".join(
        struct.pack("<I", len(part)) + part for part in (name.encode(), symbol.encode(), b"")
    )
    data = (
        bytes((39, 0)) + issuer + mint,
        bytes((35,)) + issuer,
        bytes((28, 0, 1)),
        bytes((36, 0)) + issuer + bytes(32),
        bytes((43, 0)) + issuer + multiplier,
        bytes((44, 0)) + pauser,
    )
    metadata = Instruction(
        TOKEN_2022,
        (Meta(mint, writable=True), Meta(issuer), Meta(mint), Meta(creator, signer=True)),
        sha256(b"spl_token_metadata_interface:initialize_account").digest()[:8] + fields,
    )
    return [Instruction(TOKEN_2022, on_mint, one) for one in data], [metadata]
