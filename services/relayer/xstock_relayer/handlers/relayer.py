"""The whole relayer as one object of steps: what a bootstrap, a test and a simulation drive.

It owns no loop. `start` recovers from the books; `review`, `release`, `reconcile` and `heal` are
single steps that return how much they did, so that a caller can run them until all are zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xstock_chains.ports import ChainWriter, ReleaseCodec, Signer
from xstock_core.ids import Address32, Domain
from xstock_relayer.handlers.desk import Desk
from xstock_relayer.handlers.intake import Healer, Intake
from xstock_relayer.handlers.issuing import Issuer
from xstock_relayer.handlers.operating import Operator
from xstock_relayer.handlers.releasing import Releaser
from xstock_relayer.handlers.returning import Returner
from xstock_relayer.handlers.reviewing import Reviewer
from xstock_relayer.handlers.sending import Sender, SenderPorts, SendingLimits
from xstock_relayer.model import Hint, Recovery, Terms
from xstock_relayer.ports import Books, FinalTime, Gauges, Guard, NoGauges, Watcher
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Transient


@dataclass(frozen=True, slots=True)
class Destination:
    """One chain that the relayer sends to; `address` is its key's, in wire form."""

    chain: Domain
    address: Address32
    writer: ChainWriter
    signer: Signer
    codec: ReleaseCodec
    final_time: FinalTime
    limits: SendingLimits = field(default_factory=SendingLimits)


class Relayer:
    """Desk, intake, reviewers, releasers, senders, healers, wired together."""

    def __init__(
        self,
        books: Books,
        terms: Terms,
        guards: Sequence[Guard],
        destinations: Sequence[Destination],
        watchers: Sequence[Watcher],
        clock: Clock,
        gauges: Gauges | None = None,
        *,
        review_page: int = 400,
    ) -> None:
        figures = self._gauges = gauges or NoGauges()
        self.desk = Desk(books, terms, clock, figures)
        self.intake = Intake(books, self.desk, clock, figures)
        self.reviewers = {
            g.id: Reviewer(g, self.desk, clock, figures, page=review_page) for g in guards
        }
        self.healers = {w.chain: Healer(self.intake, w, figures) for w in watchers}
        self.issuer = Issuer(books, self.desk, terms)
        self.operator = Operator(books, self.desk, clock)
        self.returner = Returner(books, self.desk, watchers, clock)
        self.senders: dict[Domain, Sender] = {}
        self.releasers: dict[Domain, Releaser] = {}
        for one in destinations:
            ports = SenderPorts(one.writer, one.signer, one.final_time, books, clock, figures)
            sender = Sender(one.chain, one.address, ports, self.desk, one.limits)
            self.senders[one.chain] = sender
            self.desk.on_recovery.append(sender.restore)
            self.releasers[one.chain] = Releaser(
                chain=one.chain,
                desk=self.desk,
                sender=sender,
                reviewers=self.reviewers,
                writer=one.writer,
                codec=one.codec,
                final_time=one.final_time,
                clock=clock,
                gauges=figures,
            )
            forget = self.releasers[one.chain].cancellations.forget
            self.returner.on_request.append(forget)

    async def start(self) -> Recovery:
        """Recover from the books; go on exactly where the last process stopped."""
        recovery = await self.desk.recover()
        self.intake.positions = dict(recovery.positions)
        return recovery

    async def review(self) -> int:
        """One page per guard; how many claims were judged."""
        return sum([await reviewer.tick() for reviewer in self.reviewers.values()])

    async def release(self) -> int:
        """A batch of each kind per destination; how many transfers were sent."""
        return sum([await releaser.tick() for releaser in self.releasers.values()])

    async def reconcile(self) -> int:
        """Look after every open slot that is due; how many."""
        return sum([await sender.reconcile() for sender in self.senders.values()])

    async def wake(self, hints: Sequence[Hint]) -> None:
        """Read from each watcher that is said to have more than we took.

        A watcher that is away is left to its own heal loop, so that it holds up no other chain.
        """
        wanted: dict[Domain, int] = {}
        for hint in hints:
            wanted[hint.chain] = max(hint.sequence, wanted.get(hint.chain, 0))
        for chain, sequence in wanted.items():
            healer = self.healers.get(chain)
            if healer is None:
                continue
            try:
                await healer.read_to(sequence)
            except Transient as error:
                self._gauges.count("wake_failed", chain=chain.name, code=error.code)

    async def heal(self) -> Mapping[Domain, int]:
        """Fetch what Kafka did not bring; how much, per chain. Raises Transient."""
        return {chain: await healer.heal() for chain, healer in self.healers.items()}
