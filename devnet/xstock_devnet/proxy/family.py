"""What the proxy needs of a chain family: how it names calls, how it sees less, how it says no.

A *view* is what a provider claims to see and what it knows: a highest and a final height, perhaps a
fork, perhaps events it leaves out. Heights are the family's own: EVM and Tron block numbers, Solana
slots, TON masterchain seqnos. A family answers each call as a node with that view would, in
the way real nodes do it, mostly without any error: that is the trap.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.wire import Answer, Ask, Call, Reply, Request


@dataclass(frozen=True, slots=True)
class Heights:
    """The highest and the final height of the node itself."""

    head: int
    final: int


@dataclass(slots=True)
class Fork:
    """A branch of other, empty blocks from a height on, the same for every request."""

    from_height: int
    real_by_forked: dict[str, str] = field(default_factory=dict)

    def hash_for(self, real: str, write: Callable[[bytes, str], str]) -> str:
        """The fork's hash in place of a real one, remembered for requests by hash.

        `write` makes the family's text of 32 bytes and the real text.
        """
        digest = hashlib.sha256(f"fork {self.from_height} {real}".encode()).digest()
        forked = write(digest, real)
        self.real_by_forked[forked] = real
        return forked


@dataclass(frozen=True, slots=True)
class View:
    """What a provider claims (`head`, `final`) and what it knows; None is no limit of ours.

    The two differ for a node that reports true heads and answers all else from behind.
    """

    head: int | None = None
    final: int | None = None
    known_head: int | None = None
    known_final: int | None = None
    fork: Fork | None = None
    hidden: tuple[HideParams, ...] = ()

    def joined(self, other: "View") -> "View":
        """Both views at once: the lower heights, the newer fork, everything hidden by either."""
        return View(
            _lower(self.head, other.head),
            _lower(self.final, other.final),
            _lower(self.known_head, other.known_head),
            _lower(self.known_final, other.known_final),
            other.fork or self.fork,
            self.hidden + other.hidden,
        )

    def claimed(self, *, final: bool) -> int | None:
        """The highest height it reports, of all blocks or of final ones."""
        return _lower(self.final, self.head) if final else self.head

    def known(self, *, final: bool) -> int | None:
        """The highest height it answers about."""
        return _lower(self.known_final, self.known_head) if final else self.known_head

    def shows(self, height: int, *, final: bool = False) -> bool:
        """Whether what happened at a height exists for it."""
        return not self.beyond(height, final=final) and not self.forked(height)

    def beyond(self, height: int, *, final: bool = False) -> bool:
        """Whether a height is above what it knows."""
        limit = self.known(final=final)
        return limit is not None and height > limit

    def forked(self, height: int) -> bool:
        """Whether another block stands at a height."""
        return self.fork is not None and height >= self.fork.from_height

    @property
    def is_plain(self) -> bool:
        """Whether nothing is changed at all."""
        return self == View()


@dataclass(frozen=True, slots=True)
class ErrorFact:
    """One documented error of a family: where it is usual, what it means, and how it is said."""

    means: str
    methods: tuple[str, ...]
    say: Callable[[Call, int | None], Answer]


class Family(Protocol):
    """One chain family before the proxy."""

    name: str
    errors: Mapping[str, ErrorFact]
    """Every error that `refuse` can answer, by name."""
    hides_by: Mapping[str, str]
    """What the params of `hide_event` mean here."""
    passes: str
    """What no view changes, because no node can be asked for it as it was."""

    def target(self, url: str, path: str) -> str:
        """Where a node at `url` serves a path (url itself for none)."""

    def names(self, request: Request) -> list[str]:
        """The names of a request's calls, found cheaply."""

    def calls(self, request: Request) -> list[Call]:
        """The calls of a request; raises ValueError for what the family cannot read."""

    async def heights(self, ask: Ask) -> Heights:
        """The node's own heights; raises ValueError if it does not say."""

    async def seen(self, call: Call, view: View, ask: Ask) -> Answer:
        """What a node with this view answers; raises ValueError if that cannot be made."""

    def rate_limited(self, call: str) -> Reply:
        """What a provider says to one who asks too much."""


def joined_url(url: str, path: str) -> str:
    """A node's URL with a path after it."""
    return url.rstrip("/") + path if path else url


def _lower(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
