"""Blocks made by hand: what a node would show of transactions that no test can send.

Nobody's program is on the local chain to call the memo program from inside, so inner instructions
are written as a node writes them.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from base58 import b58encode

from tests.chains.solana.world import ELSEWHERE, GUARD_IDS, GUARDS, HOLDER, RELAYER, SHARE, TSLA
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import Block
from xstock_chains.solana.chain import LaneKey, Multisig, Reference, SolanaAsset, SolanaChain
from xstock_chains.solana.programs import ata_of, burn_checked, memo
from xstock_chains.solana.wire import (
    Instruction,
    compact,
    compile_message,
    parse_message,
    transaction_bytes,
)
from xstock_core.ids import Address32, Domain

MINT = bytes(range(1, 33))
REFERENCE = Address32(bytes(range(33, 65)))
MULTISIG = bytes(range(65, 97))
ACCOUNT = ata_of(HOLDER.identity, MINT)
SLOT = 1_000
MEMO_TEXT = f"xsb1:{int(Domain.BNB)}:{ELSEWHERE.hex()}".encode()


def a_chain(**changes: Any) -> SolanaChain:
    """A deployment with one asset."""
    asset = SolanaAsset("TSLAx", TSLA, MINT, 1, (Reference(REFERENCE, 1, b"\1" * 32, None),))
    fields: dict[str, Any] = {
        "name": "solana",
        "domain": Domain.SOLANA,
        "genesis_hash": b"\3" * 32,
        "multisig": Multisig(MULTISIG, b"\4" * 32),
        "predecessors": (),
        "guard_ids": GUARD_IDS,
        "guards": tuple(guard.identity for guard in GUARDS),
        "threshold": 2,
        "epoch": 1,
        "lane_keys": (LaneKey(RELAYER.identity, None),),
        "assets": (asset,),
        "first_slot": 1,
    }
    return SolanaChain(**(fields | changes))


def a_memo(text: bytes = MEMO_TEXT, signer: bytes = HOLDER.identity) -> Instruction:
    """The memo of a burn towards BNB."""
    return memo(text, signer)


def a_burn(amount: int = SHARE, reference: bytes = REFERENCE) -> Instruction:
    """The burn behind it."""
    return burn_checked(ACCOUNT, MINT, HOLDER.identity, amount, reference)


def an_entry(
    *instructions: Instruction,
    inner: Sequence[tuple[int, Sequence[tuple[Instruction, int | None]]]] = (),
    err: Any = None,
    payer: bytes = HOLDER.identity,
) -> dict[str, Any]:
    """A transaction of a block; `inner` are (number of the caller, its calls with their depth)."""
    every = [*instructions, *(one for _, calls in inner for one, _ in calls)]
    keys = parse_message(compile_message(payer, every, b"\5" * 32)).keys
    message = compile_message(payer, every, b"\5" * 32)
    parsed = parse_message(message)
    cut = _only_top(message, parsed.instructions, len(instructions))
    groups = [
        {
            "index": caller,
            "instructions": [
                {
                    "programIdIndex": keys.index(one.program),
                    "accounts": [keys.index(meta.key) for meta in one.accounts],
                    "data": b58encode(one.data).decode(),
                    "stackHeight": height,
                }
                for one, height in calls
            ],
        }
        for caller, calls in inner
    ]
    signatures = [bytes((7 + n,)) * 64 for n in range(parsed.signers)]
    balances = [
        {"accountIndex": at, "mint": show(MINT), "owner": show(HOLDER.identity)}
        for at, key in enumerate(keys)
        if key == ACCOUNT
    ]
    meta = {
        "err": err,
        "innerInstructions": groups,
        "loadedAddresses": {"readonly": [], "writable": []},
        "preTokenBalances": balances,
        "postTokenBalances": [],
    }
    raw = b64encode(transaction_bytes(signatures, cut)).decode()
    return {"meta": meta, "transaction": [raw, "base64"], "version": "legacy"}


def _only_top(message: bytes, compiled: Sequence[Any], top: int) -> bytes:
    """The message with only its first `top` instructions; all accounts stay."""
    sizes = [
        2 + len(one.accounts) + len(compact(len(one.data))) + len(one.data) for one in compiled
    ]
    head = message[: len(message) - sum(sizes) - 1]
    return head + bytes((top,)) + message[len(head) + 1 : len(head) + 1 + sum(sizes[:top])]


def a_block(*entries: dict[str, Any], slot: int = SLOT, height: int = SLOT) -> Block:
    """A block of these transactions."""
    return Block(slot, b"\6" * 32, slot - 1, b"\5" * 32, height, 1_800_000_000, entries)
