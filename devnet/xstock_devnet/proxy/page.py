"""The tables of docs/chaos.md, from the vocabulary itself: `python -m xstock_devnet.proxy.page`."""

from collections.abc import Iterable, Iterator
from itertools import chain

from xstock_devnet.proxy.families import FAMILIES
from xstock_devnet.proxy.faults import KINDS, Params


def fault_table() -> Iterator[str]:
    """One line a fault: what the provider does, and the params it takes."""
    yield from _head("fault", "the provider …", "params")
    for name, kind in KINDS.items():
        own = [field for field in kind.params.model_fields if field not in Params.model_fields]
        yield _line(f"`{name}`", kind.does, ", ".join(f"`{field}`" for field in own))


def hide_table() -> Iterator[str]:
    """What the params of `hide_event` are in each family."""
    yield from _head("family", "`address`", "`topic`", "`tx_hash`", "`receipts`")
    for family in FAMILIES.values():
        yield _line(family.name, *family.hides_by.values())


def pass_table() -> Iterator[str]:
    """What no view changes in each family."""
    yield from _head("family", "passes as it is")
    for family in FAMILIES.values():
        yield _line(family.name, family.passes)


def error_table(family: str) -> Iterator[str]:
    """The errors that one family refuses with, and where unless `methods` says otherwise."""
    yield from _head("error", "means", "on")
    for name, fact in sorted(FAMILIES[family].errors.items()):
        where = ", ".join(f"`{method}`" for method in fact.methods) or "any call"
        yield _line(f"`{name}`", fact.means, where)


def _head(*columns: str) -> Iterator[str]:
    yield _line(*columns)
    yield "|" + "---|" * len(columns)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def tables() -> Iterable[list[str]]:
    """Every table that the page must have."""
    errors = (list(error_table(family)) for family in FAMILIES)
    return chain([list(fault_table()), list(hide_table()), list(pass_table())], errors)


if __name__ == "__main__":
    for table in tables():
        print("\n".join(table), end="\n\n")
