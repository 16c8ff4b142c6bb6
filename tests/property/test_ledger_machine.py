"""The ledger under random histories: the sums, the exposure and the reservations.

Method: Hypothesis opens, burns, releases, issues, voids, redeems and orphans, posting every page
in any order and again and again. A model that only counts what happened must agree with the
ledger after every step. Then one defence is taken out, and the same search must notice.
"""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.builders import (
    CHAINS,
    SHARE,
    TSLAX,
    a_block,
    a_burn,
    a_message,
    a_place,
    a_release,
    an_issue,
    an_orphan,
    id_of,
)
from xstock_core.amount import Shares
from xstock_core.ids import AssetId, Domain
from xstock_core.invariants import (
    InvariantId,
    InvariantViolation,
    conserved,
    ensure,
    reservations_safe,
)
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    Account,
    Entry,
    EntryId,
    entries_of,
    entry_of_issue,
    entry_of_opening,
    entry_of_orphan_write_off,
    entry_of_redemption_paid,
    exposure,
    overdrafts,
    post_all,
)
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import OrphanBurn
from xstock_core.release import ExecutionKey
from xstock_core.reservation import (
    ExpiryProof,
    Reservation,
    entry_of_issue_void,
    reserve,
)

AMOUNT = st.integers(min_value=1, max_value=5 * SHARE)
PICK = st.integers(min_value=0, max_value=10**6)
EXPIRY = 5_000


class LedgerMachine(RuleBasedStateMachine):
    """A ledger, the entries that were offered to it, and a model that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.balances: dict[tuple[AssetId, Account], int] = {}
        self.posted: list[Entry] = []
        self.offered: list[Entry] = []
        self.exposed = 0
        self.burns: list[TransferMessage] = []
        self.redeems: list[TransferMessage] = []
        self.orphans: list[OrphanBurn] = []
        self.orders: list[Reservation] = []
        self.voided: set[ExecutionKey] = set()
        self.issued: set[ExecutionKey] = set()

    def known(self) -> frozenset[EntryId]:
        """What the ledger remembers."""
        return frozenset(entry.id for entry in self.posted)

    def expiry_proof(self, key: ExecutionKey, now: int) -> ExpiryProof:
        """An honest reading: the destination's time, then the nonce at that very block."""
        block = replace(a_block(key.destination), time=now)
        return ExpiryProof(key, EXPIRY, block, block)

    def offer(self, *entries: Entry) -> None:
        known = {entry.id for entry in self.posted}
        self.balances, accepted = post_all(self.balances, self.known(), entries)
        self.posted += [entry for entry in accepted if entry.id not in known]
        self.offered += entries

    @initialize()
    def open_on_every_chain(self) -> None:
        self.offer(*(entry_of_opening(TSLAX, chain, Shares(100 * SHARE)) for chain in CHAINS))
        self.offer(entry_of_opening(TSLAX, Domain.SOLANA, Shares(100 * SHARE)))
        self.exposed = 400 * SHARE

    @rule(source=st.sampled_from(CHAINS), destination=st.sampled_from(CHAINS), amount=AMOUNT)
    def burn(self, source: Domain, destination: Domain, amount: int) -> None:
        if source is not destination:
            counter = len(self.burns) + 1
            message = a_message(
                source=source, destination=destination, amount=amount, counter=counter
            )
            self.burns.append(message)
            self.offer(*entries_of(a_burn(message)))

    @precondition(lambda self: self.burns)
    @rule(pick=PICK)
    def release_perhaps_again(self, pick: int) -> None:
        self.offer(*entries_of(a_release(self.burns[pick % len(self.burns)])))

    @rule(amount=AMOUNT, destination=st.sampled_from(CHAINS))
    def reserve_an_order(self, amount: int, destination: Domain) -> None:
        number = len(self.orders) + 1
        message = an_issue(order=number, amount=amount, destination=destination)
        self.orders.append(reserve(message, id_of(message), EXPIRY))
        self.offer(entry_of_issue(message))
        self.exposed += amount

    @precondition(lambda self: self.orders)
    @rule(pick=PICK)
    def issue_if_it_can_still_land(self, pick: int) -> None:
        """The destination accepts until the deadline; a voided order's deadline is past."""
        order = self.orders[pick % len(self.orders)]
        if order.key not in self.voided or not self.proof_demanded:
            self.issued.add(order.key)
            self.offer(*entries_of(a_release(self._message(order))))

    @precondition(lambda self: self.orders)
    @rule(pick=PICK, now=st.sampled_from([EXPIRY - 1, EXPIRY, EXPIRY + 1]))
    def void_if_proven(self, pick: int, now: int) -> None:
        order = self.orders[pick % len(self.orders)]
        if order.key in self.issued or order.key in self.voided:
            return
        try:
            entry = entry_of_issue_void(
                self._message(order), order, self.expiry_proof(order.key, now)
            )
        except InvariantViolation:
            return
        self.voided.add(order.key)
        self.offer(entry)
        self.exposed -= order.amount

    proof_demanded = True

    def _message(self, order: Reservation) -> TransferMessage:
        number = int.from_bytes(order.key.nonce[24:], "big")
        return an_issue(order=number, amount=order.amount, destination=order.key.destination)

    @rule(source=st.sampled_from(CHAINS), amount=AMOUNT)
    def redeem(self, source: Domain, amount: int) -> None:
        counter = 10_000 + len(self.offered)
        message = a_message(
            kind=Kind.REDEEM,
            source=source,
            destination=Domain.CUSTODY,
            amount=amount,
            counter=counter,
        )
        self.redeems.append(message)
        self.offer(*entries_of(a_burn(message)))

    @precondition(lambda self: self.redeems)
    @rule()
    def pay_a_redemption(self) -> None:
        message = self.redeems.pop()
        self.offer(entry_of_redemption_paid(message))
        self.exposed -= message.amount

    @rule(amount=AMOUNT)
    def orphan(self, amount: int) -> None:
        number = 1_000 + len(self.offered)
        nonce = a_message(counter=number).nonce
        place = a_place(Domain.SOLANA, number=number)
        burn = an_orphan(amount=amount, nonce=nonce, place=place)
        self.orphans.append(burn)
        self.offer(*entries_of(burn))

    @precondition(lambda self: self.orphans)
    @rule()
    def write_off_an_orphan(self) -> None:
        orphan = self.orphans.pop()
        self.offer(entry_of_orphan_write_off(orphan))
        self.exposed -= orphan.amount

    @precondition(lambda self: self.offered)
    @rule(seed=st.integers(0, 10**6))
    def offer_old_entries_again(self, seed: int) -> None:
        again = list(self.offered)
        Random(seed).shuffle(again)
        self.offer(*again[:20])

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        kept = conserved(self.balances, self.posted)
        ensure(kept, InvariantId.CONSERVATION, f"{self.balances}")

    @invariant()
    def exposure_is_what_the_model_counts(self) -> None:
        counted = exposure(self.balances, TSLAX)
        ensure(counted == self.exposed, InvariantId.CONSERVATION, f"{counted} != {self.exposed}")
        held = sum(n for (_, account), n in self.balances.items() if account != CUSTODY)
        ensure(held == counted, InvariantId.CONSERVATION, f"{held} held, {counted} exposed")

    @invariant()
    def no_account_is_overdrawn(self) -> None:
        broken = [o for o in overdrafts(self.balances) if o.account != IN_FLIGHT]
        ensure(not broken, InvariantId.RESERVATION_SAFETY, f"{broken}")

    @invariant()
    def nothing_voided_was_issued(self) -> None:
        safe = reservations_safe(self.voided, self.issued)
        ensure(safe, InvariantId.RESERVATION_SAFETY, "issued after its reservation was voided")


SEARCH = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def test_ledger__random_histories__agree_with_the_model() -> None:
    run_state_machine_as_test(LedgerMachine, settings=SEARCH)


class Forgetful(LedgerMachine):
    """Knows nothing of what it has posted."""

    def known(self) -> frozenset[EntryId]:
        return frozenset()


class Trusting(LedgerMachine):
    """Voids while the permit could still land: the proof claims a later time than there is."""

    proof_demanded = False

    def expiry_proof(self, key: ExecutionKey, now: int) -> ExpiryProof:
        return super().expiry_proof(key, now + EXPIRY)


REMOVED: dict[str, tuple[type[LedgerMachine], InvariantId]] = {
    "memory of entries": (Forgetful, InvariantId.CONSERVATION),
    "proof of expiry": (Trusting, InvariantId.RESERVATION_SAFETY),
}


@pytest.mark.parametrize("name", REMOVED)
def test_ledger__one_defence_removed__the_search_finds_the_broken_promise(name: str) -> None:
    """Each defence removed in this test's own composition."""
    weakened, expected = REMOVED[name]
    hunt = settings(
        SEARCH, database=None, derandomize=True, report_multiple_bugs=False, phases=[Phase.generate]
    )
    with pytest.raises(InvariantViolation) as broken:
        run_state_machine_as_test(weakened, settings=hunt)
    assert broken.value.id is expected
