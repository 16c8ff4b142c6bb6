"""One chain's desk: the family's builder and reader, and how it spells transactions."""

from collections.abc import Sequence
from dataclasses import dataclass

from xstock_chains.ports import (
    BurnBuilder,
    BurnRequest,
    ChainReader,
    CheckResult,
    RecipientCheck,
    UnsignedBurn,
)
from xstock_chains.text import parse_tx, show_tx
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.observation import TxRef
from xstock_runtime.errors import Transient


@dataclass(frozen=True, slots=True)
class FamilyDesk:
    """ChainDesk over the ports of one chain."""

    chain: Domain
    family: str
    builder: BurnBuilder
    reader: ChainReader

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Every reason why the burn would fail now."""
        return await self.builder.check(request)

    async def check_recipient(self, asset: AssetId, recipient: Address32) -> Sequence[CheckResult]:
        """What the chain's own builder finds; nothing where its addresses say all there is."""
        if isinstance(self.builder, RecipientCheck):
            return await self.builder.check_recipient(asset, recipient)
        return ()

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """The transactions to sign."""
        return await self.builder.build(request, expires=expires)

    async def multiplier(self, asset: AssetId) -> int:
        """The token's multiplier now, scaled by 10^18; Transient while it cannot be read."""
        reading = await self.reader.read_supply([asset])
        for supply in reading.supplies:
            if supply.asset == asset:
                return supply.multiplier
        text = f"the token of asset {asset.hex()} cannot be read on chain {int(self.chain)}"
        raise Transient("SUPPLY_UNREAD", text, {"chain": int(self.chain), "asset": asset.hex()})

    def parse_address(self, text: str) -> Address32:
        """The wire form; raises InvalidId."""
        return self.builder.parse_address(text)

    def show_address(self, address: Address32) -> str:
        """The chain's own text."""
        return self.builder.show_address(address)

    def parse_tx(self, text: str) -> TxRef:
        """The transaction; raises InvalidId."""
        return parse_tx(self.family, self.chain, text)

    def show_tx(self, tx: TxRef) -> str:
        """The chain's own text."""
        return show_tx(self.family, tx)
