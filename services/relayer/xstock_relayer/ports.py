"""What the relayer needs from outside: its books, the guards, the watchers, a bell.

Chains come through `xstock_chains.ports`. Every method of `Books` is one transaction of its
own, fenced: a process that lost its lease writes nothing (Fatal FENCED, F46).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from xstock_core.ids import Domain, TransferId
from xstock_core.observation import TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_relayer.model import (
    BatchId,
    Change,
    Early,
    GuardRefused,
    GuardSigned,
    GuardVerdict,
    Numbered,
    Recovery,
    SignedOrder,
    Transfer,
)


class Books(Protocol):
    """This relayer's own memory."""

    async def recover(self) -> Recovery:
        """Everything that is open; asserts the lease."""
        ...

    async def transfers(self, ids: Sequence[TransferId]) -> Mapping[TransferId, Transfer]:
        """Those of `ids` that are known."""
        ...

    async def transfers_of(
        self, keys: Sequence[ExecutionKey]
    ) -> Mapping[ExecutionKey, Sequence[Transfer]]:
        """The transfers under these dedup keys; usually one each."""
        ...

    async def early(self, keys: Sequence[ExecutionKey]) -> Sequence[Early]:
        """News that came before its transfer was known."""
        ...

    async def batches_of(self, txs: Sequence[TxRef]) -> Mapping[TxRef, BatchId]:
        """Which batch each of these transactions carries, for those that are ours."""
        ...

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[Transfer]:
        """Transfers that wait for a person, by id after `after`."""
        ...

    async def commit(self, change: Change) -> None:
        """Write all of it or nothing, and queue what is to be published.

        Raises Fatal FENCED, Transient, Ambiguous COMMIT_UNKNOWN (recover before going on), or
        Ambiguous SLOT_TAKEN if a slot of the change belongs to another batch already (F43).
        """
        ...


class Guard(Protocol):
    """One supply-guard. Raises Transient when it is away, Ambiguous when its reply was lost;
    asking again is harmless and gives the same answer (F73)."""

    @property
    def id(self) -> str:
        """The registry's name of the guard."""
        ...

    async def review(self, transfers: Sequence[Transfer]) -> Sequence[GuardVerdict]:
        """A verdict per claim."""
        ...

    async def sign(
        self,
        batch: ReleaseBatch,
        transfer_ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder] = ...,
    ) -> GuardSigned | GuardRefused:
        """Its signature over the batch (ids in the order of the items), or what is in the way.

        `papers` are the holders' requests that permit cancellations.
        """
        ...


class Watcher(Protocol):
    """One chain's watcher, asked by sequence number; raises Transient when it is away."""

    @property
    def chain(self) -> Domain:
        """The chain it watches."""
        ...

    async def latest_sequence(self) -> int:
        """The number of its last observation."""
        ...

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations with a greater number, in order, dense."""
        ...


class FinalTime(Protocol):
    """The time of a destination's final head, Unix seconds."""

    async def __call__(self) -> int:
        """Raises Transient when no node answers."""
        ...


class Gauges(Protocol):
    """Where the handlers report figures; `metrics.py` implements it, tests may ignore it."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def level(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...


class NoGauges:
    """Figures that nobody reads."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Nothing."""

    def level(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""
