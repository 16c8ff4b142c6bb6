"""What a person does with the bridge, step by step: order issuance, send, wait, look.

The demonstration, the commands and the end-to-end tests share these hands, so each of them does
exactly what the others do. Every wait ends: with what was waited for in a TimeoutError.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from xstock_chains.ports import BurnRequest, Holder
from xstock_chains.profiles import parse_address
from xstock_chains.registry import Registry
from xstock_chains.text import show_tx
from xstock_cli.bridge import Bridge, Holders, Sent, document_of
from xstock_cli.follow import Follower, OnChange
from xstock_cli.requests import signed_request
from xstock_cli.settings import Place
from xstock_core.amount import parse_share_decimal
from xstock_core.ids import Address32, Domain, InvalidId
from xstock_core.ids import parse_address as core_address
from xstock_core.message import Kind
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.errors import Fatal, Transient
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import bridge_pb2, papers_pb2

RELEASED: Final = bridge_pb2.TRANSFER_STATE_RELEASED
ORDER_SECONDS: Final = 600
CUSTODY: Final = "custody"
_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Hands:
    """Connections to one deployment; use as an async context manager."""

    place: Place
    registry: Registry
    changed: OnChange | None = None
    patience: float = 1.0
    """Every wait is this much longer: chains of others are slower than ours."""
    clock: Clock = field(default_factory=SystemClock)
    bridge: Bridge = field(init=False)
    holders: Holders = field(init=False)
    follower: Follower = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        """Connect, and follow every transfer from its newest revision on."""
        self.bridge = Bridge(
            self.place.need_gateway(), tls=self.place.tls, identity=self.place.identity
        )
        self.holders = Holders(self.registry, self.place.nodes)
        self.follower = Follower(self.bridge, self.clock, changed=self.changed)
        for part in (self.bridge, self.holders, self.follower):
            await self._stack.enter_async_context(part)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        await self._stack.aclose()

    # ------------------------------------------------------------------ who

    def holder(self, chain: str, key: str) -> Holder:
        """The holder with this key (name or path) on this chain."""
        return self.holders.on(chain, self.place.key_file(key))

    # ------------------------------------------------------------------ issuance

    async def guards_ready(self, *, seconds: float = 60) -> None:
        """Wait until every guard may sign, has an attestation of every asset, and all are open."""

        async def ready() -> bool:
            for target in self.place.need_guards().values():
                books = await self.bridge.ledger(target)
                ready = all(one.attestation_sequence and one.open for one in books.assets)
                if not books.signing or not ready:
                    return False
            return True

        await self.poll(ready, seconds=seconds, waiting_for="every guard to be ready to sign")

    async def next_order_number(self, symbol: str) -> int:
        """The number after the last order that any guard has booked for this asset."""
        asset = self.registry.asset(symbol).id
        last = 0
        for target in self.place.need_guards().values():
            books = await self.bridge.ledger(target, [asset])
            last = max([last, *(book.last_order_number for book in books.assets)])
        return last + 1

    async def order(
        self,
        symbol: str,
        number: int,
        chain: str,
        units: int,
        *,
        recipient: bytes,
        key: PaperKey,
        seconds: int = ORDER_SECONDS,
    ) -> bytes:
        """Sign an issuance order of `units` (10^-8 share) and hand it in; its transfer id."""
        order = papers_pb2.IssueOrder(
            asset=self.registry.asset(symbol).id,
            order_number=number,
            destination=self.registry.chain(chain).domain,
            recipient=recipient,
            amount=units,
            expires=self.clock.unix_ms() // 1000 + seconds,
        )
        answer = await self.bridge.submit_order(
            self.place.need_relayer(), order, key, self.registry.deployment_id
        )
        return bytes(answer.transfer_id)

    # ------------------------------------------------------------------ transfers

    async def send(
        self,
        holder: Holder,
        source: str,
        destination: str,
        symbol: str,
        amount: str,
        *,
        recipient: str,
    ) -> Sent:
        """Build, sign, send, and wait until the burn is in a block (not until it is final)."""
        built = await self.bridge.build(
            holder,
            source=source,
            destination=destination,
            symbol=symbol,
            amount=amount,
            recipient=recipient,
        )
        wanted = self.wanted(holder, source, destination, symbol, amount, recipient=recipient)
        return await self.send_built(holder, built, wanted)

    def wanted(
        self,
        holder: Holder,
        source: str,
        destination: str,
        symbol: str,
        amount: str,
        *,
        recipient: str,
        refund_to: str = "",
    ) -> BurnRequest:
        """What the holder asked for, from their own words and registry, not from an answer.

        SECURITY: the bytes that a gateway built are signed only if they do exactly this.
        """
        registry, redeem = self.registry, destination == CUSTODY
        refund = parse_address(registry, source, refund_to) if refund_to else holder.address
        return BurnRequest(
            message_kind=int(Kind.REDEEM if redeem else Kind.TRANSFER),
            source=registry.chain(source).domain,
            destination=Domain.CUSTODY if redeem else registry.chain(destination).domain,
            asset=registry.asset(symbol).id,
            sender=holder.address,
            recipient=_custody_account(recipient)
            if redeem
            else parse_address(registry, destination, recipient),
            refund_address=refund,
            amount=int(parse_share_decimal(amount)),
        )

    async def send_built(
        self, holder: Holder, built: bridge_pb2.BuildBurnResponse, wanted: BurnRequest
    ) -> Sent:
        """Sign and send what was built, if it does what is wanted.

        Raises Fatal BURN_NOT_AS_EXPECTED before anything is signed, and Fatal BURN_FAILED if the
        burn failed in its block.
        """
        source = self.registry.chain(wanted.source).name
        refs = await holder.send(document_of(built), wanted)

        async def mined() -> bool:
            included = await holder.included(refs[-1])
            if included is False:
                text = f"{source}: the burn {refs[-1].id.hex()} failed in its block; nothing moved"
                raise Fatal("BURN_FAILED", text, {"tx": refs[-1].id.hex()})
            return bool(included)

        await self.poll(mined, seconds=30, waiting_for=f"the burn to be in a block of {source}")
        redeem = wanted.destination is Domain.CUSTODY
        return Sent(
            built.request_id,
            source,
            CUSTODY if redeem else self.registry.chain(wanted.destination).name,
            self.registry.asset(wanted.asset).symbol,
            wanted.amount,
            refs[-1],
        )

    def tx_text(self, sent: Sent) -> str:
        """The burn's transaction in its chain's own text form."""
        return show_tx(self.registry.chain(sent.source).family, sent.tx)

    def transfer_of(self, sent: Sent) -> bridge_pb2.Transfer | None:
        """The transfer of a burn, once the bridge has seen it."""
        return self.follower.by_tx(self.tx_text(sent))

    def transfer(self, transfer_id: bytes) -> bridge_pb2.Transfer | None:
        """A transfer by its id, once the stream has shown it."""
        return self.follower.transfers.get(transfer_id)

    def state(self, transfer_id: bytes) -> int:
        """Its state's number; 0 before it was seen."""
        transfer = self.transfer(transfer_id)
        return 0 if transfer is None else int(transfer.state)

    def reason(self, transfer_id: bytes) -> str:
        """Why it waits; empty when it does not, or was not seen."""
        transfer = self.transfer(transfer_id)
        return "" if transfer is None else transfer.waiting_for.reason

    async def released(self, sent: Sent, *, seconds: float) -> None:
        """Wait until the transfer of this burn is released."""

        def done() -> bool:
            transfer = self.transfer_of(sent)
            return transfer is not None and transfer.state == RELEASED

        await self.until(
            done, seconds=seconds, waiting_for=f"{sent.source} → {sent.destination} to be released"
        )

    async def cancel(self, transfer_id: bytes, *, key: str, reason: str) -> bridge_pb2.Transfer:
        """The holder takes a held or parked transfer back; the transfer after the request."""
        asked = bridge_pb2.GetTransferRequest(transfer_id=transfer_id)
        before = (await self.bridge.ask("GetTransfer", asked)).transfer
        deployment, file = self.registry.deployment_id, self.place.key_file(key)
        paper = signed_request(before, file, deployment, reason, self.clock.unix_ms())
        request = bridge_pb2.CancelTransferRequest(transfer_id=transfer_id, request=paper)
        answer = await self.bridge.ask("CancelTransfer", request)
        after: bridge_pb2.Transfer = answer.transfer
        return after

    # ------------------------------------------------------------------ waiting

    async def until(
        self, condition: Callable[[], bool], *, seconds: float, waiting_for: str
    ) -> None:
        """Wait for something that the stream shows; raises TimeoutError that says for what."""
        await self.follower.until(
            condition, seconds=seconds * self.patience, waiting_for=waiting_for
        )

    async def poll(
        self, condition: Callable[[], Awaitable[bool]], *, seconds: float, waiting_for: str
    ) -> None:
        """Wait for something that must be asked for; raises TimeoutError that says for what."""
        seconds *= self.patience
        deadline = self.clock.monotonic() + seconds
        while True:
            try:
                if await condition():
                    return
            except Transient:
                pass
            if self.clock.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s for {waiting_for}")
            await self.clock.sleep(_POLL_SECONDS)


def hands_of_world(
    document: Mapping[str, object],
    registry: Registry,
    *,
    changed: OnChange | None = None,
    patience: float = 1.0,
) -> Hands:
    """Hands on a local world, by its own document (`World.document()`)."""
    return Hands(Place.of_world(document), registry, changed, patience)


def _custody_account(text: str) -> Address32:
    try:
        return core_address(bytes.fromhex(text.removeprefix("0x")), Domain.CUSTODY, "recipient")
    except ValueError:
        raise InvalidId("recipient", text, "for custody give 32 bytes in hex") from None
