"""A destination's guard epoch by a quorum: what a signature must name to be good for anything."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from xstock_chains.ports import ChainWriter
from xstock_core.release import ReleaseBatch
from xstock_runtime.errors import Ambiguous, ServiceError, Transient


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

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """Enough providers find nothing wrong with the permit's own terms. Raises InvalidMessage
        when one shows that they can never be right, Transient TERMS_UNKNOWN."""
        answers = await asyncio.gather(
            *(writer.check_terms(batch) for writer in self.writers), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Transient | Ambiguous):
                raise answer
        good = sum(answer is None for answer in answers)
        if good < self.needed:
            said = next((str(answer) for answer in answers if answer is not None), "")
            raise Transient(
                "TERMS_UNKNOWN",
                f"{good} of {len(self.writers)} providers confirm the permit's terms, "
                f"{self.needed} must: {said}",
            )
