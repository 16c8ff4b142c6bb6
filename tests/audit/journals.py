"""Journals of a whole little history, as the guard writes them and as an export keeps them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coincurve import PrivateKey

from tests.services.supply_guard.world import ASSET, DEPLOYMENT, SHARE, World
from xstock_cli.journal_file import JournalFile
from xstock_core.ids import Domain
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.entrypoints.audit_server import SUPPLY_PROOF, AuditServicer, proof_to_wire
from xstock_supply_guard.handlers.halting import halt, resume
from xstock_supply_guard.handlers.prove import supply_proof
from xstock_supply_guard.model import FIRST_LINK, JournalHead, next_link
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import audit_pb2

PAPER_KEY = PaperKey("guard-1", PrivateKey(keccak256(b"test/paper/guard-1")))


async def history(world: World) -> None:
    """Issued, burned, granted, signed, released; a refusal; a halt that two people cleared."""
    await world.funded(100 * SHARE)
    await world.clock.advance(1)
    message = await world.granted(40 * SHARE)
    assert (await world.sign(message)).signature
    await world.clock.advance(1)
    await world.release([message])
    world.mine()
    await world.scan()
    await world.review(world.order(3, SHARE))
    await world.clock.advance(1)
    latched = await halt(
        world.desk, asset=ASSET, chain=None, reason="a rehearsal", by="agent", request_id="r-1"
    )
    for name in ("ann", "bob"):
        await resume(world.desk, halt_id=latched.id, by=name, reason="it was a rehearsal")
    await world.clock.advance(1)
    second = await world.granted(5 * SHARE)
    assert (await world.sign(second)).signature
    await world.clock.advance(1)
    world.burn(SHARE, destination=Domain.MANTLE)
    world.mine()
    await world.scan()


async def export(world: World, path: Path) -> Path:
    """The journal as `xstock audit export` writes it, over the service's own pages."""
    servicer = AuditServicer(world.desk, PAPER_KEY)
    file = JournalFile.resume(path, "guard-1")
    request = audit_pb2.ExportJournalRequest(after_sequence=file.last)
    async for page in servicer.ExportJournal(request, None):  # type: ignore[arg-type]
        file.append(page)
    return path


async def prove(world: World, path: Path, at_ms: int = 0) -> Path:
    """A signed proof, as `xstock audit proof --out` writes it."""
    paper = proof_to_wire(await supply_proof(world.desk, ASSET, at_ms))
    signed = PAPER_KEY.sign(SUPPLY_PROOF, DEPLOYMENT, paper)
    document = {
        "deployment": DEPLOYMENT,
        "key_id": signed.key_id,
        "paper": signed.paper.hex(),
        "signature": signed.signature.hex(),
    }
    return write(path, [document])


def read(path: Path) -> list[dict[str, Any]]:
    """The file's documents: the header first."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, documents: Sequence[dict[str, Any]]) -> Path:
    """The documents as a file."""
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return path


def rehash(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Links made to fit again: what a guard that lies throughout would export."""
    head: JournalHead = FIRST_LINK
    for one in documents[1:]:
        previous = head.digest
        head = next_link(head, one["lines"], one["at_ms"])
        one["sequence"], one["previous"] = head.sequence, previous.hex()
        one["digest"], one["at_ms"] = head.digest.hex(), head.at_ms
    return documents
