"""A mapping with room for so many."""

import pytest

from xstock_runtime.remembered import Remembered


def test_remembered__one_too_many__forgets_what_was_put_first() -> None:
    kept: Remembered[int, str] = Remembered(2)
    kept.update({1: "a", 2: "b"})
    kept[3] = "c"
    assert dict(kept) == {2: "b", 3: "c"}
    kept.update((n, "d") for n in range(10))
    assert dict(kept) == {8: "d", 9: "d"}
    assert kept.setdefault(10, "e") == "e"
    assert list(kept) == [9, 10]


def test_remembered__known_key_put_again__has_its_new_value_and_its_old_place() -> None:
    kept: Remembered[int, str] = Remembered(2)
    kept.update({1: "a", 2: "b"})
    kept[1] = "c"
    assert kept == {1: "c", 2: "b"}
    kept[3] = "d"
    assert list(kept) == [2, 3]


@pytest.mark.parametrize("size", [0, -1])
def test_remembered__no_room__is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size: {size} is not valid; give 1 or more"):
        Remembered(size)
