"""What a guard answers to a request for its signature, to the field; and what it keeps of it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard.world import GUARDS, SHARE, World, id_of
from xstock_chains.ports import Cursor
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.message import TransferMessage
from xstock_core.observation import by_id
from xstock_core.refusal import GRANTED, Reason, Verdict, refuse
from xstock_core.release import Action, ReleaseBatch, item_of, sorted_items
from xstock_core.review import Claim, Context
from xstock_core.signing import Grant
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.lines import permit_line
from xstock_supply_guard.handlers.sign import (
    _batch,
    _burn_times,
    _content,
    _signing_desk,
    sign_release,
)
from xstock_supply_guard.model import (
    ChainConfig,
    ClaimRecord,
    Outcome,
    Permit,
    PermitItem,
    Ruling,
    Scan,
    SignRequest,
)

STRANGE = Address32(b"\7" * 32)


async def granted() -> tuple[World, TransferMessage]:
    world = World()
    await world.funded()
    return world, await world.granted()


def most(world: World, chain: Domain, items: int) -> None:
    """This chain's batches hold so many items."""
    config = world.desk.config
    changed: dict[Domain, ChainConfig] = {
        **config.chains,
        chain: replace(config.chains[chain], batch_items_max=items),
    }
    world.desk.config = replace(config, chains=changed)


SHAPES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a chain that is none of this guard's": (
        {"destination": Domain.TON}, "destination", "6", "it is no chain of this guard",
    ),
    "a bridge that is not in use": (
        {"bridge": STRANGE}, "bridge", "07" * 32, "it is no bridge in use on bnb",
    ),
    "nothing": ({"items": ()}, "items", "0", "give 1 to 400 items"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
async def test_request__that_can_never_be_signed__names_field_value_and_remedy(name: str) -> None:
    changes, field, value, remedy = SHAPES[name]
    world, message = await granted()
    with pytest.raises(InvalidMessage) as refused:
        await sign_release(world.desk, replace(world.request([message]), **changes))
    assert refused.value.code == "SIGN_REQUEST_INVALID"
    assert refused.value.metadata == {"field": field, "value": value}
    assert refused.value.message.startswith(f"{field}: ")
    assert refused.value.message.endswith(f" is not valid; {remedy}")


async def test_request__of_as_many_items_as_a_batch_holds__is_looked_at_one_more_is_not() -> None:
    world, message = await granted()
    request = world.request([message])
    most(world, Domain.BNB, 1)
    assert (await sign_release(world.desk, request)).signature
    two = replace(request, items=(*request.items, PermitItem(id_of(message), Action.CANCEL)))
    with pytest.raises(InvalidMessage, match="give 1 to 1 items"):
        await sign_release(world.desk, two)
    most(world, Domain.BNB, 2)
    with pytest.raises(InvalidMessage, match="name every transfer once") as refused:
        await sign_release(world.desk, two)
    assert refused.value.metadata == {"field": "items", "value": "2"}


async def kept(world: World, digest: bytes) -> tuple[Permit | None, int]:
    """The permit of this digest, and how long the journal is."""
    async with world.store.read() as books:
        return await books.permit(digest), (await books.journal_head()).sequence


async def test_signature__before_it_leaves__is_kept_with_everything_it_is_good_for() -> None:
    """INV-07: a reservation is voided only after every deadline, so each one is remembered."""
    world, message = await granted()
    request = world.request([message])
    answer = await sign_release(world.desk, request)
    permit, length = await kept(world, answer.digest)
    assert permit == Permit(
        digest=answer.digest,
        destination=Domain.BNB,
        epoch=1,
        deadline=request.deadline,
        items=(PermitItem(id_of(message), Action.RELEASE),),
        signature=answer.signature,
        signer=GUARDS[0].identity,
        at_ms=world.clock.unix_ms(),
    )
    assert answer.signer == GUARDS[0].identity
    async with world.store.read() as books:
        (last,) = await books.journal_after(length - 1, 10)
    assert last.lines == (permit_line(permit),)
    assert last.at_ms == permit.at_ms


async def test_signature__asked_for_again__is_the_same_and_is_written_once() -> None:
    world, message = await granted()
    request = world.request([message])
    first = await sign_release(world.desk, request)
    before = await kept(world, first.digest)
    await world.clock.advance(5)
    assert await sign_release(world.desk, request) == first
    assert await kept(world, first.digest) == before


async def test_batch__refused_as_a_whole_and_each_item_alone_not__is_not_signed() -> None:
    """SECURITY: the signature is over the batch, so what is said of the batch counts."""
    world, message = await granted()
    asked: list[TransferId] = []

    def refuse_once(context: Context, claim: Claim) -> Verdict:
        del context
        asked.append(claim.transfer_id)
        return refuse(Reason.NOT_GRANTED) if len(asked) == 1 else GRANTED

    answer = await sign_release(world.desk, world.request([message]), [refuse_once])
    assert asked == [id_of(message)] * 2
    assert not answer.signature
    assert [(r.transfer_id, r.reason) for r in answer.refusals] == [
        (id_of(message), Reason.NOT_GRANTED)
    ]


async def test_books__edited_between_the_signature_and_its_check__let_nothing_out() -> None:
    """SECURITY: the grants of now must cover the very batch that the signature is over."""
    world, message = await granted()
    check_terms = world.desk.epochs[Domain.BNB].check_terms

    async def edit(batch: ReleaseBatch) -> None:
        await check_terms(batch)
        async with world.store.write() as unit:
            record = (await unit.claims([id_of(message)]))[id_of(message)]
            less = replace(message, amount=Shares(message.amount - 1))
            await unit.save_claims([replace(record, message=less)])
            assert (await unit.claims([id_of(message)]))[id_of(message)].message == less

    setattr(world.desk.epochs[Domain.BNB], "check_terms", edit)  # noqa: B010 - a method
    answer = await sign_release(world.desk, world.request([message]))
    assert not answer.signature
    assert [one.reason for one in answer.refusals] == [Reason.NOT_GRANTED]


REFUSED: dict[str, tuple[Action, str, dict[str, str]]] = {
    "cancelled by nobody": (Action.CANCEL, Reason.NOT_CANCELLABLE, {"kind": "ISSUE"}),
    "held": (Action.RELEASE, Reason.NOT_GRANTED, {"standing": "HELD"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_item__this_guard_does_not_grant__is_refused_in_its_own_words(name: str) -> None:
    action, reason, detail = REFUSED[name]
    world = World()
    await world.funded()
    order = world.order(3 if action is Action.RELEASE else 2, SHARE)
    await world.review(order)
    request = world.request([order.message], action=action)
    answer = await sign_release(world.desk, request)
    assert not answer.signature
    (ruling,) = answer.refusals
    assert (ruling.transfer_id, ruling.reason) == (id_of(order.message), reason)
    assert detail.items() <= ruling.detail.items()
    if action is Action.CANCEL:
        assert "VOID" in ruling.detail["remedy"]


async def test_request__of_a_transfer_nobody_claimed__is_refused_unread() -> None:
    world, message = await granted()
    stranger = replace(message, amount=Shares(message.amount + 1))
    request: SignRequest = world.request([message, stranger])
    answer = await sign_release(world.desk, request)
    assert [one.transfer_id for one in answer.refusals] == [id_of(stranger)]
    assert answer.refusals[0].reason == Reason.NOT_GRANTED


# --- where nonces are hashes, the second of the burn is part of what is signed --------------------

HASHED = a_message(source=Domain.SOLANA, source_bridge=b"\5" * 32, refund_address=b"\6" * 32)
COUNTED = a_message()


def messages() -> dict[TransferId, TransferMessage]:
    return {id_of(message): message for message in (HASHED, COUNTED)}


def records() -> dict[TransferId, ClaimRecord]:
    return {
        key: ClaimRecord(message, Ruling(key, Outcome.GRANTED), 0)
        for key, message in messages().items()
    }


async def test_batch__with_a_hashed_nonce__carries_the_second_of_its_burns_final_block() -> None:
    world, burn = World(), a_burn(HASHED)
    async with world.store.write() as unit:
        await unit.add_observations(by_id([burn, a_burn(COUNTED)]))
    async with world.store.read() as books:
        times = await _burn_times(books, messages())
        assert await _burn_times(books, {id_of(COUNTED): COUNTED}) == {}
    assert times == {id_of(HASHED): burn.place.block.time}
    items = tuple(PermitItem(id_of(message), Action.RELEASE) for message in (HASHED, COUNTED))
    request = SignRequest(Domain.BNB, STRANGE, 4, 77, items, terms=b"terms")
    signed = [item_of(HASHED, burned_at=burn.place.block.time), item_of(COUNTED)]
    assert _batch(request, messages(), times) == ReleaseBatch(
        Domain.BNB, STRANGE, 4, 77, sorted_items(signed), b"terms"
    )
    unknown = [item_of(HASHED, burned_at=0), item_of(COUNTED)]
    assert _batch(request, messages(), {}).items == sorted_items(unknown)


async def test_content__of_burns_that_are_remembered__is_what_the_books_say() -> None:
    world = World()
    burns = [a_burn(HASHED), a_burn(COUNTED)]
    async with world.store.write() as unit:
        await unit.add_observations(by_id(burns))
        await unit.save_claims(list(records().values()))
    read = await _content(world.desk, list(messages()))
    world.desk.live.booked.update((one.transfer_id, one) for one in burns)
    assert await _content(world.desk, list(messages())) == read
    assert read == (messages(), {id_of(HASHED): burns[0].place.block.time})


async def test_epoch__of_a_destination__is_asked_once_and_again_after_a_mismatch() -> None:
    world, message = await granted()
    request = world.request([message])
    assert (await sign_release(world.desk, request)).signature
    assert world.desk.live.epochs[Domain.BNB] == 1
    answer = await sign_release(world.desk, replace(request, epoch=2))
    assert [one.reason for one in answer.refusals] == [Reason.EPOCH_UNKNOWN]
    assert Domain.BNB not in world.desk.live.epochs


def test_desk__of_a_request__holds_what_was_granted_and_who_may_cancel_nothing_else() -> None:
    """INV-08: a held claim is not there to be released, a refused cancel not to be cancelled."""
    world, known = World(), records()
    held = a_message(counter=2)
    known[id_of(held)] = ClaimRecord(held, Ruling(id_of(held), Outcome.HELD), 0)
    request = world.request([COUNTED])
    standings = {id_of(HASHED): None, id_of(held): refuse(Reason.NOT_CANCELLABLE)}
    room = _signing_desk(world.desk, request, known, {id_of(HASHED): 9}, None, standings)
    assert dict(room.grants) == {
        item_of(HASHED, burned_at=9): Grant(id_of(HASHED), HASHED, burned_at=9),
        item_of(COUNTED): Grant(id_of(COUNTED), COUNTED),
        item_of(HASHED, Action.CANCEL, 9): Grant(id_of(HASHED), HASHED, burned_at=9),
    }
    assert (room.final_time, room.epoch) == (None, None)
    assert room.bridges == world.desk.config.chains[Domain.BNB].bridge_on
    assert room.enabled is (not world.desk.missing())
    unread = _signing_desk(world.desk, request, known, {}, Scan(Domain.BNB, Cursor(Domain.BNB)), {})
    assert unread.final_time is None
    assert [item.action for item in unread.grants] == [Action.RELEASE, Action.RELEASE]


async def test_batch__with_one_item_that_stands_in_the_way__names_that_item_alone() -> None:
    world, first = await granted()
    tx = world.burn()
    world.mine()
    await world.scan()
    claim = world.claim(tx)
    await world.review(claim)
    await world.release([claim.message])
    world.mine()
    await world.scan()
    answer = await world.sign(first, claim.message)
    assert not answer.signature
    assert [(one.transfer_id, one.reason) for one in answer.refusals] == [
        (id_of(claim.message), Reason.ALREADY_EXECUTED)
    ]
