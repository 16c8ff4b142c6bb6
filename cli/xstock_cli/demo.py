"""The demonstration: the bridge's main job on a whole local world, in front of your eyes.

Issues supply through the guards, moves transfers over every route, asks for more than custody
holds, takes every chain away once and brings it back, kills services with transfers under way,
shows what the guards are for (`demo_guards`), and then counts. Every figure about transfers and
supply in the closing line is read from the chains themselves (`verify`),
not from what the services say of themselves.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import permutations
from typing import Final, Protocol

from xstock_cli.bridge import Sent
from xstock_cli.demo_guards import GuardActs, GuardFacts
from xstock_cli.hands import RELEASED, Hands, hands_of_world
from xstock_cli.show import limit_text, share_text, state_name
from xstock_cli.verify import Auditor, ChainFacts, SupplyCheck, counts
from xstock_core.ids import Domain, issue_nonce
from xstock_core.release import ExecutionKey
from xstock_devnet.plan import GUARDS
from xstock_devnet.world import ISSUER_KEY_ID, World
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import bridge_pb2


class Stage(Protocol):
    """Who shows the demonstration."""

    def say(self, text: str) -> None:
        """One line about what happens."""
        ...

    def moved(self, transfer: bridge_pb2.Transfer, seconds: float) -> None:
        """A transfer reached a revision, so many seconds after the beginning."""
        ...


SHARE: Final = 10**8
ISSUED: Final = ("TSLAx", "NVDAx", "SPYx", "COINx")
ISSUE_SHARES: Final = 500
OVER_CAP: Final = ("AAPLx", 20_000)
ORDER_SECONDS: Final = 600
AMOUNTS: Final = ("12.5", "0.12345678", "33", "7.00000001", "1.5", "20.25")


@dataclass(slots=True)
class DemoFacts:
    """What the closing line says, for people and for programs."""

    routes: int = 0
    routes_expected: int = 0
    transfers_released: int = 0
    transfers_sent: int = 0
    lost: int = 0
    duplicated: int = 0
    over_cap_refused: int = 0
    over_cap_asked: int = 0
    chains_equal: int = 0
    chains: int = 0
    guards: GuardFacts = field(default_factory=GuardFacts)
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """The closing line."""
        return (
            f"demo: routes {self.routes}/{self.routes_expected}, "
            f"transfers {self.transfers_released} released, lost {self.lost}, "
            f"duplicated {self.duplicated}, "
            f"over-cap refused {self.over_cap_refused}/{self.over_cap_asked}, "
            f"{self.guards.words}, "
            f"supply = ledger on {self.chains_equal}/{self.chains} chains"
        )

    @property
    def good(self) -> bool:
        """True when every word of the line is as it should be."""
        return (
            self.routes == self.routes_expected > 0
            and self.transfers_released == self.transfers_sent > 0
            and self.lost == self.duplicated == 0
            and self.over_cap_refused == self.over_cap_asked > 0
            and self.chains_equal == self.chains > 0
            and self.guards.good
        )

    def as_json(self) -> dict[str, object]:
        """The same facts for a program."""
        return {**asdict(self), "line": self.line, "good": self.good}


@dataclass(slots=True)
class Demo:
    """One run over a world that is up."""

    world: World
    hands: Hands
    auditor: Auditor
    say: Callable[[str], None]
    clock: SystemClock = field(default_factory=SystemClock)
    sent: list[Sent] = field(default_factory=list)
    facts: DemoFacts = field(default_factory=DemoFacts)

    async def run(self) -> DemoFacts:
        """The whole demonstration; raises TimeoutError that says what was waited for."""
        began = self.clock.monotonic()
        chains = [chain.name for chain in self.world.chains]
        self.say("waiting until the guards have read every chain and may sign …")
        await self.hands.guards_ready()
        await self._issue(chains)
        await self._ask_above_the_cap(chains[0])
        await self._every_route(chains)
        await self._take_chains_away(chains)
        await self._kill_services(chains)
        acts = GuardActs(self.world, self.hands, self.say, self.facts.guards, self.clock)
        await acts.run()
        self.sent += acts.sent
        await self._count(chains)
        await acts.verify_journals()
        self.facts.seconds = round(self.clock.monotonic() - began, 1)
        return self.facts

    # ------------------------------------------------------------------ the acts

    async def _issue(self, chains: list[str]) -> None:
        count = len(ISSUED) * len(chains)
        self.say(
            f"act 1: the issuer orders {ISSUE_SHARES} shares of {len(ISSUED)} assets per chain"
        )
        ids = []
        for symbol in ISSUED:
            for number, chain in enumerate(chains, start=1):
                ids.append(await self._order(symbol, number, chain, ISSUE_SHARES * SHARE))
        await self.hands.until(
            lambda: all(self.hands.state(one) == RELEASED for one in ids),
            seconds=90,
            waiting_for=f"{count} issuances to be final on their chains",
        )
        self.say(f"  {count} issuances released through the guards")

    async def _ask_above_the_cap(self, chain: str) -> None:
        symbol, shares = OVER_CAP
        self.say(f"act 2: the issuer asks for {shares} {symbol}, more than custody holds")
        transfer_id = await self._order(symbol, 1, chain, shares * SHARE)
        self.facts.over_cap_asked += 1
        await self.hands.until(
            lambda: self.hands.reason(transfer_id) == "CAP_EXCEEDED",
            seconds=30,
            waiting_for="the guards to refuse the issuance above the cap",
        )
        asset = self.world.registry.asset(symbol).id
        for guard in GUARDS:
            books = await self.hands.bridge.ledger(self.world.processes[guard].target, [asset])
            (book,) = books.assets
            limit = limit_text(book.cap, book.excluded)
            self.say(
                f"  {guard} refuses: exposure {share_text(book.exposure)} + asked {shares} > cap "
                f"{limit} shares (attestation {book.attestation_sequence})"
            )

    async def _every_route(self, chains: list[str]) -> None:
        routes = list(permutations(chains, 2))
        self.facts.routes_expected = len(routes)
        self.say(f"act 3: one transfer over each of the {len(routes)} routes")
        await asyncio.gather(*(self._send_from(source, routes) for source in chains))
        await self._all_released(seconds=90)

    async def _send_from(self, source: str, routes: list[tuple[str, str]]) -> None:
        for index, (start, end) in enumerate(routes):
            if start == source:
                symbol = ISSUED[index % len(ISSUED)]
                await self._send(start, end, symbol, AMOUNTS[index % len(AMOUNTS)])

    async def _take_chains_away(self, chains: list[str]) -> None:
        """Each chain in its turn: what goes to it and comes from it waits, the others go on."""
        self.say("act 4: each chain in its turn stops answering with transfers on their way")
        for number, gone in enumerate(chains):
            others = chains[number + 1 :] + chains[:number]
            await self._take_away(gone, others[0], others[1])
        await self._all_released(seconds=90)

    async def _take_away(self, gone: str, other: str, third: str) -> None:
        burns = await asyncio.gather(
            self._send(other, gone, "TSLAx", "2.5"), self._send(gone, third, "NVDAx", "3.75")
        )
        await self.hands.until(
            lambda: all(self.hands.transfer_of(one) is not None for one in burns),
            seconds=30,
            waiting_for="the bridge to see both burns",
        )
        await self.world.proxy.add("stop", chain=gone)
        live = await self._send(other, third, "SPYx", "1.25")
        await self.hands.released(live, seconds=60)
        waiting = ", ".join(
            f"{burn.source} → {burn.destination} {self._name_of(burn)}" for burn in burns
        )
        self.say(f"  {gone} is away; {other} → {third} goes on; {waiting}")
        await self.world.proxy.lift(chain=gone)
        self.say(f"  {gone} is back")

    async def _kill_services(self, chains: list[str]) -> None:
        self.say("act 5: kill -9 the relayer and guard-2 with transfers under way")
        burns = await asyncio.gather(
            self._send(chains[0], chains[2], "COINx", "4"),
            self._send(chains[1], chains[0], "TSLAx", "5"),
            self._send(chains[2], chains[1], "NVDAx", "6"),
        )
        await self.hands.until(
            lambda: any(self.hands.transfer_of(one) is not None for one in burns),
            seconds=30,
            waiting_for="the first burn to be seen",
        )
        relayer, guard = self.world.service("relayer"), self.world.service("guard-2")
        await asyncio.gather(relayer.kill9(), guard.kill9())
        self.say("  both are dead; the burns become final meanwhile")
        await self.clock.sleep(3.0)
        await asyncio.gather(relayer.start(), guard.start())
        self.say("  both run again")
        await self._all_released(seconds=90)

    # ------------------------------------------------------------------ counting, on the chains

    async def _count(self, chains: list[str]) -> None:
        self.say("counting on the chains themselves …")
        facts = await self._settled_facts()
        self._count_transfers(facts)
        self._count_over_cap(facts, chains[0])
        checks = await self._settled_supply()
        self.facts.chains_equal, self.facts.chains = counts(checks)
        for check in checks:
            if not check.equal:
                shown = "unreadable" if check.on_chain is None else check.on_chain
                self.say(
                    f"  {check.chain} {check.symbol}: chain {shown}, {check.guard} "
                    f"{check.in_ledger}"
                )

    def _count_transfers(self, facts: ChainFacts) -> None:
        burned_by_tx = {burn.place.tx: key for key, burn in facts.burns.items()}
        released = [
            one
            for one in self.sent
            if one.tx in burned_by_tx and facts.released_as_burned(burned_by_tx[one.tx])
        ]
        self.facts.transfers_sent = len(self.sent)
        self.facts.transfers_released = len(released)
        self.facts.routes = len({(one.source, one.destination) for one in released})
        self.facts.lost = len(facts.lost)
        self.facts.duplicated = len(facts.duplicated)

    def _count_over_cap(self, facts: ChainFacts, chain: str) -> None:
        symbol, _ = OVER_CAP
        asset = self.world.registry.asset(symbol).id
        destination = self.world.registry.chain(chain).domain
        nonce = issue_nonce(asset, 1, keccak256)
        key = ExecutionKey(destination, Domain.CUSTODY, nonce)
        self.facts.over_cap_refused = int(key not in facts.releases)

    async def _settled_facts(self) -> ChainFacts:
        """The chains' facts once their final blocks hold every transfer (bounded)."""
        found = await self.auditor.facts()
        deadline = self.clock.monotonic() + 60 * self.hands.patience
        while found.lost and self.clock.monotonic() < deadline:
            await self.clock.sleep(1.0)
            found = await self.auditor.facts()
        return found

    async def _settled_supply(self) -> list[SupplyCheck]:
        """Supply against every guard's ledger, once they have read as far as we (bounded)."""
        deadline = self.clock.monotonic() + 60 * self.hands.patience
        while True:
            books = {
                guard: await self.hands.bridge.ledger(self.world.processes[guard].target)
                for guard in GUARDS
            }
            checks = await self.auditor.compare(books)
            if all(check.equal for check in checks) or self.clock.monotonic() > deadline:
                return checks
            await self.clock.sleep(1.0)

    # ------------------------------------------------------------------ one thing at a time

    async def _order(self, symbol: str, number: int, chain: str, units: int) -> bytes:
        holder = self.hands.holder(chain, "holder-0")
        key = PaperKey.from_file(ISSUER_KEY_ID, self.world.key_file("issuer"))
        return await self.hands.order(
            symbol, number, chain, units, recipient=holder.address, key=key
        )

    async def _send(self, source: str, destination: str, symbol: str, amount: str) -> Sent:
        sent = await self.hands.send(
            self.hands.holder(source, "holder-0"),
            source,
            destination,
            symbol,
            amount,
            recipient=self.hands.holder(destination, "holder-1").address_text,
        )
        self.sent.append(sent)
        return sent

    def _name_of(self, sent: Sent) -> str:
        transfer = self.hands.transfer_of(sent)
        return "not seen yet" if transfer is None else state_name(transfer)

    async def _all_released(self, *, seconds: float) -> None:
        for sent in self.sent:
            await self.hands.released(sent, seconds=seconds)


async def run_demo(world: World, stage: Stage, *, patience: float = 1.0) -> DemoFacts:
    """Run the demonstration on a world that is up; raises TimeoutError, never a half answer."""
    nodes: Mapping[str, tuple[str, ...]] = {
        chain.name: world.node_urls(chain.name) for chain in world.chains
    }
    began = SystemClock().monotonic()

    def show(transfer: bridge_pb2.Transfer) -> None:
        stage.moved(transfer, SystemClock().monotonic() - began)

    hands = hands_of_world(world.document(), world.registry, changed=show, patience=patience)
    async with hands, Auditor(world.registry, nodes, world.residues) as auditor:
        return await Demo(world, hands, auditor, stage.say).run()
