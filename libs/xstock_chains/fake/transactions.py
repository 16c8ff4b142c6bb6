"""Transactions of the fake chain: what is called, by whom, in which slot, at which fee.

Signed bytes are `sender 32 ‖ slot u64 ‖ fee u64 ‖ call kind u8 ‖ call ‖ signature 65`, and the
transaction id is their hash, so the same bytes are the same transaction for ever. Calls of the
issuer and of the deployment (mint outside the bridge, pause, rotate) have no byte form here: a
test or the devnet makes them on the chain itself.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from xstock_chains.fake.codec import recover_identity
from xstock_chains.fake.state import AssetRules, GuardSet
from xstock_core.ids import Address32, AssetId, Domain, parse_domain
from xstock_core.observation import Role
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_HEAD: Final = struct.Struct(">32sQQB")
_BURN: Final = struct.Struct(">32sI32s32sQ")
_SIGNATURE: Final = 65
_FILL, _RELEASE, _BURN_KIND = 0, 1, 2


@dataclass(frozen=True, slots=True)
class BurnCall:
    """Burn into the bridge; `amount` in shares."""

    asset: AssetId
    destination: Domain
    recipient: Address32
    refund_address: Address32
    amount: int


@dataclass(frozen=True, slots=True)
class ReleaseCall:
    """Submit an authorised batch, as the codec packs it."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class FillCall:
    """Do nothing, but use the slot."""


@dataclass(frozen=True, slots=True)
class MoveSupplyCall:
    """Mint (positive) or burn token units outside the bridge, as a stolen key would."""

    asset: AssetId
    holder: Address32
    token_units: int


@dataclass(frozen=True, slots=True)
class PlainBurnCall:
    """A holder burns without naming a transfer; `amount` in shares."""

    asset: AssetId
    amount: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetRulesCall:
    """Change an asset's switches."""

    asset: AssetId
    rules: AssetRules


@dataclass(frozen=True, slots=True)
class PauseBridgeCall:
    """Pause or un-pause the bridge."""

    paused: bool


@dataclass(frozen=True, slots=True)
class RotateGuardsCall:
    """Replace the guard set."""

    guards: GuardSet


@dataclass(frozen=True, slots=True)
class PauseCall:
    """The agent or a guard pauses a scope for a day: an asset, or zeros for the whole bridge."""

    scope: bytes


@dataclass(frozen=True, slots=True)
class ConfirmPauseCall:
    """A guard votes that a scope stays paused until it is lifted."""

    scope: bytes


@dataclass(frozen=True, slots=True)
class ProposeCall:
    """The admin announces a change by its id."""

    proposal: bytes


@dataclass(frozen=True, slots=True)
class UnpauseCall:
    """The admin lifts the pauses of a scope, as proposed."""

    scope: bytes


@dataclass(frozen=True, slots=True)
class ReplaceGuardsCall:
    """The admin brings in other guards, as proposed; the epoch in it is not looked at."""

    guards: GuardSet


@dataclass(frozen=True, slots=True)
class RefuseCall:
    """Make a recipient refuse what is released to it (frozen, blacklisted), or accept again."""

    recipient: Address32
    refuses: bool


@dataclass(frozen=True, slots=True)
class MoveRoleCall:
    """A watched right changes hands."""

    role: Role
    subject: Address32
    holder: bytes


GovernCall = PauseCall | ConfirmPauseCall | ProposeCall | UnpauseCall | ReplaceGuardsCall

Call = (
    BurnCall
    | ReleaseCall
    | FillCall
    | MoveSupplyCall
    | PlainBurnCall
    | SetRulesCall
    | PauseBridgeCall
    | RotateGuardsCall
    | RefuseCall
    | MoveRoleCall
    | GovernCall
)


@dataclass(frozen=True, slots=True)
class FakeTx:
    """A transaction as the chain holds it."""

    id: bytes
    sender: Address32
    slot: int
    fee: int
    call: Call


def tx_id(domain: Domain, raw: bytes) -> bytes:
    """The id of these signed bytes: 64 bytes where the fake stands for Solana, else 32."""
    return hashlib.sha512(raw).digest() if domain is Domain.SOLANA else keccak256(raw)


def encode_unsigned(sender: Address32, slot: int, fee: int, call: Call) -> bytes:
    """The bytes that the sender signs; raises InvalidMessage for a call without byte form."""
    match call:
        case FillCall():
            kind, body = _FILL, b""
        case ReleaseCall(packed=packed):
            kind, body = _RELEASE, packed
        case BurnCall() as burn:
            kind = _BURN_KIND
            body = _BURN.pack(
                burn.asset, burn.destination, burn.recipient, burn.refund_address, burn.amount
            )
        case _:
            raise InvalidMessage("NO_BYTE_FORM", f"{type(call).__name__} is made on the chain only")
    return _HEAD.pack(sender, slot, fee, kind) + body


def decode_unsigned(payload: bytes) -> tuple[Address32, int, int, Call]:
    """(sender, slot, fee, call) of unsigned bytes; raises InvalidMessage BAD_TRANSACTION."""
    try:
        sender, slot, fee, kind = _HEAD.unpack_from(payload)
        return Address32(sender), slot, fee, _decode_call(kind, payload[_HEAD.size :])
    except (struct.error, ValueError) as error:
        raise InvalidMessage(
            "BAD_TRANSACTION", f"transaction bytes cannot be read ({error}); prepare them again"
        ) from error


def _decode_call(kind: int, body: bytes) -> Call:
    if kind == _FILL and not body:
        return FillCall()
    if kind == _RELEASE:
        return ReleaseCall(body)
    if kind == _BURN_KIND:
        asset, destination, recipient, refund, amount = _BURN.unpack(body)
        return BurnCall(
            AssetId(asset),
            parse_domain(destination),
            Address32(recipient),
            Address32(refund),
            amount,
        )
    raise ValueError(f"call kind {kind}")


def decode_signed(domain: Domain, raw: bytes) -> FakeTx:
    """The transaction in signed bytes; raises InvalidMessage if the signature is not its own."""
    payload, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
    sender, slot, fee, call = decode_unsigned(payload)
    signer = recover_identity(keccak256(payload), signature).rjust(32, b"\0")
    if signer != sender:
        raise InvalidMessage(
            "WRONG_SIGNER", f"sender {sender.hex()} did not sign; {signer.hex()} did"
        )
    return FakeTx(tx_id(domain, raw), sender, slot, fee, call)


def unsigned_tx(domain: Domain, sender: Address32, slot: int, call: Call) -> FakeTx:
    """A transaction that a test or the devnet puts on the chain without a key."""
    raw = b"xstock/fake-call" + sender + slot.to_bytes(8, "big") + repr(call).encode()
    return FakeTx(tx_id(domain, raw), sender, slot, 0, call)
