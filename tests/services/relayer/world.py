"""A small world around the relayer: fake chains, honest scripted guards, one virtual clock.

`World.crash` throws the relayer away and makes a new one over the same disk, as a supervisor
would; `settle` runs every step until nothing moves, mining as it goes. Nothing sleeps.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from xstock_chains.fake import (
    FakeChain,
    FakeCodec,
    FakeConfig,
    FakeNode,
    FakeReader,
    FakeSigner,
    FakeWriter,
    GuardSet,
)
from xstock_chains.ports import ChainReader, ChainWriter, Cursor, Signer
from xstock_core.ids import AssetId, Domain, TransferId, asset_id
from xstock_core.observation import BurnFinal, ReleaseFinal
from xstock_core.refusal import GRANTED, Verdict
from xstock_core.release import Action, ReleaseBatch
from xstock_core.transfer import Phase
from xstock_relayer.adapters.memory import Disk, MemoryBooks
from xstock_relayer.handlers.relayer import Destination, Relayer
from xstock_relayer.handlers.sending import SendingLimits
from xstock_relayer.model import (
    GuardRefused,
    GuardSigned,
    GuardVerdict,
    Numbered,
    SignedOrder,
    Terms,
    Transfer,
)
from xstock_relayer.ports import Books
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient

ASSET: AssetId = asset_id("TSLAx")
OTHER: AssetId = asset_id("AAPLx")
SHARE = 100_000_000
HOLDER = FakeSigner(b"holder")
RECIPIENT = FakeSigner(b"recipient").address
KEY = FakeSigner(b"relayer")
GUARD_KEYS = {f"guard-{n}": FakeSigner(f"guard-{n}".encode()) for n in (1, 2, 3)}
CHAINS = (Domain.ETHEREUM, Domain.BNB)


@dataclass
class ScriptedGuard:
    """A guard that answers as it is told; by default it grants everything and signs."""

    id: str
    codec: FakeCodec = field(default_factory=FakeCodec)
    away: bool = False
    lost_replies: int = 0
    verdict_of: Callable[[Transfer], Verdict] = lambda _: GRANTED
    sign_refusals: dict[TransferId, Verdict] = field(default_factory=dict)
    forger: FakeSigner | None = None
    reviewed: Counter[TransferId] = field(default_factory=Counter)
    signed: list[tuple[ReleaseBatch, bytes]] = field(default_factory=list)
    sequence: int = 0
    papers: dict[TransferId, SignedOrder] = field(default_factory=dict)
    unread: Action | None = None
    """Batches of this action it refuses whole, as one that it cannot read."""

    async def review(self, transfers: Sequence[Transfer]) -> Sequence[GuardVerdict]:
        """A verdict per claim, each under a new sequence number."""
        if self.away:
            raise Transient("UNAVAILABLE", f"{self.id} is away")
        verdicts = []
        for transfer in transfers:
            self.sequence += 1
            self.reviewed[transfer.id] += 1
            verdicts.append(GuardVerdict(transfer.id, self.verdict_of(transfer), self.sequence))
        self._maybe_lose()
        return verdicts

    async def sign(
        self,
        batch: ReleaseBatch,
        transfer_ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder] = MappingProxyType({}),
    ) -> GuardSigned | GuardRefused:
        """The signature, unless it was told to refuse one of the items."""
        self.papers.update(papers)
        if self.away:
            raise Transient("UNAVAILABLE", f"{self.id} is away")
        if self.unread is batch.items[0].action:
            raise InvalidMessage("FIELD_INVALID", f"{self.id} cannot read an authority")
        refused = []
        for transfer_id in transfer_ids:
            if transfer_id in self.sign_refusals:
                self.sequence += 1
                verdict = self.sign_refusals[transfer_id]
                refused.append(GuardVerdict(transfer_id, verdict, self.sequence))
        if refused:
            return GuardRefused(tuple(refused))
        key = self.forger or GUARD_KEYS[self.id]
        signature = await key.sign_digest(self.codec.digest(batch))
        self.signed.append((batch, signature))
        self._maybe_lose()
        return GuardSigned(GUARD_KEYS[self.id].identity, signature)

    def _maybe_lose(self) -> None:
        if self.lost_replies > 0:
            self.lost_replies -= 1
            raise Ambiguous("DEADLINE_EXCEEDED", f"the reply of {self.id} was lost")


@dataclass
class FakeWatcher:
    """Reads a fake chain in pages and numbers what it sees."""

    chain: Domain
    reader: ChainReader
    seen: list[Numbered] = field(default_factory=list)
    cursor: Cursor | None = None

    async def read(self) -> None:
        """Take in everything that is final by now."""
        cursor = self.cursor or Cursor(self.chain)
        while True:
            page = await self.reader.read_page(cursor, limit=500)
            for observation in page.observations:
                self.seen.append(Numbered(len(self.seen) + 1, observation))
            cursor = self.cursor = page.cursor
            if not page.more:
                return

    async def latest_sequence(self) -> int:
        """The last number given out."""
        return len(self.seen)

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations after this number."""
        return self.seen[sequence : sequence + limit]


def a_chain(domain: Domain, clock: VirtualClock) -> FakeChain:
    """A chain on which the holder owns a million shares of each asset."""
    guards = GuardSet(1, 2, frozenset(key.identity for key in GUARD_KEYS.values()))
    opening = {(asset, HOLDER.address): 10**6 * SHARE for asset in (ASSET, OTHER)}
    return FakeChain(FakeConfig(domain, (ASSET, OTHER), guards, opening=opening), clock)


@dataclass
class World:
    """Two chains, three guards, one relayer."""

    disk: Disk = field(default_factory=Disk)
    open_books: Callable[[], Books] | None = None
    limits: SendingLimits = field(default_factory=SendingLimits)
    batch_items_max: int = 100

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.transfers: list[Transfer] = []
        self.chains = {domain: a_chain(domain, self.clock) for domain in CHAINS}
        self.nodes = {
            domain: FakeNode(chain, self.clock, SeededRandomness(int(domain)))
            for domain, chain in self.chains.items()
        }
        self.guards = {name: ScriptedGuard(name) for name in GUARD_KEYS}
        self.watchers = {
            domain: FakeWatcher(domain, FakeReader(node)) for domain, node in self.nodes.items()
        }
        self.signers: dict[Domain, Signer] = dict.fromkeys(CHAINS, KEY)
        self.writers: dict[Domain, ChainWriter] = {
            domain: FakeWriter(node) for domain, node in self.nodes.items()
        }
        self.books = self.new_books()
        self.relayer = self.make_relayer(self.books)

    def new_books(self) -> Books:
        """The books as a fresh process opens them."""
        return self.open_books() if self.open_books else MemoryBooks(self.disk)

    def make_relayer(self, books: Books) -> Relayer:
        """Another process over these books."""
        destinations = [self.destination(domain) for domain in CHAINS]
        return Relayer(
            books,
            self.terms(),
            list(self.guards.values()),
            destinations,
            list(self.watchers.values()),
            self.clock,
        )

    def terms(self) -> Terms:
        """The deployment's terms."""
        return Terms(
            deployment_id="test",
            guards=tuple(GUARD_KEYS),
            threshold=2,
            permit_seconds=600,
            bridges={
                (domain, asset): chain.config.bridge
                for domain, chain in self.chains.items()
                for asset in (ASSET, OTHER)
            },
            batch_items_max=dict.fromkeys(CHAINS, self.batch_items_max),
            assets=frozenset((ASSET, OTHER)),
            signers={(d, n): k.identity for d in CHAINS for n, k in GUARD_KEYS.items()},
        )

    def destination(self, domain: Domain) -> Destination:
        """What the relayer needs to send to a chain."""
        node = self.nodes[domain]

        async def final_time() -> int:
            return (await FakeReader(node).finalized_head()).time

        writer, signer = self.writers[domain], self.signers[domain]
        return Destination(
            domain, KEY.address, writer, signer, FakeCodec(), final_time, self.limits
        )

    def burn(
        self,
        count: int = 1,
        *,
        source: Domain = Domain.ETHEREUM,
        asset: AssetId = ASSET,
        amount: int = SHARE,
        recipients: Sequence[object] = (),
    ) -> None:
        """Burn towards the other chain and make it final."""
        destination = next(domain for domain in CHAINS if domain is not source)
        for _ in range(count):
            self.chains[source].burn(HOLDER.address, asset, destination, RECIPIENT, amount)
        self.chains[source].mine(3)

    async def observe(self) -> None:
        """Watchers read what is final, and the relayer heals up to it."""
        for watcher in self.watchers.values():
            await watcher.read()
        await self.relayer.heal()

    async def step(self) -> int:
        """One turn of everything; how much was done."""
        await self.observe()
        done = await self.relayer.review()
        done += await self.relayer.release()
        return done + await self.relayer.reconcile()

    async def settle(self, turns: int = 40, *, seconds: float = 1.0) -> None:
        """Turns with a block each, until every transfer is closed or `turns` are over."""
        for _ in range(turns):
            await self.step()
            for chain in self.chains.values():
                chain.mine()
            await self.clock.advance(seconds)
            transfers = await self.refresh()
            if transfers and all(t.view.terminal for t in transfers):
                return

    async def crash(self) -> None:
        """Throw the process away and start another over the same disk."""
        self.books = self.new_books()
        self.relayer = self.make_relayer(self.books)
        await self.relayer.start()

    async def refresh(self) -> list[Transfer]:
        """Read what the books hold about every burn on the chains."""
        burns = [burn for domain in CHAINS for burn in self.on_chain(domain)[0]]
        found = await self.books.transfers([burn.transfer_id for burn in burns])
        self.transfers = list(found.values())
        return self.transfers

    def phases(self) -> Counter[Phase]:
        """How many transfers stand where."""
        return Counter(transfer.view.phase for transfer in self.transfers)

    def on_chain(self, domain: Domain) -> tuple[list[BurnFinal], list[ReleaseFinal]]:
        """Every burn and every release in the present fork of a chain."""
        chain = self.chains[domain]
        blocks = [chain.block(number) for number in range(chain.head.number + 1)]
        found = [o for block in blocks if block for o in block.observations]
        burns = [o for o in found if isinstance(o, BurnFinal)]
        return burns, [o for o in found if isinstance(o, ReleaseFinal)]

    def minted(self, domain: Domain) -> Counter[bytes]:
        """How often each nonce was released on a chain."""
        return Counter(release.nonce for release in self.on_chain(domain)[1])
