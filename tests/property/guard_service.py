"""A guard with all of its service around it, for random histories over any memory.

The chains are fakes and the truth; the guard is the real one: real scans, reviews, signatures and
books, over the store it is given. The other two guards are as bad as can be: they sign whatever
they are asked, so the contract executes what this one guard signs. After every step the chains'
own history and the guard's books are asked for the promises of `xstock_core.invariants`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.services.supply_guard.world import (
    ASSET,
    GUARDS,
    OTHER,
    SHARE,
    World,
    id_of,
)
from xstock_chains.fake import FakeCodec
from xstock_chains.ports import GuardSignature
from xstock_core.amount import Shares
from xstock_core.ids import Domain, TransferId
from xstock_core.invariants import (
    InvariantId,
    at_most_once,
    chain_balances_kept,
    ensure,
    every_release_has_final_burn,
    same_content,
    within_cap,
)
from xstock_core.ledger import exposure
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import ReleaseFinal, TxRef
from xstock_core.policy import POLICIES, Policy
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, item_of, key_of
from xstock_core.signing import SIGNING_POLICIES
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, SubmittedClaim
from xstock_supply_guard.ports import GuardStore

HELD = 120 * SHARE
ISSUED = 100 * SHARE


@dataclass
class GuardService:
    """The world, and what a relayer has in its hands."""

    store: GuardStore
    review_policies: Sequence[Policy] = POLICIES
    signing_policies: Sequence[Policy] = SIGNING_POLICIES
    burns: list[TxRef] = field(default_factory=list)
    orders: dict[int, SubmittedClaim] = field(default_factory=dict)
    known: dict[ExecutionKey, TransferMessage] = field(default_factory=dict)
    granted: dict[TransferId, TransferMessage] = field(default_factory=dict)
    held: int = HELD
    attested: int = 1
    burned: int = 0

    def __post_init__(self) -> None:
        self.world = World(store=self.store)

    async def open(self) -> None:
        """Custody attests, and a first order puts shares on Ethereum."""
        await self.world.funded(ISSUED, held=self.held)
        first = self.world.order(1, ISSUED)
        self.known[key_of(first.message)] = first.message

    # what fate and holders do

    def burn(self, destination: Domain, amount: int) -> None:
        """A holder burns what it has on Ethereum; known to nobody before it is scanned."""
        if self.burned + amount > ISSUED:
            return
        self.burned += amount
        self.burns.append(self.world.burn(amount, destination=destination))
        message = self.world.burned(self.burns[-1]).message
        self.known[key_of(message)] = message

    async def attest(self, held: int) -> None:
        """Custody says that it holds this much now."""
        self.attested += 1
        self.held = held
        await self.world.attest(held, sequence=self.attested)

    async def restart(self) -> None:
        """The guard's process dies and starts again over the same memory."""
        self.world.desk = self.world.new_desk()
        await self.world.scan()

    # what a relayer asks

    async def claim(self, pick: int, *, more: int = 0, away: bool = False) -> SubmittedClaim:
        """A burn's claim; perhaps of another amount or for another recipient."""
        claim = self.world.claim(self.burns[pick % len(self.burns)])
        message = claim.message
        recipient = GUARDS[2].address if away else message.recipient
        amount = Shares(message.amount + more)
        message = replace(message, amount=amount, recipient=recipient)
        return replace(claim, message=message)

    async def order(self, number: int, amount: int, destination: Domain) -> SubmittedClaim:
        """The issuer's order of this number: there is one of each."""
        if number not in self.orders:
            made = self.world.order(number, amount, destination=destination)
            self.orders[number] = made
            self.known[key_of(made.message)] = made.message
        return self.orders[number]

    async def review(self, claims: Sequence[SubmittedClaim]) -> None:
        """Ask for verdicts; a grant is remembered, and measured against the cap."""
        rulings = await review_transfers(self.world.desk, claims, self.review_policies)
        for claim, ruling in zip(claims, rulings, strict=True):
            transfer_id = id_of(claim.message)
            if ruling.outcome is Outcome.GRANTED and transfer_id not in self.granted:
                self.granted[transfer_id] = claim.message
                if claim.message.kind is Kind.ISSUE:
                    await self._ensure_covered("granted an order")

    async def sign_and_execute(self, message: TransferMessage, action: Action) -> None:
        """Ask this guard for its signature; with a bad guard's, the contract runs the batch."""
        world = self.world
        request = world.request([message], action=action)
        answer = await sign_release(world.desk, request, self.signing_policies)
        if not answer.signature:
            return
        if action is Action.RELEASE:
            await self._ensure_covered("signed a release")
        batch = ReleaseBatch(
            message.destination,
            request.bridge,
            request.epoch,
            request.deadline,
            (item_of(message, action),),
        )
        accomplice = GUARDS[1]
        signatures = [
            GuardSignature(answer.signer, answer.signature),
            GuardSignature(
                accomplice.identity, await accomplice.sign_digest(FakeCodec().digest(batch))
            ),
        ]
        with suppress(InvalidMessage):  # the contract refuses: done already, or too late
            await world.submit(batch, signatures, world.chains[message.destination])

    # the promises

    async def _ensure_covered(self, what: str) -> None:
        async with self.store.read() as books:
            used = exposure(await books.balances([ASSET]), ASSET)
        limit = self.held
        covered = within_cap(Kind.TRANSFER, used, 0, limit)
        ensure(covered, InvariantId.CAP, f"{what} at exposure {used} of {limit}")

    def releases(self) -> list[ReleaseFinal]:
        """Every mint that any chain has executed, final or not."""
        found: list[ReleaseFinal] = []
        for chain in self.world.chains.values():
            for number in range(chain.head.number + 1):
                block = chain.block(number)
                assert block is not None
                found += [one for one in block.observations if isinstance(one, ReleaseFinal)]
        return found

    async def check(self) -> None:
        """The chains' history, and the books."""
        done = self.releases()
        keys = [ExecutionKey(one.destination, one.source, one.nonce) for one in done]
        ensure(
            every_release_has_final_burn(keys, self.known.keys()),
            InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
            f"{len(done)} releases",
        )
        ensure(at_most_once(keys), InvariantId.AT_MOST_ONCE, f"{len(done)} releases")
        for key, one in zip(keys, done, strict=True):
            same = same_content(one, self.known[key])
            ensure(same, InvariantId.SAME_CONTENT, f"released {one.amount}")
        async with self.store.read() as books:
            balances = await books.balances([ASSET, OTHER])
        ensure(not sum(balances.values()), InvariantId.CONSERVATION, f"{balances}")
        ensure(chain_balances_kept(balances), InvariantId.CHAIN_BALANCE, f"{balances}")
