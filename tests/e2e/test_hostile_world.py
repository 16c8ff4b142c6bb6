"""A whole world of real processes that somebody means ill to: forged records, no collateral, a
second relayer, a broker that dies. Every test ends on the chains: what was burned is released
once, with its content, and supply equals every guard's ledger.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.builders import a_burn, a_message
from xstock_cli.bridge import Sent
from xstock_cli.hands import RELEASED, Hands
from xstock_cli.verify import Auditor
from xstock_core.ids import Address32, Domain, counter_nonce
from xstock_core.observation import BurnFinal
from xstock_devnet.custodian import CUSTODY_FILE
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.plan import GUARDS
from xstock_devnet.processes import Service, grpc_health
from xstock_devnet.world import World
from xstock_runtime.hashing import keccak256
from xstock_runtime.kafka import MAC_HEADER, mac_of
from xstock_wire.codec import observation_to_wire

OBSERVATIONS = "xstock.observations.v1"
SYMBOL = "GOOGLx"


async def _send(hands: Hands, source: str, destination: str, amount: str) -> Sent:
    receiver = hands.holder(destination, "holder-1")
    holder = hands.holder(source, "holder-0")
    return await hands.send(
        holder, source, destination, SYMBOL, amount, recipient=receiver.address_text
    )


async def _chains_agree(world: World, hands: Hands) -> None:
    """Nothing lost, nothing doubled, supply = ledger everywhere (bounded wait for the guards)."""
    nodes = {chain.name: world.node_urls(chain.name) for chain in world.chains}

    async with Auditor(world.registry, nodes) as auditor:

        async def agreed() -> bool:
            facts = await auditor.facts()
            targets = {guard: world.processes[guard].target for guard in GUARDS}
            books = {guard: await hands.bridge.ledger(t) for guard, t in targets.items()}
            checks = await auditor.compare(books)
            doubled, lost = facts.duplicated, facts.lost
            assert not doubled
            return not lost and all(check.equal for check in checks)

        await hands.poll(agreed, seconds=60, waiting_for="supply to equal every guard's ledger")


def _forged_burn(world: World) -> BurnFinal:
    """A burn of a million shares that nobody made, shaped like a real one."""
    ethereum = world.registry.chain("ethereum")
    bridge = Address32(bytes(12) + bytes.fromhex(ethereum.bridge.address[2:]))
    message = a_message(
        asset=world.registry.asset(SYMBOL).id,
        source=Domain.ETHEREUM,
        destination=Domain.BNB,
        source_bridge=bridge,
        nonce=counter_nonce(bridge, 999_999, keccak256),
        amount=10**14,
    )
    burn = a_burn(message, counter=999_999)
    block = replace(burn.place.block, number=1)
    return replace(burn, place=replace(burn.place, block=block))


async def _produce(world: World, value: bytes, key: bytes, mac: bytes | None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka_bootstrap)
    await producer.start()
    try:
        headers = [] if mac is None else [(MAC_HEADER, mac)]
        await producer.send_and_wait(OBSERVATIONS, value, key=key, headers=headers)
    finally:
        await producer.stop()


async def _dead_letters(world: World, wanted: bytes) -> int:
    """How often these bytes lie in the dead-letter topic now."""
    consumer = AIOKafkaConsumer(
        f"{OBSERVATIONS}.dlq",
        bootstrap_servers=world.kafka_bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        pages = await consumer.getmany(timeout_ms=1500)
        return sum(record.value == wanted for page in pages.values() for record in page)
    finally:
        await consumer.stop()


async def test_records_forged_into_kafka__without_the_key__are_dead_lettered_and_change_nothing(
    world: World, hands: Hands
) -> None:
    """F65: garbage and a well-formed forgery lie in the DLQ with their bytes; work goes on."""
    burn = _forged_burn(world)
    record = observation_to_wire(burn, deployment_id=world.registry.deployment_id, sequence=1)
    forged = record.SerializeToString(deterministic=True)
    garbage = b"\xff\x00garbage" * 1000
    for value in (forged, garbage):
        await _produce(world, value, b"k", None)

    async def buried() -> bool:
        return await _dead_letters(world, forged) > 0 and await _dead_letters(world, garbage) > 0

    await hands.poll(buried, seconds=30, waiting_for="both forgeries to be dead-lettered")
    sent = await _send(hands, "ethereum", "bnb", "1.5")
    await hands.released(sent, seconds=60)
    assert hands.transfer(burn.transfer_id) is None
    await _chains_agree(world, hands)


async def test_burn_forged_by_an_insider__with_the_real_key__opens_no_transfer(
    world: World, hands: Hands
) -> None:
    """F01: whoever holds the bus key can deceive the display for a while, nobody else."""
    burn = _forged_burn(world)
    record = observation_to_wire(burn, deployment_id=world.registry.deployment_id, sequence=2**40)
    value = record.SerializeToString(deterministic=True)
    secret = world.environment(world.processes["relayer"])["XSTOCK_RELAYER_KAFKA_MAC_KEY"]
    mac = mac_of(bytes.fromhex(secret), OBSERVATIONS, b"k", value)
    await _produce(world, value, b"k", mac)
    sent = await _send(hands, "ethereum", "bnb", "3.5")
    await hands.released(sent, seconds=60)
    wanted = burn.transfer_id.hex()
    sql = f"SELECT 1 FROM transfer WHERE encode(transfer_id, 'hex') = '{wanted}'"
    known = await world.postgres.fetch(sql, database="relayer")
    assert not known
    assert hands.state(burn.transfer_id) != RELEASED
    await _chains_agree(world, hands)


@contextmanager
def _custody(world: World, symbol: str, held_units: int) -> Iterator[None]:
    file = world.folder / CUSTODY_FILE
    before = file.read_text(encoding="utf-8")
    custody = json.loads(before)
    custody[symbol]["held_units"] = held_units
    try:
        file.write_text(json.dumps(custody), encoding="utf-8")
        yield
    finally:
        file.write_text(before, encoding="utf-8")


async def test_attestation_of_zero__holds_every_release_and_resumes_by_itself(
    world: World, hands: Hands
) -> None:
    """F54: collateral below exposure holds releases; the burn is kept and released later."""
    asset = world.registry.asset(SYMBOL).id
    target = world.processes["guard-1"].target

    async def cap_is_zero() -> bool:
        return (await hands.bridge.ledger(target, [asset])).assets[0].cap == 0

    with _custody(world, SYMBOL, 0):
        await hands.poll(cap_is_zero, seconds=30, waiting_for="the attestation of zero")
        sent = await _send(hands, "ethereum", "bnb", "2.25")

        def waits() -> bool:
            transfer = hands.transfer_of(sent)
            return transfer is not None and transfer.waiting_for.reason == "CAP_EXCEEDED"

        await hands.until(waits, seconds=60, waiting_for="the guards to hold the release")
    await hands.released(sent, seconds=90)
    await _chains_agree(world, hands)


@asynccontextmanager
async def _second_relayer(world: World) -> AsyncIterator[Service]:
    first = world.processes["relayer"]
    grpc_port, metrics_port = free_ports(2)
    second = replace(first, name="relayer", grpc_port=grpc_port, metrics_port=metrics_port)
    child = world.child("relayer-by-mistake", second.package, world.environment(second))
    service = Service(child, grpc_health(second.target))
    try:
        child.start()
        yield service
    finally:
        await service.terminate()


async def test_second_relayer__started_by_mistake__sends_nothing_twice_and_takes_over_when_needed(
    world: World, hands: Hands
) -> None:
    """F46: one active sender by a fenced lease; the other stands by until the first is gone."""
    async with _second_relayer(world):
        sent = [await _send(hands, "ethereum", "bnb", f"0.{n}1") for n in range(1, 4)]
        sent.append(await _send(hands, "bnb", "ethereum", "0.75"))
        for one in sent:
            await hands.released(one, seconds=90)
        await world.service("relayer").kill9()
        left = await _send(hands, "ethereum", "bnb", "0.5")
        await hands.released(left, seconds=90)
    await world.service("relayer").start()
    await _chains_agree(world, hands)


async def test_kafka_killed__with_a_transfer_under_way__is_released_after_its_return(
    world: World, hands: Hands
) -> None:
    """F60: kill -9 of the broker costs time only."""
    sent = await _send(hands, "ethereum", "bnb", "1.125")
    await world.kafka.kill9()
    await asyncio.sleep(3)
    await world.kafka.start()
    await hands.released(sent, seconds=120)
    await _chains_agree(world, hands)
