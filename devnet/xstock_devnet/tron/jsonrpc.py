"""Tron's Ethereum-style JSON-RPC: reads only, with the refusals that java-tron has.

State is asked at `latest` alone (which is pending state on the full node), blocks and logs also at
`finalized` and `earliest`; nothing can be sent. The solidity side ends at the solid head.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from xstock_devnet.tron import model, protobuf
from xstock_devnet.tron.address import SIZE, from_evm, to_evm
from xstock_devnet.tron.chain import TronChain
from xstock_devnet.tron.evm import Call, Execution
from xstock_devnet.tron.model import Block, Executed
from xstock_devnet.tron.wallet import Side

Json = dict[str, Any]
Params = list[Any]

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
FAILED, NO_MATCH = -32000, -32001
BLOOM = "0x" + "00" * 256
ZERO_WORD = "0x" + "00" * 32
NONCE = "0x0000000000000000"
CALL_FIELDS = frozenset(
    {*("from", "to", "gas", "gasPrice", "value", "data", "nonce"), *("maxFeePerGas", "type")}
)
ERROR_SELECTOR = bytes.fromhex("08c379a0")
UNAVAILABLE = frozenset(
    {
        *("eth_sendRawTransaction", "eth_sendTransaction", "eth_sign", "eth_getTransactionCount"),
        *("eth_submitWork", "eth_coinbase", "eth_getUncleByBlockHashAndIndex"),
    }
)


class RpcError(Exception):
    """An answer with `error`; java-tron puts an empty `data` beside most of them."""

    def __init__(self, code: int, message: str, *, data: Any = "{}", keep_id: bool = True) -> None:
        self.code = code
        self.message = message
        self.data = data
        self.keep_id = keep_id
        super().__init__(message)


class JsonRpc:
    """Answers /jsonrpc for one chain."""

    def __init__(self, chain: TronChain) -> None:
        self._chain = chain

    async def answer(self, text: str, side: Side) -> Any:
        """Return the answer to a request or a batch of them."""
        try:
            request = json.loads(text)
        except ValueError:
            return _error(None, RpcError(PARSE_ERROR, "JSON parse error", data=None, keep_id=False))
        if isinstance(request, list):
            return [await self._one(each, side) for each in request]
        return await self._one(request, side)

    async def _one(self, request: Mapping[str, Any], side: Side) -> Json:
        name = str(request.get("method", ""))
        try:
            method = getattr(self, f"rpc_{name}", None)
            if name in UNAVAILABLE:
                why = f"the method {name} does not exist/is not available"
                raise RpcError(NO_METHOD, why)
            if method is None:
                raise RpcError(NO_METHOD, "method not found", data=None)
            call: Callable[[Params, Side], Awaitable[Any]] = method
            result = await call(list(request.get("params", [])), side)
        except RpcError as error:
            return _error(request.get("id"), error)
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}

    async def rpc_eth_chainId(self, _: Params, __: Side) -> str:  # noqa: N802 - the wire's name
        """Return the genesis id's last four bytes."""
        return hex(int.from_bytes(self._chain.blocks[0].id[-4:], "big"))

    async def rpc_net_version(self, params: Params, side: Side) -> str:
        """Return the chain id, in hex as java-tron does."""
        return await self.rpc_eth_chainId(params, side)

    async def rpc_web3_clientVersion(self, _: Params, __: Side) -> str:  # noqa: N802
        """Fail as the recorded build did."""
        name = "java.lang.IllegalStateException"
        data = {"exceptionTypeName": name, "message": "No match found"}
        raise RpcError(NO_MATCH, "No match found", data=data)

    async def rpc_eth_syncing(self, _: Params, __: Side) -> bool:
        """Return false: there are no peers to catch up with."""
        return False

    async def rpc_eth_gasPrice(self, _: Params, __: Side) -> str:  # noqa: N802
        """Return the price of energy in sun."""
        return hex(model.ENERGY_PRICE_SUN)

    async def rpc_eth_blockNumber(self, _: Params, side: Side) -> str:  # noqa: N802
        """Return the side's head."""
        return hex(side.head(self._chain).number)

    async def rpc_eth_getBlockByNumber(self, params: Params, side: Side) -> Json | None:  # noqa: N802
        """Return a block, None past the head."""
        block = side.block(self._chain, self._number(str(params[0]), side))
        return None if block is None else block_json(block, full=bool(params[1]))

    async def rpc_eth_getBlockByHash(self, params: Params, side: Side) -> Json | None:  # noqa: N802
        """Return a block by its id."""
        block = self._by_id(str(params[0]), side)
        return None if block is None else block_json(block, full=bool(params[1]))

    async def rpc_eth_getUncleCountByBlockNumber(self, _: Params, __: Side) -> str:  # noqa: N802
        """Return none."""
        return "0x0"

    async def rpc_eth_getTransactionByHash(self, params: Params, side: Side) -> Json | None:  # noqa: N802
        """Return a transaction, also a pending one on the full node's side."""
        found = self._find(str(params[0]), side)
        return None if found is None else transaction_json(found[0], found[1])

    async def rpc_eth_getTransactionReceipt(self, params: Params, side: Side) -> Json | None:  # noqa: N802
        """Return a receipt, None while pending or not known."""
        found = self._find(str(params[0]), side)
        if found is None or found[1] is None:
            return None
        return receipt_json(found[0], found[1])

    def _find(self, text: str, side: Side) -> tuple[Executed, Block | None] | None:
        found = self._chain.find(_bytes(text))
        if found is None or not side.solid:
            return found
        block = found[1]
        return found if block is not None and block.number <= self._chain.solid_number else None

    async def rpc_eth_getLogs(self, params: Params, side: Side) -> list[Json]:  # noqa: N802
        """Return logs of a block, or of a range up to the side's head."""
        wanted = params[0]
        addresses = _addresses(wanted.get("address"))
        topics = wanted.get("topics") or []
        if "blockHash" in wanted:
            block = self._by_id(str(wanted["blockHash"]), side)
            blocks = [] if block is None else [block]
        else:
            blocks = self._range(wanted, side)
        return [
            log
            for block in blocks
            for log in block_logs(block)
            if (not addresses or log["address"] in addresses) and _topics_match(topics, log)
        ]

    def _range(self, wanted: Mapping[str, Any], side: Side) -> list[Block]:
        start = self._number(str(wanted.get("fromBlock", "latest")), side)
        end = self._number(str(wanted.get("toBlock", "latest")), side)
        head = side.head(self._chain).number
        if start > end:
            if wanted.get("toBlock", "latest") == "latest":
                return []
            raise RpcError(BAD_PARAMS, "please verify: fromBlock <= toBlock")
        return self._chain.blocks[max(start, 1) : min(end, head) + 1]

    def _number(self, text: str, side: Side) -> int:
        if text == "latest":
            return side.head(self._chain).number
        if text == "finalized":
            return self._chain.solid_number
        if text == "earliest":
            return 0
        if text == "pending":
            raise RpcError(BAD_PARAMS, "TAG pending not supported")
        try:
            if not text.startswith("0x"):
                raise ValueError
            return int(text, 16)
        except ValueError:
            raise RpcError(BAD_PARAMS, "Incorrect hex syntax") from None

    def _by_id(self, text: str, side: Side) -> Block | None:
        identity = _bytes(text)
        block = side.block(self._chain, int.from_bytes(identity[:8], "big"))
        return block if block is not None and block.id == identity else None

    async def rpc_eth_call(self, params: Params, side: Side) -> str:
        """Return what a call returns in the latest state."""
        execution = await self._simulate(params, side)
        if not execution.succeeded:
            raise RpcError(FAILED, _failure(execution))
        return "0x" + execution.output.hex()

    async def rpc_eth_estimateGas(self, params: Params, side: Side) -> str:  # noqa: N802
        """Return the energy that a call uses in the latest state."""
        execution = await self._simulate([params[0], "latest"], side)
        if not execution.succeeded:
            raise RpcError(FAILED, _failure(execution))
        return hex(execution.energy)

    async def _simulate(self, params: Params, side: Side) -> Execution:
        request = params[0]
        if not isinstance(request, dict) or not request.keys() <= CALL_FIELDS:
            raise RpcError(PARSE_ERROR, "JSON parse error", data=None, keep_id=False)
        _latest_only(params[1])
        sender = _address(str(request.get("from") or "0x" + "00" * 20))
        to = _address(str(request["to"])) if request.get("to") else b""
        value = int(str(request.get("value") or "0x0"), 16)
        call = Call(sender, to, _bytes(str(request.get("data") or "0x")), value)
        async with self._chain.lock:
            at = side.height(self._chain)
            if to and not await self._chain.evm.code(to, at):
                raise RpcError(INVALID_REQUEST, "Smart contract is not exist.")
            return await self._chain.evm.simulate(call, self._chain.next_second(), at=at)

    async def rpc_eth_getBalance(self, params: Params, side: Side) -> str:  # noqa: N802
        """Return sun."""
        _latest_only(params[1])
        async with self._chain.lock:
            at = side.height(self._chain)
            return hex(await self._chain.evm.balance(_address(str(params[0])), at))

    async def rpc_eth_getCode(self, params: Params, side: Side) -> str:  # noqa: N802
        """Return a contract's runtime code."""
        _latest_only(params[1])
        async with self._chain.lock:
            at = side.height(self._chain)
            return "0x" + (await self._chain.evm.code(_address(str(params[0])), at)).hex()

    async def rpc_eth_getStorageAt(self, params: Params, side: Side) -> str:  # noqa: N802
        """Return a word of a contract's storage."""
        _latest_only(params[2])
        slot = int(str(params[1]), 16)
        async with self._chain.lock:
            at = side.height(self._chain)
            word = await self._chain.evm.storage(_address(str(params[0])), slot, at)
        return "0x" + word.hex()


def _error(identity: Any, error: RpcError) -> Json:
    shown: Json = {"code": error.code, "message": error.message}
    if error.data is not None:
        shown["data"] = error.data
    kept = identity if error.keep_id else "null"
    return {"jsonrpc": "2.0", "id": kept, "error": shown}


def _latest_only(tag: Any) -> None:
    if tag == "latest":
        return
    if tag in ("earliest", "pending", "finalized"):
        raise RpcError(BAD_PARAMS, "TAG [earliest | pending | finalized] not supported")
    if str(tag).startswith("0x"):
        raise RpcError(BAD_PARAMS, "QUANTITY not supported, just support TAG as latest")
    raise RpcError(BAD_PARAMS, "invalid block number")


def _failure(execution: Execution) -> str:
    if execution.status != "REVERT":
        return execution.status
    reason = _reason(execution.output)
    return f"REVERT opcode executed: {reason}" if reason else "REVERT opcode executed"


def _reason(output: bytes) -> str:
    if not output.startswith(ERROR_SELECTOR):
        return ""
    size = int.from_bytes(output[36:68], "big")
    return output[68 : 68 + size].decode(errors="replace")


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise RpcError(BAD_PARAMS, "Incorrect hex syntax") from None


def _address(text: str) -> bytes:
    data = _bytes(text)
    if len(data) == SIZE and data[:1] == b"\x41":
        return data
    if len(data) != SIZE - 1:
        raise RpcError(BAD_PARAMS, f"invalid address: {text}")
    return from_evm(text)


def _addresses(given: Any) -> frozenset[str]:
    texts = [given] if isinstance(given, str) else list(given or [])
    for text in texts:
        if len(_bytes(text)) != SIZE - 1:
            raise RpcError(BAD_PARAMS, f"invalid address: {text}")
    return frozenset(text.lower() for text in texts)


def _topics_match(wanted: list[Any], log: Json) -> bool:
    if len(wanted) > len(log["topics"]):
        return False
    pairs = zip(wanted, log["topics"], strict=False)
    return all(
        each is None or topic in ([each] if isinstance(each, str) else each)
        for each, topic in pairs
    )


def block_logs(block: Block) -> Iterator[Json]:
    """Yield a block's logs in order, counted over the block."""
    number = 0
    for index, executed in enumerate(block.executed):
        for log in executed.outcome.logs:
            yield {
                "address": "0x" + log["address"].hex(),
                "blockHash": "0x" + block.id.hex(),
                "blockNumber": hex(block.number),
                "data": "0x" + log["data"],
                "logIndex": hex(number),
                "removed": False,
                "topics": ["0x" + topic for topic in log["topics"]],
                "transactionHash": "0x" + executed.transaction.id.hex(),
                "transactionIndex": hex(index),
            }
            number += 1


def transaction_json(executed: Executed, block: Block | None) -> Json:
    """Return a transaction; what only inclusion tells is an empty 0x while it is pending."""
    transaction = executed.transaction
    value = transaction.value()
    signature = transaction.signatures[0] if transaction.signatures else bytes(65)
    recovery_id = signature[64] % 27
    sun = int(value.get("amount") or value.get("call_value") or 0)
    return {
        "blockHash": "0x" if block is None else "0x" + block.id.hex(),
        "blockNumber": "0x" if block is None else hex(block.number),
        "from": to_evm(value["owner_address"]),
        "gas": "0x0" if block is None else hex(executed.outcome.energy),
        "gasPrice": "0x" if block is None else hex(model.ENERGY_PRICE_SUN),
        "hash": "0x" + transaction.id.hex(),
        "input": "0x" + value.get("data", b"").hex(),
        "nonce": NONCE,
        "r": "0x" + signature[:32].hex(),
        "s": "0x" + signature[32:64].hex(),
        "to": _target(executed, value),
        "transactionIndex": "0x" if block is None else hex(block.executed.index(executed)),
        "type": "0x0",
        "v": hex(27 + recovery_id),
        "value": hex(sun),
    }


def _target(executed: Executed, value: Mapping[str, Any]) -> str | None:
    to = value.get("contract_address") or value.get("to_address")
    return to_evm(to or executed.outcome.contract_address) if to else None


def receipt_json(executed: Executed, block: Block) -> Json:
    """Return a receipt in Ethereum's shape; gas is energy."""
    index = block.executed.index(executed)
    txid = "0x" + executed.transaction.id.hex()
    outcome = executed.outcome
    creation = executed.transaction.contract_type == "CreateSmartContract"
    value = executed.transaction.value()
    return {
        "blockHash": "0x" + block.id.hex(),
        "blockNumber": hex(block.number),
        "contractAddress": to_evm(outcome.contract_address) if creation else None,
        "cumulativeGasUsed": hex(sum(each.outcome.energy for each in block.executed[: index + 1])),
        "effectiveGasPrice": hex(model.ENERGY_PRICE_SUN),
        "from": to_evm(value["owner_address"]),
        "gasUsed": hex(outcome.energy),
        "logs": [log for log in block_logs(block) if log["transactionHash"] == txid],
        "logsBloom": BLOOM,
        "status": "0x0" if outcome.failed else "0x1",
        "to": _target(executed, value),
        "transactionHash": txid,
        "transactionIndex": hex(index),
        "type": "0x0",
    }


def block_json(block: Block, *, full: bool) -> Json:
    """Return a block in Ethereum's shape, with whole transactions or their hashes."""
    encoded = protobuf.encode(
        "Block",
        {
            "transactions": [each.transaction.message for each in block.executed],
            "block_header": {"raw_data": block.header, "witness_signature": block.signature},
        },
    )
    genesis = block.number == 0
    return {
        "baseFeePerGas": "0x0",
        "difficulty": "0x0",
        "extraData": "0x",
        "gasLimit": hex(sum(each.transaction.fee_limit for each in block.executed)),
        "gasUsed": hex(sum(each.outcome.energy for each in block.executed)),
        "hash": "0x" + block.id.hex(),
        "logsBloom": BLOOM,
        "miner": "0x" + "00" * 20 if genesis else to_evm(block.header["witness_address"]),
        "mixHash": ZERO_WORD,
        "nonce": NONCE,
        "number": hex(block.number),
        "parentHash": "0x" + block.header["parentHash"].hex(),
        "receiptsRoot": ZERO_WORD,
        "sha3Uncles": ZERO_WORD,
        "size": hex(len(encoded)),
        "stateRoot": "0x",
        "timestamp": hex(block.timestamp_ms // 1000),
        "totalDifficulty": "0x0",
        "transactions": [
            transaction_json(each, block) if full else "0x" + each.transaction.id.hex()
            for each in block.executed
        ],
        "transactionsRoot": "0x" + block.header["txTrieRoot"].hex(),
        "uncles": [],
    }
