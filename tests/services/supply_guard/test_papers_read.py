"""Papers as bytes: one deterministic form each, and nothing in it that nobody can read."""

import pytest

from xstock_supply_guard.wire import parsed
from xstock_wire.v1 import papers_pb2

PAPER = papers_pb2.Opening(
    asset=b"\1" * 32,
    chains=[papers_pb2.OpeningChain(chain=1, shares=5, residue_units="0", block_number=9)],
).SerializeToString(deterministic=True)
UNKNOWN = bytes([0xF8, 0x7F, 1])
"""Field 2047, a varint; protobuf keeps it, and writes it again at the end of its message."""


def test_paper__in_its_one_form__is_read() -> None:
    assert parsed(papers_pb2.Opening, PAPER).chains[0].shares == 5


def nested() -> bytes:
    """The paper with the unknown field in its chain's entry."""
    paper = papers_pb2.Opening.FromString(PAPER)
    paper.chains[0].MergeFromString(UNKNOWN)
    return paper.SerializeToString(deterministic=True)


@pytest.mark.parametrize("paper", [PAPER + UNKNOWN, nested()], ids=["at its end", "within"])
def test_paper__with_a_field_nobody_knows__is_refused(paper: bytes) -> None:
    """F12: signed by people who could not read it, and written again by protobuf as it came."""
    kept = papers_pb2.Opening.FromString(paper).SerializeToString(deterministic=True)
    assert kept == paper, "protobuf drops it by itself: this test proves nothing"
    with pytest.raises(ValueError, match="without unknown fields"):
        parsed(papers_pb2.Opening, paper)
