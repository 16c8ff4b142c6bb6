"""A mapping with room for so many: what was put first is forgotten first."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(OrderedDict[K, V]):
    """At most `size` entries. Only for what can be looked up elsewhere once it is forgotten.

    Not to be copied: `dict(it)` is.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size: {size} is not valid; give 1 or more")
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        """Put an entry; the oldest goes when there are too many."""
        super().__setitem__(key, value)
        if len(self) > self._size:
            self.popitem(last=False)
