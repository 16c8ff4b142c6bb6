"""The findings alone: which single facts prove that something is wrong, and which do not."""

from dataclasses import replace

import pytest

from tests.services.supply_guard.world import ASSET, HOLDER, SHARE
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, Nonce, issue_nonce
from xstock_core.observation import BlockRef, Place, ReleaseFinal, TxRef
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.findings import no_order

ISSUED = ReleaseFinal(
    destination=Domain.ETHEREUM,
    source=Domain.CUSTODY,
    nonce=issue_nonce(ASSET, 7, keccak256),
    asset=ASSET,
    recipient=HOLDER,
    amount=Shares(SHARE),
    place=Place(
        BlockRef(Domain.ETHEREUM, 5, b"\x05" * 32, 1_000), TxRef(Domain.ETHEREUM, b"\x01" * 32), 0
    ),
)


def test_no_order__release_that_an_order_may_have__is_no_finding() -> None:
    assert no_order(ISSUED) is None


@pytest.mark.parametrize(
    "forged",
    [
        replace(ISSUED, nonce=Nonce(ISSUED.nonce[:24] + bytes(8))),
        replace(ISSUED, nonce=Nonce(b"\x07" * 32)),
        replace(ISSUED, recipient=Address32(b"\x01" * 32)),
        replace(ISSUED, recipient=Address32(bytes(32))),
        replace(ISSUED, amount=Shares(0)),
    ],
    ids=["order zero", "another tag", "padding", "nobody", "nothing"],
)
def test_no_order__release_that_no_order_can_have__halts_its_asset(forged: ReleaseFinal) -> None:
    """INV-01: what is minted in custody's name must at least look like an order."""
    found = no_order(forged)
    assert found is not None
    assert (found.code, found.asset, found.chain) == ("INV-01", ASSET, None)
