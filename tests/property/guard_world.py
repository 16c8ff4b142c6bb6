"""Three chains, custody, an issuer and one supply-guard, for random histories.

The chains are the truth: they know what was burned and minted and refuse to run a key twice,
as the contracts do. The guard is the code under test: it learns facts in any order, as often
as fate wants, decides with the real policies and books with the real ledger. The checker
compares the two after every step with the predicates of `xstock_core.invariants`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.builders import (
    CHAINS,
    ISSUER,
    NOW,
    SHARE,
    TSLAX,
    a_bucket,
    a_burn,
    a_message,
    a_place,
    a_release,
    all_routes,
    an_asset_view,
    an_attestation,
    an_issue,
    id_of,
    opened,
)
from xstock_core.amount import Shares
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.cap import Attestation
from xstock_core.ids import Domain, TransferId
from xstock_core.invariants import (
    InvariantId,
    at_most_once,
    conserved,
    ensure,
    every_release_has_final_burn,
    rate_kept,
    same_content,
    within_cap,
)
from xstock_core.ledger import Entry, EntryId, entries_of, exposure, post_all
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal, Observation, ReleaseFinal
from xstock_core.policy import POLICIES, Policy, decide
from xstock_core.refusal import Granted
from xstock_core.release import ExecutionKey, key_of
from xstock_core.review import (
    BurnAbsent,
    Claim,
    Context,
    Evidence,
    IssueOrder,
    IssueSequence,
    NotReached,
)

OPENING = 100 * SHARE
RATED = BucketKey(TSLAX, Domain.BNB)
"""The one bucket of this world: releases to BNB."""


@dataclass
class Chains:
    """The truth: supply per chain, burns, releases, and the keys that were run."""

    supply: dict[Domain, int] = field(default_factory=lambda: dict.fromkeys(CHAINS, OPENING))
    counters: dict[Domain, int] = field(default_factory=lambda: dict.fromkeys(CHAINS, 0))
    burns: list[BurnFinal] = field(default_factory=list)
    log: list[Observation] = field(default_factory=list)
    releases: list[ReleaseFinal] = field(default_factory=list)
    bitmap: bool = True
    """Whether a destination refuses a key that it has run."""

    def burn(self, source: Domain, destination: Domain, amount: int) -> BurnFinal:
        """Burn what a holder has; amounts above the chain's supply are a compromised chain's."""
        self.supply[source] -= amount
        self.counters[source] += 1
        counter = self.counters[source]
        message = a_message(source=source, destination=destination, amount=amount, counter=counter)
        burn = a_burn(message, counter=counter, place=a_place(source, number=len(self.log)))
        self.burns.append(burn)
        self.log.append(burn)
        return burn

    def release(self, message: TransferMessage) -> None:
        """Mint, unless the bitmap says that the key was run."""
        if self.bitmap and any(key_of(message) == _key(done) for done in self.releases):
            return
        self.supply[message.destination] += message.amount
        place = a_place(message.destination, number=len(self.log))
        release = a_release(message, place=place)
        self.releases.append(release)
        self.log.append(release)


def _key(release: ReleaseFinal) -> ExecutionKey:
    return ExecutionKey(release.destination, release.source, release.nonce)


@dataclass
class Guard:
    """One guard's memory, and the real decision over it; `policies` can be taken from it."""

    policies: Sequence[Policy] = POLICIES
    attestation: Attestation = field(default_factory=lambda: an_attestation(held_units=320))
    now: int = NOW
    entries: list[Entry] = field(default_factory=lambda: opened(shares=OPENING)[1])
    known: dict[TransferId, BurnFinal] = field(default_factory=dict)
    executed: set[TransferId] = field(default_factory=set)
    granted: dict[TransferId, TransferMessage] = field(default_factory=dict)
    sequence: IssueSequence = field(default_factory=lambda: IssueSequence(0, ISSUER))
    bucket: Bucket = field(default_factory=a_bucket)
    waiting: dict[BucketKey, tuple[TransferId, ...]] = field(default_factory=dict)
    moves: list[tuple[int, int]] = field(default_factory=list)
    """(second, shares) of every grant to the rated chain."""
    remembers: bool = True
    """Whether it knows which entries are posted."""

    def __post_init__(self) -> None:
        self.balances, _ = post_all({}, frozenset(), self.entries)

    def learn(self, fact: Observation) -> None:
        """Book a final fact, however often it comes."""
        self._book(entries_of(fact))
        match fact:
            case BurnFinal(transfer_id=transfer_id):
                self.known[transfer_id] = fact
            case ReleaseFinal():
                done = {i for i, m in self.granted.items() if key_of(m) == _key(fact)}
                self.executed |= done

    def _book(self, entries: Sequence[Entry]) -> None:
        ids: frozenset[EntryId] = frozenset(entry.id for entry in self.entries)
        known = ids if self.remembers else frozenset()
        self.balances, accepted = post_all(self.balances, known, entries)
        self.entries += [entry for entry in accepted if entry.id not in ids]

    def context(self) -> Context:
        """What this guard knows now."""
        view = an_asset_view(
            attestation=self.attestation, attestation_age_max=10**9, issuance=self.sequence
        )
        return Context(
            now=self.now,
            balances=self.balances,
            assets={TSLAX: view},
            routes=all_routes((TSLAX,)),
            buckets={RATED: self.bucket},
            waiting=self.waiting,
            executed=frozenset(self.executed),
            granted=frozenset(self.granted),
        )

    def evidence(self, message: TransferMessage, *, passed: bool) -> Evidence:
        """What this guard's own memory says about a claimed burn."""
        burn = next((b for b in self.known.values() if key_of(b.message) == key_of(message)), None)
        if burn is not None:
            return burn
        return BurnAbsent(message.source) if passed else NotReached(message.source)

    def review(self, claims: Sequence[Claim]) -> None:
        """Decide a page and keep what it takes."""
        context = self.context()
        decision = decide(context, claims, self.policies)
        self._book(decision.entries)
        self.bucket = decision.buckets.get(RATED, self.bucket)
        self.waiting = dict(decision.waiting)
        self.sequence = decision.sequences.get(TSLAX, self.sequence)
        for claim, verdict in zip(claims, decision.verdicts, strict=True):
            if isinstance(verdict, Granted) and claim.transfer_id not in self.granted:
                self.granted[claim.transfer_id] = claim.message
                self._grant(claim.message)

    def _grant(self, message: TransferMessage) -> None:
        """The cap, measured after the page: issuance is booked, so it must fit as well."""
        if message.destination is RATED.destination:
            self.moves.append((self.now, message.amount))
        used, limit = exposure(self.balances, TSLAX), self.attestation.cap(0)
        ensure(
            within_cap(Kind.TRANSFER, used, 0, limit),
            InvariantId.CAP,
            f"granted {message.amount} and is at exposure {used} of {limit}",
        )


@dataclass
class World:
    """The chains, the guard and the checker."""

    guard: Guard = field(default_factory=Guard)
    chains: Chains = field(default_factory=Chains)
    orders: int = 0

    def claim(self, burn: BurnFinal, *, changed_amount: int = 0, passed: bool = False) -> Claim:
        """A relayer's claim of this burn, perhaps with another amount."""
        message = burn.message
        if changed_amount:
            message = replace(message, amount=Shares(message.amount + changed_amount))
        return Claim(id_of(message), message, self.guard.evidence(message, passed=passed))

    def order(self, number: int, amount: int, destination: Domain) -> Claim:
        """An order that the issuer signed."""
        message = an_issue(order=number, amount=amount, destination=destination)
        evidence = IssueOrder(message, number, NOW + 10**6, signature_valid=True)
        return Claim(id_of(message), message, evidence)

    def check(self) -> None:
        """Every promise that this world can see broken."""
        guard, chains = self.guard, self.chains
        keys = [_key(release) for release in chains.releases]
        proven = {key_of(b.message) for b in chains.burns}
        orders = {key_of(m) for m in guard.granted.values() if m.kind is Kind.ISSUE}
        ensure(
            every_release_has_final_burn(keys, proven | orders),
            InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
            "a release has no burn",
        )
        ensure(at_most_once(keys), InvariantId.AT_MOST_ONCE, "a key was released twice")
        self._check_content()
        ensure(conserved(guard.balances, guard.entries), InvariantId.CONSERVATION, "sums")
        self._check_supply()
        kept = rate_kept(guard.moves, 10 * SHARE, SHARE // 100)
        ensure(kept, InvariantId.RATE, f"{guard.moves}")

    def _check_content(self) -> None:
        messages = {key_of(b.message): b.message for b in self.chains.burns}
        messages |= {key_of(m): m for m in self.guard.granted.values() if m.kind is Kind.ISSUE}
        for release in self.chains.releases:
            same = same_content(release, messages[_key(release)])
            ensure(same, InvariantId.SAME_CONTENT, f"released {release.amount}")

    def _check_supply(self) -> None:
        """What exists on chains never exceeds what the guard counts, nor any chain's share."""
        total = sum(max(0, held) for held in self.chains.supply.values())
        counted = exposure(self.guard.balances, TSLAX)
        ensure(total <= counted, InvariantId.CHAIN_BALANCE, f"{total} exist, {counted} counted")
