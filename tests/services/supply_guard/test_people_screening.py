"""The signed screening list in a file: believed only while everything about it is right."""

import os
from pathlib import Path

import pytest

from tests.services.supply_guard.world import DEPLOYMENT, HOLDER, RECIPIENT, STRANGER, paper_key
from xstock_core.ids import Address32
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import Transient
from xstock_supply_guard.adapters.screening import SignedListFile
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_wire.papers import SCREENING_LIST, PaperKey
from xstock_wire.v1 import papers_pb2

SCREENER = paper_key("screener-1")


class Desk:
    """A list's file and its reader."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.path = folder / "screening.list"
        self.provider = self.reader()
        self.writes = 0

    def reader(self) -> SignedListFile:
        """A reader that has just started."""
        keys = {SCREENER.key_id: SCREENER.public_key}
        return SignedListFile(self.path, keys, DEPLOYMENT, signature_valid, self.clock)

    def write(
        self,
        *accounts: Address32,
        sequence: int = 1,
        key: PaperKey = SCREENER,
        life: int = 3_600,
        age: int = 0,
        deployment: str = DEPLOYMENT,
        reason: str = "sanctions",
    ) -> None:
        """Put a signed list in the file's place."""
        now = self.clock.unix_ms() // 1000
        paper = papers_pb2.ScreeningList(
            sequence=sequence,
            as_of=now - age,
            expires=now + life,
            accounts=[papers_pb2.ScreenedAccount(account=one, reason=reason) for one in accounts],
        )
        self.put(key.sign(SCREENING_LIST, deployment, paper).SerializeToString())

    def put(self, raw: bytes) -> None:
        """Replace the file as an operator would: a new one moved into its place."""
        self.writes += 1
        fresh = self.path.with_suffix(f".{self.writes}")
        fresh.write_bytes(raw)
        os.replace(fresh, self.path)

    async def listed(self, *addresses: Address32) -> dict[Address32, str]:
        """What the provider says."""
        return dict((await self.provider.listed(addresses)).listed)

    async def unknown(self) -> str:
        """Why the provider says nothing."""
        with pytest.raises(Transient) as failed:
            await self.provider.listed([HOLDER])
        assert failed.value.code == "SCREENING_UNKNOWN"
        return failed.value.message


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty place for a list."""
    return Desk(tmp_path)


async def test_list__signed_and_fresh__names_who_is_on_it(desk: Desk) -> None:
    desk.write(HOLDER)
    assert await desk.listed(HOLDER, RECIPIENT) == {HOLDER: "sanctions"}


async def test_list__replaced__is_read_again(desk: Desk) -> None:
    desk.write(HOLDER)
    assert await desk.listed(HOLDER, RECIPIENT) == {HOLDER: "sanctions"}
    desk.write(RECIPIENT, sequence=2, reason="us-person")
    assert await desk.listed(HOLDER, RECIPIENT) == {RECIPIENT: "us-person"}
    assert (await desk.provider.listed([HOLDER])).sequence == 2


async def test_list__older_than_the_one_before__is_unknown(desk: Desk) -> None:
    desk.write(HOLDER, sequence=7)
    await desk.listed(HOLDER)
    desk.write(sequence=6)
    assert "older than 7" in await desk.unknown()
    desk.write(HOLDER, sequence=7)
    assert await desk.listed(HOLDER) == {HOLDER: "sanctions"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"key": STRANGER}, "no registered screener"),
        ({"deployment": "another"}, "did not sign"),
        ({"life": 0}, "expired"),
        ({"age": -3_600}, "dated in the future"),
        ({"sequence": 0}, "older than 0"),
        ({"reason": "a whim"}, "is not valid"),
    ],
)
async def test_list__anything_wrong__is_unknown_and_says_what(
    desk: Desk, wrong: dict[str, object], said: str
) -> None:
    desk.write(HOLDER, **wrong)  # type: ignore[arg-type]
    assert said in await desk.unknown()


async def test_list__expires_while_it_lies_there__is_unknown_from_that_second(desk: Desk) -> None:
    desk.write(HOLDER, life=60)
    assert await desk.listed(HOLDER) == {HOLDER: "sanctions"}
    await desk.clock.advance(60)
    assert "expired" in await desk.unknown()


async def test_list__missing_garbled_or_taken_away__is_unknown(desk: Desk) -> None:
    assert "cannot read" in await desk.unknown()
    desk.put(b"\xff" * 40)
    assert "no signed list" in await desk.unknown()
    desk.write(HOLDER)
    assert await desk.listed(HOLDER) == {HOLDER: "sanctions"}
    desk.path.unlink()
    assert "cannot read" in await desk.unknown()


async def test_signature__unchecked__a_stranger_clears_everybody(desk: Desk) -> None:
    """Defence removed: whoever can write the file empties the list."""
    desk.write(HOLDER)
    assert await desk.listed(HOLDER) == {HOLDER: "sanctions"}
    desk.provider.check_signature = lambda _key, _digest, _signature: True
    posed = STRANGER.sign(
        SCREENING_LIST,
        DEPLOYMENT,
        papers_pb2.ScreeningList(sequence=2, expires=desk.clock.unix_ms()),
    )
    posed.key_id = SCREENER.key_id
    desk.put(posed.SerializeToString())
    assert await desk.listed(HOLDER) == {}
