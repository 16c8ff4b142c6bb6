"""A destination's guard epoch by a quorum: what a signature must name to be good for anything."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from xstock_chains.ports import ChainWriter
from xstock_runtime.errors import ServiceError, Transient


@dataclass(frozen=True, slots=True)
class QuorumEpoch:
    """A destination's guard epoch, as enough of this guard's providers show it alike."""

    writers: Sequence[ChainWriter]
    needed: int

    async def guard_epoch(self) -> int:
        """The epoch in force. Raises Transient EPOCH_UNREADABLE."""
        answers = await asyncio.gather(
            *(writer.guard_epoch() for writer in self.writers), return_exceptions=True
        )
        given = [answer for answer in answers if isinstance(answer, int)]
        for epoch in set(given):
            if given.count(epoch) >= self.needed:
                return epoch
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ServiceError):
                raise answer
        raise Transient(
            "EPOCH_UNREADABLE",
            f"{len(given)} of {len(self.writers)} providers told the guard epoch, "
            f"{self.needed} must agree",
        )
