"""Wire <-> core: every generated message is parsed here, once, and checked.

A record that cannot be believed (wrong length, zero, unknown kind, an id that is not its
content's) raises InvalidMessage; nothing half-parsed leaves this module.
"""

from typing import TYPE_CHECKING, assert_never

from xstock_core.amount import InvalidAmount, parse_shares
from xstock_core.ids import (
    Address32,
    Domain,
    InvalidId,
    Nonce,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
)
from xstock_core.message import parse_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    MintParked,
    Observation,
    ObservationId,
    OrphanBurn,
    Place,
    ReleaseFinal,
    ReleaseSkipped,
    Role,
    RoleMoved,
    SkipReason,
    SupplyMoved,
    TxRef,
    observation_id,
)
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_wire.v1 import common_pb2, records_pb2

if TYPE_CHECKING:
    from xstock_wire.v1 import bridge_pb2, supply_guard_pb2

_TX_ID_SIZES = (32, 64)


def block_to_wire(block: BlockRef) -> common_pb2.BlockRef:
    """A block reference for the wire."""
    return common_pb2.BlockRef(
        chain=block.chain, number=block.number, hash=block.hash, time=block.time
    )


def block_from_wire(wire: common_pb2.BlockRef) -> BlockRef:
    """A checked block reference; raises InvalidMessage."""
    if len(wire.hash) != 32:
        raise InvalidMessage("BAD_RECORD", f"block.hash: give 32 bytes, got {wire.hash.hex()!r}")
    return BlockRef(_domain(wire.chain, "block.chain"), wire.number, wire.hash, wire.time)


def tx_to_wire(tx: TxRef) -> common_pb2.TxRef:
    """A transaction reference for the wire."""
    return common_pb2.TxRef(chain=tx.chain, id=tx.id)


def tx_from_wire(wire: common_pb2.TxRef) -> TxRef:
    """A checked transaction reference; raises InvalidMessage."""
    if len(wire.id) not in _TX_ID_SIZES:
        raise InvalidMessage("BAD_RECORD", f"tx.id: give 32 or 64 bytes, got {wire.id.hex()!r}")
    return TxRef(_domain(wire.chain, "tx.chain"), wire.id)


def place_to_wire(place: Place) -> common_pb2.Place:
    """A place for the wire."""
    return common_pb2.Place(
        block=block_to_wire(place.block), tx=tx_to_wire(place.tx), index=place.index
    )


def place_from_wire(wire: common_pb2.Place) -> Place:
    """A checked place; raises InvalidMessage."""
    return Place(block_from_wire(wire.block), tx_from_wire(wire.tx), wire.index)


def _domain(value: int, field: str) -> Domain:
    try:
        return parse_domain(value, field)
    except InvalidId as error:
        raise InvalidMessage("BAD_RECORD", str(error)) from error


def observation_to_wire(
    observation: Observation, *, deployment_id: str, sequence: int, key: ObservationId | None = None
) -> records_pb2.ObservationRecord:
    """The record of an observation, with its content-derived id (`key`, where it is known)."""
    record = records_pb2.ObservationRecord(
        deployment_id=deployment_id,
        id=key or observation_id(observation),
        sequence=sequence,
        place=place_to_wire(observation.place),
    )
    _fill(record, observation)
    return record


def _fill(record: records_pb2.ObservationRecord, observation: Observation) -> None:
    match observation:
        case BurnFinal():
            record.burn_final.message = observation.message.pack()
            record.burn_final.sender = observation.sender
            record.burn_final.counter = observation.counter
        case ReleaseFinal():
            release = record.release_final
            release.destination, release.source = observation.destination, observation.source
            release.nonce, release.asset = observation.nonce, observation.asset
            release.recipient, release.amount = observation.recipient, observation.amount
        case CancelFinal():
            cancel = record.cancel_final
            cancel.destination, cancel.source = observation.destination, observation.source
            cancel.nonce, cancel.asset = observation.nonce, observation.asset
        case ReleaseSkipped():
            skip = record.release_skipped
            skip.destination, skip.source = observation.destination, observation.source
            skip.nonce, skip.reason = observation.nonce, observation.reason
        case MintParked():
            parked = record.mint_parked
            parked.destination, parked.source = observation.destination, observation.source
            parked.nonce, parked.asset = observation.nonce, observation.asset
            parked.amount = observation.amount
        case OrphanBurn():
            orphan = record.orphan_burn
            orphan.asset, orphan.owner = observation.asset, observation.owner
            orphan.amount, orphan.reason = observation.amount, observation.reason
            orphan.nonce = observation.nonce
        case SupplyMoved():
            record.supply_moved.asset = observation.asset
            record.supply_moved.token_units = str(observation.token_units)
        case RoleMoved():
            role = record.role_moved
            role.role, role.subject = observation.role, observation.subject
            role.holder = observation.holder
        case _:
            assert_never(observation)


def observation_from_wire(
    record: records_pb2.ObservationRecord, *, deployment_id: str
) -> Observation:
    """The checked observation; raises InvalidMessage when anything cannot be believed."""
    if record.deployment_id != deployment_id:
        text = f"deployment_id: {record.deployment_id!r} is not ours ({deployment_id!r})"
        raise InvalidMessage("BAD_RECORD", text)
    try:
        observation = _parse(record, place_from_wire(record.place))
    except (InvalidId, InvalidAmount, ValueError) as error:
        raise InvalidMessage("BAD_RECORD", str(error)) from error
    if record.id != observation_id(observation):
        raise InvalidMessage("BAD_RECORD", f"id: {record.id.hex()!r} is not the content's id")
    return observation


def _parse(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    kind = record.WhichOneof("observation")
    parsers = {
        "burn_final": _parse_burn,
        "release_final": _parse_release,
        "cancel_final": _parse_cancel,
        "release_skipped": _parse_skip,
        "mint_parked": _parse_parked,
        "orphan_burn": _parse_orphan,
        "supply_moved": _parse_supply,
        "role_moved": _parse_role,
    }
    if kind is None:
        raise InvalidMessage("BAD_RECORD", "observation: none is set; set exactly one")
    return parsers[kind](record, place)


def _parse_burn(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    message = parse_message(record.burn_final.message)
    return BurnFinal(
        message=message,
        transfer_id=message.transfer_id(keccak256),
        sender=parse_address(record.burn_final.sender, message.source, "sender"),
        counter=record.burn_final.counter,
        place=place,
    )


def _key(destination: int, source: int, nonce: bytes) -> tuple[Domain, Domain, Nonce]:
    return (
        parse_domain(destination, "destination"),
        parse_domain(source, "source"),
        parse_nonce(nonce),
    )


def _parse_release(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.release_final
    destination, source, nonce = _key(wire.destination, wire.source, wire.nonce)
    return ReleaseFinal(
        destination=destination,
        source=source,
        nonce=nonce,
        asset=parse_asset_id(wire.asset),
        recipient=parse_address(wire.recipient, destination, "recipient"),
        amount=parse_shares(wire.amount),
        place=place,
    )


def _parse_cancel(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.cancel_final
    destination, source, nonce = _key(wire.destination, wire.source, wire.nonce)
    return CancelFinal(destination, source, nonce, parse_asset_id(wire.asset), place)


def _parse_skip(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.release_skipped
    destination, source, nonce = _key(wire.destination, wire.source, wire.nonce)
    known = {int(reason): reason for reason in SkipReason}
    reason = known.get(wire.reason, SkipReason.UNKNOWN)
    return ReleaseSkipped(destination, source, nonce, reason, place)


def _parse_parked(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.mint_parked
    destination, source, nonce = _key(wire.destination, wire.source, wire.nonce)
    asset, amount = parse_asset_id(wire.asset), parse_shares(wire.amount)
    return MintParked(destination, source, nonce, asset, amount, place)


def _parse_orphan(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.orphan_burn
    return OrphanBurn(
        asset=parse_asset_id(wire.asset),
        owner=Address32(parse_address(wire.owner, place.block.chain, "owner")),
        amount=parse_shares(wire.amount),
        reason=wire.reason[:200],
        nonce=parse_nonce(wire.nonce),
        place=place,
    )


def _parse_supply(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.supply_moved
    return SupplyMoved(parse_asset_id(wire.asset), int(wire.token_units), place)


def _parse_role(record: records_pb2.ObservationRecord, place: Place) -> Observation:
    wire = record.role_moved
    subject = parse_address(wire.subject, place.block.chain, "subject")
    return RoleMoved(Role(wire.role), subject, wire.holder, place)


def limit_of(books: "supply_guard_pb2.AssetLedger | bridge_pb2.AssetSupply") -> int:
    """What exposure may come to by books that a guard shows, in 10^-8 share.

    Its cap, with the issuer inventory that it excludes on top: `xstock_core.cap.Attestation.limit`
    for those who have the two figures only.
    """
    return books.cap + books.excluded


def paper_digest(kind: str, deployment_id: str, paper: bytes) -> bytes:
    """What the signer of a paper signs: bound to its kind and to this deployment.

    keccak256("xstock/paper/<kind>/1" | deployment id as ASCII | the paper's bytes), as in
    docs/protocol.md.
    """
    return keccak256(f"xstock/paper/{kind}/1{deployment_id}".encode("ascii") + paper)
