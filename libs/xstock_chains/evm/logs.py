"""Logs: which are asked for, how they are read, and how a header's bloom proves absence.

The bloom has no false negatives: a block whose bloom lacks an address holds no log of it, so an
empty answer of eth_getLogs is believed for such blocks alone; the others are asked again by
block hash, which a node that lacks the block cannot answer with an empty list (F30).
Bloom: the Ethereum yellow paper, section 4.3.1.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import Header
from xstock_chains.evm.rpc import Call
from xstock_chains.solidity.abi import ZERO_WORD, address_word, hex_of
from xstock_chains.solidity.events import (
    BURNED,
    CANCELLED,
    GUARDS_CHANGED,
    NEW_BURNER,
    NEW_MINTER,
    NEW_PAUSER,
    OWNER_MOVED,
    RELEASED,
    SHARES_MOVED,
    SKIPPED,
    UPGRADED,
    Log,
)
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_BRIDGE_AND_ROLE_TOPICS: Final = (
    *(BURNED, RELEASED, CANCELLED, SKIPPED, GUARDS_CHANGED),
    *(OWNER_MOVED, NEW_MINTER, NEW_BURNER, NEW_PAUSER, UPGRADED),
)


def parse_log(raw: Any) -> Log:
    """A log from JSON-RPC; raises InvalidMessage. Hot: one conversion for all fixed fields."""
    try:
        topics = raw["topics"]
        fixed = [raw["address"][2:], raw["blockHash"][2:], raw["transactionHash"][2:]]
        packed = bytes.fromhex("".join(fixed + [word[2:] for word in topics]))
        log = Log(
            packed[:20],
            tuple([packed[at : at + 32] for at in range(84, len(packed), 32)]),
            bytes.fromhex(raw["data"][2:]),
            int(raw["blockNumber"], 16),
            packed[20:52],
            packed[52:84],
            int(raw["logIndex"], 16),
        )
        lengths = list(map(len, fixed))
        whole = len(packed) == 84 + 32 * len(topics)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed("a field is missing or is no hexadecimal") from error
    if lengths != [40, 64, 64] or not whole:
        raise _malformed("an address, hash or topic has the wrong length")
    if raw.get("removed"):
        raise _malformed("it is marked as removed, which no final log is")
    return log


def _malformed(what: str) -> InvalidMessage:
    return InvalidMessage("RPC_MALFORMED", f"a log cannot be read: {what}; ask another node")


def bloom_mask(value: bytes) -> int:
    """The three bits that an address or topic sets in a bloom."""
    digest = keccak256(value)
    mask = 0
    for start in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return mask


class LogFilter:
    """What of a chain's logs matters, and for which blocks it may be present."""

    def __init__(self, chain: EvmChain) -> None:
        self._bridges = [bridge.address for bridge in chain.bridges]
        self._tokens = [token.address for token in chain.tokens]
        self._bridge_masks = [bloom_mask(address) for address in self._bridges]
        self._token_masks = [bloom_mask(address) for address in self._tokens]
        self._shares_mask = bloom_mask(SHARES_MOVED)

    def range_calls(self, first: int, last: int) -> list[Call]:
        """The calls for all blocks from `first` to `last`."""
        return self._calls({"fromBlock": hex(first), "toBlock": hex(last)})

    def block_calls(self, block_hash: bytes) -> list[Call]:
        """The calls for one block by its hash."""
        return self._calls({"blockHash": hex_of(block_hash)})

    def _calls(self, where: dict[str, str]) -> list[Call]:
        """Bridge and role events; share mints; share burns and moves into a bridge."""
        everyone = self._bridges + self._tokens
        events = [[hex_of(one) for one in _BRIDGE_AND_ROLE_TOPICS]]
        calls = [_get_logs(where, everyone, events)]
        if not self._tokens:
            return calls
        moved, nobody = [hex_of(SHARES_MOVED)], [hex_of(ZERO_WORD)]
        sinks = nobody + [hex_of(address_word(bridge)) for bridge in self._bridges]
        calls.append(_get_logs(where, self._tokens, [moved, nobody]))
        calls.append(_get_logs(where, self._tokens, [moved, None, sinks]))
        return calls

    def may_hold_bridge_logs(self, header: Header) -> bool:
        """False only if the block provably has no log of a bridge."""
        return any(header.bloom & mask == mask for mask in self._bridge_masks)

    def may_hold_token_logs(self, header: Header) -> bool:
        """False only if the block provably moved no shares of our tokens."""
        shares = self._shares_mask
        if header.bloom & shares != shares:
            return False
        return any(header.bloom & mask == mask for mask in self._token_masks)

    def suspects(self, headers: Iterable[Header], logs: Sequence[Log]) -> list[Header]:
        """Blocks whose bloom allows logs of ours of which the node has shown none."""
        bridges = frozenset(self._bridges)
        with_bridge = {log.block_number for log in logs if log.address in bridges}
        with_token = {log.block_number for log in logs if log.address not in bridges}
        return [
            header
            for header in headers
            if (header.number not in with_bridge and self.may_hold_bridge_logs(header))
            or (header.number not in with_token and self.may_hold_token_logs(header))
        ]


def _get_logs(
    where: dict[str, str], addresses: Sequence[bytes], topics: Sequence[list[str] | None]
) -> Call:
    query: dict[str, Any] = dict(where)
    query["address"] = [hex_of(address) for address in addresses]
    query["topics"] = list(topics)
    return ("eth_getLogs", [query])


Logs = dict[tuple[int, int], Log]
"""Logs by (block number, index in the block), so that two answers tell one log once."""


def parse_logs(answers: Iterable[Any], known: Logs | None = None) -> Logs:
    """The logs of several answers, added to those known; raises InvalidMessage."""
    found: Logs = {} if known is None else known
    for answer in answers:
        if not isinstance(answer, list):
            raise _malformed("the answer is not a list")
        for raw in answer:
            log = parse_log(raw)
            found[log.block_number, log.log_index] = log
    return found


def merge_logs(answers: Iterable[Any]) -> list[Log]:
    """The logs of several answers, each once, in chain order; raises InvalidMessage."""
    return in_order(parse_logs(answers))


def in_order(logs: Logs) -> list[Log]:
    """The logs in chain order."""
    return [logs[key] for key in sorted(logs)]
