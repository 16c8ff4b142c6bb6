"""The demonstration on a terminal and in a pipe says the same things."""

from io import StringIO

from rich.console import Console

from tests.services.cli.gateway import transfer
from xstock_cli.stages import LiveStage, PlainStage
from xstock_wire.v1 import bridge_pb2


def test_plain_stage__every_revision__is_a_line() -> None:
    lines: list[str] = []
    with PlainStage(lines.append) as stage:
        stage.say("act 1")
        stage.moved(transfer(1), 0.5)
        stage.moved(transfer(1, state=bridge_pb2.TRANSFER_STATE_RELEASED), 2.25)
    assert lines[0] == "act 1"
    assert [line.split()[-1] for line in lines[1:]] == ["SEEN", "RELEASED"]


def test_live_stage__a_transfer_that_moves__stays_one_row_with_its_newest_state() -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with LiveStage(console) as stage:
        stage.say("act 1")
        stage.moved(transfer(1), 0.5)
        stage.moved(transfer(2), 0.6)
        stage.moved(transfer(1, state=bridge_pb2.TRANSFER_STATE_RELEASED), 2.25)
    last = screen.getvalue().rsplit("transfer", 1)[1]
    assert "act 1" in screen.getvalue()
    assert last.count("01010101") == 1
    assert "RELEASED" in last
    assert "02020202" in last
