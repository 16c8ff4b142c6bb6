"""One watcher over a fake chain; `restart` throws the process away and keeps the store."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.builders import NVDAX, SHARE, TSLAX, an_address
from xstock_chains.fake import FakeChain, FakeConfig, FakeNode, FakeReader, GuardSet
from xstock_chains.ports import ChainReader
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal, TxRef
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_watcher.adapters.memory import MemoryProgressBus, MemoryWatcherStore
from xstock_watcher.handlers import WatcherHandlers
from xstock_watcher.ports import Numbered, WatcherStore

CHAIN = Domain.ETHEREUM
HOLDER = an_address(1)


@dataclass
class WatcherWorld:
    """A chain, a node in front of it, a store and the watcher's handlers."""

    store: WatcherStore | None = None
    page_limit: int = 1_000
    make_reader: Callable[[FakeNode], ChainReader] = FakeReader
    published: list[Numbered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        guards = GuardSet(1, 2, frozenset((b"\x01" * 20, b"\x02" * 20)))
        opening = {(TSLAX, HOLDER): 10**6 * SHARE}
        config = FakeConfig(CHAIN, (TSLAX, NVDAX), guards, opening=opening)
        self.chain = FakeChain(config, self.clock)
        self.node = FakeNode(self.chain, self.clock, SeededRandomness(1))
        self.reader = self.make_reader(self.node)
        if self.store is None:
            self.store = MemoryWatcherStore(CHAIN, self.published.append)
        self.bus = MemoryProgressBus()
        self.handlers = self.instance()

    @property
    def books(self) -> WatcherStore:
        """The store."""
        assert self.store is not None
        return self.store

    def instance(self) -> WatcherHandlers:
        """A process of this watcher, as it starts."""
        return WatcherHandlers(
            CHAIN, self.reader, self.books, self.bus, self.clock, page_limit=self.page_limit
        )

    def restart(self) -> None:
        """Only the store is kept."""
        self.handlers = self.instance()

    def burn(self, amount: int = SHARE) -> TxRef:
        """Queue a burn towards BNB."""
        return self.chain.burn(HOLDER, TSLAX, Domain.BNB, an_address(2), amount)

    async def scan_all(self) -> int:
        """Scan until there is no more; how many observations were new."""
        new = 0
        while True:
            scanned = await self.handlers.scan()
            new += scanned.new
            if not scanned.more:
                return new

    async def burns(self) -> list[TxRef]:
        """The transactions of all burns kept, in their order."""
        kept = await self.books.list_after(0, 10_000)
        return [n.observation.place.tx for n in kept if isinstance(n.observation, BurnFinal)]
