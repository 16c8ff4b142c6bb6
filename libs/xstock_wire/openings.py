"""Taking an asset over that is live already: one paper, signed by M guards, booked by all of them.

The paper is made from what a guard's own books show and judged by every guard anew, so whoever
runs this can propose and collect but decide nothing. Every step may be repeated: a guard that has
booked the opening says so again, one that cannot yet says why.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from xstock_wire.codec import limit_of
from xstock_wire.v1 import common_pb2, papers_pb2, supply_guard_pb2

if TYPE_CHECKING:
    from xstock_wire.v1.supply_guard_pb2_grpc import SupplyGuardServiceAsyncStub

Stubs = Mapping[str, "SupplyGuardServiceAsyncStub"]
"""A connection to every guard, by its id."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one guard's books say of an asset that may need an opening."""

    open: bool
    """It is open already: nothing is to be done."""
    paper: papers_pb2.Opening
    unread: tuple[int, ...] = ()
    """Domains that this guard has no believed reading of yet; the paper is of no use with any."""
    limit: int = 0
    """What may be booked: custody's cap, with excluded issuer inventory on top."""

    @property
    def total(self) -> int:
        """What would be booked on all chains together, in 10^-8 share."""
        return sum(one.shares for one in self.paper.chains)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far an opening came: who signed, who booked, and what the others say."""

    signed: tuple[str, ...] = ()
    booked: tuple[str, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)


def proposal_of(books: supply_guard_pb2.AssetLedger) -> Proposal:
    """The opening that these books ask for; chains by rising domain number."""
    chains = sorted(books.chains, key=lambda one: one.chain)
    paper = papers_pb2.Opening(asset=books.asset)
    unread = []
    for one in chains:
        if not one.unopened:
            unread.append(one.chain)
            continue
        paper.chains.add(
            chain=one.chain,
            shares=max(0, int(one.unopened)),
            residue_units=one.residue_units,
            block_number=one.reading_block.number,
        )
    return Proposal(books.open, paper, tuple(unread), limit_of(books))


async def propose(stubs: Stubs, asset: bytes) -> Proposal:
    """The opening that some guard has booked already, else what the first one's books ask for.

    Raises grpc.aio.AioRpcError for a guard that does not answer: its word may be the one.
    """
    request = supply_guard_pb2.GetLedgerRequest(assets=[asset])
    answers = await asyncio.gather(*(stub.GetLedger(request) for stub in stubs.values()))
    books = [answer.assets[0] for answer in answers]
    booked = next((one for one in books if one.opening), None)
    if booked is None:
        return proposal_of(books[0])
    paper = papers_pb2.Opening.FromString(booked.opening)
    return Proposal(all(one.open for one in books), paper, limit=limit_of(booked))


async def carry_out(stubs: Stubs, paper: papers_pb2.Opening, needed: int) -> Outcome:
    """Collect `needed` signatures of different guards and hand them to every guard."""
    body = paper.SerializeToString(deterministic=True)
    answers = await asyncio.gather(*(_sign(stub, body) for stub in stubs.values()))
    said = dict(zip(stubs, answers, strict=True))
    signatures = {name: one for name, one in said.items() if not isinstance(one, str)}
    refusals = {name: one for name, one in said.items() if isinstance(one, str)}
    if len(signatures) < needed:
        return Outcome(tuple(signatures), (), refusals)
    enough = list(signatures.values())[:needed]
    booked = await asyncio.gather(*(_submit(stub, enough) for stub in stubs.values()))
    told = dict(zip(stubs, booked, strict=True))
    done = tuple(name for name, problem in told.items() if not problem)
    return Outcome(tuple(signatures), done, {n: text for n, text in told.items() if text})


async def _sign(stub: "SupplyGuardServiceAsyncStub", paper: bytes) -> common_pb2.SignedPaper | str:
    try:
        answer = await stub.SignOpening(supply_guard_pb2.SignOpeningRequest(paper=paper))
    except grpc.aio.AioRpcError as error:
        return error.details() or error.code().name
    return answer.signature


async def _submit(
    stub: "SupplyGuardServiceAsyncStub", signatures: Sequence[common_pb2.SignedPaper]
) -> str:
    """What went wrong; empty when the guard has booked it."""
    try:
        request = supply_guard_pb2.SubmitOpeningRequest(signatures=signatures)
        await stub.SubmitOpening(request)
    except grpc.aio.AioRpcError as error:
        return error.details() or error.code().name
    return ""
