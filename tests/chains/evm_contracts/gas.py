"""Gas per release and per burn, measured on a chain; the bench calls these too.

Figures are receipts' `gasUsed` in a steady state: the bitmap word, the bucket and the lane
counter have been written before, the token has a sanctions list that is asked per item, and
two guards of three sign. "existing" recipients hold shares already, "fresh" ones do not.
"""

from dataclasses import asdict, dataclass

from tests.chains.evm_contracts.batch import RELEASE, Item, nonce_of
from tests.chains.evm_contracts.chain import running_anvil
from tests.chains.evm_contracts.world import (
    CHAIN_ID,
    HOLDER,
    SOURCE_BRIDGE,
    World,
    account,
    build_world,
)


@dataclass(frozen=True, slots=True)
class ReleaseGas:
    """Gas of one batch, per item (rounded up)."""

    batch: int
    existing: int
    fresh: int


def measure_release_gas(world: World, batch: int) -> ReleaseGas:
    """Gas per release in a batch of this size, to existing and to fresh recipients.

    Counters start at a multiple of 256 plus one so that the batch stays in warm bitmap words;
    `measure_first_in_word_gas` shows what the first item of a new word adds.
    """
    base = 256 * 1000 * batch
    people = [account(f"gas {batch} {n}") for n in range(batch)]
    world.release(_item(world, base, account("gas opener")))
    fresh = world.release(*(_item(world, base + 1 + n, p) for n, p in enumerate(people)))
    second = base + 1 + batch
    existing = world.release(*(_item(world, second + n, p) for n, p in enumerate(people)))
    assert len(world.released(fresh)) == len(world.released(existing)) == batch
    return ReleaseGas(batch, -(-existing.gas_used // batch), -(-fresh.gas_used // batch))


def measure_first_in_word_gas(world: World) -> int:
    """Gas of a single release to an existing recipient that opens a new bitmap word."""
    person = account("gas word")
    world.release(_item(world, 256 * 77_000, person))
    return world.release(_item(world, 256 * 77_001, person)).gas_used


def measure_burn_gas(world: World) -> int:
    """Gas of a burn with an exact allowance that stays above zero; the holder keeps shares."""
    world.fund(10**12, counter=256 * 88_000)
    world.burn(10**9)
    world.release(world.item(256 * 88_000 + 1, amount=10**13))
    return world.burn(10**9, sender=HOLDER).gas_used


def _item(world: World, counter: int, recipient: str) -> Item:
    nonce = nonce_of(SOURCE_BRIDGE, counter)
    return Item(1, nonce, world.asset, recipient, 100_000_000 + counter % 1000, RELEASE)


def measure_gas() -> dict[str, int]:
    """All figures on an anvil of their own: release_<batch>_<recipient> per item, and burn."""
    with running_anvil("--chain-id", str(CHAIN_ID)) as rpc:
        world = build_world(rpc)
        releases = [measure_release_gas(world, batch) for batch in (1, 10, 50)]
        figures = {
            f"release_{release.batch}_{recipient}": gas
            for release in releases
            for recipient, gas in asdict(release).items()
            if recipient != "batch"
        }
        return figures | {
            "release_first_in_word": measure_first_in_word_gas(world),
            "burn": measure_burn_gas(world),
        }
