"""What a unit of work has posted and not journaled yet, for both stores.

The store itself writes the lines of entries and of progress, so no handler can post anything and
forget to say so: a unit that would commit a posting outside the journal does not commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import Account, Entry
from xstock_core.observation import BlockRef
from xstock_runtime.errors import Fatal
from xstock_supply_guard.handlers.lines import entry_line, through_line


@dataclass(slots=True)
class Unlinked:
    """Gathered while a unit works, emptied by its link."""

    entries: list[Entry] = field(default_factory=list)
    balances: dict[tuple[AssetId, Account], int] = field(default_factory=dict)
    attested: dict[AssetId, int] = field(default_factory=dict)
    through: dict[Domain, BlockRef] = field(default_factory=dict)

    def posted(
        self, entries: Iterable[Entry], balances: Mapping[tuple[AssetId, Account], int]
    ) -> None:
        """These entries were appended, and these accounts hold this since."""
        self.entries.extend(entries)
        self.balances.update(balances)

    def lines(self, lines: Sequence[str]) -> list[str]:
        """Every line of the link over `lines`; none if nothing happened."""
        if not lines and not self.entries:
            return []
        own = [entry_line(entry) for entry in self.entries]
        own.extend(through_line(block) for _, block in sorted(self.through.items()))
        return [*own, *lines]

    def clear(self) -> None:
        """A link was written."""
        self.entries.clear()
        self.balances.clear()
        self.attested.clear()
        self.through.clear()

    def check(self) -> None:
        """Raise Fatal JOURNAL_INCOMPLETE if something was posted and not journaled."""
        if self.entries or self.attested:
            text = f"{len(self.entries)} entries were posted outside the journal; link the group"
            raise Fatal("JOURNAL_INCOMPLETE", text)
