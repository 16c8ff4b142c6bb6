"""What the watcher needs from outside: a store for what it saw, a bus for advisory progress."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xstock_chains.ports import Cursor, Page, Progress
from xstock_core.observation import BlockRef, Observation, TxRef
from xstock_runtime.errors import Fatal

_NAME = re.compile(r"[\w .@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Position:
    """How far this watcher came: where to read on, and the last number it gave out."""

    cursor: Cursor
    through: BlockRef | None
    head: BlockRef | None
    sequence: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """An observation with this watcher's own dense number, from 1."""

    sequence: int
    observation: Observation


@dataclass(frozen=True, slots=True)
class LatchedHalt:
    """Why this watcher must not read on until two people have looked."""

    id: str
    code: str
    detail: str
    at_ms: int
    approvals: tuple[str, ...]


class WatcherStore(Protocol):
    """This watcher's own memory. Every method is one transaction."""

    async def position(self) -> Position:
        """Where to read on; the beginning for an empty store."""
        ...

    async def save_page(self, before: Cursor, page: Page) -> int:
        """Keep the page, number what is new, queue it for the bus, move the cursor.

        Returns how many observations were new. Raises Ambiguous CURSOR_MOVED if the cursor is
        no longer `before`: another instance was faster, and the caller must start again from
        `position`. Raises Fatal WATCHER_HALTED, and keeps nothing, while a halt is latched.
        """
        ...

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations with a greater number, in order."""
        ...

    async def list_of(self, *txs: TxRef) -> Sequence[Numbered]:
        """Observations of these transactions, by number; one query however many they are."""
        ...

    async def latch_halt(self, code: str, detail: str, at_ms: int) -> LatchedHalt:
        """Latch a halt (or return the one that is latched already)."""
        ...

    async def halt(self) -> LatchedHalt | None:
        """The halt in force, if any."""
        ...

    async def approve_clearing(self, halt_id: str, by: str, needed: int) -> bool:
        """Add one approval; True when `needed` different people have approved: cleared.

        Raises Fatal BAD_APPROVER or NO_SUCH_HALT.
        """
        ...


def approver(by: str) -> str:
    """The one spelling of a person's name; raises Fatal BAD_APPROVER."""
    name = " ".join(by.split()).casefold()
    if not _NAME.fullmatch(name):
        raise Fatal("BAD_APPROVER", f"by: {by!r} is not a name; give 1 to 64 letters or digits")
    return name


def no_such_halt(halt_id: str) -> Fatal:
    """The answer to an approval of something else than the halt in force."""
    return Fatal("NO_SUCH_HALT", f"halt: {halt_id!r} is not in force; the watcher's log names it")


def halted(halt: LatchedHalt, approvals_needed: int = 2) -> Fatal:
    """Why nothing goes on while this halt is latched, and what clears it."""
    return Fatal(
        "WATCHER_HALTED",
        f"halt {halt.id} ({halt.code}: {halt.detail}) is latched; when the cause is "
        f"understood, {approvals_needed} people run: xstock-watcher approve {halt.id} --by NAME",
        {"halt": halt.id, "cause": halt.code},
    )


class ProgressBus(Protocol):
    """Advisory records; losing one loses nothing."""

    async def publish_burns(
        self, pending: Sequence[Progress], vanished: Sequence[Progress], at_ms: int
    ) -> None:
        """Tell how far seen burns are from final, and which are gone."""
        ...

    async def publish_chain(self, through: BlockRef, head_number: int, at_ms: int) -> None:
        """Tell how far the chain was read."""
        ...
