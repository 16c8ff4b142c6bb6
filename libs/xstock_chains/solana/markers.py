"""What a destination has done with a key, by its marker account and the transaction that made it.

The account alone says only that something happened. What happened is read from the transaction
that gave the account its data; where no node shows that transaction, nothing is known and the
answer is `Transient`: HOLD, for pruned history looks just like an empty one. Lamports that
somebody sent to the address are no execution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.ports import Execution, ExecutionState
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED, Block, block_call, parse_block
from xstock_chains.solana.chain import SolanaChain
from xstock_chains.solana.evidence import Evidence
from xstock_chains.solana.programs import CREATE_ACCOUNT, SYSTEM
from xstock_chains.solana.reading import parse_ran, raw_of, succeeded
from xstock_chains.solana.release import marker_of, parse_allocation
from xstock_chains.solana.rpc import (
    Account,
    Call,
    Rpc,
    account_of,
    dict_of,
    list_of,
    number_of,
    with_context,
)
from xstock_core.ids import InvalidId
from xstock_core.observation import ReleaseFinal
from xstock_core.release import ExecutionKey
from xstock_runtime.errors import Transient

_ACCOUNTS_A_CALL: Final = 100
_SIGNATURES_MAX: Final = 1000
_PAGES_MAX: Final = 5
_CREATE_WITH_SEED: Final = 3


@dataclass(frozen=True, slots=True)
class _Marker:
    """A marker account that holds data."""

    key: ExecutionKey
    address: bytes
    retired_height: int | None


@dataclass(frozen=True, slots=True)
class Creation:
    """The transaction that made a marker."""

    signature: str
    slot: int
    entry: dict[str, Any]


class Markers:
    """Looks up markers on one node."""

    def __init__(self, chain: SolanaChain, rpc: Rpc) -> None:
        self._chain = chain
        self._rpc = rpc
        self._evidence = Evidence(chain)

    async def find(self, keys: Sequence[ExecutionKey]) -> list[Execution | None]:
        """For each key what was done under any lane key ever registered, and whether finally."""
        for key in keys:
            if key.destination is not self._chain.domain:
                remedy = f"ask the writer of that chain; this one is {self._chain.name}"
                raise InvalidId("destination", int(key.destination), remedy)
        wanted = [
            _Marker(key, marker_of(lane.key, int(key.source), key.nonce), lane.retired_height)
            for key in keys
            for lane in self._chain.lane_keys
        ]
        latest = await self._existing([one.address for one in wanted], "confirmed")
        made = [one for one in wanted if one.address in latest]
        final = await self._existing([one.address for one in made], "finalized")
        found: dict[ExecutionKey, Execution] = {}
        for one in made:
            state = await self._state(one)
            if state is not None:
                found.setdefault(one.key, Execution(one.key, state, one.address in final))
        return [found.get(key) for key in keys]

    async def exists(self, address: bytes, at_least: int) -> bool:
        """Whether the marker holds data in the final state of this slot or a later one."""
        options = {"encoding": "base64", "minContextSlot": at_least, **FINALIZED}
        answer = await self._rpc.call("getAccountInfo", show(address), options)
        _, raw = with_context(answer, "getAccountInfo")
        return is_marker_account(account_of(raw))

    async def _existing(self, addresses: Sequence[bytes], commitment: str) -> set[bytes]:
        options = {"encoding": "base64", "commitment": commitment}
        calls: list[Call] = [
            (
                "getMultipleAccounts",
                [[show(one) for one in addresses[at : at + _ACCOUNTS_A_CALL]], options],
            )
            for at in range(0, len(addresses), _ACCOUNTS_A_CALL)
        ]
        answers = await self._rpc.batch(calls) if calls else []
        shown = [one for answer in answers for one in list_of(with_context(answer, "a")[1], "a")]
        return {
            address
            for address, raw in zip(addresses, shown, strict=True)
            if is_marker_account(account_of(raw))
        }

    async def _state(self, marker: _Marker) -> ExecutionState | None:
        """Released or Cancelled by the transaction that made the marker; None for one that was
        made after its lane key's retirement, which counts for nothing."""
        creation = await self.creation(marker.address)
        method, params = block_call(creation.slot, commitment="confirmed")
        block = parse_block(creation.slot, await self._rpc.call(method, *params))
        if marker.retired_height is not None and block.height > marker.retired_height:
            return None
        released = self._released(marker.key, block, creation)
        return ExecutionState.RELEASED if released else ExecutionState.CANCELLED

    def _released(self, key: ExecutionKey, block: Block, creation: Creation) -> bool:
        """SECURITY: only a mint in the very pair behind this key's marker releases it."""
        seen = self._evidence.transaction(block, 0, creation.entry)
        return any(
            isinstance(one, ReleaseFinal) and (one.source, one.nonce) == (key.source, key.nonce)
            for one in seen.observations
        )

    async def creation(self, address: bytes) -> Creation:
        """The transaction that gave this account its data; Transient where none is shown."""
        signatures = await self._signatures(address)
        for signature, slot in reversed(signatures):
            options = {"encoding": "base64", "maxSupportedTransactionVersion": 0, **CONFIRMED}
            answer = await self._rpc.call("getTransaction", signature, options)
            if answer is None:
                break
            entry = dict_of(answer, "getTransaction")
            if succeeded(entry.get("meta")) and _makes(entry, address):
                return Creation(signature, slot, entry)
        text = (
            f"{self._rpc.host} shows that marker {show(address)} exists, but not what made it; "
            "waiting for a node with the whole history"
        )
        raise Transient("HISTORY_PRUNED", text, {"marker": show(address)})

    async def _signatures(self, address: bytes) -> list[tuple[str, int]]:
        """Successful transactions that name the account, newest first."""
        found: list[tuple[str, int]] = []
        before: str | None = None
        for _ in range(_PAGES_MAX):
            options: dict[str, Any] = {"limit": _SIGNATURES_MAX, **CONFIRMED}
            if before is not None:
                options["before"] = before
            answer = await self._rpc.call("getSignaturesForAddress", show(address), options)
            page = [dict_of(one, "signature") for one in list_of(answer, "signatures")]
            found += [
                (str(one.get("signature")), number_of(one.get("slot"), "signature.slot"))
                for one in page
                if one.get("err") is None
            ]
            if len(page) < _SIGNATURES_MAX:
                return found
            before = str(page[-1].get("signature"))
        text = f"marker {show(address)} is named by more transactions than are read"
        raise Transient("HISTORY_TOO_LONG", text, {"marker": show(address)})


def is_marker_account(account: Account | None) -> bool:
    """SECURITY: data makes a marker; lamports alone do not, and the release still lands."""
    return account is not None and account.owner == SYSTEM and len(account.data) > 0


def _makes(entry: dict[str, Any], address: bytes) -> bool:
    """Whether a transaction gave this account its first byte of data."""
    for one in parse_ran(entry, raw_of(entry)).instructions:
        if one.program != SYSTEM or address not in one.accounts[:2]:
            continue
        allocation = parse_allocation(one.data)
        if allocation is not None and allocation.space > 0 and one.accounts[0] == address:
            return True
        number = int.from_bytes(one.data[:4], "little")
        if number in (CREATE_ACCOUNT, _CREATE_WITH_SEED) and one.accounts[1] == address:
            return True
    return False
