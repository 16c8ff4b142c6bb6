"""What a chain can tell us: final observations, with the place where each is written.

A closed union. Every observation is final by its own chain's rule, has a content-derived id
(same place and content, same id, whoever reads it and however often), and names its block
and transaction. Progress towards finality is not here: it is advisory and moves no money.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final, NewType

from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, Nonce, TransferId
from xstock_core.message import TransferMessage

ObservationId = NewType("ObservationId", bytes)
"""32 bytes: sha256 over chain, transaction, position and content."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block of a chain: height (slot, masterchain seqno), hash, and Unix time in seconds."""

    chain: Domain
    number: int
    hash: bytes
    time: int


@dataclass(frozen=True, slots=True)
class TxRef:
    """A transaction of a chain by its id's raw bytes (EVM, Tron, TON 32; Solana 64)."""

    chain: Domain
    id: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where an observation stands: block, transaction, and its index within the block."""

    block: BlockRef
    tx: TxRef
    index: int


class SkipReason(IntEnum):
    """Why a destination skipped an item of a batch; each family maps its own numbers to these."""

    ALREADY_RELEASED = 1
    ALREADY_CANCELLED = 2
    ASSET_UNKNOWN = 3
    ASSET_PAUSED = 4
    RECIPIENT_REFUSED = 5
    BUCKET_EMPTY = 6
    BRIDGE_PAUSED = 7
    UNKNOWN = 255


class Role(IntEnum):
    """A right over a token or a bridge whose holder is watched."""

    MINTER = 1
    BURNER = 2
    PAUSER = 3
    OWNER = 4
    GUARD_SET = 5
    CODE = 6


@dataclass(frozen=True, slots=True)
class BurnFinal:
    """A registered bridge burned exactly the message's shares."""

    message: TransferMessage
    transfer_id: TransferId
    sender: Address32
    counter: int
    """The lane counter of a counted burn; 0 where the chain has none."""
    place: Place


@dataclass(frozen=True, slots=True)
class ReleaseFinal:
    """The destination minted; the content must equal the message's (INV-03)."""

    destination: Domain
    source: Domain
    nonce: Nonce
    asset: AssetId
    recipient: Address32
    amount: Shares
    place: Place


@dataclass(frozen=True, slots=True)
class CancelFinal:
    """The destination marked the nonce without minting."""

    destination: Domain
    source: Domain
    nonce: Nonce
    asset: AssetId
    place: Place


@dataclass(frozen=True, slots=True)
class ReleaseSkipped:
    """The destination left an item open (or found it done already) and says why."""

    destination: Domain
    source: Domain
    nonce: Nonce
    reason: SkipReason
    place: Place


@dataclass(frozen=True, slots=True)
class MintParked:
    """A mint bounced on its way to the recipient (TON): supply restored, item parked."""

    destination: Domain
    source: Domain
    nonce: Nonce
    asset: AssetId
    amount: Shares
    place: Place


BURNED_BY_ANOTHER: Final = "burned by "
"""How the reason of a burn begins that the owner of the account did not sign."""


@dataclass(frozen=True, slots=True)
class OrphanBurn:
    """Supply was burned in a way that names no valid transfer: recorded and parked."""

    asset: AssetId
    owner: Address32
    amount: Shares
    reason: str
    """What is wrong with it, in words for a person; at most 200 characters."""
    nonce: Nonce
    place: Place

    @property
    def by_owner(self) -> bool:
        """Whether the owner of the account burned; else it was a delegate, be it the issuer's."""
        return not self.reason.startswith(BURNED_BY_ANOTHER)


@dataclass(frozen=True, slots=True)
class SupplyMoved:
    """A token's shares were minted (positive) or burned outside any bridge message.

    `token_units` is in the token's own share units (10^-18 on EVM), so that dust shows too.
    """

    asset: AssetId
    token_units: int
    place: Place


@dataclass(frozen=True, slots=True)
class RoleMoved:
    """A watched right changed hands; `holder` is the new one in its wire form, or a hash."""

    role: Role
    subject: Address32
    holder: bytes
    place: Place


Observation = (
    BurnFinal
    | ReleaseFinal
    | CancelFinal
    | ReleaseSkipped
    | MintParked
    | OrphanBurn
    | SupplyMoved
    | RoleMoved
)


def observation_id(observation: Observation) -> ObservationId:
    """The content-derived id: the same for every reader of the same chain."""
    place = observation.place
    head = b"|".join(
        (
            type(observation).__name__.encode(),
            int(place.block.chain).to_bytes(4, "big"),
            place.block.hash,
            place.tx.id,
            place.index.to_bytes(8, "big"),
        )
    )
    return ObservationId(sha256(head + _content(observation)).digest())


def by_id(observations: Iterable[Observation]) -> dict[ObservationId, Observation]:
    """Observations in their order, each under its content-derived id."""
    return {observation_id(one): one for one in observations}


def _content(observation: Observation) -> bytes:
    match observation:
        case BurnFinal(message=message):
            return message.pack()
        case OrphanBurn() as orphan:
            return orphan.asset + orphan.nonce + orphan.amount.to_bytes(8, "big")
        case SupplyMoved() as moved:
            return moved.asset + str(moved.token_units).encode()
        case RoleMoved() as role:
            return bytes((role.role,)) + role.subject + role.holder
        case executed:
            key = _key(executed.destination, executed.source, executed.nonce)
            return key + _executed_content(executed)


def _executed_content(
    observation: ReleaseFinal | CancelFinal | ReleaseSkipped | MintParked,
) -> bytes:
    match observation:
        case ReleaseFinal() as release:
            return release.asset + release.recipient + release.amount.to_bytes(8, "big")
        case ReleaseSkipped(reason=reason):
            return bytes((reason,))
        case CancelFinal(asset=asset) | MintParked(asset=asset):
            return asset


def _key(destination: Domain, source: Domain, nonce: Nonce) -> bytes:
    return int(destination).to_bytes(4, "big") + int(source).to_bytes(4, "big") + nonce
