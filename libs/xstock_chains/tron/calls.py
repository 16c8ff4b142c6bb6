"""Reads of contracts: constant calls on the full node (pending state) or the solidity interface.

A constant call names no block: it speaks of the state that its interface has right then. Who
needs to know which block that was asks for the head before and after (`reader`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from xstock_chains.solidity.abi import words
from xstock_chains.tron.address import to_hex
from xstock_chains.tron.errors import CallFault, CallOutcome, call_refused, parse_call
from xstock_chains.tron.rpc import Ask, TronRpc

_NOBODY = bytes(20)


class Read(NamedTuple):
    """A question to a contract."""

    to: bytes
    data: bytes


def call_body(to: bytes, data: bytes, owner: bytes = _NOBODY) -> dict[str, Any]:
    """The request body of a constant call by `owner`."""
    return {
        "owner_address": to_hex(owner),
        "contract_address": to_hex(to),
        "data": data.hex(),
    }


def call_ask(interface: str, read: Read) -> Ask:
    """The request of a read."""
    return (interface, "triggerconstantcontract", call_body(read.to, read.data))


async def read_all(
    rpc: TronRpc, interface: str, reads: Sequence[Read]
) -> list[CallOutcome | CallFault]:
    """The answers in order; a refusal is a `CallFault` in its place."""
    answers = await rpc.all([call_ask(interface, read) for read in reads])
    return [parse_call(answer) for answer in answers]


def data_or_raise(rpc: TronRpc, what: str, answer: CallOutcome | CallFault) -> bytes:
    """The returned bytes; raises what the fault means."""
    if isinstance(answer, CallFault):
        raise call_refused(what, answer, rpc.host)
    return answer.data


def first_word(answer: CallOutcome | CallFault) -> int | None:
    """The first word of an answer; None where the call failed or answered nothing."""
    if isinstance(answer, CallFault) or len(answer.data) < 32:
        return None
    return words(answer.data, 1, "answer")[0]
