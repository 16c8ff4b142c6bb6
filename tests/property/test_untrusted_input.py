"""What strangers can send: refused in words, never a crash, never a signature.

Method: Hypothesis makes bytes, texts and numbers out of range, empty, doubled and cut short, for
everything that a guard or a codec parses: claims, papers, sign requests, batches, signatures,
permit terms, transactions, cursors, page tokens. Each parser either returns what it can vouch for
or raises its one typed refusal; a guard with nothing granted never signs. Where valid bytes are
mutated, whatever still parses must be written back to the very same bytes.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from coincurve import PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import a_batch, a_context, a_message, an_asset_view
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    ISSUER,
    SHARE,
    World,
    id_of,
)
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.fake.codec import FakeCodec, decode_order, encode_batch
from xstock_chains.fake.transactions import decode_signed, decode_unsigned
from xstock_chains.ports import SendSlot
from xstock_chains.solana import terms as solana_terms
from xstock_chains.solana import wire as solana_wire
from xstock_chains.solana.codec import verified
from xstock_chains.solana.mint import parse_mint, parse_multisig, parse_token_account
from xstock_chains.solana.programs import TOKEN_2022
from xstock_chains.solana.reader import parse_position as solana_position
from xstock_chains.solana.release import parse_allocation
from xstock_chains.solidity.lanes import parse_position as solidity_position
from xstock_chains.ton.position import parse_position as ton_position
from xstock_chains.ton.rpc import parse_boc
from xstock_chains.ton.writer import parse_query
from xstock_chains.tron import transaction as tron_transaction
from xstock_chains.tron.frames import parse_frame
from xstock_core.ids import Domain, InvalidId
from xstock_core.message import parse_message
from xstock_core.refusal import Refused
from xstock_core.release import Action, ReleaseBatch, sorted_items
from xstock_core.signing import Desk, Grant, grants_by_item, may_sign
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.entrypoints.servers import _page_token
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, SubmittedClaim, UnreadableClaim
from xstock_wire.papers import ATTESTATION, ISSUE_ORDER, ISSUE_VOID
from xstock_wire.v1 import common_pb2, papers_pb2, supply_guard_pb2

SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
raw = st.binary(max_size=600)
words = st.binary(min_size=32, max_size=32)
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
EVM = EvmReleaseCodec({Domain.BNB: 56})
KEY = PrivateKey(keccak256(b"property/untrusted"))


def refuses(parse: Callable[[Any], object], value: Any) -> object:
    """What the parser makes of it; None for its own refusal, a failure for any other error."""
    try:
        return parse(value)
    except (InvalidMessage, InvalidId):
        return None


# ---------------------------------------------------------------- bytes and texts of strangers


def slot_of(text: str) -> SendSlot:
    """A slot as it lies in a relayer's memory."""
    return SendSlot(Domain.TON, a_message().recipient, text)


class Mint:
    """An account of the token program with these bytes."""

    owner, lamports = TOKEN_2022, 1

    def __init__(self, data: bytes) -> None:
        self.data = data


BYTES: dict[str, Callable[[bytes], object]] = {
    "fake order": decode_order,
    "fake unsigned": decode_unsigned,
    "fake signed": lambda data: decode_signed(Domain.BNB, data),
    "solana terms": solana_terms.parse_terms,
    "solana transaction": solana_wire.parse_transaction,
    "solana message": solana_wire.parse_message,
    "solana allocation": parse_allocation,
    "solana mint": lambda data: parse_mint(Mint(data), "TSLAx"),  # type: ignore[arg-type]
    "solana token account": lambda data: parse_token_account(Mint(data)),  # type: ignore[arg-type]
    "solana multisig": lambda data: parse_multisig(Mint(data)),  # type: ignore[arg-type]
    "tron transaction": tron_transaction.decode,
    "ton cells": lambda data: parse_boc(base64.b64encode(data).decode(), "body"),
}


@pytest.mark.parametrize("name", BYTES)
@SETTINGS
@given(data=st.one_of(raw, st.binary(min_size=82, max_size=700)))
def test_bytes__of_a_stranger__are_parsed_or_refused_in_words(name: str, data: bytes) -> None:
    """F12, F37: any bytes, of any length, at every door that takes bytes."""
    refuses(BYTES[name], data)


TEXTS: dict[str, Callable[[str], object]] = {
    "solidity cursor": lambda text: solidity_position(text, 1),
    "solana cursor": lambda text: solana_position(text, 1),
    "ton cursor": ton_position,
    "ton slot": lambda text: parse_query(slot_of(text)),
    "tron slot": parse_frame,
    "page token": _page_token,
    "ton cells": lambda text: parse_boc(text, "body"),
}
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
cursors = st.fixed_dictionaries(
    {},
    optional={
        "v": json_like,
        "n": json_like,
        "h": json_like,
        "c": json_like,
        "m": json_like,
        "s": json_like,
    },
)


@pytest.mark.parametrize("name", TEXTS)
@SETTINGS
@given(text=st.one_of(st.text(max_size=80), json_like.map(repr), cursors.map(json.dumps)))
def test_text__of_a_stranger__is_parsed_or_refused_in_words(name: str, text: str) -> None:
    """F12: cursors, slots and page tokens of somebody else."""
    refuses(TEXTS[name], text)


@SETTINGS
@given(data=st.one_of(raw, st.binary(min_size=179, max_size=179)))
def test_message__any_bytes__are_the_message_that_packs_to_them_or_refused(data: bytes) -> None:
    """F10, F12: one message has one byte form."""
    try:
        message = parse_message(data)
    except ValueError:
        return
    assert message.pack() == data


@SETTINGS
@given(at=st.integers(0, 178), value=st.integers(0, 255))
def test_message__one_byte_changed__is_another_transfer_or_none(at: int, value: int) -> None:
    """F12, INV-03: no byte is without meaning."""
    good = a_message()
    packed = bytearray(good.pack())
    changed = packed[at] != value
    packed[at] = value
    try:
        other = parse_message(bytes(packed))
    except ValueError:
        return
    assert (id_of(other) != id_of(good)) is changed


@SETTINGS
@given(cut=st.integers(0, 400), more=st.binary(max_size=40), count=u32)
def test_batch_bytes__cut_short_longer_or_miscounted__are_refused(
    cut: int, more: bytes, count: int
) -> None:
    """F12: leaf counts and lengths must agree to the last byte; nothing is read beyond the end."""
    batch = a_batch(a_message(counter=1), a_message(counter=2))
    packed = encode_batch(batch) + (0).to_bytes(4, "big")
    assert decode_order(packed).batch == batch
    head, tail = packed[:49], packed[53:]
    wrong = [packed[:cut] + more, packed + more, head + count.to_bytes(4, "big") + tail]
    for one in wrong:
        if one != packed:
            found = refuses(decode_order, one)
            assert found is None or FakeCodec().pack(found) == one  # type: ignore[arg-type]


@SETTINGS
@given(signature=st.one_of(raw, st.binary(min_size=65, max_size=65)), number=st.integers(0, 255))
def test_signature__of_anything__recovers_to_nobody_we_know(signature: bytes, number: int) -> None:
    """F12, INV-08: rubbish, a foreign v, a malleable twin: refused or a stranger's."""
    batch = a_batch()
    for codec in (EVM, FakeCodec()):
        for one in (signature, signature[:64] + bytes((number,))):
            found = refuses(lambda data, codec=codec: codec.recover(batch, data), one)  # type: ignore[misc]
            assert found is None or found != KEY.public_key.format()
    assert not verified(bytes(32), b"message", signature)


# ---------------------------------------------------------------- batches that prove nothing


indexes = st.lists(st.integers(0, 5), max_size=8)


@SETTINGS
@given(picked=indexes, cancel=st.booleans(), order=st.permutations(range(8)))
def test_batch__doubled_empty_foreign_or_unsorted_items__is_never_signed(
    picked: list[int], cancel: bool, order: list[int]
) -> None:
    """F12: of six known items, three granted, only a sorted set of granted ones is signed."""
    batch, desk, context = desk_of_six()
    items = [batch.items[index] for index in picked]
    if cancel and items:
        items.append(replace(items[0], action=Action.CANCEL))
    items = [items[at] for at in order if at < len(items)]
    asked = replace(batch, items=tuple(items))
    verdict = may_sign(context, desk, asked)
    granted = {item for item in batch.items[:3]}
    good = bool(items) and set(items) <= granted and len(set(items)) == len(items)
    good = good and tuple(items) == sorted_items(items)
    assert isinstance(verdict, Refused) is not good


def desk_of_six() -> tuple[ReleaseBatch, Desk, Any]:
    """Six items of one destination, the first three of them granted."""
    messages = [a_message(counter=number) for number in range(1, 7)]
    batch = a_batch(*messages)
    by_nonce = {message.nonce: message for message in messages}
    ordered = [by_nonce[item.nonce] for item in batch.items]
    grants = [Grant(id_of(message), message) for message in ordered[:3]]
    desk = Desk(
        enabled=True,
        bridges={batch.items[0].asset: batch.bridge},
        epoch=1,
        final_time=batch.deadline - 600,
        grants=grants_by_item(grants),
    )
    context = a_context(assets={batch.items[0].asset: an_asset_view(attestation_age_max=10**9)})
    return batch, desk, replace(context, granted=frozenset(map(id_of, ordered[:3])))


# ---------------------------------------------------------------- what reaches a guard by wire


sign_items = st.lists(
    st.builds(
        supply_guard_pb2.SignItem,
        transfer_id=st.one_of(words, raw),
        action=st.integers(0, 5),
    ),
    max_size=5,
)
sign_requests = st.builds(
    supply_guard_pb2.SignReleaseRequest,
    destination=st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 100]), u32),
    bridge=st.one_of(words, raw),
    epoch=u32,
    deadline=u64,
    items=sign_items,
    terms=raw,
)


def serialised(paper: papers_pb2.IssueOrder | papers_pb2.Attestation) -> bytes:
    """A paper's bytes as its signer would have signed them."""
    return paper.SerializeToString(deterministic=True)


papers = st.builds(
    common_pb2.SignedPaper,
    kind=st.one_of(
        st.sampled_from([ATTESTATION, ISSUE_ORDER, ISSUE_VOID, ""]), st.text(max_size=9)
    ),
    paper=st.one_of(
        raw,
        st.builds(
            papers_pb2.IssueOrder,
            asset=st.sampled_from([ASSET, b"", b"\x01" * 32]),
            order_number=u64,
            destination=st.integers(0, 200),
            recipient=st.one_of(words, raw),
            amount=u64,
            expires=u64,
        ).map(serialised),
        st.builds(
            papers_pb2.Attestation,
            asset=st.sampled_from([ASSET, b"", b"\x01" * 32]),
            held_units=u64,
            as_of=u64,
            sequence=u64,
            multiplier=st.text(max_size=70),
            multiplier_epoch=u64,
        ).map(serialised),
    ),
    key_id=st.sampled_from([ATTESTOR.key_id, ISSUER.key_id, "", "\x00"]),
    signature=st.one_of(raw, st.binary(min_size=64, max_size=64)),
)
claims = st.builds(
    supply_guard_pb2.Claim,
    message=st.one_of(
        raw,
        st.binary(min_size=179, max_size=179),
        st.builds(
            lambda n, a: a_message(counter=n, amount=a).pack(), u64.filter(bool), u64.filter(bool)
        ),
    ),
    block_number=u64,
    order=papers,
)


class Room:
    """A guard whose chains have nothing on them and whose custody holds a fortune."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.loop.run_until_complete(self.world.funded(held=10**9 * SHARE))

    def do(self, work: Any) -> Any:
        """The result of some work there."""
        return self.loop.run_until_complete(work)


@pytest.fixture(scope="module")
def room() -> Room:
    """One guard for all examples: what an example leaves behind is part of the attack."""
    return Room()


@SETTINGS
@given(request=sign_requests)
def test_sign_request__anything_at_all__is_refused_and_never_signed(
    room: Room, request: supply_guard_pb2.SignReleaseRequest
) -> None:
    """F12, F57: zero items, unknown actions and chains, numbers to the edge of their width."""
    asked = refuses(lambda one: wire.sign_request_from_wire(one, DEPLOYMENT), request)
    if asked is None:
        return
    try:
        answer = room.do(sign_release(room.world.desk, asked))  # type: ignore[arg-type]
    except (InvalidMessage, Transient):
        return
    assert not answer.signature
    assert answer.refusals


@SETTINGS
@given(page=st.lists(claims, max_size=4))
def test_claims__anything_at_all__are_ruled_one_by_one_and_none_is_granted(
    room: Room, page: list[supply_guard_pb2.Claim]
) -> None:
    """F12: whatever stands beside it, an unreadable or forged claim gets its own refusal."""
    parsed = [wire.claim_from_wire(one, DEPLOYMENT) for one in page]
    assert all(isinstance(one, SubmittedClaim | UnreadableClaim) for one in parsed)
    rulings = room.do(room.world.review(*parsed))
    assert len(rulings) == len(page)
    assert all(one.outcome is not Outcome.GRANTED and one.reason for one in rulings)


PAPERS: dict[str, Callable[[Any, str], object]] = {
    "attestation": wire.attestation_from_wire,
    "order": wire.order_from_wire,
    "void": wire.void_from_wire,
}


@pytest.mark.parametrize("name", PAPERS)
@SETTINGS
@given(paper=papers)
def test_paper__anything_at_all__is_read_or_refused_by_its_field(
    name: str, paper: common_pb2.SignedPaper
) -> None:
    """F12, F54: other kinds, other layouts, unknown fields, fields out of range."""
    refuses(lambda one: PAPERS[name](one, DEPLOYMENT), paper)
