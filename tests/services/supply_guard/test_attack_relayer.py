"""A relayer that wants more than it may have, against the guard and against the contract.

It asks twice, for another amount, recipient, destination, bridge, epoch, deadline or terms, hides
an ungranted transfer among granted ones, wants the same nonce released and cancelled, and signs
by itself. Each test that takes a defence out shows the harm that the defence prevents.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.faults import forged_claim
from tests.services.supply_guard.world import (
    ASSET,
    GUARDS,
    HOLDER,
    OTHER,
    RELAYER,
    SHARE,
    World,
    fake_config,
    id_of,
)
from xstock_chains.fake import FakeChain, FakeCodec, FakeSigner, GuardSet
from xstock_chains.fake import execution as contract
from xstock_chains.fake.transactions import ReleaseCall
from xstock_chains.ports import GuardSignature, ReleaseOrder
from xstock_core.amount import Shares
from xstock_core.ids import Domain
from xstock_core.message import TransferMessage
from xstock_core.refusal import GRANTED
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, item_of, sorted_items
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import sign
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, PermitItem, SignRequest

TARGET = Domain.BNB


def supply(world: World, chain: Domain = TARGET) -> int:
    """Shares that exist on a chain."""
    found = world.chains[chain]
    return found.state.supply.get(ASSET, found.head.number) // 10**10


def permits(world: World) -> int:
    """How many signatures this guard remembers to have given."""
    assert isinstance(world.store, MemoryGuardStore)
    return len(world.store._state.permits)


async def ready() -> tuple[World, TransferMessage]:
    """A funded world with one granted transfer."""
    world = World()
    await world.funded()
    return world, await world.granted()


# ---------------------------------------------------------------- what it asks the guard


async def test_relayer__asks_a_hundred_times_at_once__gets_one_and_the_same_permit() -> None:
    """F73, INV-08: repetition gives nothing new, whatever the interleaving."""
    world, message = await ready()
    request = world.request([message])
    answers = await asyncio.gather(*(sign_release(world.desk, request) for _ in range(100)))
    assert len({(one.signature, one.digest) for one in answers}) == 1
    assert answers[0].signature
    assert permits(world) == 1


CHANGES: dict[str, Any] = {
    "amount": Shares(2 * SHARE),
    "recipient": RELAYER.address,
    "destination": Domain.MANTLE,
    "asset": OTHER,
}


@pytest.mark.parametrize("field", CHANGES)
async def test_relayer__wants_another_content_signed__has_nothing_that_is_granted(
    field: str,
) -> None:
    """INV-03, INV-08: a permit names transfers by the hash of their content."""
    world, message = await ready()
    changed = replace(message, **{field: CHANGES[field]})
    claim = replace(world.claim(world.burn()), message=changed)
    ruling = (await world.review(claim))[0]
    assert ruling.outcome is not Outcome.GRANTED
    answer = await world.sign(changed)
    assert not answer.signature
    assert [one.reason for one in answer.refusals] == ["NOT_GRANTED"]
    assert permits(world) == 0


Ask = Callable[[SignRequest], SignRequest]
REFUSED: dict[str, tuple[Ask, str]] = {
    "destination": (lambda r: replace(r, destination=Domain.MANTLE), "bridge"),
    "destination-and-bridge": (
        lambda r: replace(r, destination=Domain.MANTLE, bridge=fake_config(Domain.MANTLE).bridge),
        "NOT_GRANTED",
    ),
    "custody": (lambda r: replace(r, destination=Domain.CUSTODY), "destination"),
    "bridge": (lambda r: replace(r, bridge=RELAYER.address), "bridge"),
    "epoch-next": (lambda r: replace(r, epoch=2), "EPOCH_UNKNOWN"),
    "epoch-zero": (lambda r: replace(r, epoch=0), "EPOCH_UNKNOWN"),
    "deadline-past": (lambda r: replace(r, deadline=r.deadline - 600), "DEADLINE_OUT_OF_RANGE"),
    "deadline-zero": (lambda r: replace(r, deadline=0), "DEADLINE_OUT_OF_RANGE"),
    "deadline-far": (lambda r: replace(r, deadline=r.deadline + 3001), "DEADLINE_OUT_OF_RANGE"),
    "deadline-huge": (lambda r: replace(r, deadline=2**64 - 1), "DEADLINE_OUT_OF_RANGE"),
    "terms": (lambda r: replace(r, terms=b"and a million for me"), "terms"),
    "nothing": (lambda r: replace(r, items=()), "items"),
    "twice": (lambda r: replace(r, items=(*r.items, *r.items)), "items"),
    "release-and-cancel": (
        lambda r: replace(r, items=(*r.items, PermitItem(r.items[0].transfer_id, Action.CANCEL))),
        "items",
    ),
    "cancel": (
        lambda r: replace(r, items=(PermitItem(r.items[0].transfer_id, Action.CANCEL),)),
        "NOT_",
    ),
    "stranger-among-them": (
        lambda r: replace(r, items=(*r.items, PermitItem(b"\x07" * 32, Action.RELEASE))),  # type: ignore[arg-type]
        "NOT_GRANTED",
    ),
    "too-many": (
        lambda r: replace(
            r,
            items=tuple(
                PermitItem(n.to_bytes(32, "big"), Action.RELEASE)  # type: ignore[arg-type]
                for n in range(1, 402)
            ),
        ),
        "items",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
async def test_relayer__changes_one_thing_of_a_good_request__gets_no_signature(
    change: str,
) -> None:
    """INV-08: destination, contract, epoch, deadline, terms and every item are bound."""
    world, message = await ready()
    ask, why = REFUSED[change]
    good = world.request([message])
    said = await refusal_of(world, ask(good))
    assert why in said
    assert permits(world) == 0
    assert (await sign_release(world.desk, good)).signature


async def refusal_of(world: World, request: SignRequest) -> str:
    """Why the guard does not sign; fails if it does."""
    try:
        answer = await sign_release(world.desk, request)
    except InvalidMessage as invalid:
        return str(invalid)
    assert not answer.signature
    return " ".join(one.reason for one in answer.refusals)


async def test_relayer__hides_what_is_not_granted_among_granted__all_or_nothing() -> None:
    """INV-01: a batch with one forged, held or executed transfer is signed for nobody."""
    world, first = await ready()
    second = await world.granted()
    forged = forged_claim(world)
    await world.review(forged)
    tx = world.burn()
    await world.review(world.claim(tx))
    for bad in (forged.message, world.burned(tx).message):
        answer = await world.sign(first, bad, second)
        assert not answer.signature
        assert [one.transfer_id for one in answer.refusals] == [id_of(bad)]
    assert permits(world) == 0
    assert (await world.sign(first, second)).signature


async def test_relayer__reuses_a_stolen_order_for_release_and_cancel__one_nonce_one_action() -> (
    None
):
    """INV-02: two orders of one number are two transfer ids; their nonce is in no batch twice."""
    world, _ = await ready()
    small, big = world.order(2, SHARE), world.order(2, 5 * SHARE)
    rulings = await world.review(small, big)
    assert [one.outcome for one in rulings] == [Outcome.GRANTED, Outcome.REJECTED]
    request = replace(
        world.request([small.message]),
        items=(
            PermitItem(id_of(small.message), Action.RELEASE),
            PermitItem(id_of(big.message), Action.CANCEL),
        ),
    )
    assert await refusal_of(world, request)
    assert permits(world) == 0


async def test_grant_check__removed__the_relayer_mints_what_nobody_burned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """INV-01 with the defence taken out: two guards that sign whatever they have heard of."""
    world, _ = await ready()
    forged = forged_claim(world, amount=1_000_000 * SHARE)
    await world.review(forged)
    before = supply(world)
    monkeypatch.setattr(sign, "may_sign", lambda *_: GRANTED)
    answer = await world.sign(forged.message)
    assert answer.signature
    batch = batch_of(world, forged.message)
    await world.submit(
        batch, [own(answer.signer, answer.signature), await by(1, batch)], bnb(world)
    )
    assert supply(world) == before + 1_000_000 * SHARE


# ---------------------------------------------------------------- what it tells the contract


def bnb(world: World) -> FakeChain:
    """The destination."""
    return world.chains[TARGET]


def batch_of(world: World, *messages: TransferMessage) -> ReleaseBatch:
    """What the guard signed for `world.sign`."""
    request = world.request(list(messages))
    items = sorted_items([item_of(message) for message in messages])
    return ReleaseBatch(TARGET, request.bridge, 1, request.deadline, items)


def own(signer: bytes, signature: bytes) -> GuardSignature:
    """A signature as it is submitted."""
    return GuardSignature(signer, signature)


async def by(guard: int, batch: ReleaseBatch, *, named: int | None = None) -> GuardSignature:
    """Guard n's signature of a batch, perhaps under another guard's name."""
    key = GUARDS[guard]
    name = GUARDS[guard if named is None else named].identity
    return GuardSignature(name, await key.sign_digest(FakeCodec().digest(batch)))


async def signed_by(key: FakeSigner, name: bytes, batch: ReleaseBatch) -> GuardSignature:
    """Any key's signature under any name."""
    return GuardSignature(name, await key.sign_digest(FakeCodec().digest(batch)))


async def forgeries(batch: ReleaseBatch) -> dict[str, list[GuardSignature]]:
    """Signature lists that a relayer can make with one honest signature and its own key."""
    honest = await by(0, batch)
    return {
        "one": [honest],
        "none": [],
        "own key as a third party": [honest, await signed_by(RELAYER, RELAYER.identity, batch)],
        "own key under a guard's name": [
            honest,
            await signed_by(RELAYER, GUARDS[1].identity, batch),
        ],
        "the same guard twice": [honest, honest],
        "the same guard under another name": [honest, await by(0, batch, named=1)],
        "rubbish": [honest, GuardSignature(GUARDS[1].identity, b"\x1b" * 65)],
        "empty": [honest, GuardSignature(GUARDS[1].identity, b"")],
    }


async def test_relayer__signs_by_itself__the_contract_mints_nothing() -> None:
    """F82, INV-08: the relayer's key, a doubled or renamed signature is no second guard."""
    world, message = await ready()
    batch = batch_of(world, message)
    before = supply(world)
    for name, signatures in (await forgeries(batch)).items():
        with pytest.raises(InvalidMessage, match="RELEASE_REVERTS"):
            await world.submit(batch, signatures, bnb(world))
        forced(world, batch, signatures)
        assert supply(world) == before, name
    await world.submit(batch, [await by(0, batch), await by(1, batch)], bnb(world))
    assert supply(world) == before + message.amount


def forced(world: World, batch: ReleaseBatch, signatures: Sequence[GuardSignature]) -> None:
    """The same bytes sent without any simulation by a client that is not ours."""
    packed = FakeCodec().pack(ReleaseOrder(batch, tuple(signatures)))
    bnb(world).call(HOLDER, ReleaseCall(packed))
    bnb(world).mine()


CONTENT: dict[str, Callable[[ReleaseBatch], ReleaseBatch]] = {
    "amount": lambda b: with_item(b, amount=Shares(1_000_000 * SHARE)),
    "recipient": lambda b: with_item(b, recipient=RELAYER.address),
    "asset": lambda b: with_item(b, asset=OTHER),
    "source": lambda b: with_item(b, source=Domain.MANTLE),
    "nonce": lambda b: with_item(b, nonce=b"\x09" * 32),
    "action": lambda b: with_item(b, action=Action.CANCEL),
    "deadline": lambda b: replace(b, deadline=b.deadline + 1),
    "added item": lambda b: replace(
        b,
        items=(*b.items, replace(b.items[0], nonce=b"\x0a" * 32)),  # type: ignore[arg-type]
    ),
    "no item": lambda b: replace(b, items=()),
}


def with_item(batch: ReleaseBatch, **changes: Any) -> ReleaseBatch:
    """The batch with its first item changed."""
    changed: ReleaseItem = replace(batch.items[0], **changes)
    return replace(batch, items=(changed, *batch.items[1:]))


@pytest.mark.parametrize("change", CONTENT)
async def test_relayer__changes_what_two_guards_signed__the_contract_mints_nothing(
    change: str,
) -> None:
    """INV-03, INV-08: every byte of a batch is under the signatures."""
    world, message = await ready()
    batch = batch_of(world, message)
    signatures = [await by(0, batch), await by(1, batch)]
    before = supply(world)
    forced(world, CONTENT[change](batch), signatures)
    assert supply(world) == before
    forced(world, batch, signatures)
    assert supply(world) == before + message.amount


async def test_relayer__submits_a_good_permit_twice__the_second_is_skipped() -> None:
    """INV-02, F52: the nonce is spent, whoever sends the bytes again."""
    world, message = await ready()
    batch = batch_of(world, message)
    signatures = [await by(0, batch), await by(1, batch)]
    before = supply(world)
    for _ in range(3):
        forced(world, batch, signatures)
    assert supply(world) == before + message.amount


async def test_signature_check__removed_from_the_contract__the_relayer_mints_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F82 with the defence taken out: then the list of forgeries above is a list of mints."""
    world, message = await ready()
    monkeypatch.setattr(contract, "_check_signature", lambda *_: None)
    batch = with_item(batch_of(world, message), amount=Shares(1_000_000 * SHARE))
    signatures = [await signed_by(RELAYER, guard.identity, batch) for guard in GUARDS[:2]]
    before = supply(world)
    forced(world, batch, sorted(signatures, key=lambda one: one.signer))
    assert supply(world) == before + 1_000_000 * SHARE


async def test_guard_set__with_the_relayers_key_and_a_threshold_of_one__is_the_relayers_mint() -> (
    None
):
    """F83, F84: what the threshold rules keep out of every configuration."""
    world, message = await ready()
    chain = bnb(world)
    chain.rotate_guards(GuardSet(1, 1, frozenset({RELAYER.identity})))
    chain.mine()
    batch = with_item(batch_of(world, message), amount=Shares(1_000_000 * SHARE))
    before = supply(world)
    forced(world, batch, [await signed_by(RELAYER, RELAYER.identity, batch)])
    assert supply(world) == before + 1_000_000 * SHARE
