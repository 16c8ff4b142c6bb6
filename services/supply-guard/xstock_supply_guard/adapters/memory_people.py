"""What people decided and what they are told, in memory: the twin of `postgres_people`."""

# ruff: noqa: D102 - ports.py says what each method promises

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace

from xstock_core.ids import AssetId, orphan_refund_nonce
from xstock_core.observation import OrphanBurn
from xstock_runtime.database import end_to_end
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.model import (
    Alarm,
    CorporateAction,
    Limits,
    Pause,
    Proposal,
    ProposalKind,
    RaisedAlarm,
)


@dataclass(slots=True)
class PeopleState:
    """Everything of people that survives; each field is copied for a unit of work."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    lifted: set[str] = field(default_factory=set)
    limits: dict[AssetId | None, Limits] = field(default_factory=dict)
    actions: dict[tuple[AssetId, str], CorporateAction] = field(default_factory=dict)
    high_water: dict[str, int] = field(default_factory=dict)
    orphans: dict[bytes, OrphanBurn] = field(default_factory=dict)
    standing: dict[tuple[str, str, str], RaisedAlarm] = field(default_factory=dict)
    told: list[RaisedAlarm] = field(default_factory=list)
    """Every alarm that was ever published, in order."""

    def __copy__(self) -> "PeopleState":
        return PeopleState(**{one.name: copy(getattr(self, one.name)) for one in fields(self)})


class PeopleMemory:
    """The part of a unit of work that is about people."""

    people: PeopleState

    async def proposal(self, proposal_id: str) -> Proposal | None:
        return self.people.proposals.get(proposal_id)

    async def proposals(self, since_ms: int, limit: int) -> Sequence[Proposal]:
        found = [
            one
            for one in self.people.proposals.values()
            if one.executed_ms is None or one.at_ms >= since_ms
        ]
        return sorted(found, key=lambda one: (-one.at_ms, one.id))[:limit]

    async def decisions(
        self, kind: ProposalKind, subjects: Collection[bytes]
    ) -> Sequence[Proposal]:
        done = sorted(
            (one.executed_ms, one.id, one)
            for one in self.people.proposals.values()
            if one.executed_ms and one.kind is kind and one.subject in subjects
        )
        return [one for _, _, one in done]

    async def approved(self, kind: ProposalKind, subjects: Collection[bytes]) -> set[bytes]:
        return {one.subject for one in await self.decisions(kind, subjects)}

    async def pause(self, pause_id: str) -> Pause | None:
        return self.people.pauses.get(pause_id)

    async def pauses(self, now: int) -> Sequence[Pause]:
        found = [
            one
            for one in self.people.pauses.values()
            if one.id not in self.people.lifted and one.until > now
        ]
        return sorted(found, key=lambda one: (one.at_ms, one.id))

    async def limits(self) -> Mapping[AssetId | None, Limits]:
        return self.people.limits

    async def corporate_actions(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, tuple[CorporateAction, ...]]:
        found: dict[AssetId, tuple[CorporateAction, ...]] = {}
        for (asset, _), action in sorted(self.people.actions.items(), key=lambda item: item[0]):
            if asset in assets:
                found[asset] = (*found.get(asset, ()), action)
        return found

    async def high_water(self, names: Collection[str]) -> Mapping[str, int]:
        known = self.people.high_water
        return {name: known[name] for name in names if name in known}

    async def orphans(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        end_to_end(nonces)
        known = self.people.orphans
        return {bytes(nonce): known[nonce] for nonce in nonces if nonce in known}

    async def orphans_refunded_by(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        end_to_end(nonces)
        known = self.people.orphans.values()
        by_refund = {bytes(orphan_refund_nonce(one.nonce, keccak256)): one for one in known}
        return {bytes(nonce): by_refund[nonce] for nonce in nonces if nonce in by_refund}

    def add_orphans(self, orphans: Sequence[OrphanBurn]) -> None:
        """Keep orphan burns; the first of a nonce stays."""
        for one in orphans:
            self.people.orphans.setdefault(one.nonce, one)

    async def alarms(self) -> Sequence[RaisedAlarm]:
        return sorted(
            self.people.standing.values(),
            key=lambda one: (one.at_ms, one.alarm.code, one.alarm.scope, one.alarm.about),
        )

    async def add_proposal(self, proposal: Proposal) -> None:
        self.people.proposals[proposal.id] = proposal

    async def approve_proposal(
        self, proposal_id: str, identity: str, reason: str, at_ms: int
    ) -> None:
        del reason, at_ms
        known = self.people.proposals[proposal_id]
        approvals = (*known.approvals, identity)
        self.people.proposals[proposal_id] = replace(known, approvals=approvals)

    async def execute_proposal(self, proposal_id: str, at_ms: int) -> None:
        known = self.people.proposals[proposal_id]
        if known.executed_ms is None:
            self.people.proposals[proposal_id] = replace(known, executed_ms=at_ms)

    async def add_pause(self, pause: Pause) -> None:
        self.people.pauses[pause.id] = pause

    async def lift_pause(self, pause_id: str, at_ms: int) -> None:
        del at_ms
        self.people.lifted.add(pause_id)

    async def save_limits(self, asset: AssetId | None, limits: Limits, at_ms: int) -> None:
        del at_ms
        self.people.limits[asset] = limits

    async def add_corporate_action(self, action: CorporateAction) -> None:
        known = self.people.actions.get((action.asset, action.event_id))
        if known is None or known.version < action.version:
            self.people.actions[action.asset, action.event_id] = action

    async def raise_high_water(self, name: str, value: int) -> None:
        self.people.high_water[name] = max(value, self.people.high_water.get(name, 0))

    async def alarm(self, alarms: Sequence[Alarm], at_ms: int) -> None:
        for one in alarms:
            key = (one.code, one.scope, one.about)
            if key not in self.people.standing:
                self.people.standing[key] = RaisedAlarm(one, at_ms)
                self.people.told.append(self.people.standing[key])

    async def calm(self, code: str, scopes: Collection[str], about: str | None = None) -> None:
        over = [
            key
            for key in self.people.standing
            if key[0] == code and key[1] in scopes and about in (None, key[2])
        ]
        for key in over:
            del self.people.standing[key]
