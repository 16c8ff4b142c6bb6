"""What the issuer's token accounts held at a block, traced back over the blocks above it.

A node shows accounts as they are now only. At an earlier block an account held what the first
successful transaction above it that names the account found there (`preTokenBalances` of its
meta, Solana's RPC documentation, "Transaction status metadata"); where none names it, what it
holds now. A failed one moved nothing, and what a node lists for it is not asked. Nothing here asks
a node.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstock_chains.inventory import held_together
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import Block
from xstock_chains.solana.chain import Holding, SolanaAsset
from xstock_chains.solana.mint import parse_token_account
from xstock_chains.solana.programs import SYSTEM
from xstock_chains.solana.reading import concerns, keys_of, meta_of, raw_of, succeeded
from xstock_chains.solana.rpc import account_of, dict_of, invalid, key_of, list_of, number_of
from xstock_core.ids import U64_MAX


@dataclass(frozen=True, slots=True)
class Touch:
    """A successful transaction that names an account, with the keys it lists."""

    slot: int
    entry: Any
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Later:
    """For each account, the first successful transaction above a block that names it."""

    first: Mapping[bytes, Touch] = field(default_factory=dict)

    def held(
        self, asset: SolanaAsset, accounts: Mapping[bytes, tuple[int, Any]], supply: int
    ) -> int:
        """What the asset's holdings had together; `accounts` says what the node shows of each
        now and at which slot, `supply` what there was in all. Raises InvalidMessage."""
        found = [
            self._one(asset.mint, one, *accounts[one.account]) for one in asset.issuer_inventory
        ]
        return held_together(asset.symbol, found, supply)

    def _one(self, mint: bytes, holding: Holding, slot: int, raw: Any) -> int:
        touch = self.first.get(holding.account)
        if touch is None or touch.slot > slot:
            return _holds_now(mint, holding, raw)
        return _held_before(mint, holding, touch)


def trace(blocks: Sequence[Block], accounts: Iterable[bytes]) -> Later:
    """Who names these accounts first in these blocks, which are in order and whole.

    Raises InvalidMessage for a transaction that cannot be read.
    """
    wanted = frozenset(accounts)
    texts = frozenset(show(account) for account in wanted)
    first: dict[bytes, Touch] = {}
    if not wanted:
        return Later(first)
    for block in blocks:
        for entry in block.transactions or ():
            raw = raw_of(entry)
            if concerns(entry, raw, wanted, texts) and succeeded(meta_of(entry)):
                keys = keys_of(entry, raw)
                for account in wanted.intersection(keys):
                    first.setdefault(account, Touch(block.slot, entry, keys))
    return Later(first)


def _holds_now(mint: bytes, holding: Holding, raw: Any) -> int:
    """The account's amount; 0 where there is none, or one of nobody's with coins for rent."""
    account = account_of(raw)
    if account is None or (account.owner == SYSTEM and not account.data):
        return 0
    held = parse_token_account(account)
    if held is None or (held.mint, held.owner) != (mint, holding.owner):
        raise invalid("issuer inventory", show(holding.account), "its owner's account of the mint")
    return held.amount


def _held_before(mint: bytes, holding: Holding, touch: Touch) -> int:
    """What the transaction found; an account that it does not list was no token account."""
    name = "preTokenBalances"
    for one in list_of(meta_of(touch.entry).get(name), name):
        fields = dict_of(one, name)
        at = number_of(fields.get("accountIndex"), f"{name}.accountIndex")
        if at >= len(touch.keys):
            raise invalid(f"{name}.accountIndex", at, "the place of an account")
        if touch.keys[at] == holding.account:
            named = (key_of(fields.get("mint"), "mint"), key_of(fields.get("owner"), "owner"))
            if named != (mint, holding.owner):
                raise invalid(name, show(holding.account), "its owner's account of the mint")
            return _amount(dict_of(fields.get("uiTokenAmount"), "uiTokenAmount").get("amount"))
    return 0


def _amount(value: Any) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise invalid("uiTokenAmount.amount", value, "a whole number in decimal text")
    if len(value) > len(str(U64_MAX)) or int(value) > U64_MAX:
        raise invalid("uiTokenAmount.amount", value, "at most 2^64 - 1")
    return int(value)
