"""Deployment, funding and a holder's burn through the product's doors, on a chain that runs."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chains.ton.world import (
    DEPLOYER,
    ELSEWHERE,
    GLOBAL_ID,
    GUARDS,
    SHARE,
    TSLA,
    order_of,
    registry_of,
)
from xstock_chains.ports import (
    AssetOrder,
    BurnRequest,
    DeploymentOrder,
    GuardSignature,
    ReleaseOrder,
    StepState,
)
from xstock_chains.profiles import (
    open_account,
    open_builder,
    open_codec,
    open_deployment,
    open_holder,
    open_reader,
    open_signer,
    open_writer,
    read_network_id,
)
from xstock_chains.registry import Registry
from xstock_chains.ton.address import parse_text
from xstock_chains.ton.builder import burn_of
from xstock_chains.ton.chain import resolve_chain
from xstock_chains.ton.deploy import FUND_BELOW, plan_of
from xstock_chains.ton.holder import TonHolder
from xstock_chains.ton.rpc import Toncenter
from xstock_chains.ton.signer import LocalSigner
from xstock_core.amount import Shares
from xstock_core.ids import Domain, InvalidId, issue_nonce
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_core.release import Action, ReleaseBatch, ReleaseItem
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.ton import TonNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal
from xstock_runtime.hashing import keccak256

ORDER = order_of("TSLAx", "SPYx", agent="99" * 32)
HOLDER_KEY, RELAYER_KEY = "77" * 32, "78" * 32
HOLDER, RELAYER = LocalSigner.from_hex(HOLDER_KEY), LocalSigner.from_hex(RELAYER_KEY)


@dataclass
class Running:
    """A chain that makes blocks by itself, with the product deployed on it."""

    url: str
    folder: Path
    registry: Registry
    chain_entry: Mapping[str, Any]

    def key_file(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        return file

    def deployment(self, order: DeploymentOrder = ORDER, state: str = "state.json") -> Any:
        key = self.key_file("deployer", dev_private_key(0))
        return open_deployment(order, self.url, key, self.folder / state, SystemClock()).port

    async def final(self, found: Any, wanted: Any) -> None:
        """Poll until an answer is the one wanted."""
        for _ in range(400):
            if await found() == wanted:
                return
            await SystemClock().sleep(0.05)
        raise AssertionError(f"{wanted} did not come")


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Deployed once for the module, with a funded holder and relayer and shares to burn."""
    folder = tmp_path_factory.mktemp("ton_hands")
    async with TonNode(folder, block_ms=60, final_blocks=1) as node:
        there = Running(node.url, folder, registry=None, chain_entry={})  # type: ignore[arg-type]
        deployment = there.deployment()
        steps = [step async for step in deployment.run()]
        assert [step.state for step in steps] == [StepState.DONE, StepState.DONE]
        there.chain_entry = deployment.chain_entry()
        zero_state = bytes.fromhex(there.chain_entry["genesis_hash"][2:])
        entries = [{"symbol": s, **e} for s, e in deployment.asset_entries().items()]
        plan = plan_of(ORDER, DEPLOYER.holder_wallet)
        there.registry = registry_of(plan, zero_state, entries)
        assert await deployment.fund([HOLDER.holder_wallet, RELAYER.relayer_wallet]) == 2
        await issue(there)
        yield there


async def issue(there: Running) -> None:
    """A hundred shares for the holder, through writer, codec and signer as they are opened."""
    writer = open_writer(there.registry, "ton", there.url).port
    codec = open_codec(there.registry, "ton")
    relayer = open_signer("ton", there.key_file("relayer", RELAYER_KEY))
    sender = open_account("ton", relayer, "relayer")
    nonce = issue_nonce(TSLA, 1, keccak256)
    item = ReleaseItem(
        Action.RELEASE, Domain.CUSTODY, nonce, TSLA, HOLDER.holder_wallet, Shares(100 * SHARE)
    )
    deadline = SystemClock().unix_ms() // 1000 + 600
    bridge = parse_text(there.registry.bridge_on("ton", TSLA).address)
    batch = ReleaseBatch(Domain.TON, bridge, 1, deadline, (item,))
    digest = codec.digest(batch)
    signatures = [GuardSignature(g.identity, await g.sign_digest(digest)) for g in GUARDS[:2]]
    order = ReleaseOrder(batch, tuple(signatures))
    slot = await writer.next_slot(sender, (), order)
    signed = await relayer.sign_transaction(await writer.prepare(order, slot))
    await writer.broadcast(signed)
    holder = holder_on(there)
    await there.final(lambda: holder.shares_of("TSLAx"), 100 * SHARE)


def holder_on(there: Running) -> Any:
    key = there.key_file("holder", HOLDER_KEY)
    return open_holder(there.registry, "ton", there.url, key).port


def wanted(**changes: Any) -> BurnRequest:
    request = BurnRequest(
        message_kind=Kind.TRANSFER,
        source=Domain.TON,
        destination=Domain.BNB,
        asset=TSLA,
        sender=HOLDER.holder_wallet,
        recipient=ELSEWHERE,
        refund_address=HOLDER.holder_wallet,
        amount=SHARE,
    )
    return replace(request, **changes)


async def built(there: Running, request: BurnRequest) -> dict[str, Any]:
    builder = open_builder(there.registry, "ton", there.url).port
    unsigned = await builder.build(request, expires=SystemClock().unix_ms() // 1000 + 600)
    document: dict[str, Any] = json.loads(unsigned.payload)
    return document


async def test_deployment__run_again__finds_what_is_there(running: Running) -> None:
    again = running.deployment()
    assert [step.state async for step in again.run()] == [StepState.ALREADY, StepState.ALREADY]
    assert again.chain_entry() == running.chain_entry
    assert (running.chain_entry["network_id"], running.chain_entry["bridges"]) == (GLOBAL_ID, [])
    assert await read_network_id(Domain.TON, running.url) == GLOBAL_ID


async def test_deployment__dry_run__sends_nothing(running: Running) -> None:
    planned = running.deployment(order_of("AAPLx", agent="99" * 32))
    for _ in range(2):
        assert [s.state async for s in planned.run(dry_run=True)] == [StepState.PLANNED]


async def test_deployment__another_network_or_its_state_file__stops(running: Running) -> None:
    """F88: a deployment knows where it is."""
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        [step async for step in running.deployment(replace(ORDER, network_id=-3)).run()]
    (running.folder / "other.json").write_text('{"global_id": -239, "zero_state": "00"}')
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        [step async for step in running.deployment(state="other.json").run()]


def test_deployment__jetton_that_exists__cannot_be_taken_over(running: Running) -> None:
    """The remedy says what to do instead."""
    token = running.registry.bridge_on("ton", TSLA).address
    taking = replace(ORDER, assets=(AssetOrder("TSLAx", token=token),))
    with pytest.raises(InvalidId, match="cannot be taken over"):
        running.deployment(taking)


async def test_fund__accounts_that_have_enough__get_nothing(running: Running) -> None:
    deployment = running.deployment()
    assert await deployment.fund([HOLDER.holder_wallet]) == 0
    fresh = LocalSigner(b"\x55" * 32).holder_wallet
    assert await deployment.fund([fresh, fresh]) == 1
    api = Toncenter(running.url)
    assert (await api.accounts([fresh]))[fresh].balance >= FUND_BELOW
    await api.aclose()


async def test_holder__built_burn__arrives_at_the_minter_and_is_told(running: Running) -> None:
    """What the holder sent, what the reader tells and what a lookup by the message's hash tells
    is one burn."""
    holder = holder_on(running)
    before = await holder.shares_of("TSLAx")
    request = wanted(amount=3 * SHARE, refund_address=RELAYER.holder_wallet)
    refs = await holder.send(await built(running, request), request)
    assert await holder.included(refs[-1]) is True
    reader = open_reader(running.registry, "ton", [running.url]).port
    (burn,) = await reader.re_observe(refs[-1])
    assert isinstance(burn, BurnFinal)
    assert (burn.place.tx, burn.message.amount) == (refs[-1], 3 * SHARE)
    assert (burn.sender, burn.message.refund_address) == (
        HOLDER.holder_wallet,
        RELAYER.holder_wallet,
    )
    assert list(await reader.re_observe(refs[0])) == [burn]
    assert await holder.shares_of("TSLAx") == before - 3 * SHARE


async def test_holder__burn_of_more_than_there_is__fails_and_moves_nothing(
    running: Running,
) -> None:
    """F44: refused by the wallet on the way; the last transaction says so."""
    holder = holder_on(running)
    before = await holder.shares_of("TSLAx")
    request = wanted(amount=1_000_000 * SHARE)
    refs = await holder.send(await built(running, request), request)
    assert await holder.included(refs[-1]) is False
    assert await holder.shares_of("TSLAx") == before


class Trusting(TonHolder):
    """Defence taken out: whatever a gateway built is signed."""

    def _check(self, messages: Sequence[Mapping[str, Any]], wanted: BurnRequest) -> None:
        return


@pytest.mark.parametrize("field", ["to", "value", "body", "more", "sender"])
async def test_holder__gateway_lies_about_the_bytes__nothing_is_signed(
    running: Running, field: str
) -> None:
    """Another account, more coins, another recipient: each is seen before the key is used."""
    request = wanted()
    document = await built(running, request)
    (message,) = document["messages"]
    other = wanted(recipient=type(ELSEWHERE)(bytes(31) + b"\x66"))
    minter = resolve_chain(running.registry, "ton").in_use[TSLA]
    lies: dict[str, Any] = {
        "to": {"to": running.registry.bridge_on("ton", TSLA).address},
        "value": {"value": str(10**12)},
        "body": {"body": burn_of(other, minter).to_boc().hex()},  # type: ignore[no-untyped-call]
        "more": {},
        "sender": {},
    }
    document["messages"] = [{**message, **lies[field]}] * (2 if field == "more" else 1)
    if field == "sender":
        request = replace(request, sender=RELAYER.holder_wallet)
    holder = holder_on(running)
    with pytest.raises(Fatal, match="BURN_NOT_AS_EXPECTED"):
        await holder.send(document, request)
    naive = Trusting(holder._chain, holder._api, holder._purse)
    naive._check(document["messages"], request)
