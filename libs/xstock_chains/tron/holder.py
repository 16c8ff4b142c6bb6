"""A holder on Tron: signs the transactions that the bridge built, and sends them.

For the command line and for local chains; an exchange signs with its own machinery. What is
signed is read first, byte for byte, and compared with what the holder asked for, because a
gateway that is lied to or taken over must not get other bytes signed: calls only, from this
holder, of a bounded fee limit and lifetime; approvals of this asset to the bridge in use; and one
burn whose call data is that of the asset, amount, destination, recipient and refund address
wanted. Bytes that this adapter would not have written are not signed at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from xstock_chains.ports import BurnRequest, PreparedTx, SendSlot
from xstock_chains.solidity.abi import address_word, selector, words
from xstock_chains.solidity.burns import approve_head, bridge_out
from xstock_chains.tron.address import account_text
from xstock_chains.tron.blocks import landed
from xstock_chains.tron.calls import Read, data_or_raise, read_all
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.errors import broadcast_refused
from xstock_chains.tron.frames import DAY_MS, frame_text, read_heads
from xstock_chains.tron.rpc import WALLET, TronRpc, object_of
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.transaction import Frame, RawTransaction, Trigger, decode, encode
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal, InvalidMessage

_WAIT_SECONDS: Final = 0.2
_TRIES: Final = 300


class TronHolder:
    """`Holder` with one local key and one server."""

    def __init__(self, chain: TronChain, rpc: TronRpc, signer: TronSigner, clock: Clock) -> None:
        self._chain = chain
        self._rpc = rpc
        self._signer = signer
        self._clock = clock

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    @property
    def address(self) -> Address32:
        """The holder's wire form."""
        return self._signer.wire

    @property
    def address_text(self) -> str:
        """The T… text."""
        return account_text(self._signer.identity)

    async def send(self, burn: Mapping[str, Any], wanted: BurnRequest) -> Sequence[TxRef]:
        """Sign and send all transactions in order; the last one is the burn.

        An approval is awaited in a block before the burn goes out: Tron keeps no order between
        transactions. Raises Fatal BURN_NOT_AS_EXPECTED when the bytes do something else than a
        burn here, InvalidMessage TRANSACTION_REFUSED when the node refuses one, Transient when
        it is away.
        """
        transactions = [decode(bytes(one["raw_data"])) for one in burn["transactions"]]
        _, _, newest = await read_heads(self._rpc)
        self.check(transactions, wanted, newest.time_ms)
        refs: list[TxRef] = []
        for transaction in transactions:
            if refs:
                await self._settled(refs[-1])
            refs.append(await self._send(transaction))
        return refs

    async def _send(self, transaction: RawTransaction) -> TxRef:
        chain = self._chain.domain
        slot = SendSlot(chain, self._signer.wire, frame_text(transaction.frame))
        prepared = PreparedTx(chain, slot, encode(transaction), "as built", simulated=False)
        signed = await self._signer.sign_transaction(prepared)
        answer = await self._rpc.wallet("broadcasthex", transaction=signed.raw.hex())
        refusal = broadcast_refused(object_of(answer, "broadcasthex"), self._rpc.host)
        if refusal is not None:
            text = f"{self._chain.name} refused the transaction: {refusal.message}"
            raise InvalidMessage("TRANSACTION_REFUSED", text, {"node": refusal.message})
        return signed.ref

    async def _settled(self, tx: TxRef) -> None:
        for _ in range(_TRIES):
            done = await self.included(tx)
            if done is False:
                text = f"the approval {tx.id.hex()} failed in its block; the burn was not sent"
                raise InvalidMessage("TRANSACTION_REFUSED", text, {"tx": tx.id.hex()})
            if done:
                return
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"the approval {tx.id.hex()} is in no block yet; the burn was not sent; try again"
        raise InvalidMessage("TRANSACTION_REFUSED", text, {"tx": tx.id.hex()})

    async def included(self, tx: TxRef) -> bool | None:
        """True when it succeeded in a block, False when it failed there, None when not yet."""
        answer = await self._rpc.wallet("gettransactioninfobyid", value=tx.id.hex())
        info = object_of(answer, "info")
        return landed(info) if info else None

    def check(
        self, transactions: Sequence[RawTransaction], wanted: BurnRequest, now_ms: int
    ) -> None:
        """SECURITY: a gateway that lies about its bytes must not get them signed."""
        if wanted.sender != self.address:
            raise _unexpected("sender", wanted.sender.hex(), self.address_text)
        if not transactions:
            raise _unexpected("transactions", [], "approvals first, the burn last")
        calls = [self._call(transaction, now_ms) for transaction in transactions]
        *approvals, burn = calls
        for approval in approvals:
            self._check_approval(approval, wanted)
        if burn.contract != self._chain.bridge.address:
            raise _unexpected("contract", account_text(burn.contract), "the bridge in use")
        if burn.data != bridge_out(wanted):
            raise _unexpected("data", burn.data.hex(), bridge_out(wanted).hex())

    def _call(self, transaction: RawTransaction, now_ms: int) -> Trigger:
        content = transaction.content
        if not isinstance(content, Trigger):
            raise _unexpected("contract", type(content).__name__, "a call, nothing else")
        if content.owner != self._signer.identity:
            raise _unexpected("owner", account_text(content.owner), self.address_text)
        most = self._chain.facts.fee_limit_max
        if transaction.fee_limit > most:
            raise _unexpected("fee_limit", transaction.fee_limit, f"at most {most} sun")
        self._check_frame(transaction.frame, now_ms)
        return content

    def _check_frame(self, frame: Frame, now_ms: int) -> None:
        if not now_ms < frame.expiration_ms <= now_ms + DAY_MS:
            raise _unexpected("expiration", frame.expiration_ms, "within a day from now")

    def _check_approval(self, call: Trigger, wanted: BurnRequest) -> None:
        """Only this asset's token, only towards the bridge in use, which burns what it takes."""
        token = self._chain.by_asset().get(wanted.asset)
        if token is None or call.contract != token.address:
            text = account_text(call.contract)
            raise _unexpected("contract", text, "the token of the asset that is burned")
        head = approve_head(self._chain.bridge.address)
        if len(call.data) != len(head) + 32 or not call.data.startswith(head):
            raise _unexpected("data", call.data.hex(), "an approval of the bridge in use")

    async def shares_of(self, symbol: str) -> int:
        """What this holder has of an asset, in the token's own share units (10^-18)."""
        token = next((one for one in self._chain.tokens if one.symbol == symbol), None)
        if token is None:
            raise InvalidMessage("ASSET_UNKNOWN", f"{symbol} is not on {self._chain.name}")
        data = selector("sharesOf(address)") + address_word(self._signer.identity)
        (answer,) = await read_all(self._rpc, WALLET, [Read(token.address, data)])
        return words(data_or_raise(self._rpc, "sharesOf", answer), 1, "sharesOf")[0]


def _unexpected(field: str, found: object, expected: str) -> Fatal:
    text = f"burn.{field}: {found!r} is not what a burn needs ({expected}); do not sign"
    return Fatal("BURN_NOT_AS_EXPECTED", text, {"field": field, "found": found})
