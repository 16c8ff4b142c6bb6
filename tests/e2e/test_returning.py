"""The way back over real chains: held, taken back by the holder, cancelled there, refunded here.

One transfer from every chain to the next one of the circle is held because custody's statement
falls to zero. Each holder asks with the key of the chain that burned (on TON people decide), the
relayer dies in between, and everybody ends with exactly what they had.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.e2e.test_hostile_world import _chains_agree
from xstock_cli.bridge import Sent
from xstock_cli.hands import CUSTODY, Hands
from xstock_devnet.custodian import CUSTODY_FILE
from xstock_devnet.plan import GUARDS
from xstock_devnet.world import World
from xstock_wire.papers import REDEMPTION_REJECTION, PaperKey
from xstock_wire.v1 import (
    bridge_pb2,
    operator_pb2,
    operator_pb2_grpc,
    papers_pb2,
    relayer_pb2,
    relayer_pb2_grpc,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
)

SYMBOL = "GOOGLx"
AMOUNT = "1.75"
CIRCLE = ("ethereum", "tron", "bnb", "ton", "solana", "mantle")
"""With a burn of TON that Solana cancels: nonces are hashes on both, and their times count."""
ACCOUNT = "22" * 32
REFUNDED = bridge_pb2.TRANSFER_STATE_REFUNDED


@contextmanager
def _uncovered(world: World) -> Iterator[None]:
    """Custody says that it holds nothing of the asset, until the block ends."""
    file = world.folder / CUSTODY_FILE
    custody = json.loads(file.read_text(encoding="utf-8"))
    before = custody[SYMBOL]["held_units"]

    def write(held: int) -> None:
        now = json.loads(file.read_text(encoding="utf-8"))
        now[SYMBOL]["held_units"] = held
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(now), encoding="utf-8")
        fresh.replace(file)

    write(0)
    try:
        yield
    finally:
        write(before)


async def _id_of(hands: Hands, sent: Sent) -> bytes:
    await hands.until(
        lambda: hands.transfer_of(sent) is not None,
        seconds=90,
        waiting_for="the bridge to see a burn",
    )
    transfer = hands.transfer_of(sent)
    assert transfer is not None
    return bytes(transfer.id)


async def _approve_cancel(world: World, hands: Hands, transfer_id: bytes) -> None:
    """An operator proposes and another person approves, at every guard."""
    for guard in GUARDS:
        target = world.processes[guard].target
        first = await hands.bridge.channel(target, "operator-1")
        proposed = await operator_pb2_grpc.OperatorServiceStub(first).Propose(
            operator_pb2.ProposeRequest(
                kind=operator_pb2.PROPOSAL_KIND_CANCEL,
                subject=transfer_id,
                reason="the holder asked",
                request_id=f"cancel-{transfer_id.hex()[:8]}",
            ),
            timeout=20,
        )
        second = await hands.bridge.channel(target, "operator-2")
        await operator_pb2_grpc.OperatorServiceStub(second).Approve(
            operator_pb2.ApproveRequest(proposal_id=proposed.proposal.id, reason="checked"),
            timeout=20,
        )
    relayer = await hands.bridge.channel(world.processes["relayer"].target, "operator-1")
    request = relayer_pb2.TransferServiceCancelTransferRequest(
        transfer_id=transfer_id, reason="the holder asked"
    )
    await relayer_pb2_grpc.TransferServiceStub(relayer).CancelTransfer(request, timeout=20)


async def test_held_on_every_chain__taken_back__everybody_has_what_they_had(
    world: World, hands: Hands
) -> None:
    """F58's way back, on Ethereum, BNB, Mantle, Solana, Tron and TON, through real services."""
    chains = [chain for chain in CIRCLE if any(one.name == chain for one in world.chains)]
    routes = list(zip(chains, [*chains[1:], chains[0]], strict=True))
    before = {c: await hands.holder(c, "holder-0").shares_of(SYMBOL) for c in chains}
    asset = world.registry.asset(SYMBOL).id
    target = world.processes["guard-1"].target

    async def cap_is_zero() -> bool:
        return (await hands.bridge.ledger(target, [asset])).assets[0].cap == 0

    with _uncovered(world):
        await hands.poll(cap_is_zero, seconds=60, waiting_for="the attestation of zero")
        ids: dict[str, bytes] = {}
        for source, destination in routes:
            receiver = hands.holder(destination, "holder-1").address_text
            holder = hands.holder(source, "holder-0")
            sent = await hands.send(holder, source, destination, SYMBOL, AMOUNT, recipient=receiver)
            ids[source] = await _id_of(hands, sent)
        await hands.until(
            lambda: all(hands.reason(one) == "CAP_EXCEEDED" for one in ids.values()),
            seconds=180,
            waiting_for="the guards to hold all of them",
        )
        for source, transfer_id in ids.items():
            if source == "ton":
                await _approve_cancel(world, hands, transfer_id)
            else:
                await hands.cancel(transfer_id, key="holder-0", reason="changed my mind")
        await hands.until(
            lambda: all(
                hands.state(one) == bridge_pb2.TRANSFER_STATE_REFUNDING for one in ids.values()
            ),
            seconds=240,
            waiting_for="every cancellation to be final and every refund to be open",
        )
    await hands.until(
        lambda: all(hands.state(one) == REFUNDED for one in ids.values()),
        seconds=240,
        waiting_for="every refund to be final",
    )
    for chain in chains:
        after = await hands.holder(chain, "holder-0").shares_of(SYMBOL)
        assert after == before[chain], f"{chain}: {after} instead of {before[chain]}"
    await _chains_agree(world, hands)


async def test_redemption__rejected_by_custody__flows_back(world: World, hands: Hands) -> None:
    """Burned towards custody on an EVM chain and on Solana; custody will not pay; minted back."""
    chains = [c for c in ("bnb", "solana") if any(one.name == c for one in world.chains)]
    before = {c: await hands.holder(c, "holder-0").shares_of(SYMBOL) for c in chains}
    ids = []
    for chain in chains:
        holder = hands.holder(chain, "holder-0")
        sent = await hands.send(holder, chain, CUSTODY, SYMBOL, AMOUNT, recipient=ACCOUNT)
        ids.append(await _id_of(hands, sent))
    await hands.until(
        lambda: all(hands.reason(one) == "REDEMPTION_UNPAID" for one in ids),
        seconds=120,
        waiting_for="the guards to wait for custody",
    )
    key = PaperKey.from_file("custodian-1", world.key_file("custodian"))
    for transfer_id in ids:
        paper = papers_pb2.RedemptionRejection(transfer_id=transfer_id, reason="unknown account")
        signed = key.sign(REDEMPTION_REJECTION, world.registry.deployment_id, paper)
        request = supply_guard_pb2.SubmitRejectionRequest(rejection=signed)
        for guard in GUARDS:
            channel = await hands.bridge.channel(world.processes[guard].target, "custodian")
            stub = supply_guard_pb2_grpc.SupplyGuardServiceStub(channel)
            try:
                await stub.SubmitRejection(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                raise AssertionError(f"{guard}: {error.details()}") from error
    await hands.until(
        lambda: all(hands.state(one) == REFUNDED for one in ids),
        seconds=180,
        waiting_for="the rejected redemptions to flow back",
    )
    for chain in chains:
        assert await hands.holder(chain, "holder-0").shares_of(SYMBOL) == before[chain]
    await _chains_agree(world, hands)
