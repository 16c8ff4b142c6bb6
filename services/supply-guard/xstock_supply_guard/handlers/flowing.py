"""What flows back, by this guard's own books: refunds, rejected redemptions, approved orphans.

A REFUND is never believed because somebody claims it: its burn is booked here, and so is what
excludes every other way for the shares (the final cancellation, custody's rejection, or two
people's approval of an orphan burn). The message itself is derived from the burn alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xstock_core.ids import Domain, TransferId
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal, CancelFinal, OrphanBurn
from xstock_core.refund import refund_of, refund_of_orphan
from xstock_core.release import ExecutionKey, key_of
from xstock_core.review import (
    BurnAbsent,
    Cancelled,
    Dissent,
    Evidence,
    NotApproved,
    NotCancelled,
    NotReached,
    OrphanApproved,
    Rejected,
)
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.belief import knows_bridge
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.model import Executed, ProposalKind, RedemptionState, Scan
from xstock_supply_guard.ports import GuardReads


@dataclass(frozen=True, slots=True)
class Flows:
    """What the books say of a page's redemptions and refunds."""

    refunded: Mapping[ExecutionKey, BurnFinal] = field(default_factory=dict)
    """Burns by what their refund is keyed by."""
    redemptions: Mapping[TransferId, RedemptionState] = field(default_factory=dict)
    orphans: Mapping[bytes, OrphanBurn] = field(default_factory=dict)
    """Orphan burns by the nonce of their refund."""
    orphans_approved: frozenset[bytes] = frozenset()
    """Their own nonces, where two people approved the refund."""
    approved: frozenset[TransferId] = frozenset()
    """Refunds that people have approved in spite of their size."""

    def closed(self, state: RedemptionState) -> frozenset[TransferId]:
        """The redemptions that custody has closed so."""
        return frozenset(key for key, found in self.redemptions.items() if found is state)


async def look_up_flows(unit: GuardReads, messages: Mapping[TransferId, TransferMessage]) -> Flows:
    """One look for a whole page; a page without redemptions and refunds asks nothing."""
    refunds = {key: m for key, m in messages.items() if m.kind is Kind.REFUND}
    redeems = {key for key, m in messages.items() if m.kind is Kind.REDEEM}
    if not refunds and not redeems:
        return Flows()
    keys = [key_of(message) for message in refunds.values()]
    refunded = await unit.burns_refunded_by(keys) if keys else {}
    rejected = {burn.transfer_id for burn in refunded.values()}
    nonces = {m.nonce for m in refunds.values() if m.source is m.destination}
    orphans = await unit.orphans_refunded_by(nonces) if nonces else {}
    return Flows(
        refunded=refunded,
        redemptions=await unit.redemptions(redeems | rejected),
        orphans=orphans,
        orphans_approved=await _approved_orphans(unit, orphans),
        approved=await _approved(unit, refunds, refunded),
    )


async def _approved_orphans(
    unit: GuardReads, orphans: Mapping[bytes, OrphanBurn]
) -> frozenset[bytes]:
    if not orphans:
        return frozenset()
    nonces = {bytes(orphan.nonce) for orphan in orphans.values()}
    given_up = await unit.approved(ProposalKind.WRITE_OFF, nonces)
    # SECURITY: written off and refunded, the shares would exist and be no exposure.
    return frozenset(await unit.approved(ProposalKind.ORPHAN_REFUND, nonces) - given_up)


async def _approved(
    unit: GuardReads,
    refunds: Mapping[TransferId, TransferMessage],
    refunded: Mapping[ExecutionKey, BurnFinal],
) -> frozenset[TransferId]:
    """People may name the REFUND or the transfer that flows back in it."""
    names: dict[bytes, TransferId] = {bytes(key): key for key in refunds}
    for key, message in refunds.items():
        burn = refunded.get(key_of(message))
        if burn is not None:
            names[bytes(burn.transfer_id)] = key
    if not names:
        return frozenset()
    given = await unit.approved(ProposalKind.REFUND, set(names))
    return frozenset(names[name] for name in given)


def refund_evidence(
    desk: Desk,
    message: TransferMessage,
    flows: Flows,
    executions: Mapping[ExecutionKey, Executed],
    scans: Mapping[Domain, Scan],
) -> Evidence:
    """What this guard knows that a REFUND stands on."""
    for chain in (message.source, message.destination):
        scan = scans.get(chain)
        if scan is not None and scan.dissent_since_ms is not None:
            return Dissent(chain)
    if message.source is message.destination:
        return _orphan_evidence(desk, message, flows)
    burn = flows.refunded.get(key_of(message))
    if message.source is Domain.CUSTODY:
        return _rejection_evidence(message, burn, flows)
    chain_config = desk.config.chains.get(message.source)
    # SECURITY: no block of any chain can make a stranger's bridge one of ours (F08).
    if chain_config is None or not knows_bridge(chain_config, message.source_bridge):
        return BurnAbsent(message.source)
    if burn is None:
        return NotReached(message.destination)
    executed = executions.get(key_of(burn.message))
    if executed is None:
        return NotCancelled(message.source)
    if not isinstance(executed.fact, CancelFinal):
        # SECURITY: what was released has nothing left to flow back.
        return BurnAbsent(message.source)
    refund = refund_of(burn.message, message.source_bridge, keccak256)
    return Cancelled(burn, executed.fact, refund)


def _rejection_evidence(message: TransferMessage, burn: BurnFinal | None, flows: Flows) -> Evidence:
    if burn is None or burn.message.kind is not Kind.REDEEM:
        return NotReached(message.destination)
    state = flows.redemptions.get(burn.transfer_id)
    if state is RedemptionState.REJECTED:
        return Rejected(burn, refund_of(burn.message, message.source_bridge, keccak256))
    # SECURITY: what custody has paid out must not be minted back.
    paid = state is RedemptionState.PAID
    return BurnAbsent(message.destination) if paid else NotCancelled(message.source)


def _orphan_evidence(desk: Desk, message: TransferMessage, flows: Flows) -> Evidence:
    chain = desk.config.chains.get(message.source)
    if chain is None or not knows_bridge(chain, message.source_bridge):
        return BurnAbsent(message.source)
    orphan = flows.orphans.get(message.nonce)
    if orphan is None:
        return NotReached(message.source)
    if orphan.nonce not in flows.orphans_approved:
        return NotApproved(message.source)
    return OrphanApproved(orphan, refund_of_orphan(orphan, message.source_bridge, keccak256))


async def began_at(
    unit: GuardReads, messages: Mapping[TransferId, TransferMessage]
) -> dict[TransferId, int]:
    """When a REFUND's nonce began: the final block time of its cancellation, in Unix seconds."""
    refunds = {k: m for k, m in messages.items() if m.kind is Kind.REFUND}
    burns = await unit.burns_refunded_by([key_of(m) for m in refunds.values()]) if refunds else {}
    executions = await unit.executions([key_of(burn.message) for burn in burns.values()])
    found: dict[TransferId, int] = {}
    for key, message in refunds.items():
        burn = burns.get(key_of(message))
        executed = executions.get(key_of(burn.message)) if burn is not None else None
        if executed is not None:
            found[key] = executed.fact.place.block.time
    return found
