"""A bridge small enough to try everything: two assets, three chains, three guards, one of them bad.

Method: explicit states, breadth first. Two guards are honest and run the real `decide`,
`may_sign`, ledger and reservations; the third signs anything for anybody, so what one honest
guard signs is executed: two of three is met. Chain three is compromised too and burns what it
never had. What may happen next is everything a relayer, a bad guard or fate could do. The two
honest guards are alike, so a state and its mirror image are one; what a guard does depends on
its own memory alone, so each such step is computed once and remembered. The promises are those of
`xstock_core.invariants`, asked at every state, at every signature and of every transfer's
`step`. A `Weakness` takes one rule out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from tests.builders import (
    CHAINS,
    GUARDS,
    ISSUER,
    NOW,
    NVDAX,
    TSLAX,
    a_bridge,
    a_burn,
    a_cancel,
    a_message,
    a_place,
    a_refund,
    a_release,
    all_routes,
    an_address,
    an_asset_view,
    an_attestation,
    an_issue,
    id_of,
    opened,
)
from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS, Shares
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.facts import (
    BurnFinalized,
    CancelFinalized,
    Fact,
    OrderAccepted,
    OrderVoided,
    RefundFinalized,
    RefundOpened,
    ReleaseAuthorized,
    ReleaseFinalized,
    VerdictGiven,
)
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.invariants import (
    InvariantId,
    InvariantViolation,
    at_most_once,
    chain_balances_kept,
    conserved,
    deterministic,
    ensure,
    every_release_has_final_burn,
    permit_bound,
    rate_kept,
    reservations_safe,
    same_content,
    within_cap,
)
from xstock_core.ledger import Balances, Entry, entries_of, entry_of_issue, exposure, post_all
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal, CancelFinal, ReleaseFinal
from xstock_core.policy import POLICIES, Policy, decide
from xstock_core.refusal import GRANTED, Granted, Reason, refuse
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, ReleaseItem, item_of, key_of
from xstock_core.reservation import (
    CancelProof,
    ExpiryProof,
    VoidProof,
    entry_of_issue_void,
    reserve,
)
from xstock_core.review import (
    Cancelled,
    Claim,
    Context,
    Evidence,
    IssueOrder,
    IssueSequence,
    NotCancelled,
    NotReached,
    Scope,
)
from xstock_core.signing import (
    PERMIT_SECONDS_MAX,
    SIGNING_POLICIES,
    Desk,
    Grant,
    grants_by_item,
    may_sign,
)
from xstock_core.transfer import Phase, open_transfer, phase_of, step, violations

UNIT = 7_200
"""One share of this world: the bucket refills it between the two times there are."""
TIMES: Final = (NOW, NOW + 7_200)
"""Before and after every deadline and expiry."""
EXPIRY: Final = NOW + 3_600
HELD: Final = 5
"""Custody's shares of the first asset: three are on chains, so one order of two fits."""
FALLEN: Final = 2
RATED: Final = BucketKey(TSLAX, Domain.ETHEREUM)
CAPACITY: Final = 2 * UNIT
FULL: Final = Bucket(CAPACITY, 1, CAPACITY, NOW)


class Name(StrEnum):
    """The messages of this world."""

    BURN = "burn of 1"
    FORGED = "claim of 2 for that burn"
    REFUND = "refund of that burn"
    HOLLOW = "burn of 2 by a chain that has 1"
    HOLLOW_REFUND = "refund of the hollow burn"
    OTHER = "burn of another asset"
    ORDER_1 = "order 1 of 2"
    ORDER_2 = "order 2 of 2"


_BURN = a_message(amount=UNIT, source=Domain.ETHEREUM, destination=Domain.BNB)
_HOLLOW = a_message(amount=2 * UNIT, source=Domain.MANTLE, destination=Domain.ETHEREUM)
MESSAGES: Final[Mapping[Name, TransferMessage]] = {
    Name.BURN: _BURN,
    Name.FORGED: replace(_BURN, amount=Shares(_BURN.amount * 2), recipient=an_address(66)),
    Name.REFUND: a_refund(_BURN),
    Name.HOLLOW: _HOLLOW,
    Name.HOLLOW_REFUND: a_refund(_HOLLOW),
    Name.OTHER: a_message(amount=UNIT, asset=NVDAX, counter=2),
    Name.ORDER_1: an_issue(amount=2 * UNIT, destination=Domain.ETHEREUM, order=1),
    Name.ORDER_2: an_issue(amount=2 * UNIT, destination=Domain.MANTLE, order=2),
}
IDS: Final = {name: id_of(message) for name, message in MESSAGES.items()}
ORDERS: Final = {Name.ORDER_1: 1, Name.ORDER_2: 2}
REFUNDED: Final = {Name.REFUND: Name.BURN, Name.HOLLOW_REFUND: Name.HOLLOW}
BURNS: Final = {
    name: a_burn(MESSAGES[name], place=a_place(MESSAGES[name].source, number=10))
    for name in (Name.BURN, Name.HOLLOW, Name.OTHER)
}
ASSETS: Final = (TSLAX, NVDAX)


class Saw(NamedTuple):
    """One line of a chain's final history; `turn` tells a second run of a key from the first."""

    what: str
    name: Name
    turn: int = 0


RELEASED, CANCELLED, BURNED, VANISHED = "released", "cancelled", "burned", "vanished"


def observed(saw: Saw) -> BurnFinal | ReleaseFinal | CancelFinal | None:
    """The observation of this line; None for one that disappeared."""
    message = MESSAGES[saw.name]
    place = a_place(message.destination, number=20 + saw.turn)
    match saw.what:
        case "burned":
            return BURNS[saw.name]
        case "released":
            return a_release(message, place=place)
        case "cancelled":
            return a_cancel(message, place=place)
        case _:
            return None


_OBSERVED: Final = {
    Saw(what, name, turn): observed(Saw(what, name, turn))
    for name in Name
    for what in (RELEASED, CANCELLED, *((BURNED, VANISHED) if name in BURNS else ()))
    for turn in (0, 1)
}
History = tuple[Saw, ...]
Log = tuple[History, History, History]
NOTHING: Final[Log] = ((), (), ())


def opening() -> list[Entry]:
    """One share of either asset on each chain."""
    return [entry for asset in ASSETS for entry in opened(asset, UNIT)[1]]


OPENING: Final = tuple(opening())


class Permit(NamedTuple):
    """A signature that one honest guard gave; with the bad guard's it is executable."""

    name: Name
    action: Action
    time: int


@dataclass(frozen=True)
class Weakness:
    """Which rule is taken out; by default none."""

    policies: Sequence[Policy] = POLICIES
    signing: Sequence[Policy] = SIGNING_POLICIES
    bitmap: bool = True
    """Whether a destination refuses a key that it has run."""
    bound: bool = True
    """Whether a guard signs only what it has granted."""
    proof: bool = True
    """Whether a guard needs a proof to void a reservation."""


@dataclass(frozen=True)
class Guard:
    """The memory of an honest guard. Everything it decides follows from this."""

    read: Log = NOTHING
    granted: frozenset[tuple[Name, Action]] = frozenset()
    signed: frozenset[Permit] = frozenset()
    voided: frozenset[Name] = frozenset()
    through: int = 0
    bucket: Bucket = FULL
    waiting: tuple[tuple[BucketKey, tuple[TransferId, ...]], ...] = ()
    moves: tuple[tuple[int, int], ...] = ()
    fallen: bool = False
    """Whether its latest attestation says that custody holds less than exists."""

    @cached_property
    def facts(self) -> frozenset[Saw]:
        return frozenset(saw for history in self.read for saw in history)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """What it has booked: openings, facts, and its own reservations and voids."""
        made = [*OPENING]
        for saw in sorted(self.facts):
            fact = _OBSERVED[saw]
            made += entries_of(fact) if fact is not None else ()
        for name in sorted(ORDERS):
            if (name, Action.RELEASE) in self.granted:
                made.append(entry_of_issue(MESSAGES[name]))
            if name in self.voided:
                made.append(_void_entry(name, CancelProof(a_cancel(MESSAGES[name]))))
        return post_all({}, frozenset(), made)[1]

    @cached_property
    def balances(self) -> Balances:
        return post_all({}, frozenset(), self.entries)[0]

    def limit(self, asset: AssetId) -> int:
        shares = (FALLEN if self.fallen else HELD) if asset == TSLAX else 10
        return shares * UNIT

    def context(self, now: int) -> Context:
        done = {
            key_of(MESSAGES[saw.name]) for saw in self.facts if saw.what in (RELEASED, CANCELLED)
        }
        views = {
            asset: an_asset_view(
                attestation=an_attestation(
                    asset=asset,
                    held_units=self.limit(asset),
                    held_decimals=SHARE_DECIMALS,
                    multiplier=MULTIPLIER_ONE,
                ),
                attestation_age_max=10**6,
                issuance=IssueSequence(self.through, ISSUER) if asset == TSLAX else None,
            )
            for asset in ASSETS
        }
        return Context(
            now=now,
            balances=self.balances,
            assets=views,
            routes=all_routes(ASSETS),
            buckets={RATED: self.bucket},
            waiting=dict(self.waiting),
            halted=frozenset(
                Scope(source=MESSAGES[saw.name].source)
                for saw in self.facts
                if saw.what == VANISHED
            ),
            executed=frozenset(IDS[name] for name in Name if key_of(MESSAGES[name]) in done),
            granted=frozenset(
                IDS[name] for name, action in self.granted if action is Action.RELEASE
            ),
        )

    def evidence(self, name: Name) -> Evidence:
        """What its own reading says of a claim."""
        message = MESSAGES[name]
        if name in ORDERS:
            return IssueOrder(message, ORDERS[name], EXPIRY, signature_valid=True)
        burn_name = REFUNDED.get(name, Name.BURN if name is Name.FORGED else name)
        if Saw(BURNED, burn_name) not in self.facts:
            return NotReached(MESSAGES[burn_name].source)
        if name not in REFUNDED:
            return BURNS[burn_name]
        if Saw(CANCELLED, burn_name) not in self.facts:
            return NotCancelled(message.source)
        return Cancelled(BURNS[burn_name], a_cancel(MESSAGES[burn_name]), message)

    @property
    def proven(self) -> set[ExecutionKey]:
        """The keys that its own reading justifies now."""
        gone = {saw.name for saw in self.facts if saw.what == VANISHED}
        burned = {saw.name for saw in self.facts if saw.what == BURNED} - gone
        back = {n for n, burn in REFUNDED.items() if Saw(CANCELLED, burn) in self.facts}
        return {key_of(MESSAGES[name]) for name in burned | back | set(ORDERS)}


def _void_entry(name: Name, proof: VoidProof) -> Entry:
    order = MESSAGES[name]
    return entry_of_issue_void(order, reserve(order, IDS[name], EXPIRY), proof)


# --- what an honest guard does; pure, so each is computed once ------------------------------


def learn(guard: Guard, chain: int, history: History) -> Guard:
    """Read a chain to its end: facts are booked, a reserved order that was cancelled is voided."""
    read = _with_history(guard.read, chain, history)
    new = [saw for saw in history if saw not in guard.read[chain]]
    after = replace(guard, read=read)
    for saw in new:
        if saw.name in ORDERS and saw.what == CANCELLED:
            if (saw.name, Action.RELEASE) in guard.granted and saw.name not in guard.voided:
                _void_entry(saw.name, CancelProof(a_cancel(MESSAGES[saw.name])))
                after = replace(after, voided=after.voided | {saw.name})
        elif saw.name in ORDERS and saw.what == RELEASED:
            after = _advanced(after)
    ensure(
        conserved(after.balances, after.entries),
        InvariantId.CONSERVATION,
        f"{guard.read} and {new}",
    )
    return after


def _with_history(log: Log, chain: int, history: History) -> Log:
    one, two, three = (history if at == chain else old for at, old in enumerate(log))
    return one, two, three


def _advanced(guard: Guard) -> Guard:
    """The sequence over every order that is reserved or was executed."""
    closed = {n for n, a in guard.granted if a is Action.RELEASE} | {
        saw.name for saw in guard.facts if saw.what == RELEASED
    }
    through = guard.through
    while any(number == through + 1 and name in closed for name, number in ORDERS.items()):
        through += 1
    return replace(guard, through=through)


def review(guard: Guard, name: Name, action: Action, time: int, weak: Weakness) -> Guard:
    """Decide one claim with the real policies and keep what the decision takes."""
    claim = Claim(IDS[name], MESSAGES[name], guard.evidence(name), action)
    decision = decide(guard.context(TIMES[time]), [claim], weak.policies)
    after = replace(guard, waiting=tuple(sorted(decision.waiting.items(), key=repr)))
    if not isinstance(decision.verdicts[0], Granted):
        return after
    moves = guard.moves
    fresh = (name, action) not in guard.granted and action is Action.RELEASE
    if fresh and MESSAGES[name].destination is RATED.destination:
        moves = (*moves, (TIMES[time], MESSAGES[name].amount)) if _rated(name) else moves
    after = replace(
        after,
        granted=guard.granted | {(name, action)},
        bucket=decision.buckets.get(RATED, guard.bucket),
        moves=moves,
    )
    kept = rate_kept(moves, CAPACITY, 1)
    ensure(kept, InvariantId.RATE, f"granted {moves}")
    if TSLAX in decision.sequences:
        after = replace(after, through=decision.sequences[TSLAX].reserved_through)
    ensure(
        conserved(after.balances, after.entries),
        InvariantId.CONSERVATION,
        f"granted {name}",
    )
    return after


def _rated(name: Name) -> bool:
    return MESSAGES[name].asset == RATED.asset


def sign(guard: Guard, name: Name, action: Action, time: int, weak: Weakness) -> Guard:
    """Sign a batch of one, if `may_sign` lets it; what left is checked against the promises."""
    message, now = MESSAGES[name], TIMES[time]
    deadline = now + (1_800 if time == 0 else PERMIT_SECONDS_MAX)
    item = item_of(message, action)
    asked = ReleaseBatch(message.destination, a_bridge(message.destination), 1, deadline, (item,))
    desk = Desk(
        enabled=True,
        bridges={asset: a_bridge(message.destination) for asset in ASSETS},
        epoch=1,
        final_time=now,
        grants=_grants(guard, item, name, weak),
    )
    verdict = may_sign(guard.context(now), desk, asked, weak.signing)
    if not isinstance(verdict, Granted):
        return guard
    _check_signature(guard, name, action, now, deadline)
    return replace(guard, signed=guard.signed | {Permit(name, action, time)})


def _grants(
    guard: Guard, item: ReleaseItem, name: Name, weak: Weakness
) -> Mapping[ReleaseItem, Grant]:
    if not weak.bound:
        return {item: Grant(IDS[name], MESSAGES[name])}
    found: dict[ReleaseItem, Grant] = {}
    for action in Action:
        kept = [
            Grant(IDS[n], MESSAGES[n], EXPIRY if n in ORDERS else None)
            for n, granted in guard.granted
            if granted is action
        ]
        found.update(grants_by_item(kept, action))
    return found


def _check_signature(guard: Guard, name: Name, action: Action, now: int, deadline: int) -> None:
    message = MESSAGES[name]
    ensure(
        permit_bound(
            deadline=deadline,
            final_time=now,
            seconds_max=PERMIT_SECONDS_MAX,
            asked=(message.destination, a_bridge(message.destination), 1),
            registered=(message.destination, a_bridge(message.destination), 1),
        ),
        InvariantId.PERMIT,
        f"signed {name} until {deadline}",
    )
    if action is Action.CANCEL:
        return
    ensure(
        every_release_has_final_burn([key_of(message)], guard.proven),
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
        f"signed {name}, which its own reading does not show",
    )
    used, limit = exposure(guard.balances, message.asset), guard.limit(message.asset)
    ensure(
        within_cap(Kind.TRANSFER, used, 0, limit),
        InvariantId.CAP,
        f"signed {name} at exposure {used} of {limit}",
    )


def void(guard: Guard, name: Name, time: int, weak: Weakness) -> Guard:
    """Give an expired order up: the destination was read to its end after the last deadline."""
    if (name, Action.RELEASE) not in guard.granted or name in guard.voided:
        return guard
    chain = MESSAGES[name].destination
    done = {Saw(RELEASED, name), Saw(CANCELLED, name)} & guard.facts
    if done:
        return guard
    block = replace(a_place(chain, number=50).block, time=TIMES[time])
    proof = ExpiryProof(key_of(MESSAGES[name]), EXPIRY, block, block)
    if weak.proof:
        try:
            _void_entry(name, proof)
        except InvariantViolation:
            return guard
    return replace(guard, voided=guard.voided | {name})


# --- the whole -----------------------------------------------------------------------------


class State(NamedTuple):
    """All there is: the chains, two honest guards by number, and which time it is."""

    log: int
    first: int
    second: int
    time: int


class Doing(NamedTuple):
    """What happens next: at the guard whose memory is `mine` (None: on a chain)."""

    word: str
    mine: int | None = None


Step = tuple[Doing, State]


@dataclass(frozen=True)
class Alphabet:
    """Which messages may be burned, ordered and claimed, and what else may happen."""

    names: tuple[Name, ...]
    vanish: bool = False
    fall: bool = False
    expire: bool = False
    cancel: bool = True


@dataclass
class World:
    """Every state that can be reached, and the promises asked of each."""

    alphabet: Alphabet
    weak: Weakness = field(default_factory=Weakness)

    def __post_init__(self) -> None:
        self.logs: list[Log] = []
        self.guards: list[Guard] = []
        self._log_ids: dict[Log, int] = {}
        self._guard_ids: dict[Guard, int] = {}
        self._moves: dict[tuple[object, ...], int] = {}
        self._local: dict[tuple[int, int], tuple[tuple[str, int], ...]] = {}
        self._checked: set[tuple[object, ...]] = set()
        self.doing = Doing("")
        self.start = State(self.log_id(NOTHING), self.guard_id(Guard()), self.guard_id(Guard()), 0)

    def log_id(self, log: Log) -> int:
        """The number of this history; its promises are asked the first time."""
        known = self._log_ids.get(log)
        if known is None:
            check_log(log)
            known = self._log_ids[log] = len(self.logs)
            self.logs.append(log)
        return known

    def guard_id(self, guard: Guard) -> int:
        """The number of this memory."""
        known = self._guard_ids.get(guard)
        if known is None:
            known = self._guard_ids[guard] = len(self.guards)
            self.guards.append(guard)
        return known

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that can happen next; `doing` says what is being tried."""
        for word, after in self._chains_steps(state):
            yield Doing(word), after
        guards = (state.first, state.second)
        for mine, other in {guards: None, guards[::-1]: None}:
            for word, number in self._local_steps(mine, state.time):
                yield Doing(word, mine), self._with(state, other, number)
            for word, number in self._reading_steps(mine, state):
                yield Doing(word, mine), self._with(state, other, number)

    # what happens at guards

    def _with(self, state: State, one: int, two: int) -> State:
        first, second = (one, two) if one <= two else (two, one)
        return State(state.log, first, second, state.time)

    def _local_steps(self, number: int, time: int) -> tuple[tuple[str, int], ...]:
        """Reviews, signatures and news that need nothing but this guard's own memory."""
        known = self._local.get((number, time))
        if known is not None:
            return known
        guard, found = self.guards[number], []
        for name, action in self._asked():
            for word, act in (("review", review), ("sign", sign)):
                self.doing = Doing(f"{word} {action.name} of {name}", number)
                after = act(guard, name, action, time, self.weak)
                found.append((self.doing.word, self.guard_id(after)))
        if self.alphabet.fall:
            found.append(("collateral falls", self.guard_id(replace(guard, fallen=True))))
        if not self.weak.proof:
            found += self._voids(number, time)
        kept = self._local[number, time] = tuple(f for f in found if f[1] != number)
        return kept

    def _asked(self) -> Iterator[tuple[Name, Action]]:
        for name in self.alphabet.names:
            yield name, Action.RELEASE
            if self.alphabet.cancel and name not in REFUNDED and name is not Name.FORGED:
                yield name, Action.CANCEL

    def _voids(self, number: int, time: int) -> list[tuple[str, int]]:
        orders = [name for name in self.alphabet.names if name in ORDERS]
        return [
            (f"void {name}", self.guard_id(void(self.guards[number], name, time, self.weak)))
            for name in orders
        ]

    def _reading_steps(self, number: int, state: State) -> Iterator[tuple[str, int]]:
        log, guard = self.logs[state.log], self.guards[number]
        behind = False
        for chain in range(3):
            if log[chain] != guard.read[chain]:
                behind = True
                key = (number, chain, log[chain])
                after = self._moves.get(key)
                if after is None:
                    self.doing = Doing(f"read chain {chain + 1}", number)
                    after = self.guard_id(learn(guard, chain, log[chain]))
                    self._moves[key] = after
                yield f"read chain {chain + 1}", after
        if self.alphabet.expire and state.time == 1 and not behind and self.weak.proof:
            yield from ((word, n) for word, n in self._voids(number, 1) if n != number)

    # what happens on chains

    def _chains_steps(self, state: State) -> Iterator[tuple[str, State]]:
        log = self.logs[state.log]
        for name in self.alphabet.names:
            if name in BURNS and Saw(BURNED, name) not in log[_at(MESSAGES[name].source)]:
                yield f"{name}", self._add(state, MESSAGES[name].source, Saw(BURNED, name))
        burned = Saw(BURNED, Name.BURN) in log[0] and Saw(VANISHED, Name.BURN) not in log[0]
        if self.alphabet.vanish and burned:
            gone = Saw(VANISHED, Name.BURN)
            yield "the final burn vanishes", self._add(state, Domain.ETHEREUM, gone)
        if self.alphabet.expire and state.time == 0:
            yield "every deadline passes", state._replace(time=1)
        permits = self.guards[state.first].signed | self.guards[state.second].signed
        for permit in sorted(permits):
            if permit.time == state.time:
                yield from self._land(state, permit)

    def _land(self, state: State, permit: Permit) -> Iterator[tuple[str, State]]:
        """A contract runs a permit in time, signed by one honest guard and the bad one."""
        message = MESSAGES[permit.name]
        history = self.logs[state.log][_at(message.destination)]
        runs = [
            saw
            for saw in history
            if saw.what in (RELEASED, CANCELLED) and key_of(MESSAGES[saw.name]) == key_of(message)
        ]
        if len(runs) >= (1 if self.weak.bitmap else 2):
            return
        what = RELEASED if permit.action is Action.RELEASE else CANCELLED
        saw = Saw(what, permit.name, len(runs))
        self.doing = Doing(f"{permit.name} is {what}")
        yield self.doing.word, self._add(state, message.destination, saw)

    def _add(self, state: State, chain: Domain, saw: Saw) -> State:
        log, at = self.logs[state.log], _at(chain)
        after = _with_history(log, at, (*log[at], saw))
        return state._replace(log=self.log_id(after))

    # the promises that need more than one part

    def check(self, state: State) -> None:
        """INV-07 between guards and chains, and every transfer's own machine."""
        log = self.logs[state.log]
        guards = (self.guards[state.first], self.guards[state.second])
        for guard in guards:
            if guard.voided:
                voided = {key_of(MESSAGES[name]) for name in guard.voided}
                executed = [key_of(MESSAGES[s.name]) for h in log for s in h if s.what == RELEASED]
                safe = reservations_safe(voided, executed)
                ensure(safe, InvariantId.RESERVATION_SAFETY, "a voided order was released")
        lines = frozenset(saw for history in log for saw in history)
        for name in self.alphabet.names:
            if name not in REFUNDED and name is not Name.FORGED:
                self._check_transfer(name, lines, guards)

    def _check_transfer(
        self, name: Name, lines: frozenset[Saw], guards: tuple[Guard, Guard]
    ) -> None:
        refund = next((r for r, burn in REFUNDED.items() if burn is name), None)
        about = frozenset(saw for saw in lines if saw.name in (name, refund))
        words = tuple(
            ((name, Action.RELEASE) in g.granted, (name, Action.CANCEL) in g.granted)
            for g in guards
        )
        signed = frozenset(p for g in guards for p in g.signed if p.name is name)
        voided = all(name in g.voided for g in guards)
        key = (name, about, words, signed, voided)
        if key not in self._checked:
            self._checked.add(key)
            check_transfer(name, about, words, signed, voided=voided)


def _at(chain: Domain) -> int:
    return CHAINS.index(chain)


# --- promises about chains alone --------------------------------------------------------------


def check_log(log: Log) -> None:
    """INV-01 to INV-06 of what really happened, whatever anybody believes."""
    lines = [saw for history in log for saw in history]
    facts = [fact for saw in lines if (fact := _OBSERVED[saw]) is not None]
    releases = [(saw, fact) for saw, fact in zip(lines, map(_OBSERVED.get, lines), strict=True)]
    minted = [(saw, fact) for saw, fact in releases if isinstance(fact, ReleaseFinal)]
    burned = {saw.name for saw in lines if saw.what == BURNED}
    back = {name for name, burn in REFUNDED.items() if Saw(CANCELLED, burn) in lines}
    proven = {key_of(MESSAGES[name]) for name in (*burned, *back, *ORDERS)}
    ensure(
        every_release_has_final_burn([key_of(MESSAGES[s.name]) for s, _ in minted], proven),
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
        f"{lines}",
    )
    ends = [REFUNDED.get(saw.name, saw.name) for saw, _ in minted]
    ends = [Name.BURN if name is Name.FORGED else name for name in ends]
    ensure(at_most_once(ends), InvariantId.AT_MOST_ONCE, f"{lines}")
    true = {key_of(m): m for name, m in MESSAGES.items() if name is not Name.FORGED}
    for saw, fact in minted:
        same = same_content(fact, true[key_of(MESSAGES[saw.name])])
        ensure(same, InvariantId.SAME_CONTENT, f"{saw.name}")
    balances, entries = post_all({}, frozenset(), [*OPENING, *_entries(facts)])
    used = exposure(balances, TSLAX)
    ensure(used <= HELD * UNIT, InvariantId.CAP, f"{used} exist, {HELD * UNIT} are held")
    ensure(conserved(balances, entries), InvariantId.CONSERVATION, f"{lines}")
    paid = {REFUNDED.get(saw.name, saw.name) for saw, _ in minted} & set(BURNS)
    honoured = [BURNS[name] for name in sorted(paid)]
    book, _ = post_all({}, frozenset(), [*OPENING, *_entries([*honoured, *(f for _, f in minted)])])
    ensure(chain_balances_kept(book), InvariantId.CHAIN_BALANCE, f"{lines}")


def _entries(facts: Sequence[BurnFinal | ReleaseFinal | CancelFinal]) -> list[Entry]:
    return [entry for fact in facts for entry in entries_of(fact)]


def check_transfer(
    name: Name,
    about: frozenset[Saw],
    words: tuple[tuple[bool, bool], ...],
    signed: frozenset[Permit],
    *,
    voided: bool,
) -> None:
    """The real transfer machine agrees: no violation, the right end, in any order of the facts."""
    facts = list(_facts_of(name, about, words, signed))
    if voided and Saw(RELEASED, name) not in about:
        facts.append(OrderVoided())
    ends = []
    for order in (facts, facts[::-1]):
        state = open_transfer(IDS[name], needed=2, guards=3)
        for fact in order:
            state = step(state, fact).state
        broken = violations(state)
        for invariant, detail in broken[:1]:
            raise InvariantViolation(invariant, f"{name}: {detail}")
        ends.append((phase_of(state), state))
    ensure(deterministic(ends), InvariantId.DETERMINISM, f"{name}: {facts}")
    proven = name in ORDERS or Saw(BURNED, name) in about
    released = proven and Saw(RELEASED, name) in about
    ensure(
        (ends[0][0] is Phase.RELEASED) == released,
        InvariantId.LIVENESS,
        f"{name} is shown as {ends[0][0]} after {sorted(about)}",
    )


def _facts_of(
    name: Name,
    about: frozenset[Saw],
    words: tuple[tuple[bool, bool], ...],
    signed: frozenset[Permit],
) -> Iterator[Fact]:
    if name in ORDERS:
        yield OrderAccepted(MESSAGES[name], EXPIRY)
    for saw in sorted(about):
        yield from _news_of(name, saw)
    for guard, (grants, _) in zip(GUARDS, words, strict=False):
        if grants:
            yield VerdictGiven(guard, GRANTED, 1)
    for word in (GRANTED, refuse(Reason.HALTED)):  # the bad guard says both at once
        yield VerdictGiven(GUARDS[2], word, 1)
    for permit in sorted(signed):
        batch = f"{permit.action.name}{permit.time}".encode()
        yield ReleaseAuthorized(batch, TIMES[permit.time] + 1_800, permit.action)


def _news_of(name: Name, saw: Saw) -> Iterator[Fact]:
    fact = _OBSERVED[saw]
    match fact:
        case BurnFinal():
            yield BurnFinalized(fact)
        case ReleaseFinal() if saw.name is name:
            yield ReleaseFinalized(fact)
        case ReleaseFinal():
            yield RefundOpened(IDS[saw.name])
            yield RefundFinalized(fact)
        case CancelFinal():
            yield CancelFinalized(fact)


# --- the search -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """How far a search came."""

    states: int
    steps: int
    depth: int
    complete: bool
    """No state had a step that leads beyond: the depth is no bound."""


class Broken(Exception):
    """A promise that can be broken, with the shortest way to it."""

    def __init__(self, violation: InvariantViolation, trace: tuple[str, ...]) -> None:
        super().__init__(f"{violation}: {' | '.join(trace)}")
        self.id = violation.id
        self.trace = trace


Came = Mapping[State, tuple[State, Doing] | None]


def search(world: World, depth: int) -> Searched:
    """Visit every state within `depth` steps, breadth first. Raises Broken at the first that
    breaks a promise, with the shortest trace."""
    came: dict[State, tuple[State, Doing] | None] = {world.start: None}
    layer, steps, reached = [world.start], 0, 0
    while layer and reached < depth:
        reached += 1
        found: list[State] = []
        for state in layer:
            try:
                for doing, after in world.steps(state):
                    steps += 1
                    if after not in came:
                        world.doing = doing
                        world.check(after)
                        came[after] = (state, doing)
                        found.append(after)
            except InvariantViolation as violation:
                trace = _trace(world, came, state, world.doing)
                raise Broken(violation, trace) from violation
        layer = found
    return Searched(len(came), steps, reached, complete=not layer)


def _trace(world: World, came: Came, state: State, last: Doing) -> tuple[str, ...]:
    """The way to `state` and the step that broke it, told of guards that keep their names."""
    way: list[tuple[Doing, State | None]] = [(last, None)]
    while (before := came[state]) is not None:
        way.append((before[1], state))
        state = before[0]
    names = {"guard A": world.start.first, "guard B": world.start.second}
    words = []
    for doing, after in reversed(way):
        if doing.mine is None:
            words.append(doing.word)
            continue
        who = next(name for name, memory in names.items() if memory == doing.mine)
        words.append(f"{who}: {doing.word}")
        if after is not None:
            pair = [after.first, after.second]
            pair.remove(next(memory for name, memory in names.items() if name != who))
            names[who] = pair[0]
    return tuple(words)
