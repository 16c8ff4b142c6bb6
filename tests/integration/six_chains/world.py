"""The relayer between one real local chain and two fake ones, in virtual time.

The real chain is whatever family a test asks for, moved by the contract suite's driver; the
guards grant everything and sign with their real keys, because what is under test is whether a
mint is lost or doubled between the relayer's books and the chain.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.contract.driver import SHARE, ChainUnderTest
from tests.services.relayer.world import HOLDER, KEY, FakeWatcher
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
from xstock_chains.ports import ChainReader, ChainWriter, ReleaseCodec, Signer
from xstock_core.ids import Domain, TransferId
from xstock_core.observation import ReleaseFinal
from xstock_core.refusal import GRANTED
from xstock_core.release import ReleaseBatch
from xstock_core.transfer import Phase
from xstock_relayer.adapters.memory import Disk, MemoryBooks
from xstock_relayer.handlers.relayer import Destination, Relayer
from xstock_relayer.handlers.sending import SendingLimits
from xstock_relayer.model import (
    GuardSigned,
    GuardVerdict,
    Numbered,
    SignedOrder,
    SlotEntry,
    Terms,
    Transfer,
)
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_watcher.adapters.memory import MemoryProgressBus, MemoryWatcherStore
from xstock_watcher.handlers import WatcherHandlers
from xstock_watcher.ports import Numbered as Seen

FAKES = (Domain.BNB, Domain.MANTLE)
LIMITS = SendingLimits(look_ms=100, resend_ms=1_000, settle_ms=500)
Wrap = Callable[[ChainWriter], ChainWriter]


@dataclass
class KeyHolder:
    """A guard that grants everything and signs with its real key of each destination."""

    id: str
    keys: dict[Domain, Signer]
    codecs: dict[Domain, ReleaseCodec]
    sequence: int = 0
    signed: int = 0

    async def review(self, transfers: Sequence[Transfer]) -> Sequence[GuardVerdict]:
        """Granted, all of them."""
        verdicts = []
        for transfer in transfers:
            self.sequence += 1
            verdicts.append(GuardVerdict(transfer.id, GRANTED, self.sequence))
        return verdicts

    async def sign(
        self,
        batch: ReleaseBatch,
        transfer_ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder] = MappingProxyType({}),
    ) -> GuardSigned:
        """The real signature over the family's own digest; who asks is tested elsewhere."""
        del papers
        assert len(transfer_ids) == len(batch.items)
        self.signed += 1
        key = self.keys[batch.destination]
        signature = await key.sign_digest(self.codecs[batch.destination].digest(batch))
        return GuardSigned(key.identity, signature)


@dataclass
class RealWatcher:
    """The watcher's own handlers over a real reader."""

    chain: Domain
    reader: ChainReader
    clock: VirtualClock

    def __post_init__(self) -> None:
        self.seen: list[Seen] = []
        self.store = MemoryWatcherStore(self.chain, self.seen.append)
        self.start()

    def start(self) -> None:
        """A new process over the same store."""
        bus = MemoryProgressBus()
        self.handlers = WatcherHandlers(
            self.chain, self.reader, self.store, bus, self.clock, page_limit=50
        )

    async def read(self) -> None:
        """Take in everything that is final by now."""
        while (await self.handlers.scan()).more:
            pass

    async def latest_sequence(self) -> int:
        """The last number given out."""
        return len(self.store.numbered)

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations after this number."""
        found = await self.store.list_after(sequence, limit)
        return [Numbered(one.sequence, one.observation) for one in found]


@dataclass
class Bridge:
    """A real chain, two fake ones and the relayer between them."""

    real: ChainUnderTest
    wrap: Wrap = field(default=lambda writer: writer)
    permit_seconds: int = 600

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        names = self.real.guard_ids
        fake_keys = {name: FakeSigner(name.encode()) for name in names}
        members = frozenset(key.identity for key in fake_keys.values())
        opening = {(self.real.asset, HOLDER.address): 10**6 * SHARE}
        self.fakes = {
            domain: FakeChain(
                FakeConfig(domain, (self.real.asset,), GuardSet(1, 2, members), opening=opening),
                self.clock,
            )
            for domain in FAKES
        }
        self.nodes = {
            domain: FakeNode(chain, self.clock, SeededRandomness(int(domain)))
            for domain, chain in self.fakes.items()
        }
        codecs: dict[Domain, ReleaseCodec] = {domain: FakeCodec() for domain in FAKES}
        codecs[self.real.domain] = self.real.codec
        self.guards = [
            KeyHolder(
                name,
                {**dict.fromkeys(FAKES, fake_keys[name]), self.real.domain: self.real.guards[at]},
                codecs,
            )
            for at, name in enumerate(names)
        ]
        self.watcher = RealWatcher(self.real.domain, self.real.new_reader(), self.clock)
        self.watchers: list[RealWatcher | FakeWatcher] = [
            self.watcher,
            *(FakeWatcher(domain, FakeReader(node)) for domain, node in self.nodes.items()),
        ]
        self.disk = Disk()
        self.relayer = self.make_relayer()

    def make_relayer(self) -> Relayer:
        """A relayer process over the books."""
        return Relayer(
            MemoryBooks(self.disk),
            self.terms(),
            self.guards,
            [self._real_destination(), *map(self._fake_destination, FAKES)],
            self.watchers,
            self.clock,
        )

    async def restart(self) -> None:
        """The process is gone; another goes on from the books."""
        self.relayer = self.make_relayer()
        await self.relayer.start()

    def terms(self) -> Terms:
        """The deployment's terms."""
        real, asset = self.real, self.real.asset
        bridges: dict[tuple[Domain, bytes], bytes] = {
            (domain, asset): chain.config.bridge for domain, chain in self.fakes.items()
        }
        bridges[real.domain, asset] = real.bridge
        domains = (real.domain, *FAKES)
        return Terms(
            deployment_id="six",
            guards=real.guard_ids,
            threshold=2,
            permit_seconds=self.permit_seconds,
            bridges=bridges,  # type: ignore[arg-type]
            batch_items_max={real.domain: real.batch_items_max, **dict.fromkeys(FAKES, 100)},
            assets=frozenset({asset}),
            signers={
                (d, guard.id): guard.keys[d].identity for d in domains for guard in self.guards
            },
        )

    def _real_destination(self) -> Destination:
        reader = self.real.new_reader()

        async def final_time() -> int:
            return (await reader.finalized_head()).time

        real, writer = self.real, self.wrap(self.real.writer)
        return Destination(
            real.domain,
            real.relayer_address,
            writer,
            real.relayer,
            real.codec,
            final_time,
            LIMITS,
        )

    def _fake_destination(self, domain: Domain) -> Destination:
        node = self.nodes[domain]

        async def final_time() -> int:
            return (await FakeReader(node).finalized_head()).time

        return Destination(
            domain, KEY.address, FakeWriter(node), KEY, FakeCodec(), final_time, LIMITS
        )

    # ------------------------------------------------------------------ moving it

    def burn_towards_real(self, count: int = 1, source: Domain = Domain.BNB) -> None:
        """Burns of a fake chain to the real one's recipient, final."""
        real, chain = self.real, self.fakes[source]
        for _ in range(count):
            chain.burn(HOLDER.address, real.asset, real.domain, real.recipient, SHARE)
        chain.mine(3)

    async def step(self) -> None:
        """One turn of every process; a chain that cannot be read holds up nobody else."""
        for watcher in self.watchers:
            with suppress(Transient):
                await watcher.read()
        for step in (
            self.relayer.heal,
            self.relayer.review,
            self.relayer.release,
            self.relayer.reconcile,
        ):
            with suppress(Transient, Ambiguous):
                await step()
        for chain in self.fakes.values():
            chain.mine()
        await self.clock.advance(1)

    async def settle(self, turns: int = 12) -> None:
        """Turns with blocks that become final, until every transfer has ended."""
        for _ in range(turns):
            await self.step()
            await self.real.mine()
            await self.real.finalize()
            phases = self.phases()
            if phases and set(phases) == {Phase.RELEASED}:
                return

    # ------------------------------------------------------------------ looking at it

    def phases(self) -> Counter[Phase]:
        """How many transfers stand where."""
        return Counter(transfer.view.phase for transfer in self.disk.transfers.values())

    def slots(self) -> list[SlotEntry]:
        """The slots that were ever used on the real chain."""
        return [one for key, one in self.disk.slots.items() if one.slot.chain is self.real.domain]

    def raws(self) -> set[bytes]:
        """Every transaction that was ever signed for the real chain."""
        attempts = [attempt for entry in self.slots() for attempt in entry.attempts]
        return {one.signed.raw for one in attempts if one.signed is not None}

    def minted_on(self, domain: Domain) -> Counter[bytes]:
        """How often each nonce was released on a fake chain."""
        chain = self.fakes[domain]
        blocks = [chain.block(number) for number in range(chain.head.number + 1)]
        found = [o for block in blocks if block for o in block.observations]
        return Counter(one.nonce for one in found if isinstance(one, ReleaseFinal))


__all__ = ["LIMITS", "Bridge", "KeyHolder", "RealWatcher"]
