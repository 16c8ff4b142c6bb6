"""The local TON chain against recorded toncenter answers and toncenter's own API description.

Events like the recorded ones are made on the chain and its answers compared by shape. Every
difference that is accepted stands here with its reason. The recordings are not part of this
project: where they are absent these tests say so and compare nothing.
"""

import base64
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from nacl.signing import SigningKey
from pytoniq_core.boc.address import Address
from pytoniq_core.boc.cell import Cell

from tests.chains.ton.local_chain import (
    NOWHERE,
    TON,
    Json,
    LocalChain,
    WalletV4,
    boc,
    body_of,
    builder,
    internal,
    log,
    normalized_hash,
    raw,
    running_chain,
)
from tests.chains.ton.local_samples import (
    TRANSACTION_FILES,
    OpenApi,
    Shape,
    joined,
    load,
    recorded_transactions,
    shape,
)

NOT_SHOWN_HERE = {
    r"\.decoded(\.|\[|$)": "bodies are not decoded; the service answers null for unknown ones too",
    r"\.(resp|req)_fwd_fees$": "only with a bounce that could not be paid",
    r"\.credit_extra_currencies$": "no extra currencies here",
    r"\.(trace_external_hash|child_transactions|raw)$": "traces only",
}
"""Recorded paths the local chain need not show, by pattern, with the reason."""
NEWER_THAN_MOST_RECORDINGS = {
    "trace_external_hash": "of pending transactions; in the service's models",
    "in_msg_tx_hash": "the recorded log has no receiver",
}
NEWER_OF_MESSAGES = re.compile(
    # the one recording of 2026 has these of messages, but no message of every kind
    r"^\.(in_msg|out_msgs\[\])\.(extra_flags|decoded_opcode|init_state(\..*)?)$"
)
DOCUMENTED_OTHERWISE = (
    # recorded answers and the service's source write text: "0xffffffff", "finalized"
    re.compile(r"\.(opcode|finality): string, documented as integer$"),
)
"""Differences from the OpenAPI document, where recorded answers contradict it too."""
WRONG_ANSWER_SCHEMA = {
    "/api/v3/runGetMethod": "the document gives the request's schema for the answer",
    "/api/v3/masterchainBlockShards": "the document says transactions, the service gives blocks",
    "/api/v3/masterchainBlockShardState": "the document says transactions; blocks are given",
}


class Played:
    """What was made to happen on the chain: one event of each recorded kind."""

    def __init__(self, chain: LocalChain, wallet: WalletV4, transactions: list[Json]) -> None:
        self.chain = chain
        self.wallet = wallet
        self.transactions = transactions


@pytest.fixture(scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    """A chain on which a deploy, transfer, log, bounce and failed sending have happened."""
    async with running_chain(tmp_path_factory.mktemp("ton")) as chain:
        wallet = await chain.funded_wallet(1)
        words = builder().store_uint(0x30786632, 32).store_uint(7, 64).end_cell()
        short = builder().store_uint(1, 8).end_cell()
        stranger = Address((0, b"\x12" * 32))
        other = WalletV4(SigningKey(b"\x02" * 32))
        for seqno, (message, mode) in enumerate(
            (
                (internal(NOWHERE, TON, body=words), 3),
                (log(words), 3),
                (log(short), 3),
                (internal(stranger, TON, bounce=False), 3),
                (internal(wallet.address, TON, body=short), 3),
                (internal(other.address, TON, init=other.init), 3),
            )
        ):
            await chain.send(wallet.transfer(seqno, [message], mode=mode))
            await chain.mine(3)
        # an action that fails aborts, and the wallet's number stays what it was
        await chain.send(wallet.transfer(6, [internal(NOWHERE, 5_000 * TON)], mode=0))
        await chain.mine(4)
        everything = (await chain.get("transactions", ("limit", 1000)))["transactions"]
        yield Played(chain, wallet, everything)


def accepted(path: str) -> bool:
    """Whether a recorded path need not be shown here."""
    return any(re.search(pattern, path) for pattern in NOT_SHOWN_HERE)


def all_recorded() -> Shape:
    """What any recorded transaction shows."""
    names = (*TRANSACTION_FILES, "v3_traces_one.json")
    return joined(shape(tx) for name in names for tx in recorded_transactions(name))


@pytest.mark.parametrize("name", [*TRANSACTION_FILES, "v3_traces_one.json"])
async def test_transactions__like_the_recorded_ones__have_every_recorded_field(
    played: Played, name: str
) -> None:
    recorded = joined(shape(tx) for tx in recorded_transactions(name))
    local = joined(shape(tx) for tx in played.transactions)
    missing = sorted(path for path in recorded if path not in local and not accepted(path))
    assert missing == []


async def test_transactions__every_field_they_have__was_recorded_with_that_type(
    played: Played,
) -> None:
    recorded = all_recorded()
    strange = {
        path: sorted(kinds - recorded.get(path, set()))
        for path, kinds in joined(shape(tx) for tx in played.transactions).items()
        if not kinds <= recorded.get(path, set())
        and path.rpartition(".")[2] not in NEWER_THAN_MOST_RECORDINGS
    }
    left = {path: kinds for path, kinds in strange.items() if not NEWER_OF_MESSAGES.search(path)}
    assert left == {}


async def test_transactions__recorded_kinds__are_all_among_those_compared(played: Played) -> None:
    kinds = {
        (tx["description"]["aborted"], tx["description"].get("action", {}).get("result_code"))
        for tx in played.transactions
    }
    assert {(False, 0), (True, None), (True, 37)} <= kinds
    assert any(
        tx["description"].get("bounce", {}).get("type") == "ok" for tx in played.transactions
    )
    assert any(tx["in_msg"]["bounced"] for tx in played.transactions)
    assert any(out["destination"] is None for tx in played.transactions for out in tx["out_msgs"])


async def test_recorded_messages__normalised_here__hash_as_recorded(played: Played) -> None:
    """The chain's own hash is compared with this same function in the tests of its behaviour."""
    assert played.transactions
    seen = 0
    for tx in recorded_transactions("v3_transactions_external_in.json"):
        message = tx["in_msg"]
        body = Cell.one_from_boc(base64.b64decode(message["message_content"]["body"]))
        assert normalized_hash(Address(message["destination"]), body) == message["hash_norm"]
        seen += 1
    assert seen > 0


async def test_messages__log__has_the_recorded_fields_and_types(played: Played) -> None:
    recorded = shape(load("v3_messages_log.json"))
    recorded.pop("._source")
    answer = await played.chain.get(
        "messages", ("source", raw(played.wallet.address)), ("destination", "null")
    )
    assert len(answer["messages"]) == 2
    local = shape(answer)
    missing = {path for path in recorded if path not in local and not accepted(path)}
    assert missing == set()
    assert {
        path: local[path] - recorded[path] for path in recorded if local[path] - recorded[path]
    } == {}


async def test_blocks__of_both_chains__have_the_recorded_fields_and_types(played: Played) -> None:
    recorded = shape(load("v3_block.json"))
    recorded.pop("._source")
    assert shape(await played.chain.get("blocks", ("workchain", 0), ("limit", 2))) == recorded
    assert shape(await played.chain.get("blocks", ("workchain", -1), ("limit", 2))) == recorded
    info = await played.chain.get("masterchainInfo")
    fields = {path.removeprefix(".blocks[]") for path in recorded if path.startswith(".blocks[]")}
    assert set(shape(info["last"])) == fields


def as_pattern(text: str) -> str:
    """A recorded refusal with the account, the numbers and the log's words left open."""
    head = text.split("\nVM Log (truncated):\n...")[0]
    pattern = re.sub(r"[0-9A-F]{64}", "[0-9A-F]{64}", re.escape(head))
    return re.sub(r"=\d+", r"=\\d+", pattern)


async def test_send__refused__answers_as_recorded_in_v2_and_with_its_text_in_v3(
    played: Played,
) -> None:
    recorded = load("send_rejected.json")
    expired = played.wallet.transfer(6, [], valid_until=1)
    for sample, sent in (("not_accepted", boc(expired)), ("bad_boc", "te6cc")):
        v2 = await played.chain.http.post("/api/v2/sendBoc", json={"boc": sent})
        v3 = await played.chain.http.post("/api/v3/message", json={"boc": sent})
        assert (v2.status_code, v3.status_code) == (500, 500)
        assert shape(v2.json()) == shape(recorded[sample])
        assert re.match(as_pattern(recorded[sample]["error"]), v2.json()["error"])
        assert v3.json() == {"error": v2.json()["error"]}
    rejected = await played.chain.http.post("/api/v2/sendBoc", json={"boc": boc(expired)})
    assert "exitcode=36" in rejected.json()["error"]
    assert "\nVM Log (truncated):\n..." in rejected.json()["error"]


async def test_send__nothing__answers_as_documented(played: Played) -> None:
    answer = await played.chain.http.post("/api/v2/sendBoc", json={"boc": ""})
    assert answer.status_code == 422
    assert answer.json() == load("v2_errors.json")["422_send"]["example"]


@pytest.mark.parametrize("status", [429, 504])
async def test_errors__of_the_service_itself__answer_as_documented(
    played: Played, status: int
) -> None:
    documented = load("v2_errors.json")
    await played.chain.control("fail", status=status, count=2)
    v2 = await played.chain.http.get("/api/v2/getMasterchainInfo")
    v3 = await played.chain.http.get("/api/v3/masterchainInfo")
    body = documented["429_ratelimit_doc"] if status == 429 else documented["504"]["example"]
    assert (v2.status_code, v2.json()) == (status, body)
    assert (v3.status_code, v3.json()) == (status, {"error": body.get("error") or body["result"]})
    assert (await played.chain.http.get("/api/v3/masterchainInfo")).status_code == httpx.codes.OK


SERVED = (
    "/api/v3/accountStates",
    "/api/v3/addressBook",
    "/api/v3/addressInformation",
    "/api/v3/adjacentTransactions",
    "/api/v3/blocks",
    "/api/v3/jetton/burns",
    "/api/v3/jetton/masters",
    "/api/v3/jetton/transfers",
    "/api/v3/jetton/wallets",
    "/api/v3/masterchainBlockShardState",
    "/api/v3/masterchainBlockShards",
    "/api/v3/masterchainInfo",
    "/api/v3/messages",
    "/api/v3/pendingTransactions",
    "/api/v3/transactions",
    "/api/v3/transactionsByMasterchainBlock",
    "/api/v3/transactionsByMessage",
    "/api/v3/walletInformation",
    "/api/v3/walletStates",
)
REQUIRED = {
    "/api/v3/adjacentTransactions": ("hash",),
    "/api/v3/masterchainBlockShardState": ("seqno",),
    "/api/v3/masterchainBlockShards": ("seqno",),
    "/api/v3/pendingTransactions": ("account",),
    "/api/v3/transactionsByMasterchainBlock": ("seqno",),
    "/api/v3/transactionsByMessage": ("msg_hash",),
}


def substituted(played: Played) -> dict[str, str]:
    """A value for every documented parameter, taken from what happened on this chain."""
    tx = next(tx for tx in played.transactions if tx["in_msg"]["source"] is None)
    account = raw(played.wallet.address)
    names = "account address owner_address jetton_wallet jetton_master jetton_address source"
    hashes = "msg_hash trace_id root_hash file_hash body_hash"
    return {
        **dict.fromkeys((*names.split(), "admin_address", "destination"), account),
        **dict.fromkeys(hashes.split(), tx["in_msg"]["hash"]),
        **dict.fromkeys(("start_utime", "start_lt", "offset"), "0"),
        **dict.fromkeys(("end_utime", "end_lt", "lt"), str(2**31 - 1)),
        **dict.fromkeys(("exclude_externals", "only_externals", "use_v2"), "true"),
        **dict.fromkeys(("include_boc", "exclude_zero_balance"), "false"),
        "exclude_account": raw(NOWHERE),
        "hash": tx["hash"],
        "opcode": "0x30786632",
        "direction": "in",
        "workchain": "0",
        "shard": "8000000000000000",
        "seqno": str(tx["mc_block_seqno"]),
        "mc_seqno": str(tx["mc_block_seqno"]),
        "limit": "3",
        "sort": "asc",
    }


@pytest.mark.parametrize("path", SERVED)
async def test_requests__every_documented_parameter__is_taken_and_answered_as_documented(
    played: Played, path: str
) -> None:
    api = OpenApi(load("toncenter-v3.openapi.yaml"))
    values = substituted(played)
    names = api.parameters(path)
    required = [name for name in names if name == "address" or name in REQUIRED.get(path, ())]
    for name in (None, *names):
        asked = {each: values[each] for each in (*required, *([name] if name else []))}
        answer = await played.chain.http.get(path, params=httpx.QueryParams(asked))
        assert answer.status_code == httpx.codes.OK, (name, answer.text)
        if path not in WRONG_ANSWER_SCHEMA:
            found = set(api.complaints(answer.json(), api.answer_schema(path, "get")))
            left = {line for line in found if not any(d.search(line) for d in DOCUMENTED_OTHERWISE)}
            assert left == set()


async def test_posts__message_getter_and_estimate__answer_as_documented(played: Played) -> None:
    api = OpenApi(load("toncenter-v3.openapi.yaml"))
    account = raw(played.wallet.address)
    message = played.wallet.transfer(6, [])
    for path, body in (
        ("/api/v3/message", {"boc": boc(message)}),
        ("/api/v3/estimateFee", {"address": account, "body": boc(body_of(message))}),
    ):
        answer = await played.chain.http.post(path, json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert list(api.complaints(answer.json(), api.answer_schema(path, "post"))) == []
    getter = {"address": account, "method": "get_public_key", "stack": []}
    answer = await played.chain.http.post("/api/v3/runGetMethod", json=getter)
    assert shape(answer.json()) == {
        "": {"object"},
        ".gas_used": {"integer"},
        ".exit_code": {"integer"},
        ".stack": {"array"},
        ".stack[]": {"object"},
        ".stack[].type": {"string"},
        ".stack[].value": {"string"},
    }
