"""What the fake chain remembers, readable at any height and cut back by a reorganisation.

Every value keeps its history by block number, so a lagging provider, a reading at a named block
and a fork need no copies. It holds no rules: those are `execution.py`.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xstock_chains.ports import ExecutionState
from xstock_core.ids import Address32, AssetId, Domain, Nonce

K = TypeVar("K")
V = TypeVar("V")


class Versioned(Generic[K, V]):
    """A map that answers for any block number and forgets everything above one."""

    def __init__(self, default: V) -> None:
        self._default = default
        self._history: dict[K, tuple[list[int], list[V]]] = {}
        self._touched: list[tuple[int, K]] = []

    def get(self, key: K, at: int) -> V:
        """The value after block `at`."""
        entry = self._history.get(key)
        if entry is None:
            return self._default
        index = bisect_right(entry[0], at)
        return entry[1][index - 1] if index else self._default

    def put(self, key: K, value: V, at: int) -> None:
        """Set the value as of block `at`; blocks are written in order."""
        numbers, values = self._history.setdefault(key, ([], []))
        if numbers and numbers[-1] == at:
            values[-1] = value
            return
        numbers.append(at)
        values.append(value)
        self._touched.append((at, key))

    def keys(self) -> list[K]:
        """Every key that was ever set and not cut back, in order of first use."""
        return list(self._history)

    def cut(self, after: int) -> None:
        """Forget what blocks above `after` wrote."""
        while self._touched and self._touched[-1][0] > after:
            _, key = self._touched.pop()
            numbers, values = self._history[key]
            numbers.pop()
            values.pop()
            if not numbers:
                del self._history[key]


@dataclass(frozen=True, slots=True)
class GuardSet:
    """Who may authorise a release, and how many of them; identities are 20 bytes."""

    epoch: int
    threshold: int
    members: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class People:
    """Who else has a say: identities of 20 bytes, and how long the admin's changes wait."""

    agent: bytes = b""
    admin: bytes = b""
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class PauseVotes:
    """The guards of an epoch that voted for a pause without end since `opened_at`."""

    epoch: int = 0
    opened_at: int = 0
    voters: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class AssetRules:
    """One asset's switches: pause, multiplier (scaled by 10^18) and release bucket.

    `bucket_capacity` in shares, None for no bucket; `refill_per_second` in shares.
    """

    paused: bool = False
    multiplier: int = 10**18
    multiplier_epoch: int = 0
    bucket_capacity: int | None = None
    refill_per_second: int = 0


@dataclass(frozen=True, slots=True)
class BucketLevel:
    """What was left of a bucket at a time (Unix seconds)."""

    shares: int
    time: int


@dataclass(slots=True)
class ChainState:
    """Token, bridge and account state of the whole chain."""

    supply: Versioned[AssetId, int] = field(default_factory=lambda: Versioned(0))
    balance: Versioned[tuple[AssetId, Address32], int] = field(default_factory=lambda: Versioned(0))
    rules: Versioned[AssetId, AssetRules | None] = field(default_factory=lambda: Versioned(None))
    bucket: Versioned[AssetId, BucketLevel | None] = field(default_factory=lambda: Versioned(None))
    counter: Versioned[Domain, int] = field(default_factory=lambda: Versioned(0))
    execution: Versioned[tuple[Domain, Nonce], ExecutionState | None] = field(
        default_factory=lambda: Versioned(None)
    )
    slot: Versioned[Address32, int] = field(default_factory=lambda: Versioned(0))
    guards: Versioned[str, GuardSet | None] = field(default_factory=lambda: Versioned(None))
    people: Versioned[str, People] = field(default_factory=lambda: Versioned(People()))
    pause_end: Versioned[bytes, int] = field(default_factory=lambda: Versioned(0))
    """By scope (an asset, or zeros for the whole bridge), in Unix seconds."""
    pause_count: Versioned[bytes, int] = field(default_factory=lambda: Versioned(0))
    last_pause: Versioned[bytes, int] = field(default_factory=lambda: Versioned(0))
    votes: Versioned[bytes, PauseVotes] = field(default_factory=lambda: Versioned(PauseVotes()))
    ready_at: Versioned[bytes, int] = field(default_factory=lambda: Versioned(0))
    """By proposal: from when it may be applied."""
    bridge_paused: Versioned[str, bool] = field(default_factory=lambda: Versioned(default=False))
    refusing: Versioned[Address32, bool] = field(default_factory=lambda: Versioned(default=False))

    def cut(self, after: int) -> None:
        """Forget every block above `after`, in every map."""
        for name in self.__slots__:
            getattr(self, name).cut(after)
