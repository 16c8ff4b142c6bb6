"""What must be true of a chain before it is believed for the first time in a process's life.

The self-test of each provider must pass or be unanswerable, and enough must pass. A provider
that shows another chain, code, role or counter than configured stops the process (F88); one
that is away or answers garbage only delays it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from xstock_chains.ports import ChainAdmin, SelfTest
from xstock_core.ids import Domain
from xstock_runtime.errors import Fatal, InvalidMessage, Transient


@dataclass(slots=True)
class StartCheck:
    """One chain's self-test over all of a reader's providers; passes once and stays passed."""

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
    except (Transient, InvalidMessage):  # silence and garbage alike: it has not answered
        return None
