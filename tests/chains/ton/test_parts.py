"""The adapter's parts that need no chain: addresses, keys, wallets, query ids, units, digests."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest
from pytoniq_core.boc.builder import Builder

from xstock_chains.ports import GuardSignature, PreparedTx, ReleaseOrder, SendSlot
from xstock_chains.ton import wallets
from xstock_chains.ton.address import parse_text, raw, show, show_wallet
from xstock_chains.ton.cells import boc_of, end, internal_message, op_of, slice_of
from xstock_chains.ton.chain import TonAsset
from xstock_chains.ton.codec import TonReleaseCodec
from xstock_chains.ton.messages import burn_payload, parse_log
from xstock_chains.ton.minter import artifact
from xstock_chains.ton.position import Position, parse_position
from xstock_chains.ton.rpc import Message
from xstock_chains.ton.signer import HIGHLOAD, LocalSigner, payload
from xstock_chains.ton.writer import Query, parse_query
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, InvalidId, Nonce
from xstock_core.release import Action, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import Fatal, InvalidMessage

KNOWN = "EQC8rUZqR_pWV1BylWUlPNBzyiTYVoBEmQkMIQDZXICfnuRr"
KNOWN_RAW = "0:BCAD466A47FA565750729565253CD073CA24D856804499090C2100D95C809F9E"
KEYS = tuple(LocalSigner(bytes((n,)) * 32) for n in (1, 2, 3))
BRIDGE = Address32(b"\x04" * 32)
ASSET = AssetId(b"\x02" * 32)
PAYLOAD = burn_payload(2, bytes(32), None)
ITEM = ReleaseItem(
    Action.RELEASE, Domain.BNB, Nonce(b"\x01" * 32), ASSET, Address32(b"\x03" * 32), Shares(5)
)
CODEC = TonReleaseCodec(Domain.TON, -239, [key.identity for key in KEYS], {BRIDGE: ASSET})


def test_address__published_pair__is_one_account_in_both_forms() -> None:
    """F18: the pair stands in an answer of the API's own address book."""
    account = parse_text(KNOWN)
    assert account == parse_text(KNOWN_RAW) == parse_text(KNOWN_RAW.lower())
    assert (show(account), raw(account)) == (KNOWN, KNOWN_RAW)
    assert parse_text(show_wallet(account)) == account
    assert parse_text(KNOWN.replace("_", "/")) == account


@pytest.mark.parametrize(
    "text",
    [
        "",
        "EQ",
        KNOWN[:-1] + "s",
        KNOWN[:10] + "A" + KNOWN[11:],
        "-1:" + "55" * 32,
        "0:" + "00" * 32,
        "0:" + "5" * 63,
        "kQC8rUZqR_pWV1BylWUlPNBzyiTYVoBEmQkMIQDZXICfnl_h",
        "0x" + "11" * 20,
        "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
        KNOWN.replace("_", "/", 1)[:-2] + "-+",
    ],
)
def test_address__of_another_chain_network_or_with_a_typo__is_refused(text: str) -> None:
    """F18."""
    with pytest.raises(InvalidId) as caught:
        parse_text(text)
    assert caught.value.remedy


def test_wallets__committed_code__is_the_published_one() -> None:
    """The hashes are those every explorer shows for highload v3 and v4r2."""
    published = {
        "highload_v3": "11acad7955844090f283bf238bc1449871f783e7cc0979408d3f4859483e8525",
        "wallet_v4r2": "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0",
    }
    for name, code_hash in published.items():
        assert wallets.wallet_code(name).hash.hex() == code_hash
    assert artifact("Bridge").hash != artifact("Wallet").hash


@pytest.mark.parametrize("counter", [0, 1022, 1023, 1024, 2046, wallets.QUERIES - 1])
def test_query_id__any_counter__has_a_valid_bit_and_is_found_again(counter: int) -> None:
    """F41: bit 1023 is invalid; the counter of a signed body is read back."""
    query = wallets.query_id(counter)
    assert query & 1023 != 1023
    assert query < 2**23
    message = internal_message(BRIDGE, 1, PAYLOAD)
    body = wallets.highload_body(wallets.highload_inner(counter, 5, message), b"\0" * 64)
    assert wallets.counter_in(body) == counter
    assert wallets.counter_in(message) is None


def test_query_id__counter_wraps__after_every_id_was_used() -> None:
    assert wallets.query_id(wallets.QUERIES) == wallets.query_id(0)
    assert wallets.query_id(1023) == 1 << 10


def test_slot__text__says_all_that_status_needs() -> None:
    """F41: with the slot alone it can be proven that nothing of it lands any more."""
    query = Query(7, 1_000, 300)
    slot = SendSlot(Domain.TON, BRIDGE, query.text())
    assert (parse_query(slot), query.dead_at) == (query, 1_300)
    for text in ("", "7", "7/8", "a/b/c", "1/2/3/4"):
        with pytest.raises(InvalidMessage, match="SLOT_INVALID"):
            parse_query(replace(slot, text=text))


def test_signer__wallet_of_another_key__is_not_signed_for() -> None:
    """A payload that names somebody else's wallet stops the process."""
    inner = wallets.highload_inner(1, 2, internal_message(BRIDGE, 1, PAYLOAD))
    slot = SendSlot(Domain.TON, KEYS[1].relayer_wallet, "1/2/300")
    tx = PreparedTx(Domain.TON, slot, payload(HIGHLOAD, inner, deploy=False), "", simulated=False)
    with pytest.raises(Fatal, match="SIGNER_WRONG"):
        asyncio.run(KEYS[0].sign_transaction(tx))


def test_signer__deployed_or_not__the_reference_is_the_same() -> None:
    """TEP-467: the state beside the message is not part of its name."""
    inner = wallets.highload_inner(1, 2, internal_message(BRIDGE, 1, PAYLOAD))
    slot = SendSlot(Domain.TON, KEYS[0].relayer_wallet, "1/2/300")
    signed = [
        asyncio.run(
            KEYS[0].sign_transaction(
                PreparedTx(Domain.TON, slot, payload(HIGHLOAD, inner, deploy=deploy), "", True)
            )
        )
        for deploy in (False, True)
    ]
    assert signed[0].ref == signed[1].ref
    assert signed[0].raw != signed[1].raw


@pytest.mark.parametrize("text", ["", "zz" * 32, "11" * 31, "00" * 32])
def test_signer__key_file_is_unusable__says_so_without_the_key(text: str, tmp_path: Path) -> None:
    """A secret is in no text."""
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(Fatal) as caught:
        LocalSigner.from_file(file)
    assert not text or text not in str(caught.value)
    assert "11" * 16 not in repr(LocalSigner(b"\x11" * 32))


@pytest.mark.parametrize("decimals", [0, 6, 8, 9, 18])
def test_units__greatest_amount__goes_there_and_back(decimals: int) -> None:
    """F50: no float, no loss, up to the greatest amount a message carries."""
    asset = TonAsset("TSLAx", ASSET, decimals, 1)
    step = 10 ** max(8 - decimals, 0)
    most = (2**64 - 1) // step * step
    units = asset.units(most)
    assert units * 10**8 == most * 10**decimals
    if step > 1:
        with pytest.raises(InvalidId):
            asset.units(most - 1)


async def test_codec__item_of_another_asset__is_refused() -> None:
    """INV-08: the bridge binds the asset, so a batch never mixes."""
    batch = ReleaseBatch(Domain.TON, BRIDGE, 1, 99, (ITEM,))
    other = replace(batch, items=(replace(ITEM, asset=AssetId(b"\x09" * 32)),))
    with pytest.raises(InvalidId, match=r"items\.asset"):
        CODEC.digest(other)

    class Mixing(TonReleaseCodec):
        """Defence taken out: no asset is known for any bridge."""

    naive = Mixing(Domain.TON, -239, [key.identity for key in KEYS], {})
    assert naive.digest(other) == CODEC.digest(batch)


async def test_codec__signatures__stand_by_guard_index_whoever_signed_first() -> None:
    """INV-12: a stranger's signature has no index and no batch is packed with it."""
    batch = ReleaseBatch(Domain.TON, BRIDGE, 1, 99, (ITEM,))
    digest = CODEC.digest(batch)
    signed = [GuardSignature(key.identity, await key.sign_digest(digest)) for key in KEYS]
    packed = {CODEC.pack(ReleaseOrder(batch, tuple(order))) for order in (signed, signed[::-1])}
    assert len(packed) == 1
    stranger = LocalSigner(b"\x09" * 32)
    foreign = GuardSignature(stranger.identity, await stranger.sign_digest(digest))
    with pytest.raises(InvalidMessage, match="SIGNER_UNKNOWN"):
        CODEC.pack(ReleaseOrder(batch, (foreign,)))
    with pytest.raises(InvalidMessage, match="SIGNATURE_INVALID"):
        CODEC.recover(batch, foreign.signature)
    with pytest.raises(InvalidMessage, match="SIGNATURES_MISSING"):
        CODEC.pack(ReleaseOrder(batch, ()))


@pytest.mark.parametrize("bits", [1, 8, 31, 32, 33, 64, 608])
def test_op__read_from_the_bags_head__is_what_its_cells_say(bits: int) -> None:
    """F37: the short way and the whole parser agree, and garbage is refused by both."""
    deep = end(Builder().store_uint(2 ** (bits - 1), bits).store_ref(PAYLOAD))
    for cell in (deep, end(Builder().store_uint(0, bits)), end(Builder()), PAYLOAD):
        text = base64.b64encode(boc_of(cell)).decode()
        message = Message(b"", None, None, 0, 0, bounced=False, norm=None, body=text)
        assert message.op() == op_of(message.cell())
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        replace(message, body="AAAA").op()


def test_logs__unknown_op_or_bits_left_over__is_other_code_than_ours() -> None:
    """F37: a log is read strictly."""
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        parse_log(burn_payload(2, bytes(32), None))
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        parse_log(wallets.wallet_code("highload_v3").refs[0])


def test_cursor__round_trip__is_content_alone() -> None:
    """F35."""
    text = parse_position("").text()
    assert parse_position(text) == Position(-1, None, {})
    with pytest.raises(InvalidMessage, match="CURSOR_INVALID"):
        parse_position(text.replace('"v":1', '"v":2'))


def test_message__same_content__same_bytes() -> None:
    first, second = (internal_message(BRIDGE, 5, burn_payload(2, bytes(32), None)) for _ in "ab")
    assert boc_of(first) == boc_of(second)
    with pytest.raises(ValueError, match="nanoTON"):
        internal_message(BRIDGE, -1, first)


async def test_codec__wallets_known_to_be_there__are_said_item_by_item_and_sign_nothing() -> None:
    """The bits stand outside what the guards signed: any word in them releases the same items."""
    batch = ReleaseBatch(Domain.TON, BRIDGE, 1, 99, (ITEM,))
    signed = GuardSignature(KEYS[0].identity, await KEYS[0].sign_digest(CODEC.digest(batch)))
    order = ReleaseOrder(batch, (signed,))
    plain, said = CODEC.body(order), CODEC.body(order, [True, False])
    rest = slice_of(said)
    rest.skip_bits(32 + 64 + 64)
    assert [rest.load_bit(), rest.load_bit(), rest.remaining_bits] == [1, 0, 0]
    assert [ref.hash for ref in plain.refs] == [ref.hash for ref in said.refs]
