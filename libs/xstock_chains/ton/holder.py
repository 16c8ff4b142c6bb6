"""A holder on TON: signs the burn that the bridge built, sends it, and waits where it arrives.

For the command line and for local chains; an exchange or a wallet app signs with its own
machinery. What is signed is checked first against what the holder asked for: one message, to the
holder's own jetton wallet of this asset's minter in use, with a bounded value, whose body is bit
for bit the burn wanted. A burn crosses three accounts, so `send` follows it to the minter: the
last reference is the minter's transaction, the one that everybody else will speak of.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from xstock_chains.ports import BurnRequest
from xstock_chains.ton.address import parse_text, show_wallet
from xstock_chains.ton.builder import BURN_VALUE, burn_of
from xstock_chains.ton.cells import boc_of, internal_message
from xstock_chains.ton.chain import TonChain
from xstock_chains.ton.minter import jetton_wallet
from xstock_chains.ton.purse import Purse
from xstock_chains.ton.rpc import Toncenter
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError, Transient

U32_MAX: Final = 2**32 - 1
"""The wallet's own bound of a time."""


class TonHolder:
    """`Holder` with one local key and one node."""

    def __init__(self, chain: TonChain, api: Toncenter, purse: Purse) -> None:
        self._chain = chain
        self._api = api
        self._purse = purse

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    @property
    def address(self) -> Address32:
        """The account of the key's v4r2 wallet."""
        return self._purse.address

    @property
    def address_text(self) -> str:
        """The wallet's user-friendly text, to which coins can be sent before it is deployed."""
        return show_wallet(self._purse.address)

    async def send(self, burn: Mapping[str, Any], wanted: BurnRequest) -> Sequence[TxRef]:
        """Sign and send, then follow the burn to the minter; the last reference is its
        transaction there, or the one where the burn was refused.

        Raises Fatal BURN_NOT_AS_EXPECTED when the bytes do something else than the burn wanted,
        InvalidMessage TRANSACTION_REFUSED when the wallet refuses, Ambiguous when nothing shows.
        """
        messages: Sequence[Mapping[str, Any]] = burn["messages"]
        self._check(messages, wanted)
        minter = self._chain.in_use[wanted.asset]
        body = burn_of(wanted, minter)
        to = jetton_wallet(minter.address, self.address)
        message = internal_message(to, int(messages[0]["value"]), body)
        signed = await self._purse.sign([message], min(int(burn["valid_until"]), U32_MAX))
        try:
            await self._api.send(signed.raw)
        except ServiceError as error:
            if isinstance(error, Transient):
                raise
            text = f"{self._chain.name} refused the message: {error.message}"
            raise InvalidMessage("TRANSACTION_REFUSED", text, {"node": error.message}) from error
        sent = await self._purse.landed(signed.ref)
        reached = await self._purse.followed(sent, minter.address)
        return [signed.ref, TxRef(self._chain.domain, reached.tx.hash)]

    async def included(self, tx: TxRef) -> bool | None:
        """True when it succeeded in a block, False when it failed there, None when not yet."""
        found = await self._api.transaction(tx.id)
        if found is None:
            return None
        return found.succeeded and found.account in self._chain.by_address

    def _check(self, messages: Sequence[Mapping[str, Any]], wanted: BurnRequest) -> None:
        """SECURITY: a gateway that lies about its bytes must not get them signed."""
        if wanted.sender != self.address:
            raise _unexpected("sender", wanted.sender.hex(), self.address_text)
        if len(messages) != 1:
            raise _unexpected("messages", len(messages), "exactly one")
        minter = self._chain.in_use.get(wanted.asset)
        if minter is None:
            raise _unexpected("asset", wanted.asset.hex(), "an asset of this chain")
        (message,) = messages
        if parse_text(str(message["to"]), "to") != jetton_wallet(minter.address, self.address):
            raise _unexpected("to", message["to"], "the holder's own jetton wallet of the asset")
        if not 0 < int(message["value"]) <= BURN_VALUE:
            raise _unexpected("value", message["value"], f"at most {BURN_VALUE} nanoTON")
        body, expected = _bytes(message["body"]), boc_of(burn_of(wanted, minter))
        if body != expected:
            raise _unexpected("body", body.hex(), expected.hex())

    async def shares_of(self, symbol: str) -> int:
        """What this holder has of an asset, in the jetton's own units."""
        minter = next((m for m in self._chain.in_use.values() if m.asset.symbol == symbol), None)
        if minter is None:
            raise InvalidMessage("ASSET_UNKNOWN", f"{symbol} is not on {self._chain.name}")
        wallet = jetton_wallet(minter.address, self.address)
        account = (await self._api.accounts([wallet])).get(wallet)
        if account is None or not account.active:
            return 0
        return (await self._api.run(wallet, "get_wallet_data")).integer(0)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else bytes.fromhex(str(value))


def _unexpected(field: str, found: object, expected: str) -> Fatal:
    text = f"burn.{field}: {found!r} is not what a burn needs ({expected}); do not sign"
    return Fatal("BURN_NOT_AS_EXPECTED", text, {"field": field, "found": found})
