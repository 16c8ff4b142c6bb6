"""What guards sign: our bytes, against an independent EIP-712 implementation and the contract."""

from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from tests.chains.evm.world import ADMIN, ELSEWHERE, GUARDS, TSLA
from xstock_chains.evm.address import checksummed, to_wire
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.ports import GuardSignature, ReleaseOrder
from xstock_chains.solidity.codec import pack_items
from xstock_core.amount import Shares
from xstock_core.ids import Domain, InvalidId, Nonce
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, sorted_items
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

BRIDGE = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
CODEC = EvmReleaseCodec({Domain.BNB: 56, Domain.MANTLE: 5000})
HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def item(counter: int, tag: bytes = b"\x07" * 24, action: Action = Action.RELEASE) -> ReleaseItem:
    nonce = Nonce(tag + counter.to_bytes(8, "big"))
    return ReleaseItem(action, Domain.ETHEREUM, nonce, TSLA, ELSEWHERE, Shares(counter + 5))


def batch(*items: ReleaseItem) -> ReleaseBatch:
    return ReleaseBatch(Domain.BNB, to_wire(BRIDGE), 3, 1_900_000_000, sorted_items(items))


def test_codec__digest__equals_an_independent_eip712_implementation() -> None:
    one = batch(item(1), item(2))
    message = encode_typed_data(
        domain_data={
            "name": "xStock Bridge",
            "version": "1",
            "chainId": 56,
            "verifyingContract": checksummed(BRIDGE),
        },
        message_types={
            "ReleaseBatch": [
                {"name": "epoch", "type": "uint32"},
                {"name": "deadline", "type": "uint64"},
                {"name": "itemsHash", "type": "bytes32"},
            ]
        },
        message_data={
            "epoch": 3,
            "deadline": 1_900_000_000,
            "itemsHash": keccak256(pack_items(one.items)),
        },
    )
    theirs = keccak256(b"\x19" + message.version + message.header + message.body)
    assert CODEC.digest(one) == theirs


async def test_codec__a_local_signature__is_recovered_and_equals_eth_account() -> None:
    one = batch(item(1))
    digest = CODEC.digest(one)
    signature = await GUARDS[0].sign_digest(digest)
    assert CODEC.recover(one, signature) == GUARDS[0].identity
    theirs = Account.unsafe_sign_hash(digest, GUARDS[0]._key.secret).signature
    assert signature == bytes(theirs)


def test_codec__items__follow_the_format_byte_for_byte() -> None:
    packed = pack_items(batch(item(9), item(1), item(4, action=Action.CANCEL)).items)
    head = (1).to_bytes(4, "big") + b"\x07" * 24 + TSLA
    release = b"\x01" + head + (2).to_bytes(2, "big")
    cancel = b"\x02" + head + (1).to_bytes(2, "big")

    def entry(counter: int) -> bytes:
        amount = (counter + 5).to_bytes(8, "big")
        return counter.to_bytes(8, "big") + ELSEWHERE[12:] + amount

    assert packed == b"\x01" + release + entry(1) + entry(9) + cancel + entry(4)


@given(st.permutations(range(1, 9)))
def test_codec__items_in_any_order__have_one_byte_form(order: list[int]) -> None:
    items = [item(n, tag=bytes([n % 3]) * 24) for n in order]
    assert pack_items(sorted_items(items)) == pack_items(
        sorted_items([item(n, tag=bytes([n % 3]) * 24) for n in range(1, 9)])
    )


async def test_codec__order__carries_signatures_by_ascending_signer() -> None:
    one = batch(item(1))
    digest = CODEC.digest(one)
    signed = [GuardSignature(g.identity, await g.sign_digest(digest)) for g in GUARDS]
    forward = CODEC.pack(ReleaseOrder(one, tuple(signed)))
    assert CODEC.pack(ReleaseOrder(one, tuple(reversed(signed)))) == forward
    by_address = sorted(signed, key=lambda s: s.signer)
    assert b"".join(s.signature for s in by_address) in forward


@pytest.mark.parametrize("field", ["epoch", "deadline", "destination", "bridge", "items"])
async def test_codec__a_signature__is_bound_to_every_field(field: str) -> None:
    """INV-08: it is useless for another chain, contract, epoch, deadline or content."""
    one = batch(item(1))
    changes = {
        "epoch": 4,
        "deadline": 1_900_000_001,
        "destination": Domain.MANTLE,
        "bridge": to_wire(b"\x01" * 20),
        "items": (item(2),),
    }
    signature = await GUARDS[0].sign_digest(CODEC.digest(one))
    other = replace(one, **{field: changes[field]})  # type: ignore[arg-type]
    assert CODEC.recover(other, signature) != GUARDS[0].identity


async def test_codec__the_malleable_twin_and_broken_signatures__are_refused() -> None:
    one = batch(item(1))
    good = await GUARDS[0].sign_digest(CODEC.digest(one))
    s = int.from_bytes(good[32:64], "big")
    assert s <= HALF
    twin = good[:32] + (ORDER - s).to_bytes(32, "big") + bytes((55 - good[64],))
    broken = [twin, good[:64], good + b"\0", good[:64] + b"\0", bytes(65), b"\xff" * 64 + b"\x1b"]
    for signature in broken:
        with pytest.raises(InvalidMessage, match="SIGNATURE_INVALID"):
            CODEC.recover(one, signature)


def test_codec__empty_batch_unknown_chain_or_wide_recipient__is_refused() -> None:
    """F10: nothing, zero and the wrong family never become bytes to sign."""
    with pytest.raises(InvalidId, match="items"):
        pack_items([])
    with pytest.raises(InvalidId, match="destination"):
        CODEC.digest(replace(batch(item(1)), destination=Domain.ETHEREUM))
    with pytest.raises(InvalidId, match="recipient"):
        pack_items([replace(item(1), recipient=type(ELSEWHERE)(b"\x01" * 32))])


def test_signer__its_text__never_shows_the_key() -> None:
    """F90: neither repr nor an error carries the secret."""
    assert ADMIN._key.secret.hex() not in repr(ADMIN)
    assert ADMIN.identity.hex() in repr(ADMIN)
