"""One transaction of keys that are here: built, simulated, signed, sent and seen confirmed.

For deployments and for acts by hand, not for releases. The same bytes are sent again until a block
confirms them; only when the final blocks are past their blockhash, so that they never can land, is
the act signed anew over a new one. So waiting is bounded and nothing can land twice. What a
simulation refuses is never sent.
"""

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from base58 import b58encode

from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED
from xstock_chains.solana.errors import RpcFault, broadcast_refused, parse_failure
from xstock_chains.solana.fees import usual_fee
from xstock_chains.solana.programs import compute_limit, compute_price
from xstock_chains.solana.rpc import (
    Call,
    Rpc,
    dict_of,
    invalid,
    key_of,
    number_of,
    only_status,
    status_call,
    with_context,
)
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.wire import (
    PACKET_MAX,
    Instruction,
    compile_message,
    parse_message,
    transaction_bytes,
)
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

WITHIN_SECONDS: Final = 90.0
"""A blockhash lives 150 blocks: a minute, and then some."""
_WAIT_SECONDS: Final = 0.1
_RESEND_EVERY: Final = 20
_UNITS_MAX: Final = 1_400_000
_LIMIT_MARGIN_PERCENT: Final = 120
_LIMIT_FLOOR: Final = 2_000
_PRICE_MAX: Final = 5_000_000
"""Most micro-lamports per compute unit: an act by hand must land when blocks are full."""
_UNFUNDED: Final = ("InsufficientFundsForFee", "AccountNotFound", "InsufficientFundsForRent")


@dataclass(frozen=True, slots=True)
class Codes:
    """What refusals and unknown outcomes are called."""

    refused: str
    pending: str


ACT: Final = Codes("ACT_REFUSED", "ACT_PENDING")
DEPLOY: Final = Codes("DEPLOY_REVERTED", "DEPLOY_PENDING")


@dataclass(frozen=True, slots=True)
class _Signed:
    """A transaction as it is sent, and the last height of a block that can hold it."""

    id: str
    raw: str
    last_height: int


class Sender:
    """Transactions that one key pays, over one node."""

    def __init__(self, rpc: Rpc, payer: LocalSigner, clock: Clock, codes: Codes) -> None:
        self._rpc = rpc
        self._payer = payer
        self._clock = clock
        self._codes = codes

    def fits(self, instructions: Sequence[Instruction]) -> bool:
        """Whether they fit into one transaction with their signatures and fees."""
        message = self._compiled(instructions, bytes(32), _UNITS_MAX, 0)
        return 1 + 64 * parse_message(message).signers + len(message) <= PACKET_MAX

    async def send(
        self, name: str, instructions: Sequence[Instruction], others: Sequence[LocalSigner] = ()
    ) -> str:
        """Its id once a block confirms it, signed by the payer and these others.

        Raises InvalidMessage for what the chain refuses, Ambiguous if no block shows it in time,
        Transient if the node is away or the payer has no coins.
        """
        deadline = self._clock.monotonic() + WITHIN_SECONDS
        while True:
            signed = await self._signed(name, instructions, others)
            if await self._landed(name, signed, deadline):
                return signed.id

    async def _signed(
        self, name: str, instructions: Sequence[Instruction], others: Sequence[LocalSigner]
    ) -> _Signed:
        """Simulated, priced and signed over the newest confirmed blockhash."""
        writable = sorted({m.key for one in instructions for m in one.accounts if m.writable})
        calls: list[Call] = [
            ("getLatestBlockhash", [CONFIRMED]),
            ("getRecentPrioritizationFees", [[show(key) for key in writable]]),
        ]
        latest, fees = await self._rpc.batch(calls)
        fields = dict_of(with_context(latest, "getLatestBlockhash")[1], "getLatestBlockhash")
        blockhash = key_of(fields.get("blockhash"), "blockhash")
        price = min(usual_fee(fees), _PRICE_MAX)
        draft = self._compiled(instructions, blockhash, _UNITS_MAX, price)
        used = await self._simulate(name, draft)
        limit = min(_UNITS_MAX, used * _LIMIT_MARGIN_PERCENT // 100 + _LIMIT_FLOOR)
        message = self._compiled(instructions, blockhash, limit, price)
        keys = {one.identity: one for one in (self._payer, *others)}
        parsed = parse_message(message)
        signatures = [keys[key].sign(message) for key in parsed.keys[: parsed.signers]]
        return _Signed(
            id=b58encode(signatures[0]).decode(),
            raw=b64encode(transaction_bytes(signatures, message)).decode(),
            last_height=number_of(fields.get("lastValidBlockHeight"), "lastValidBlockHeight") + 1,
        )

    def _compiled(
        self, instructions: Sequence[Instruction], blockhash: bytes, limit: int, price: int
    ) -> bytes:
        fees = [compute_limit(limit), compute_price(price)]
        return compile_message(self._payer.identity, [*fees, *instructions], blockhash)

    async def _simulate(self, name: str, message: bytes) -> int:
        """Compute units that it takes; raises for what would fail."""
        unsigned = [bytes(64)] * parse_message(message).signers
        payload = b64encode(transaction_bytes(unsigned, message)).decode()
        options = {
            "encoding": "base64",
            "sigVerify": False,
            "replaceRecentBlockhash": True,
            **CONFIRMED,
        }
        answer = await self._rpc.call("simulateTransaction", payload, options)
        fields = dict_of(with_context(answer, "simulateTransaction")[1], "simulateTransaction")
        if "err" not in fields:
            raise invalid("simulateTransaction", sorted(fields), "an answer with `err`")
        if fields["err"] is not None:
            raise self._refused(name, fields["err"])
        return number_of(fields.get("unitsConsumed") or 0, "unitsConsumed")

    def _refused(self, name: str, err: Any) -> ServiceError:
        failure = parse_failure(err)
        if failure.name in _UNFUNDED:
            text = f"{show(self._payer.identity)} cannot pay for {name}; send it some SOL"
            return Transient("SENDER_UNFUNDED", text, {"payer": show(self._payer.identity)})
        text = f"{name}: the chain refuses it: {failure}"
        return InvalidMessage(self._codes.refused, text, {"act": name, "failure": failure})

    async def _landed(self, name: str, signed: _Signed, deadline: float) -> bool:
        """Whether a block confirms it; False once no block ever can."""
        for number in count():
            # a send without an answer may have arrived: only a block says whether it happened
            with suppress(Transient):
                if number % _RESEND_EVERY == 0:
                    await self._broadcast(name, signed.raw)
                if await self._confirmed(name, signed.id):
                    return True
                if number % _RESEND_EVERY == _RESEND_EVERY - 1 and await self._dead(signed):
                    return False
            if self._clock.monotonic() >= deadline:
                break
            await self._clock.sleep(_WAIT_SECONDS)
        text = f"{name}: {signed.id} is in no block yet; look before sending anything else"
        raise Ambiguous(self._codes.pending, f"{text}, run again", {"tx": signed.id})

    async def _dead(self, signed: _Signed) -> bool:
        """Whether the final blocks went past its blockhash without it.

        SECURITY: by final height and kept history of one state: a node that lags behind its own
        answer, or a pool of them, knows nothing of an absence.
        """
        calls: list[Call] = [("getEpochInfo", [FINALIZED]), status_call(signed.id)]
        epoch, statuses = await self._rpc.batch(calls)
        info = dict_of(epoch, "getEpochInfo")
        slot, status = only_status(statuses)
        seen = slot >= number_of(info.get("absoluteSlot"), "absoluteSlot")
        height = number_of(info.get("blockHeight"), "blockHeight")
        return status is None and seen and height > signed.last_height

    async def _confirmed(self, name: str, text: str) -> bool:
        (answer,) = await self._rpc.batch([status_call(text, history=False)])
        _, status = only_status(answer)
        if status is None or status.get("confirmationStatus") == "processed":
            return False
        if status.get("err") is not None:
            said = f"{name}: transaction {text} failed: {status['err']}"
            raise InvalidMessage(self._codes.refused, said, {"act": name, "tx": text})
        return True

    async def _broadcast(self, name: str, raw: str) -> None:
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        call: Call = ("sendTransaction", [raw, options])
        (answer,) = await self._rpc.batch_settled([call])
        if not isinstance(answer, RpcFault):
            return
        refusal = broadcast_refused(self._rpc.host, answer)
        if isinstance(refusal, InvalidMessage):
            said = f"{name}: {answer.message}"
            raise InvalidMessage(self._codes.refused, said, {"act": name})
