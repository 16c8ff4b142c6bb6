"""The command `xstock-supply-guard rebuild`: openings, then the chains, then the other papers.

Openings come first: what an asset had before the bridge would else be burned from nowhere, and
halt it, as soon as an issuance on another chain had begun its books. Papers are taken from any
guard's exported journal (`xstock audit export`), in its order, and are believed by their
signatures alone. One that cannot be believed is told and left out.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xstock_chains.ports import ChainReader
from xstock_core.ids import Domain
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError
from xstock_supply_guard import wire
from xstock_supply_guard.handlers.attesting import submit_attestation
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import read_line
from xstock_supply_guard.handlers.opening import submit_opening
from xstock_supply_guard.handlers.papers import order_message
from xstock_supply_guard.handlers.rebuild import Replayed, replay
from xstock_supply_guard.handlers.redemptions import submit_rejection
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.model import SubmittedClaim
from xstock_wire.papers import ATTESTATION, ISSUE_ORDER, OPENING, REDEMPTION_REJECTION
from xstock_wire.v1 import common_pb2

Fields = dict[str, str]
KINDS = {
    "attest": ATTESTATION,
    "open": OPENING,
    "redemption": REDEMPTION_REJECTION,
    "order-paper": ISSUE_ORDER,
}
"""Verbs whose lines carry a paper, with the paper's kind."""
OPENINGS = frozenset({"open"})
LATER = KINDS.keys() - OPENINGS


@dataclass(slots=True)
class Imported:
    """What became of the papers; `refused` says why, a line each."""

    taken: int = 0
    refused: list[str] = field(default_factory=list)


def papers_of(path: Path) -> Iterator[tuple[str, Fields]]:
    """The lines of an exported journal that carry a paper; raises Fatal EXPORT_UNREADABLE."""
    try:
        with path.open(encoding="utf-8") as file:
            next(file, None)
            for text in file:
                for one in json.loads(text)["lines"]:
                    verb, fields = read_line(one)
                    if verb in KINDS and "paper" in fields:
                        yield verb, fields
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{path}: {error}; give a file of `xstock audit export`"
        raise Fatal("EXPORT_UNREADABLE", text) from error


async def fill(
    desk: Desk, readers: Mapping[Domain, ChainReader], papers: Path | None
) -> tuple[list[Replayed], Imported]:
    """Openings, chains, the other papers; raises as `replay` and `import_papers`."""
    done = Imported()
    if papers is not None:
        await import_papers(desk, papers, OPENINGS, done)
    replayed = await replay(desk, readers)
    if papers is not None:
        await import_papers(desk, papers, LATER, done)
    return replayed, done


async def import_papers(desk: Desk, path: Path, verbs: Collection[str], done: Imported) -> Imported:
    """Hand in an export's papers of these verbs; raises Fatal EXPORT_UNREADABLE, FENCED."""
    for verb, fields in papers_of(path):
        if verb not in verbs:
            continue
        try:
            await _submit(desk, verb, fields)
        except Fatal:
            raise
        except ServiceError as error:
            done.refused.append(f"{verb}: {error}")
        else:
            done.taken += 1
    return done


async def _submit(desk: Desk, verb: str, fields: Fields) -> None:
    deployment = desk.config.deployment_id
    signed = _signed(KINDS[verb], fields)
    if verb == "attest":
        said = wire.attestation_from_wire(signed[0], deployment)
        others = [wire.statement_from_wire(one, KINDS[verb], deployment) for one in signed[1:]]
        await submit_attestation(desk, *said, others)
    elif verb == "open":
        await submit_opening(desk, *wire.opening_statements(signed, deployment), restoring=True)
    elif verb == "redemption":
        await submit_rejection(desk, *wire.rejection_from_wire(signed[0], deployment))
    else:
        await _order(desk, signed[0])


async def _order(desk: Desk, signed: common_pb2.SignedPaper) -> None:
    """An order is claimed again: what is open and in time is reserved, the rest is closed."""
    order = wire.order_from_wire(signed, desk.config.deployment_id)
    message = order_message(desk, order)
    if message is None:
        raise InvalidMessage("ORDER_INVALID", f"order {order.order_number}: not a known issuer's")
    await review_transfers(desk, [SubmittedClaim(message, order=order)])


def _signed(kind: str, fields: Fields) -> list[common_pb2.SignedPaper]:
    try:
        paper = bytes.fromhex(fields["paper"])
        return [
            common_pb2.SignedPaper(
                kind=kind, paper=paper, key_id=key_id, signature=bytes.fromhex(signature)
            )
            for key_id, signature in zip(
                fields["keys"].split(","), fields["signatures"].split(","), strict=True
            )
        ]
    except (KeyError, ValueError) as error:
        text = f"a line of kind {kind} names no paper with its signatures: {error}"
        raise InvalidMessage("FIELD_INVALID", text) from error
