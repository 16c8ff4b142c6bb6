"""Puts a bridge on a Tron network: contracts, assets, token roles; then the registry entry.

May be stopped anywhere and started again: every transaction is signed and written to the state
file before it is sent. One that was written down is sent again as it was until its expiration
has passed in solid time; only then is another made, so nothing is created twice. A contract's
address follows from the creating transaction's id. What another key must do is yielded as
`waiting` with its call data. Knows no command line: it yields steps, the caller shows them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from xstock_chains.ports import DeployStep, PreparedTx, SendSlot, StepState
from xstock_chains.solidity.account import from_wire
from xstock_chains.solidity.deploying import (
    Action,
    DeployPlan,
    DeployState,
    asset_documents,
    blind_actions,
    chain_document,
    configuration,
    configuration_reads,
    creations,
)
from xstock_chains.tron.address import account_text, to_hex
from xstock_chains.tron.blocks import Block, landed, parse_block
from xstock_chains.tron.calls import Read, first_word, read_all
from xstock_chains.tron.chain import TronFacts
from xstock_chains.tron.codec import chain_id_of
from xstock_chains.tron.errors import (
    CallFault,
    broadcast_refused,
    call_refused,
    failure_reason,
    parse_call,
)
from xstock_chains.tron.fees import Prices, fee_limit, read_prices, with_margin
from xstock_chains.tron.frames import frame_after, frame_text, read_heads
from xstock_chains.tron.rpc import WALLET, TronRpc, hex_bytes, number_of, object_of
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.transaction import (
    Content,
    Create,
    Frame,
    RawTransaction,
    Transfer,
    Trigger,
    created_address,
    encode,
)
from xstock_core.ids import Address32
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

_TRIES: Final = 1200
_WAIT_SECONDS: Final = 0.1
_RESEND_EVERY_TRIES: Final = 50
_CREATION_ENERGY: Final = 8_000_000
"""Most energy to create one contract: 200 a byte of code, and its constructor."""
GAS_MONEY_SUN: Final = 5_000 * 10**6
"""What `fund` gives: about a hundred batches without staked energy."""


class TronDeployment:
    """`Deployment` of one network's contracts by a plan, step by step."""

    def __init__(
        self,
        plan: DeployPlan,
        rpc: TronRpc,
        signer: TronSigner,
        clock: Clock,
        state: DeployState,
    ) -> None:
        self.plan = plan
        self.bridge: bytes = b""
        self.tokens: dict[str, bytes] = {}
        self.waiting: list[str] = []
        self._rpc = rpc
        self._signer = signer
        self._clock = clock
        self._state = state
        self._facts = TronFacts(fee_limit_max=2**53)
        self._deployed_block = 0
        self._code_hash = b""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def run(self, *, dry_run: bool = False) -> AsyncIterator[DeployStep]:
        """Do what is missing, yielding each step; raises Fatal on another chain's state."""
        await self._check_chain()
        for token in self.plan.tokens:
            if token.token is not None:
                self.tokens[token.symbol] = token.token
        creating = [
            await self._with_creation_done(action)
            for action in creations(self.plan, self._signer.identity)
        ]
        async for step in self._wave(creating, dry_run=dry_run):
            yield step
        if dry_run and not self.bridge:
            for name in blind_actions(self.plan):
                yield DeployStep(name, StepState.PLANNED)
            return
        async for step in self._wave(await self._configuring(), dry_run=dry_run):
            yield step
        if not dry_run:
            await self._read_facts()

    async def _check_chain(self) -> None:
        genesis, _, _ = await read_heads(self._rpc)
        found, state = chain_id_of(genesis.id), self._state
        if found != self.plan.chain_id:
            text = f"{self._rpc.host} is network {found}, the plan is for {self.plan.chain_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": found})
        if state.genesis and state.genesis != genesis.id.hex():
            text = f"the state file is of the network {state.genesis}; use another"
            raise Fatal("WRONG_CHAIN", text, {"found": genesis.id.hex()})
        state.chain_id, state.genesis = found, genesis.id.hex()

    async def _with_creation_done(self, action: Action) -> Action:
        sent = self._state.sent.get(action.name)
        if sent is None:
            return action
        address = bytes.fromhex(sent["address"])
        if not await self._code(address):
            return action
        return Action(action.name, None, action.data, done=True)

    async def _code(self, address: bytes) -> bytes:
        answer = object_of(await self._rpc.wallet("getcontractinfo", value=to_hex(address)), "info")
        return hex_bytes(answer.get("runtimecode", ""), "runtimecode")

    async def _configuring(self) -> list[Action]:
        reads = configuration_reads(self.plan, self.bridge, self.tokens)
        answers = await read_all(self._rpc, WALLET, [Read(to, data) for to, data in reads])
        words = [first_word(answer) for answer in answers]
        found = [None if one is None else one.to_bytes(32, "big")[12:] for one in words]
        return configuration(self.plan, self._signer.identity, self.bridge, self.tokens, found)

    # ------------------------------------------------------------------ doing it

    async def _wave(self, actions: Sequence[Action], *, dry_run: bool) -> AsyncIterator[DeployStep]:
        for action in actions:
            if action.done:
                self._note_creation(action)
                yield DeployStep(action.name, StepState.ALREADY)
        ours = [
            action
            for action in actions
            if not action.done and action.owner in (None, self._signer.identity)
        ]
        for action in actions:
            if not action.done and action not in ours:
                yield self._for_somebody_else(action)
        if dry_run:
            for action in ours:
                yield DeployStep(action.name, StepState.PLANNED)
            return
        await self._send_all(ours)
        for action in ours:
            yield await self._await(action)

    def _for_somebody_else(self, action: Action) -> DeployStep:
        owner = "nobody known" if action.owner is None else account_text(action.owner)
        to = "" if action.to is None else account_text(action.to)
        self.waiting.append(action.name)
        detail = f"{owner} must send {action.data.hex()} to {to}"
        return DeployStep(action.name, StepState.WAITING, detail)

    async def _send_all(self, actions: Sequence[Action]) -> None:
        """Sign, write down, then send; what was written down before is sent again as it was,
        unless it can never land any more."""
        if not actions:
            return
        prices = await read_prices(self._rpc)
        _, solid, newest = await read_heads(self._rpc)
        frame = frame_after(solid, newest, self._facts)
        for action in actions:
            sent = self._state.sent.get(action.name)
            if sent is None or await self._dead(sent, solid):
                self._state.sent[action.name] = await self._signed(action, frame, prices)
        self._state.save()
        for action in actions:
            await self._send(action.name)

    async def _dead(self, sent: Mapping[str, Any], solid: Block) -> bool:
        if solid.time_ms < sent["expiration"]:
            return False
        return not object_of(
            await self._rpc.solid("gettransactioninfobyid", value=sent["hash"]), "info"
        )

    async def _signed(self, action: Action, frame: Frame, prices: Prices) -> dict[str, Any]:
        mine = self._signer.identity
        content: Content
        if action.to is None:
            content = Create(mine, action.data, action.name[:32])
            most = min(_CREATION_ENERGY * prices.energy, prices.fee_limit_max)
        else:
            content = Trigger(mine, action.to, action.data)
            energy = with_margin(await self._energy(action))
            most = fee_limit(action.name, energy, prices, self._facts)
        return await self._sealed(content, frame, most)

    async def _energy(self, action: Action) -> int:
        body = {
            "owner_address": to_hex(self._signer.identity),
            "contract_address": to_hex(action.to or b""),
            "data": action.data.hex(),
        }
        outcome = parse_call(await self._rpc.wallet("triggerconstantcontract", **body))
        if isinstance(outcome, CallFault):
            raise call_refused(action.name, outcome, self._rpc.host)
        return outcome.energy

    async def _sealed(self, content: Content, frame: Frame, most: int) -> dict[str, Any]:
        raw = encode(RawTransaction(frame, content, most))
        slot = SendSlot(self.plan.domain, self._signer.wire, frame_text(frame))
        prepared = PreparedTx(self.plan.domain, slot, raw, "", simulated=True)
        signed = await self._signer.sign_transaction(prepared)
        creates = isinstance(content, Create)
        address = created_address(signed.ref.id, content.owner) if creates else b""
        return {
            "raw": signed.raw.hex(),
            "hash": signed.ref.id.hex(),
            "expiration": frame.expiration_ms,
            "address": address.hex(),
        }

    async def _send(self, name: str) -> None:
        raw = self._state.sent[name]["raw"]
        answer = object_of(await self._rpc.wallet("broadcasthex", transaction=raw), "broadcasthex")
        refusal = broadcast_refused(answer, self._rpc.host)
        if refusal is not None and refusal.code != "SLOT_EXPIRED":
            raise refusal

    async def _await(self, action: Action) -> DeployStep:
        sent = self._state.sent[action.name]
        info = await self._landed(action.name, sent["hash"])
        if not landed(info):
            self._state.sent.pop(action.name)
            self._state.save()
            text = f"{action.name}: transaction {sent['hash']} failed: {failure_reason(info)}"
            raise InvalidMessage("DEPLOY_REVERTED", text, {"tx": sent["hash"]})
        self._note_creation(action)
        created = bytes.fromhex(sent["address"])
        detail = f"at {account_text(created)}" if created else ""
        return DeployStep(action.name, StepState.DONE, detail, sent["hash"])

    async def _landed(self, name: str, tx: str) -> Mapping[str, Any]:
        for number in range(1, _TRIES + 1):
            info = object_of(await self._rpc.wallet("gettransactioninfobyid", value=tx), "info")
            if info:
                return info
            if number % _RESEND_EVERY_TRIES == 0 and name in self._state.sent:
                await self._send(name)
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"{name}: {tx} is in no block yet; run the deployment again"
        raise Ambiguous("DEPLOY_PENDING", text, {"tx": tx})

    def _note_creation(self, action: Action) -> None:
        if action.to is not None:
            return
        address = bytes.fromhex(self._state.sent[action.name]["address"])
        if action.name == "bridge":
            self.bridge = address
        else:
            self.tokens[action.name.removeprefix("token ")] = address

    # ------------------------------------------------------------------ the registry entry

    async def _read_facts(self) -> None:
        sent = self._state.sent["bridge"]
        info = object_of(
            await self._rpc.wallet("gettransactioninfobyid", value=sent["hash"]), "info"
        )
        if not info:
            raise Transient("NODE_BEHIND", "the bridge's deployment is in no block yet; repeat")
        self._deployed_block = number_of(info.get("blockNumber"), "blockNumber")
        self._code_hash = keccak256(await self._code(self.bridge))

    def chain_entry(self) -> dict[str, Any]:
        """The chain's entry for the registry file, once `run` has ended."""
        bridge = account_text(self.bridge)
        return chain_document(
            self.plan, "tron", self._state.genesis, bridge, self._deployed_block, self._code_hash
        )

    def asset_entries(self) -> dict[str, dict[str, Any]]:
        """symbol -> this chain's deployment of the asset for the registry file."""
        texts = {symbol: account_text(token) for symbol, token in self.tokens.items()}
        return asset_documents(self.plan, texts)

    # ------------------------------------------------------------------ money for fees

    async def fund(self, accounts: Sequence[Address32]) -> int:
        """Give TRX to those of the accounts that have less than a tenth of what is given; how
        many were paid. A transfer also activates an account. Raises what a refusal means."""
        owners = [from_wire(account, "account") for account in accounts]
        poor = [owner for owner in owners if await self._balance(owner) < GAS_MONEY_SUN // 10]
        if not poor:
            return 0
        _, solid, newest = await read_heads(self._rpc)
        frame = frame_after(solid, newest, self._facts)
        for owner in poor:
            transfer = Transfer(self._signer.identity, owner, GAS_MONEY_SUN)
            paid = await self._sealed(transfer, frame, 0)
            answer = await self._rpc.wallet("broadcasthex", transaction=paid["raw"])
            refusal = broadcast_refused(object_of(answer, "broadcasthex"), self._rpc.host)
            if refusal is not None:
                raise refusal
            await self._landed(f"fund {account_text(owner)}", paid["hash"])
        return len(poor)

    async def _balance(self, owner: bytes) -> int:
        answer = object_of(await self._rpc.wallet("getaccount", address=to_hex(owner)), "account")
        return number_of(answer.get("balance"), "balance")


async def read_network_id(rpc: TronRpc) -> int:
    """The chain id that the network's contracts see; raises Transient, InvalidMessage."""
    genesis = parse_block(await rpc.wallet("getblockbynum", num=0))
    if genesis is None:
        raise rpc.behind("does not show its genesis block")
    return chain_id_of(genesis.id)
