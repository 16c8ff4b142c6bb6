"""From logs to observations: an event of the bridge is believed only with its share movement.

Within one transaction, in order: a burn needs the sender's shares pulled into the bridge and as
many burned by the bridge; a release needs as many minted. What the token did beyond that is
`SupplyMoved`. Strangers' look-alikes (F03) and burns of a retired bridge (F07) count for
nothing and are counted; a registered bridge whose burn the token denies is believed by nobody:
`InvalidMessage`, and the page does not pass. A proven burn that names no valid transfer is an
`OrphanBurn`, never dropped. Where the multiplier is below one the bridge burns or mints a few
units of 10^-18 more or less than asked (its inventory); less than one message unit is allowed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

from xstock_chains.solidity.abi import words
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.contracts import (
    TOKEN_UNITS_PER_SHARE_UNIT,
    BridgeContract,
    ContractChain,
    TokenContract,
)
from xstock_chains.solidity.events import (
    BURNED,
    CANCELLED,
    GUARDS_CHANGED,
    NEW_BURNER,
    NEW_MINTER,
    NEW_PAUSER,
    OWNER_MOVED,
    RELEASED,
    SHARES_MOVED,
    SKIPPED,
    UPGRADED,
    Log,
)
from xstock_core.amount import InvalidAmount, parse_shares
from xstock_core.ids import (
    AssetId,
    Domain,
    InvalidId,
    counter_nonce,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
)
from xstock_core.message import Kind, make_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    Observation,
    OrphanBurn,
    Place,
    ReleaseFinal,
    ReleaseSkipped,
    Role,
    RoleMoved,
    SkipReason,
    SupplyMoved,
    TxRef,
)
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_NOBODY: Final = bytes(20)
_REASON_MAX: Final = 200
_ROLES: Final = {
    NEW_MINTER: Role.MINTER,
    NEW_BURNER: Role.BURNER,
    NEW_PAUSER: Role.PAUSER,
    UPGRADED: Role.CODE,
}
SKIP_REASONS: Final[Mapping[int, SkipReason]] = {
    1: SkipReason.ALREADY_RELEASED,
    2: SkipReason.ALREADY_CANCELLED,
    3: SkipReason.BRIDGE_PAUSED,
    4: SkipReason.ASSET_UNKNOWN,
    5: SkipReason.ASSET_PAUSED,
    7: SkipReason.RECIPIENT_REFUSED,
    8: SkipReason.RECIPIENT_REFUSED,
    10: SkipReason.BUCKET_EMPTY,
    11: SkipReason.ASSET_PAUSED,
}
"""XStockBridge.Skip in our words; 6, 9 and 12 (zero, screen or token unavailable) are UNKNOWN.

11, the token refuses every mint, is the token's own pause (or its role is lost, which RoleMoved
tells): the item waits for it, nobody's transfer is parked.
"""


Lane = tuple[bytes, int, int]
"""A counted burn's lane: bridge address, destination domain, counter."""
Found = tuple[Lane | None, Observation]
"""An observation, with the lane whose counter it moves if it is a counted burn."""


class Shares(NamedTuple):
    """One movement of token shares that nothing has explained yet."""

    token: TokenContract
    sender: bytes
    recipient: bytes
    units: int
    log_index: int


@dataclass(slots=True)
class TxShares:
    """The share movements of one transaction, in order, used up by the bridge's events."""

    pulls: list[Shares] = field(default_factory=list)
    burns: list[Shares] = field(default_factory=list)
    mints: list[Shares] = field(default_factory=list)

    def add(self, moved: Shares, bridges: Iterable[bytes]) -> None:
        """Sort one movement by what it can prove."""
        if moved.sender == _NOBODY:
            self.mints.append(moved)
        elif moved.recipient == _NOBODY:
            self.burns.append(moved)
        elif moved.recipient in bridges:
            self.pulls.append(moved)

    def use_burn(self, token: bytes, bridge: bytes, sender: bytes, units: int) -> bool:
        """Use up the pull and the burn that a burn event of `units` rests on, if both exist."""
        pull = _last(
            self.pulls,
            lambda one: (
                one.token.address == token
                and one.recipient == bridge
                and one.sender == sender
                and one.units == units
            ),
        )
        burn = _last(
            self.burns,
            lambda one: (
                one.token.address == token
                and one.sender == bridge
                and abs(one.units - units) < TOKEN_UNITS_PER_SHARE_UNIT
            ),
        )
        if pull is None or burn is None:
            return False
        del self.pulls[pull], self.burns[burn]
        return True

    def use_mint(self, token: bytes, bridge: bytes, recipient: bytes, units: int) -> bool:
        """Use up the mint that a release of `units` rests on, if it exists: to the recipient
        exactly, or to the bridge that then passed the shares on."""
        mint = _last(
            self.mints,
            lambda one: (
                one.token.address == token
                and (
                    (one.recipient == recipient and one.units == units)
                    or (
                        one.recipient == bridge
                        and abs(one.units - units) < TOKEN_UNITS_PER_SHARE_UNIT
                    )
                )
            ),
        )
        if mint is None:
            return False
        del self.mints[mint]
        return True

    def unexplained(self) -> list[tuple[Shares, int]]:
        """(movement, change of supply) of mints and burns that no event explains."""
        return [(one, one.units) for one in self.mints] + [(one, -one.units) for one in self.burns]


def _last(found: Sequence[Shares], fits: Callable[[Shares], bool]) -> int | None:
    for at in range(len(found) - 1, -1, -1):
        if fits(found[at]):
            return at
    return None


class Evidence:
    """Turns the logs of final blocks into observations, for one chain."""

    def __init__(self, chain: ContractChain) -> None:
        self.rejected: Counter[str] = Counter()
        """How many logs were refused, by reason: `emitter`, `unregistered`, `retired`."""
        self._chain = chain
        self._domain = chain.domain
        self._bridges = {bridge.address: bridge for bridge in chain.bridges}
        self._tokens = {token.address: token for token in chain.tokens}
        self._by_asset = chain.by_asset()

    def observe(self, blocks: Mapping[int, BlockRef], logs: Sequence[Log]) -> list[Found]:
        """Observations in chain order, each burn with its lane."""
        found: list[Found] = []
        for tx, part in groupby(logs, key=lambda log: log.tx):
            found.extend(self._transaction(TxRef(self._domain, tx), blocks, list(part)))
        return found

    def _transaction(
        self, tx: TxRef, blocks: Mapping[int, BlockRef], logs: Sequence[Log]
    ) -> list[Found]:
        block = self.block_of(blocks, logs[0])
        shares = TxShares()
        found: list[Found] = []
        for log in logs:
            place = Place(block, tx, log.log_index)
            bridge = self._bridges.get(log.address)
            if bridge is not None and log.topics:
                found.extend(self._bridge_event(bridge, log, place, shares))
            elif log.address in self._tokens and log.topics:
                found.extend(self._token_event(log, place, shares))
            elif self.is_look_alike(log):
                self.rejected["emitter"] += 1
        moved = shares.unexplained()
        if moved:
            for one, change in moved:
                place = Place(block, tx, one.log_index)
                found.append((None, SupplyMoved(one.token.asset, change, place)))
            found.sort(key=lambda pair: pair[1].place.index)
        return found

    def block_of(self, blocks: Mapping[int, BlockRef], log: Log) -> BlockRef:
        """The linked block of a log's block; raises InvalidMessage if the log is of another."""
        block = blocks.get(log.block_number)
        if block is None or block.hash != log.block_hash:
            text = f"a log claims block {log.block_number} 0x{log.block_hash.hex()}, not final"
            raise InvalidMessage("LOG_NOT_FINAL", text, {"number": log.block_number})
        return block

    def is_look_alike(self, log: Log) -> bool:
        """True for a stranger's log that looks like one of a bridge."""
        return bool(log.topics) and log.topics[0] in (BURNED, RELEASED, CANCELLED, SKIPPED)

    def _bridge_event(
        self, bridge: BridgeContract, log: Log, place: Place, shares: TxShares
    ) -> list[Found]:
        if log.block_number < bridge.deployed_block:
            self.rejected["unregistered"] += 1
            return []
        if bridge.retired_block is not None and log.block_number > bridge.retired_block:
            self.rejected["retired"] += 1
            return []
        try:
            if log.topics[0] == BURNED:
                lane = (bridge.address, _number(log, 2), _number(log, 3))
                return [(lane, self._burn(bridge, log, place, shares))]
            other = self._other_bridge_event(bridge, log, place, shares)
        except (InvalidId, InvalidAmount) as error:
            text = f"an event of bridge 0x{bridge.address.hex()} cannot be read: {error}"
            raise InvalidMessage("EVENT_MALFORMED", text, {"tx": place.tx.id.hex()}) from error
        return [] if other is None else [(None, other)]

    def _other_bridge_event(
        self, bridge: BridgeContract, log: Log, place: Place, shares: TxShares
    ) -> Observation | None:
        kind = log.topics[0]
        if kind == RELEASED:
            return self._release(bridge, log, place, shares)
        if kind == CANCELLED:
            return CancelFinal(
                self._domain,
                parse_domain(_number(log, 2), "source"),
                parse_nonce(log.data[:32]),
                parse_asset_id(_topic(log, 1)),
                place,
            )
        if kind == SKIPPED:
            _, reason = words(log.data, 2, "ReleaseSkipped")
            return ReleaseSkipped(
                self._domain,
                parse_domain(_number(log, 1), "source"),
                parse_nonce(log.data[:32]),
                SKIP_REASONS.get(reason, SkipReason.UNKNOWN),
                place,
            )
        if kind == GUARDS_CHANGED:
            holder = keccak256(_topic(log, 1) + log.data)
            return RoleMoved(Role.GUARD_SET, bridge.wire, holder, place)
        if kind == OWNER_MOVED:
            return RoleMoved(Role.OWNER, bridge.wire, _topic(log, 2), place)
        return None

    def _burn(
        self, bridge: BridgeContract, log: Log, place: Place, shares: TxShares
    ) -> BurnFinal | OrphanBurn:
        sender_word, refund_word, _, amount = words(log.data, 4, "BurnedToBridge")
        sender = sender_word.to_bytes(32, "big")
        asset, destination, counter = _topic(log, 1), _number(log, 2), _number(log, 3)
        nonce = counter_nonce(bridge.wire, counter, keccak256)
        try:
            token = self._by_asset.get(AssetId(asset))
            if token is None:
                raise InvalidId("asset", asset.hex(), "the registry does not know it here")
            self.prove_burn(bridge, token, sender[12:], amount, place, shares)
            redeem = destination == Domain.CUSTODY
            message = make_message(
                kind=Kind.REDEEM if redeem else Kind.TRANSFER,
                source=self._domain,
                destination=destination,
                nonce=nonce,
                source_bridge=bridge.wire,
                asset=asset,
                refund_address=refund_word.to_bytes(32, "big"),
                recipient=log.data[64:96],
                amount=amount,
            )
            owner = parse_address(sender, self._domain, "sender")
        except (InvalidId, InvalidAmount) as error:
            return OrphanBurn(
                asset=parse_asset_id(asset),
                owner=to_wire(sender[12:]),
                amount=parse_shares(amount),
                reason=str(error)[:_REASON_MAX],
                nonce=nonce,
                place=place,
            )
        return BurnFinal(message, message.transfer_id(keccak256), owner, counter, place)

    def prove_burn(
        self,
        bridge: BridgeContract,
        token: TokenContract,
        sender: bytes,
        amount: int,
        place: Place,
        shares: TxShares,
    ) -> None:
        """SECURITY: without this a bridge event alone would mint elsewhere (F04, F06)."""
        units = amount * TOKEN_UNITS_PER_SHARE_UNIT
        if not shares.use_burn(token.address, bridge.address, sender, units):
            raise _unproven("BURN_UNPROVEN", token, amount, place)

    def _release(
        self, bridge: BridgeContract, log: Log, place: Place, shares: TxShares
    ) -> ReleaseFinal:
        _, recipient_word, amount = words(log.data, 3, "Released")
        recipient = recipient_word.to_bytes(32, "big")
        asset = parse_asset_id(_topic(log, 1))
        token = self._by_asset.get(asset)
        if token is None:
            raise InvalidId("asset", asset.hex(), "the registry does not know it here")
        units = amount * TOKEN_UNITS_PER_SHARE_UNIT
        if not shares.use_mint(token.address, bridge.address, recipient[12:], units):
            raise _unproven("RELEASE_UNPROVEN", token, amount, place)
        return ReleaseFinal(
            self._domain,
            parse_domain(_number(log, 2), "source"),
            parse_nonce(log.data[:32]),
            asset,
            parse_address(recipient, self._domain, "recipient"),
            parse_shares(amount),
            place,
        )

    def _token_event(self, log: Log, place: Place, shares: TxShares) -> list[Found]:
        token = self._tokens[log.address]
        kind = log.topics[0]
        if kind == SHARES_MOVED:
            (units,) = words(log.data, 1, "TransferShares")
            sender, recipient = _topic(log, 1)[12:], _topic(log, 2)[12:]
            shares.add(Shares(token, sender, recipient, units, log.log_index), self._bridges)
            return []
        subject = to_wire(token.address)
        if kind == OWNER_MOVED:
            return [(None, RoleMoved(Role.OWNER, subject, _topic(log, 2), place))]
        if kind in _ROLES:
            return [(None, RoleMoved(_ROLES[kind], subject, _topic(log, 1), place))]
        return []


def _topic(log: Log, number: int) -> bytes:
    if len(log.topics) <= number:
        raise InvalidId("topics", len(log.topics), f"the event has at least {number + 1}")
    return log.topics[number]


def _number(log: Log, number: int) -> int:
    return int.from_bytes(_topic(log, number), "big")


def _unproven(code: str, token: TokenContract, amount: int, place: Place) -> InvalidMessage:
    tx = place.tx.id.hex()
    text = (
        f"the bridge says {amount} of {token.symbol} in 0x{tx}, the token's share events in that "
        "transaction do not; compare with other nodes and check the token's code"
    )
    return InvalidMessage(code, text, {"tx": tx, "asset": token.symbol, "amount": amount})
