"""The supply-guards of a simulation: the service's own handlers over memory that survives.

A guard process may die between any two of its commits and starts again with nothing but its
store. `GuardLink` is the network between relayer and guard: calls fail, replies get lost, and
what leaves a guard is checked at that very moment.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType

from tests.simulation.dice import Crashed, Dice
from xstock_chains.fake import FakeCodec, FakeSigner
from xstock_chains.ports import ChainReader, ChainWriter
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.invariants import InvariantId, InvariantViolation
from xstock_core.ledger import exposure
from xstock_core.message import Kind
from xstock_core.policy import POLICIES, Policy
from xstock_core.refusal import GRANTED, REASONS, Disposition, Reason, Refused, Verdict
from xstock_core.release import Action, ReleaseBatch
from xstock_core.signing import SIGNING_POLICIES
from xstock_relayer.model import (
    GuardRefused,
    GuardSigned,
    GuardVerdict,
    SignedOrder,
    Transfer,
)
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.attesting import submit_attestation
from xstock_supply_guard.handlers.audit import Auditor, audit_step
from xstock_supply_guard.handlers.desk import Desk, make_live
from xstock_supply_guard.handlers.redemptions import submit_rejection
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.scan import scan_step
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    CancelPaper,
    GuardConfig,
    OrderPaper,
    Outcome,
    PermitItem,
    Ruling,
    SignedStatement,
    SignRequest,
    SubmittedClaim,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit, SignatureCheck

ISSUER_KEY = b"\x02" + b"\x11" * 32
ATTESTOR_KEY = b"\x03" + b"\x22" * 32
_DISPOSITIONS = {
    Outcome.HELD: Disposition.HOLD,
    Outcome.PARKED: Disposition.PARK,
    Outcome.REJECTED: Disposition.REJECT,
}


def seal(public_key: bytes, digest: bytes) -> bytes:
    """Stands for a signature over a paper; forging papers is tested elsewhere."""
    return sha256(b"seal" + public_key + digest).digest()


def sealed(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `seal` made it."""
    return signature == seal(public_key, digest)


def statement(kind: str, key_id: str, public_key: bytes, content: str) -> SignedStatement:
    """A signed paper with this content."""
    digest = sha256(content.encode()).digest()
    return SignedStatement(kind, content.encode(), digest, key_id, seal(public_key, digest))


def cancel_paper(transfer_id: TransferId, signed: SignedOrder) -> CancelPaper:
    """What a codec reads from a holder's request: here its paper is its expiry."""
    said = statement("cancel-request", signed.key_id, bytes.fromhex(signed.key_id), "")
    digest = sha256(transfer_id + signed.paper).digest()
    read = replace(said, paper=signed.paper, digest=digest, signature=signed.signature)
    return CancelPaper(transfer_id, int(signed.paper), read)


def holders_request(transfer_id: TransferId, expires: int, public_key: bytes) -> SignedOrder:
    """A request to cancel under this key."""
    paper = str(expires).encode()
    digest = sha256(transfer_id + paper).digest()
    sealed_by = seal(public_key, digest)
    return SignedOrder("cancel-request", paper, public_key.hex(), sealed_by)


class MortalStore(MemoryGuardStore):
    """A store whose process may die just before or just after a commit."""

    def __init__(self, dice: Dice) -> None:
        super().__init__()
        self.crash_percent = 0.0
        self._dice = dice

    @asynccontextmanager
    async def write(self) -> AsyncIterator[GuardUnit]:
        """A unit of work, as long as the process lives."""
        async with super().write() as unit:
            yield unit
            if self._dice.chance(self.crash_percent):
                raise Crashed("before the commit")
        if self._dice.chance(self.crash_percent):
            raise Crashed("after the commit")


@dataclass
class GuardProcess:
    """One guard: what survives a crash, and the desk that does not."""

    id: str
    config: GuardConfig
    clock: Clock
    store: MortalStore
    signer: FakeSigner
    readers: Mapping[Domain, ChainReader]
    epochs: Mapping[Domain, ChainWriter]
    policies: Sequence[Policy] = POLICIES
    signing_policies: Sequence[Policy] = SIGNING_POLICIES
    check_signature: SignatureCheck = sealed
    down: bool = False
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A fresh process over the same store."""
        codec = FakeCodec()
        self.desk = Desk(
            config=self.config,
            store=self.store,
            clock=self.clock,
            live=make_live(self.config, self.clock),
            check_signature=self.check_signature,
            codecs=dict.fromkeys(self.config.chains, codec),
            signers=dict.fromkeys(self.config.chains, self.signer),
            epochs=self.epochs,
        )
        assets = tuple(self.config.assets)
        self.auditors = {chain: Auditor(chain, assets) for chain in self.config.chains}

    async def scan(self, chain: Domain) -> None:
        """Book what is final, page by page; providers' failures are waited out."""
        while True:
            try:
                result = await scan_step(self.desk, chain, self.readers[chain])
            except (Transient, Ambiguous) as error:
                self.troubles.append(error.code)
                return
            if not getattr(result, "more", False):
                return

    async def audit(self, chain: Domain) -> None:
        """Compare the chain's own supply with the books."""
        try:
            await audit_step(self.desk, self.auditors[chain], self.readers[chain])
        except (Transient, Ambiguous) as error:
            self.troubles.append(error.code)

    async def attest(
        self,
        attestation: Attestation,
        key: bytes = ATTESTOR_KEY,
        paid: Sequence[TransferId] = (),
    ) -> None:
        """Custody states what it holds and what it has paid out, sealed with this key."""
        paper = statement("attestation", "custodian", key, repr((attestation, paid)))
        await submit_attestation(self.desk, attestation, paper, tuple(paid))

    async def reject(self, redemption: TransferId) -> None:
        """Custody refuses to pay a redemption."""
        paper = statement("redemption-rejection", "custodian", ATTESTOR_KEY, redemption.hex())
        await submit_rejection(self.desk, redemption, "the account is not known", paper)

    async def reads(self) -> GuardReads:
        """The committed books."""
        async with self.store.read() as books:
            return books


@dataclass
class Network:
    """How calls to guards fail; percentages."""

    fail_percent: float = 0.0
    lost_reply_percent: float = 0.0


@dataclass
class GuardLink:
    """The relayer's way to one guard."""

    process: GuardProcess
    dice: Dice
    network: Network
    orders: Mapping[bytes, OrderPaper]
    """Issuers' papers by their bytes: what a codec would parse."""
    restart: list[GuardProcess]
    """Guards that died while they were asked; the supervisor starts them again."""

    @property
    def id(self) -> str:
        """The guard's name."""
        return self.process.id

    async def review(self, transfers: Sequence[Transfer]) -> Sequence[GuardVerdict]:
        """Ask for verdicts."""
        self._call()
        claims = [self._claim(transfer) for transfer in transfers]
        try:
            rulings = await review_transfers(self.process.desk, claims, self.process.policies)
        except Crashed:
            self._died()
        self._reply()
        return [_verdict(ruling) for ruling in rulings]

    async def sign(
        self,
        batch: ReleaseBatch,
        transfer_ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder] = MappingProxyType({}),
    ) -> GuardSigned | GuardRefused:
        """Ask for a signature, and check that the guard may give it now."""
        self._call()
        items = tuple(
            PermitItem(key, item.action)
            for key, item in zip(transfer_ids, batch.items, strict=True)
        )
        request = SignRequest(
            batch.destination,
            batch.bridge,
            batch.epoch,
            batch.deadline,
            items,
            cancels=tuple(cancel_paper(key, papers[key]) for key in transfer_ids if key in papers),
        )
        try:
            answer = await sign_release(self.process.desk, request, self.process.signing_policies)
        except Crashed:
            self._died()
        if answer.signature and batch.items[0].action is Action.RELEASE:
            await self._check_cap({item.asset for item in batch.items})
        self._reply()
        if answer.refusals:
            return GuardRefused(tuple(_verdict(ruling) for ruling in answer.refusals))
        return GuardSigned(answer.signer, answer.signature)

    async def _check_cap(self, assets: set[AssetId]) -> None:
        """INV-04: at the moment a signature leaves, the guard's own exposure is covered."""
        books = await self.process.reads()
        balances = await books.balances(assets)
        attested = await books.attestations(assets)
        for asset in assets:
            limit = attested[asset].attestation.cap(self.process.config.policy.margin_bps)
            used = exposure(balances, asset)
            if used > limit:
                raise InvariantViolation(InvariantId.CAP, f"{self.id} signed at {used} > {limit}")

    def _claim(self, transfer: Transfer) -> SubmittedClaim:
        message = transfer.state.message
        assert message is not None
        issued = transfer.order is not None and message.kind is Kind.ISSUE
        order = self.orders[transfer.order.paper] if issued and transfer.order else None
        place = next(iter(transfer.state.burns), None)
        if place is None:
            return SubmittedClaim(message, order=order)
        return SubmittedClaim(message, place.tx, place.block.number, order)

    def _call(self) -> None:
        if self.process.down or self.dice.chance(self.network.fail_percent):
            raise Transient("UNAVAILABLE", f"{self.id} does not answer")

    def _reply(self) -> None:
        if self.dice.chance(self.network.lost_reply_percent):
            raise Ambiguous("DEADLINE_EXCEEDED", f"the reply of {self.id} was lost")

    def _died(self) -> None:
        self.restart.append(self.process)
        self.process.down = True
        raise Ambiguous("UNAVAILABLE", f"{self.id} died while it was asked")


def _verdict(ruling: Ruling) -> GuardVerdict:
    return GuardVerdict(ruling.transfer_id, _said(ruling), ruling.sequence)


def _said(ruling: Ruling) -> Verdict:
    if ruling.outcome is Outcome.GRANTED:
        return GRANTED
    reason = Reason(ruling.reason)
    disposition = _DISPOSITIONS.get(ruling.outcome, REASONS[reason].disposition)
    return Refused(reason, disposition, ruling.until or None, dict(ruling.detail))


def issue_paper(
    asset: AssetId,
    number: int,
    destination: Domain,
    recipient: Address32,
    amount: int,
    expires: int,
) -> OrderPaper:
    """An issuer's order."""
    content = f"{asset.hex()}|{number}|{int(destination)}|{recipient.hex()}|{amount}|{expires}"
    paper = statement("order", "issuer", ISSUER_KEY, content)
    return OrderPaper(asset, number, destination, recipient, amount, expires, paper)
