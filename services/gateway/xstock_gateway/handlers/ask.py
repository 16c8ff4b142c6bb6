"""Questions about transfers: by id, by list, by whatever the caller has in hand."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.ports import Progress
from xstock_chains.registry import ChainEntry, Registry
from xstock_core.ids import Address32, Domain, InvalidId, TransferId
from xstock_core.observation import BlockRef, BurnFinal, TxRef
from xstock_gateway.handlers.follow import Wakeups, woken
from xstock_gateway.handlers.ingest import IngestHandler
from xstock_gateway.ports import ChainDesk, GatewayStore, ViewFilter, Watchers
from xstock_gateway.refusals import ApiRefused, field_refused
from xstock_gateway.token import LISTING, Mark, TokenBox
from xstock_gateway.view import BurnBecameFinal, BurnWasSeen, Fact, TransferView, tells_news
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.hashing import keccak256

_HEX32: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_QUERY_MAX: Final = 200
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class ChainSaid:
    """What one chain says about a query; `verdict` as in LookupVerdict, without prefix."""

    chain: str
    verdict: str
    through: BlockRef | None
    at_ms: int
    blocks_to_final: int = 0
    probable_chain: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup found; coverage is never empty."""

    views: tuple[TransferView, ...]
    coverage: tuple[ChainSaid, ...]


@dataclass(slots=True)
class AskHandler:
    """Answers from the store, and from the watchers where the store knows nothing."""

    registry: Registry
    store: GatewayStore
    watchers: Watchers
    desks: Mapping[Domain, ChainDesk]
    ingest: IngestHandler
    tokens: TokenBox
    wakeups: Wakeups
    clock: Clock

    async def transfer(self, wanted: TransferId, above: int, timeout: float) -> TransferView:
        """The transfer, once its revision is above `above`, the time is up or this process drains.

        Raises ApiRefused TRANSFER_NOT_FOUND with how far every chain was read.
        """
        deadline = self.clock.monotonic() + timeout
        while True:
            ticket = self.wakeups.ticket()
            view = (await self.store.views([wanted])).get(wanted)
            left = deadline - self.clock.monotonic()
            over = above == 0 or left <= 0 or self.wakeups.draining
            if view is not None and (view.revision > above or over):
                return view
            if view is None and over:
                raise await self._not_found(wanted)
            await woken(ticket, self.clock, left)

    async def listed(
        self, wanted: ViewFilter, filter_bytes: bytes, page_size: int, page_token: str
    ) -> tuple[Sequence[TransferView], str]:
        """A page, newest first, and the token of the next ("" on the last page)."""
        if not 0 <= page_size <= PAGE_MAX:
            remedy = f"give 0 (means {PAGE_DEFAULT}) to {PAGE_MAX}"
            raise field_refused("FIELD_INVALID", "page_size", page_size, remedy)
        size = page_size or PAGE_DEFAULT
        before = None
        if page_token:
            mark = self.tokens.open(_unhex(page_token), filter_bytes, (LISTING,))
            before = (mark.sequence, TransferId(mark.after))
        views = await self.store.list_views(wanted, before, size + 1)
        page = views[:size]
        if len(views) <= size:
            return page, ""
        last = page[-1]
        mark = Mark(LISTING, last.created_ms, last.transfer_id)
        return page, self.tokens.seal(mark, filter_bytes).hex()

    async def lookup(self, query: str, chain: str) -> Found:
        """Whatever the caller has: a transfer id, a transaction, an address."""
        text = query.strip()
        chains = [self._chain(chain)] if chain else list(self.registry.chains)
        self._refuse_unreadable("query", query)
        known = await self._known(text, chains)
        if known:
            return Found(
                tuple(known), await self._coverage(self._touched(known, chains), "TRACKED")
            )
        said = await asyncio.gather(*(self._ask(entry, text) for entry in chains))
        found = {view.transfer_id: view for views, _ in said for view in views}
        return Found(tuple(found.values()), tuple(coverage for _, coverage in said))

    async def report(self, chain: str, tx: str) -> Found:
        """A burn's transaction; looked at now, and taken in when it is one."""
        entry = self._chain(chain)
        self._refuse_unreadable("tx", tx)
        views, coverage = await self._ask(entry, tx.strip())
        return Found(tuple(views), (coverage,))

    def _refuse_unreadable(self, field: str, given: str) -> None:
        """Refuse what is no id and no address of any chain here: looking would find nothing."""
        text, chains = given.strip(), list(self.registry.chains)
        if 0 < len(text) <= _QUERY_MAX and (
            _HEX32.fullmatch(text) or self._txs(text, chains) or self._parties(text, chains)
        ):
            return
        remedy = "give a transfer id, a transaction id or an address, in its chain's own form"
        raise field_refused("FIELD_INVALID", field, given[:_QUERY_MAX], remedy)

    @staticmethod
    def _touched(
        views: Sequence[TransferView], chains: Sequence[ChainEntry]
    ) -> Sequence[ChainEntry]:
        """The chains among these that the transfers touch; all of them if none is named."""
        ends = {end for view in views for end in (view.message.source, view.message.destination)}
        return [entry for entry in chains if entry.domain in ends] or chains

    def _chain(self, name: str) -> ChainEntry:
        for entry in self.registry.chains:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.registry.chains)
        raise field_refused("CHAIN_UNKNOWN", "chain", name, f"use one of: {names}")

    async def _known(self, text: str, chains: Sequence[ChainEntry]) -> list[TransferView]:
        found: dict[TransferId, TransferView] = {}
        if _HEX32.fullmatch(text):
            raw = bytes.fromhex(text.removeprefix("0x"))
            for view in (await self.store.views([TransferId(raw)])).values():
                found[view.transfer_id] = view
        for tx_id in {tx.id for tx in self._txs(text, chains)}:
            for view in await self.store.views_by_tx(tx_id):
                found[view.transfer_id] = view
        for party in self._parties(text, chains):
            for view in await self.store.list_views(ViewFilter(party=party), None, PAGE_MAX):
                found[view.transfer_id] = view
        return list(found.values())

    def _txs(self, text: str, chains: Sequence[ChainEntry]) -> list[TxRef]:
        found = []
        for entry in chains:
            try:
                found.append(self.desks[entry.domain].parse_tx(text))
            except InvalidId:
                continue
        return found

    def _parties(self, text: str, chains: Sequence[ChainEntry]) -> set[Address32]:
        found = set()
        for entry in chains:
            try:
                found.add(self.desks[entry.domain].parse_address(text))
            except InvalidId:
                continue
        return found

    async def _ask(self, entry: ChainEntry, text: str) -> tuple[Sequence[TransferView], ChainSaid]:
        """Ask one chain's watcher about a transaction, and take in what it found."""
        try:
            tx = self.desks[entry.domain].parse_tx(text)
        except InvalidId:
            return (), await self._wrong_chain(entry, text)
        try:
            looked = await self.watchers.look(tx)
        except (Transient, Ambiguous):
            unreadable = await self._coverage([entry], "CHAIN_UNREADABLE")
            return (), unreadable[0]
        facts = _facts(looked.observations, looked.pending, self.clock.unix_ms())
        ids = [fact.transfer_id for fact in facts]
        before = await self.store.views(ids)
        await self.ingest.take([fact for fact in facts if _is_news(before, fact)], ())
        views = await self.store.views(ids)
        behind = max((p.blocks_behind_final for p in looked.pending), default=0)
        now = self.clock.unix_ms()
        said = ChainSaid(entry.name, looked.verdict, looked.through, now, behind)
        return list(views.values()), said

    async def _wrong_chain(self, entry: ChainEntry, text: str) -> ChainSaid:
        probable = ""
        for other in self.registry.chains:
            if other.family != entry.family and self._txs(text, [other]):
                probable = other.name
        verdict = "WRONG_CHAIN" if probable else "UNKNOWN_TO_NODES"
        covered = (await self._coverage([entry], verdict))[0]
        return ChainSaid(entry.name, verdict, covered.through, covered.at_ms, 0, probable)

    async def _coverage(self, chains: Sequence[ChainEntry], verdict: str) -> tuple[ChainSaid, ...]:
        known = {item.chain: item for item in await self.store.coverage()}
        said = []
        for entry in chains:
            item = known.get(entry.domain)
            through, at_ms = (None, 0) if item is None else (item.through, item.at_ms)
            said.append(ChainSaid(entry.name, verdict, through, at_ms))
        return tuple(said)

    async def _not_found(self, wanted: TransferId) -> ApiRefused:
        looked = await self._coverage(list(self.registry.chains), "")
        read = {
            f"through_{item.chain}": item.through.number
            for item in looked
            if item.through is not None
        }
        words = ", ".join(f"{key.removeprefix('through_')} {n}" for key, n in read.items())
        return ApiRefused(
            "TRANSFER_NOT_FOUND",
            f"no transfer {wanted.hex()}; looked through blocks: {words or 'none yet'}. "
            "If you have the burn's transaction, look that up",
            {"transfer_id": wanted.hex(), **read},
        )


def _facts(observations: Sequence[object], pending: Sequence[Progress], now_ms: int) -> list[Fact]:
    facts: list[Fact] = []
    for seen in observations:
        if isinstance(seen, BurnFinal):
            facts.append(BurnBecameFinal(seen.transfer_id, seen.message, seen.sender, seen.place))
    for progress in pending:
        facts.append(
            BurnWasSeen(
                transfer_id=progress.message.transfer_id(keccak256),
                message=progress.message,
                tx=progress.tx,
                block_number=progress.block_number,
                blocks_behind_final=progress.blocks_behind_final,
                vanished=False,
                at_ms=now_ms,
            )
        )
    return facts


def _is_news(before: Mapping[TransferId, TransferView], fact: Fact) -> bool:
    """Asking must not write: whoever looks twice must not make the journal grow."""
    known = before.get(fact.transfer_id)
    return tells_news(known, fact) if isinstance(fact, BurnWasSeen) else True


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise field_refused(
            "RESUME_TOKEN_INVALID", "page_token", text, "give the token of the page before"
        ) from error
