"""Valid objects with overridable defaults, for tests of every room.

Each builder makes something that every rule accepts, so that a test changes only the one
thing it is about. Ids are made from small numbers and hashed with the compiled keccak.
"""

from dataclasses import replace
from typing import Any

from xstock_core.amount import MULTIPLIER_ONE, Shares
from xstock_core.bucket import Bucket
from xstock_core.cap import Attestation
from xstock_core.facts import VerdictGiven
from xstock_core.ids import (
    Address32,
    AssetId,
    Domain,
    GuardId,
    TransferId,
    asset_id,
    counter_nonce,
    custody_bridge,
    issue_nonce,
)
from xstock_core.ledger import (
    Account,
    Entry,
    entries_of,
    entry_of_opening,
    post_all,
)
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    OrphanBurn,
    Place,
    ReleaseFinal,
    TxRef,
)
from xstock_core.refund import refund_of
from xstock_core.refusal import GRANTED, Verdict
from xstock_core.release import ReleaseBatch, ReleaseItem, item_of, sorted_items
from xstock_core.review import AssetView, Claim, Context, IssueOrder, IssueSequence, Route
from xstock_core.transfer import TransferState, open_transfer
from xstock_runtime.hashing import keccak256

NOW = 1_800_000_000
"""The test's Unix second."""
SHARE = 100_000_000
"""One whole share."""
TSLAX = asset_id("TSLAx", keccak256)
NVDAX = asset_id("NVDAx", keccak256)
CHAINS = (Domain.ETHEREUM, Domain.BNB, Domain.MANTLE)
GUARDS = tuple(GuardId(f"guard-{n}") for n in (1, 2, 3))


def an_address(number: int = 1) -> Address32:
    """A 20-byte address in its wire form; the same number, the same address."""
    return Address32(bytes(12) + keccak256(b"address" + number.to_bytes(4, "big"))[12:])


def a_bridge(chain: Domain) -> Address32:
    """The bridge contract of a chain."""
    return an_address(1_000 + int(chain))


ISSUER = an_address(77)
"""What stands for the issuer's key in an order."""


def a_message(**changes: Any) -> TransferMessage:
    """A TRANSFER of one share, Ethereum to BNB; `counter` picks its nonce."""
    counter = changes.pop("counter", 1)
    source = changes.get("source", Domain.ETHEREUM)
    bridge = an_address(1_000 + source)
    fields: dict[str, Any] = {
        "kind": Kind.TRANSFER,
        "source": source,
        "destination": Domain.BNB if source != Domain.BNB else Domain.ETHEREUM,
        "nonce": counter_nonce(bridge, counter, keccak256),
        "source_bridge": bridge,
        "asset": TSLAX,
        "refund_address": an_address(1),
        "recipient": an_address(2),
        "amount": SHARE,
    }
    return make_message(**(fields | changes))


def an_issue(**changes: Any) -> TransferMessage:
    """An ISSUE of one share to Ethereum; `order` picks its nonce."""
    order = changes.pop("order", 1)
    asset = changes.get("asset", TSLAX)
    fields: dict[str, Any] = {
        "kind": Kind.ISSUE,
        "source": Domain.CUSTODY,
        "destination": Domain.ETHEREUM,
        "nonce": issue_nonce(asset, order, keccak256),
        "source_bridge": custody_bridge(keccak256),
        "asset": asset,
        "refund_address": ISSUER,
        "recipient": an_address(3),
        "amount": SHARE,
    }
    return make_message(**(fields | changes))


def id_of(message: TransferMessage) -> TransferId:
    """The message's transfer id, by the compiled hash."""
    return message.transfer_id(keccak256)


def a_block(chain: Domain = Domain.ETHEREUM, number: int = 100, fork: int = 0) -> BlockRef:
    """A block; another `fork` is another block of the same height."""
    seed = b"block" + int(chain).to_bytes(4, "big") + number.to_bytes(8, "big")
    return BlockRef(chain, number, keccak256(seed + bytes((fork,))), NOW - 1_000 + number)


def a_place(
    chain: Domain = Domain.ETHEREUM, number: int = 100, index: int = 0, fork: int = 0
) -> Place:
    """A place on a chain; the transaction follows from the other arguments."""
    block = a_block(chain, number, fork)
    return Place(block, TxRef(chain, keccak256(block.hash + bytes((index,)))), index)


def a_burn(message: TransferMessage | None = None, **changes: Any) -> BurnFinal:
    """The final burn of a message (by default `a_message()`)."""
    message = message or a_message()
    burn = BurnFinal(
        message=message,
        transfer_id=id_of(message),
        sender=message.refund_address,
        counter=1,
        place=a_place(message.source),
    )
    return replace(burn, **changes)


def a_release(message: TransferMessage | None = None, **changes: Any) -> ReleaseFinal:
    """The final release of exactly this message."""
    message = message or a_message()
    release = ReleaseFinal(
        destination=message.destination,
        source=message.source,
        nonce=message.nonce,
        asset=message.asset,
        recipient=message.recipient,
        amount=message.amount,
        place=a_place(message.destination),
    )
    return replace(release, **changes)


def a_cancel(message: TransferMessage | None = None, **changes: Any) -> CancelFinal:
    """The final cancellation of this message at its destination."""
    message = message or a_message()
    cancel = CancelFinal(
        destination=message.destination,
        source=message.source,
        nonce=message.nonce,
        asset=message.asset,
        place=a_place(message.destination),
    )
    return replace(cancel, **changes)


def a_refund(burn: TransferMessage | None = None) -> TransferMessage:
    """The REFUND message of a burn."""
    burn = burn or a_message()
    return refund_of(burn, a_bridge(burn.destination), keccak256)


def an_orphan(**changes: Any) -> OrphanBurn:
    """An orphan burn on Solana."""
    orphan = OrphanBurn(
        asset=TSLAX,
        owner=Address32(keccak256(b"owner")),
        amount=Shares(SHARE),
        reason="no memo",
        nonce=a_message().nonce,
        place=a_place(Domain.SOLANA),
    )
    return replace(orphan, **changes)


def an_attestation(**changes: Any) -> Attestation:
    """Custody holds 1,000 shares of the asset at multiplier 1, attested a minute ago."""
    attestation = Attestation(
        asset=TSLAX,
        held_units=1_000,
        held_decimals=0,
        multiplier=MULTIPLIER_ONE,
        multiplier_epoch=1,
        sequence=1,
        as_of=NOW - 60,
    )
    return replace(attestation, **changes)


def an_asset_view(**changes: Any) -> AssetView:
    """An asset with fresh collateral, no drift, and no order reserved yet."""
    view = AssetView(
        attestation=an_attestation(),
        attestation_age_max=3_600,
        issuance=IssueSequence(reserved_through=0, issuer=ISSUER),
    )
    return replace(view, **changes)


def a_bucket(**changes: Any) -> Bucket:
    """A full bucket of ten shares that refills a hundredth of a share a second."""
    bucket = Bucket(
        capacity=10 * SHARE, refill_per_second=SHARE // 100, level=10 * SHARE, as_of=NOW
    )
    return replace(bucket, **changes)


def all_routes(
    assets: tuple[AssetId, ...] = (TSLAX, NVDAX), route: Route | None = None
) -> dict[tuple[AssetId, Domain, Domain], Route]:
    """Every route between the three EVM chains, and issuance to each of them."""
    route = route or Route()
    ends = (*CHAINS, Domain.CUSTODY)
    return {(a, s, d): route for a in assets for s in ends for d in ends if s is not d}


def opened(
    asset: AssetId = TSLAX, shares: int = 100 * SHARE, chains: tuple[Domain, ...] = CHAINS
) -> tuple[dict[tuple[AssetId, Account], int], list[Entry]]:
    """(balances, entries) of an asset with this many shares on each chain."""
    entries = [entry_of_opening(asset, chain, Shares(shares)) for chain in chains]
    balances, posted = post_all({}, frozenset(), entries)
    return balances, list(posted)


def a_context(*burns: BurnFinal, **changes: Any) -> Context:
    """A quiet world in which these final burns are booked and nothing else has happened."""
    balances, _ = opened()
    entries = [entry for burn in burns for entry in entries_of(burn)]
    balances, _ = post_all(balances, frozenset(), entries)
    context = Context(
        now=NOW,
        balances=balances,
        assets={TSLAX: an_asset_view()},
        routes=all_routes(),
    )
    return replace(context, **changes)


def a_claim(message: TransferMessage | None = None, **changes: Any) -> Claim:
    """A claim that this guard's own providers confirm."""
    burn = a_burn(message)
    claim = Claim(transfer_id=burn.transfer_id, message=burn.message, evidence=burn)
    return replace(claim, **changes)


def an_issue_claim(message: TransferMessage | None = None, **changes: Any) -> Claim:
    """A claim of an order that its issuer signed; `order` and `expiry` can be given."""
    message = message or an_issue()
    order = changes.pop("order", int.from_bytes(message.nonce[24:], "big"))
    expiry = changes.pop("expiry", NOW + 3_600)
    evidence = IssueOrder(message, order, expiry, signature_valid=True)
    return replace(Claim(id_of(message), message, evidence), **changes)


def a_batch(*messages: TransferMessage, **changes: Any) -> ReleaseBatch:
    """A batch that releases these messages (by default `a_message()`), due in half an hour."""
    chosen = messages or (a_message(),)
    items: tuple[ReleaseItem, ...] = sorted_items([item_of(message) for message in chosen])
    destination = chosen[0].destination
    batch = ReleaseBatch(destination, a_bridge(destination), 1, NOW + 1_800, items)
    return replace(batch, **changes)


def a_transfer(message: TransferMessage | None = None) -> TransferState:
    """A transfer of which nothing is known yet; two of three guards must grant."""
    return open_transfer(id_of(message or a_message()), needed=2, guards=3)


def a_verdict(guard: int = 1, verdict: Verdict = GRANTED, sequence: int = 1) -> VerdictGiven:
    """The word of guard 1, 2 or 3."""
    return VerdictGiven(GUARDS[guard - 1], verdict, sequence)
