"""Three chains, three watchers, three guards, one relayer, and everything that can go wrong.

The services' own handlers run over in-memory stores that survive crashes. One `turn` is one
second: faults strike, every process takes its steps, each chain makes a block, the clock moves.
Nothing sleeps and nothing is random but the seed.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.simulation.dice import Crashed, Dice
from tests.simulation.guards import (
    ATTESTOR_KEY,
    ISSUER_KEY,
    GuardLink,
    GuardProcess,
    MortalStore,
    Network,
    holders_request,
    issue_paper,
    sealed,
)
from xstock_chains.fake import (
    FakeChain,
    FakeCodec,
    FakeConfig,
    FakeNode,
    FakeReader,
    FakeSigner,
    FakeWriter,
    GuardSet,
    Lie,
)
from xstock_chains.ports import ChainReader, SignedTx
from xstock_chains.quorum import Quorum
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, TransferId, asset_id, counter_nonce
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_core.observation import BurnFinal, Place, TxRef
from xstock_core.policy import POLICIES, Policy
from xstock_core.review import Route
from xstock_core.signing import SIGNING_POLICIES
from xstock_relayer.adapters.memory import Disk, MemoryBooks
from xstock_relayer.handlers.issuing import IssueOrderPaper
from xstock_relayer.handlers.relayer import Destination, Relayer
from xstock_relayer.handlers.returning import CancelPaper
from xstock_relayer.model import Change, Hint, Numbered, SignedOrder, Terms, Transfer
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.model import AssetConfig, ChainConfig, GuardConfig, OrderPaper
from xstock_supply_guard.ports import SignatureCheck
from xstock_watcher.adapters.memory import MemoryProgressBus, MemoryWatcherStore
from xstock_watcher.handlers import WatcherHandlers
from xstock_watcher.ports import Numbered as Seen
from xstock_wire.papers import PaperKey

CHAINS = (Domain.ETHEREUM, Domain.BNB, Domain.MANTLE)
SIX_CHAINS = (*CHAINS, Domain.SOLANA, Domain.TRON, Domain.TON)
LAGS = {
    Domain.ETHEREUM: 4,
    Domain.BNB: 1,
    Domain.MANTLE: 6,
    Domain.SOLANA: 3,
    Domain.TRON: 5,
    Domain.TON: 2,
}
ASSETS = (asset_id("TSLAx"), asset_id("AAPLx"))
SHARE = 100_000_000
HOLDERS = tuple(FakeSigner(f"holder-{n}".encode()).address for n in range(4))
HOLDERS_KEYS = tuple(
    PaperKey.of_holder(keccak256(b"xstock/fake-key" + f"holder-{n}".encode())).public_key
    for n in range(4)
)
REFUSING = FakeSigner(b"refusing").address
RELAYER_KEY = FakeSigner(b"relayer")
GUARD_KEYS = {f"guard-{n}": FakeSigner(f"guard-{n}".encode()) for n in (1, 2, 3)}
CAP_SHARES = 1_000 * SHARE
GAP_TURNS = 5
AUDIT_TURNS = 4


@dataclass(frozen=True)
class Setup:
    """What a run is made of. `quorum` reads through 3 providers each, 2 of which must agree.

    The policies and the trust in single providers are what defence-removed runs change.
    """

    seed: int
    domains: tuple[Domain, ...] = CHAINS
    quorum: bool = False
    policies: Sequence[Policy] = POLICIES
    signing_policies: Sequence[Policy] = SIGNING_POLICIES
    believes_kafka: bool = False
    """The relayer takes records for facts, which without this are hints."""
    check_signature: SignatureCheck = sealed
    node_type: type[FakeNode] = FakeNode
    trust_liars: bool = False
    """Guards believe a single provider, and it lies: the quorum taken out."""
    crash_percent: float = 0.3
    batch_items_max: int = 4
    page_limit: int = 5


class MortalBooks(MemoryBooks):
    """The relayer's books: a commit may kill the process or leave its outcome unknown."""

    def __init__(self, disk: Disk, fence: int, dice: Dice, percent: float) -> None:
        super().__init__(disk, fence)
        self._dice = dice
        self.percent = percent

    async def commit(self, change: Change) -> None:
        """All of it or nothing, and perhaps no answer."""
        if self._dice.chance(self.percent):
            raise Crashed("before the commit")
        if self._dice.chance(self.percent):
            raise Ambiguous("COMMIT_UNKNOWN", "the connection broke before the commit")
        await super().commit(change)
        if self._dice.chance(self.percent):
            raise Crashed("after the commit")
        if self._dice.chance(self.percent):
            raise Ambiguous("COMMIT_UNKNOWN", "the connection broke after the commit")


class MortalWriter(FakeWriter):
    """The relayer's way to a chain: the process may die around a broadcast (F38)."""

    def __init__(self, node: FakeNode, dice: Dice) -> None:
        super().__init__(node)
        self._dice = dice
        self.percent = 0.0

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send, unless the process dies before or after it."""
        if self._dice.chance(self.percent):
            raise Crashed("before the broadcast")
        ref = await super().broadcast(tx)
        if self._dice.chance(self.percent):
            raise Crashed("after the broadcast")
        return ref


@dataclass
class Bus:
    """Kafka at its worst: records are lost, doubled, late and out of order."""

    dice: Dice
    chaos: bool = True
    waiting: deque[tuple[int, Numbered]] = field(default_factory=deque)
    turn: int = 0

    def publish(self, seen: Seen) -> None:
        """A watcher's record."""
        if self.chaos and self.dice.chance(10):
            return
        copies = 2 if self.chaos and self.dice.chance(10) else 1
        for _ in range(copies):
            late = self.dice.below(6) if self.chaos and self.dice.chance(20) else 0
            record = Numbered(seen.sequence, seen.observation)
            self.waiting.append((self.turn + late, record))

    def take(self) -> list[Numbered]:
        """What arrives now."""
        now = [record for due, record in self.waiting if due <= self.turn]
        self.waiting = deque(pair for pair in self.waiting if pair[0] > self.turn)
        return now


@dataclass
class WatcherProcess:
    """One chain's watcher: the store survives, the handlers do not."""

    chain: Domain
    reader: ChainReader
    store: MemoryWatcherStore
    clock: VirtualClock
    down: bool = False
    page_limit: int = 5

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A fresh process."""
        self.handlers = WatcherHandlers(
            self.chain,
            self.reader,
            self.store,
            MemoryProgressBus(),
            self.clock,
            page_limit=self.page_limit,
        )

    async def step(self) -> None:
        """Scan what is final."""
        if self.down:
            return
        try:
            while (await self.handlers.scan()).more:
                pass
            await self.handlers.report_progress()
        except (Transient, Ambiguous):
            return

    async def latest_sequence(self) -> int:
        """The last number given out."""
        self._answer()
        return len(self.store.numbered)

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations after this number."""
        self._answer()
        seen = await self.store.list_after(sequence, limit)
        return [Numbered(one.sequence, one.observation) for one in seen]

    def _answer(self) -> None:
        if self.down:
            raise Transient("UNAVAILABLE", f"the watcher of {self.chain.name} is away")


class World:
    """Everything, and one turn of it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.domains = setup.domains
        self.dice = Dice(setup.seed)
        self.clock = VirtualClock(settle_rounds=2)
        self.turn = 0
        self.restart: list[GuardProcess] = []
        self.orders: dict[bytes, OrderPaper] = {}
        self.order_numbers = dict.fromkeys(ASSETS, 0)
        self.attested = dict.fromkeys(ASSETS, 0)
        self.holds = dict.fromkeys(ASSETS, CAP_SHARES)
        self.redeemed: dict[TransferId, bool] = {}
        """Redemptions with custody's last word: paid or not."""
        self.crashes = 0
        self.lazy = False
        """Guards scan a chain now and then only, each at its own moments."""
        self.nodes: list[FakeNode] = []
        self.liars: list[FakeNode] = []
        self.forged_messages: set[TransferMessage] = set()
        members = frozenset(key.identity for key in GUARD_KEYS.values())
        self.chains = {
            domain: FakeChain(
                FakeConfig(domain, ASSETS, GuardSet(1, 2, members), finality_lag_blocks=lag),
                self.clock,
            )
            for domain, lag in LAGS.items()
            if domain in self.domains
        }
        self.bus = Bus(self.dice)
        self.network = Network()
        self.watchers = {domain: self._watcher(domain) for domain in self.domains}
        self.guards = [self._guard(name) for name in GUARD_KEYS]
        self.links = [
            GuardLink(guard, self.dice, self.network, self.orders, self.restart)
            for guard in self.guards
        ]
        self.writers = {
            domain: MortalWriter(self._node(domain), self.dice) for domain in self.domains
        }
        self.final_readers = {domain: FakeReader(self._node(domain)) for domain in self.domains}
        self.disk = Disk()
        self.relayer = self._relayer()

    # making it

    def _node(self, domain: Domain) -> FakeNode:
        number = len(self.nodes)
        node = self.setup.node_type(
            self.chains[domain],
            self.clock,
            SeededRandomness(self.setup.seed * 1_000 + number),
            f"{domain.name.lower()}-{number}",
        )
        self.nodes.append(node)
        return node

    def _reader(self, domain: Domain) -> ChainReader:
        """One provider, or 2 of 3 of which one is a liar."""
        if not self.setup.quorum:
            node = self._node(domain)
            if self.setup.trust_liars:
                self.liars.append(node)
            return FakeReader(node)
        nodes = [self._node(domain) for _ in range(3)]
        self.liars.append(nodes[0])
        return Quorum([FakeReader(node) for node in nodes], 2, clock=self.clock)

    def _watcher(self, domain: Domain) -> WatcherProcess:
        store = MemoryWatcherStore(domain, self.bus.publish)
        limit = self.setup.page_limit
        return WatcherProcess(domain, self._reader(domain), store, self.clock, page_limit=limit)

    def _guard(self, name: str) -> GuardProcess:
        return GuardProcess(
            id=name,
            config=guard_config(name, self.chains, self.setup.page_limit + 2),
            clock=self.clock,
            store=MortalStore(self.dice),
            signer=GUARD_KEYS[name],
            readers={domain: self._reader(domain) for domain in self.domains},
            epochs={domain: FakeWriter(self._node(domain)) for domain in self.domains},
            policies=self.setup.policies,
            signing_policies=self.setup.signing_policies,
            check_signature=self.setup.check_signature,
        )

    def _relayer(self) -> Relayer:
        self.books = MortalBooks(self.disk, self.disk.take_lease(), self.dice, 0.0)
        return Relayer(
            self.books,
            self.terms(),
            self.links,
            [self._destination(domain) for domain in self.domains],
            list(self.watchers.values()),
            self.clock,
        )

    def terms(self) -> Terms:
        """The deployment's terms; Solana carries one release a transaction."""
        size = self.setup.batch_items_max
        return Terms(
            deployment_id="simulation",
            guards=tuple(GUARD_KEYS),
            threshold=2,
            permit_seconds=120,
            bridges={
                (domain, asset): chain.config.bridge
                for domain, chain in self.chains.items()
                for asset in ASSETS
            },
            batch_items_max={d: 1 if d is Domain.SOLANA else size for d in self.domains},
            assets=frozenset(ASSETS),
            signers={(d, n): key.identity for d in self.domains for n, key in GUARD_KEYS.items()},
        )

    def _destination(self, domain: Domain) -> Destination:
        reader = self.final_readers[domain]

        async def final_time() -> int:
            return (await reader.finalized_head()).time

        writer = self.writers[domain]
        return Destination(
            domain, RELAYER_KEY.address, writer, RELAYER_KEY, FakeCodec(), final_time
        )

    # moving it

    async def take_turn(self) -> None:
        """One second of everything."""
        self.turn += 1
        self.bus.turn = self.turn
        for watcher in self.watchers.values():
            await watcher.step()
        for guard in self.guards:
            await self._guard_turn(guard)
        try:
            await self._relayer_turn()
        except Crashed:
            await self.restart_relayer()
        except (Transient, Ambiguous):
            pass
        for guard in self.restart:
            self._restart_guard(guard)
        self.restart.clear()
        for chain in self.chains.values():
            chain.mine()
        await self.clock.advance(1)

    async def _guard_turn(self, guard: GuardProcess) -> None:
        if guard.down:
            return
        try:
            for domain in self.domains:
                if self.lazy and self.dice.chance(50):
                    continue
                await guard.scan(domain)
                if self.turn % AUDIT_TURNS == 0:
                    await guard.audit(domain)
        except Crashed:
            self._restart_guard(guard)

    def _restart_guard(self, guard: GuardProcess) -> None:
        self.crashes += 1
        guard.down = False
        guard.start()

    async def _relayer_turn(self) -> None:
        records = self.bus.take()
        if records:
            await self._take(records)
        if self.turn % GAP_TURNS == 0:
            await self.relayer.heal()
        await self.relayer.review()
        await self.relayer.release()
        await self.relayer.reconcile()

    async def _take(self, records: list[Numbered]) -> None:
        if self.setup.believes_kafka:
            await self.relayer.intake.take(records)
            return
        hints = [Hint(one.observation.place.block.chain, one.sequence) for one in records]
        await self.relayer.wake(hints)

    async def restart_relayer(self) -> None:
        """A new process over the same disk; the old one is fenced out."""
        self.crashes += 1
        percent = self.books.percent
        self.relayer = self._relayer()
        await self.relayer.start()
        self.books.percent = percent

    # what people and custody do

    async def attest(self, asset: AssetId, held_shares: int) -> None:
        """Custody states its holdings to every guard."""
        self.attested[asset] += 1
        now = self.clock.unix_ms() // 1000
        paper = Attestation(asset, held_shares, 8, 10**18, 0, self.attested[asset], now)
        self.holds[asset] = held_shares
        await self._tell_guards(lambda guard: guard.attest(paper))

    async def _tell_guards(self, tell: Callable[[GuardProcess], Awaitable[None]]) -> None:
        """Every guard hears it, however often it dies while it listens."""
        for guard in self.guards:
            while True:
                try:
                    await tell(guard)
                except Crashed:
                    self._restart_guard(guard)
                else:
                    break

    async def settle_redemption(self, burn: BurnFinal, *, pay: bool) -> None:
        """Custody's last word: paid (its next attestation lists it) or rejected."""
        self.redeemed[burn.transfer_id] = pay
        if not pay:
            await self._tell_guards(lambda guard: guard.reject(burn.transfer_id))
            return
        asset = burn.message.asset
        self.attested[asset] += 1
        now = self.clock.unix_ms() // 1000
        paper = Attestation(asset, self.holds[asset], 8, 10**18, 0, self.attested[asset], now)
        await self._tell_guards(lambda guard: guard.attest(paper, paid=(burn.transfer_id,)))

    async def take_back(self, transfer: Transfer, *, life: int = 60) -> None:
        """The holder asks for the tokens of a transfer back, with a signed paper."""
        message = transfer.state.message
        if message is None or message.refund_address not in HOLDERS:
            return
        key = HOLDERS_KEYS[HOLDERS.index(message.refund_address)]
        expires = self.clock.unix_ms() // 1000 + life
        signed = holders_request(transfer.id, expires, key)
        paper = CancelPaper(transfer.id, expires, signed)
        try:
            await self.relayer.returner.cancel(transfer.id, "changed my mind", "holder", paper)
        except Crashed:
            await self.restart_relayer()
        except (Transient, Ambiguous, InvalidMessage):
            return

    async def issue(
        self, asset: AssetId, destination: Domain, recipient: Address32, amount: int
    ) -> None:
        """The issuer hands an order to the relayer, again if the answer is lost."""
        self.order_numbers[asset] += 1
        number = self.order_numbers[asset]
        expires = self.clock.unix_ms() // 1000 + 600
        paper = issue_paper(asset, number, destination, recipient, amount, expires)
        self.orders[paper.statement.paper] = paper
        signed = SignedOrder("order", paper.statement.paper, "issuer", paper.statement.signature)
        content = IssueOrderPaper(
            asset, number, destination, recipient, amount, expires, ISSUER_KEY
        )
        for _ in range(20):
            try:
                await self.relayer.issuer.submit(signed, content)
            except Crashed:
                await self.restart_relayer()
            except (Transient, Ambiguous):
                continue
            else:
                return
        raise AssertionError("the relayer did not take an order in twenty tries")

    async def forge_attestation(self, asset: AssetId, held_shares: int) -> int:
        """Somebody else than custody states its holdings; how many guards believed it."""
        now = self.clock.unix_ms() // 1000
        paper = Attestation(asset, held_shares, 8, 10**18, 0, self.attested[asset] + 1, now)
        believed = 0
        for guard in self.guards:
            try:
                await guard.attest(paper, key=b"\x02" + b"\x99" * 32)
            except InvalidMessage:
                continue
            believed += 1
        return believed

    def lie_at(self, chain: FakeChain) -> Lie:
        """A burn that never happened, at the final head; the same for every liar of a block."""
        destination = next(domain for domain in self.domains if domain is not chain.domain)
        return Lie(chain.final.number, ASSETS[0], destination, HOLDERS[0], HOLDERS[1], 7 * SHARE)

    def forge_record(self) -> None:
        """A burn that never happened, written to the topic as if a watcher had seen it.

        Often it bears the nonce of a real one. Each forgery is another message: the relayer
        takes one message at two final places for broken finality and halts the lane.
        """
        chain = self.chains[self.dice.pick(self.domains)]
        place = Place(chain.final, TxRef(chain.domain, bytes([7]) * 32), 0)
        lie = self.lie_at(chain)
        bridge = chain.config.bridge
        message = make_message(
            kind=Kind.TRANSFER,
            source=chain.domain,
            destination=lie.destination,
            nonce=counter_nonce(bridge, self.dice.between(1, 40)),
            source_bridge=bridge,
            asset=lie.asset,
            refund_address=lie.sender,
            recipient=lie.recipient,
            amount=lie.amount + len(self.forged_messages),
        )
        self.forged_messages.add(message)
        burn = BurnFinal(message, message.transfer_id(keccak256), lie.sender, 1, place)
        self.bus.waiting.append((self.turn, Numbered(0, burn)))

    def holdings(self) -> list[tuple[Domain, AssetId, Address32, int]]:
        """Who could burn what now, in shares."""
        found = []
        for domain, chain in self.chains.items():
            at = chain.head.number
            for asset, holder in chain.state.balance.keys():  # noqa: SIM118
                units = chain.state.balance.get((asset, holder), at)
                if units >= 10**10 and holder in HOLDERS:
                    found.append((domain, asset, holder, units // 10**10))
        return found

    def heal_everything(self) -> None:
        """The storm is over: every fault ends."""
        for node in self.nodes:
            node.faults = type(node.faults)()
        for chain in self.chains.values():
            chain.freeze_finality(frozen=False)
        self.bus.chaos = self.lazy = False
        self.network.fail_percent = self.network.lost_reply_percent = 0
        self.set_crashes(0.0)
        for guard in self.guards:
            if guard.down:
                self._restart_guard(guard)
        for watcher in self.watchers.values():
            watcher.down = False

    def set_crashes(self, percent: float) -> None:
        """How often processes die at their commits and broadcasts."""
        self.books.percent = percent
        for writer in self.writers.values():
            writer.percent = percent
        for guard in self.guards:
            guard.store.crash_percent = percent


def guard_config(name: str, chains: dict[Domain, FakeChain], page_limit: int = 7) -> GuardConfig:
    """One guard's configuration: every route between the chains, issuance and redemption."""
    ends = (*chains, Domain.CUSTODY)
    routes = {
        (asset, source, destination): Route()
        for asset in ASSETS
        for source in ends
        for destination in ends
        if source is not destination
    }
    return GuardConfig(
        guard_id=name,
        deployment_id="simulation",
        chains={
            domain: ChainConfig(
                domain,
                domain.name,
                dict.fromkeys(ASSETS, chain.config.bridge),
                frozenset({chain.config.bridge}),
            )
            for domain, chain in chains.items()
        },
        assets={
            asset: AssetConfig(asset, f"asset-{n}", dict.fromkeys(chains, 18))
            for n, asset in enumerate(ASSETS)
        },
        routes=routes,
        issuers={"issuer": ISSUER_KEY},
        attestors={"custodian": ATTESTOR_KEY},
        custodians=frozenset({"custodian"}),
        page_limit=page_limit,
        review_wait_seconds=0,
        fresh_key=True,
    )
