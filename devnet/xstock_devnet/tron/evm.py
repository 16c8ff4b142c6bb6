"""The anvil behind the chain: runs contracts, keeps their storage and TRX balances (1 wei = 1 sun).

Every executed Tron transaction is one or two anvil blocks of its own, so anvil's latest state is
the pending state, its state at a remembered height is a Tron block's, and going back is
`anvil_rollback`. anvil's NUMBER and BLOCKHASH therefore count transactions, not Tron blocks; no
contract of ours reads them. BASEFEE and GASPRICE are 0 here and 100 on Tron.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from xstock_devnet.tron import energy
from xstock_devnet.tron.address import to_evm
from xstock_devnet.tron.energy import Step

GAS_FOR_CALLS = 100_000_000
"""What java-tron allows a constant call (`vm.maxEnergyLimitForConstant`)."""
GAS_RESERVE = 300_000
GAS_PER_ENERGY = 3
GAS_PER_DATA_BYTE = 16
GAS_INTRINSIC = 21_000
CODE_DEPOSIT_PER_BYTE = 200
TRACED_LIMIT = 1_000_000
"""Up to this energy limit the step at which energy ran out is worth tracing."""
TRACE_STEPS = {"disableStack": True, "disableMemory": True, "disableStorage": True}
TRACE_CALLS = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
INVALID_OPCODE_TEXTS = ("invalid opcode", "invalidfeopcode", "opcodenotfound", "notactivated")


class EvmError(Exception):
    """anvil refused something that the chain relies on; the chain cannot go on."""


@dataclass(frozen=True, slots=True)
class Call:
    """One message call; `to` empty means: run `data` as a constructor and return the code."""

    sender: bytes
    to: bytes
    data: bytes
    value: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """What a call did: `status` is java-tron's contractRet, `frame` anvil's tree of calls."""

    status: str
    output: bytes
    energy: int
    steps: Sequence[Step]
    frame: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether state may be changed by it."""
        return self.status == "SUCCESS"


class Evm:
    """Speaks JSON-RPC to one anvil that mines by hand."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Connect, and let any account send."""
        self._session = aiohttp.ClientSession()
        await self.ask("anvil_autoImpersonateAccount", *(True,))

    async def aclose(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, *params: Any) -> Any:
        """Return anvil's result; raises EvmError with its message."""
        if self._session is None:
            raise EvmError("the connection to anvil is not open; call open() first")
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self._url, json=body) as response:
            answer = await response.json()
        if "error" in answer:
            raise EvmError(f"{method}: {answer['error']}")
        return answer.get("result")

    async def height(self) -> int:
        """Return anvil's block number."""
        return int(await self.ask("eth_blockNumber"), 16)

    async def balance(self, account: bytes, at: int | None = None) -> int:
        """Return an account's sun, at an anvil height or now."""
        return int(await self.ask("eth_getBalance", to_evm(account), _tag(at)), 16)

    async def code(self, account: bytes, at: int | None = None) -> bytes:
        """Return an account's code, empty if it has none."""
        return bytes.fromhex((await self.ask("eth_getCode", to_evm(account), _tag(at)))[2:])

    async def storage(self, account: bytes, slot: int, at: int | None = None) -> bytes:
        """Return the 32 bytes in a contract's slot."""
        word = await self.ask("eth_getStorageAt", to_evm(account), hex(slot), _tag(at))
        return bytes.fromhex(word[2:])

    async def set_balance(self, account: bytes, sun: int) -> None:
        """Set an account's balance in the state of the latest anvil block."""
        await self.ask("anvil_setBalance", to_evm(account), hex(sun))

    async def set_code(self, account: bytes, code: bytes) -> None:
        """Set an account's code in the state of the latest anvil block."""
        await self.ask("anvil_setCode", to_evm(account), "0x" + code.hex())

    async def rollback(self, height: int) -> None:
        """Forget every anvil block above `height`."""
        depth = await self.height() - height
        if depth:
            await self.ask("anvil_dropAllTransactions")
            await self.ask("anvil_rollback", depth)

    async def mine(self, unix_seconds: int) -> None:
        """Mine an anvil block with what was sent since the last one."""
        await self.ask("evm_setNextBlockTimestamp", unix_seconds)
        await self.ask("evm_mine")

    async def run(self, call: Call, unix_seconds: int, energy_limit: int) -> Execution:
        """Run a call and keep its effects in an anvil block; the block is empty if it failed."""
        execution = await self.simulate(call, unix_seconds, energy_limit=energy_limit)
        if execution.succeeded:
            transaction = await self.ask(
                "eth_sendTransaction", _request(call, _gas(energy_limit, call.data))
            )
            await self.mine(unix_seconds)
            receipt = await self.ask("eth_getTransactionReceipt", transaction)
            if receipt is None or receipt["status"] != "0x1":
                raise EvmError(f"{transaction}: simulated well and failed when mined: {receipt}")
        else:
            await self.mine(unix_seconds)
        return execution

    async def create(
        self, call: Call, at: bytes, unix_seconds: int, energy_limit: int
    ) -> Execution:
        """Run `call.data` as the constructor of a contract at the address that Tron gives it.

        The init code is laid at the address and called, so that storage, immutables and
        address(this) are right; what it returns becomes the code. Nothing stays if it fails.
        """
        before = await self.height()
        await self.mine(unix_seconds)
        await self.set_code(at, call.data)
        constructor = Call(call.sender, at, b"", call.value)
        execution = await self.run(constructor, unix_seconds, energy_limit)
        if not execution.succeeded:
            await self.rollback(before)
            await self.mine(unix_seconds)
            return execution
        deposit = CODE_DEPOSIT_PER_BYTE * len(execution.output)
        total = execution.energy + deposit
        if total > energy_limit:
            await self.rollback(before)
            await self.mine(unix_seconds)
            return Execution("OUT_OF_ENERGY", b"", energy_limit, execution.steps, execution.frame)
        await self.set_code(at, execution.output)
        return Execution(
            execution.status, execution.output, total, execution.steps, execution.frame
        )

    async def simulate(
        self,
        call: Call,
        unix_seconds: int,
        *,
        energy_limit: int | None = None,
        at: int | None = None,
    ) -> Execution:
        """Return what a call would do in the state at an anvil height, or now.

        `energy_limit` None is a constant call's. Where even anvil's gas ran out the limit is gone,
        and a large one is not traced step by step.
        """
        gas = GAS_FOR_CALLS if energy_limit is None else _gas(energy_limit, call.data)
        limit = GAS_FOR_CALLS if energy_limit is None else energy_limit
        request = _request(call, gas)
        overrides = {"blockOverrides": {"time": hex(unix_seconds)}}
        frame = await self.ask("debug_traceCall", request, _tag(at), {**TRACE_CALLS, **overrides})
        status = _status(frame)
        output = bytes.fromhex(frame.get("output", "0x")[2:])
        affordable = status == "OUT_OF_ENERGY" and limit <= TRACED_LIMIT
        if status in ("SUCCESS", "REVERT", "ILLEGAL_OPERATION") or affordable:
            trace = await self.ask(
                "debug_traceCall", request, _tag(at), {**TRACE_STEPS, **overrides}
            )
            steps: Sequence[Step] = trace["structLogs"]
        else:
            steps = ()
        used = energy.energy_of(steps)
        if not call.to and status == "SUCCESS":
            used += CODE_DEPOSIT_PER_BYTE * len(output)
        if status in ("SUCCESS", "REVERT"):
            if used > limit:
                return Execution("OUT_OF_ENERGY", b"", limit, steps, frame)
            return Execution(status, output, used, steps, frame)
        return Execution(status, b"", limit, steps, frame)


def _status(frame: dict[str, Any]) -> str:
    error = frame.get("error")
    if error is None:
        return "SUCCESS"
    text = error.lower().replace(" ", "")
    if "revert" in text:
        return "REVERT"
    if any(known.replace(" ", "") in text for known in INVALID_OPCODE_TEXTS):
        return "ILLEGAL_OPERATION"
    for word, status in (
        ("jump", "BAD_JUMP_DESTINATION"),
        ("underflow", "STACK_TOO_SMALL"),
        ("overflow", "STACK_TOO_LARGE"),
        ("gas", "OUT_OF_ENERGY"),
        ("memory", "OUT_OF_MEMORY"),
    ):
        if word in text:
            return status
    return "UNKNOWN"


def _request(call: Call, gas: int) -> dict[str, str]:
    request = {
        "from": to_evm(call.sender),
        "gas": hex(gas),
        "gasPrice": "0x0",
        "value": hex(call.value),
        "data": "0x" + call.data.hex(),
    }
    return request | ({"to": to_evm(call.to)} if call.to else {})


def _gas(energy_limit: int, data: bytes) -> int:
    allowance = GAS_INTRINSIC + GAS_PER_DATA_BYTE * len(data) + GAS_RESERVE
    return min(GAS_PER_ENERGY * energy_limit, GAS_FOR_CALLS) + allowance


def _tag(at: int | None) -> str:
    return "latest" if at is None else hex(at)
