"""Gas per release and per burn: counts, the same on every machine."""

import asyncio
from pathlib import Path

from tests.bench.result import Result, at_most
from tests.chains.evm_contracts.gas import measure_gas

_LIMITS = {
    "release_1_existing": 105_000,
    "release_1_fresh": 122_000,
    "release_50_existing": 24_000,
    "release_50_fresh": 41_000,
    "burn": 115_000,
}


async def gas(folder: Path) -> dict[str, Result]:
    """evm_release_gas by batch and recipient, evm_burn_gas."""
    del folder
    measured = await asyncio.to_thread(measure_gas)
    results = {}
    for name, value in measured.items():
        key = "evm_burn_gas" if name == "burn" else f"evm_{name.replace('release', 'release_gas')}"
        how = "receipt gasUsed per item, M = 2, steady state"
        limit = _LIMITS.get(name)
        results[key] = (
            Result(value, "gas", None, None, "", None, how)
            if limit is None
            else at_most(value, "gas", limit, how)
        )
    return results
