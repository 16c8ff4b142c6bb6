"""Words, figures and documents: what people read and what programs parse."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.services.cli.gateway import event, transfer
from xstock_cli.commands.look import _supply_row
from xstock_cli.demo import DemoFacts
from xstock_cli.demo_guards import GuardFacts
from xstock_cli.exits import Exit
from xstock_cli.plain import plain
from xstock_cli.screen import Screen
from xstock_cli.show import describe, duration, limit_text, share_text, state_name, when
from xstock_cli.transfers import exit_of_transfer
from xstock_wire.v1 import bridge_pb2

GUARDED = GuardFacts(
    redeemed=1,
    refunded=1,
    uncovered_held=1,
    mints_caught=1,
    halts_cleared=1,
    journals_verified=3,
)
GOOD = DemoFacts(
    routes=6,
    routes_expected=6,
    transfers_released=12,
    transfers_sent=12,
    over_cap_refused=1,
    over_cap_asked=1,
    chains_equal=3,
    chains=3,
    guards=GUARDED,
)


def test_demo_line__is_the_promised_one() -> None:
    assert GOOD.line == (
        "demo: routes 6/6, transfers 12 released, lost 0, duplicated 0, over-cap refused 1/1, "
        "redeemed 1/1, refunded 1/1, held while uncovered 1/1, unauthorised mint caught 1/1, "
        "journals verified 3/3, supply = ledger on 3/3 chains"
    )
    assert GOOD.good


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("routes", 5),
        ("transfers_released", 11),
        ("lost", 1),
        ("duplicated", 1),
        ("over_cap_refused", 0),
        ("chains_equal", 2),
        ("chains", 0),
    ],
)
def test_demo_facts__any_word_wrong__are_not_good(word: str, value: int) -> None:
    wrong: dict[str, Any] = {word: value}
    assert not replace(GOOD, **wrong).good


@pytest.mark.parametrize("word", [one.name for one in fields(GuardFacts)])
def test_demo_facts__any_work_of_the_guards_undone__are_not_good(word: str) -> None:
    guards = replace(GUARDED, **{word: 2 if word == "journals" else 0})
    assert not replace(GOOD, guards=guards).good


def test_demo_facts__nothing_done__are_not_good() -> None:
    assert not DemoFacts().good


def test_plain__message__has_ids_in_hex_wide_integers_as_text_and_short_enum_words() -> None:
    one = transfer(7, state=bridge_pb2.TRANSFER_STATE_HELD, reason="CAP_EXCEEDED")
    found = plain(one)
    assert found["id"] == "07" * 32
    assert found["shares"] == "125000000"
    assert found["state"] == "HELD"
    assert found["waiting_for"]["reason"] == "CAP_EXCEEDED"
    assert found["created_at"] is None
    assert json.loads(json.dumps(found)) == found


def test_plain__state_of_a_newer_server__stays_visible() -> None:
    """A client must survive enum values that did not exist when it was written."""
    one = bridge_pb2.Transfer(id=b"x" * 32)
    one.MergeFromString(b"\x18\x63")
    assert plain(one)["state"] == "99"
    assert "99" in describe(one)
    assert exit_of_transfer(one) is Exit.PENDING


def test_plain__frame__keeps_which_kind_it_is() -> None:
    found = plain(event(transfer(), b"\x01\x02"))
    assert found["resume_token"] == "0102"
    assert found["progress"] is None
    assert found["event"]["transfer"]["symbol"] == "TSLAx"


@pytest.mark.parametrize(
    ("units", "text"), [(0, "0"), (1, "0.00000001"), (150_000_000, "1.5"), (10**17, "1000000000")]
)
def test_share_text__integers__are_exact_decimals(units: int, text: str) -> None:
    assert share_text(units) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_duration__seconds__in_two_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_when__a_moment__is_absolute_and_relative() -> None:
    moment = Timestamp(seconds=1_700_000_000)
    assert when(moment, 1_700_000_005_000) == "2023-11-14 22:13:20 UTC (5 s ago)"
    assert when(moment, 1_699_999_990_000) == "2023-11-14 22:13:20 UTC (in 10 s)"
    assert when(Timestamp(), 1_700_000_000_000) == ""


def test_state_name__waiting__says_for_what() -> None:
    assert state_name(transfer(reason="VERDICTS")) == "SEEN (VERDICTS)"
    one = transfer()
    one.blocks_to_final = 3
    assert state_name(one) == "SEEN (3 blocks to final)"


@pytest.mark.parametrize(
    ("state", "terminal", "code"),
    [
        (bridge_pb2.TRANSFER_STATE_RELEASED, True, Exit.DONE),
        (bridge_pb2.TRANSFER_STATE_REFUNDED, True, Exit.FAILED),
        (bridge_pb2.TRANSFER_STATE_REORGED, True, Exit.FAILED),
        (bridge_pb2.TRANSFER_STATE_PARKED, False, Exit.REFUSED),
        (bridge_pb2.TRANSFER_STATE_ORPHANED, False, Exit.REFUSED),
        (bridge_pb2.TRANSFER_STATE_HELD, False, Exit.PENDING),
    ],
)
def test_exit_of_transfer__each_end__has_its_code(
    state: bridge_pb2.TransferState, terminal: bool, code: Exit
) -> None:
    assert exit_of_transfer(transfer(state=state, terminal=terminal)) is code


def test_screen__json__keeps_words_off_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.line("for people")
    screen.note("progress")
    screen.table("", ("a",), [("b",)])
    screen.document({"amount": "1.5"})
    out, err = capfd.readouterr()
    assert json.loads(out) == {"amount": "1.5"}
    assert "progress" in err


def test_screen__people__get_texts_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    """Texts of others are never markup: a reason could otherwise hide or colour words."""
    screen = Screen()
    screen.table("", ("reason",), [("[red]x[/red] [link=http://evil]y[/link]",)])
    screen.document({"no": "document"})
    out, _ = capfd.readouterr()
    assert "[red]x[/red] [link=http://evil]y[/link]" in out
    assert "document" not in out


@pytest.mark.parametrize(
    ("excluded", "limit", "headroom"), [(0, "100", "-5"), (7 * 10**8, "100 + 7", "2")]
)
def test_supply__with_issuer_inventory__has_room_above_the_cap(
    excluded: int, limit: str, headroom: str
) -> None:
    """What is excluded is shown beside the cap, never hidden in it."""
    supply = bridge_pb2.AssetSupply(
        symbol="TSLAx",
        guard_id="guard-1",
        exposure=105 * 10**8,
        cap=100 * 10**8,
        excluded=excluded,
        attestation_sequence=1,
    )
    row = _supply_row(supply, [], 0)
    assert row[4:6] == [limit, headroom]
    assert limit_text(100 * 10**8, excluded) == limit
