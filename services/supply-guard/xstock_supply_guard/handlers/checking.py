"""What must be true of a chain before its first page is believed, asked of every provider.

The self-test of each provider must pass or be unanswerable; enough must pass. A provider that
shows another chain, code, role or counter than configured stops the process (F88).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from xstock_chains.ports import ChainAdmin, ChainWriter, SelfTest
from xstock_core.ids import Domain
from xstock_runtime.errors import Fatal, ServiceError, Transient


@dataclass(slots=True)
class StartCheck:
    """One chain's self-test over all of this guard's providers; passes once and stays passed."""

    chain: Domain
    admins: Sequence[ChainAdmin]
    needed: int
    passed: bool = field(default=False)

    async def run(self) -> None:
        """Raise Fatal SELF_TEST_FAILED on a mismatch, Transient while too few can be asked."""
        if self.passed:
            return
        tests = await asyncio.gather(*map(_asked, self.admins))
        for test in tests:
            wrong = [one for one in test.checks if one.passed is False] if test else []
            if wrong:
                first = wrong[0]
                raise Fatal(
                    "SELF_TEST_FAILED",
                    f"chain {int(self.chain)}, {first.name}: expected {first.expected}, found "
                    f"{first.found}; {first.remedy or 'correct the registry or the provider'}",
                    {"chain": int(self.chain), "check": first.name},
                )
        good = sum(1 for test in tests if test is not None and not test.failed)
        if good < self.needed:
            raise Transient(
                "SELF_TEST_UNKNOWN",
                f"chain {int(self.chain)}: {good} of {len(self.admins)} providers could be "
                f"checked, {self.needed} are needed",
            )
        self.passed = True


async def _asked(admin: ChainAdmin) -> SelfTest | None:
    try:
        return await admin.self_test()
    except Transient:
        return None


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
