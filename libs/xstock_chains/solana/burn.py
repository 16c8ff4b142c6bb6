"""The burn transaction of a holder: built here, and compared before it is signed.

Compute unit limit and price, the memo that names destination and recipient, signed by the owner,
and BurnChecked of the owner's associated token account with the asset's reference key. Nothing
else: a holder that is given other bytes refuses them.
"""

from dataclasses import dataclass
from typing import Final

from xstock_chains.ports import BurnRequest
from xstock_chains.solana.chain import SolanaAsset
from xstock_chains.solana.programs import (
    COMPUTE_BUDGET,
    ata_of,
    burn_checked,
    compute_limit,
    compute_price,
    memo,
)
from xstock_chains.solana.wire import Message, compile_message

COMPUTE_LIMIT_MAX: Final = 200_000
COMPUTE_PRICE_MAX: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class BurnFees:
    """What the burn may use and pays, micro-lamports per unit."""

    limit: int
    price: int


def memo_text(request: BurnRequest) -> bytes:
    """The memo; the refund address only where it is not the owner."""
    text = f"xsb1:{int(request.destination)}:{request.recipient.hex()}"
    if request.refund_address != request.sender:
        text += f":{request.refund_address.hex()}"
    return text.encode("ascii")


def burn_message(
    request: BurnRequest, asset: SolanaAsset, fees: BurnFees, blockhash: bytes
) -> bytes:
    """The message of this very burn."""
    account = ata_of(request.sender, asset.mint)
    return compile_message(
        request.sender,
        [
            compute_limit(fees.limit),
            compute_price(fees.price),
            memo(memo_text(request), request.sender),
            burn_checked(account, asset.mint, request.sender, request.amount, asset.reference.key),
        ],
        blockhash,
    )


def fees_of(message: Message) -> BurnFees | None:
    """The fees that a burn's first two instructions name; None for any other message."""
    if len(message.instructions) != 4:
        return None
    limit, price = message.instructions[:2]
    for one, number, size in ((limit, 2, 5), (price, 3, 9)):
        program = message.keys[one.program] if one.program < len(message.keys) else b""
        if program != COMPUTE_BUDGET or len(one.data) != size or one.data[0] != number:
            return None
    return BurnFees(
        int.from_bytes(limit.data[1:], "little"), int.from_bytes(price.data[1:], "little")
    )
