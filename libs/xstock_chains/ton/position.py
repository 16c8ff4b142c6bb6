"""A reader's place: the last masterchain block worked through, and each minter's last transaction.

The cursor's text is made of chain content alone, so readers at one place write the same text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from xstock_chains.ton.walk import Mark
from xstock_core.ids import Address32
from xstock_runtime.errors import InvalidMessage

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class MinterPlace:
    """A minter's last transaction, and the last counter of each of its lanes."""

    mark: Mark = field(default_factory=Mark)
    lanes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Position:
    """What a cursor says; hash None: at the beginning."""

    seqno: int
    hash: bytes | None
    minters: Mapping[Address32, MinterPlace]

    def of(self, minter: Address32) -> MinterPlace:
        """The minter's place; before its first transaction if it has none yet."""
        return self.minters.get(minter, MinterPlace())

    def text(self) -> str:
        """The cursor's opaque text."""
        minters = {
            address.hex(): {
                "lt": str(place.mark.lt),
                "h": place.mark.hash.hex(),
                "c": {str(to): count for to, count in sorted(place.lanes.items())},
            }
            for address, place in sorted(self.minters.items())
            if place.mark.lt
        }
        block = None if self.hash is None else self.hash.hex()
        document = {"v": _VERSION, "n": self.seqno, "h": block, "m": minters}
        return json.dumps(document, separators=(",", ":"))


def parse_position(text: str) -> Position:
    """The position in a cursor's text; raises InvalidMessage for one that is not ours."""
    if not text:
        return Position(-1, None, {})
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            raise ValueError("another version")
        minters = {
            Address32(bytes.fromhex(address)): MinterPlace(
                Mark(int(place["lt"]), bytes.fromhex(place["h"])),
                {int(to): int(count) for to, count in place["c"].items()},
            )
            for address, place in document["m"].items()
        }
        block = None if document["h"] is None else bytes.fromhex(document["h"])
        return Position(int(document["n"]), block, minters)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "use a cursor of this adapter, or an empty one to start over"
        message = f"cursor: {text[:100]!r} is not valid; {remedy}"
        raise InvalidMessage("CURSOR_INVALID", message, {"cursor": text[:100]}) from error
