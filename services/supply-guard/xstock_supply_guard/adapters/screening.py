"""The screening list in a file: signed by a registered screener, read again when the file changes.

Whatever is wrong with it (missing, garbled, a stranger's, expired, dated in the future, older than
the one before) makes the list unknown, and then every release holds. Nobody's absence from a list
that cannot be believed means anything.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xstock_core.ids import Address32
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard.model import Screened
from xstock_supply_guard.ports import SignatureCheck
from xstock_supply_guard.wire_people import ScreeningPaper, screening_list_from_bytes

CLOCK_SKEW_SECONDS_MAX = 60
_Mark = tuple[int, int, int]


@dataclass(slots=True)
class SignedListFile:
    """ScreeningProvider over one file; `screeners` are the registry's keys by their id."""

    path: Path
    screeners: Mapping[str, bytes]
    deployment_id: str
    check_signature: SignatureCheck
    clock: Clock
    _mark: _Mark | None = field(default=None, init=False)
    _paper: ScreeningPaper | None = field(default=None, init=False)
    _sequence: int = field(default=0, init=False)

    async def listed(self, addresses: Collection[Address32]) -> Screened:
        """Those of `addresses` that are listed. Raises Transient SCREENING_UNKNOWN."""
        await self._refresh()
        paper, now = self._paper, self.clock.unix_ms() // 1000
        if paper is None:
            raise _unknown("the file holds no list that can be believed")
        # SECURITY: an expired list misses everybody who was listed since.
        if now >= paper.expires:
            raise _unknown(f"list {paper.sequence} expired at {paper.expires}; put a new one")
        accounts = paper.accounts
        return Screened(
            paper.sequence, {one: accounts[one] for one in addresses if one in accounts}
        )

    async def _refresh(self) -> None:
        """Read the file again if it is another one than before."""
        try:
            mark = await asyncio.to_thread(self._look)
            if mark == self._mark:
                return
            self._mark, self._paper = None, None
            raw = await asyncio.to_thread(self.path.read_bytes)
        except OSError as error:
            self._mark, self._paper = None, None
            raise _unknown(f"cannot read {self.path.name} ({error.strerror})") from error
        self._paper = self._believed(raw)
        self._sequence = self._paper.sequence
        self._mark = mark

    def _look(self) -> _Mark:
        seen = self.path.stat()
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def _believed(self, raw: bytes) -> ScreeningPaper:
        try:
            paper = screening_list_from_bytes(raw, self.deployment_id)
        except InvalidMessage as error:
            raise _unknown(error.message) from error
        statement = paper.statement
        key = self.screeners.get(statement.key_id)
        # SECURITY: without this check anybody with the file could clear an address.
        if key is None or not self.check_signature(key, statement.digest, statement.signature):
            raise _unknown(f"{statement.key_id[:64]!r} is no registered screener, or did not sign")
        if paper.sequence < max(1, self._sequence):
            raise _unknown(f"list {paper.sequence} is older than {self._sequence}")
        if paper.as_of > self.clock.unix_ms() // 1000 + CLOCK_SKEW_SECONDS_MAX:
            raise _unknown(f"list {paper.sequence} is dated in the future: {paper.as_of}")
        return paper


def _unknown(text: str) -> Transient:
    return Transient("SCREENING_UNKNOWN", f"screening list: {text}")
