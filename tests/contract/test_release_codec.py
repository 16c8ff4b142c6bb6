"""What every `ReleaseCodec` promises: one batch has one digest, and no two batches share one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.driver import SHARE, ChainUnderTest, authorise, batch_of, item
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, counter_nonce
from xstock_core.release import Action, ReleaseBatch
from xstock_runtime.errors import InvalidMessage

N_OF_SECP256K1 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
L_OF_ED25519 = 2**252 + 27742317777372353535851937790883648493
STRANGER = Address32(b"\0" * 12 + b"\x55" * 20)


async def a_batch(chain: ChainUnderTest) -> ReleaseBatch:
    """Two items, or one where a transaction carries no more."""
    numbers = (1, 2)[: chain.batch_items_max]
    return await batch_of(chain, *(item(n, chain.recipient, chain.asset) for n in numbers))


def digest_if_any(chain: ChainUnderTest, batch: ReleaseBatch) -> bytes | None:
    """The digest, or None for a batch that this chain's permits cannot say."""
    try:
        return chain.codec.digest(batch)
    except (InvalidId, InvalidMessage):
        return None


def twins(good: bytes) -> list[bytes]:
    """The other forms that the arithmetic of the signature's curve allows."""
    s = int.from_bytes(good[32:64], "big")
    if len(good) == 65:
        return [good[:32] + (N_OF_SECP256K1 - s).to_bytes(32, "big") + bytes((55 - good[64],))]
    little = int.from_bytes(good[32:], "little") + L_OF_ED25519
    return [good[:32] + little.to_bytes(32, "little")]


@pytest.mark.parametrize(
    "change",
    [
        {"action": Action.CANCEL},
        {"source": Domain.SOLANA},
        {"nonce": counter_nonce(STRANGER, 1)},
        {"nonce": counter_nonce(Address32(b"\0" * 12 + b"\x11" * 20), 7)},
        {"asset": AssetId(b"\x55" * 32)},
        {"recipient": STRANGER},
        {"amount": 2 * SHARE},
    ],
    ids=["action", "source", "nonce_tag", "nonce_counter", "asset", "recipient", "amount"],
)
@pytest.mark.parametrize("position", [0, 1])
async def test_codec__any_field_of_any_item_differs__so_does_the_digest(
    chain: ChainUnderTest, change: dict[str, Any], position: int
) -> None:
    """INV-08: every byte of the batch is bound."""
    batch = await a_batch(chain)
    items = list(batch.items)
    at = position % len(items)
    items[at] = replace(items[at], **change)
    changed = digest_if_any(chain, replace(batch, items=tuple(items)))
    assert changed != chain.codec.digest(batch)


@pytest.mark.parametrize(
    "change",
    [{"bridge": STRANGER}, {"epoch": 2}, {"deadline": 12_345}],
    ids=["bridge", "epoch", "deadline"],
)
async def test_codec__any_field_of_the_batch_differs__so_does_the_digest(
    chain: ChainUnderTest, change: dict[str, Any]
) -> None:
    """INV-08: place, guard set and time are bound."""
    batch = await a_batch(chain)
    assert digest_if_any(chain, replace(batch, **change)) != chain.codec.digest(batch)


async def test_codec__another_destination__other_digest_or_refused(
    chain: ChainUnderTest,
) -> None:
    """F14, INV-08: a permit for one chain says nothing on another."""
    batch = await a_batch(chain)
    ours = chain.codec.digest(batch)
    for destination in (Domain.BNB, Domain.MANTLE, Domain.TRON):
        if destination is chain.domain:
            continue
        try:
            other = chain.codec.digest(replace(batch, destination=destination))
        except InvalidId:
            continue
        assert other != ours


async def test_codec__item_left_out_or_doubled__other_digest(chain: ChainUnderTest) -> None:
    one, two = (item(n, chain.recipient, chain.asset) for n in (1, 2))
    batch = await a_batch(chain)
    ways = ((one,), (two,), (one, two), (one, one, two))
    digests = [digest_if_any(chain, replace(batch, items=items)) for items in ways]
    said = [digest for digest in digests if digest is not None]
    assert len(set(said)) == len(said)
    assert len(said) == (4 if chain.batch_items_max > 1 else 2)


async def test_codec__signatures_in_any_order__pack_alike(chain: ChainUnderTest) -> None:
    order = await authorise(chain, await a_batch(chain))
    turned = replace(order, signatures=tuple(reversed(order.signatures)))
    assert chain.codec.pack(order) == chain.codec.pack(turned)


async def test_codec__recover__names_the_guard_that_signed(chain: ChainUnderTest) -> None:
    batch = await a_batch(chain)
    order = await authorise(chain, batch, len(chain.guards))
    for signature in order.signatures:
        assert chain.codec.recover(batch, signature.signature) == signature.signer
    other = replace(batch, epoch=batch.epoch + 1)
    for signature in order.signatures:
        try:
            assert chain.codec.recover(other, signature.signature) != signature.signer
        except (InvalidId, InvalidMessage):
            continue


async def test_codec__signature_is_garbage_or_the_malleable_twin__is_refused(
    chain: ChainUnderTest,
) -> None:
    """F37: one signature has one form."""
    batch = await a_batch(chain)
    good = (await authorise(chain, batch, 1)).signatures[0].signature
    bad = [b"", b"\0" * len(good), good[:63], good + b"\0", *twins(good)]
    if len(good) == 65:
        bad += [good[:64], good[:64] + b"\x05"]
    for signature in bad:
        with pytest.raises(InvalidMessage):
            chain.codec.recover(batch, signature)
