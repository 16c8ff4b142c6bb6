"""What every `BurnBuilder` and `ChainAdmin` promises: refusals come first, with a remedy."""

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.driver import SHARE, ChainUnderTest
from tests.contract.test_chain_reader import read_all
from xstock_chains.ports import BurnRequest
from xstock_core.ids import Address32, AssetId, InvalidId
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal

ELSEWHERE = Address32(b"\0" * 12 + b"\x66" * 20)


def a_burn(chain: ChainUnderTest, **changes: Any) -> BurnRequest:
    """A burn that would succeed."""
    request = BurnRequest(
        message_kind=Kind.TRANSFER,
        source=chain.domain,
        destination=chain.elsewhere,
        asset=chain.asset,
        sender=chain.holder,
        recipient=ELSEWHERE,
        refund_address=chain.holder,
        amount=3 * SHARE,
    )
    return replace(request, **changes)


async def test_builder__good_request__every_check_passes_and_the_burn_is_the_request(
    chain: ChainUnderTest,
) -> None:
    request = a_burn(chain)
    checks = await chain.builder.check(request)
    assert checks
    assert all(check.passed for check in checks)
    unsigned = await chain.builder.build(request, expires=2**40)
    assert unsigned == await chain.builder.build(request, expires=2**40)
    assert unsigned.effects
    tx = await chain.execute_burn(unsigned)
    await chain.finalize()
    (burn,) = await read_all(chain)
    assert isinstance(burn, BurnFinal)
    message = burn.message
    assert (burn.place.tx, burn.sender) == (tx, chain.holder)
    assert (message.destination, message.recipient) == (request.destination, request.recipient)
    assert (message.refund_address, message.amount) == (request.refund_address, request.amount)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 2**63},
        {"amount": 0},
        {"asset": AssetId(b"\x05" * 32)},
        {"recipient": Address32(b"\x05" * 32)},
        {"recipient": Address32(bytes(32))},
        {"sender": ELSEWHERE},
    ],
    ids=["more_than_owned", "zero", "unknown_asset", "wrong_width", "zero_recipient", "no_balance"],
)
async def test_builder__burn_would_fail__a_check_says_why(
    chain: ChainUnderTest, changes: dict[str, Any]
) -> None:
    """F18, F57: refused before the burn, with the remedy."""
    request = a_burn(chain, **changes)
    failed = [check for check in await chain.builder.check(request) if not check.passed]
    assert failed
    assert all(check.remedy for check in failed)


async def test_builder__burn_to_its_own_chain__is_refused(chain: ChainUnderTest) -> None:
    request = a_burn(chain, destination=chain.domain, recipient=chain.recipient)
    assert not all(check.passed for check in await chain.builder.check(request))


async def test_builder__asset_paused__a_check_says_so(chain: ChainUnderTest) -> None:
    """F58."""
    await chain.set_paused(paused=True)
    assert not all(check.passed for check in await chain.builder.check(a_burn(chain)))


async def test_builder__address_text__round_trips(chain: ChainUnderTest) -> None:
    for address in (chain.holder, chain.recipient, chain.bridge):
        assert chain.builder.parse_address(chain.builder.show_address(address)) == address


@pytest.mark.parametrize("text", ["", "0x", "0x12", "hello", "0x" + "zz" * 20, "0x" + "00" * 20])
async def test_builder__address_text_is_garbage__is_refused(
    chain: ChainUnderTest, text: str
) -> None:
    """F18."""
    with pytest.raises(InvalidId):
        chain.builder.parse_address(text)


async def test_admin__right_chain__every_check_passes(chain: ChainUnderTest) -> None:
    test = await chain.admin.self_test()
    assert test.checks
    assert test.failed == ()


async def test_admin__another_chains_entry__the_self_test_says_what_differs(
    chain: ChainUnderTest,
) -> None:
    """F88: swapped entries fail closed."""
    failed = (await chain.swapped_admin.self_test()).failed
    assert failed
    assert all(check.remedy for check in failed)
