"""The virtual machine's accounts with their past: what each held at every block since the first.

LiteSVM knows only the newest state and cannot be copied. So every account that a block changes is
kept here in all its versions, by slot: reads at an older commitment look them up, a simulation at
an older block puts them in for its duration, and a dropped block is undone by putting back what
was there before.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from solders.account import Account
from solders.clock import Clock
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

from xstock_devnet.solana.caller import CALLER_PROGRAM, caller_program
from xstock_devnet.solana.programs import TOKEN_PROGRAMS

BEFORE_ALL = -1
VERSIONS_KEPT = 4_096
"""Older versions of one account are forgotten; no commitment lags by this many blocks."""
SLOTS_IN_EPOCH = 432_000
NO_ACCOUNT = Account(0, b"", Pubkey.default())


class AccountBook:
    """All accounts at every commitment, over one LiteSVM that is always at the newest block."""

    def __init__(self) -> None:
        self.vm = (
            LiteSVM()
            .with_blockhash_check(check=False)
            .with_sigverify(sigverify=False)
            .with_transaction_history(0)
        )
        self.vm.add_program(CALLER_PROGRAM, caller_program())
        self._versions: dict[Pubkey, list[tuple[int, Account | None]]] = {}
        self._programs: dict[Pubkey, Account] = {}
        self._token_accounts: dict[Pubkey, None] = {}

    def newest(self, key: Pubkey) -> Account | None:
        """Return an account as the newest block left it, None if there is none."""
        versions = self._versions.get(key)
        if versions is not None:
            return versions[-1][1]
        program = self._programs.get(key)
        if program is not None:
            return program
        account = self.vm.get_account(key)
        if account is not None and account.executable:
            self._programs[key] = account
        return account

    def at(self, key: Pubkey, slot: int) -> Account | None:
        """Return an account as it was after the block of `slot`, None if there was none."""
        versions = self._versions.get(key)
        if versions is None:
            return self.newest(key)
        return next((account for since, account in reversed(versions) if since <= slot), None)

    def was_changed(self, key: Pubkey) -> bool:
        """Tell whether a block ever changed this account."""
        return key in self._versions

    def changed_keys(self) -> Iterable[Pubkey]:
        """Return every account that a block ever changed, in the order of the first change."""
        return self._versions.keys()

    def token_accounts(self) -> Iterable[Pubkey]:
        """Return every account that one of the token programs ever owned."""
        return self._token_accounts.keys()

    def note(self, slot: int, key: Pubkey, before: Account | None, after: Account | None) -> None:
        """Keep what the block of `slot` made of an account."""
        versions = self._versions.get(key)
        if versions is None:
            versions = self._versions[key] = [(BEFORE_ALL, before)]
        if versions[-1][0] == slot:
            versions.pop()
        versions.append((slot, after))
        if len(versions) > 2 * VERSIONS_KEPT:
            del versions[:VERSIONS_KEPT]
        if after is not None and after.owner in TOKEN_PROGRAMS:
            self._token_accounts[key] = None

    def put(self, slot: int, key: Pubkey, account: Account | None) -> None:
        """Set an account in the block of `slot`, outside any transaction."""
        before = self.newest(key)
        self._set(key, account)
        self.note(slot, key, before, account)

    def roll_back(self, slot: int, keys: Iterable[Pubkey]) -> None:
        """Undo everything that blocks after `slot` did to `keys`; raises ValueError if forgotten.

        After it every account is byte for byte what it was when the block of `slot` was made.
        """
        for key in keys:
            versions = self._versions[key]
            if versions[0][0] > slot:
                raise ValueError(f"slot {slot}: account {key} is not remembered that far back")
            if versions[-1][0] <= slot:
                continue
            while versions[-1][0] > slot:
                versions.pop()
            self._set(key, versions[-1][1])

    @contextmanager
    def seen_from(self, slot: int, keys: Iterable[Pubkey]) -> Iterator[None]:
        """Let the machine hold `keys` as they were after `slot` while the block lasts."""
        swapped: list[tuple[Pubkey, Account | None]] = []
        for key in keys:
            versions = self._versions.get(key)
            if versions is not None and versions[-1][0] > slot:
                swapped.append((key, self.newest(key)))
                self._set(key, self.at(key, slot))
        try:
            yield
        finally:
            for key, account in swapped:
                self._set(key, account)

    def set_time(self, slot: int, unix_seconds: int) -> None:
        """Set what programs read as slot, epoch and time."""
        epoch = slot // SLOTS_IN_EPOCH
        self.vm.set_clock(Clock(slot, 0, epoch, epoch + 1, unix_seconds))

    def _set(self, key: Pubkey, account: Account | None) -> None:
        self._programs.pop(key, None)
        self.vm.set_account(key, account or NO_ACCOUNT)
