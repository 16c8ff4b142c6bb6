"""One account's transactions from a known one on: every link checked, so nothing can be missing.

Each transaction names the one before it by logical time and hash; the first after a position must
name that position, and the account's own state names the last. A node that hides one breaks the
chain and is `Transient` CHAIN_GAP: another answer, or another node, may be whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.ton.rpc import PAGE_MAX, AccountHead, Toncenter, Transaction
from xstock_core.ids import Address32
from xstock_runtime.errors import InvalidMessage, ServiceError, Transient

NOWHERE: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Mark:
    """A transaction by what the next one names it by; lt 0 is before the account's first."""

    lt: int = 0
    hash: bytes = NOWHERE


@dataclass(frozen=True, slots=True)
class Stretch:
    """Linked transactions; `whole_to` is the masterchain block up to which none is missing."""

    transactions: tuple[Transaction, ...]
    whole_to: int


class Walk:
    """Follows accounts over one node."""

    def __init__(self, api: Toncenter) -> None:
        self._api = api

    async def follow(self, account: AccountHead, after: Mark, *, head: int, wanted: int) -> Stretch:
        """Transactions after a mark that blocks up to `head` commit: about `wanted` of them, or
        all; whole masterchain blocks. Raises Transient where the node's answers leave a gap."""
        if account.lt == after.lt:
            self.same_end(account, after)
            return Stretch((), head)
        if account.lt < after.lt:
            text = f"{self._api.host} shows {account.address.hex()} before lt {after.lt}"
            raise Transient("NODE_BEHIND", text, {"lt": account.lt})
        found: list[Transaction] = []
        limit = min(max(wanted, 1), PAGE_MAX)
        while True:
            mark = Mark(found[-1].lt, found[-1].hash) if found else after
            part = await self._api.transactions(account.address, start_lt=mark.lt + 1, limit=limit)
            self.check_links(mark, part, account.address)
            found.extend(part)
            if len(part) < limit:
                self.check_end(found, account)
                return _committed(found, head, whole_to=head)
            if (found[-1].mc_seqno or head + 1) > (found[0].mc_seqno or head):
                return _committed(found, head, whole_to=(found[-1].mc_seqno or head + 1) - 1)

    def same_end(self, account: AccountHead, after: Mark) -> None:
        """SECURITY: one logical time has one transaction, or final history was replaced."""
        if account.lt and account.hash != after.hash:
            raise _rewritten(account.address, account.lt)

    def check_links(self, mark: Mark, part: Sequence[Transaction], account: Address32) -> None:
        """SECURITY: each transaction names the one before it, so a hidden one shows (F30)."""
        for tx in part:
            if (tx.prev_lt, tx.prev_hash) != (mark.lt, mark.hash):
                raise self._gap(account, mark, tx)
            mark = Mark(tx.lt, tx.hash)

    def check_end(self, found: Sequence[Transaction], account: AccountHead) -> None:
        """SECURITY: the account's state names its last transaction; the list must reach it."""
        if not found or found[-1].lt < account.lt:
            have = found[-1].lt if found else 0
            facts = {"account": account.address.hex(), "lt": account.lt, "have": have}
            text = (
                f"{self._api.host} lists {facts['account']} to lt {have}, its state is at "
                f"{account.lt}; the node hides or has not indexed the rest"
            )
            raise Transient("TRANSACTIONS_INCOMPLETE", text, facts)
        for tx in found:
            if tx.lt == account.lt and tx.hash != account.hash:
                raise _rewritten(account.address, account.lt)

    def _gap(self, account: Address32, mark: Mark, tx: Transaction) -> ServiceError:
        facts = {"account": account.hex(), "after": mark.lt, "names": tx.prev_lt, "lt": tx.lt}
        if tx.prev_lt == mark.lt:
            return _rewritten(account, mark.lt)
        text = (
            f"{self._api.host}: after lt {mark.lt} of {account.hex()} comes {tx.lt}, which names "
            f"{tx.prev_lt}; the node hides or repeats transactions"
        )
        return Transient("CHAIN_GAP", text, facts)


def _rewritten(account: Address32, lt: int) -> InvalidMessage:
    text = f"lt {lt} of {account.hex()} has another transaction now; compare with other nodes"
    return InvalidMessage("TRANSACTION_REPLACED", text, {"account": account.hex(), "lt": lt})


def _committed(found: Sequence[Transaction], head: int, whole_to: int) -> Stretch:
    """Those of them that blocks up to `head` commit, in whole blocks."""
    most = min(head, whole_to)
    kept = tuple(tx for tx in found if tx.final_by(most))
    numbers = [tx.mc_seqno or 0 for tx in found]
    if numbers != sorted(numbers):
        at = found[0].account.hex()
        text = f"masterchain blocks of {at} do not rise with logical time; ask another node"
        raise InvalidMessage("RPC_MALFORMED", text, {"account": at})
    return Stretch(kept, most)
