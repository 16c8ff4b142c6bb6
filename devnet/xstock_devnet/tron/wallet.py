"""The /wallet and /walletsolidity methods, as far as the bridge and its tools use them.

Each takes the request's JSON and the side it came in by, and returns JSON; what java-tron answers
with HTTP 200 and an error inside is an answer here too.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xstock_devnet.tron import model, protobuf, views
from xstock_devnet.tron.address import SIZE, from_base58, of_contract
from xstock_devnet.tron.chain import TronChain
from xstock_devnet.tron.evm import Call, Execution
from xstock_devnet.tron.execute import Refusal, failure_text, internal_of, logs_of
from xstock_devnet.tron.model import Block, Ledger, Transaction, transaction_of
from xstock_devnet.tron.parameters import CHAIN_PARAMETERS
from xstock_devnet.tron.protobuf import Message, ProtobufError
from xstock_devnet.tron.views import Json, text_or_hex, without_zeros

BLOCKS_MAX = 100
EXPIRATION_MS = 60_000
ESTIMATE_PRECISION_SUN = 1_000_000
ESTIMATE_FACTOR = 3
JAVA_VALIDATE = "class org.tron.core.exception.ContractValidateException : "
JAVA_PARSE = "class org.tron.core.services.http.JsonFormat$ParseException : 1:"
JAVA_PROGRAM = "class org.tron.core.vm.program.Program$"
HEX_DIGITS_OF_ADDRESS = 2 * SIZE
NODE_VERSION = "4.8.0"

Body = Mapping[str, Any]
Answer = Json | list[Json]


class JavaError(Exception):
    """What java-tron answers as {"Error": "class … : …"}."""


@dataclass(frozen=True, slots=True)
class Side:
    """One interface's view: the full node's includes pending state, the solidity one is final."""

    solid: bool

    def head(self, chain: TronChain) -> Block:
        """Return the latest block that this side shows."""
        return chain.solid if self.solid else chain.head

    def height(self, chain: TronChain) -> int | None:
        """Return the anvil height of its state, None for the pending one."""
        return chain.solid.ledger.height if self.solid else None

    def ledger(self, chain: TronChain) -> Ledger:
        """Return its accounts and contracts."""
        return chain.solid.ledger if self.solid else chain.ledger

    def block(self, chain: TronChain, number: int) -> Block | None:
        """Return a block up to its head."""
        return chain.blocks[number] if 0 <= number <= self.head(chain).number else None


FULL, SOLID = Side(solid=False), Side(solid=True)


def visible(body: Body) -> bool:
    """Whether addresses and texts are wanted readable."""
    return str(body.get("visible", "")).lower() == "true"


def address_in(body: Body, name: str) -> bytes:
    """Return an address field; raises JavaError as java-tron's parser puts it."""
    text = str(body.get(name, ""))
    try:
        return from_base58(text) if visible(body) else bytes.fromhex(text)
    except ValueError:
        compact = json.dumps(dict(body), separators=(",", ":"))
        raise JavaError(f"{JAVA_PARSE}{compact.find(text) + 1}: INVALID hex String") from None


class Wallet:
    """Answers the methods for one chain."""

    def __init__(self, chain: TronChain) -> None:
        self._chain = chain

    def methods(self) -> dict[str, Callable[[Body, Side], Awaitable[Answer]]]:
        """Return every method by its name in the path."""
        prefix = "rpc_"
        return {
            name.removeprefix(prefix): getattr(self, name)
            for name in dir(self)
            if name.startswith(prefix)
        }

    # blocks

    async def rpc_getnowblock(self, body: Body, side: Side) -> Answer:
        """Return the head."""
        return views.block_json(side.head(self._chain), visible=visible(body))

    async def rpc_getblock(self, body: Body, side: Side) -> Answer:
        """Return a block by number or id, the head by default, without transactions."""
        wanted = str(body.get("id_or_num", ""))
        detail = str(body.get("detail", "")).lower() == "true"
        block = self._by_text(wanted, side) if wanted else side.head(self._chain)
        if block is None:
            return {}
        return views.block_json(block, visible=visible(body), detail=detail)

    def _by_text(self, wanted: str, side: Side) -> Block | None:
        if wanted.isdigit() and len(wanted) < 2 * 32:
            return side.block(self._chain, int(wanted))
        return self._by_id(wanted, side)

    def _by_id(self, wanted: str, side: Side) -> Block | None:
        try:
            number = int(wanted[:16], 16)
        except ValueError:
            return None
        block = side.block(self._chain, number)
        return block if block is not None and block.id.hex() == wanted.lower() else None

    async def rpc_getblockbynum(self, body: Body, side: Side) -> Answer:
        """Return a block, {} past the side's head."""
        block = side.block(self._chain, int(body.get("num", 0)))
        return {} if block is None else views.block_json(block, visible=visible(body))

    async def rpc_getblockbyid(self, body: Body, side: Side) -> Answer:
        """Return a block by its id."""
        block = self._by_id(str(body.get("value", "")), side)
        return {} if block is None else views.block_json(block, visible=visible(body))

    async def rpc_getblockbylatestnum(self, body: Body, side: Side) -> Answer:
        """Return the last few blocks; {} for none or too many."""
        count = int(body.get("num", 0))
        if not 0 < count < BLOCKS_MAX:
            return {}
        head = side.head(self._chain).number
        return self._blocks(max(0, head - count + 1), head + 1, body, side)

    async def rpc_getblockbylimitnext(self, body: Body, side: Side) -> Answer:
        """Return blocks from startNum to before endNum; {} for a bad range or over 100."""
        start, end = int(body.get("startNum", 0)), int(body.get("endNum", 0))
        if start < 0 or end <= start or end - start > BLOCKS_MAX:
            return {}
        return self._blocks(start, end, body, side)

    def _blocks(self, start: int, end: int, body: Body, side: Side) -> Json:
        blocks = [self._chain_block(number, side) for number in range(start, end)]
        shown = [
            views.block_json(block, visible=visible(body)) for block in blocks if block is not None
        ]
        return without_zeros({"block": shown})

    def _chain_block(self, number: int, side: Side) -> Block | None:
        return side.block(self._chain, number)

    # transactions

    async def rpc_gettransactionbyid(self, body: Body, side: Side) -> Answer:
        """Return a transaction; the full node shows pending ones with a provisional result."""
        found = self._find(body, side)
        if found is None:
            return {}
        executed, _ = found
        return views.transaction_json(
            executed.transaction, visible=visible(body), status=executed.outcome.status
        )

    def _find(self, body: Body, side: Side) -> tuple[model.Executed, Block | None] | None:
        try:
            found = self._chain.find(bytes.fromhex(str(body.get("value", ""))))
        except ValueError:
            return None
        if found is None or not side.solid:
            return found
        block = found[1]
        return found if block is not None and block.number <= self._chain.solid_number else None

    async def rpc_gettransactioninfobyid(self, body: Body, side: Side) -> Answer:
        """Return what including a transaction did; {} while it is pending or not known."""
        found = self._find(body, side)
        if found is None or found[1] is None or not found[1].number:
            return {}
        return views.info_json(found[0], found[1], visible=visible(body))

    async def rpc_gettransactioninfobyblocknum(self, body: Body, side: Side) -> Answer:
        """Return the infos of a block, [] past the side's head."""
        block = side.block(self._chain, int(body.get("num", 0)))
        if block is None or not block.number:
            return []
        return [views.info_json(each, block, visible=visible(body)) for each in block.executed]

    async def rpc_gettransactioncountbyblocknum(self, body: Body, side: Side) -> Answer:
        """Return how many transactions a block has, -1 for one that is not there."""
        block = side.block(self._chain, int(body.get("num", 0)))
        return {"count": -1 if block is None else len(block.executed)}

    async def rpc_gettransactionfrompending(self, body: Body, side: Side) -> Answer:
        """Return a pending transaction."""
        found = self._find(body, side)
        if found is None or found[1] is not None:
            return {}
        return await self.rpc_gettransactionbyid(body, side)

    async def rpc_gettransactionlistfrompending(self, _: Body, __: Side) -> Answer:
        """Return the ids of pending transactions."""
        return {"txId": [each.transaction.id.hex() for each in self._chain.pending]}

    async def rpc_getpendingsize(self, _: Body, __: Side) -> Answer:
        """Return how many transactions are pending."""
        return {"pendingSize": len(self._chain.pending)}

    # broadcasting

    async def rpc_broadcasthex(self, body: Body, _: Side) -> Answer:
        """Accept a serialized transaction; messages are plain text here."""
        text = str(body.get("transaction", ""))
        try:
            data = bytes.fromhex(text)
        except ValueError:
            raise JavaError(
                "class org.bouncycastle.util.encoders.DecoderException : exception decoding Hex"
                " string: invalid characters encountered in Hex string"
            ) from None
        try:
            transaction = transaction_of(protobuf.decode("Transaction", data))
        except ProtobufError as error:
            raise JavaError(
                f"class com.google.protobuf.InvalidProtocolBufferException : {error}"
            ) from None
        code, message = await self._broadcast(transaction)
        return {
            "result": code == "SUCCESS",
            "code": code,
            "txid": transaction.id.hex(),
            "message": message,
            "transaction": views.protobuf_text(transaction),
        }

    async def rpc_broadcasttransaction(self, body: Body, _: Side) -> Answer:
        """Accept a transaction in JSON, built anew from raw_data; messages are hex here."""
        if "raw_data" not in body:
            raise JavaError(
                "class java.lang.NullPointerException : Cannot invoke"
                ' "com.alibaba.fastjson.JSONObject.getJSONArray(String)" because "rawData" is null'
            )
        transaction = transaction_of(_packed(body))
        code, message = await self._broadcast(transaction)
        txid = transaction.id.hex()
        if code == "SUCCESS":
            return {"result": True, "txid": txid}
        shown = text_or_hex(message, visible=visible(body))
        return {"code": code, "txid": txid, "message": shown}

    async def _broadcast(self, transaction: Transaction) -> tuple[str, str]:
        try:
            await self._chain.broadcast(transaction)
        except Refusal as refusal:
            return refusal.code, refusal.message
        return "SUCCESS", ""

    # calling contracts

    async def rpc_triggerconstantcontract(self, body: Body, side: Side) -> Answer:
        """Run a call, or a constructor where no contract is named, without keeping anything."""
        try:
            call, transaction = self._call(body, side, fee_limit=0)
        except JavaError as error:
            return _trigger_error("OTHER_ERROR", str(error), body)
        execution = await self._simulate(call, side)
        if execution is None:
            return _trigger_error("CONTRACT_VALIDATE_ERROR", "Smart contract is not exist.", body)
        if execution.status not in ("SUCCESS", "REVERT"):
            return _trigger_error("OTHER_ERROR", _java_failure(execution), body)
        reverted = not execution.succeeded
        result: Json = {"result": True}
        if reverted:
            result["message"] = text_or_hex("REVERT opcode executed", visible=visible(body))
        logs = views.call_logs_json(logs_of(execution.frame), visible=visible(body))
        inner = internal_of(transaction, execution)
        internal = [views.internal_json(each, visible=visible(body)) for each in inner]
        shown = views.transaction_json(transaction, visible=visible(body), say_visible=True)
        return {
            "result": result,
            "energy_used": execution.energy,
            "constant_result": [execution.output.hex()],
            **without_zeros({"logs": logs, "internal_transactions": internal}),
            "transaction": {"ret": [{"ret": "FAILED"} if reverted else {}], **shown},
        }

    async def _simulate(self, call: Call, side: Side) -> Execution | None:
        async with self._chain.lock:
            at = side.height(self._chain)
            if call.to and not await self._chain.evm.code(call.to, at):
                return None
            second = (
                self._chain.solid.timestamp_ms // 1000 if side.solid else self._chain.next_second()
            )
            return await self._chain.evm.simulate(call, second, at=at)

    async def rpc_estimateenergy(self, body: Body, side: Side) -> Answer:
        """Return an energy limit that is enough, up to 1 TRX too much."""
        try:
            call, _ = self._call(body, side, fee_limit=0)
        except JavaError as error:
            return _trigger_error("OTHER_ERROR", str(error), body)
        execution = await self._simulate(call, side)
        if execution is None:
            return _trigger_error("CONTRACT_VALIDATE_ERROR", "Smart contract is not exist.", body)
        if execution.status == "REVERT":
            return _trigger_error("CONTRACT_EXE_ERROR", "REVERT opcode executed", body)
        if not execution.succeeded:
            return _trigger_error("OTHER_ERROR", _java_failure(execution), body)
        return {"result": {"result": True}, "energy_required": estimated(execution.energy)}

    async def rpc_triggersmartcontract(self, body: Body, side: Side) -> Answer:
        """Build a contract call to be signed; nothing is executed."""
        try:
            call, transaction = self._call(body, side, fee_limit=int(body.get("fee_limit", 0)))
        except JavaError as error:
            return _trigger_error("OTHER_ERROR", str(error), body)
        async with self._chain.lock:
            exists = bool(call.to) and bool(await self._chain.evm.code(call.to))
        if not exists:
            why = "No contract or not a valid smart contract"
            return _trigger_error("CONTRACT_VALIDATE_ERROR", why, body)
        shown = views.transaction_json(transaction, visible=visible(body), say_visible=True)
        return {"result": {"result": True}, "transaction": shown}

    def _call(self, body: Body, side: Side, *, fee_limit: int) -> tuple[Call, Transaction]:
        owner = address_in(body, "owner_address")
        data = _call_data(body)
        value = int(body.get("call_value", 0))
        if not body.get("contract_address"):
            new = {
                "origin_address": owner,
                "bytecode": data,
                "call_value": value,
                "consume_user_resource_percent": 100,
                "origin_energy_limit": 1,
            }
            creation = {"owner_address": owner, "new_contract": new}
            transaction = self._unsigned("CreateSmartContract", creation, side, fee_limit)
            return Call(owner, b"", data, value), transaction
        contract = address_in(body, "contract_address")
        message = {"owner_address": owner, "contract_address": contract, "data": data}
        message |= without_zeros({"call_value": value})
        transaction = self._unsigned("TriggerSmartContract", message, side, fee_limit)
        return Call(owner, contract, data, value), transaction

    def _unsigned(self, name: str, value: Message, side: Side, fee_limit: int = 0) -> Transaction:
        """Return a transaction as java-tron builds it: solid reference, a minute after the head."""
        reference = self._chain.solid
        numbers = {text: number for number, text in protobuf.ENUMS["ContractType"].items()}
        parameter = {
            "type_url": protobuf.TYPE_URL + name,
            "value": protobuf.encode(name, value),
        }
        raw: Message = {
            "ref_block_bytes": reference.id[6:8],
            "ref_block_hash": reference.id[8:16],
            "expiration": side.head(self._chain).timestamp_ms + EXPIRATION_MS,
            "contract": [{"type": numbers[name], "parameter": parameter}],
            "timestamp": self._chain.now_ms(),
            "fee_limit": fee_limit,
        }
        return transaction_of({"raw_data": without_zeros(raw)})

    async def rpc_deploycontract(self, body: Body, side: Side) -> Answer:
        """Build a contract's creation to be signed."""
        owner = address_in(body, "owner_address")
        entries = json.loads(str(body.get("abi", "[]")) or "[]")
        new: Message = {
            "origin_address": owner,
            "abi": {"entrys": [_abi_entry(each) for each in entries]} if entries else {},
            "bytecode": bytes.fromhex(
                str(body.get("bytecode", "")) + str(body.get("parameter", ""))
            ),
            "call_value": int(body.get("call_value", 0)),
            "consume_user_resource_percent": int(body.get("consume_user_resource_percent", 0)),
            "name": str(body.get("name", "")),
            "origin_energy_limit": int(body.get("origin_energy_limit", 0)),
        }
        value = {"owner_address": owner, "new_contract": without_zeros(new)}
        transaction = self._unsigned(
            "CreateSmartContract", value, side, int(body.get("fee_limit", 0))
        )
        shown = views.transaction_json(transaction, visible=visible(body), say_visible=True)
        address = of_contract(transaction.id, owner)
        shown["contract_address"] = protobuf.show_address(address, visible=visible(body))
        return shown

    async def rpc_createtransaction(self, body: Body, side: Side) -> Answer:
        """Build a transfer of TRX to be signed."""
        owner, to = address_in(body, "owner_address"), address_in(body, "to_address")
        amount = int(body.get("amount", 0))
        async with self._chain.lock:
            balance = await self._chain.evm.balance(owner)
            known = await self._chain.executor.exists(self._chain.ledger, owner)
        if not known:
            raise JavaError(f"{JAVA_VALIDATE}Validate TransferContract error, no OwnerAccount.")
        if amount <= 0:
            raise JavaError(f"{JAVA_VALIDATE}Amount must be greater than 0.")
        if balance < amount:
            raise JavaError(
                f"{JAVA_VALIDATE}Validate TransferContract error, balance is not sufficient."
            )
        value = {"owner_address": owner, "to_address": to, "amount": amount}
        transaction = self._unsigned("TransferContract", value, side)
        return views.transaction_json(transaction, visible=visible(body), say_visible=True)

    # accounts and contracts

    async def rpc_getaccount(self, body: Body, side: Side) -> Answer:
        """Return an activated account with its sun, {} for any other."""
        address = address_in(body, "address")
        async with self._chain.lock:
            balance = await self._chain.evm.balance(address, side.height(self._chain))
        account = side.ledger(self._chain).accounts.get(address)
        if account is None and not balance:
            return {}
        shown = protobuf.show_address(address, visible=visible(body))
        return account_json(shown, balance, account or model.Account(0))

    async def rpc_getaccountresource(self, body: Body, side: Side) -> Answer:
        """Return free bandwidth; nothing is ever staked here."""
        net = await self.rpc_getaccountnet(body, side)
        return {**net, "TotalEnergyLimit": 50_000_000_000} if isinstance(net, dict) and net else {}

    async def rpc_getaccountnet(self, body: Body, side: Side) -> Answer:
        """Return free bandwidth."""
        address = address_in(body, "address")
        async with self._chain.lock:
            balance = await self._chain.evm.balance(address, side.height(self._chain))
        account = side.ledger(self._chain).accounts.get(address)
        if account is None and not balance:
            return {}
        used = 0 if account is None else account.free_net_at(self._chain.now_ms())
        return {
            **without_zeros({"freeNetUsed": used}),
            "freeNetLimit": model.FREE_BANDWIDTH,
            "TotalNetLimit": 43_200_000_000,
        }

    async def rpc_getcontract(self, body: Body, side: Side) -> Answer:
        """Return a contract that a transaction created."""
        contract = side.ledger(self._chain).contracts.get(address_in(body, "value"))
        return (
            {} if contract is None else views.contract_json(contract.message, visible=visible(body))
        )

    async def rpc_getcontractinfo(self, body: Body, side: Side) -> Answer:
        """Return a contract with the code that runs."""
        contract = side.ledger(self._chain).contracts.get(address_in(body, "value"))
        if contract is None:
            return {}
        return {
            "runtimecode": contract.runtime.hex(),
            "smart_contract": views.contract_json(contract.message, visible=visible(body)),
            "contract_state": {},
        }

    async def rpc_validateaddress(self, body: Body, _: Side) -> Answer:
        """Say whether a text is an address: T… or 41 and 40 hex digits."""
        text = str(body.get("address", ""))
        if len(text) == HEX_DIGITS_OF_ADDRESS and text.startswith("41"):
            return {"result": True, "message": "Hex string format"}
        try:
            from_base58(text)
        except ValueError:
            return {"result": False, "message": "Invalid address"}
        return {"result": True, "message": "Base58check format"}

    # the node and its prices

    async def rpc_getchainparameters(self, _: Body, __: Side) -> Answer:
        """Return what the recorded chain's parameters were."""
        return {
            "chainParameter": [
                {"key": key, **({"value": value} if value else {})}
                for key, value in CHAIN_PARAMETERS
            ]
        }

    async def rpc_getenergyprices(self, _: Body, __: Side) -> Answer:
        """Return the price of energy since the beginning."""
        return {"prices": f"0:{model.ENERGY_PRICE_SUN}"}

    async def rpc_getbandwidthprices(self, _: Body, __: Side) -> Answer:
        """Return the price of bandwidth since the beginning."""
        return {"prices": f"0:{model.BANDWIDTH_PRICE_SUN}"}

    async def rpc_getmemofee(self, _: Body, __: Side) -> Answer:
        """Return the price of a memo since the beginning."""
        return {"prices": f"0:{model.MEMO_FEE_SUN}"}

    async def rpc_getnodeinfo(self, _: Body, __: Side) -> Answer:
        """Return heads and version."""
        head, solid = self._chain.head, self._chain.solid
        return {
            "activeConnectCount": 0,
            "beginSyncNum": solid.number,
            "block": f"Num:{head.number},ID:{head.id.hex()}",
            "solidityBlock": f"Num:{solid.number},ID:{solid.id.hex()}",
            "currentConnectCount": 0,
            "configNodeInfo": {
                "codeVersion": NODE_VERSION,
                "p2pVersion": "333",
                "supportConstant": True,
            },
            "peerList": [],
        }

    async def rpc_listnodes(self, _: Body, __: Side) -> Answer:
        """Return no peers."""
        return {}

    async def rpc_listwitnesses(self, body: Body, _: Side) -> Answer:
        """Return who makes blocks."""
        return {
            "witnesses": [
                {
                    "address": protobuf.show_address(address, visible=visible(body)),
                    "voteCount": 100_000_000 + number,
                    "url": f"http://W{number}.local",
                    "isJobs": True,
                }
                for number, address in enumerate(self._chain.witnesses.addresses)
            ]
        }


def account_json(shown: str, balance: int, account: model.Account) -> Json:
    """Return an account as java-tron shows one with default permissions and nothing staked."""
    keys = [{"address": shown, "weight": 1}]
    resource = {
        "latest_consume_time_for_energy": account.energy_time_ms,
        "energy_window_size": 28_800,
    }
    active = {
        "type": "Active",
        "id": 2,
        "permission_name": "active",
        "threshold": 1,
        "operations": "7fff1fc0033e0100000000000000000000000000000000000000000000000000",
        "keys": keys,
    }
    fields = {
        "address": shown,
        "balance": balance,
        "create_time": account.create_time_ms,
        "latest_opration_time": account.operation_time_ms,
        "free_net_usage": account.free_net_used,
        "latest_consume_free_time": account.free_net_time_ms,
        "net_window_size": 28_800,
        "account_resource": without_zeros(resource),
        "owner_permission": {"permission_name": "owner", "threshold": 1, "keys": keys},
        "active_permission": [active],
        "frozenV2": [{}, {"type": "ENERGY"}, {"type": "TRON_POWER"}],
        "asset_optimized": True,
    }
    return without_zeros(fields)


def estimated(energy: int) -> int:
    """Return where java-tron's search for an energy limit ends, given what is really needed.

    It halves between the energy used and the fee limit until they are 1 TRX apart, and tries three
    times the lower end first (java-tron, `Wallet.estimateEnergy`).
    """
    low, high = energy * model.ENERGY_PRICE_SUN, model.FEE_LIMIT_MAX_SUN
    while low + ESTIMATE_PRECISION_SUN < high:
        far = low * ESTIMATE_FACTOR < high and high // low > ESTIMATE_FACTOR
        high = low * ESTIMATE_FACTOR if far else (low + high) // 2
    return high // model.ENERGY_PRICE_SUN


def _trigger_error(code: str, message: str, body: Body) -> Json:
    shown = text_or_hex(message, visible=visible(body))
    return {"result": {"code": code, "message": shown}}


def _java_failure(execution: Execution) -> str:
    names = {
        "OUT_OF_ENERGY": "OutOfEnergyException",
        "ILLEGAL_OPERATION": "IllegalOperationException",
        "BAD_JUMP_DESTINATION": "BadJumpDestinationException",
        "STACK_TOO_SMALL": "StackTooSmallException",
        "STACK_TOO_LARGE": "StackTooLargeException",
        "OUT_OF_MEMORY": "OutOfMemoryException",
    }
    name = names.get(execution.status, "BytecodeExecutionException")
    return f"{JAVA_PROGRAM}{name} : {failure_text(execution, execution.energy)}"


def _call_data(body: Body) -> bytes:
    selector = str(body.get("function_selector", ""))
    try:
        if selector:
            return views.selector_data(selector, str(body.get("parameter", "")))
        return bytes.fromhex(str(body.get("data", "")))
    except ValueError:
        raise JavaError(f"{JAVA_PARSE}1: INVALID hex String") from None


def _packed(body: Body) -> Message:
    """Return the transaction that JSON describes; a contract that does not parse is left out."""
    shown = visible(body)
    given = body["raw_data"]
    contracts: list[Message] = []
    for each in given.get("contract", []):
        try:
            parameter, name = each["parameter"], each["type"]
            value = protobuf.from_json(name, parameter["value"], visible=shown)
            packed = {"type_url": protobuf.TYPE_URL + name, "value": protobuf.encode(name, value)}
            contract = protobuf.from_json("Contract", {"type": name}, visible=shown)
            contracts.append({**contract, "parameter": packed})
        except (ProtobufError, KeyError):
            continue
    rest = {name: value for name, value in given.items() if name != "contract"}
    raw = protobuf.from_json("Raw", rest, visible=shown)
    signatures = [bytes.fromhex(text) for text in body.get("signature", [])]
    return {"raw_data": {**raw, "contract": contracts}, "signature": signatures}


def _abi_entry(entry: Mapping[str, Any]) -> Message:
    capital = {
        **entry,
        "type": str(entry.get("type", "function")).capitalize(),
        "stateMutability": str(entry.get("stateMutability", "")).capitalize(),
    }
    return protobuf.from_json("Entry", without_zeros(capital), visible=False)
