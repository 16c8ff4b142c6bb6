"""Issuer inventory offline: what a permit above the cap stood on, and lies about it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.audit import journals
from tests.audit.test_verify_journal import KEYS, change, checker, drop
from tests.services.supply_guard import inventory as suite
from tests.services.supply_guard.collateral import GRANTED
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_core.ids import Domain
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.entrypoints.audit_server import proof_to_wire
from xstock_supply_guard.handlers.prove import supply_proof
from xstock_wire.v1 import papers_pb2

__all__ = ["checker"]

Documents = list[dict[str, Any]]


@pytest.fixture
async def world() -> World:
    """Issued to the limit: 100 are the issuer's on Ethereum, and custody holds 50.

    Then 11 of them are bridged. They count nowhere until they are read again, so custody holds
    61 by then.
    """
    made = await suite.ready(MemoryGuardStore())
    order = made.order(2, 50 * SHARE, destination=Domain.MANTLE)
    assert await made.outcome(order) == GRANTED
    assert (await made.sign(order.message)).signature
    await made.release([order.message])
    made.mine()
    await made.scan()
    made.burn(SHARE)
    made.mine()
    await made.scan()
    tx = made.burn(10 * SHARE)
    made.mine()
    await made.scan()
    await suite.told(made, 3, 61 * SHARE)
    claim = made.claim(tx)
    assert await made.outcome(claim) == GRANTED
    assert (await made.sign(claim.message)).signature
    return made


@pytest.fixture
async def journal(world: World, tmp_path: Path) -> Path:
    """Its exported journal."""
    return await journals.export(world, tmp_path / "journal.jsonl")


async def test_verifier__permits_above_the_cap_that_inventory_allowed__are_right(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    proof = await journals.prove(world, tmp_path / "proof.json")
    report = checker.verify(journal, [proof], KEYS)
    books = report.replay.asset(ASSET.hex())
    assert (books.exposure, books.cap) == (150 * SHARE, 61 * SHARE)
    assert report.replay.count["inventory"] == 3
    assert report.proofs[0].signed


async def test_proof__of_now__states_the_inventory_chain_by_chain(world: World) -> None:
    paper = proof_to_wire(await supply_proof(world.desk, ASSET, 0))
    assert paper.excluded == 89 * SHARE
    parts = {one.chain: one.excluded for one in paper.chains}
    assert parts == {Domain.ETHEREUM: 89 * SHARE, Domain.BNB: 0, Domain.MANTLE: 0}
    past = proof_to_wire(await supply_proof(world.desk, ASSET, world.clock.unix_ms()))
    assert (past.excluded, past.exposure, past.cap) == (0, paper.exposure, paper.cap)


async def test_verifier__proof_whose_parts_do_not_add_up__refused(
    checker: ModuleType, world: World, journal: Path, tmp_path: Path
) -> None:
    paper = proof_to_wire(await supply_proof(world.desk, ASSET, 0))
    paper.excluded += 1
    signed = journals.PAPER_KEY.sign("supply-proof", "test", paper)
    said = {"key_id": signed.key_id, "paper": signed.paper.hex()}
    document = {**said, "signature": signed.signature.hex()}
    path = journals.write(tmp_path / "proof.json", [document])
    with pytest.raises(checker.Wrong, match="is not its chains'"):
        checker.verify(journal, [path], KEYS)


def said_without_owners(documents: Documents) -> None:
    """The papers in force name nobody."""
    for one in documents[1:]:
        one["lines"] = [
            _nobody(line) if line.startswith("attest ") else line for line in one["lines"]
        ]


def _nobody(line: str) -> str:
    fields = dict(part.partition("=")[::2] for part in line.split(" ")[1:])
    paper = papers_pb2.Attestation.FromString(bytes.fromhex(fields["paper"]))
    del paper.inventory[:]
    return line.replace(fields["paper"], paper.SerializeToString(deterministic=True).hex())


def grown(documents: Documents) -> None:
    """Ten times the inventory, in parts and sum that fit each other."""
    for old, new in (
        ("excluded=10000000000", "excluded=100000000000"),
        (":18:0:10000000000", "0:18:0:100000000000"),
    ):
        change("inventory", old, new)(documents)


LIES: dict[str, tuple[Callable[[Documents], None], str]] = {
    "issuance without it": (drop("inventory", 0), "above the cap 5000000000"),
    "a permit without it": (drop("inventory", 2), "above the cap 6100000000"),
    "a part made larger": (change("inventory", ":18:0:10000000000", ":18:0:10000000001"), "add up"),
    "a sum made larger": (change("inventory", "excluded=1", "excluded=2"), "the sum of its parts"),
    "more than there is on the chain": (grown, "more than the books have on chain 1"),
    "decimals without end": (change("inventory", ":18:0:", ":999999999999:0:"), "add up"),
    "a burn left out": (
        change("inventory", ":18:1100000000:8900000000", ":18:0:10000000000", 2),
        "leaves out burns: 0 of 1000000000",
    ),
    "a chain that nobody named": (change("inventory", "chains=1:", "chains=3:"), "not what"),
    "a chain said twice": (
        change("inventory", "chains=1:", "chains=1:1:0:18:0:0,1:"),
        "not what the attestation names",
    ),
    "owners taken out of the paper": (said_without_owners, "not what the attestation names"),
}


@pytest.mark.parametrize("lie", LIES)
def test_verifier__journal_that_lies_about_inventory__found(
    checker: ModuleType, journal: Path, lie: str
) -> None:
    """INV-04: made to fit by its hashes, the rules tell."""
    act, why = LIES[lie]
    documents = journals.read(journal)
    act(documents)
    journals.write(journal, journals.rehash(documents))
    with pytest.raises(checker.Wrong, match=why):
        checker.verify(journal)
