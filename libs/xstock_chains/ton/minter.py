"""A minter's first state: the committed code, and storage as contracts/ton/README.md lays it out.

The state decides the account: the same asset, guards and limits give the same address, so a
deployment that is run again finds what it made. `salt` makes a successor another account.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ton.cells import address_of, dictionary_cell, end, state_init, store_account
from xstock_core.ids import Address32, AssetId, Domain
from xstock_runtime.errors import Fatal

LANE_KINDS: Final = {
    Domain.ETHEREUM: 1,
    Domain.BNB: 1,
    Domain.MANTLE: 1,
    Domain.TRON: 1,
    Domain.SOLANA: 2,
    Domain.CUSTODY: 3,
}
"""What a recipient of each destination looks like: 20 bytes, 32 bytes, custody's reference."""
_ONCHAIN: Final = 0x00
_SNAKE: Final = 0x00


@cache
def artifact(name: str) -> Cell:
    """The code of `Bridge` or `Wallet`; raises Fatal if its bytes are not what they say."""
    text = (files("xstock_chains.ton") / "artifacts" / f"{name}.json").read_text("utf-8")
    entry = json.loads(text)
    code = Cell.one_from_boc(base64.b64decode(entry["codeBoc64"]))
    if code.hash.hex() != entry["codeHash"]:
        raise Fatal("ARTIFACT_INVALID", f"{name}: the code cell is not {entry['codeHash']}")
    return code


@dataclass(frozen=True, slots=True)
class MinterPlan:
    """One asset's minter as it is to be deployed; amounts in shares."""

    symbol: str
    asset: AssetId
    decimals: int
    minimum: int
    bucket: int
    bucket_refill: int
    guards: tuple[bytes, ...]
    threshold: int
    admin: Address32
    agent: Address32
    delay_seconds: int
    multiplier: tuple[int, int] = (1, 1)
    salt: int = 0

    @property
    def address(self) -> Address32:
        """Where it will stand."""
        return address_of(artifact("Bridge"), first_data(self))

    @property
    def init(self) -> Cell:
        """Its first state."""
        return state_init(artifact("Bridge"), first_data(self))


def jetton_wallet(minter: Address32, owner: Address32) -> Address32:
    """The account of an owner's jetton wallet."""
    data = store_account(store_account(Builder().store_coins(0), owner), minter)
    return address_of(artifact("Wallet"), end(data))


def first_data(plan: MinterPlan) -> Cell:
    """The minter's storage at deployment."""
    builder = Builder().store_coins(0)
    for number in (plan.bucket, plan.bucket_refill, plan.bucket):
        builder.store_uint(number, 64)
    builder.store_uint(0, 32).store_uint(0, 32).store_uint(plan.minimum, 64).store_bit(0)
    builder.store_uint(0, 32).store_bit(0).store_bit(0)
    return end(builder.store_ref(_side()).store_ref(_config(plan)))


def _side() -> Cell:
    lanes = dictionary_cell(
        {int(domain): kind for domain, kind in LANE_KINDS.items()},
        32,
        lambda kind, out: out.store_uint(kind, 8).store_uint(0, 64),
    )
    return end(Builder().store_bit(0).store_bit(0).store_maybe_ref(lanes))


def _config(plan: MinterPlan) -> Cell:
    guards = dictionary_cell(dict(enumerate(plan.guards)), 8, lambda key, out: out.store_bytes(key))
    builder = Builder().store_bytes(plan.asset).store_uint(plan.salt, 32)
    builder.store_uint(plan.decimals, 8).store_uint(1, 32).store_uint(plan.threshold, 8)
    builder.store_uint(len(plan.guards), 8).store_maybe_ref(guards)
    builder.store_ref(artifact("Wallet")).store_ref(_content(plan))
    return end(builder.store_ref(_governance(plan)))


def _governance(plan: MinterPlan) -> Cell:
    builder = store_account(store_account(Builder(), plan.admin), plan.agent)
    builder.store_uint(plan.delay_seconds, 32).store_uint(0, 32).store_bit(0).store_bit(0)
    multiplier = Builder()
    for number in plan.multiplier:
        multiplier.store_var_uint(number, 5)
    return end(builder.store_ref(end(multiplier)))


def _content(plan: MinterPlan) -> Cell:
    """TEP-64 on-chain metadata."""
    fields = {
        "name": f"{plan.symbol} xStock",
        "symbol": plan.symbol,
        "decimals": str(plan.decimals),
    }
    keys = {
        int.from_bytes(hashlib.sha256(k.encode()).digest(), "big"): v for k, v in fields.items()
    }
    tree = dictionary_cell(keys, 256, _store_text)
    return end(Builder().store_uint(_ONCHAIN, 8).store_maybe_ref(tree))


def _store_text(text: str, out: Any) -> None:
    out.store_ref(end(Builder().store_uint(_SNAKE, 8).store_bytes(text.encode())))


def guards_of(entries: dict[int, Any]) -> Sequence[bytes]:
    """The keys of a guard set's dictionary in the order of their indices."""
    return [entries[index].load_bytes(32) for index in sorted(entries)]
