"""From views to the partner API's messages: names, text forms and times; no decisions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from xstock_chains.registry import Registry
from xstock_core.amount import displayed_decimal
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.message import Kind
from xstock_core.observation import BlockRef, TxRef
from xstock_gateway.handlers.ask import ChainSaid
from xstock_gateway.ports import AssetBooks, BuiltBurn, ChainBooks, ChainDesk, Coverage, GuardHalt
from xstock_gateway.view import StepSeen, TransferView
from xstock_wire.codec import block_to_wire
from xstock_wire.reasons import explain_wait
from xstock_wire.v1 import bridge_pb2, common_pb2

_CUSTODY = "custody"


def timestamp(unix_ms: int) -> Timestamp:
    """A protobuf timestamp."""
    return Timestamp(seconds=unix_ms // 1000, nanos=unix_ms % 1000 * 1_000_000)


class Presenter:
    """Shows one deployment's values in people's words."""

    def __init__(self, registry: Registry, desks: Mapping[Domain, ChainDesk]) -> None:
        self._desks = desks
        self._guards, self._threshold = len(registry.guards), registry.threshold
        self._chains = {int(entry.domain): entry.name for entry in registry.chains}
        self._symbols = {entry.id: entry.symbol for entry in registry.assets}

    def chain(self, domain: int) -> str:
        """The chain's name; the number for one that is not configured."""
        if domain == Domain.CUSTODY:
            return _CUSTODY
        return self._chains.get(domain, str(domain)) if domain else ""

    def symbol(self, asset: AssetId) -> str:
        """The symbol; the hex id for an asset that is not configured."""
        return self._symbols.get(asset, asset.hex())

    def address(self, domain: Domain, address: Address32) -> str:
        """The chain's own text form; hex for custody and unknown chains."""
        desk = self._desks.get(domain)
        return address.hex() if desk is None else desk.show_address(address)

    def tx(self, tx: TxRef) -> str:
        """The chain's own text form."""
        desk = self._desks.get(tx.chain)
        return tx.id.hex() if desk is None else desk.show_tx(tx)

    def transfer(
        self, view: TransferView, refund: TransferView | None = None
    ) -> bridge_pb2.Transfer:
        """The whole transfer; what it waits for is what its REFUND waits for, once it has one."""
        message, said = view.message, view.relayer
        shown = bridge_pb2.Transfer(
            id=view.transfer_id,
            revision=view.revision,
            state=_number(bridge_pb2.TransferState, f"TRANSFER_STATE_{view.state}"),
            terminal=view.terminal,
            funds_at=_number(bridge_pb2.FundsAt, f"FUNDS_AT_{view.funds_at}")
            or bridge_pb2.FUNDS_AT_UNKNOWN,
            steps=[self.step(step) for step in _steps(view)],
            kind=Kind(message.kind).name,
            source=self.chain(message.source),
            destination=self.chain(message.destination),
            symbol=self.symbol(message.asset),
            shares=message.amount,
            refund_to=self.address(message.source, message.refund_address),
            recipient=self.address(message.destination, message.recipient),
            message=message.pack(),
            created_at=timestamp(view.created_ms),
            updated_at=timestamp(view.updated_ms),
            refund_id=said.refund_id if said is not None else b"",
            refund_of=said.refund_of if said is not None else b"",
        )
        if view.state == "SEEN" and view.seen is not None:
            shown.blocks_to_final = view.seen.blocks_behind_final
        waiting = (_waiting(refund) if refund is not None else None) or _waiting(view)
        if waiting is not None:
            shown.waiting_for.CopyFrom(waiting)
        return shown

    def step(self, step: StepSeen) -> bridge_pb2.Step:
        """One step."""
        return bridge_pb2.Step(
            kind=step.kind,
            chain=step.chain,
            tx="" if step.tx is None else self.tx(step.tx),
            block=None if step.block is None else block_to_wire(step.block),
            at=timestamp(step.at_ms),
            note=step.note,
        )

    def coverage(self, item: Coverage) -> bridge_pb2.ChainCoverage:
        """How far one chain was read."""
        return bridge_pb2.ChainCoverage(
            chain=item.chain,
            name=self.chain(item.chain),
            through=block_to_wire(item.through),
            head_number=item.head_number,
            looked_at=timestamp(item.at_ms),
        )

    def halted(self, chain: Domain, halts: Sequence[GuardHalt], silent: Sequence[str]) -> str:
        """Why nothing is released from or to a chain, or that it is not known; "" when open.

        Releases need `threshold` guards: a halt of fewer than would prevent that stops nothing.
        """
        told: dict[str, str] = {}
        for halt in halts:
            if halt.chain in (None, chain):
                told.setdefault(halt.guard_id, halt.reason)
        if self._guards - len(told) - len(silent) >= self._threshold:
            return ""
        words = [f"{guard}: {reason}" for guard, reason in sorted(told.items())]
        words += [f"{guard}: not known, it does not answer" for guard in sorted(silent)]
        return "; ".join(words)

    def said(self, item: ChainSaid) -> bridge_pb2.LookupCoverage:
        """What one chain says about a query."""
        return bridge_pb2.LookupCoverage(
            chain=item.chain,
            verdict=_number(bridge_pb2.LookupVerdict, f"LOOKUP_VERDICT_{item.verdict}"),
            through=None if item.through is None else block_to_wire(item.through),
            at=timestamp(item.at_ms),
            blocks_to_final=item.blocks_to_final,
            probable_chain=item.probable_chain,
        )

    def supply(self, books: AssetBooks) -> bridge_pb2.AssetSupply:
        """One asset by one guard."""
        known = books.attestation_sequence != 0
        return bridge_pb2.AssetSupply(
            asset=books.asset,
            symbol=self.symbol(books.asset),
            guard_id=books.guard_id,
            chains=[_supply_on(chain) for chain in books.chains],
            in_flight=books.in_flight,
            orphaned=books.orphaned,
            open_issuance=books.open_issuance,
            unpaid_redemption=books.unpaid_redemption,
            exposure=books.exposure,
            cap=books.cap,
            excluded=books.excluded,
            attestation_sequence=books.attestation_sequence,
            attestation_as_of=timestamp(books.attestation_as_of * 1000) if known else None,
            exposure_displayed=displayed_decimal(books.exposure, books.multiplier) if known else "",
            multiplier=displayed_decimal(10**8, books.multiplier) if known else "",
            halted=books.halted,
        )


def built_to_wire(built: BuiltBurn) -> bridge_pb2.BuildBurnResponse:
    """A burn to sign; the payload document becomes the family's own field."""
    document = json.loads(built.burn.payload)
    response = bridge_pb2.BuildBurnResponse(
        request_id=built.request_id,
        expires_at=timestamp(built.burn.expires * 1000),
        effects=list(built.burn.effects),
        checks=[
            bridge_pb2.Check(
                name=check.name,
                outcome=bridge_pb2.CHECK_OUTCOME_PASS,
                text=check.found,
                remedy=check.remedy,
            )
            for check in built.checks
        ],
        shares=built.shares,
        displayed=built.displayed,
    )
    _fill_family(response, document)
    return response


def _fill_family(response: bridge_pb2.BuildBurnResponse, document: dict[str, Any]) -> None:
    """The payload's keys are the names of its family's own fields, its bytes are hexadecimal."""
    family = document["family"]
    if family not in {field.name for field in response.DESCRIPTOR.oneofs_by_name["burn"].fields}:
        raise ValueError(f"no field of BuildBurnResponse carries family {family!r}")
    _fill(getattr(response, family), document)


def _fill(message: Message, document: Mapping[str, Any]) -> None:
    for field in message.DESCRIPTOR.fields:
        value = document[field.name]
        if field.type == field.TYPE_MESSAGE:
            for part in value:
                _fill(getattr(message, field.name).add(), part)
        elif field.type == field.TYPE_BYTES:
            setattr(message, field.name, bytes.fromhex(value.removeprefix("0x")))
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, str(value))
        else:
            setattr(message, field.name, int(value))


def _number(enum: Any, name: str) -> Any:
    """The value of a name, 0 for one that this version does not know (F93): a newer relayer's
    word must not take a whole answer down."""
    value = enum.DESCRIPTOR.values_by_name.get(name)
    return 0 if value is None else value.number


def _steps(view: TransferView) -> list[StepSeen]:
    """The relayer's steps, or what the watcher knows before the relayer has spoken."""
    if view.relayer is not None:
        return list(view.relayer.steps)
    steps = []
    if view.final is not None:
        place = view.final.place
        chain = int(view.message.source)
        steps.append(StepSeen("FINAL", chain, place.tx, place.block, view.updated_ms, ""))
    elif view.seen is not None:
        note = "gone from the chain before it was final" if view.seen.vanished else "not final yet"
        chain = int(view.message.source)
        steps.append(StepSeen("BURN", chain, view.seen.tx, None, view.seen.at_ms, note))
    return steps


def _waiting(view: TransferView) -> bridge_pb2.WaitingFor | None:
    if view.relayer is None or not view.relayer.reason:
        return None
    said = view.relayer
    text, action = explain_wait(said.reason) or (said.reason, "")
    return bridge_pb2.WaitingFor(
        reason=said.reason,
        text=text,
        until=timestamp(said.until * 1000) if said.until else None,
        who=_number(bridge_pb2.Who, f"WHO_{said.who or 'NOBODY'}"),
        action=action,
    )


def _supply_on(chain: ChainBooks) -> bridge_pb2.SupplyOnChain:
    return bridge_pb2.SupplyOnChain(
        chain=chain.chain,
        shares=chain.ledger,
        booked_through=None
        if chain.booked_through is None
        else block_to_wire(chain.booked_through),
        reading="" if chain.reading is None else str(chain.reading),
        decimals=chain.decimals,
        reading_block=_block(chain.reading_block),
        ledger_at_reading=chain.ledger_at_reading,
    )


def _block(block: BlockRef | None) -> common_pb2.BlockRef | None:
    return None if block is None else block_to_wire(block)
