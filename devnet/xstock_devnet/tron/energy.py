"""Energy as the TVM would charge it, derived from anvil's trace of the same execution.

The TVM prices most opcodes as the EVM does and keeps early Ethereum's for state access, without
cold and warm (java-tron, `EnergyCost`). So: gas of the execution alone (no intrinsic or calldata
gas, no refunds), with the opcodes below priced anew. Exact to the unit for the recorded calls. Not
modelled: a callee's own limit of 63/64 counted in energy, the dynamic energy factor of crowded
contracts (off on the recorded chain), and prices of the TVM's own precompiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SET_SSTORE = 20_000
RESET_SSTORE = 5_000
SLOAD = 50
CALL = 40
MEMORY_ACCESS = 1
JUMP = 8
FLAT_PRICES = {
    "SLOAD": SLOAD,
    "BALANCE": 20,
    "EXTCODESIZE": 20,
    "EXTCODEHASH": 400,
    "BLOCKHASH": 20,
    "SELFDESTRUCT": 5_000,
}
"""Opcodes whose price does not depend on what they do."""

CALLS = frozenset({"CALL", "CALLCODE", "DELEGATECALL", "STATICCALL"})
MEMORY = frozenset({"MLOAD", "MSTORE", "MSTORE8"})
COPIES = frozenset({"CALLDATACOPY", "CODECOPY", "RETURNDATACOPY"})
POLITE_ENDS = frozenset({"STOP", "RETURN", "REVERT", "SELFDESTRUCT"})

EVM_COLD_ACCOUNT = 2_600
EVM_WARM = 100
EVM_VERY_LOW = 3
EVM_EXP_BASE, EVM_EXP_BYTE = 10, 50
TVM_EXP_BYTE = 10
EVM_CALL_VALUE_NET = 6_700
"""9,000 for a call with value, less the stipend of 2,300 that the callee's gas begins with."""
EVM_NEW_ACCOUNT = 25_000
EVM_PRECOMPILE_MIN = 3_100
"""From here on a call without steps of its own ran ecrecover (3,000): nothing cold."""

Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shortage:
    """The operation at which an energy limit was not enough."""

    operation: str
    cost: int
    used: int


def energy_of(steps: Sequence[Step]) -> int:
    """Return the energy of a whole trace (`structLogs`, stack and memory may be left out)."""
    if not steps:
        return 0
    last = steps[-1]
    gas = int(steps[0]["gas"]) - int(last["gas"]) + int(last["gasCost"])
    return gas - sum(overcharge for _, overcharge in _overcharges(steps))


def shortage(steps: Sequence[Step], limit: int) -> Shortage:
    """Return where a call that needs more energy than `limit` stops, seen from its outermost frame.

    Raises ValueError if `limit` was enough.
    """
    overcharges = dict(_overcharges(steps))
    begin, outer = int(steps[0]["gas"]), int(steps[0]["depth"])
    repriced = 0
    at = [number for number, step in enumerate(steps) if step["depth"] == outer]
    for number, following in zip(at, [*at[1:], len(steps)], strict=True):
        used = begin - int(steps[number]["gas"]) - repriced
        after = sum(overcharges.get(each, 0) for each in range(number, following))
        left = int(steps[following]["gas"]) if following < len(steps) else _end_gas(steps[number])
        cost = int(steps[number]["gas"]) - left - after
        if used + cost > limit:
            return Shortage(str(steps[number]["op"]), cost, used)
        repriced += after
    raise ValueError(f"limit: {limit} energy was enough; ask only where energy_of exceeds it")


def _overcharges(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """Return for each repriced step how much more the EVM took than the TVM would."""
    found: list[tuple[int, int]] = []
    for number, step in enumerate(steps):
        operation = step["op"]
        if operation in CALLS:
            found.append((number, _access_of_call(steps, number) - CALL))
        else:
            difference = _difference(operation, int(step["gasCost"]))
            if difference:
                found.append((number, difference))
    return found


def _difference(operation: str, cost: int) -> int:
    if operation in MEMORY:
        return EVM_VERY_LOW - MEMORY_ACCESS
    if operation in COPIES:
        return EVM_VERY_LOW
    if operation == "SSTORE":
        return cost - (SET_SSTORE if cost >= SET_SSTORE else RESET_SSTORE)
    if operation == "EXTCODECOPY":
        return (EVM_COLD_ACCOUNT if cost >= EVM_COLD_ACCOUNT else EVM_WARM) - 20
    if operation == "EXP":
        return (cost - EVM_EXP_BASE) // EVM_EXP_BYTE * (EVM_EXP_BYTE - TVM_EXP_BYTE)
    if operation in FLAT_PRICES:
        return cost - FLAT_PRICES[operation]
    return 0


def _access_of_call(steps: Sequence[Step], number: int) -> int:
    """Return what the EVM took for touching the callee: 2,600 if it was cold, else 100.

    The trace shows only the sum of access, value, memory and what the callee used, so the callee's
    part is taken away first; memory that a call expands is small beside 2,500.
    """
    step = steps[number]
    callee, following = _callee(steps, number)
    left = int(following["gas"]) if following is not None else _end_gas(step)
    own = int(step["gas"]) - left
    if callee:
        last = callee[-1]
        kept = _end_gas(last) if last["op"] in POLITE_ENDS else 0
        own -= int(callee[0]["gas"]) - kept
    for extra in (EVM_CALL_VALUE_NET + EVM_NEW_ACCOUNT, EVM_CALL_VALUE_NET):
        if own >= extra:
            own -= extra
            break
    cold = own >= EVM_COLD_ACCOUNT and (bool(callee) or own < EVM_PRECOMPILE_MIN)
    return EVM_COLD_ACCOUNT if cold else EVM_WARM


def _callee(steps: Sequence[Step], number: int) -> tuple[Sequence[Step], Step | None]:
    """Return the steps of the frame that a call opened, and the caller's next step if any."""
    depth = steps[number]["depth"]
    end = number + 1
    while end < len(steps) and steps[end]["depth"] > depth:
        end += 1
    same_frame = end < len(steps) and steps[end]["depth"] == depth
    return steps[number + 1 : end], steps[end] if same_frame else None


def _end_gas(step: Step) -> int:
    return int(step["gas"]) - int(step["gasCost"])
