"""Puts a bridge on an EVM chain: contracts, assets, token roles; then the registry entry.

May be stopped anywhere and started again: every transaction is signed and written to the state
file before it is sent, and every step first asks the chain whether it is done already. Steps
that depend on nothing go out together, so a deployment takes two blocks, not forty. A dry run
asks the chain, sends nothing and yields what it would do. What another key must do (the owner
of a token that exists already grants the roles) is yielded as `waiting` with its call data.
Knows no command line: it yields steps, the caller shows them.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from xstock_chains.evm.address import checksummed, from_wire
from xstock_chains.evm.errors import broadcast_refused, reverted
from xstock_chains.evm.heads import block_call, parse_header
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import DeployStep, PreparedTx, SendSlot, StepState
from xstock_chains.solidity.abi import hex_of, words
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
from xstock_core.ids import Address32
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

GAS_MONEY_WEI: Final = 10**18
_GAS_MAX: Final = 15_000_000
_RECEIPT_TRIES: Final = 1200
_RECEIPT_WAIT_SECONDS: Final = 0.1
_RESEND_EVERY_TRIES: Final = 50
_OVERTAKEN_MAX: Final = 3
"""How often in a row a node may call the nonce used and know no receipt: it may lag a little."""
_ONE: Final = 10**18


class EvmDeployment:
    """Deploys one chain's contracts by a plan, step by step."""

    def __init__(
        self, plan: DeployPlan, rpc: Rpc, signer: LocalSigner, clock: Clock, state: DeployState
    ) -> None:
        self.plan = plan
        self.bridge: bytes = b""
        self.tokens: dict[str, bytes] = {}
        self.waiting: list[str] = []
        self._rpc = rpc
        self._signer = signer
        self._clock = clock
        self._state = state
        self._deployed_block = 0
        self._code_hash = b""

    async def run(self, *, dry_run: bool = False) -> AsyncIterator[DeployStep]:
        """Do what is missing, yielding each step; raises Fatal on another chain's state."""
        await self._check_chain()
        async for step in self._wave(await self._creations(), dry_run=dry_run):
            yield step
        if dry_run and not await self._has_code(self.bridge):
            for action in blind_actions(self.plan):
                yield DeployStep(action, StepState.PLANNED)
            return
        async for step in self._wave(await self._configurations(), dry_run=dry_run):
            yield step
        if not dry_run:
            await self._read_facts()

    async def _check_chain(self) -> None:
        chain_id, raw = await self._rpc.batch([("eth_chainId", []), block_call(0)])
        found, genesis = quantity(chain_id, "eth_chainId"), parse_header(raw).hash.hex()
        state = self._state
        if found != self.plan.chain_id:
            text = f"{self._rpc.host} is chain {found}, the plan is for {self.plan.chain_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": found})
        if state.genesis and (state.chain_id, state.genesis) != (found, genesis):
            text = f"the state file is of chain {state.chain_id} 0x{state.genesis}; use another"
            raise Fatal("WRONG_CHAIN", text, {"found": genesis})
        state.chain_id, state.genesis = found, genesis

    # ------------------------------------------------------------------ what is to be done

    async def _creations(self) -> list[Action]:
        for token in self.plan.tokens:
            if token.token is not None:
                self.tokens[token.symbol] = token.token
        actions = creations(self.plan, self._signer.identity)
        return [await self._with_creation_done(action) for action in actions]

    async def _with_creation_done(self, action: Action) -> Action:
        sent = self._state.sent.get(action.name)
        if sent is None or not await self._has_code(bytes.fromhex(sent["address"])):
            return action
        return Action(action.name, None, action.data, done=True)

    async def _has_code(self, address: bytes) -> bool:
        if not address:
            return False
        code = await self._rpc.call("eth_getCode", hex_of(address), "latest")
        return len(data_of(code, "eth_getCode")) > 0

    async def _configurations(self) -> list[Action]:
        reads = configuration_reads(self.plan, self.bridge, self.tokens)
        calls = [eth_call(to, data, "latest") for to, data in reads]
        answers = await self._rpc.batch_settled(calls)
        found = [_address_or_none(answer) for answer in answers]
        return configuration(self.plan, self._signer.identity, self.bridge, self.tokens, found)

    # ------------------------------------------------------------------ doing it

    async def _wave(self, actions: Sequence[Action], *, dry_run: bool) -> AsyncIterator[DeployStep]:
        mine = self._signer.identity
        open_actions = [action for action in actions if not action.done]
        for action in actions:
            if action.done:
                self._note_creation(action)
                yield DeployStep(action.name, StepState.ALREADY)
        ours = [action for action in open_actions if action.owner in (None, mine)]
        for action in open_actions:
            if action not in ours:
                yield self._for_somebody_else(action)
        nonce = await self._nonce()
        if dry_run:
            for action in ours:
                if action.to is None:
                    self._created(action.name, create_address(mine, nonce))
                    nonce += 1
                yield DeployStep(action.name, StepState.PLANNED)
            return
        await self._send_all(ours, nonce)
        for action in ours:
            yield await self._await(action)

    def _for_somebody_else(self, action: Action) -> DeployStep:
        owner = "nobody known" if action.owner is None else checksummed(action.owner)
        to = "" if action.to is None else checksummed(action.to)
        self.waiting.append(action.name)
        detail = f"{owner} must send {hex_of(action.data)} to {to}"
        return DeployStep(action.name, StepState.WAITING, detail)

    async def _nonce(self) -> int:
        account = hex_of(self._signer.identity)
        return quantity(await self._rpc.call("eth_getTransactionCount", account, "latest"), "nonce")

    async def _send_all(self, actions: Sequence[Action], nonce: int) -> None:
        """Sign, write down, then send; what was written down before is sent again as it was."""
        if not actions:
            return
        fees = await self._fees()
        for action in actions:
            sent = self._state.sent.get(action.name)
            if sent is not None and sent["nonce"] >= nonce:
                continue
            free = max([nonce, *self._nonces_after()])
            self._state.sent[action.name] = await self._signed(action, free, fees)
        self._state.save()
        for action in actions:
            await self._send(action.name)

    async def _send(self, name: str) -> bool:
        """Broadcast; False if the nonce is used, by this very transaction or by another."""
        call: Call = ("eth_sendRawTransaction", [self._state.sent[name]["raw"]])
        (answer,) = await self._rpc.batch_settled([call])
        if not isinstance(answer, RpcFault):
            return True
        refusal = broadcast_refused(answer, self._rpc.host)
        if refusal is not None and refusal.code != "NONCE_USED":
            raise refusal
        return refusal is None

    def _nonces_after(self) -> list[int]:
        return [sent["nonce"] + 1 for sent in self._state.sent.values()]

    async def _fees(self) -> dict[str, int]:
        raw = await self._rpc.call("eth_getBlockByNumber", "latest", False)  # noqa: FBT003
        base = quantity(raw.get("baseFeePerGas", "0x0"), "baseFeePerGas")
        return {"maxFeePerGas": 2 * base + 2 * 10**9, "maxPriorityFeePerGas": 10**9}

    async def _signed(self, action: Action, nonce: int, fees: Mapping[str, int]) -> dict[str, Any]:
        mine = self._signer.identity
        call = {"from": hex_of(mine), "data": hex_of(action.data)}
        if action.to is not None:
            call["to"] = hex_of(action.to)
        (answer,) = await self._rpc.batch_settled([("eth_estimateGas", [call])])
        if isinstance(answer, RpcFault):
            raise reverted(action.name, answer)
        gas = min(quantity(answer, "eth_estimateGas") * 13 // 10, _GAS_MAX)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.plan.chain_id,
            "nonce": nonce,
            "from": checksummed(mine),
            "value": 0,
            "data": hex_of(action.data),
            "gas": gas,
            **fees,
        }
        if action.to is not None:
            fields["to"] = checksummed(action.to)
        domain = self.plan.domain
        slot = SendSlot(domain, self._signer.wire, str(nonce))
        prepared = PreparedTx(domain, slot, json.dumps(fields).encode(), "", simulated=True)
        signed = await self._signer.sign_transaction(prepared)
        address = create_address(mine, nonce) if action.to is None else b""
        return {
            "raw": hex_of(signed.raw),
            "hash": hex_of(signed.ref.id),
            "nonce": nonce,
            "address": address.hex(),
        }

    async def _await(self, action: Action) -> DeployStep:
        sent = self._state.sent[action.name]
        receipt = await self._landed(action.name, sent)
        if quantity(receipt["status"], "status") != 1:
            self._state.sent.pop(action.name)
            self._state.save()
            text = f"{action.name}: transaction {sent['hash']} failed; see its trace"
            raise InvalidMessage("DEPLOY_REVERTED", text, {"tx": sent["hash"]})
        self._note_creation(action)
        created = bytes.fromhex(sent["address"])
        detail = f"at {checksummed(created)}" if created else ""
        return DeployStep(action.name, StepState.DONE, detail, sent["hash"])

    async def _landed(self, name: str, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """The receipt; raises Ambiguous, and a second run then goes on from what the chain says."""
        overtaken = 0
        for number in range(1, _RECEIPT_TRIES + 1):
            receipt: Mapping[str, Any] | None = await self._rpc.call(
                "eth_getTransactionReceipt", sent["hash"]
            )
            if receipt is not None:
                return receipt
            if overtaken == _OVERTAKEN_MAX:
                text = (
                    f"{name}: another transaction of this account took nonce {sent['nonce']}; let"
                    " nobody else send with this key, then run the deployment again"
                )
                raise Ambiguous("NONCE_USED", text, {"tx": sent["hash"], "nonce": sent["nonce"]})
            if number % _RESEND_EVERY_TRIES == 0:
                overtaken = 0 if await self._send(name) else overtaken + 1
            await self._clock.sleep(_RECEIPT_WAIT_SECONDS)
        text = f"{name}: no receipt of {sent['hash']} yet; run the deployment again"
        raise Ambiguous("DEPLOY_PENDING", text, {"tx": sent["hash"], "nonce": sent["nonce"]})

    def _note_creation(self, action: Action) -> None:
        if action.to is None:
            self._created(action.name, bytes.fromhex(self._state.sent[action.name]["address"]))

    def _created(self, name: str, address: bytes) -> None:
        if name == "bridge":
            self.bridge = address
        else:
            self.tokens[name.removeprefix("token ")] = address

    # ------------------------------------------------------------------ the registry entry

    async def _read_facts(self) -> None:
        receipt, code = await self._rpc.batch(
            [
                ("eth_getTransactionReceipt", [self._state.sent["bridge"]["hash"]]),
                ("eth_getCode", [hex_of(self.bridge), "latest"]),
            ]
        )
        if receipt is None:
            raise Transient("NODE_BEHIND", "the bridge's deployment has no receipt yet; repeat")
        self._deployed_block = quantity(receipt["blockNumber"], "blockNumber")
        self._code_hash = keccak256(data_of(code, "eth_getCode"))

    async def fund(self, accounts: Sequence[Address32]) -> int:
        """Give a coin to those of the accounts that have less than a tenth of one; how many were
        paid. Raises Transient when a transfer does not land."""
        owners = [from_wire(account, "account") for account in accounts]
        asked: list[Call] = [("eth_getBalance", [hex_of(owner), "latest"]) for owner in owners]
        balances = await self._rpc.batch(asked)
        poor = [
            owner
            for owner, balance in zip(owners, balances, strict=True)
            if quantity(balance, "balance") < GAS_MONEY_WEI // 10
        ]
        if not poor:
            return 0
        answer = await self._rpc.call(
            "eth_getTransactionCount", hex_of(self._signer.identity), "latest"
        )
        nonce, fees = quantity(answer, "nonce"), await self._fees()
        hashes = [await self._pay(owner, nonce + index, fees) for index, owner in enumerate(poor)]
        for tx in hashes:
            for _ in range(_RECEIPT_TRIES):
                if await self._rpc.call("eth_getTransactionReceipt", tx) is not None:
                    break
                await self._clock.sleep(_RECEIPT_WAIT_SECONDS)
            else:
                raise Transient("NOT_FUNDED", f"{self.plan.chain}: transfer {tx} did not land")
        return len(poor)

    async def _pay(self, account: bytes, nonce: int, fees: Mapping[str, int]) -> str:
        fields = {
            "type": 2,
            "chainId": self.plan.chain_id,
            "nonce": nonce,
            "from": checksummed(self._signer.identity),
            "to": checksummed(account),
            "value": GAS_MONEY_WEI,
            "data": "0x",
            "gas": 21_000,
        }
        slot = SendSlot(self.plan.domain, self._signer.wire, str(nonce))
        payload = json.dumps(fields | dict(fees)).encode()
        prepared = PreparedTx(self.plan.domain, slot, payload, "", simulated=True)
        signed = await self._signer.sign_transaction(prepared)
        sent: str = await self._rpc.call("eth_sendRawTransaction", hex_of(signed.raw))
        return sent

    def chain_entry(self) -> dict[str, Any]:
        """The chain's entry for the registry file, once `run` has ended."""
        bridge = checksummed(self.bridge)
        return chain_document(
            self.plan, "evm", self._state.genesis, bridge, self._deployed_block, self._code_hash
        )

    def asset_entries(self) -> dict[str, dict[str, Any]]:
        """symbol -> this chain's deployment of the asset for the registry file."""
        texts = {symbol: checksummed(token) for symbol, token in self.tokens.items()}
        return asset_documents(self.plan, texts)


def create_address(sender: bytes, nonce: int) -> bytes:
    """The address of a contract created by `sender` with this nonce: keccak(rlp([s, n]))."""
    if nonce == 0:
        number = b"\x80"
    elif nonce < 0x80:
        number = bytes((nonce,))
    else:
        raw = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
        number = bytes((0x80 + len(raw),)) + raw
    content = b"\x94" + sender + number
    return keccak256(bytes((0xC0 + len(content),)) + content)[12:]


def _address_or_none(answer: Any) -> bytes | None:
    """The address in a call's answer; None where the call is refused or the contract lacks it."""
    if isinstance(answer, RpcFault):
        return None
    raw = data_of(answer, "address")
    return words(raw, 1, "address")[0].to_bytes(32, "big")[12:] if len(raw) >= 32 else None
