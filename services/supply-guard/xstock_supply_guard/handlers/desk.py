"""What every handler has on its desk: configuration, memory, clock, keys, and what is live.

`Live` is what a restart forgets on purpose: which chains this process has caught up with, and
the bell between reviews and scanners. Signing depends on it: a guard that has just started signs
nothing before it has booked every chain up to its final head.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from xstock_chains.ports import ReleaseCodec, Signer
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.observation import BurnFinal
from xstock_runtime.clock import Clock
from xstock_runtime.remembered import Remembered
from xstock_supply_guard.model import GuardConfig, Reserves
from xstock_supply_guard.ports import EpochReader, GuardStore, ScreeningProvider, SignatureCheck

BURNS_REMEMBERED = 8_192


class Bell:
    """Wakes one chain's scanner, and tells reviews how far it has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()
        self._moved = asyncio.Event()

    def ring(self) -> None:
        """Look at the chain now."""
        self._rung.set()

    async def wait_rung(self, seconds: float) -> None:
        """Return when somebody rings, or after `seconds`."""
        await _wait(self._rung, seconds, self._clock)
        self._rung.clear()

    def passed(self) -> None:
        """The scanner has finished a look at the chain, whatever it found."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def wait_passed(self, seconds: float) -> None:
        """Return after the scanner's next finished look, or after `seconds`."""
        await _wait(self._moved, seconds, self._clock)


async def _wait(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    if event.is_set():
        return
    waiter = asyncio.ensure_future(event.wait())
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        sleeper.cancel()


@dataclass(slots=True)
class Live:
    """What this process knows since its start."""

    bells: Mapping[Domain, Bell]
    rights: Mapping[Domain, Bell]
    """Rung when a role has moved on a chain: its rights are looked at again at once."""
    caught_up: set[Domain] = field(default_factory=set)
    """Chains that were booked up to their final head at least once since the start."""
    reserves: dict[AssetId, Reserves] = field(default_factory=dict)
    """What the issuer's feed said last, by asset."""
    epochs: dict[Domain, int] = field(default_factory=dict)
    """The guard epoch of each destination, as last read; emptied by a change of the guard set."""
    booked: Remembered[TransferId, BurnFinal] = field(
        default_factory=lambda: Remembered(BURNS_REMEMBERED)
    )
    """The burns that this process has booked last, once their pages were committed: a booked burn
    stays as it is, and its review comes soon after."""
    screening_failed: bool = True
    """The screening list was not readable when it was last asked for; unknown at the start."""


@dataclass(slots=True)
class Desk:
    """Everything a handler may use."""

    config: GuardConfig
    store: GuardStore
    clock: Clock
    live: Live
    check_signature: SignatureCheck
    codecs: Mapping[Domain, ReleaseCodec]
    signers: Mapping[Domain, Signer]
    epochs: Mapping[Domain, EpochReader]
    screening: ScreeningProvider | None = None
    """None: this deployment screens nobody."""

    @property
    def now(self) -> int:
        """This guard's clock in Unix seconds."""
        return self.clock.unix_ms() // 1000

    def name_of(self, asset: AssetId) -> str:
        """What people call an asset: its symbol; of one that is not registered, its id."""
        config = self.config.assets.get(asset)
        return config.symbol if config is not None else asset.hex()

    def missing(self) -> list[str]:
        """The names of the chains that are not caught up yet; signing waits for them."""
        chains = self.config.chains.items()
        return [chain.name for domain, chain in chains if domain not in self.live.caught_up]


def make_live(config: GuardConfig, clock: Clock) -> Live:
    """A fresh start: nothing is caught up."""
    return Live(
        bells={domain: Bell(clock) for domain in config.chains},
        rights={domain: Bell(clock) for domain in config.chains},
    )
