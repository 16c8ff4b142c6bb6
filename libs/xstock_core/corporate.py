"""Corporate actions: when a changing multiplier holds an asset, and when it is settled.

Balances rescale without a transfer, and chains activate apart. Shares do not care, but what people
see does, and the cap depends on custody's own multiplier. So an asset stands still from 15 minutes
before an activation until every chain shows the announced multiplier and custody attests it.
Multipliers are compared by value, never by a chain's own epoch number; a change that nobody
announced holds the asset too. What settled once is history: a later value that all agree on, as a
fee makes it, does not hold again. Pure: announcements and readings in, windows out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_core.ids import Domain
from xstock_core.review import Window

WINDOW_SECONDS: Final = 900
"""The issuer advises to pause about 15 minutes before and after each activation."""
_PRECISION: Final = 10**12


@dataclass(frozen=True, slots=True)
class Announced:
    """What the issuer says will happen at `activates_at` (Unix seconds)."""

    activates_at: int
    multiplier: int
    """Scaled by 10^18."""
    settled: bool = False
    """Every chain and custody were seen at it once, after it activated."""


def same_multiplier(one: int, other: int) -> bool:
    """Whether two multipliers agree to twelve digits: one chain keeps its own as a 64-bit float."""
    return abs(one - other) * _PRECISION <= max(one, other)


def windows_of(
    announced: Sequence[Announced],
    shown: Mapping[Domain, int | None],
    attested: int | None,
    now: int,
    half: int = WINDOW_SECONDS,
) -> tuple[Window, ...]:
    """The windows of one asset at `now`.

    `shown` has every chain of the asset with the multiplier of its believed reading (None: none
    yet); `attested` is custody's. Only the newest activated announcement can be unsettled: what
    came before it is history. If that one settled before, its value is history too, and all must
    only agree among themselves, none of them unknown.
    """
    windows = []
    active = max((one.activates_at for one in announced if one.activates_at <= now), default=None)
    for one in announced:
        due = one.activates_at == active
        awaited = _awaited(one, shown, attested) if due else ""
        windows.append(
            Window(one.activates_at - half, one.activates_at + half, not awaited, awaited)
        )
    unannounced = _disagreement(shown, attested)
    if unannounced:
        windows.append(Window(0, 0, settled=False, why=unannounced))
    return tuple(windows)


def settles(
    one: Announced, shown: Mapping[Domain, int | None], attested: int | None, now: int
) -> bool:
    """Whether an announcement has activated and every chain and custody are at its value."""
    return one.activates_at <= now and not _late(one.multiplier, shown, attested)


def _awaited(one: Announced, shown: Mapping[Domain, int | None], attested: int | None) -> str:
    # SECURITY: settled or not, what nobody has read or stated is awaited; two values hold besides.
    if one.settled:
        said = {f"chain {int(chain)}": value for chain, value in sorted(shown.items())}
        said["custody"] = attested
        unknown = [name for name, value in said.items() if value is None]
        return f"any multiplier of {', '.join(unknown)}" if unknown else ""
    late = _late(one.multiplier, shown, attested)
    return f"multiplier {one.multiplier} of {', '.join(late)}" if late else ""


def _late(multiplier: int, shown: Mapping[Domain, int | None], attested: int | None) -> list[str]:
    late = [
        f"chain {int(chain)}"
        for chain, value in sorted(shown.items())
        if value is None or not same_multiplier(value, multiplier)
    ]
    if attested is None or not same_multiplier(attested, multiplier):
        late.append("custody")
    return late


def _disagreement(shown: Mapping[Domain, int | None], attested: int | None) -> str:
    said = {f"chain {int(chain)}": value for chain, value in sorted(shown.items())}
    said["custody"] = attested
    known = {name: value for name, value in said.items() if value is not None}
    if not known or same_multiplier(min(known.values()), max(known.values())):
        return ""
    return "one multiplier: " + ", ".join(f"{name} says {value}" for name, value in known.items())
