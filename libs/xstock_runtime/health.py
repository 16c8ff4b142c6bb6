"""Health by progress, not by "the task is alive".

Each loop registers a name and how long it may stand still. Finished work is a `beat`; a known
backlog is a `lag`, and only a lag of zero counts as standing well while idle. A loop that polls
for ever with a backlog and finishes nothing therefore turns unready, which is just the state in
which a stuck consumer looks healthy to everybody else. Times are monotonic (F77).
"""

from __future__ import annotations

from dataclasses import dataclass

from xstock_runtime.clock import Clock


@dataclass(slots=True)
class _Entry:
    stall_seconds: float
    progressed_at: float | None
    lag: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class DependencyHealth:
    """One dependency's state at a moment; `reason` is empty when it is ready."""

    name: str
    ready: bool
    lag: int
    since_progress_seconds: float | None
    reason: str


class Progress:
    """The registry of what must move for this process to be ready."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._draining = False

    def register(self, name: str, stall_seconds: float) -> None:
        """Expect progress of `name` at least every `stall_seconds`; unready until the first."""
        if stall_seconds <= 0:
            raise ValueError(f"stall_seconds of {name!r} is {stall_seconds}; use a positive number")
        self._entries[name] = _Entry(stall_seconds, None)

    def beat(self, name: str) -> None:
        """`name` finished a piece of work (or found all of it done). Clears a failure."""
        entry = self._entries[name]
        entry.progressed_at = self._clock.monotonic()
        entry.failure = None

    def lag(self, name: str, value: int) -> None:
        """`name` knows of `value` pieces of work ahead of it; zero counts as a beat."""
        self._entries[name].lag = value
        if value == 0:
            self.beat(name)

    def fail(self, name: str, reason: str) -> None:
        """`name` cannot work now; unready until its next beat."""
        self._entries[name].failure = reason

    def drain(self) -> None:
        """This process is leaving: unready from now on, whatever the loops say."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """True once `drain` was called."""
        return self._draining

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        return sorted(self._entries)

    def check(self, name: str) -> DependencyHealth:
        """The state of one dependency now. KeyError if it was never registered."""
        entry = self._entries[name]
        since = None
        if entry.progressed_at is not None:
            since = self._clock.monotonic() - entry.progressed_at
        reason = ""
        if entry.failure is not None:
            reason = entry.failure
        elif since is None:
            reason = "no progress yet"
        elif since > entry.stall_seconds:
            reason = f"no progress for {since:.1f} s (limit {entry.stall_seconds:g} s)"
        return DependencyHealth(name, not reason, entry.lag, since, reason)

    def ready(self) -> bool:
        """True if not draining and every registered dependency is moving."""
        return not self._draining and all(self.check(name).ready for name in self._entries)

    def report(self) -> dict[str, object]:
        """The whole state as JSON-ready data, for /healthz."""
        return {
            "ready": self.ready(),
            "draining": self._draining,
            "dependencies": {
                state.name: {
                    "ready": state.ready,
                    "lag": state.lag,
                    "since_progress_seconds": state.since_progress_seconds,
                    "reason": state.reason,
                }
                for state in map(self.check, self.names())
            },
        }
