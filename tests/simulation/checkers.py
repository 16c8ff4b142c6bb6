"""What must hold after every turn, and what must hold at the end. They look at chains' own truth.

`check_always` needs no service's word: it compares what destinations minted with what sources
burned. `check_end` is about termination: nothing is forgotten, and every ledger agrees with every
chain. A broken promise raises AssertionError that names it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.guards import GuardProcess
from tests.simulation.world import ASSETS, CAP_SHARES, World
from xstock_chains.ports import ExecutionState
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import IN_FLIGHT, Account, AccountKind, chain_supply
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal, Observation, ReleaseFinal
from xstock_core.release import ExecutionKey, key_of
from xstock_core.transfer import Phase, view
from xstock_relayer.model import SlotState
from xstock_supply_guard.handlers.findings import refund_key

SETTLED = {Phase.RELEASED, Phase.REFUNDED, Phase.PARKED}


@dataclass
class Checker:
    """Follows every chain block by block."""

    world: World
    checked: dict[Domain, int] = field(default_factory=dict)
    final_burns: dict[ExecutionKey, BurnFinal] = field(default_factory=dict)
    final_releases: dict[ExecutionKey, ReleaseFinal] = field(default_factory=dict)
    refundable: dict[ExecutionKey, BurnFinal] = field(default_factory=dict)
    """Final burns by what their refund would be keyed by."""

    def check_always(self) -> None:
        """After every turn."""
        for domain in self.world.domains:
            for observation in self._newly_final(domain):
                self._take(observation)
        for release in self._releases_on_chain():
            self._check_release(release)
        for asset in ASSETS:
            self._check_cap(asset)

    def _newly_final(self, domain: Domain) -> Iterator[Observation]:
        chain = self.world.chains[domain]
        for number in range(self.checked.get(domain, 0) + 1, chain.final.number + 1):
            block = chain.block(number)
            assert block is not None
            yield from block.observations
        self.checked[domain] = chain.final.number

    def _take(self, observation: Observation) -> None:
        if isinstance(observation, BurnFinal):
            self.final_burns[key_of(observation.message)] = observation
            self.refundable[refund_key(observation)] = observation
        elif isinstance(observation, ReleaseFinal):
            key = ExecutionKey(observation.destination, observation.source, observation.nonce)
            assert key not in self.final_releases, f"INV-02: {key} was released twice"
            self.final_releases[key] = observation

    def _releases_on_chain(self) -> Iterator[ReleaseFinal]:
        """Releases that are not final yet, then nothing: final ones were checked before."""
        for domain in self.world.domains:
            chain = self.world.chains[domain]
            for number in range(chain.final.number - 3, chain.head.number + 1):
                block = chain.block(number)
                for observation in block.observations if block else ():
                    if isinstance(observation, ReleaseFinal):
                        yield observation

    def _check_release(self, release: ReleaseFinal) -> None:
        key = ExecutionKey(release.destination, release.source, release.nonce)
        if key in self.refundable:
            self._check_refund(release, self.refundable[key])
            return
        if release.source is Domain.CUSTODY:
            ordered = {(o.amount, o.recipient) for o in self.world.orders.values()}
            assert (release.amount, release.recipient) in ordered, "INV-01: never ordered"
            return
        burn = self.final_burns.get(key)
        assert burn is not None, f"INV-01: {key} was released without a final burn"
        message = burn.message
        same = (message.asset, message.recipient, message.amount) == (
            release.asset,
            release.recipient,
            release.amount,
        )
        assert same, f"INV-03: {key} was released with other content"

    def _check_refund(self, release: ReleaseFinal, burn: BurnFinal) -> None:
        """INV-02: what flows back was finally cancelled (or rejected), and nothing else of it."""
        message = burn.message
        same = (message.asset, message.refund_address, message.amount) == (
            release.asset,
            release.recipient,
            release.amount,
        )
        assert same, f"INV-03: {burn.transfer_id.hex()} flowed back with other content"
        if message.kind is Kind.REDEEM:
            rejected = self.world.redeemed.get(burn.transfer_id) is False
            assert rejected, "INV-02: a redemption flowed back that custody had not rejected"
            return
        there = self.world.chains[message.destination]
        done = there.state.execution.get((message.source, message.nonce), there.final.number)
        assert done is ExecutionState.CANCELLED, "INV-02: flowed back without a final cancellation"

    def _check_cap(self, asset: AssetId) -> None:
        """INV-04 by the chains' own figures: what exists and what is on its way."""
        supply = sum(self._supply(domain, asset) for domain in self.world.domains)
        assert supply + self._in_flight(asset) <= CAP_SHARES, "INV-04: more than custody holds"

    def _supply(self, domain: Domain, asset: AssetId) -> int:
        chain = self.world.chains[domain]
        return chain.state.supply.get(asset, chain.head.number) // 10**10

    def _in_flight(self, asset: AssetId) -> int:
        """Burned for good and nowhere minted yet, by the chains alone."""
        total = 0
        for key, burn in self.final_burns.items():
            if burn.message.asset != asset or burn.message.kind is Kind.REDEEM:
                continue
            chain = self.world.chains[key.destination]
            done = chain.state.execution.get((key.source, key.nonce), chain.head.number)
            claimed = done is not ExecutionState.RELEASED and not self._flowed_back(burn)
            total += burn.message.amount if claimed else 0
        return total

    def _flowed_back(self, burn: BurnFinal) -> bool:
        key = refund_key(burn)
        chain = self.world.chains[key.destination]
        done = chain.state.execution.get((key.source, key.nonce), chain.head.number)
        return done is ExecutionState.RELEASED

    # the end

    def all_ended(self) -> bool:
        """Whether nothing is under way any more."""
        try:
            self._check_transfers()
            self._check_slots()
        except AssertionError:
            return False
        return True

    async def check_end(self) -> None:
        """Termination: everything that began has ended, and every book tells the same."""
        self._check_transfers()
        self._check_slots()
        await self._check_ledgers()

    def _check_transfers(self) -> None:
        transfers = self.world.disk.transfers
        for key, burn in self.final_burns.items():
            transfer = transfers.get(burn.transfer_id)
            assert transfer is not None, f"INV-13: the burn {key} was forgotten"
            phase = view(transfer.state).phase
            assert phase in SETTLED, f"INV-13: {key} stands at {view(transfer.state)}"
            flowed_back = refund_key(burn) in self.final_releases
            assert flowed_back == (phase is Phase.REFUNDED), f"{key}: {phase}, {flowed_back}"
            if burn.message.kind is Kind.REDEEM:
                assert self.world.redeemed[burn.transfer_id] == (phase is Phase.RELEASED)
            elif phase is Phase.RELEASED:
                assert key in self.final_releases, f"{key} is said to be released and is not"
        real = {burn.transfer_id for burn in self.final_burns.values()}
        for transfer_id, transfer in transfers.items():
            message = transfer.state.message
            if message is None or message.kind is Kind.ISSUE or transfer_id in real:
                continue
            if message.kind is Kind.REFUND:
                assert key_of(message) in self.refundable, "INV-01: a refund of no final burn"
                continue
            assert message in self.world.forged_messages, "INV-01: opened without a burn"
            shown = view(transfer.state)
            assert shown.phase is not Phase.RELEASED, "INV-01: a forged burn is shown as released"

    def _check_slots(self) -> None:
        states = Counter(entry.state for entry in self.world.disk.slots.values())
        assert states[SlotState.OPEN] == 0, f"slots are left open: {states}"

    async def _check_ledgers(self) -> None:
        for guard in self.world.guards:
            books = await guard.reads()
            halts = [halt.reason for halt in await books.halts()]
            assert not halts, f"{guard.id} halted in an honest world: {halts}"
            balances = await books.balances(ASSETS)
            scans = await books.scans()
            for asset in ASSETS:
                for domain in self.world.domains:
                    through = scans[domain].through
                    assert through is not None
                    chain = self.world.chains[domain]
                    truth = chain.state.supply.get(asset, through.number) // 10**10
                    ledger = chain_supply(balances, asset, domain)
                    assert ledger == truth, f"INV-16: {guard.id} books {ledger}, chain {truth}"
                in_flight = balances.get((asset, IN_FLIGHT), 0)
                assert in_flight == self._in_flight(asset), f"INV-06: {guard.id} in flight"
        first, *others = [await _balances(guard) for guard in self.world.guards]
        assert all(other == first for other in others), "INV-15: guards' ledgers differ"


async def _balances(guard: GuardProcess) -> dict[tuple[AssetId, Account], int]:
    """The accounts that facts alone decide; a reservation is each guard's own."""
    balances = await (await guard.reads()).balances(ASSETS)
    own = (AccountKind.OPEN_ISSUANCE, AccountKind.CUSTODY)
    return {key: value for key, value in balances.items() if value and key[1].kind not in own}
