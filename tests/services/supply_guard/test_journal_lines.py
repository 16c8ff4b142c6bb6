"""The journal's lines, letter by letter: the offline verifier reads nothing else."""

from typing import Any

import pytest

from tests.builders import a_message
from tests.services.supply_guard.world import ASSET, RECIPIENT, SHARE
from xstock_core.cap import Attestation
from xstock_core.ids import Domain, TransferId
from xstock_core.inventory import InventoryReading
from xstock_core.ledger import CUSTODY, OPEN_ISSUANCE, EntryKind, make_entry
from xstock_core.observation import BlockRef
from xstock_core.release import Action
from xstock_supply_guard.handlers import lines
from xstock_supply_guard.model import (
    ClaimRecord,
    Halt,
    IssueRecord,
    OrderPaper,
    OrderState,
    Outcome,
    Permit,
    PermitItem,
    Ruling,
    SignedStatement,
)

ID = TransferId(b"\x11" * 32)
SECOND = TransferId(b"\x12" * 32)
SHOWN = ASSET.hex()
STATEMENTS = [
    SignedStatement("k", b"\xaa", b"\xbb", "key-1", b"\xcc"),
    SignedStatement("k", b"\xaa", b"\xbb", "key-2", b"\xdd"),
]
MESSAGE = a_message(asset=ASSET, amount=3 * SHARE)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "verb"),
        ({"a": 1, "b": b"\x0f", "c": "x", "d": None, "e": ""}, "verb a=1 b=0f c=x e="),
        ({"from_": "x y", "b": "100%\n"}, "verb from=x%20y b=100%25%0A"),
        ({"a": "é=", "b": "/:,;.()+*'!?_-~"}, "verb a=%C3%A9%3D b=/:,;.()+*'!?_-~"),
    ],
)
def test_line__of_any_fields__is_one_line_that_reads_back(
    fields: dict[str, Any], text: str
) -> None:
    made = lines.line("verb", **fields)
    assert made == text
    verb, read = lines.read_line(made)
    assert verb == "verb"
    assert read == {
        name.rstrip("_"): value.hex() if isinstance(value, bytes) else str(value)
        for name, value in fields.items()
        if value is not None
    }


def test_line__that_is_none__is_refused_with_its_beginning() -> None:
    assert lines.read_line("verb a=b=c")[1] == {"a": "b=c"}
    for text in ("verb  a=1", "verb a=1 "):
        with pytest.raises(ValueError, match="is no line of a journal"):
            lines.read_line(text)
    with pytest.raises(ValueError, match=rf"^'verb {'x' * 75}' is no line of a journal$"):
        lines.read_line("verb " + "x" * 76)


def test_entry__in_full__can_be_recomputed() -> None:
    entry = make_entry(EntryKind.ISSUE_RESERVE, ASSET, CUSTODY, OPEN_ISSUANCE, 7, b"\x01\x02")
    assert lines.entry_line(entry) == (
        f"entry id={entry.id.hex()} kind={EntryKind.ISSUE_RESERVE.value} asset={SHOWN}"
        f" debit={CUSTODY.text} credit={OPEN_ISSUANCE.text} amount=7 ref=0102"
    )


def test_through__a_block__is_named_whole() -> None:
    block = BlockRef(Domain.TON, 7, b"\x05" * 32, 9)
    assert lines.through_line(block) == f"through chain=6 number=7 hash={'05' * 32} time=9"


@pytest.mark.parametrize(
    ("ruling", "said"),
    [
        (Ruling(ID, Outcome.GRANTED), ""),
        (Ruling(ID, Outcome.PARKED, "SCREENED"), " reason=SCREENED"),
        (Ruling(ID, Outcome.HELD, "PAUSED", 5), " reason=PAUSED until=5"),
        (Ruling(ID, Outcome.HELD, "", 1), " until=1"),
    ],
)
def test_ruling__with_what_it_is_about__is_one_line(ruling: Ruling, said: str) -> None:
    assert lines.ruling_line(ClaimRecord(MESSAGE, ruling, 1)) == (
        f"rule id={ID.hex()} outcome={ruling.outcome.value}{said} kind=TRANSFER asset={SHOWN}"
        f" source=1 destination=2 amount={3 * SHARE}"
    )


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ((PermitItem(ID, Action.RELEASE),), f" release={ID.hex()}"),
        (
            (PermitItem(ID, Action.CANCEL), PermitItem(SECOND, Action.CANCEL)),
            f" cancel={ID.hex()},{SECOND.hex()}",
        ),
        (
            (PermitItem(ID, Action.CANCEL), PermitItem(SECOND, Action.RELEASE)),
            f" release={SECOND.hex()} cancel={ID.hex()}",
        ),
    ],
)
def test_permit__with_every_item__is_one_line(items: tuple[PermitItem, ...], said: str) -> None:
    permit = Permit(b"\x01", Domain.BNB, 3, 4, items, b"\x05", b"\x06", 7)
    assert lines.permit_line(permit) == (
        f"permit digest=01 destination=2 epoch=3 deadline=4{said} signer=06 signature=05"
    )


def test_attestation__with_its_papers__proves_its_cap() -> None:
    said = Attestation(ASSET, 1000, 8, 10**18, 5, 6, 7)
    start = (
        f"attest asset={SHOWN} sequence=6 held=1000 decimals=8 multiplier={10**18} epoch=5"
        f" as_of=7 margin=100 cap={said.cap(100)}"
    )
    assert lines.attestation_line(said, 100, []).startswith(start)
    assert " paper=" not in lines.attestation_line(said, 100, [])
    full = lines.attestation_line(said, 100, STATEMENTS)
    assert full.startswith(start)
    assert full.endswith(" paper=aa keys=key-1,key-2 signatures=cc,dd")


def test_attestation__by_one_key__stands_with_its_paper() -> None:
    said = Attestation(ASSET, 1000, 8, 10**18, 5, 6, 7)
    alone = lines.attestation_line(said, 100, STATEMENTS[:1])
    assert alone.endswith(" paper=aa keys=key-1 signatures=cc")


def test_inventory__chain_by_chain__is_one_line_with_its_sum() -> None:
    readings = [
        InventoryReading(Domain.ETHEREUM, 2, 1, 3 * 10**12, 18, 4),
        InventoryReading(Domain.BNB, 6, 1, 70, 8, 8),
    ]
    counted = [one.shares for one in readings]
    assert counted[0] > 0
    assert counted[1] > 0
    assert lines.inventory_line(ASSET, readings) == (
        f"inventory asset={SHOWN} excluded={sum(counted)}"
        f" chains=1:2:{3 * 10**12}:18:4:{counted[0]},2:6:70:8:8:{counted[1]}"
    )


@pytest.mark.parametrize(
    ("issue", "said"),
    [
        (
            IssueRecord(ASSET, 3, ID, OrderState.RESERVED, 9, None, Domain.BNB),
            f"state=RESERVED expiry=9 id={ID.hex()}",
        ),
        (IssueRecord(ASSET, 3, None, OrderState.EXECUTED, 0, None, Domain.BNB), "state=EXECUTED"),
    ],
)
def test_order__where_it_stands__is_one_line(issue: IssueRecord, said: str) -> None:
    assert lines.order_line(issue) == f"order asset={SHOWN} number=3 {said}"


def test_order__that_was_granted__stands_with_its_paper() -> None:
    order = OrderPaper(ASSET, 3, Domain.BNB, RECIPIENT, 5, 6, STATEMENTS[0])
    assert lines.order_paper_line(order) == (
        f"order-paper asset={SHOWN} number=3 paper=aa keys=key-1 signatures=cc"
    )


def test_exposure__above_the_cap__is_one_line() -> None:
    assert lines.over_cap_line(ASSET, 12) == f"over-cap asset={SHOWN} exposure=12"


@pytest.mark.parametrize(
    ("halt", "covers"),
    [
        (Halt("h", "a reason", "ann", 5), ""),
        (Halt("h", "a reason", "ann", 5, ASSET), f" asset={SHOWN}"),
        (Halt("h", "a reason", "ann", 5, None, Domain.TON), " chain=6"),
    ],
)
def test_halt__and_what_it_covers__is_one_line(halt: Halt, covers: str) -> None:
    assert lines.halt_line(halt) == f"halt id=h by=ann{covers} reason=a%20reason"
