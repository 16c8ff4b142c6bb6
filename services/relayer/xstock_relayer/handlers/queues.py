"""Work that waits: ids in order of arrival, and ids that wait for their time.

Held work never starves fresh work: of every page at most a quarter is kept for ids whose time
has come, unless fresh ones do not fill the rest. Nothing here is durable; all of it is derived
from the books after a restart.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from xstock_core.ids import TransferId

BACKOFF_FIRST_MS = 100
BACKOFF_MAX_MS = 10_000


def backoff_ms(tries: int) -> int:
    """How long to wait after `tries` answers that said "not yet": doubles from 100 ms to 10 s."""
    return min(BACKOFF_FIRST_MS << min(tries, 16), BACKOFF_MAX_MS)


class DueQueue:
    """Ids to work on, each at most once. `bell` rings when there is something new."""

    def __init__(self, bell: asyncio.Event | None = None) -> None:
        self.bell = bell or asyncio.Event()
        self._fresh: dict[TransferId, None] = {}
        self._due: dict[TransferId, int] = {}
        self._heap: list[tuple[int, int, TransferId]] = []
        self._tries: dict[TransferId, int] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._due)

    @property
    def fresh(self) -> int:
        """How many ids can be taken at once."""
        return len(self._fresh)

    def offer(self, transfer_id: TransferId) -> None:
        """Work on this as soon as its turn comes."""
        self._due.pop(transfer_id, None)
        self._fresh[transfer_id] = None
        self.bell.set()

    def postpone(self, transfer_id: TransferId, now_ms: int, until_ms: int = 0) -> None:
        """Work on this again after a growing wait, and not before `until_ms` if that is sooner
        than the longest wait: what a guard foresees may come earlier than it thinks."""
        tries = self._tries.get(transfer_id, 0)
        self._tries[transfer_id] = tries + 1
        wait = backoff_ms(tries)
        if until_ms > now_ms + wait:
            wait = min(until_ms - now_ms, BACKOFF_MAX_MS)
        due = now_ms + wait
        self._fresh.pop(transfer_id, None)
        self._due[transfer_id] = due
        heapq.heappush(self._heap, (due, next(self._order), transfer_id))
        self.bell.set()

    def discard(self, transfer_id: TransferId) -> None:
        """Forget this id."""
        self._fresh.pop(transfer_id, None)
        self._due.pop(transfer_id, None)
        self._tries.pop(transfer_id, None)

    def hurry(self, wanted: Callable[[TransferId], bool]) -> None:
        """New facts came: the waiting ids that are `wanted` need wait no longer."""
        for transfer_id in [waiting for waiting in self._due if wanted(waiting)]:
            self.offer(transfer_id)

    def take(self, now_ms: int, limit: int) -> list[TransferId]:
        """Up to `limit` ids, removed from the queue: a share of those due, then fresh ones."""
        taken = self._take_due(now_ms, max(1, limit // 4))
        for transfer_id in itertools.islice(self._fresh, limit - len(taken)):
            taken.append(transfer_id)
        for transfer_id in taken:
            self._fresh.pop(transfer_id, None)
        taken += self._take_due(now_ms, limit - len(taken))
        return taken

    def next_due_ms(self) -> int | None:
        """When the next waiting id comes due; 0 if some can be taken now; None if none wait."""
        if self._fresh:
            return 0
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def _take_due(self, now_ms: int, limit: int) -> list[TransferId]:
        taken: list[TransferId] = []
        while len(taken) < limit:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now_ms:
                break
            _, _, transfer_id = heapq.heappop(self._heap)
            del self._due[transfer_id]
            taken.append(transfer_id)
        return taken

    def _drop_stale(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
