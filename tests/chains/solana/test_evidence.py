"""What counts as a burn, a release or a cancellation, instruction by instruction.

Each rule that keeps money is also taken out here, to see that its test would notice.
"""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.solana.made import (
    ACCOUNT,
    MEMO_TEXT,
    MINT,
    MULTISIG,
    REFERENCE,
    a_block,
    a_burn,
    a_chain,
    a_memo,
    an_entry,
)
from tests.chains.solana.world import ELSEWHERE, GUARDS, HOLDER, RELAYER, SHARE, STRANGER, TSLA
from xstock_chains.solana.address import show
from xstock_chains.solana.chain import LaneKey
from xstock_chains.solana.evidence import Evidence
from xstock_chains.solana.programs import (
    BURN,
    MEMO,
    SYSTEM,
    TOKEN_2022,
    allocate_with_seed,
    ata_of,
    create_ata,
    mint_to_checked,
    set_mint_authority,
    transfer,
)
from xstock_chains.solana.reading import Executed
from xstock_chains.solana.release import marker_of, marker_seed
from xstock_chains.solana.wire import Instruction, Meta, transaction_bytes
from xstock_core.ids import Domain, counter_nonce, solana_nonce
from xstock_core.message import Kind
from xstock_core.observation import (
    BurnFinal,
    CancelFinal,
    Observation,
    OrphanBurn,
    ReleaseFinal,
    Role,
    RoleMoved,
    SupplyMoved,
)
from xstock_runtime.errors import InvalidMessage, Transient

ME = HOLDER.identity
NONCE = counter_nonce(ELSEWHERE, 1)
SIGNERS = tuple(guard.identity for guard in GUARDS[:2])


def seen(*entries: dict[str, Any], evidence: Evidence | None = None) -> list[Observation]:
    """What these transactions are to the bridge."""
    return (evidence or Evidence(a_chain())).observe(a_block(*entries)).observations


def test_evidence__memo_right_before_the_burn__is_the_transfer_it_names() -> None:
    (burn,) = seen(an_entry(a_memo(), a_burn()))
    assert isinstance(burn, BurnFinal)
    message = burn.message
    assert (message.destination, message.recipient) == (Domain.BNB, ELSEWHERE)
    assert (message.amount, message.refund_address) == (SHARE, HOLDER.wire)
    assert message.source_bridge == REFERENCE
    assert message.nonce == solana_nonce(b"\7" * 64, 1, 0xFF)


def test_evidence__refund_named__is_the_refund_address() -> None:
    text = MEMO_TEXT + b":" + STRANGER.identity.hex().encode()
    (burn,) = seen(an_entry(a_memo(text), a_burn()))
    assert isinstance(burn, BurnFinal)
    assert burn.message.refund_address == STRANGER.wire


def test_evidence__custody_named__is_a_redemption() -> None:
    text = f"xsb1:100:{ELSEWHERE.hex()}".encode()
    (burn,) = seen(an_entry(a_memo(text), a_burn()))
    assert isinstance(burn, BurnFinal)
    assert burn.message.kind is Kind.REDEEM


def test_evidence__two_pairs_in_one_transaction__are_two_transfers() -> None:
    found = seen(an_entry(a_memo(), a_burn(1), a_memo(), a_burn(2)))
    assert [type(one) for one in found] == [BurnFinal, BurnFinal]
    assert len({one.message.nonce for one in found if isinstance(one, BurnFinal)}) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"xsb1",
        b"xsb1:2:" + b"0" * 63,
        b"xsb1:02:" + ELSEWHERE.hex().encode(),
        b"xsb1:2:" + ELSEWHERE.hex().upper().encode(),
        b"xsb1:0:" + ELSEWHERE.hex().encode(),
        b"xsb1:4:" + ELSEWHERE.hex().encode(),
        b"xsb1:7:" + ELSEWHERE.hex().encode(),
        b"xsb1:2:" + b"11" * 32,
        b"xsb1:2:" + b"00" * 32,
        b"xsb2:2:" + ELSEWHERE.hex().encode(),
        MEMO_TEXT + b" ",
        MEMO_TEXT + b":",
        MEMO_TEXT + b":" + b"00" * 32,
        b" " + MEMO_TEXT,
        b"xsb1:2:" + "٣".encode() * 64,
    ],
)
def test_evidence__memo_malformed__is_an_orphan_and_never_a_transfer(text: bytes) -> None:
    """F05, F18, F10: recorded with its owner, amount and reason; nothing is guessed."""
    (orphan,) = seen(an_entry(a_memo(text), a_burn()))
    assert isinstance(orphan, OrphanBurn)
    assert (orphan.owner, orphan.amount, orphan.asset) == (HOLDER.wire, SHARE, TSLA)
    assert orphan.reason
    assert orphan.nonce == solana_nonce(b"\7" * 64, 1, 0xFF)


@pytest.mark.parametrize(
    "entry",
    [
        an_entry(a_burn(1)),
        an_entry(a_burn(1), a_memo()),
        an_entry(a_memo(), transfer(ME, STRANGER.identity, 1), a_burn(1)),
        an_entry(a_memo(), a_memo(), a_burn(1)),
        an_entry(a_memo(signer=STRANGER.identity), a_burn(1)),
        an_entry(Instruction(MEMO, (), MEMO_TEXT), a_burn(1)),
        an_entry(Instruction(STRANGER.identity, a_memo().accounts, MEMO_TEXT), a_burn(1)),
        an_entry(a_memo(), a_burn(1, reference=STRANGER.identity)),
        an_entry(
            a_memo(),
            Instruction(TOKEN_2022, a_burn().accounts, bytes((BURN, *(1).to_bytes(8, "little")))),
        ),
    ],
    ids=[
        "no_memo",
        "memo_behind",
        "not_adjacent",
        "doubled",
        "foreign_signer",
        "unsigned",
        "look_alike_program",
        "no_reference",
        "plain_burn",
    ],
)
def test_evidence__burn_of_one_unit_in_any_other_way__is_an_orphan(entry: dict[str, Any]) -> None:
    """F09, F03: anyone may burn; it is found, booked and stops nobody."""
    (orphan,) = seen(entry)
    assert isinstance(orphan, OrphanBurn)
    assert orphan.amount == 1


def test_evidence__second_burn_behind_one_memo__is_an_orphan() -> None:
    first, second = seen(an_entry(a_memo(), a_burn(1), a_burn(2)))
    assert isinstance(first, BurnFinal)
    assert isinstance(second, OrphanBurn)


def test_evidence__memo_and_burn_inside_one_call__are_a_transfer() -> None:
    """A router's program may burn for its caller: one level, next to each other."""
    router = Instruction(STRANGER.identity, (Meta(ME, signer=True),), b"")
    (burn,) = seen(an_entry(router, inner=[(0, [(a_memo(), 2), (a_burn(), 2)])]))
    assert isinstance(burn, BurnFinal)
    assert burn.message.nonce == solana_nonce(b"\7" * 64, 0, 1)


@pytest.mark.parametrize("heights", [(2, 3), (3, 2)])
def test_evidence__memo_at_another_level_of_calls__is_an_orphan(heights: tuple[int, int]) -> None:
    """F09: a memo that somebody else's program wrote names nobody's burn."""
    router = Instruction(STRANGER.identity, (Meta(ME, signer=True),), b"")
    first, second = heights
    (orphan,) = seen(an_entry(router, inner=[(0, [(a_memo(), first), (a_burn(), second)])]))
    assert isinstance(orphan, OrphanBurn)
    (other,) = seen(an_entry(a_memo(), router, inner=[(1, [(a_burn(), 2)])]))
    assert isinstance(other, OrphanBurn)
    (last,) = seen(an_entry(router, a_burn(), inner=[(0, [(a_memo(), 2)])]))
    assert isinstance(last, OrphanBurn)


def test_evidence__node_hides_the_depth_of_calls__holds() -> None:
    """Nothing is guessed: with another node it is the one or the other."""
    router = Instruction(STRANGER.identity, (Meta(ME, signer=True),), b"")
    entry = an_entry(router, inner=[(0, [(a_memo(), None), (a_burn(), None)])])
    with pytest.raises(Transient, match="DEPTH_UNKNOWN"):
        seen(entry)


class _AnyMemo(Evidence):
    """The rule taken out: any memo of the transaction names the burn."""

    def memos_before(self, instructions: Any, at: int) -> tuple[Executed | None, Executed | None]:
        memos = [one for one in instructions if one.program == MEMO]
        return (memos[0], None) if memos else (None, None)


def test_evidence__rule_of_adjacency_taken_out__a_strangers_memo_moves_the_money() -> None:
    """F09: the checker sees it."""
    entry = an_entry(a_memo(), transfer(ME, STRANGER.identity, 1), a_burn(1))
    (found,) = seen(entry, evidence=_AnyMemo(a_chain()))
    assert isinstance(found, BurnFinal)


def test_evidence__failed_transaction__is_nothing() -> None:
    """F09, F44: the same bytes with an error have had no effect."""
    evidence = Evidence(a_chain())
    failed = an_entry(a_memo(), a_burn(), err={"InstructionError": [1, {"Custom": 67}]})
    assert seen(failed, evidence=evidence) == []
    assert evidence.rejected["failed"] == 1


class _Believing(Evidence):
    """The rule taken out: what a transaction contains has happened."""

    def succeeded(self, entry: Any) -> bool:
        return True


def test_evidence__status_ignored__a_failed_burn_counts() -> None:
    """F09, F44: the checker sees it."""
    failed = an_entry(a_memo(), a_burn(), err={"InstructionError": [1, {"Custom": 67}]})
    (found,) = seen(failed, evidence=_Believing(a_chain()))
    assert isinstance(found, BurnFinal)


def test_evidence__burn_of_another_mint__is_nothing() -> None:
    """F03: only registered mints."""
    evidence = Evidence(replace(a_chain(), assets=()))
    assert seen(an_entry(a_memo(), a_burn()), evidence=evidence) == []


def test_evidence__look_alike_token_program__is_nothing() -> None:
    """F09: programs are known by id."""
    fake = Instruction(STRANGER.identity, a_burn().accounts, a_burn().data)
    assert seen(an_entry(a_memo(), fake)) == []


# ---------------------------------------------------------------------- markers


def a_marker(*extra: bytes, lane: bytes = RELAYER.identity, space: int = 1) -> Instruction:
    """AllocateWithSeed of the marker of NONCE from Mantle."""
    marker = marker_of(lane, int(Domain.MANTLE), NONCE)
    seed = marker_seed(int(Domain.MANTLE), NONCE)
    return allocate_with_seed(marker, lane, seed, space, tuple(Meta(key) for key in extra))


def a_pair(amount: int = SHARE, multisig: bytes = MULTISIG) -> tuple[Instruction, Instruction]:
    """The account's creation and the mint."""
    account = ata_of(ME, MINT)
    assert account == ACCOUNT
    return (
        create_ata(RELAYER.identity, account, ME, MINT),
        mint_to_checked(MINT, account, multisig, SIGNERS, amount),
    )


def test_evidence__marker_then_its_pair__is_the_release() -> None:
    (release,) = seen(an_entry(a_marker(NONCE), *a_pair(), payer=RELAYER.identity))
    assert isinstance(release, ReleaseFinal)
    assert (release.source, release.nonce) == (Domain.MANTLE, NONCE)
    assert (release.recipient, release.amount, release.asset) == (HOLDER.wire, SHARE, TSLA)


def test_evidence__marker_with_its_names_and_no_mint__is_the_cancellation() -> None:
    (cancel,) = seen(an_entry(a_marker(NONCE, REFERENCE), payer=RELAYER.identity))
    assert isinstance(cancel, CancelFinal)
    assert (cancel.source, cancel.nonce, cancel.asset) == (Domain.MANTLE, NONCE, TSLA)


def test_evidence__marker_of_another_space__counts_all_the_same() -> None:
    """A leaked lane key could make it so, and the release is blocked just as well."""
    (cancel,) = seen(an_entry(a_marker(NONCE, REFERENCE, space=7), payer=RELAYER.identity))
    assert isinstance(cancel, CancelFinal)
    assert seen(an_entry(a_marker(NONCE, REFERENCE, space=0), payer=RELAYER.identity)) == []


@pytest.mark.parametrize(
    "pair",
    [
        a_pair(multisig=STRANGER.identity),
        a_pair()[::-1],
        (a_pair()[0], transfer(ME, STRANGER.identity, 1), a_pair()[1]),
    ],
    ids=["another_authority", "turned", "something_between"],
)
def test_evidence__marker_without_exactly_its_pair__mints_nothing(
    pair: tuple[Instruction, ...],
) -> None:
    """F82: a leaked lane key sends back, it never mints; the mint shows as unexplained."""
    found = seen(an_entry(a_marker(NONCE, REFERENCE), *pair, payer=RELAYER.identity))
    assert {type(one) for one in found} == {CancelFinal, SupplyMoved}


def test_evidence__mint_without_a_marker__is_supply_that_moved() -> None:
    """F55: the multisig's own mint outside the bridge is seen."""
    (moved,) = seen(an_entry(*a_pair(), payer=RELAYER.identity))
    assert isinstance(moved, SupplyMoved)
    assert moved.token_units == SHARE


def test_evidence__marker_of_a_strangers_key__is_nothing() -> None:
    """Anybody may allocate under a base of their own."""
    entry = an_entry(a_marker(NONCE, REFERENCE, lane=STRANGER.identity), payer=STRANGER.identity)
    assert seen(entry) == []


def test_evidence__marker_names_another_nonce__is_counted_and_told_to_nobody() -> None:
    """The seed is a hash: a name that does not give it is a lie."""
    evidence = Evidence(a_chain())
    other = counter_nonce(ELSEWHERE, 2)
    entry = an_entry(a_marker(other, REFERENCE), payer=RELAYER.identity)
    assert seen(entry, evidence=evidence) == []
    assert evidence.rejected["unnamed"] == 1


def test_evidence__retired_lane_key__its_later_markers_count_for_nothing() -> None:
    """The rotation's rule: old-key markers above the retirement height."""
    lanes = (LaneKey(RELAYER.identity, 900), LaneKey(STRANGER.identity, None))
    evidence = Evidence(a_chain(lane_keys=lanes))
    entry = an_entry(a_marker(NONCE, REFERENCE), payer=RELAYER.identity)
    assert evidence.observe(a_block(entry, height=901)).observations == []
    assert len(evidence.observe(a_block(entry, height=900)).observations) == 1


def test_evidence__allocation_by_another_program__is_nothing() -> None:
    """F09: the system program is the one with the id of zeros."""
    real = a_marker(NONCE, REFERENCE)
    fake = Instruction(STRANGER.identity, real.accounts, real.data)
    assert real.program == SYSTEM
    assert seen(an_entry(fake, payer=RELAYER.identity)) == []


def test_evidence__mint_and_reference_come_from_a_lookup_table__the_burn_is_told() -> None:
    """A version-0 transaction names most accounts by table only; the node resolves them."""
    keys = (ME, ACCOUNT, MEMO, TOKEN_2022)
    burn = a_burn()
    parts = [
        b"\x80\x01\x00\x02\x04",
        *keys,
        b"\5" * 32,
        b"\x02\x02\x01\x00" + bytes((len(MEMO_TEXT),)) + MEMO_TEXT,
        b"\x03\x04\x01\x04\x00\x05" + bytes((len(burn.data),)) + burn.data,
        b"\x01" + b"\x09" * 32 + b"\x01\x00\x01\x01",
    ]
    raw = b64encode(transaction_bytes([b"\7" * 64], b"".join(parts))).decode()
    entry = an_entry(a_memo(), burn)
    entry["transaction"] = [raw, "base64"]
    entry["meta"]["loadedAddresses"] = {"writable": [show(MINT)], "readonly": [show(REFERENCE)]}
    entry["meta"]["preTokenBalances"] = []
    (found,) = seen(entry)
    assert isinstance(found, BurnFinal)
    assert found.message.source_bridge == REFERENCE
    entry["meta"]["loadedAddresses"]["readonly"] = []
    with pytest.raises(InvalidMessage):
        seen(entry)


# ---------------------------------------------------------------------- batches and rights


def a_batch(*instructions: Instruction) -> Instruction:
    """A Batch of the token program, as its interface writes it."""
    parts = [bytes((len(one.accounts), len(one.data))) + one.data for one in instructions]
    accounts = tuple(meta for one in instructions for meta in one.accounts)
    return Instruction(TOKEN_2022, accounts, bytes((255,)) + b"".join(parts))


def test_evidence__burns_in_a_batch__are_orphans_each_with_a_nonce_of_its_own() -> None:
    """Anyone may burn so: unread, it would leave a supply that nothing explains, for ever."""
    entry = an_entry(a_memo(), a_batch(a_burn(SHARE), a_burn(2 * SHARE)))
    found = seen(entry)
    assert [one.amount for one in found if isinstance(one, OrphanBurn)] == [SHARE, 2 * SHARE]
    assert len({one.nonce for one in found if isinstance(one, OrphanBurn)}) == 2
    assert all("batch" in one.reason for one in found if isinstance(one, OrphanBurn))


def test_evidence__batch_called_from_inside__does_not_take_another_burns_nonce() -> None:
    caller = Instruction(SYSTEM, (), b"\x01")
    called = [(a_batch(a_burn(SHARE)), 2), (a_burn(3 * SHARE), 2)]
    found = seen(an_entry(caller, inner=[(0, called)]))
    nonces = [one.nonce for one in found if isinstance(one, OrphanBurn)]
    assert len(set(nonces)) == len(found) == 2
    assert [one.place.index for one in found] == sorted(one.place.index for one in found)


def test_evidence__unauthorised_mint_in_a_batch__is_supply_that_moved() -> None:
    mint = mint_to_checked(MINT, ACCOUNT, MULTISIG, SIGNERS, SHARE)
    (moved,) = seen(an_entry(a_batch(mint)))
    assert isinstance(moved, SupplyMoved)
    assert moved.token_units == SHARE


def test_evidence__batches_not_looked_into__an_unauthorised_mint_is_told_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The defence taken out."""
    monkeypatch.setattr("xstock_chains.solana.reading._batched", lambda _: [])
    mint = mint_to_checked(MINT, ACCOUNT, MULTISIG, SIGNERS, SHARE)
    assert seen(an_entry(a_batch(mint))) == []


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_evidence__batch_that_ends_too_early__is_refused(cut: int) -> None:
    """No program runs such a batch: a node that shows it as succeeded is not believed."""
    whole = a_batch(a_burn())
    entry = an_entry(replace(whole, data=whole.data[: len(whole.data) - cut]))
    with pytest.raises(InvalidMessage, match="ends too early"):
        seen(entry)


def test_evidence__authority_in_a_batch_and_hook__are_roles_that_moved() -> None:
    """INV-16: what runs with every transfer is code, whoever may mint is a minter."""
    moved = set_mint_authority(MINT, MULTISIG, STRANGER.identity, SIGNERS)
    update = bytes((36, 1)) + STRANGER.identity
    hook = Instruction(TOKEN_2022, (Meta(MINT, writable=True), Meta(ME, signer=True)), update)
    found = seen(an_entry(a_batch(moved), hook))
    told = [(one.role, one.holder) for one in found if isinstance(one, RoleMoved)]
    assert told == [(Role.MINTER, STRANGER.identity), (Role.CODE, STRANGER.identity)]
