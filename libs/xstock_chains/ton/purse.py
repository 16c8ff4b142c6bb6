"""A v4r2 wallet with its key here: sends up to four messages at once, one send after another.

For deployers and holders. A send is signed once with the wallet's present seqno and a time after
which it is dead; the same seqno can never land twice, so sending the same bytes again is harmless.
The first send deploys the wallet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytoniq_core.boc.cell import Cell

from xstock_chains.ports import PreparedTx, SendSlot, SignedTx
from xstock_chains.ton.rpc import Toncenter, Transaction
from xstock_chains.ton.signer import V4, LocalSigner, payload
from xstock_chains.ton.wallets import v4_inner
from xstock_core.ids import Address32, Domain
from xstock_core.observation import TxRef
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous

_WAIT_SECONDS: Final = 0.2
_TRACE_MAX: Final = 30
INCLUDED_WITHIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a trace ended for an account: its transaction, or the one that stopped it."""

    tx: Transaction
    arrived: bool


class Purse:
    """One v4r2 wallet over one node."""

    def __init__(self, domain: Domain, api: Toncenter, signer: LocalSigner, clock: Clock) -> None:
        self._domain = domain
        self._api = api
        self._signer = signer
        self._clock = clock

    @property
    def address(self) -> Address32:
        """The wallet's account."""
        return self._signer.holder_wallet

    async def balance(self) -> int:
        """nanoTON."""
        account = (await self._api.accounts([self.address])).get(self.address)
        return 0 if account is None else account.balance

    async def sign(self, messages: Sequence[Cell], valid_until: int) -> SignedTx:
        """The signed send of these messages in the wallet's next place."""
        account = (await self._api.accounts([self.address])).get(self.address)
        active = account is not None and account.active
        seqno = (await self._api.run(self.address, "seqno")).integer(0) if active else 0
        inner = v4_inner(seqno, valid_until, messages)
        slot = SendSlot(self._domain, self.address, str(seqno))
        content = payload(V4, inner, deploy=not active)
        prepared = PreparedTx(self._domain, slot, content, "as built", simulated=False)
        return await self._signer.sign_transaction(prepared)

    async def landed(self, tx: TxRef) -> Transaction:
        """The wallet's transaction of a send; raises Ambiguous if none shows in a minute."""
        deadline = self._clock.monotonic() + INCLUDED_WITHIN_SECONDS
        while self._clock.monotonic() < deadline:
            for found in await self._api.by_message(tx.id):
                if found.account == self.address:
                    return found
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"no transaction of {tx.id.hex()} yet; look again before sending anything else"
        raise Ambiguous("SEND_PENDING", text, {"tx": tx.id.hex()})

    async def committed(self, *seen: Transaction) -> None:
        """Return once the node's states hold these transactions: what it is asked next, the
        wallet's seqno above all, is answered after them. Raises Ambiguous after a minute."""
        wanted = {one.account: max(o.lt for o in seen if o.account == one.account) for one in seen}
        deadline = self._clock.monotonic() + INCLUDED_WITHIN_SECONDS
        while self._clock.monotonic() < deadline:
            known = await self._api.accounts(list(wanted))
            if all(one in known and known[one].lt >= lt for one, lt in wanted.items()):
                return
            await self._clock.sleep(_WAIT_SECONDS)
        text = "the node's states do not show what its blocks hold yet; look again"
        raise Ambiguous("SEND_PENDING", text, {"tx": seen[0].hash.hex()})

    async def followed(self, sent: Transaction, to: Address32) -> Reached:
        """The transaction of `to` that a send led to, or the last one where it did not get there.

        Raises Ambiguous if the trace does not end in a minute.
        """
        deadline = self._clock.monotonic() + INCLUDED_WITHIN_SECONDS
        while self._clock.monotonic() < deadline:
            reached = await self._end_of(sent, to)
            if reached is not None:
                return reached
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"what {sent.hash.hex()} led to is not on chain yet; look again"
        raise Ambiguous("SEND_PENDING", text, {"tx": sent.hash.hex()})

    async def _end_of(self, sent: Transaction, to: Address32) -> Reached | None:
        """None while a message of the trace has no transaction yet."""
        waiting, last = [sent], sent
        for _ in range(_TRACE_MAX):
            if not waiting:
                return Reached(last, arrived=False)
            last = waiting.pop(0)
            if last.account == to:
                return Reached(last, arrived=True)
            for message in last.out_msgs:
                if message.destination is None:
                    continue
                found = await self._api.by_message(message.hash)
                if not found:
                    return None
                waiting.extend(found)
        return Reached(last, arrived=False)
