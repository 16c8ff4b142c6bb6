"""How far a reader came and what it counted: the cursor's position, and dense lanes.

Every bridge counts its burns per destination from 1, without a hole. So a hole in what a node
showed proves that it hides a burn, and the bridge's own `laneCounters`, read at a final block,
prove that nothing was hidden at the end (INV-09). Pure: no node is asked here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.solidity.abi import selector, uint_array, word
from xstock_chains.solidity.evidence import Found
from xstock_core.ids import Domain
from xstock_runtime.errors import InvalidMessage, ServiceError, Transient

_CURSOR_VERSION: Final = 1
_LANE_COUNTERS: Final = selector("laneCounters(uint32[])")

Lanes = dict[bytes, dict[int, int]]
"""bridge address -> destination domain -> the last burn counter seen."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last final block that was worked through; `hash` is None only before the first."""

    number: int
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class Position:
    """What a cursor says: the last final block worked through, and every lane's counter."""

    anchor: Anchor
    lanes: Mapping[bytes, Mapping[int, int]]

    def text(self) -> str:
        """The cursor's opaque text."""
        lanes = {
            bridge.hex(): {str(to): count for to, count in sorted(counts.items())}
            for bridge, counts in sorted(self.lanes.items())
        }
        block_hash = None if self.anchor.hash is None else self.anchor.hash.hex()
        document = {"v": _CURSOR_VERSION, "n": self.anchor.number, "h": block_hash, "c": lanes}
        return json.dumps(document, separators=(",", ":"))


def parse_position(text: str, first_block: int) -> Position:
    """The position in a cursor's text; raises InvalidMessage for one that is not ours."""
    if not text:
        return Position(Anchor(first_block - 1, None), {})
    try:
        document = json.loads(text)
        if document["v"] != _CURSOR_VERSION:
            raise ValueError("another version")
        lanes = {
            bytes.fromhex(bridge): {int(to): int(count) for to, count in counts.items()}
            for bridge, counts in document["c"].items()
        }
        block_hash = None if document["h"] is None else bytes.fromhex(document["h"])
        return Position(Anchor(int(document["n"]), block_hash), lanes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "use a cursor of this adapter, or an empty one to start over"
        message = f"cursor: {text[:100]!r} is not valid; {remedy}"
        raise InvalidMessage("CURSOR_INVALID", message, {"cursor": text[:100]}) from error


def counter_destinations(source: Domain) -> list[int]:
    """Every destination that a bridge on this chain may count burns to."""
    return [int(domain) for domain in Domain if domain is not source]


def counters_data(source: Domain) -> bytes:
    """The call data that asks a bridge for the counters of `counter_destinations`."""
    return _LANE_COUNTERS + word(32) + uint_array(counter_destinations(source))


def count_lanes(
    source: Domain, before: Mapping[bytes, Mapping[int, int]], found: Iterable[Found]
) -> Lanes:
    """The lane counters after these burns; raises if they are not dense (INV-09)."""
    lanes: Lanes = {bridge: dict(counts) for bridge, counts in before.items()}
    for lane, _ in found:
        if lane is None:
            continue
        bridge, destination, counter = lane
        counts = lanes.setdefault(bridge, {})
        expected = counts.get(destination, 0) + 1
        if counter != expected:
            raise lane_gap(source, bridge, destination, expected, counter)
        counts[destination] = counter
    return lanes


def lane_gap(
    source: Domain, bridge: bytes, destination: int, expected: int, found: int
) -> ServiceError:
    """A lane that is not dense: a hole is a node's silence, a repetition is a lie."""
    facts = {"bridge": bridge.hex(), "destination": destination}
    facts |= {"expected": expected, "found": found}
    text = (
        f"lane {int(source)}->{destination} of bridge 0x{bridge.hex()}: burn "
        f"{expected} was expected and {found} found; the node hides or repeats logs"
    )
    if found > expected:
        return Transient("LOGS_INCOMPLETE", text, facts)
    return InvalidMessage("COUNTER_REPEATED", text, facts)


def check_lanes(source: Domain, bridge: bytes, counted: Mapping[int, int], seen: Lanes) -> None:
    """Raise unless the bridge counted exactly what was seen of its burns."""
    for destination, count in counted.items():
        have = seen.get(bridge, {}).get(destination, 0)
        if have < count:
            raise lane_gap(source, bridge, destination, have, count)
        if have > count:
            raise InvalidMessage(
                "COUNTER_REPEATED",
                f"lane to {destination}: saw {have} burns, the bridge counted {count}",
                {"destination": destination, "seen": have, "counted": count},
            )


def counted_lanes(source: Domain, counts: Sequence[int]) -> dict[int, int]:
    """The bridge's answer to `counters_data`, by destination; empty for no contract yet."""
    return dict(zip(counter_destinations(source), counts, strict=False))
