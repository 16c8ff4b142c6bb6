"""Signing: one batch for one destination, of nothing but what this very guard has granted.

The batch is rebuilt from what this guard itself has booked or recorded, and signed before the unit
of work begins (no database session waits for a key); the signature leaves only if the unit, which
checks everything again and remembers the permit's deadline, has committed. The same request gets
the same signature, as long as nothing has halted meanwhile.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from functools import partial

from xstock_core.ids import HASHED_NONCES, AssetId, Domain, TransferId, nonce_counter
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal
from xstock_core.policy import Policy
from xstock_core.refusal import Reason, Refused, refuse
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, item_of, key_of, sorted_items
from xstock_core.review import Context
from xstock_core.signing import SIGNING_POLICIES, Grant, grants_by_item, may_sign
from xstock_core.signing import Desk as SigningDesk
from xstock_runtime.errors import invalid_field
from xstock_supply_guard.handlers.cancelling import Standings, cancel_standings
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.flowing import began_at
from xstock_supply_guard.handlers.halting import scopes
from xstock_supply_guard.handlers.inventory import inventory_lines
from xstock_supply_guard.handlers.lines import permit_line
from xstock_supply_guard.handlers.origin import settle_origin, waits_for_permits
from xstock_supply_guard.handlers.papers import void_covers
from xstock_supply_guard.handlers.pausing import pauses_in_force
from xstock_supply_guard.handlers.proposals import reviewed
from xstock_supply_guard.handlers.review import asset_views, ruling_of
from xstock_supply_guard.handlers.screening import Screening, screen, settle_screening
from xstock_supply_guard.handlers.standing import Seen
from xstock_supply_guard.model import (
    ClaimRecord,
    Origin,
    Outcome,
    Permit,
    PermitItem,
    Scan,
    SignAnswer,
    SignRequest,
)
from xstock_supply_guard.ports import GuardReads

_invalid = partial(invalid_field, "SIGN_REQUEST_INVALID")

Records = Mapping[TransferId, ClaimRecord]
Messages = Mapping[TransferId, TransferMessage]
BurnTimes = Mapping[TransferId, int]
"""Unix seconds of the final blocks of burns; only of those whose nonces are hashes."""


async def sign_release(
    desk: Desk, request: SignRequest, policies: Sequence[Policy] = SIGNING_POLICIES
) -> SignAnswer:
    """A signature over the whole batch, or the rulings that stand in its way.

    Raises InvalidMessage for a request that can never be signed, Transient if the destination's
    epoch cannot be read, Fatal FENCED.
    """
    _check_shape(desk, request)
    epoch = await _epoch(desk, request.destination)
    ids = [item.transfer_id for item in request.items]
    messages, burned = await _content(desk, ids)
    screening = await screen(desk, messages)
    unknown = _unknown(request, messages)
    if unknown:
        return _refused(unknown)
    batch = _batch(request, messages, burned)
    await desk.epochs[request.destination].check_terms(batch)
    digest = desk.codecs[request.destination].digest(batch)
    signer = desk.signers[request.destination]
    signature = await signer.sign_digest(digest)
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        origin = await settle_origin(desk, unit)
        known = (epoch, origin, burned, screening, batch)
        refusals, lines = await _refusals(desk, unit, request, known, policies)
        if refusals:
            return _refused(refusals)
        given = await unit.permit(digest)
        if given is not None:
            return SignAnswer(given.signature, given.signer, digest)
        permit = Permit(
            digest=digest,
            destination=request.destination,
            epoch=request.epoch,
            deadline=request.deadline,
            items=request.items,
            signature=signature,
            signer=signer.identity,
            at_ms=now_ms,
        )
        await unit.add_permit(permit)
        await unit.journal([*lines, permit_line(permit)], now_ms)
    return SignAnswer(signature, signer.identity, digest)


def _check_shape(desk: Desk, request: SignRequest) -> None:
    chain = desk.config.chains.get(request.destination)
    if chain is None:
        raise _invalid("destination", int(request.destination), "it is no chain of this guard")
    if request.bridge not in chain.bridge_on.values():
        raise _invalid("bridge", request.bridge.hex(), f"it is no bridge in use on {chain.name}")
    if not 1 <= len(request.items) <= chain.batch_items_max:
        remedy = f"give 1 to {chain.batch_items_max} items"
        raise _invalid("items", len(request.items), remedy)
    if len({item.transfer_id for item in request.items}) < len(request.items):
        raise _invalid("items", len(request.items), "name every transfer once")


async def _epoch(desk: Desk, destination: Domain) -> int:
    known = desk.live.epochs.get(destination)
    if known is None:
        known = await desk.epochs[destination].guard_epoch()
        desk.live.epochs[destination] = known
    return known


async def _content(desk: Desk, ids: Sequence[TransferId]) -> tuple[Messages, BurnTimes]:
    """What a batch of these transfers says. An id is the hash of its message, so a burn that this
    process remembers says the same as the books; whether it is granted, they are asked later."""
    remembered = desk.live.booked
    if all(key in remembered for key in ids):
        burns = {key: remembered[key] for key in ids}
        return {key: burn.message for key, burn in burns.items()}, _hashed_times(burns)
    async with desk.store.read() as books:
        records = await books.claims(ids)
        messages = {key: record.message for key, record in records.items()}
        return messages, await _burn_times(books, messages)


def _hashed_times(burns: Mapping[TransferId, BurnFinal]) -> BurnTimes:
    return {
        key: burn.place.block.time
        for key, burn in burns.items()
        if burn.message.source in HASHED_NONCES
    }


async def _burn_times(books: GuardReads, messages: Messages) -> BurnTimes:
    """When the burns whose nonces are hashes became part of their chain, by this guard's scan."""
    hashed = {k: message for k, message in messages.items() if message.source in HASHED_NONCES}
    if not hashed:
        return {}
    burned = _hashed_times(await books.burns(hashed.keys()))
    return {**await began_at(books, hashed), **burned}


def _item(one: PermitItem, message: TransferMessage, burned: BurnTimes) -> ReleaseItem:
    return item_of(message, one.action, burned.get(one.transfer_id, 0))


def _batch(request: SignRequest, messages: Messages, burned: BurnTimes) -> ReleaseBatch:
    items = [_item(one, messages[one.transfer_id], burned) for one in request.items]
    return ReleaseBatch(
        request.destination,
        request.bridge,
        request.epoch,
        request.deadline,
        sorted_items(items),
        request.terms,
    )


def _unknown(request: SignRequest, known: Container[TransferId]) -> dict[TransferId, Refused]:
    ids = [item.transfer_id for item in request.items]
    return {key: refuse(Reason.NOT_GRANTED) for key in ids if key not in known}


def _refused(refusals: Mapping[TransferId, Refused]) -> SignAnswer:
    return SignAnswer(refusals=tuple(ruling_of(key, no) for key, no in refusals.items()))


async def _refusals(
    desk: Desk,
    unit: GuardReads,
    request: SignRequest,
    known: tuple[int, Origin, BurnTimes, Screening, ReleaseBatch],
    policies: Sequence[Policy],
) -> tuple[dict[TransferId, Refused], list[str]]:
    """Every item that stands in the way, with its reason; empty when the batch may be signed.

    With the lines that tell what else than the books the answer stands on.
    """
    scans = await unit.scans()
    records = await unit.claims([item.transfer_id for item in request.items])
    unclaimed = _unknown(request, records)
    if unclaimed:
        return unclaimed, []
    # SECURITY: `batch` is the very one that the signature is over; its grants are those of now.
    epoch, origin, burned, screening, batch = known
    context = await _context(desk, unit, records, await settle_screening(unit, screening))
    waits_for = ", ".join(desk.missing()) or waits_for_permits(desk, origin, scans)
    standings = await cancel_standings(desk, unit, request, records)
    scan = scans.get(request.destination)
    room = _signing_desk(desk, request, records, burned, scan, standings)
    room = replace(room, grants=_with_senders(room.grants, screening))
    room = replace(room, enabled=not waits_for, epoch=epoch)
    found = _dissent(request, records, scans)
    whole = may_sign(context, room, batch, policies)
    if not isinstance(whole, Refused):
        return found, inventory_lines(context.assets)
    if room.epoch != request.epoch:
        desk.live.epochs.pop(request.destination, None)
    for one in request.items:
        alone = replace(batch, items=(_item(one, records[one.transfer_id].message, burned),))
        verdict = may_sign(context, room, alone, policies)
        if isinstance(verdict, Refused):
            record, why = records[one.transfer_id], standings.get(one.transfer_id)
            found[one.transfer_id] = _named(one, record, verdict, waits_for, why)
    # SECURITY: what is refused as a whole is not signed, though each item alone might be.
    return found or {one.transfer_id: whole for one in request.items}, []


def _named(
    item: PermitItem,
    record: ClaimRecord,
    refusal: Refused,
    waits_for: str,
    standing: Refused | None,
) -> Refused:
    """NOT_GRANTED in this guard's own words."""
    if refusal.reason is Reason.SIGNING_DISABLED:
        return refuse(refusal.reason, waits_for=waits_for)
    if refusal.reason is not Reason.NOT_GRANTED:
        return refusal
    if item.action is Action.CANCEL:
        if standing is not None:
            return standing
        remedy = "an order needs its issuer's VOID; a refund or a redemption is never cancelled"
        return refuse(Reason.NOT_CANCELLABLE, kind=record.message.kind.name, remedy=remedy)
    return refuse(Reason.NOT_GRANTED, standing=record.ruling.outcome.value)


def _with_senders(
    grants: Mapping[ReleaseItem, Grant], screening: Screening
) -> Mapping[ReleaseItem, Grant]:
    """Grants that say who burned, where there is a list to ask."""
    senders = screening.senders
    if not senders:
        return grants
    return {
        item: replace(grant, sender=senders.get(grant.transfer_id))
        for item, grant in grants.items()
    }


def _dissent(
    request: SignRequest, records: Records, scans: Mapping[Domain, Scan]
) -> dict[TransferId, Refused]:
    """Nothing is signed on the word of a chain whose providers contradict each other."""
    unsure = {chain for chain, scan in scans.items() if scan.dissent_since_ms is not None}
    if not unsure:
        return {}
    found = {}
    for one in request.items:
        message = records[one.transfer_id].message
        # A REFUND stands on its burn too, and that is on the chain it goes back to.
        stands_on = [message.source]
        stands_on += [message.destination] if message.kind is Kind.REFUND else []
        doubted = [chain for chain in stands_on if chain in unsure]
        if doubted:
            found[one.transfer_id] = refuse(Reason.SOURCE_DISSENT, chain=int(doubted[0]))
    return found


async def _context(desk: Desk, unit: GuardReads, records: Records, screening: Screening) -> Context:
    messages = {key: record.message for key, record in records.items()}
    assets: set[AssetId] = {message.asset for message in messages.values()}
    keys = {key: key_of(message) for key, message in messages.items()}
    done = await unit.executions(keys.values())
    seen = Seen(await unit.balances(assets), await unit.readings(assets))
    paused, until = pauses_in_force(await unit.pauses(desk.now), seen.readings)
    return Context(
        now=desk.now,
        balances=seen.balances,
        assets=await asset_views(desk, unit, assets, seen),
        routes=desk.config.routes,
        halted=scopes(await unit.halts()),
        paused=paused,
        paused_until=until,
        screened=screening.listed,
        screened_among=screening.asked,
        cleared=(await reviewed(unit, set(records)))[1] if screening.listed else {},
        executed=frozenset(key for key, own in keys.items() if own in done),
    )


def _signing_desk(
    desk: Desk,
    request: SignRequest,
    records: Records,
    burned: BurnTimes,
    scan: Scan | None,
    standings: Standings,
) -> SigningDesk:
    released = [
        Grant(key, record.message, record.expiry, burned.get(key, 0))
        for key, record in records.items()
        # SECURITY: never sign what this very guard has not granted.
        if record.ruling.outcome is Outcome.GRANTED
    ]
    cancelled = [
        Grant(key, record.message, burned_at=burned.get(key, 0))
        for key, record in records.items()
        # SECURITY: a CANCEL takes a release away for ever; only who may ask for it gets one.
        if _voided(desk, request, record) or (key in standings and standings[key] is None)
    ]
    return SigningDesk(
        enabled=not desk.missing(),
        bridges=desk.config.chains[request.destination].bridge_on,
        epoch=None,
        final_time=scan.through.time if scan is not None and scan.through is not None else None,
        grants={**grants_by_item(released), **grants_by_item(cancelled, Action.CANCEL)},
    )


def _voided(desk: Desk, request: SignRequest, record: ClaimRecord) -> bool:
    """An order may be cancelled on its issuer's VOID."""
    message = record.message
    if message.kind is not Kind.ISSUE:
        return False
    number = nonce_counter(message.nonce)
    return any(void_covers(desk, void, message.asset, number) for void in request.voids)
