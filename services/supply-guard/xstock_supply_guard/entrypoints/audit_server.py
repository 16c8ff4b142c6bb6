"""The auditor's gRPC service: journal pages, signed proofs, the ledger's hash. It only reads."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc

from xstock_core.ids import AssetId
from xstock_runtime.errors import Transient
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.prove import Proof, ledger_hash, supply_proof
from xstock_supply_guard.model import JournalLink
from xstock_wire.codec import block_to_wire
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import audit_pb2, audit_pb2_grpc, papers_pb2

SERVICE = "xstock_wire.v1.AuditService"
SUPPLY_PROOF = "supply-proof"
READERS = frozenset({"auditor", "agent", "operator"})
METHODS: Mapping[str, frozenset[str]] = {
    f"/{SERVICE}/ExportJournal": READERS,
    f"/{SERVICE}/GetSupplyProof": READERS | {"gateway"},
    f"/{SERVICE}/GetLedgerHash": READERS,
}
"""Who may call what; a method that is not here is nobody's."""
PAGE_LINKS = 200
PAGE_BYTES = 1_000_000
"""A page ends after the link that passes this: a link of a full page of burns is 350 kB."""
Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """One guard's memory for those who check it."""

    def __init__(self, desk: Desk, paper_key: PaperKey | None) -> None:
        self._desk = desk
        self._paper_key = paper_key

    async def ExportJournal(  # noqa: N802 - gRPC's name
        self, request: audit_pb2.ExportJournalRequest, context: Context
    ) -> AsyncIterator[audit_pb2.ExportJournalResponse]:
        """The journal from a link on, up to the last one of now."""
        del context
        async with self._desk.store.read() as books:
            last = (await books.journal_head()).sequence
        after = request.after_sequence
        while after < last:
            async with self._desk.store.read() as books:
                links = await books.journal_after(after, min(PAGE_LINKS, last - after))
            for page in _pages(links):
                yield self._page(page, last)
            after = links[-1].sequence
        if request.after_sequence >= last:
            yield self._page([], last)

    def _page(self, links: list[JournalLink], last: int) -> audit_pb2.ExportJournalResponse:
        return audit_pb2.ExportJournalResponse(
            guard_id=self._desk.config.guard_id,
            deployment_id=self._desk.config.deployment_id,
            links=[
                audit_pb2.JournalLink(
                    sequence=one.sequence,
                    previous=one.previous,
                    digest=one.digest,
                    at_ms=one.at_ms,
                    lines=one.lines,
                )
                for one in links
            ],
            last_sequence=last,
        )

    async def GetSupplyProof(  # noqa: N802 - gRPC's name
        self, request: audit_pb2.GetSupplyProofRequest, context: Context
    ) -> audit_pb2.GetSupplyProofResponse:
        """A signed proof of one asset."""
        del context
        if self._paper_key is None:
            text = "this guard has no paper key; set XSTOCK_GUARD_PAPER_KEY_FILE"
            raise Transient("PAPER_KEY_MISSING", text)
        proof = await supply_proof(self._desk, AssetId(request.asset), request.at_ms)
        deployment = self._desk.config.deployment_id
        signed = self._paper_key.sign(SUPPLY_PROOF, deployment, proof_to_wire(proof))
        return audit_pb2.GetSupplyProofResponse(proof=signed)

    async def GetLedgerHash(  # noqa: N802 - gRPC's name
        self, request: audit_pb2.GetLedgerHashRequest, context: Context
    ) -> audit_pb2.GetLedgerHashResponse:
        """The hash over what chains alone decide."""
        del request, context
        found = await ledger_hash(self._desk)
        return audit_pb2.GetLedgerHashResponse(
            guard_id=self._desk.config.guard_id,
            ledger_hash=found.digest,
            entries=found.entries,
            booked_through=[block_to_wire(block) for block in found.through],
            journal_sequence=found.head.sequence,
            journal_digest=found.head.digest,
        )


def _pages(links: Sequence[JournalLink]) -> list[list[JournalLink]]:
    """The links in pages small enough for one message."""
    pages: list[list[JournalLink]] = [[]]
    size = 0
    for link in links:
        if size > PAGE_BYTES:
            pages.append([])
            size = 0
        pages[-1].append(link)
        size += sum(map(len, link.lines))
    return pages


def proof_to_wire(proof: Proof) -> papers_pb2.SupplyProof:
    """The paper that the guard signs."""
    attestation = proof.attestation
    wire = papers_pb2.SupplyProof(
        guard_id=proof.guard_id,
        asset=proof.asset,
        as_of_ms=proof.as_of_ms,
        journal_sequence=proof.head.sequence,
        journal_digest=proof.head.digest,
        in_flight=proof.in_flight,
        orphaned=proof.orphaned,
        open_issuance=proof.open_issuance,
        unpaid_redemption=proof.unpaid_redemption,
        exposure=proof.exposure,
        attestation_sequence=attestation.sequence if attestation else 0,
        held_units=attestation.held_units if attestation else 0,
        attestation_as_of=attestation.as_of if attestation else 0,
        cap=proof.cap,
        excluded=proof.excluded,
    )
    for one in proof.chains:
        chain = wire.chains.add(
            chain=one.chain, ledger=one.ledger, decimals=one.decimals, excluded=one.excluded
        )
        if one.booked is not None:
            chain.booked_number = one.booked.number
            chain.booked_hash = one.booked.hash
            chain.booked_time = one.booked.time
        if one.reading is not None:
            chain.reading = str(one.reading.units)
            chain.reading_number = one.reading.block.number
            chain.reading_hash = one.reading.block.hash
    return wire
