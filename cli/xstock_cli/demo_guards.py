"""The second half of the demonstration: what the guards are for.

A redemption that custody pays, a transfer that flows back, collateral that falls, shares minted
past the bridge and caught, a halt that two people clear, and journals that anybody can check.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from xstock_chains.profiles import open_office
from xstock_cli.bridge import Sent
from xstock_cli.hands import CUSTODY, Hands
from xstock_cli.show import share_text
from xstock_core.amount import parse_share_decimal
from xstock_devnet.custodian import CUSTODY_FILE
from xstock_devnet.plan import GUARDS
from xstock_devnet.stolen_minter import stolen_minter
from xstock_devnet.world import WORLD_FILE, World
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.v1 import bridge_pb2, operator_pb2, operator_pb2_grpc, supply_guard_pb2

SHARE: Final = 10**8
CUSTODY_ACCOUNT: Final = "11" * 32
"""The account at custody that the stock goes to: custody's own reference, 32 bytes."""
REDEEMED: Final = ("SPYx", "20")
RETURNED: Final = ("NVDAx", "250")
"""More than may leave at once: such an amount waits before its release."""
UNCOVERED: Final = ("NVDAx", "2.5")
STOLEN: Final = ("TSLAx", 1_000 * SHARE)
APPROVERS: Final = ("operator-1", "operator-2")

Book = supply_guard_pb2.AssetLedger


@dataclass(slots=True)
class GuardFacts:
    """What the closing line says of the guards' work."""

    redeemed: int = 0
    refunded: int = 0
    uncovered_held: int = 0
    mints_caught: int = 0
    halts_cleared: int = 0
    journals_verified: int = 0
    journals: int = len(GUARDS)

    @property
    def good(self) -> bool:
        """True when each of them happened."""
        done = (self.redeemed, self.refunded, self.uncovered_held, self.mints_caught)
        return all(done) and self.halts_cleared > 0 and self.journals_verified == self.journals

    @property
    def words(self) -> str:
        """Their part of the line."""
        return (
            f"redeemed {self.redeemed}/1, refunded {self.refunded}/1, "
            f"held while uncovered {self.uncovered_held}/1, "
            f"unauthorised mint caught {self.mints_caught}/1, "
            f"journals verified {self.journals_verified}/{self.journals}"
        )


@dataclass(slots=True)
class GuardActs:
    """The acts, over a world that is up and whose holder-0 has shares on every chain."""

    world: World
    hands: Hands
    say: Callable[[str], None]
    facts: GuardFacts = field(default_factory=GuardFacts)
    clock: Clock = field(default_factory=SystemClock)
    sent: list[Sent] = field(default_factory=list)
    """Transfers that were released in the end, for the count."""

    async def run(self) -> None:
        """Every act in its turn; raises TimeoutError that says what was waited for."""
        chains = [chain.name for chain in self.world.chains]
        await self.redeem(chains[1 % len(chains)])
        await self.flow_back(chains[0], chains[1 % len(chains)])
        await self.fall_short(chains[0], chains[-1])
        await self.steal_the_minter(*STOLEN)

    # ------------------------------------------------------------------ the acts

    async def redeem(self, chain: str) -> None:
        """A holder burns for stock; custody pays, and its next statement closes it."""
        symbol, amount = REDEEMED
        units = int(parse_share_decimal(amount))
        self.say(f"act 6: a holder redeems {amount} {symbol} on {chain}; custody pays in stock")
        sent = await self._send(chain, CUSTODY, symbol, amount, recipient=CUSTODY_ACCOUNT)
        await self._books(
            symbol,
            lambda book: book.unpaid_redemption == units,
            waiting_for="every guard to book the redemption as unpaid",
        )
        self.say(f"  burned; {share_text(units)} {symbol} stay exposure until custody has paid")
        transfer = await self._seen(sent)
        with self._custody() as custody:
            # The custodian lowers what it holds itself when it hands the stock over.
            custody[symbol].setdefault("paid", []).append(transfer.id.hex())
        await self._books(
            symbol,
            lambda book: book.unpaid_redemption == 0,
            waiting_for="an attestation that lists the redemption as paid",
        )
        await self._state(sent, "RELEASED")
        self.facts.redeemed = 1
        self.say("  paid: the next attestation lists it, and every guard has closed it")

    async def flow_back(self, source: str, destination: str) -> None:
        """A transfer that waits is taken back by its holder."""
        symbol, amount = RETURNED
        self.say(f"act 7: {amount} {symbol} wait before release; the holder takes them back")
        holder = self.hands.holder(source, "holder-0")
        before = await holder.shares_of(symbol)
        sent = await self._send(source, destination, symbol, amount)
        transfer = await self._seen(sent)
        await self.hands.until(
            lambda: self.hands.reason(transfer.id) == "LARGE_TRANSFER_DELAY",
            seconds=60,
            waiting_for="the guards to hold the large transfer",
        )
        self.say(f"  {source} → {destination} is held; the holder signs a request to cancel")
        await self.hands.cancel(transfer.id, key="holder-0", reason="changed my mind")
        await self._state(sent, "REFUNDED", seconds=120)
        if await holder.shares_of(symbol) != before:
            raise RuntimeError(f"{source}: the refund of {amount} {symbol} is not what was burned")
        self.facts.refunded = 1
        self.say(f"  cancelled on {destination}, then minted again on {source}, to the last unit")

    async def fall_short(self, source: str, destination: str) -> None:
        """Collateral below exposure: releases wait, burns are booked, and it goes on by itself."""
        symbol, amount = UNCOVERED
        self.say(f"act 8: custody's {symbol} falls below what exists")
        with self._custody() as custody:
            full = custody[symbol]["held_units"]
            custody[symbol]["held_units"] = full // 1000
        await self._books(
            symbol,
            lambda book: book.exposure > book.cap,
            waiting_for="every guard to see that the collateral has fallen",
        )
        sent = await self._send(source, destination, symbol, amount)
        transfer = await self._seen(sent)
        await self.hands.until(
            lambda: self.hands.reason(transfer.id) == "CAP_EXCEEDED",
            seconds=60,
            waiting_for="the guards to hold a release that custody does not cover",
        )
        units = sent.shares
        await self._books(
            symbol,
            lambda book: book.in_flight >= units,
            waiting_for="every guard to have booked the burn all the same",
        )
        self.say(f"  {source} → {destination} is held (CAP_EXCEEDED); its burn is booked")
        with self._custody() as custody:
            custody[symbol]["held_units"] = full
        await self.hands.released(sent, seconds=90)
        self.sent.append(sent)
        self.facts.uncovered_held = 1
        self.say("  covered again: it was released by itself")

    async def steal_the_minter(self, symbol: str, shares: int) -> None:
        """An unauthorised mint: halted, paused on chain, and cleared by two on green books."""
        chain = next(
            one.name
            for one in self.world.chains
            if one.family == "evm" and one.name in self.world.nodes
        )
        self.say(f"act 9: somebody mints {share_text(shares)} {symbol} on {chain} past the bridge")
        thief = self.hands.holder(chain, "holder-2").address
        url = self.world.node_urls(chain)[0]
        asset = self.world.registry.asset(symbol).id
        async with stolen_minter(self.world.registry, chain, url, symbol) as minter:
            began = self.clock.monotonic()
            await minter.mint(thief, shares)
            await self._books(
                symbol, lambda book: bool(book.halted), waiting_for="every guard to halt the asset"
            )
            seconds = self.clock.monotonic() - began
            self.say(f"  every guard has halted {symbol} {seconds:.1f} s after the mint")
            await self._paused_on_chain(asset, symbol)
            self.facts.mints_caught = 1
            await self._refuse_to_resume(asset)
            await minter.take_back(thief, shares)
            await minter.burn(shares)
        self.say("  the shares are destroyed again; two people look at the books and clear it")
        await self._resume(asset, symbol)

    async def _paused_on_chain(self, asset: bytes, symbol: str) -> None:
        """The agent's process pauses the asset wherever it is, by itself."""

        async def paused() -> bool:
            return all([await self._is_paused(chain.name, asset) for chain in self.world.chains])

        await self.hands.poll(
            paused, seconds=60, waiting_for=f"the agent to pause {symbol} on every chain"
        )
        self.say(f"  the agent has paused {symbol} on all {len(self.world.chains)} chains")

    async def _is_paused(self, chain: str, asset: bytes) -> bool:
        url = self.world.node_urls(chain)[0]
        opened = open_office(self.world.registry, chain, url, None)
        try:
            states = await opened.port.pause_states()
        finally:
            await opened.aclose()
        return any(state.paused and state.asset in (None, asset) for state in states)

    async def _refuse_to_resume(self, asset: bytes) -> None:
        """F92: two people cannot clear a halt while the books are red."""
        for who in APPROVERS:
            for guard, halt in await self._halts(asset):
                answer = await self._approve(guard, who, halt.id)
                if answer.cleared:
                    raise RuntimeError(f"{guard} cleared a halt with shares above its ledger")
        self.say(f"  {' and '.join(APPROVERS)} approve, and are refused: {answer.missing}")

    async def _resume(self, asset: bytes, symbol: str) -> None:
        async def cleared() -> bool:
            # The auditor may have latched a halt of its own since: both people look at each.
            for guard, halt in await self._halts(asset):
                for who in APPROVERS:
                    if (await self._approve(guard, who, halt.id)).cleared:
                        break
            return not await self._halts(asset)

        await self.hands.poll(
            cleared, seconds=60, waiting_for="the books to be green and the halts cleared"
        )
        self.facts.halts_cleared = 1
        self.say(f"  the books are green: {symbol} is cleared at every guard")

    async def verify_journals(self) -> None:
        """Every guard's journal and signed proof, checked by a program without our code."""
        symbol = REDEEMED[0]
        self.say(f"act 10: journals and signed proofs of {symbol} are exported, checked offline")
        folder = self.world.folder / "audit"
        folder.mkdir(exist_ok=True)
        await self._xstock("audit", "proof", symbol, "--out", str(folder))
        await asyncio.gather(*(self._verify_journal(guard, folder) for guard in GUARDS))

    async def _verify_journal(self, guard: str, folder: Path) -> None:
        file = folder / f"{guard}.journal"
        await self._xstock("audit", "export", "--guard", guard, "--out", str(file))
        proof = folder / f"{REDEEMED[0]}-{guard}.json"
        said = await self._xstock("audit", "verify", str(file), "--proof", str(proof))
        self.say(f"  {said.splitlines()[0] if said else f'{guard}: nothing said'}")
        self.facts.journals_verified += 1

    async def _xstock(self, *words: str) -> str:
        """A command in a process of its own, as a person would run it; what it answered.

        Raises RuntimeError with what it said when it failed.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xstock_cli", *words),
            *("--world", str(self.world.folder / WORLD_FILE)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 120 * self.hands.patience)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"xstock {' '.join(words)}: {(err or out).decode()[-800:]}")
        return out.decode().strip()

    # ------------------------------------------------------------------ one thing at a time

    async def _send(
        self, source: str, destination: str, symbol: str, amount: str, *, recipient: str = ""
    ) -> Sent:
        return await self.hands.send(
            self.hands.holder(source, "holder-0"),
            source,
            destination,
            symbol,
            amount,
            recipient=recipient or self.hands.holder(destination, "holder-1").address_text,
        )

    async def _seen(self, sent: Sent) -> bridge_pb2.Transfer:
        """The transfer of a burn, once the bridge shows it."""
        await self.hands.until(
            lambda: self.hands.transfer_of(sent) is not None,
            seconds=60,
            waiting_for=f"the bridge to see the burn on {sent.source}",
        )
        transfer = self.hands.transfer_of(sent)
        if transfer is None:
            raise TimeoutError(f"the burn on {sent.source} is gone again")
        return transfer

    async def _state(self, sent: Sent, name: str, *, seconds: float = 60) -> None:
        wanted = bridge_pb2.TransferState.Value(f"TRANSFER_STATE_{name}")

        def there() -> bool:
            transfer = self.hands.transfer_of(sent)
            return transfer is not None and transfer.state == wanted

        await self.hands.until(
            there,
            seconds=seconds,
            waiting_for=f"{sent.source} → {sent.destination} to be {name}",
        )

    async def _books(self, symbol: str, good: Callable[[Book], bool], *, waiting_for: str) -> None:
        """Wait until every guard's book of an asset is as it should be."""
        asset = self.world.registry.asset(symbol).id

        async def all_good() -> bool:
            for guard in GUARDS:
                books = await self.hands.bridge.ledger(self.world.processes[guard].target, [asset])
                if not all(good(book) for book in books.assets):
                    return False
            return True

        await self.hands.poll(all_good, seconds=60, waiting_for=waiting_for)

    @contextmanager
    def _custody(self) -> Iterator[dict[str, Any]]:
        """What custody holds, to be changed; its next statement says so."""
        file = self.world.folder / CUSTODY_FILE
        custody = json.loads(file.read_text(encoding="utf-8"))
        yield custody
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(custody, indent=1), encoding="utf-8")
        fresh.replace(file)

    async def _operator(self, guard: str, who: str) -> "operator_pb2_grpc.OperatorServiceAsyncStub":
        channel = await self.hands.bridge.channel(self.world.processes[guard].target, who)
        return operator_pb2_grpc.OperatorServiceStub(channel)

    async def _halts(self, asset: bytes) -> list[tuple[str, operator_pb2.HaltRecord]]:
        """(guard, halt) of this asset, at every guard."""
        found = []
        for guard in GUARDS:
            stub = await self._operator(guard, APPROVERS[0])
            answer = await stub.ListHalts(operator_pb2.ListHaltsRequest(), timeout=10)
            found += [(guard, halt) for halt in answer.halts if halt.scope.asset == asset]
        return found

    async def _approve(self, guard: str, who: str, halt_id: str) -> operator_pb2.ResumeResponse:
        stub = await self._operator(guard, who)
        request = operator_pb2.ResumeRequest(halt_id=halt_id, reason="the demonstration's own mint")
        try:
            return await stub.Resume(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error
