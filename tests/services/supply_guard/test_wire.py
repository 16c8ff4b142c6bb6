"""The wire codec, field by field: nothing is lost, swapped or made up, and bad fields are named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import a_message
from tests.services.supply_guard.world import ASSET, DEPLOYMENT, HOLDER, RECIPIENT, SHARE
from xstock_chains.ports import AssetSupply
from xstock_core.cap import Attestation
from xstock_core.ids import U64_MAX, Address32, Domain, TransferId
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BlockRef, BurnFinal, Place, TxRef
from xstock_core.release import Action
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers.books import AssetBook, ChainBook
from xstock_supply_guard.model import (
    Alarm,
    BelievedSupply,
    CancelPaper,
    Halt,
    Opening,
    OpeningPaper,
    OpeningRecord,
    OrderPaper,
    Outcome,
    PermitItem,
    Ruling,
    SignedStatement,
    SignRequest,
    SubmittedClaim,
    UnreadableClaim,
    VoidPaper,
)
from xstock_wire.codec import paper_digest
from xstock_wire.papers import (
    ATTESTATION,
    CANCEL_REQUEST,
    ISSUE_ORDER,
    ISSUE_VOID,
    REDEMPTION_REJECTION,
)
from xstock_wire.v1 import (
    common_pb2,
    operator_pb2,
    papers_pb2,
    records_pb2,
    supply_guard_pb2,
)

ID = TransferId(b"\x11" * 32)
SECOND = TransferId(b"\x12" * 32)
BLOCK = BlockRef(Domain.BNB, 77, b"\x05" * 32, 1_700_000_000)
LATER = BlockRef(Domain.BNB, 79, b"\x06" * 32, 1_700_000_009)
ORDER = papers_pb2.IssueOrder(
    asset=ASSET, order_number=7, destination=2, recipient=RECIPIENT, amount=9, expires=10
)
VOID = papers_pb2.IssueVoid(asset=ASSET, order_number=7)
CANCEL = papers_pb2.CancelRequest(transfer_id=ID, expires=88, reason="changed my mind")
ATTESTED = papers_pb2.Attestation(
    asset=ASSET,
    held_units=1,
    as_of=2,
    sequence=3,
    multiplier="4",
    multiplier_epoch=5,
    paid=[ID, SECOND],
    inventory=[
        papers_pb2.InventoryAccount(chain=1, owner=HOLDER),
        papers_pb2.InventoryAccount(chain=4, owner=b"\x44" * 32),
    ],
)
OWNERS = frozenset({(Domain.ETHEREUM, HOLDER), (Domain.SOLANA, Address32(b"\x44" * 32))})
REJECTED = papers_pb2.RedemptionRejection(transfer_id=ID, reason="account closed")
OPENED = papers_pb2.Opening(
    asset=ASSET,
    chains=[
        papers_pb2.OpeningChain(chain=1, shares=5, residue_units="6", block_number=7),
        papers_pb2.OpeningChain(chain=2, shares=8, residue_units="0", block_number=9),
    ],
)


def signed(kind: str, paper: Any) -> common_pb2.SignedPaper:
    """The paper in an envelope of which every part tells itself apart."""
    body = paper if isinstance(paper, bytes) else paper.SerializeToString(deterministic=True)
    return common_pb2.SignedPaper(kind=kind, paper=body, key_id="key-9", signature=b"\x99")


def statement(kind: str, paper: Any) -> SignedStatement:
    """What must be read of `signed`."""
    body = paper.SerializeToString(deterministic=True)
    return SignedStatement(kind, body, paper_digest(kind, DEPLOYMENT, body), "key-9", b"\x99")


def message(kind: Kind = Kind.TRANSFER) -> TransferMessage:
    """A message whose fields all differ."""
    source = Domain.CUSTODY if kind is Kind.ISSUE else Domain.ETHEREUM
    return a_message(
        kind=kind, source=source, destination=Domain.BNB, asset=ASSET, amount=3 * SHARE
    )


def changed(paper: Any, **fields: Any) -> Any:
    """The paper with other fields."""
    made = type(paper)()
    made.CopyFrom(paper)
    for name, value in fields.items():
        made.ClearField(name)
        if isinstance(value, list):
            getattr(made, name).extend(value)
        else:
            setattr(made, name, value)
    return made


# what the guard says


@pytest.mark.parametrize("outcome", list(Outcome))
def test_verdict__every_field__is_on_the_wire_and_in_its_record(outcome: Outcome) -> None:
    ruling = Ruling(ID, outcome, "WHY", 5, {"a": "b", "c": "d"}, 6)
    verdict = common_pb2.Verdict(
        transfer_id=ID,
        decision=common_pb2.Decision.Value(f"DECISION_{outcome.name}"),
        reason="WHY",
        until=5,
        detail={"a": "b", "c": "d"},
        sequence=6,
    )
    assert wire.ruling_to_wire(ruling) == verdict
    record = wire.ruling_to_record(ruling, guard_id="guard-4", deployment_id="dep", at_ms=7)
    assert record == records_pb2.VerdictRecord(
        deployment_id="dep", guard_id="guard-4", verdict=verdict, at_ms=7
    )


def test_alarm__every_field__is_in_its_record() -> None:
    alarm = Alarm("CODE", "chain/2", "what happened", "which one")
    record = wire.alarm_to_record(alarm, guard_id="guard-4", deployment_id="dep", at_ms=7)
    assert record == records_pb2.AlarmRecord(
        deployment_id="dep",
        service="guard-4",
        code="CODE",
        scope="chain/2",
        detail="what happened",
        about="which one",
        at_ms=7,
    )


@pytest.mark.parametrize(
    ("halt", "scope"),
    [
        (Halt("h", "why", "ann", 5, None, None), operator_pb2.HaltScope()),
        (Halt("h", "why", "ann", 5, ASSET, None), operator_pb2.HaltScope(asset=ASSET)),
        (Halt("h", "why", "ann", 5, None, Domain.TON), operator_pb2.HaltScope(chain=6)),
        (
            Halt("h", "why", "ann", 5, None, Domain.TON, ("bob", "eve")),
            operator_pb2.HaltScope(chain=6),
        ),
    ],
    ids=["everything", "asset", "chain", "approved"],
)
def test_halt__every_field__is_on_the_wire(halt: Halt, scope: operator_pb2.HaltScope) -> None:
    assert wire.halt_to_wire(halt) == operator_pb2.HaltRecord(
        id="h", scope=scope, reason="why", by="ann", at_ms=5, approvals=halt.approvals
    )


def test_redemption__on_the_wire__says_what_was_burned_and_when() -> None:
    burn = BurnFinal(
        message=message(),
        transfer_id=message().transfer_id(keccak256),
        sender=HOLDER,
        counter=1,
        place=Place(BLOCK, TxRef(Domain.BNB, b"\x01" * 32), 0),
    )
    assert wire.redemption_to_wire(burn) == supply_guard_pb2.OpenRedemption(
        transfer_id=burn.transfer_id, message=burn.message.pack(), burned_at=BLOCK.time
    )


def believed(units: int = 52 * 10**10 + 3, ledger: int = 40) -> BelievedSupply:
    """A reading of the chain with inventory of the bridge's own and a residue."""
    supply = AssetSupply(ASSET, units + 2 * 10**10 + 1, 2 * 10**10 + 1, 18, 10**18, 0, False)
    return BelievedSupply(Domain.BNB, LATER, supply, ledger, residue_units=3)


def book(**changes: Any) -> AssetBook:
    """Books of which every figure differs."""
    whole = AssetBook(
        asset=ASSET,
        chains=(ChainBook(Domain.BNB, 41, 18, BLOCK, believed()),),
        in_flight=2,
        orphaned=3,
        open_issuance=4,
        unpaid_redemption=5,
        exposure=6,
        cap=7,
        excluded=14,
        attestation=Attestation(ASSET, 8, 8, 9, 10, 11, 12),
        halted="INV-16: why",
        last_order_number=13,
        open=True,
        opening=OpeningRecord(
            ASSET, b"\x01" * 32, {Domain.BNB: Opening(8, 9), Domain.ETHEREUM: Opening(5, 7, 6, 1)}
        ),
    )
    return replace(whole, **changes)


def ref(block: BlockRef) -> common_pb2.BlockRef:
    """A block on the wire."""
    return common_pb2.BlockRef(
        chain=int(block.chain), number=block.number, hash=block.hash, time=block.time
    )


def test_books__every_figure__is_on_the_wire() -> None:
    assert wire.book_to_wire(book()) == supply_guard_pb2.AssetLedger(
        asset=ASSET,
        chains=[
            supply_guard_pb2.ChainSupply(
                chain=2,
                ledger=41,
                decimals=18,
                booked_through=ref(BLOCK),
                reading=str(52 * 10**10),
                reading_block=ref(LATER),
                ledger_at_reading=40,
                unopened="12",
                residue_units="3",
            )
        ],
        in_flight=2,
        orphaned=3,
        open_issuance=4,
        unpaid_redemption=5,
        exposure=6,
        cap=7,
        excluded=14,
        attestation_sequence=11,
        attestation_as_of=12,
        halted="INV-16: why",
        multiplier="9",
        last_order_number=13,
        open=True,
        opening=OPENED.SerializeToString(deterministic=True),
    )


def test_books__without_attestation_opening_and_reading__say_nothing_of_them() -> None:
    empty = book(
        chains=(ChainBook(Domain.BNB, 0, 18, None, None),),
        attestation=None,
        opening=None,
        halted="",
        open=False,
    )
    found = wire.book_to_wire(empty)
    assert (found.attestation_sequence, found.attestation_as_of, found.multiplier) == (0, 0, "")
    assert (found.halted, found.open, found.opening) == ("", False, b"")
    assert list(found.chains) == [supply_guard_pb2.ChainSupply(chain=2, decimals=18)]


def test_books__figures_below_zero__show_as_zero_and_the_others_stay() -> None:
    low = book(
        chains=(ChainBook(Domain.BNB, -1, 18, None, believed(ledger=-2)),),
        in_flight=-1,
        orphaned=-1,
        open_issuance=-1,
        unpaid_redemption=-1,
        exposure=-1,
    )
    found = wire.book_to_wire(low)
    figures = (found.in_flight, found.orphaned, found.open_issuance, found.unpaid_redemption)
    assert (*figures, found.exposure, found.cap) == (0, 0, 0, 0, 0, 7)
    (chain,) = found.chains
    assert (chain.ledger, chain.ledger_at_reading, chain.unopened) == (0, 0, "54")


# what the guard is told


READ: list[tuple[Callable[[common_pb2.SignedPaper, str], Any], str, Any, Any]] = [
    (
        wire.order_from_wire,
        ISSUE_ORDER,
        ORDER,
        OrderPaper(ASSET, 7, Domain.BNB, RECIPIENT, 9, 10, statement(ISSUE_ORDER, ORDER)),
    ),
    (
        wire.void_from_wire,
        ISSUE_VOID,
        VOID,
        VoidPaper(ASSET, 7, statement("issue-void", VOID)),
    ),
    (
        wire.cancel_from_wire,
        CANCEL_REQUEST,
        CANCEL,
        CancelPaper(ID, 88, statement("cancel-request", CANCEL)),
    ),
    (
        wire.attestation_from_wire,
        ATTESTATION,
        ATTESTED,
        (
            Attestation(ASSET, 1, 8, 4, 5, 3, 2, OWNERS),
            statement("attestation", ATTESTED),
            (ID, SECOND),
        ),
    ),
    (
        wire.rejection_from_wire,
        REDEMPTION_REJECTION,
        REJECTED,
        (ID, "account closed", statement("redemption-rejection", REJECTED)),
    ),
]
KINDS = [kind for _, kind, _, _ in READ]


@pytest.mark.parametrize(("read", "kind", "paper", "meant"), READ, ids=KINDS)
def test_paper__every_field__is_read_with_the_envelope_that_proves_it(
    read: Callable[[common_pb2.SignedPaper, str], Any], kind: str, paper: Any, meant: Any
) -> None:
    assert read(signed(kind, paper), DEPLOYMENT) == meant


@pytest.mark.parametrize(("read", "kind", "paper", "meant"), READ, ids=KINDS)
def test_paper__of_another_kind_or_another_deployment__is_not_taken_for_it(
    read: Callable[[common_pb2.SignedPaper, str], Any], kind: str, paper: Any, meant: Any
) -> None:
    """A paper is bound to its kind by the envelope and to its deployment by the digest."""
    with pytest.raises(InvalidMessage) as refused:
        read(signed("x" * 41, paper), DEPLOYMENT)
    text = f"kind: {'x' * 40!r} is not valid; give {kind!r}"
    assert (refused.value.code, refused.value.message) == ("FIELD_INVALID", text)
    assert refused.value.metadata == {"field": "kind"}
    assert read(signed(kind, paper), "another") != meant


@pytest.mark.parametrize(("read", "kind", "paper", "meant"), READ, ids=KINDS)
def test_paper__bytes_that_are_none__are_refused_by_name(
    read: Callable[[common_pb2.SignedPaper, str], Any], kind: str, paper: Any, meant: Any
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        read(signed(kind, b"\xff"), DEPLOYMENT)
    field = {"issue-order": "order", "issue-void": "void", "cancel-request": "request"}.get(
        kind, kind.removeprefix("redemption-")
    )
    assert refused.value.message == f"{field}: these bytes are no paper of this kind"
    assert refused.value.metadata == {"field": field}


def test_envelope__at_its_longest__is_read_and_one_byte_more_is_not() -> None:
    longest = common_pb2.SignedPaper(kind="k", paper=b"p" * 4096, signature=b"s" * 128)
    assert wire.statement_from_wire(longest, "k", DEPLOYMENT).paper == longest.paper
    for name, longest_bytes in (("paper", 4096), ("signature", 128)):
        over = common_pb2.SignedPaper()
        over.CopyFrom(longest)
        setattr(over, name, getattr(over, name) + b"x")
        with pytest.raises(InvalidMessage) as refused:
            wire.statement_from_wire(over, "k", DEPLOYMENT)
        assert refused.value.code == "FIELD_INVALID"
        assert refused.value.message == (
            f"{name}: {longest_bytes + 1} bytes are too many for this bridge; "
            f"give at most {longest_bytes}"
        )
        assert refused.value.metadata == {"field": name}


def owner(number: int, *, chain: int = 1) -> papers_pb2.InventoryAccount:
    """An owner of issuer inventory, as a paper names it."""
    return papers_pb2.InventoryAccount(chain=chain, owner=number.to_bytes(32, "big"))


NO_DIGITS = " is not valid; give decimal digits"
BAD: list[tuple[str, Any, str, str]] = [
    ("issue-order", changed(ORDER, asset=b"\1"), "order.asset", "give exactly 32 bytes"),
    ("issue-order", changed(ORDER, order_number=0), "order.order_number", "0 is not valid"),
    ("issue-order", changed(ORDER, destination=4000), "order.destination", "4000 is not valid"),
    ("issue-order", changed(ORDER, recipient=b"\1" * 32), "order.recipient", "left-padded"),
    ("issue-order", changed(ORDER, amount=0), "order.amount", "0 is not valid"),
    ("issue-void", changed(VOID, asset=bytes(32)), "void.asset", "zero is never valid"),
    ("cancel-request", changed(CANCEL, transfer_id=b""), "transfer_id", "give exactly 32 bytes"),
    ("attestation", changed(ATTESTED, asset=b""), "asset", "give exactly 32 bytes"),
    ("attestation", changed(ATTESTED, multiplier="1.5"), "multiplier", "'1.5'" + NO_DIGITS),
    ("attestation", changed(ATTESTED, multiplier="²"), "multiplier", "'²'" + NO_DIGITS),
    ("attestation", changed(ATTESTED, multiplier=""), "multiplier", "''" + NO_DIGITS),
    (
        "attestation",
        changed(ATTESTED, multiplier="1" * 61),
        "multiplier",
        f"{'1' * 40!r}" + NO_DIGITS,
    ),
    (
        "attestation",
        changed(ATTESTED, multiplier="00"),
        "multiplier",
        "zero is never valid; give the multiplier in force",
    ),
    ("attestation", changed(ATTESTED, sequence=0), "sequence", "0 is not valid"),
    ("attestation", changed(ATTESTED, as_of=0), "as_of", "0 is not valid"),
    ("attestation", changed(ATTESTED, paid=[ID, b"\1"]), "paid", "give exactly 32 bytes"),
    (
        "attestation",
        changed(ATTESTED, paid=[ID] * 101),
        "paid",
        "101 are too many; list 100 and the rest next time",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[owner(number) for number in range(1, 98)]),
        "inventory",
        "97 owners are too many; name 96 at most",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[owner(2), owner(1)]),
        "inventory",
        "name every owner once, by rising chain and address",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[owner(2), owner(2)]),
        "inventory",
        "name every owner once, by rising chain and address",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[owner(2, chain=4000)]),
        "inventory",
        "4000 is not valid",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[owner(2, chain=100)]),
        "inventory",
        "custody is no chain; its stock is what it holds",
    ),
    (
        "attestation",
        changed(ATTESTED, inventory=[papers_pb2.InventoryAccount(chain=1, owner=b"\x44" * 32)]),
        "inventory",
        "left-padded",
    ),
    (
        "redemption-rejection",
        changed(REJECTED, transfer_id=bytes(32)),
        "transfer_id",
        "zero is never valid",
    ),
]


@pytest.mark.parametrize(("kind", "paper", "field", "says"), BAD)
def test_paper__a_bad_field__is_refused_by_its_name_with_the_value_and_the_remedy(
    kind: str, paper: Any, field: str, says: str
) -> None:
    read = {known: one for one, known, _, _ in READ}[kind]
    with pytest.raises(InvalidMessage) as refused:
        read(signed(kind, paper), DEPLOYMENT)
    assert (refused.value.code, refused.value.metadata) == ("FIELD_INVALID", {"field": field})
    assert refused.value.message.startswith(f"{field}: ")
    assert says in refused.value.message


def test_attestation__of_as_much_as_a_field_holds__is_read() -> None:
    most = changed(
        ATTESTED,
        held_units=U64_MAX,
        multiplier="9" * 60,
        sequence=U64_MAX,
        inventory=[],
        paid=[TransferId(bytes([number]) * 32) for number in range(1, 101)],
    )
    found, _, paid = wire.attestation_from_wire(signed("attestation", most), DEPLOYMENT)
    assert (found.held_units, found.sequence, found.multiplier) == (U64_MAX, U64_MAX, 10**60 - 1)
    assert paid == tuple(most.paid)


def test_attestation__of_nothing_held__is_a_statement() -> None:
    none = changed(ATTESTED, held_units=0, paid=[], multiplier="007", inventory=[])
    found, _, paid = wire.attestation_from_wire(signed("attestation", none), DEPLOYMENT)
    assert (found.held_units, found.multiplier, paid) == (0, 7, ())
    assert found.inventory == frozenset()


def test_attestation__of_as_many_owners_as_a_paper_may_name__is_read() -> None:
    most = changed(ATTESTED, paid=[], inventory=[owner(number) for number in range(1, 97)])
    found, _, _ = wire.attestation_from_wire(signed("attestation", most), DEPLOYMENT)
    assert len(found.inventory) == 96


def test_checked__an_error_that_names_its_field__names_it_once() -> None:
    def fails(text: str) -> Callable[[], None]:
        def parse() -> None:
            raise ValueError(text)

        return parse

    for text, shown in (("asset: no", "asset: no"), ("no", "asset: no")):
        with pytest.raises(InvalidMessage) as refused:
            wire.checked("asset", fails(text))
        assert (refused.value.code, refused.value.message) == ("FIELD_INVALID", shown)
        assert refused.value.metadata == {"field": "asset"}
        assert isinstance(refused.value.__cause__, ValueError)


# openings


OPENING_MEANT = OpeningPaper(
    ASSET,
    {Domain.ETHEREUM: Opening(5, 7, 6, 0), Domain.BNB: Opening(8, 9, 0, 0)},
    statement("opening", OPENED).digest,
)


def test_opening__every_field__is_read_from_its_first_signature() -> None:
    other = common_pb2.SignedPaper(kind="opening", paper=b"x", key_id="key-8", signature=b"\x88")
    said, signatures = wire.opening_statements([signed("opening", OPENED), other], DEPLOYMENT)
    assert said == OPENING_MEANT
    digest = paper_digest("opening", DEPLOYMENT, b"x")
    second = SignedStatement("opening", b"x", digest, "key-8", b"\x88")
    assert signatures == [statement("opening", OPENED), second]


def chain_paper(**fields: Any) -> papers_pb2.Opening:
    """An opening with one chain, one of whose fields is another."""
    whole: dict[str, Any] = {"chain": 1, "shares": 5, "residue_units": "6", "block_number": 7}
    return papers_pb2.Opening(asset=ASSET, chains=[papers_pb2.OpeningChain(**(whole | fields))])


@pytest.mark.parametrize(
    ("paper", "field", "text"),
    [
        (b"\xff", "opening", "opening: these bytes are no paper of this kind"),
        (
            changed(OPENED, chains=[OPENED.chains[1], OPENED.chains[0]]),
            "chains",
            "opening.chains: [2, 1] is not valid; name every chain once, in rising order",
        ),
        (
            changed(OPENED, chains=[OPENED.chains[0], OPENED.chains[0]]),
            "chains",
            "opening.chains: [1, 1] is not valid; name every chain once, in rising order",
        ),
        (chain_paper(chain=4000), "opening.chain", "opening.chain: domain: 4000 is not valid; "),
        (
            chain_paper(residue_units="06"),
            "residue_units",
            "residue_units: '06' is not valid; leave leading zeros out",
        ),
        (
            chain_paper(residue_units="0" * 60),
            "residue_units",
            f"residue_units: {'0' * 40!r} is not valid; leave leading zeros out",
        ),
        (
            chain_paper(residue_units="-6"),
            "residue_units",
            "residue_units: '-6' is not valid; give decimal digits",
        ),
        (changed(OPENED, asset=b""), "opening.asset", "opening.asset: asset: b'' is not valid; "),
    ],
)
def test_opening__a_bad_field__is_refused_by_its_name(paper: Any, field: str, text: str) -> None:
    body = paper if isinstance(paper, bytes) else paper.SerializeToString(deterministic=True)
    with pytest.raises(InvalidMessage) as refused:
        wire.opening_from_wire(body, DEPLOYMENT)
    assert (refused.value.code, refused.value.metadata) == ("FIELD_INVALID", {"field": field})
    assert refused.value.message.startswith(text)


def test_opening__unsigned_too_long_or_of_another_kind__is_refused() -> None:
    with pytest.raises(InvalidMessage) as refused:
        wire.opening_statements([], DEPLOYMENT)
    assert (refused.value.code, refused.value.message) == (
        "FIELD_INVALID",
        "signatures: none given; M guards must sign",
    )
    assert refused.value.metadata == {"field": "signatures"}
    with pytest.raises(InvalidMessage, match="give 'opening'"):
        wire.opening_statements([signed("attestation", OPENED)], DEPLOYMENT)
    with pytest.raises(InvalidMessage) as refused:
        wire.opening_from_wire(b"\0" * 4097, DEPLOYMENT)
    assert (refused.value.code, refused.value.message) == (
        "FIELD_INVALID",
        "paper: 4097 bytes are too many for this bridge; give at most 4096",
    )
    with pytest.raises(InvalidMessage, match="no paper of this kind"):
        wire.opening_from_wire(b"\xff" * 4096, DEPLOYMENT)


# claims and batches


def claim(of: TransferMessage, order: common_pb2.SignedPaper | None = None) -> SubmittedClaim:
    """What the guard reads of a claim."""
    read = wire.claim_from_wire(
        supply_guard_pb2.Claim(message=of.pack(), block_number=9, order=order), DEPLOYMENT
    )
    assert isinstance(read, SubmittedClaim)
    return read


def test_claim__every_field__is_read() -> None:
    assert claim(message()) == SubmittedClaim(message(), None, 9, None)
    paper = signed("issue-order", ORDER)
    assert claim(message(Kind.ISSUE), paper) == SubmittedClaim(
        message(Kind.ISSUE), None, 9, wire.order_from_wire(paper, DEPLOYMENT)
    )


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            supply_guard_pb2.Claim(message=b"no"),
            "message: '6e6f' is not valid; give exactly 179 bytes",
        ),
        (
            supply_guard_pb2.Claim(message=message().pack(), order=signed("issue-order", ORDER)),
            "order: a TRANSFER has none; leave it out",
        ),
        (
            supply_guard_pb2.Claim(
                message=message(Kind.ISSUE).pack(), order=signed("issue-void", VOID)
            ),
            "kind: 'issue-void' is not valid; give 'issue-order'",
        ),
    ],
    ids=["no message", "order beside a burn", "no order"],
)
def test_claim__that_cannot_be_read__is_named_by_its_bytes_and_told_why(
    said: supply_guard_pb2.Claim, error: str
) -> None:
    """One garbled claim spoils nobody else's page."""
    found = wire.claim_from_wire(said, DEPLOYMENT)
    assert found == UnreadableClaim(TransferId(keccak256(said.message)), error)


def item(
    transfer_id: bytes, action: int, authority: common_pb2.SignedPaper | None = None
) -> supply_guard_pb2.SignItem:
    """One item of a batch."""
    return supply_guard_pb2.SignItem(
        transfer_id=transfer_id,
        action=action,  # type: ignore[arg-type]
        authority=authority,
    )


def batch(**changes: Any) -> supply_guard_pb2.SignReleaseRequest:
    """A batch with items of both actions and papers of both kinds."""
    whole: dict[str, Any] = {
        "destination": 2,
        "bridge": RECIPIENT,
        "epoch": 3,
        "deadline": 4,
        "items": [
            item(ID, Action.RELEASE),
            item(SECOND, Action.CANCEL, signed("issue-void", VOID)),
            item(b"\x13" * 32, Action.CANCEL, signed("cancel-request", CANCEL)),
        ],
        "terms": b"\x07",
    }
    return supply_guard_pb2.SignReleaseRequest(**(whole | changes))


def test_batch__every_field__is_read_and_each_paper_is_told_by_its_kind() -> None:
    assert wire.sign_request_from_wire(batch(), DEPLOYMENT) == SignRequest(
        destination=Domain.BNB,
        bridge=Address32(RECIPIENT),
        epoch=3,
        deadline=4,
        items=(
            PermitItem(ID, Action.RELEASE),
            PermitItem(SECOND, Action.CANCEL),
            PermitItem(TransferId(b"\x13" * 32), Action.CANCEL),
        ),
        voids=(wire.void_from_wire(signed("issue-void", VOID), DEPLOYMENT),),
        terms=b"\x07",
        cancels=(wire.cancel_from_wire(signed("cancel-request", CANCEL), DEPLOYMENT),),
    )


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"destination": 4000}, "destination", "4000 is not valid"),
        ({"bridge": b"\1" * 32}, "bridge", "left-padded"),
        ({"items": [item(b"", Action.RELEASE)]}, "items", "give exactly 32 bytes"),
        ({"items": [item(ID, 9)]}, "action", "9 is not a valid"),
    ],
)
def test_batch__a_bad_field__is_refused_by_its_name(
    changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        wire.sign_request_from_wire(batch(**changes), DEPLOYMENT)
    assert (refused.value.code, refused.value.metadata) == ("FIELD_INVALID", {"field": field})
    assert refused.value.message.startswith(f"{field}: ")
    assert says in refused.value.message


def test_batch__a_paper_of_an_unknown_kind__is_refused() -> None:
    items = [item(ID, Action.CANCEL, signed("issue-order", ORDER))]
    with pytest.raises(InvalidMessage, match="'issue-order' is not valid; give 'issue-void'"):
        wire.sign_request_from_wire(batch(items=items), DEPLOYMENT)
