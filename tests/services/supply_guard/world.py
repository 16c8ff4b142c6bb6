"""One guard over three fake chains in virtual time, with papers signed by real keys.

Papers go through the wire codec, releases are signed by this guard and by two others' keys and
executed on the chains, so that every fact a guard books comes from a chain. Nothing runs by
itself: a test says when blocks are made and when the guard looks.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from coincurve import PrivateKey

from xstock_chains.fake import (
    FakeChain,
    FakeCodec,
    FakeConfig,
    FakeNode,
    FakeReader,
    FakeSigner,
    FakeWriter,
    GuardSet,
)
from xstock_chains.ports import GuardSignature, ReleaseOrder
from xstock_chains.quorum import Quorum
from xstock_core.ids import Address32, AssetId, Domain, TransferId, asset_id
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, BurnFinal, TxRef
from xstock_core.release import Action, ReleaseBatch, item_of, sorted_items
from xstock_core.review import Route
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import ServiceError
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_supply_guard.handlers.attesting import Attested, submit_attestation
from xstock_supply_guard.handlers.audit import Audited, Auditor, audit_step
from xstock_supply_guard.handlers.desk import Desk, make_live
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.papers import order_message
from xstock_supply_guard.handlers.post import Booked
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.scan import Trouble, scan_step
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    AssetConfig,
    BelievedSupply,
    ChainConfig,
    GuardConfig,
    Outcome,
    PermitItem,
    PolicyConfig,
    Ruling,
    SignAnswer,
    SignRequest,
    SubmittedClaim,
    UnreadableClaim,
)
from xstock_supply_guard.ports import GuardStore
from xstock_wire.papers import ATTESTATION, ISSUE_ORDER, ISSUE_VOID, PaperKey
from xstock_wire.v1 import common_pb2, papers_pb2, supply_guard_pb2

DEPLOYMENT = "test"
SHARE = 10**8
ASSET: AssetId = asset_id("TSLAx", keccak256)
OTHER: AssetId = asset_id("AAPLx", keccak256)
CHAINS = (Domain.ETHEREUM, Domain.BNB, Domain.MANTLE)
HOLDER = FakeSigner(b"holder").address
RECIPIENT = FakeSigner(b"recipient").address
RELAYER = FakeSigner(b"relayer")
GUARDS = tuple(FakeSigner(f"guard-{n}".encode()) for n in (1, 2, 3))


def paper_key(name: str) -> PaperKey:
    """A key that signs papers under its name."""
    return PaperKey(name, PrivateKey(keccak256(b"test/paper/" + name.encode())))


ATTESTOR = paper_key("custodian-1")
ISSUER = paper_key("issuer-1")
STRANGER = paper_key("stranger")


def fake_config(domain: Domain) -> FakeConfig:
    """A chain without any supply: all of it comes through the guard."""
    guards = GuardSet(1, 2, frozenset(guard.identity for guard in GUARDS))
    return FakeConfig(domain, (ASSET, OTHER), guards)


def guard_config(policy: PolicyConfig, chains: Iterable[Domain] = CHAINS) -> GuardConfig:
    """The guard's configuration for these chains."""
    configs = {domain: fake_config(domain) for domain in chains}
    bridges = {domain: config.bridge for domain, config in configs.items()}
    places = [Domain.CUSTODY, *configs]
    return GuardConfig(
        guard_id="guard-1",
        deployment_id=DEPLOYMENT,
        chains={
            domain: ChainConfig(
                domain,
                domain.name.lower(),
                dict.fromkeys((ASSET, OTHER), bridge),
                frozenset({bridge}),
            )
            for domain, bridge in bridges.items()
        },
        assets={
            asset: AssetConfig(
                asset, symbol, dict.fromkeys(configs, 18), frozenset(bridges.items())
            )
            for asset, symbol in ((ASSET, "TSLAx"), (OTHER, "AAPLx"))
        },
        routes={
            (asset, start, end): Route()
            for asset in (ASSET, OTHER)
            for start in places
            for end in configs
            if start is not end
        },
        issuers={ISSUER.key_id: ISSUER.public_key},
        attestors={ATTESTOR.key_id: ATTESTOR.public_key},
        policy=policy,
        review_wait_seconds=0,
        fresh_key=True,
    )


@dataclass
class World:
    """The chains, one guard and its surroundings."""

    store: GuardStore = field(default_factory=MemoryGuardStore)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    clock: VirtualClock = field(default_factory=VirtualClock)
    providers: int = 3

    def __post_init__(self) -> None:
        self.chains = {domain: FakeChain(fake_config(domain), self.clock) for domain in CHAINS}
        self.nodes = {
            domain: [
                FakeNode(chain, self.clock, SeededRandomness(n), f"node-{n}")
                for n in range(self.providers)
            ]
            for domain, chain in self.chains.items()
        }
        self.readers = {
            domain: Quorum(
                [FakeReader(node) for node in nodes], self.providers // 2 + 1, clock=self.clock
            )
            for domain, nodes in self.nodes.items()
        }
        self.auditors = {domain: Auditor(domain, (ASSET, OTHER)) for domain in CHAINS}
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        """The desk of a guard that has just started over the same memory."""
        config = guard_config(self.policy)
        return Desk(
            config=config,
            store=self.store,
            clock=self.clock,
            live=make_live(config, self.clock),
            check_signature=signature_valid,
            codecs=dict.fromkeys(CHAINS, FakeCodec()),
            signers=dict.fromkeys(CHAINS, GUARDS[0]),
            epochs={domain: FakeWriter(nodes[0]) for domain, nodes in self.nodes.items()},
        )

    # papers

    @property
    def now(self) -> int:
        """Unix seconds."""
        return self.clock.unix_ms() // 1000

    async def attest(
        self,
        held: int,
        *,
        sequence: int = 1,
        age: int = 0,
        key: PaperKey = ATTESTOR,
        asset: AssetId = ASSET,
        multiplier: int = 10**18,
        epoch: int = 0,
    ) -> Attested:
        """Custody says that it holds this much."""
        paper = papers_pb2.Attestation(
            asset=asset,
            held_units=held,
            as_of=self.now - age,
            sequence=sequence,
            multiplier=str(multiplier),
            multiplier_epoch=epoch,
        )
        signed = key.sign(ATTESTATION, DEPLOYMENT, paper)
        said = wire.attestation_from_wire(signed, DEPLOYMENT)
        return await submit_attestation(self.desk, *said)

    def order(
        self,
        number: int,
        amount: int,
        *,
        destination: Domain = Domain.ETHEREUM,
        recipient: Address32 = HOLDER,
        life: int = 3600,
        key: PaperKey = ISSUER,
        asset: AssetId = ASSET,
    ) -> SubmittedClaim:
        """A signed order with the claim it makes."""
        paper = papers_pb2.IssueOrder(
            asset=asset,
            order_number=number,
            destination=destination,
            recipient=recipient,
            amount=amount,
            expires=self.now + life,
        )
        signed = key.sign(ISSUE_ORDER, DEPLOYMENT, paper)
        order = wire.order_from_wire(signed, DEPLOYMENT)
        known = replace(order.statement, key_id=ISSUER.key_id)
        message = order_message(self.desk, replace(order, statement=known))
        assert message is not None
        claim = supply_guard_pb2.Claim(message=message.pack(), order=signed)
        parsed = wire.claim_from_wire(claim, DEPLOYMENT)
        assert isinstance(parsed, SubmittedClaim)
        return parsed

    def void(self, number: int, key: PaperKey = ISSUER) -> common_pb2.SignedPaper:
        """The issuer withdraws an order."""
        paper = papers_pb2.IssueVoid(asset=ASSET, order_number=number)
        return key.sign(ISSUE_VOID, DEPLOYMENT, paper)

    # chains

    def mine(self, blocks: int = 3) -> None:
        """Blocks on every chain: enough to make what is there final."""
        for chain in self.chains.values():
            chain.mine(blocks)

    def burn(
        self,
        amount: int = SHARE,
        *,
        source: Domain = Domain.ETHEREUM,
        destination: Domain = Domain.BNB,
        asset: AssetId = ASSET,
    ) -> TxRef:
        """A holder burns; not final yet."""
        chain = self.chains[source]
        tx = chain.burn(HOLDER, asset, destination, RECIPIENT, amount)
        chain.mine()
        return tx

    def burned(self, tx: TxRef) -> BurnFinal:
        """What a burn's transaction says, whoever has seen it."""
        found = self.chains[tx.chain].find(tx.id)
        assert found is not None
        block = found[0]
        burns = [
            one
            for one in block.observations
            if isinstance(one, BurnFinal) and one.place.tx.id == tx.id
        ]
        return burns[0]

    def claim(self, tx: TxRef) -> SubmittedClaim:
        """The honest claim of a burn."""
        burn = self.burned(tx)
        return SubmittedClaim(burn.message, tx, burn.place.block.number)

    async def release(
        self, messages: Sequence[TransferMessage], action: Action = Action.RELEASE
    ) -> BlockRef:
        """Other guards' keys release (or cancel) these on their destination; not final yet."""
        destination = messages[0].destination
        chain = self.chains[destination]
        items = sorted_items([item_of(message, action) for message in messages])
        batch = ReleaseBatch(destination, chain.config.bridge, 1, chain.head.time + 600, items)
        return await self.execute(batch, GUARDS[1:])

    async def execute(self, batch: ReleaseBatch, guards: Sequence[FakeSigner]) -> BlockRef:
        """A batch signed by these guards, executed in a block."""
        chain = self.chains[batch.destination]
        digest = FakeCodec().digest(batch)
        signatures = [GuardSignature(g.identity, await g.sign_digest(digest)) for g in guards]
        return await self.submit(batch, signatures, chain)

    async def submit(
        self, batch: ReleaseBatch, signatures: Sequence[GuardSignature], chain: FakeChain
    ) -> BlockRef:
        """A signed batch, executed in a block."""
        order = ReleaseOrder(batch, tuple(sorted(signatures, key=lambda one: one.signer)))
        writer = FakeWriter(FakeNode(chain, self.clock, SeededRandomness(9)))
        slot = await writer.next_slot(RELAYER.address, ())
        prepared = await writer.prepare(order, slot)
        await writer.broadcast(await RELAYER.sign_transaction(prepared))
        return chain.mine()

    # the guard

    async def scan(self, *domains: Domain) -> list[Booked | Trouble]:
        """The guard looks at chains until it has read them."""
        done: list[Booked | Trouble] = []
        for domain in domains or CHAINS:
            while True:
                booked = await scan_step(self.desk, domain, self.readers[domain])
                done.append(booked)
                if not isinstance(booked, Booked) or not booked.more:
                    break
        await self.look_around()
        return done

    async def look_around(self) -> None:
        """The auditor has read every chain once, as it has long before anybody orders anything."""
        async with self.store.read() as books:
            known = {one.chain for one in await books.readings()}
        found = []
        for domain in CHAINS:
            if domain in known or domain not in self.desk.live.caught_up:
                continue
            with suppress(ServiceError):
                reading = await self.readers[domain].read_supply((ASSET, OTHER))
                async with self.store.read() as books:
                    held = await books.supply_at(domain, reading.block.number, (ASSET, OTHER))
                found += [
                    BelievedSupply(domain, reading.block, one, held.get(one.asset, 0))
                    for one in reading.supplies
                ]
        if found:
            async with self.store.write() as unit:
                await unit.save_readings(found)

    async def audit(self, domain: Domain) -> Audited:
        """One audit step of a chain."""
        return await audit_step(self.desk, self.auditors[domain], self.readers[domain])

    async def review(self, *claims: SubmittedClaim | UnreadableClaim) -> list[Ruling]:
        """The guard's rulings."""
        return await review_transfers(self.desk, claims)

    def request(
        self,
        messages: Sequence[TransferMessage],
        *,
        action: Action = Action.RELEASE,
        life: int = 600,
    ) -> SignRequest:
        """A batch of these, as the relayer would ask for it."""
        destination = messages[0].destination
        chain = self.chains[destination]
        return SignRequest(
            destination=destination,
            bridge=chain.config.bridge,
            epoch=1,
            deadline=chain.final.time + life,
            items=tuple(PermitItem(m.transfer_id(keccak256), action) for m in messages),
        )

    async def sign(self, *messages: TransferMessage) -> SignAnswer:
        """The guard signs a batch of these."""
        return await sign_release(self.desk, self.request(messages))

    async def halts(self) -> list[str]:
        """Why things are halted."""
        async with self.store.read() as books:
            return [halt.reason for halt in await books.halts()]

    async def outcome(self, claim: SubmittedClaim) -> tuple[Outcome, str]:
        """The ruling of one claim in short."""
        ruling = (await self.review(claim))[0]
        return ruling.outcome, ruling.reason

    # stories

    async def funded(self, amount: int = 100 * SHARE, *, held: int = 1000 * SHARE) -> None:
        """Custody attests, the issuer issues to the holder on Ethereum, all of it booked."""
        await begin(self.desk)
        self.mine()
        await self.scan()
        await self.attest(held)
        claim = self.order(1, amount)
        assert await self.outcome(claim) == (Outcome.GRANTED, "")
        await self.release([claim.message])
        self.mine()
        await self.scan()

    async def granted(self, amount: int = SHARE) -> TransferMessage:
        """A final burn that the guard has granted."""
        tx = self.burn(amount)
        self.mine()
        await self.scan()
        claim = self.claim(tx)
        assert await self.outcome(claim) == (Outcome.GRANTED, "")
        return claim.message


def id_of(message: TransferMessage) -> TransferId:
    """The transfer id."""
    return message.transfer_id(keccak256)
