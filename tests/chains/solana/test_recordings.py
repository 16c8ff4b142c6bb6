"""Every answer that a real validator gave, read by the production code.

The transport is the product's own, fed with the recorded bytes: what a call's answer means is
decided by the same functions as in production. A recording that no reader here knows fails.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from xstock_chains.solana.blocks import parse_block
from xstock_chains.solana.errors import (
    ACCOUNT_FROZEN,
    MINT_PAUSED,
    RpcFault,
    broadcast_refused,
    parse_failure,
    refused,
    transaction_error,
)
from xstock_chains.solana.fees import usual_fee
from xstock_chains.solana.mint import multisig_data, parse_mint, parse_token_account
from xstock_chains.solana.programs import ata_of
from xstock_chains.solana.reading import parse_ran, raw_of, succeeded
from xstock_chains.solana.rpc import (
    Rpc,
    account_of,
    key_of,
    list_of,
    number_of,
    with_context,
)
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

FOLDER = Path(__file__).with_name("recordings")
KEYS = json.loads((FOLDER / "000-keys.json").read_text())
RECORDED = sorted(path.name for path in FOLDER.glob("*.json") if '"response"' in path.read_text())
"""The others hold keys and timings, no answer."""


def load(name: str) -> dict[str, Any]:
    """One recording."""
    document: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return document


async def ask(document: dict[str, Any]) -> Any:
    """The recorded answer, through the product's client."""
    answer = document["response"]
    body = answer if isinstance(answer, str) else json.dumps(answer)
    status = document.get("http_status", 200)

    def reply(request: httpx.Request) -> httpx.Response:
        told = json.loads(body) if body.lstrip().startswith(("{", "[")) else None
        if isinstance(told, dict) and told.get("id") is not None:
            told["id"] = json.loads(request.content)["id"]
            return httpx.Response(status, json=told)
        return httpx.Response(status, content=body.encode())

    rpc = Rpc("http://recorded", transport=httpx.MockTransport(reply))
    request = document.get("request") or {"method": "raw", "params": []}
    try:
        (found,) = await rpc.batch_settled([(request["method"], request.get("params", []))])
    finally:
        await rpc.aclose()
    return found


def _transaction(answer: Any, params: list[Any]) -> None:
    if answer is None:
        return
    options = params[1] if len(params) > 1 and isinstance(params[1], dict) else {}
    if options.get("encoding") != "base64":
        with pytest.raises(InvalidMessage):
            raw_of(answer)
        return
    if succeeded(answer["meta"]):
        assert parse_ran(answer, raw_of(answer)).instructions


def _block(answer: Any, params: list[Any]) -> None:
    block = parse_block(params[0], answer)
    assert block.parent_slot < block.slot
    options = params[1] if len(params) > 1 else {}
    if options.get("encoding") == "base64" and options.get("transactionDetails") == "full":
        assert block.transactions
        for entry in block.transactions:
            if succeeded(entry["meta"]):
                assert parse_ran(entry, raw_of(entry)).id


def _account(answer: Any, params: list[Any]) -> None:
    slot, raw = with_context(answer, "getAccountInfo")
    assert slot > 0
    if raw is not None and isinstance(raw["data"], list) and raw["data"][1] == "base64":
        assert account_of(raw) is not None


def _accounts(answer: Any, params: list[Any]) -> None:
    _, shown = with_context(answer, "getMultipleAccounts")
    assert len(list_of(shown, "accounts")) == len(params[0])


def _statuses(answer: Any, params: list[Any]) -> None:
    _, values = with_context(answer, "getSignatureStatuses")
    for one in list_of(values, "statuses"):
        if one is not None and one["err"] is not None:
            assert parse_failure(one["err"]).name


def _signatures(answer: Any, params: list[Any]) -> None:
    for one in list_of(answer, "getSignaturesForAddress"):
        assert len(key_of(one["signature"], "signature", 64)) == 64
        assert number_of(one["slot"], "slot") > 0


def _simulated(answer: Any, params: list[Any]) -> None:
    _, value = with_context(answer, "simulateTransaction")
    assert "err" in value
    if value["err"] is not None:
        assert parse_failure(value["err"]).name


def _context(answer: Any, params: list[Any]) -> None:
    assert with_context(answer, "answer")[0] > 0


def _number(answer: Any, params: list[Any]) -> None:
    assert number_of(answer, "answer") >= 0


READERS: dict[str, Callable[[Any, list[Any]], object]] = {
    "getTransaction": _transaction,
    "getBlock": _block,
    "getAccountInfo": _account,
    "getMultipleAccounts": _accounts,
    "getSignatureStatuses": _statuses,
    "getSignaturesForAddress": _signatures,
    "simulateTransaction": _simulated,
    "getLatestBlockhash": _context,
    "getBalance": _context,
    "getTokenSupply": _context,
    "getTokenAccountBalance": _context,
    "getFeeForMessage": _context,
    "isBlockhashValid": _context,
    "getSlot": _number,
    "getBlockHeight": _number,
    "getBlockTime": _number,
    "getFirstAvailableBlock": _number,
    "minimumLedgerSlot": _number,
    "getMinimumBalanceForRentExemption": _number,
    "getGenesisHash": lambda answer, _: key_of(answer, "genesis"),
    "sendTransaction": lambda answer, _: key_of(answer, "signature", 64),
    "requestAirdrop": lambda answer, _: key_of(answer, "signature", 64),
    "getRecentPrioritizationFees": lambda answer, _: usual_fee(answer),
}
UNUSED = {
    "getHealth",
    "getVersion",
    "getEpochInfo",
    "getIdentity",
    "getBlockCommitment",
    "getRecentPerformanceSamples",
}
"""Methods that the product does not call: their answers must still pass its client."""


@pytest.mark.parametrize("name", RECORDED)
async def test_recorded_answer__is_read_by_the_production_code(name: str) -> None:
    """F37: each answer of a real validator is an answer, or a refusal with a class."""
    document = load(name)
    request = document.get("request")
    if request is None or not isinstance(document["response"], dict):
        await _odd(document)
        return
    method, params = request["method"], request.get("params") or []
    answer = await ask(document)
    if isinstance(answer, RpcFault):
        error: ServiceError | None = refused("node", method, answer)
        if method == "sendTransaction":
            error = broadcast_refused("node", answer)
        assert error is None or error.code
        return
    if method in UNUSED:
        assert answer is not None
        return
    READERS[method](answer, params)


async def _odd(document: dict[str, Any]) -> None:
    """Answers that are no single JSON-RPC answer: refused as a whole, with a class."""
    with pytest.raises((InvalidMessage, Transient)):
        await ask(document)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("300-restart-ERR-getBlock-skipped-finalized.json", "SLOT_SKIPPED"),
        ("400-lag-15-getBlock-before-snapshot.json", "HISTORY_PRUNED"),
        ("099-ERR-getBlock-future.json", "NODE_BEHIND"),
        ("400-lag-03-ERR-getHealth-behind.json", "NODE_BEHIND"),
        ("400-lag-09-ERR-minContextSlot-nodeBehind.json", "NODE_BEHIND"),
        ("118-getSignaturesForAddress-before-unknown.json", "CURSOR_UNKNOWN"),
    ],
)
async def test_recorded_refusal__waits(name: str, code: str) -> None:
    """F25: skipped, pruned, behind and unknown are told apart by code, and none is absence."""
    document = load(name)
    fault = await ask(document)
    assert isinstance(fault, RpcFault)
    error = refused("node", document["request"]["method"], fault)
    assert isinstance(error, Transient)
    assert error.code == code


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("127-ERR-sendTransaction-alreadyProcessed.json", None),
        ("136-ERR-sendTransaction-missingSignature.json", InvalidMessage),
        ("140-ERR-sendTransaction-wrongSignature.json", InvalidMessage),
        ("142-ERR-sendTransaction-notBase64.json", InvalidMessage),
        ("148-ERR-sendTransaction-paused-burn.json", Ambiguous),
        ("157-ERR-sendTransaction-unfundedPayer.json", Transient),
        ("400-lag-06-ERR-sendTransaction-nodeBehind.json", Transient),
        ("135-ERR-sendTransaction-processedBlockhash-finalizedPreflight.json", Ambiguous),
    ],
)
async def test_recorded_broadcast_refusal__has_its_class(
    name: str, kind: type[Exception] | None
) -> None:
    """F39, F40: known bytes are success; what may have landed is Ambiguous."""
    fault = await ask(load(name))
    assert isinstance(fault, RpcFault)
    error = broadcast_refused("node", fault)
    assert error is None if kind is None else isinstance(error, kind)


async def test_recorded_failures__have_their_numbers() -> None:
    """F58: a frozen account and a paused mint are told apart by structure, never by text."""
    for name, number in (
        ("026-ERR-sendTransaction-frozenAccount.json", ACCOUNT_FROZEN),
        ("148-ERR-sendTransaction-paused-burn.json", MINT_PAUSED),
    ):
        fault = await ask(load(name))
        assert isinstance(fault, RpcFault)
        failure = parse_failure(transaction_error(fault))
        assert (failure.instruction, failure.custom) == (0, number)


async def test_recorded_accounts__are_the_mint_multisig_and_holding_that_they_were() -> None:
    """The layouts, against accounts that a real Token-2022 wrote."""
    answers = {
        name: account_of((await ask(load(name)))["value"])
        for name in (
            "168-getAccountInfo-mint-base64.json",
            "170-getAccountInfo-tokenAccount-base64.json",
            "172-getAccountInfo-multisig-base64.json",
        )
    }
    mint = parse_mint(answers["168-getAccountInfo-mint-base64.json"], "TSTC")
    assert mint.authority == key_of(KEYS["multisig"], "multisig")
    assert (mint.decimals, mint.paused, mint.new_accounts_frozen) == (6, False, True)
    assert mint.multiplier(2_000_000_000)[0] == 1_500_000_000_000_000_000
    held = parse_token_account(answers["170-getAccountInfo-tokenAccount-base64.json"])
    assert held is not None
    assert held.owner == key_of(KEYS["user"], "user")
    signers = tuple(key_of(text, "signer") for text in KEYS["signers"])
    multisig = answers["172-getAccountInfo-multisig-base64.json"]
    assert multisig is not None
    assert multisig.data == multisig_data(2, signers)
    owner, token = key_of(KEYS["user"], "user"), key_of(KEYS["mint"], "mint")
    assert ata_of(owner, token) == key_of(KEYS["userAta"], "ata")
