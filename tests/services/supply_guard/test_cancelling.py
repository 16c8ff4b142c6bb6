"""Who may have a transfer cancelled, case by case: each condition at its very boundary."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard.returns import HOLDERS_KEY, STRANGERS_KEY
from tests.services.supply_guard.world import ASSET, DEPLOYMENT, HOLDER, RECIPIENT, World
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal
from xstock_core.refusal import Disposition, Reason, Refused
from xstock_core.release import Action
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers.cancelling import REQUEST_SECONDS_MAX, cancel_standings
from xstock_supply_guard.model import (
    CancelPaper,
    ClaimRecord,
    Outcome,
    PermitItem,
    PolicyConfig,
    ProposalKind,
    Ruling,
    SignRequest,
)
from xstock_wire.papers import CANCEL_REQUEST, PaperKey
from xstock_wire.v1 import papers_pb2

OTHERS = Address32(bytes(12) + b"\x44" * 20)


def message(kind: Kind = Kind.TRANSFER, *, source: Domain = Domain.ETHEREUM) -> TransferMessage:
    """A message of the holder's."""
    destination = Domain.CUSTODY if kind is Kind.REDEEM else Domain.BNB
    return a_message(
        kind=kind, source=source, destination=destination, asset=ASSET, refund_address=HOLDER
    )


def burned(by: TransferMessage, sender: Address32 = OTHERS) -> BurnFinal:
    """Its burn, booked."""
    return a_burn(by, sender=sender)


@dataclass
class Books:
    """What this guard has booked and what people approved; counts how often it is asked."""

    booked: Mapping[TransferId, BurnFinal] = field(default_factory=dict)
    agreed: Mapping[ProposalKind, Collection[bytes]] = field(default_factory=dict)
    asked: int = 0

    async def burns(self, ids: Collection[TransferId]) -> Mapping[TransferId, BurnFinal]:
        """Those of `ids` that are booked."""
        self.asked += 1
        return {key: self.booked[key] for key in ids if key in self.booked}

    async def approved(self, kind: ProposalKind, subjects: Collection[bytes]) -> set[bytes]:
        """Those of `subjects` that people approved."""
        self.asked += 1
        return {one for one in subjects if one in self.agreed.get(kind, ())}


def paper(world: World, of: TransferMessage, key: PaperKey = HOLDERS_KEY, life: int = 600) -> Any:
    """A request of this key's, through the wire."""
    said = papers_pb2.CancelRequest(transfer_id=of.transfer_id(keccak256), expires=world.now + life)
    return wire.cancel_from_wire(key.sign(CANCEL_REQUEST, DEPLOYMENT, said), DEPLOYMENT)


async def standing(
    world: World,
    *papers: CancelPaper,
    of: TransferMessage | None = None,
    sender: Address32 = OTHERS,
    booked: bool = True,
    agreed: Mapping[ProposalKind, Collection[bytes]] | None = None,
    outcome: Outcome = Outcome.HELD,
    at_ms: int = 0,
) -> Refused | None:
    """What stands in the way of cancelling this transfer."""
    one = of or message()
    key = one.transfer_id(keccak256)
    books = Books({key: burned(one, sender)} if booked else {}, agreed or {})
    request = SignRequest(
        Domain.BNB, RECIPIENT, 1, 1, (PermitItem(key, Action.CANCEL),), cancels=papers
    )
    records = {key: ClaimRecord(one, Ruling(key, outcome), at_ms)}
    found = await cancel_standings(world.desk, books, request, records)  # type: ignore[arg-type]
    assert found.keys() == {key}
    return found[key]


def refused(found: Refused | None) -> str:
    """The remedy of a request that can never be."""
    assert found is not None
    usual = (Reason.NOT_CANCELLABLE, Disposition.REJECT, None)
    assert (found.reason, found.disposition, found.until) == usual
    assert found.detail.keys() == {"remedy"}
    return found.detail["remedy"]


async def test_cancel__by_the_burns_sender_or_its_refund_address__is_free() -> None:
    world = World()
    assert await standing(world, paper(world, message())) is None
    elsewhere = replace(message(), refund_address=OTHERS)
    assert await standing(world, paper(world, elsewhere), of=elsewhere, sender=HOLDER) is None


async def test_cancel__of_what_is_not_booked_here__names_the_chain_whoever_asks() -> None:
    """F05: people cannot have it either."""
    world = World()
    key = bytes(message().transfer_id(keccak256))
    for agreed in ({}, {ProposalKind.CANCEL: {key}}):
        found = await standing(world, paper(world, message()), booked=False, agreed=agreed)
        assert found is not None
        assert (found.reason, found.detail) == (Reason.SOURCE_NOT_FINAL, {"chain": "1"})


async def test_cancel__approved_by_people__needs_no_paper_and_no_wait() -> None:
    world = World()
    key = bytes(message().transfer_id(keccak256))
    for outcome in Outcome:
        agreed = {ProposalKind.CANCEL: {key}}
        assert await standing(world, agreed=agreed, outcome=outcome) is None
    others: Mapping[ProposalKind, Collection[bytes]] = {
        kind: {key} for kind in ProposalKind if kind is not ProposalKind.CANCEL
    }
    remedy = "hand in the holder's signed request, or have a CANCEL proposal approved"
    assert refused(await standing(world, agreed=others)) == remedy


@pytest.mark.parametrize("life", [1, REQUEST_SECONDS_MAX])
async def test_cancel__a_request_within_its_time__counts(life: int) -> None:
    world = World()
    assert await standing(world, paper(world, message(), life=life)) is None


@pytest.mark.parametrize("life", [-1, 0, REQUEST_SECONDS_MAX + 1])
async def test_cancel__a_request_past_its_time_or_for_too_long__is_told_so(life: int) -> None:
    """A forgotten paper must not cancel for ever."""
    world = World()
    assert REQUEST_SECONDS_MAX == 7 * 24 * 3600
    remedy = refused(await standing(world, paper(world, message(), life=life)))
    assert remedy == (
        f"the request's expiry {world.now + life} must lie within 604800 seconds of now "
        f"({world.now}); sign a new one"
    )


async def test_cancel__from_ton__takes_people() -> None:
    world = World()
    one = message(source=Domain.TON)
    remedy = refused(await standing(world, paper(world, one), of=one, sender=HOLDER))
    assert remedy == "a TON wallet signs no papers: have a CANCEL proposal approved"


@pytest.mark.parametrize("key_id", [STRANGERS_KEY.key_id, "not hexadecimal", "", "00" * 33])
async def test_cancel__by_nobody_who_burned_it__is_refused(key_id: str) -> None:
    """Without this anybody could take anybody's transfer back."""
    world = World()
    said = paper(world, message(), STRANGERS_KEY)
    posed = replace(said, statement=replace(said.statement, key_id=key_id))
    remedy = refused(await standing(world, posed))
    assert remedy == "sign with the key of the burn's sender or refund address"


async def test_cancel__under_the_holders_name_by_a_strangers_hand__is_refused() -> None:
    world = World()
    said = paper(world, message(), STRANGERS_KEY)
    posed = replace(said, statement=replace(said.statement, key_id=HOLDERS_KEY.key_id))
    remedy = refused(await standing(world, posed))
    assert remedy == "the signature is not by the key that key_id names"
    own = paper(world, message())
    other = replace(own, statement=replace(own.statement, digest=b"\x07" * 32))
    assert refused(await standing(world, other)) == remedy


async def test_cancel__a_request_for_another_transfer__is_none_for_this() -> None:
    world = World()
    other = paper(world, replace(message(), recipient=OTHERS))
    assert refused(await standing(world, other)).startswith("hand in the holder's signed request")


async def test_cancel__what_may_still_be_released__waits_a_permits_lifetime() -> None:
    """A release that is signed already must have died before its cancellation is."""
    world = World(policy=PolicyConfig(permit_seconds=500))
    said = paper(world, message())
    for outcome in (Outcome.HELD, Outcome.PARKED):
        assert await standing(world, said, outcome=outcome, at_ms=world.now * 1000) is None
    for age_ms in (499_000, 499_999):
        at_ms = (world.now * 1000) + 999 - age_ms
        found = await standing(world, said, outcome=Outcome.GRANTED, at_ms=at_ms)
        assert found is not None
        assert (found.reason, found.disposition, found.until, found.detail) == (
            Reason.NOT_CANCELLABLE,
            Disposition.HOLD,
            at_ms // 1000 + 500,
            {"remedy": "it is GRANTED here and may still be released; wait, or have people ask"},
        )
    at_ms = (world.now - 500) * 1000
    assert await standing(world, said, outcome=Outcome.GRANTED, at_ms=at_ms) is None


async def test_cancel__of_what_is_rejected_here__is_refused_whenever() -> None:
    world = World()
    remedy = refused(await standing(world, paper(world, message()), outcome=Outcome.REJECTED))
    assert remedy == "it is REJECTED here and may still be released; wait, or have people ask"


async def test_standings__are_asked_only_of_transfers_that_are_to_be_cancelled() -> None:
    world = World()
    cancelled, redeemed = message(), message(Kind.REDEEM)
    released = replace(message(), recipient=OTHERS)
    keys = [one.transfer_id(keccak256) for one in (cancelled, released, redeemed)]
    records = {
        key: ClaimRecord(one, Ruling(key, Outcome.HELD), 0)
        for key, one in zip(keys, (cancelled, released, redeemed), strict=True)
    }
    items = [
        PermitItem(keys[0], Action.CANCEL),
        PermitItem(keys[1], Action.RELEASE),
        PermitItem(keys[2], Action.CANCEL),
        PermitItem(TransferId(b"\x77" * 32), Action.CANCEL),
    ]
    books = Books({keys[0]: burned(cancelled)})
    for chosen, expected in ((items, {keys[0]}), (items[1:], set())):
        books.asked = 0
        request = SignRequest(
            Domain.BNB, RECIPIENT, 1, 1, tuple(chosen), cancels=(paper(world, cancelled),)
        )
        found = await cancel_standings(world.desk, books, request, records)  # type: ignore[arg-type]
        assert found == dict.fromkeys(expected)
        assert bool(books.asked) is bool(expected)
