"""Checks before a burn, the holder's own look at the bytes, and what a release costs."""

import json
import statistics
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.solana.world import (
    DEPLOYER,
    ELSEWHERE,
    GUARD_IDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SHARE,
    STRANGER,
    TSLA,
    World,
    deploy,
    order,
)
from xstock_chains.ports import AssetOrder, BurnRequest, StepState
from xstock_chains.solana.builder import SolanaBurnBuilder
from xstock_chains.solana.chain import SolanaFacts
from xstock_chains.solana.deploy import DeployState, SolanaDeployment
from xstock_chains.solana.holder import SolanaHolder
from xstock_chains.solana.programs import (
    TOKEN_2022,
    ata_of,
    create_with_seed,
    initialize_mint,
    seeded_address,
    set_mint_authority,
    transfer,
)
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.release import SIGNERS_MAX
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.terms import Terms, parse_terms
from xstock_chains.solana.wire import Instruction, Meta, compile_message
from xstock_core.ids import Address32, Domain, InvalidId
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_core.release import Action, ReleaseBatch
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256


def a_request(**changes: Any) -> BurnRequest:
    """A burn that would succeed."""
    request = BurnRequest(
        message_kind=Kind.TRANSFER,
        source=Domain.SOLANA,
        destination=Domain.BNB,
        asset=TSLA,
        sender=HOLDER.wire,
        recipient=ELSEWHERE,
        refund_address=HOLDER.wire,
        amount=3 * SHARE,
    )
    return replace(request, **changes)


def a_builder(world: World) -> SolanaBurnBuilder:
    """The builder of this world."""
    return SolanaBurnBuilder(world.chain, world.registry, world.rpc)


async def a_payload(world: World, request: BurnRequest) -> dict[str, Any]:
    """What a gateway gives a holder: bytes as bytes."""
    built = await a_builder(world).build(request, expires=2**40)
    document = json.loads(built.payload)
    return {"message": bytes.fromhex(document["message"][2:])}


async def test_holder__bytes_are_the_burn_wanted__signs_and_it_is_told(world: World) -> None:
    await world.issue(10 * SHARE)
    request = a_request(refund_address=STRANGER.wire)
    holder = SolanaHolder(world.chain, world.rpc, HOLDER)
    (tx,) = await holder.send(await a_payload(world, request), request)
    assert await holder.included(tx) is None
    await world.mine()
    assert await holder.included(tx) is True
    assert await holder.shares_of("TSLAx") == 7 * SHARE
    await world.finalize()
    found, _ = await world.read_all()
    (burn,) = [one for one in found if isinstance(one, BurnFinal)]
    assert burn.message.refund_address == STRANGER.wire
    assert (burn.sender, burn.message.recipient) == (HOLDER.wire, ELSEWHERE)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 4 * SHARE},
        {"recipient": Address32(bytes(12) + b"\x77" * 20)},
        {"destination": Domain.CUSTODY},
        {"refund_address": STRANGER.wire},
        {"asset": keccak256(b"xstock:SPYx")},
    ],
)
async def test_holder__bytes_do_something_else__nothing_is_signed(
    world: World, changes: dict[str, Any]
) -> None:
    """A gateway that was taken over gets no other burn signed."""
    await world.issue(10 * SHARE)
    await world.issue(10 * SHARE, asset=keccak256(b"xstock:SPYx"))
    payload = await a_payload(world, a_request(**changes))
    with pytest.raises(Fatal, match="BURN_NOT_AS_EXPECTED"):
        await SolanaHolder(world.chain, world.rpc, HOLDER).send(payload, a_request())


@pytest.mark.parametrize("steals", ["transfer", "authority", "garbage", "fee"])
async def test_holder__one_instruction_more_or_a_fee_too_high__nothing_is_signed(
    world: World, steals: str
) -> None:
    from xstock_chains.solana.burn import BurnFees, burn_message

    token = world.chain.asset_of(TSLA)
    good = burn_message(a_request(), token, BurnFees(50_000, 1), b"\1" * 32)
    messages = {
        "transfer": compile_message(
            HOLDER.identity, [transfer(HOLDER.identity, STRANGER.identity, 1)], b"\1" * 32
        ),
        "authority": good[:-1] + bytes((good[-1] ^ 1,)),
        "garbage": b"\1" * 40,
        "fee": burn_message(a_request(), token, BurnFees(50_000, 2**40), b"\1" * 32),
    }
    holder = SolanaHolder(world.chain, world.rpc, HOLDER)
    holder.check(good, a_request())
    with pytest.raises(Fatal, match="BURN_NOT_AS_EXPECTED"):
        holder.check(messages[steals], a_request())


async def test_recipient_on_solana__wallets_pass_and_accounts_of_tokens_do_not(
    world: World,
) -> None:
    """F18: off curve with nothing there, a token account, a mint, the bridge: refused before
    anything is burned elsewhere."""
    await world.issue(SHARE)
    builder = a_builder(world)
    account = Address32(ata_of(HOLDER.identity, world.mint()))
    nobody = Address32(ata_of(STRANGER.identity, world.mint()))
    for recipient, good in (
        (HOLDER.wire, True),
        (RECIPIENT.wire, True),
        (account, False),
        (nobody, False),
        (Address32(world.mint()), False),
        (world.reference(), False),
        (Address32(world.chain.multisig.key), False),
        (Address32(TOKEN_2022), False),
    ):
        checks = await builder.check_recipient(TSLA, recipient)
        assert all(check.passed for check in checks) is good
        assert good or all(check.remedy for check in checks if not check.passed)


async def test_frozen_sender__a_check_says_so(world: World) -> None:
    """F58: before the burn."""
    await world.issue(10 * SHARE)
    account = ata_of(HOLDER.identity, world.mint())
    accounts = (Meta(account, writable=True), Meta(world.mint()), Meta(DEPLOYER.identity, True))
    await world.send([Instruction(TOKEN_2022, accounts, bytes((10,)))], DEPLOYER)
    failed = [one for one in await a_builder(world).check(a_request()) if not one.passed]
    assert [check.name for check in failed] == ["account"]


# ---------------------------------------------------------------------- terms


async def test_terms__of_this_chain__pass_every_guards_look(world: World) -> None:
    batch = await world.batch(world.item(1))
    await world.writer.check_terms(batch)
    assert parse_terms(batch.terms).pack() == batch.terms


@pytest.mark.parametrize(
    "changes",
    [
        {"compute_limit": 10**7},
        {"compute_price": 10**9},
        {"marker_lamports": 10**10},
        {"last_valid_height": 10**9},
        {"last_valid_height": 1},
        {"guards": (0,)},
        {"guards": (0, 1, 2)},
        {"guards": (0, 7)},
        {"deadline": 5},
    ],
    ids=lambda changes: "_".join(f"{k}_{v}" for k, v in changes.items()),
)
async def test_terms__that_no_permit_may_have__are_refused_by_a_guard(
    world: World, changes: dict[str, Any]
) -> None:
    """INV-08: a relayer can not spend, wait or choose at will."""
    batch = await world.batch(world.item(1))
    terms: Terms = replace(parse_terms(batch.terms), **changes)
    with pytest.raises(InvalidMessage):
        await world.writer.check_terms(replace(batch, terms=terms.pack()))


async def test_terms__blockhash_nobody_knows__guard_waits(world: World) -> None:
    """A durable nonce's value is no recent blockhash; neither is one from another fork."""
    batch = await world.batch(world.item(1))
    strange = replace(parse_terms(batch.terms), blockhash=b"\x42" * 32)
    with pytest.raises(Transient, match="BLOCKHASH_UNKNOWN"):
        await world.writer.check_terms(replace(batch, terms=strange.pack()))


async def test_terms__of_guards_that_do_not_exist_or_another_lane_key__are_not_made(
    world: World,
) -> None:
    item = world.item(1)
    bare = ReleaseBatch(Domain.SOLANA, world.reference(), 1, 1, (item,))
    for sender, guards in ((RELAYER.wire, ["guard-0", "nobody"]), (STRANGER.wire, GUARD_IDS[:2])):
        with pytest.raises(InvalidId):
            await world.writer.permit_terms(bare, sender, guards)


def test_terms__cut_or_stretched__are_refused() -> None:
    """F37: one form."""
    good = Terms(b"\1" * 32, 10, 20, 30, 40, 50, (0, 1)).pack()
    for bad in (b"", good[:-1], good + b"\2", b"\2" + good[1:], good[:-2] + b"\1\0"):
        with pytest.raises(InvalidMessage):
            parse_terms(bad)


# ---------------------------------------------------------------------- cost and size


async def units(world: World, recipient: Address32, action: Action = Action.RELEASE) -> int:
    """Compute units of a release to this recipient, by simulation."""
    world.orders += 1
    item = world.item(world.orders, recipient=recipient, action=action)
    prepared = await world.prepare(item)
    assert prepared.refused == ()
    return int(prepared.fee.rsplit(";", 1)[1].split()[0])


async def test_release__costs__stay_within_the_measured_bounds(world: World) -> None:
    """An account that exists: at most 20,000 units; a new one costs what its program takes."""
    people = [LocalSigner(keccak256(b"somebody%d" % n)).wire for n in range(9)]
    fresh = [await units(world, one) for one in people]
    for one in people:
        await world.issue(SHARE, one)
    existing = [await units(world, one) for one in people]
    cancel = await units(world, people[0], Action.CANCEL)
    assert statistics.median(existing) <= 20_000
    assert statistics.median(fresh) <= 27_000
    assert cancel <= 1_000
    print(f"existing {sorted(existing)} fresh {sorted(fresh)} cancel {cancel}")  # noqa: T201


async def test_release_of_six_guards__fits_one_packet_and_seven_do_not(world: World) -> None:
    """M <= 6: the transaction's size is the bound."""
    from xstock_chains.solana.codec import SolanaReleaseCodec

    guards = tuple(LocalSigner(bytes((50 + n,)) * 32).identity for n in range(8))
    for threshold in (SIGNERS_MAX, SIGNERS_MAX + 1):
        chain = replace(world.chain, guards=guards, threshold=threshold)
        terms = Terms(b"\1" * 32, 10, 20, 30, 40, 50, tuple(range(threshold))).pack()
        item = world.item(1, recipient=STRANGER.wire)
        batch = ReleaseBatch(Domain.SOLANA, world.reference(), 1, 20, (item,), terms)
        codec = SolanaReleaseCodec(chain)
        if threshold == SIGNERS_MAX:
            assert codec.digest(batch)
            continue
        with pytest.raises(InvalidMessage, match="PERMIT_REFUSED"):
            codec.digest(batch)
    assert chain.facts == SolanaFacts()


# ---------------------------------------------------------------------- deployment


async def test_deployment__run_again__finds_everything_done(world: World) -> None:
    deployment = SolanaDeployment(order(), world.rpc, DEPLOYER, SystemClock(), DeployState(None))
    steps = [step async for step in deployment.run()]
    assert {step.state for step in steps} == {StepState.ALREADY}
    assert deployment.chain_entry()["bridges"][0]["address"]
    first = deployment.chain_entry()["bridges"][0]["deployed_block"]
    later = SolanaReader(replace(world.chain, first_slot=first), world.rpc)
    await world.finalize()
    assert await world.read_all(later) == await world.read_all()
    assert await deployment.fund([RELAYER.wire, HOLDER.wire]) == 0


async def test_deployment__dry_run__sends_nothing(world: World) -> None:
    other = LocalSigner(b"\x61" * 32)
    deployment = SolanaDeployment(order(), world.rpc, other, SystemClock(), DeployState(None))
    steps = [step async for step in deployment.run(dry_run=True)]
    assert {step.state for step in steps} == {StepState.PLANNED}
    assert await world.account(deployment.multisig) is None


async def test_deployment__existing_mint__is_taken_over_or_waits_for_its_owner(
    world: World,
) -> None:
    """The authority moves last, by whoever has it."""
    seed = b"existing"
    mint = seeded_address(STRANGER.identity, seed, TOKEN_2022)
    make = [
        create_with_seed(STRANGER.identity, mint, seed, 10**7, 82),
        initialize_mint(mint, STRANGER.identity, STRANGER.identity),
    ]
    await world.send(make, STRANGER)
    from xstock_chains.solana.address import show

    what = order([AssetOrder("TSLAx", token=show(mint))])
    waiting = SolanaDeployment(what, world.rpc, DEPLOYER, SystemClock(), DeployState(None))
    steps = [step async for step in waiting.run()]
    assert steps[-1].state is StepState.WAITING
    assert show(STRANGER.identity) in steps[-1].detail
    give = set_mint_authority(mint, STRANGER.identity, DEPLOYER.identity)
    await world.send([give], STRANGER)
    await world.control("automine", on=True)
    again = await deploy(world.rpc, what)
    steps = [step async for step in again.run()]
    assert {step.state for step in steps} == {StepState.ALREADY}
