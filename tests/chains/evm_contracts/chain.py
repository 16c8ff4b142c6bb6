"""A local EVM node and contracts on it, spoken to in raw JSON-RPC.

Raw and synchronous on purpose: these tests make thousands of calls and judge the contracts,
so nothing of our own adapters (and no SDK's habits) may stand between them and the chain.
"""

import http.client
import json
import platform
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

ROOT = Path(__file__).resolve().parents[3]
ARTIFACTS = ROOT / "libs/xstock_chains/solidity/artifacts"
TRANSACTION_GAS = 15_000_000

Abi = list[dict[str, Any]]


def anvil_binary() -> Path:
    """The native binary that npm installed for this machine."""
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    name = f"anvil-{platform.system().lower()}-{machine}"
    return ROOT / "node_modules/@foundry-rs" / name / "bin/anvil"


class Reverted(Exception):
    """A call was refused by a contract; `data` is what it said."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"reverted with 0x{data.hex()}")
        self.data = data


class RpcFailed(Exception):
    """The node refused the request itself."""


class Rpc:
    """One kept-alive connection to a node."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        reply = json.loads(self._connection.getresponse().read())
        if "error" not in reply:
            return reply["result"]
        data = reply["error"].get("data")
        if isinstance(data, str) and data.startswith("0x"):
            raise Reverted(bytes.fromhex(data[2:]))
        raise RpcFailed(f"{method}: {reply['error']}")

    def now(self) -> int:
        """Unix seconds of the latest block."""
        return int(self("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def advance(self, seconds: int) -> None:
        """Mine one block that much later."""
        self("evm_setNextBlockTimestamp", self.now() + seconds)
        self("evm_mine")


@contextmanager
def running_anvil(*options: str) -> Iterator[Rpc]:
    """An anvil of our own on a free port, gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(anvil_binary()), "--port", str(port), "--silent", "--auto-impersonate", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _connect(process, port)
    finally:
        process.terminate()
        process.wait(10)


def _connect(process: "subprocess.Popen[bytes]", port: int) -> Rpc:
    for _ in range(200):
        if process.poll() is not None:
            raise RpcFailed(f"anvil ended with code {process.returncode}")
        try:
            rpc = Rpc(port)
            rpc("eth_chainId")
        except OSError:
            time.sleep(0.05)
        else:
            return rpc
    raise RpcFailed("anvil did not answer within 10 seconds")


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log."""

    address: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did."""

    ok: bool
    gas_used: int
    block: int
    raw_logs: list[dict[str, Any]]


def artifact(name: str) -> dict[str, Any]:
    """The committed compiler output of a contract."""
    loaded: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return loaded


def _type(parameter: dict[str, Any]) -> str:
    return str(parameter["type"])


def _signature(item: dict[str, Any]) -> str:
    return f"{item['name']}({','.join(_type(p) for p in item['inputs'])})"


def _plain(value: Any) -> Any:
    """Lower-case addresses and plain tuples, so that values compare with ==."""
    return value.lower() if isinstance(value, str) else value


class Contract:
    """A deployed contract and its ABI."""

    def __init__(self, rpc: Rpc, address: str, abi: Abi) -> None:
        self.rpc = rpc
        self.address = address.lower()
        self.abi = abi
        self._functions = {i["name"]: i for i in abi if i["type"] == "function"}
        self._events = {keccak(text=_signature(i)): i for i in abi if i["type"] == "event"}

    def at(self, rpc: Rpc, address: str) -> "Contract":
        """The same ABI at another place."""
        return Contract(rpc, address, self.abi)

    def calldata(self, name: str, *args: Any) -> str:
        """0x-prefixed call data."""
        item = self._functions[name]
        packed = encode([_type(p) for p in item["inputs"]], args)
        return "0x" + (keccak(text=_signature(item))[:4] + packed).hex()

    def call(self, name: str, *args: Any, sender: str | None = None, block: str = "latest") -> Any:
        """The single result, or a tuple of results; raises Reverted."""
        request = {"to": self.address, "data": self.calldata(name, *args)}
        if sender is not None:
            request["from"] = sender
        returned = bytes.fromhex(self.rpc("eth_call", request, block)[2:])
        outputs = self._functions[name]["outputs"]
        values = tuple(_plain(v) for v in decode([_type(p) for p in outputs], returned))
        return values[0] if len(values) == 1 else values

    def send(self, name: str, *args: Any, sender: str, gas: int = TRANSACTION_GAS) -> Receipt:
        """Send and mine; a failed transaction is a Receipt with ok False."""
        return send_raw(self.rpc, self.address, self.calldata(name, *args), sender, gas)

    def must(self, name: str, *args: Any, sender: str, gas: int = TRANSACTION_GAS) -> Receipt:
        """Send, and raise Reverted with the contract's reason unless it succeeds."""
        receipt = self.send(name, *args, sender=sender, gas=gas)
        if not receipt.ok:
            request = {"to": self.address, "data": self.calldata(name, *args), "from": sender}
            self.rpc("eth_call", {**request, "gas": hex(gas)}, "latest")
            raise AssertionError(f"{name} failed in a block and passes as a call")
        return receipt

    def events(self, receipt: Receipt, name: str | None = None) -> list[Event]:
        """This contract's own logs in a receipt, decoded."""
        found = [self._decode(log) for log in receipt.raw_logs if log["address"] == self.address]
        return [event for event in found if name is None or event.name == name]

    def topic(self, name: str) -> bytes:
        """The first topic of an event."""
        return next(topic for topic, item in self._events.items() if item["name"] == name)

    def _decode(self, log: dict[str, Any]) -> Event:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        item = self._events[topics[0]]
        indexed = [p for p in item["inputs"] if p["indexed"]]
        plain = [p for p in item["inputs"] if not p["indexed"]]
        values = decode([_type(p) for p in plain], bytes.fromhex(log["data"][2:]))
        args = {p["name"]: _plain(v) for p, v in zip(plain, values, strict=True)}
        for parameter, topic in zip(indexed, topics[1:], strict=True):
            args[parameter["name"]] = _plain(decode([_type(parameter)], topic)[0])
        return Event(log["address"], item["name"], args)


def send_raw(rpc: Rpc, to: str | None, data: str, sender: str, gas: int) -> Receipt:
    """One transaction from an unlocked or impersonated account, mined."""
    request = {"from": sender, "data": data, "gas": hex(gas)}
    if to is not None:
        request["to"] = to
    receipt = _mined(rpc, request)
    logs = receipt["logs"]
    ok = receipt["status"] == "0x1"
    return Receipt(ok, int(receipt["gasUsed"], 16), int(receipt["blockNumber"], 16), logs)


def _mined(rpc: Rpc, request: dict[str, Any]) -> dict[str, Any]:
    transaction = rpc("eth_sendTransaction", request)
    for attempt in range(2_000):
        receipt: dict[str, Any] | None = rpc("eth_getTransactionReceipt", transaction)
        if receipt is not None:
            return receipt
        time.sleep(0.0005 if attempt < 100 else 0.005)
    raise RpcFailed(f"transaction {transaction} was not mined within 10 seconds")


def deploy(rpc: Rpc, compiled: dict[str, Any], sender: str, *args: Any) -> Contract:
    """Deploy compiler output with constructor arguments; raises Reverted."""
    constructors = [item for item in compiled["abi"] if item["type"] == "constructor"]
    inputs = constructors[0]["inputs"] if constructors else []
    data = compiled["bytecode"] + encode([_type(p) for p in inputs], args).hex()
    request = {"from": sender, "data": data, "gas": hex(TRANSACTION_GAS)}
    receipt = _mined(rpc, request)
    if receipt["status"] != "0x1":
        rpc("eth_call", request, "latest")
        raise AssertionError("deployment failed in a block and passes as a call")
    return Contract(rpc, receipt["contractAddress"], compiled["abi"])


def error_name(abis: Sequence[Abi], data: bytes) -> str:
    """The name of the custom error in revert data; raises KeyError for an unknown one."""
    names = {
        keccak(text=_signature(item))[:4]: item["name"]
        for abi in abis
        for item in abi
        if item["type"] == "error"
    }
    return str(names[data[:4]])
