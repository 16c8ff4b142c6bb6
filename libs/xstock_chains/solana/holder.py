"""A holder on Solana: signs the transaction that the bridge built, and sends it.

For the command line and for local chains; an exchange signs with its own machinery. The message
is built again from what the holder asked for, with only blockhash and fees taken from the given
one, and must be the same byte for byte: a gateway that is taken over gets nothing else signed.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from base58 import b58encode

from xstock_chains.ports import BurnRequest
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED
from xstock_chains.solana.burn import COMPUTE_LIMIT_MAX, COMPUTE_PRICE_MAX, burn_message, fees_of
from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.errors import RpcFault, broadcast_refused
from xstock_chains.solana.mint import parse_token_account
from xstock_chains.solana.programs import ata_of
from xstock_chains.solana.rpc import (
    Call,
    Rpc,
    account_of,
    dict_of,
    status_call,
    statuses_of,
    with_context,
)
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.wire import parse_message, transaction_bytes
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal, InvalidMessage


class SolanaHolder:
    """`Holder` with one local key and one node."""

    def __init__(self, chain: SolanaChain, rpc: Rpc, signer: LocalSigner) -> None:
        self._chain = chain
        self._rpc = rpc
        self._signer = signer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    @property
    def address(self) -> Address32:
        """The holder's wire form."""
        return self._signer.wire

    @property
    def address_text(self) -> str:
        """The base-58 text."""
        return show(self._signer.identity)

    async def send(self, burn: Mapping[str, Any], wanted: BurnRequest) -> Sequence[TxRef]:
        """Check, sign and send the one transaction.

        Raises Fatal BURN_NOT_AS_EXPECTED when the bytes do something else than the burn wanted,
        InvalidMessage TRANSACTION_REFUSED when the node refuses it, Transient when it is away.
        """
        message = bytes(burn["message"])
        self.check(message, wanted)
        signature = self._signer.sign(message)
        raw = transaction_bytes([signature], message)
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        call: Call = ("sendTransaction", [b64encode(raw).decode(), options])
        (answer,) = await self._rpc.batch_settled([call])
        ref = TxRef(self._chain.domain, signature)
        if isinstance(answer, RpcFault):
            refusal = broadcast_refused(self._rpc.host, answer)
            if refusal is not None:
                text = f"{self._chain.name} refused the transaction: {answer.message}"
                raise InvalidMessage("TRANSACTION_REFUSED", text, {"node": answer.message})
        return [ref]

    async def included(self, tx: TxRef) -> bool | None:
        """True when it succeeded in a block, False when it failed there, None when not yet."""
        (answer,) = await self._rpc.batch([status_call(b58encode(tx.id).decode())])
        _, values = statuses_of(answer)
        if not values or values[0] is None:
            return None
        status = dict_of(values[0], "status")
        if status.get("confirmationStatus") == "processed":
            return None
        return status.get("err") is None

    def check(self, message: bytes, wanted: BurnRequest) -> None:
        """SECURITY: a gateway that lies about its bytes must not get them signed."""
        if wanted.sender != self.address:
            raise _unexpected("sender", show(wanted.sender), self.address_text)
        try:
            parsed = parse_message(message)
        except InvalidMessage as error:
            raise _unexpected("message", message.hex()[:120], error.message) from error
        fees = fees_of(parsed)
        if fees is None:
            raise _unexpected("message", message.hex()[:120], "fees, memo and burn, nothing else")
        if fees.limit > COMPUTE_LIMIT_MAX or fees.price > COMPUTE_PRICE_MAX:
            raise _unexpected("fees", fees, f"at most {COMPUTE_LIMIT_MAX}, {COMPUTE_PRICE_MAX}")
        expected = burn_message(wanted, self._asset(wanted), fees, parsed.blockhash)
        if message != expected:
            raise _unexpected("message", message.hex(), expected.hex())

    def _asset(self, wanted: BurnRequest) -> SolanaAsset:
        return self._chain.asset_of(wanted.asset)

    async def shares_of(self, symbol: str) -> int:
        """What this holder has of an asset, in raw units (10^-8 share)."""
        asset = next((one for one in self._chain.assets if one.symbol == symbol), None)
        if asset is None:
            raise InvalidMessage("ASSET_UNKNOWN", f"{symbol} is not on {self._chain.name}")
        account = show(ata_of(self.address, asset.mint))
        options = {"encoding": "base64", **CONFIRMED}
        answer = await self._rpc.call("getAccountInfo", account, options)
        held = parse_token_account(account_of(with_context(answer, "getAccountInfo")[1]))
        return 0 if held is None else held.amount


def _unexpected(field: str, found: object, expected: str) -> Fatal:
    text = f"burn.{field}: {found!r} is not what a burn needs ({expected}); do not sign"
    return Fatal("BURN_NOT_AS_EXPECTED", text, {"field": field, "found": found})
