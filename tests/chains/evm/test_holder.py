"""A holder signs exactly the burn that was asked for, whatever a gateway built.

The gateway is lied to or taken over in every way its bytes allow; what went to the node is
recorded, and has to be nothing.
"""

from dataclasses import replace
from typing import Any

import pytest

from xstock_chains.evm.address import checksummed, to_wire
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.holder import EvmHolder
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import BurnRequest
from xstock_chains.solidity.abi import selector
from xstock_chains.solidity.burns import bridge_out
from xstock_chains.solidity.contracts import BridgeContract, TokenContract
from xstock_core.ids import Domain, asset_id
from xstock_core.message import Kind
from xstock_runtime.errors import Fatal
from xstock_runtime.hashing import keccak256

BRIDGE, TOKEN, OTHER_TOKEN, THIEF = (bytes([number]) * 20 for number in (1, 2, 3, 4))
TSLA, SPY = asset_id("TSLAx", keccak256), asset_id("SPYx", keccak256)
SIGNER = LocalSigner.from_hex("22" * 32)
RETIRED = bytes([5]) * 20
CHAIN = EvmChain(
    name="ethereum",
    domain=Domain.ETHEREUM,
    chain_id=1,
    genesis_hash=bytes(32),
    bridges=(
        BridgeContract(RETIRED, to_wire(RETIRED), 1, bytes(32), 9),
        BridgeContract(BRIDGE, to_wire(BRIDGE), 10, bytes(32), None),
    ),
    tokens=(
        TokenContract("TSLAx", TSLA, TOKEN, 18, 1),
        TokenContract("SPYx", SPY, OTHER_TOKEN, 18, 1),
    ),
    batch_items_max=10,
)
WANTED = BurnRequest(
    message_kind=int(Kind.TRANSFER),
    source=Domain.ETHEREUM,
    destination=Domain.BNB,
    asset=TSLA,
    sender=SIGNER.wire,
    recipient=to_wire(bytes([9]) * 20),
    refund_address=SIGNER.wire,
    amount=150_000_000,
)


class RecordingNode:
    """A node that takes whatever it is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def batch_settled(self, calls: Any) -> list[str]:
        """Remember the signed bytes."""
        self.sent += [arguments[0] for _, arguments in calls]
        return ["0x" + "00" * 32 for _ in calls]


def transaction(to: bytes, data: bytes, nonce: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {
        "chain_id": 1,
        "to": checksummed(to),
        "data": data,
        "value": "0",
        "gas": 300_000,
        "max_fee_per_gas": "1000000000",
        "max_priority_fee_per_gas": "1000000000",
        "nonce": nonce,
    }
    return fields | changes


def approve(spender: bytes, amount: int = 10**18) -> bytes:
    head = selector("approve(address,uint256)") + to_wire(spender)
    return bytes(head + amount.to_bytes(32, "big"))


APPROVAL = transaction(TOKEN, approve(BRIDGE))
BURN = transaction(BRIDGE, bridge_out(WANTED), 1)


def holder() -> tuple[EvmHolder, RecordingNode]:
    node = RecordingNode()
    return EvmHolder(CHAIN, node, SIGNER), node  # type: ignore[arg-type]


async def test_holder__burn_as_wanted__is_signed_and_sent_in_order() -> None:
    one, node = holder()
    refs = await one.send({"transactions": [APPROVAL, BURN]}, WANTED)
    assert len(node.sent) == len(refs) == 2
    assert refs[-1].id == keccak256(bytes.fromhex(node.sent[-1][2:]))


def lie(**changes: Any) -> dict[str, Any]:
    """The burn that a liar would rather have signed."""
    return transaction(BRIDGE, bridge_out(replace(WANTED, **changes)), 1)


@pytest.mark.parametrize(
    "transactions",
    [
        [APPROVAL, lie(recipient=to_wire(THIEF))],
        [APPROVAL, lie(amount=WANTED.amount + 1)],
        [APPROVAL, lie(asset=SPY)],
        [APPROVAL, lie(destination=Domain.MANTLE)],
        [APPROVAL, lie(refund_address=to_wire(THIEF))],
        [APPROVAL, BURN | {"data": bridge_out(WANTED) + b"\0"}],
        [APPROVAL, BURN | {"to": checksummed(RETIRED)}],
        [APPROVAL, BURN | {"to": checksummed(THIEF)}],
        [APPROVAL, BURN | {"chain_id": 56}],
        [APPROVAL, BURN | {"value": "1"}],
        [APPROVAL, BURN | {"max_fee_per_gas": str(10**18)}],
        [APPROVAL, BURN | {"gas": 2**30}],
        [transaction(TOKEN, approve(THIEF)), BURN],
        [transaction(TOKEN, approve(RETIRED)), BURN],
        [transaction(OTHER_TOKEN, approve(BRIDGE)), BURN],
        [transaction(TOKEN, selector("transfer(address,uint256)") + approve(BRIDGE)[4:]), BURN],
        [transaction(TOKEN, approve(BRIDGE) + b"\0"), BURN],
        [BURN, BURN],
        [BURN, APPROVAL],
        [APPROVAL],
        [],
    ],
)
async def test_holder__anything_else__is_refused_before_a_single_byte_is_signed(
    transactions: list[dict[str, Any]],
) -> None:
    one, node = holder()
    with pytest.raises(Fatal) as caught:
        await one.send({"transactions": transactions}, WANTED)
    assert caught.value.code == "BURN_NOT_AS_EXPECTED"
    assert node.sent == []


async def test_holder__burn_of_somebody_else__is_refused() -> None:
    one, node = holder()
    with pytest.raises(Fatal, match="sender"):
        await one.send({"transactions": [BURN]}, replace(WANTED, sender=to_wire(THIEF)))
    assert node.sent == []


async def test_defence_removed__without_the_comparison__a_thief_s_recipient_is_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusals above come from the comparison and from nothing else."""
    monkeypatch.setattr(EvmHolder, "_check", lambda *_: None)
    one, node = holder()
    await one.send({"transactions": [lie(recipient=to_wire(THIEF))]}, WANTED)
    assert len(node.sent) == 1
