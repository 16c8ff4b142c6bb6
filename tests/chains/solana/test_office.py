"""Acts by hand on Solana: pauses of every mint, and a guard set moved from multisig to multisig.

The chain mines by itself here, as a real one does; what the office says is held against the mints.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chains.solana.liars import lying
from tests.chains.solana.world import (
    AGENT,
    DEPLOYER,
    GUARDS,
    HOLDER,
    SHARE,
    SPY,
    STRANGER,
    TSLA,
    World,
    order,
    running_world,
)
from xstock_chains.ports import AdminAct, AssetOrder, GuardSet, PauseState, StepState
from xstock_chains.solana.address import show
from xstock_chains.solana.mint import multisig_data, parse_mint
from xstock_chains.solana.office import SolanaOffice
from xstock_chains.solana.programs import (
    TOKEN_2022,
    is_on_curve,
    seeded_address,
    set_pause,
    transfer,
)
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.sending import ACT, Sender
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.wire import Instruction, Meta
from xstock_core.ids import AssetId
from xstock_core.observation import Role, RoleMoved, TxRef
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

NEXT = tuple(LocalSigner(bytes((number,)) * 32) for number in (12, 13, 14, 15))
"""Two of the present guards and two others."""
NEW = GuardSet(tuple(one.identity for one in NEXT), 3, 2)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One deployed chain of two assets that mines by itself."""
    async with running_world(tmp_path, final_blocks=4) as running:
        await running.control("automine", on=True)
        yield running


class HurriedClock(SystemClock):
    """A clock on which every wait takes so many seconds, at once."""

    def __init__(self, step: float = 10.0) -> None:
        self.seconds = 0.0
        self.step = step

    def monotonic(self) -> float:
        """Seconds waited."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """The seconds are over."""
        self.seconds += max(self.step, seconds)


def office_of(world: World, signer: LocalSigner | None = AGENT) -> SolanaOffice:
    """The office with this key in hand."""
    return SolanaOffice(world.chain, world.rpc, signer, SystemClock())


def key_files(folder: Path, numbers: Sequence[int]) -> list[Path]:
    """Files with the keys of these seeds."""
    files = []
    for number in numbers:
        file = folder / f"guard-{number}.key"
        file.write_text((bytes((number,)) * 32).hex(), encoding="ascii")
        files.append(file)
    return files


async def acts_of(office: SolanaOffice, new: GuardSet, keys: Sequence[Path]) -> list[AdminAct]:
    """A whole rotation."""
    return [act async for act in office.rotate(new, keys)]


async def authority_of(world: World, asset: AssetId) -> bytes | None:
    """The mint authority at the newest block."""
    return parse_mint(await world.account(world.mint(asset)), "mint").authority


def states(acts: Sequence[AdminAct]) -> list[StepState]:
    """How the acts stand."""
    return [act.state for act in acts]


# ---------------------------------------------------------------------- pause


async def test_pause__every_mint_stops_in_one_transaction_and_goes_on_again(world: World) -> None:
    """F58: what the agent does alone."""
    office = office_of(world)
    assert await office.pause_states() == [PauseState(TSLA, False), PauseState(SPY, False)]
    acts = await office.pause()
    assert [act.name for act in acts] == ["pause TSLAx", "pause SPYx"]
    assert states(acts) == [StepState.DONE] * 2
    assert len({act.tx for act in acts}) == 1
    assert await office.pause_states() == [PauseState(TSLA, True), PauseState(SPY, True)]
    lifted = await office.unpause()
    assert states(lifted) == [StepState.DONE] * 2
    assert not any(one.paused for one in await office.pause_states())


async def test_pause__repeated__is_already_and_sends_nothing(world: World) -> None:
    office = office_of(world)
    await office.pause()
    before = (await world.control("state"))["transactions"]
    assert states(await office.pause()) == [StepState.ALREADY] * 2
    assert states(await office.confirm_pause(())) == [StepState.ALREADY] * 2
    assert (await world.control("state"))["transactions"] == before


async def test_pause__of_one_asset__leaves_the_other(world: World) -> None:
    office = office_of(world)
    assert states(await office.pause([SPY])) == [StepState.DONE]
    assert [one.paused for one in await office.pause_states()] == [False, True]
    assert states(await office.pause()) == [StepState.DONE, StepState.ALREADY]
    with pytest.raises(InvalidMessage, match="ASSET_UNKNOWN"):
        await office.pause([AssetId(b"\x05" * 32)])


@pytest.mark.parametrize("signer", [STRANGER, None], ids=["stranger", "no key"])
async def test_pause__key_without_the_right__is_refused_and_says_who_may(
    world: World, signer: LocalSigner | None
) -> None:
    office = office_of(world, signer)
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT") as refusal:
        await office.pause()
    assert show(AGENT.identity) in refusal.value.message
    assert not any(one.paused for one in await office.pause_states())


async def test_pause__one_mint_belongs_to_another__the_others_stop_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emergency stops what it can: what it cannot waits for the one who may."""
    office = office_of(world)
    tokens = await office._tokens()
    extensions = dict(tokens[0].mint.extensions)
    extensions[26] = STRANGER.identity + b"\0"
    foreign = replace(tokens[0], mint=replace(tokens[0].mint, extensions=extensions))

    async def told(*_: Any) -> Any:
        return [foreign, tokens[1]], {}

    monkeypatch.setattr(office, "_looked", told)
    acts = await office.pause()
    assert states(acts) == [StepState.WAITING, StepState.DONE]
    assert show(STRANGER.identity) in acts[0].detail


async def test_pause__one_mint_cannot_be_read__the_others_stop_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = office_of(world)
    broken, whole = world.chain.assets
    wrong = replace(world.chain, assets=(replace(broken, mint=HOLDER.identity), whole))
    monkeypatch.setattr(office, "chain", wrong)
    acts = await office.pause()
    assert states(acts) == [StepState.WAITING, StepState.DONE]
    assert "no Token-2022 mint" in acts[0].detail
    with pytest.raises(InvalidMessage, match="MINT_UNREADABLE"):
        await office.pause([broken.asset])


async def test_pause__the_chain_refuses_one_mint__the_others_stop_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction is all or nothing: the refused one is halved until the culprit stands alone."""
    office = office_of(world)
    right = set_pause

    def wrong(mint: bytes, authority: bytes, *, paused: bool) -> Any:
        return right(
            mint if mint != world.mint(TSLA) else HOLDER.identity, authority, paused=paused
        )

    monkeypatch.setattr("xstock_chains.solana.office.set_pause", wrong)
    with pytest.raises(InvalidMessage, match="ACT_REFUSED") as refusal:
        await office.pause()
    assert "done: pause SPYx" in refusal.value.message
    assert [one.paused for one in await office.pause_states()] == [False, True]


async def test_pause__forty_mints__goes_in_two_transactions(tmp_path: Path) -> None:
    """More than a transaction holds."""
    symbols = [f"T{number}x" for number in range(40)]
    what = order([AssetOrder(symbol, minimum_shares=1000) for symbol in symbols])
    async with running_world(tmp_path, final_blocks=4, what=what) as world:
        await world.control("automine", on=True)
        acts = await office_of(world).pause()
        assert states(acts) == [StepState.DONE] * 40
        assert len({act.tx for act in acts}) == 2
        assert all(one.paused for one in await office_of(world).pause_states())


async def test_pause__another_chain_behind_the_address__is_fatal(world: World) -> None:
    """F14, F88."""
    other = replace(world.chain, genesis_hash=b"\x02" * 32)
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await SolanaOffice(other, world.rpc, AGENT, SystemClock()).pause()


# ---------------------------------------------------------------------- rotation


async def test_rotation__every_mint_moves_and_only_the_new_guards_mint(
    world: World, tmp_path: Path
) -> None:
    """Add one guard, remove one, raise the threshold."""
    office = office_of(world)
    assert await office.guard_set() == GuardSet(tuple(g.identity for g in GUARDS), 2, 1)
    await world.issue(10 * SHARE)
    acts = await acts_of(office, NEW, key_files(tmp_path, [11, 12]))
    assert [act.name for act in acts] == [
        "make multisig",
        "rotate guards TSLAx",
        "rotate guards SPYx",
    ]
    assert states(acts) == [StepState.DONE] * 3
    assert await office.guard_set() == NEW
    with pytest.raises(InvalidMessage, match="CALL_REVERTED"):
        await world.release(world.item(7))
    again = await acts_of(office, NEW, [])
    assert states(again) == [StepState.ALREADY] * 3


async def test_rotation__killed_between_two_mints__goes_on_where_it_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = key_files(tmp_path, [11, 13])
    monkeypatch.setattr(Sender, "fits", lambda *_: False)
    async for act in office_of(world).rotate(NEW, keys):
        if act.name == "rotate guards TSLAx":
            break
    assert await authority_of(world, TSLA) != await authority_of(world, SPY)
    with pytest.raises(InvalidMessage, match="GUARDS_MIXED"):
        await office_of(world).guard_set()
    office = office_of(world, STRANGER)
    acts = await acts_of(office, NEW, keys)
    assert states(acts) == [StepState.ALREADY, StepState.ALREADY, StepState.DONE]
    assert await office.guard_set() == NEW


async def test_rotation__dry_run__plans_and_sends_nothing(world: World, tmp_path: Path) -> None:
    office = office_of(world)
    before = (await world.control("state"))["transactions"]
    planned = office.rotate(NEW, key_files(tmp_path, [11, 12]), dry_run=True)
    assert {act.state async for act in planned} == {StepState.PLANNED}
    assert (await world.control("state"))["transactions"] == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"threshold": 2}, "GUARD_SET_REFUSED"),
        ({"threshold": 5}, "GUARD_SET_REFUSED"),
        ({"threshold": 0}, "GUARD_SET_REFUSED"),
        ({"identities": NEW.identities[:1] * 3}, "GUARD_SET_REFUSED"),
        ({"identities": ()}, "GUARD_SET_REFUSED"),
        ({"identities": (*NEW.identities[:3], bytes(32))}, "GUARD_SET_REFUSED"),
        ({"identities": tuple(NEW.identities) * 3}, "GUARD_SET_REFUSED"),
        ({"epoch": 1}, "GUARD_EPOCH_UNEXPECTED"),
        ({"epoch": 3}, "GUARD_EPOCH_UNEXPECTED"),
    ],
)
async def test_rotation__insane_set__is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    """F83, INV-12: half of the guards is never enough, and no key counts twice."""
    before = (await world.control("state"))["transactions"]
    with pytest.raises(InvalidMessage, match=code):
        await acts_of(office_of(world), replace(NEW, **changes), key_files(tmp_path, [11, 12]))
    assert (await world.control("state"))["transactions"] == before


async def test_rotation__more_signers_than_a_packet_holds__is_refused(world: World) -> None:
    keys = tuple(LocalSigner(bytes((n,)) * 32).identity for n in range(20, 31))
    with pytest.raises(InvalidMessage, match="at most 6"):
        await acts_of(office_of(world), GuardSet(keys, 7, 2), [])


async def test_rotation__member_is_nobodys_key__is_refused(world: World) -> None:
    """A guard that could never sign would raise the threshold in silence."""
    nobody = next(key for n in range(64) if not is_on_curve(key := keccak256(bytes((n,)))))
    with pytest.raises(InvalidMessage, match="GUARD_SET_REFUSED"):
        await acts_of(office_of(world), replace(NEW, identities=(*NEW.identities[:3], nobody)), [])


@pytest.mark.parametrize("numbers", [[11], [11, 11], [11, 14, 15], []])
async def test_rotation__too_few_of_the_present_guards_keys__is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, numbers: list[int]
) -> None:
    """INV-12: one guard's key, twice or beside strangers', is one guard's."""
    before = (await world.control("state"))["transactions"]
    with pytest.raises(InvalidMessage, match="KEY_MAY_NOT"):
        await acts_of(office_of(world), NEW, key_files(tmp_path, numbers))
    assert (await world.control("state"))["transactions"] == before


async def test_rotation__one_guards_signature_sent_all_the_same__the_chain_refuses(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INV-12, our own count of the keys taken out: the multisig's is the one that holds."""

    def too_few(_current: GuardSet, keys: Sequence[Path]) -> tuple[LocalSigner, ...]:
        return tuple(LocalSigner.from_file(key) for key in keys)

    monkeypatch.setattr("xstock_chains.solana.office._signing", too_few)
    with pytest.raises(InvalidMessage, match="ACT_REFUSED"):
        await acts_of(office_of(world), NEW, key_files(tmp_path, [11]))
    assert await authority_of(world, TSLA) == world.chain.multisig.key


async def test_rotation__somebody_paid_into_the_new_multisigs_address__another_one_is_taken(
    world: World, tmp_path: Path
) -> None:
    """An account with coins cannot be created: the address is public before it is used."""
    data = multisig_data(NEW.threshold, NEW.identities)
    seed = keccak256(data + b"\0")[:16].hex().encode()
    blocked = seeded_address(AGENT.identity, seed, TOKEN_2022)
    await world.send([transfer(STRANGER.identity, blocked, 10**7)], STRANGER)
    acts = await acts_of(office_of(world), NEW, key_files(tmp_path, [11, 12]))
    assert states(acts) == [StepState.DONE] * 3
    assert await authority_of(world, TSLA) not in (blocked, world.chain.multisig.key)
    assert await office_of(world).guard_set() == NEW


async def test_rotation__new_multisig_is_lost_to_a_reorg__no_mint_moves_to_nobody(
    world: World, tmp_path: Path
) -> None:
    """F03: a mint whose authority is no multisig could never be minted or moved again."""
    office = office_of(world)
    run = office.rotate(NEW, key_files(tmp_path, [11, 12]))
    made = await lost_multisig(world, run)
    office._clock = HurriedClock()
    with pytest.raises(Ambiguous, match="made but not final"):
        await anext(run)
    assert await authority_of(world, TSLA) == world.chain.multisig.key
    await world.control("automine", on=True)
    await world.control("freeze_finality", on=False)
    acts = await acts_of(office_of(world), NEW, key_files(tmp_path, [11, 12]))
    assert states(acts) == [StepState.DONE] * 3
    assert acts[0].tx != made


async def test_rotation__not_waiting_until_it_is_final__mints_belong_to_nobody(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F03, the defence taken out."""

    async def at_once(*_: Any) -> None:
        return None

    monkeypatch.setattr(SolanaOffice, "until_final", at_once)
    run = office_of(world).rotate(NEW, key_files(tmp_path, [11, 12]))
    await lost_multisig(world, run)
    await world.control("automine", on=True)
    await anext(run)
    nobody = await authority_of(world, TSLA)
    assert nobody not in (None, world.chain.multisig.key)
    assert await world.account(nobody or b"") is None


async def lost_multisig(world: World, run: Any) -> str:
    """Run a rotation until the multisig is made, and take its block out of the chain for good."""
    await world.control("freeze_finality", on=True)
    act = await anext(run)
    assert act.state is StepState.DONE
    await world.control("automine", on=False)
    await world.control("drop_tx", tx=act.tx)
    return str(act.tx)


# ---------------------------------------------------------------------- sending


async def test_sending__nothing_is_mined__is_ambiguous_and_never_a_second_transaction(
    world: World,
) -> None:
    """F39: what was sent may land yet; looking again finds it, and sends nothing more."""
    await world.control("automine", on=False)
    office = SolanaOffice(world.chain, world.rpc, AGENT, HurriedClock())
    with pytest.raises(Ambiguous, match="ACT_PENDING"):
        await office.pause()
    await world.mine(3)
    assert states(await office_of(world).pause()) == [StepState.ALREADY] * 2


async def test_sending__the_node_goes_away_after_the_send__the_block_says_what_happened(
    world: World,
) -> None:
    """F27: a lost reply is no failure."""
    lost: list[str] = []

    def forgetful(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "getSignatureStatuses" and len(lost) < 3:
            lost.append(method)
            return {"error": {"code": -32005, "message": "Node is behind by 42 slots"}}
        return answer

    rpc = lying(world.node.url, forgetful)
    world.opened.append(rpc)
    acts = await SolanaOffice(world.chain, rpc, AGENT, SystemClock()).pause()
    assert states(acts) == [StepState.DONE] * 2
    assert len(lost) == 3


async def test_sending__its_blockhash_dies_unseen__is_signed_anew_and_lands_once(
    world: World,
) -> None:
    """F39: a leader drops without a word; what can never land is no reason to give up."""
    sent: list[str] = []

    def dropping(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "sendTransaction" and "result" in answer:
            sent.append(answer["result"])
            if answer["result"] == sent[0]:
                httpx.post(f"{world.node.url}/devnet/drop_tx", json={"tx": sent[0]})
        return answer

    rpc = lying(world.node.url, dropping)
    world.opened.append(rpc)
    acts = await SolanaOffice(world.chain, rpc, AGENT, SystemClock()).pause()
    assert states(acts) == [StepState.DONE] * 2
    assert sent[0] not in [one.tx for one in acts]
    assert len(set(sent)) == 2
    statuses = await world.rpc.call("getSignatureStatuses", [sent[0]])
    assert statuses["value"] == [None]


@pytest.mark.parametrize(("slot", "transactions"), [(1, 1), (10**9, 2)], ids=["behind", "newest"])
async def test_sending__no_status_from_a_node_behind__is_never_an_absence(
    world: World, slot: int, transactions: int
) -> None:
    """F39: the same silence from a node that saw the final blocks is one: both are shown."""
    sent: set[str] = set()

    def silent(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "sendTransaction" and "result" in answer:
            sent.add(answer["result"])
        if method != "getSignatureStatuses":
            return answer
        httpx.post(f"{world.node.url}/devnet/mine", json={"blocks": 10})
        return {"result": {"context": {"slot": slot}, "value": [None]}}

    rpc = lying(world.node.url, silent)
    world.opened.append(rpc)
    instructions = [transfer(AGENT.identity, HOLDER.identity, SHARE)]
    with pytest.raises(Ambiguous, match="ACT_PENDING"):
        await Sender(rpc, AGENT, HurriedClock(3.0), ACT).send("transfer", instructions)
    assert len(sent) == transactions


@pytest.mark.parametrize("value", [[], [None, None], [7]], ids=["none", "two", "no object"])
async def test_sending__the_node_gives_no_single_status__is_named(world: World, value: Any) -> None:
    """F37: neither landed nor absent, and no error of Python's own."""

    def garbles(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method != "getSignatureStatuses":
            return answer
        return {"result": {"context": answer["result"]["context"], "value": value}}

    rpc = lying(world.node.url, garbles)
    world.opened.append(rpc)
    instructions = [transfer(AGENT.identity, HOLDER.identity, SHARE)]
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        await Sender(rpc, AGENT, HurriedClock(3.0), ACT).send("transfer", instructions)
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        await SolanaReader(world.chain, rpc).inspect(TxRef(world.chain.domain, bytes(64)))


async def test_sending__the_payer_is_empty__says_who_needs_coins(world: World) -> None:
    poor = LocalSigner(b"\x77" * 32)
    sender = Sender(world.rpc, poor, SystemClock(), ACT)
    with pytest.raises(Transient, match="SENDER_UNFUNDED"):
        await sender.send("pause", [transfer(poor.identity, HOLDER.identity, 1)])


# ---------------------------------------------------------------------- what readers tell of it


async def test_rotation__the_reader_tells_of_every_mint_that_moved(
    world: World, tmp_path: Path
) -> None:
    """INV-16: whoever may mint is watched."""
    _, cursor = await world.read_all()
    await acts_of(office_of(world), NEW, key_files(tmp_path, [11, 12]))
    target = await authority_of(world, TSLA)
    await world.finalize()
    found, _ = await world.read_all(after=cursor)
    moved = {(one.role, one.subject, one.holder) for one in found if isinstance(one, RoleMoved)}
    assert moved == {
        (Role.MINTER, world.mint(TSLA), target),
        (Role.MINTER, world.mint(SPY), target),
    }


@pytest.mark.parametrize(
    ("kind", "holder", "role"),
    [
        (1, DEPLOYER, Role.PAUSER),
        (8, DEPLOYER, Role.BURNER),
        (10, DEPLOYER, Role.OWNER),
        (15, DEPLOYER, Role.OWNER),
        (16, AGENT, Role.PAUSER),
    ],
    ids=["freeze", "permanent delegate", "transfer hook", "multiplier", "pause"],
)
async def test_right_of_the_issuers__moves_to_a_stranger__is_told(
    world: World, kind: int, holder: LocalSigner, role: Role
) -> None:
    """INV-16: the real program's numbers, right by right (spl-token-2022 `AuthorityType`)."""
    _, cursor = await world.read_all()
    data = bytes((6, kind, 1)) + STRANGER.identity
    accounts = (Meta(world.mint(), writable=True), Meta(holder.identity, signer=True))
    tx = await world.send([Instruction(TOKEN_2022, accounts, data)], holder)
    assert await world.outcome(tx) is None
    await world.finalize()
    found, _ = await world.read_all(after=cursor)
    told = [(one.role, one.subject, one.holder) for one in found if isinstance(one, RoleMoved)]
    assert told == [(role, world.mint(), STRANGER.identity)]


async def test_transfer_hook__the_issuer_sets_a_program__is_told_as_code(world: World) -> None:
    """INV-16: from then on a program of somebody's runs with every transfer."""
    _, cursor = await world.read_all()
    data = bytes((36, 1)) + STRANGER.identity
    accounts = (Meta(world.mint(), writable=True), Meta(DEPLOYER.identity, signer=True))
    tx = await world.send([Instruction(TOKEN_2022, accounts, data)], DEPLOYER)
    assert await world.outcome(tx) is None
    await world.finalize()
    found, _ = await world.read_all(after=cursor)
    told = [(one.role, one.holder) for one in found if isinstance(one, RoleMoved)]
    assert told == [(Role.CODE, STRANGER.identity)]
