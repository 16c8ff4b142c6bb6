"""What real java-tron nodes said, read by the production code; and bytes both ways.

The recordings are answers of a real node, byte for byte. Each goes through the client as HTTP
and then through the reader of its method; every raw transaction in them is decoded and written
again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from xstock_chains.solidity.artifact import creation_code
from xstock_chains.tron.address import account_text, from_hex, parse_account, to_hex
from xstock_chains.tron.blocks import (
    Block,
    block_logs,
    landed,
    parse_block,
    succeeded,
)
from xstock_chains.tron.codec import chain_id_of
from xstock_chains.tron.errors import (
    CallFault,
    CallOutcome,
    broadcast_refused,
    failure_reason,
    parse_call,
    parse_estimate,
)
from xstock_chains.tron.fees import read_prices
from xstock_chains.tron.rpc import RpcLimits, TronRpc, hex_bytes, list_of, number_of
from xstock_chains.tron.transaction import (
    Create,
    Frame,
    RawTransaction,
    Transfer,
    Trigger,
    decode,
    encode,
    reference,
    signed_transaction,
    transaction_id,
)
from xstock_core.ids import InvalidId
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

RECORDINGS = Path(__file__).parent / "recordings"
FILES = sorted(RECORDINGS.rglob("*.json"))
FRAME = Frame(b"\x00\x45", b"\x11" * 8, 1_795_357_173_000, 1_795_357_053_000)


def loaded(path: Path) -> dict[str, Any]:
    """A recording."""
    recording: dict[str, Any] = json.loads(path.read_text())
    return recording


def recorded(name: str) -> Any:
    """The recorded answer's JSON."""
    return loaded(RECORDINGS / f"{name}.json")["response"]["json"]


def answering(recording: dict[str, Any]) -> TronRpc:
    """A client whose server says what was recorded, whatever it is asked."""
    response = recording["response"]
    rpc = TronRpc("http://127.0.0.1:1", RpcLimits())

    def answer(_: httpx.Request) -> httpx.Response:
        kind = {"Content-Type": response["content_type"]}
        return httpx.Response(response["status"], content=response["body_text"], headers=kind)

    rpc._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return rpc


def _info(answer: Any) -> None:
    if not answer:
        return
    assert landed(answer) or failure_reason(answer)
    ref = hex_bytes(answer["id"], "id", 32)
    number = number_of(answer.get("blockNumber"), "blockNumber")
    block = Block(number, number.to_bytes(8, "big") + bytes(24), bytes(32), 0, (ref,))
    logs = block_logs(TronRpc("http://x"), block, [answer], succeeded)
    assert len(logs) == (len(answer.get("log", [])) if succeeded(answer) else 0)


def _infos(answer: Any) -> None:
    for one in list_of(answer, "infos"):
        _info(one)


def _blocks(answer: Any) -> None:
    found = [parse_block(one) for one in list_of(answer.get("block"), "block")]
    assert all(one is not None for one in found)


def _block(answer: Any) -> None:
    block = parse_block(answer)
    assert (block is None) is (answer == {})


def _call(answer: Any) -> None:
    outcome = parse_call(answer)
    failed = '"FAILED"' in json.dumps(answer) or "code" in answer["result"]
    assert isinstance(outcome, CallFault if failed else CallOutcome)


def _estimate(answer: Any) -> None:
    outcome = parse_estimate(answer)
    assert isinstance(outcome, int) is ("energy_required" in answer)


def _broadcast(answer: Any) -> None:
    refused = broadcast_refused(answer, "node")
    accepted = answer.get("result") is True or answer["code"] == "DUP_TRANSACTION_ERROR"
    assert (refused is None) is accepted


READERS: dict[str, Callable[[Any], None]] = {
    "gettransactioninfobyid": _info,
    "gettransactioninfobyblocknum": _infos,
    "getblockbylimitnext": _blocks,
    "getblockbynum": _block,
    "getnowblock": _block,
    "getblock": _block,
    "triggerconstantcontract": _call,
    "estimateenergy": _estimate,
    "broadcasthex": _broadcast,
}
BASE58_INSIDE = {"gettransactioninfobyid_SUCCESS_with_log_dynamic_visible"}
"""We never ask with `visible`: its base58 addresses are refused, not misread."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_recording__of_a_real_node__is_read_or_refused_by_type(path: Path) -> None:
    """F37: every answer becomes a value or a typed error."""
    recording = loaded(path)
    method = recording["request"]["path"].rsplit("/", 1)[-1]
    rpc = answering(recording)
    try:
        answer = await rpc.ask("wallet", method, {})
    except (Transient, InvalidMessage):
        said = recording["response"]["json"]
        assert recording["response"]["status"] != 200 or said is None or "Error" in said
        return
    finally:
        await rpc.aclose()
    assert answer == recording["response"]["json"]
    reader = READERS.get(method)
    if reader is None:
        return
    try:
        reader(answer)
    except InvalidMessage:
        assert path.stem in BASE58_INSIDE


def raw_transactions(value: Any) -> Iterator[tuple[str, str]]:
    """Every (raw_data_hex, txID) in an answer."""
    if isinstance(value, dict):
        if "raw_data_hex" in value and "txID" in value:
            yield value["raw_data_hex"], value["txID"]
        for inner in value.values():
            yield from raw_transactions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from raw_transactions(inner)


def test_transactions__recorded__are_written_byte_for_byte() -> None:
    """What real nodes built and accepted is what our encoder writes, ids included."""
    found = ours = 0
    for path in FILES:
        for raw_hex, tx_id in raw_transactions(json.loads(path.read_text())["response"]["json"]):
            raw = bytes.fromhex(raw_hex)
            found += 1
            assert transaction_id(raw).hex() == tx_id
            try:
                assert encode(decode(raw)) == raw
                ours += 1
            except InvalidMessage:
                assert "memo" in path.stem or "genesis" in path.stem
    assert found > 40
    assert ours > 0.9 * (found - 4)


def test_transactions__signed_as_recorded__are_the_bytes_that_a_node_took() -> None:
    name = "broadcasthex_success_transfer"
    sent = json.loads((RECORDINGS / f"{name}.json").read_text())["request"]["body"]["transaction"]
    whole = bytes.fromhex(sent)
    said = json.loads(recorded(name)["transaction"])
    transfer = decode(whole[3:139])
    assert isinstance(transfer.content, Transfer)
    rebuilt = signed_transaction(whole[3:139], bytes.fromhex(said["signature"][0]))
    assert rebuilt == whole


@pytest.mark.parametrize(
    "content",
    [
        Trigger(b"\x01" * 20, b"\x02" * 20, b"\x03" * 100),
        Transfer(b"\x01" * 20, b"\x02" * 20, 5_000_000),
        Create(b"\x01" * 20, creation_code("XStockToken"), "token"),
    ],
    ids=lambda content: type(content).__name__,
)
def test_transaction__any_changed_byte__is_another_or_refused(
    content: Trigger | Transfer | Create,
) -> None:
    """F37: bytes that we would not have written are never signed."""
    tx = RawTransaction(FRAME, content, 1_000_000)
    raw = encode(tx)
    assert decode(raw) == tx
    for at in range(0, len(raw), max(1, len(raw) // 200)):
        for changed in (raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :], raw[:at]):
            try:
                other = decode(changed)
            except InvalidMessage:
                continue
            assert other != tx
            assert encode(other) == changed
    for extra in (b"\x52\x04memo", b"\x08\x01", raw):
        with pytest.raises(InvalidMessage):
            decode(raw + extra)


@pytest.mark.parametrize("frame", [{"ref_block_bytes": b"\1"}, {"expiration_ms": -1}])
def test_transaction__frame_out_of_range__is_refused(frame: dict[str, Any]) -> None:
    call = Trigger(b"\x01" * 20, b"\x02" * 20, b"")
    with pytest.raises(InvalidId):
        encode(RawTransaction(replace(FRAME, **frame), call))


def test_reference__of_a_recorded_block__is_what_the_node_wrote() -> None:
    """Bytes 6 and 7 of the number, 8 to 15 of the id."""
    block = parse_block(recorded("getnowblock_fullnode"))
    assert block is not None
    sent = json.loads(recorded("broadcasthex_err_dup_while_pending")["transaction"])["raw_data"]
    ref_bytes, ref_hash = reference(block.number, block.id)
    assert (ref_bytes.hex(), ref_hash.hex()) == (sent["ref_block_bytes"], sent["ref_block_hash"])


def test_chain_id__of_the_recorded_genesis__is_what_its_contracts_see() -> None:
    genesis = parse_block(recorded("getblockbynum_genesis"))
    assert genesis is not None
    assert genesis.number == 0, "a zero number is missing in the JSON"
    seen = parse_call(recorded("tvm_chainid"))
    assert isinstance(seen, CallOutcome)
    assert int.from_bytes(seen.data[-32:], "big") == chain_id_of(genesis.id)


async def test_prices__as_recorded__are_read(tmp_path: Path) -> None:
    rpc = answering(json.loads((RECORDINGS / "getchainparameters.json").read_text()))
    prices = await read_prices(rpc)
    await rpc.aclose()
    assert (prices.energy, prices.bandwidth, prices.fee_limit_max) == (100, 10, 10**9)


def test_failures__as_recorded__are_told_apart() -> None:
    """F44: OUT_OF_ENERGY burned the limit, REVERT says what the contract said."""
    said = {
        "REVERT_reason": "REVERT: not forty-two",
        "OUT_OF_ENERGY": "OUT_OF_ENERGY: the fee limit was used up whole; Not enough energy",
        "ILLEGAL_OPERATION": "ILLEGAL_OPERATION: ",
    }
    for name, begins in said.items():
        info = recorded(f"gettransactioninfobyid_{name}")
        assert not landed(info)
        assert failure_reason(info).startswith(begins)
    assert landed(recorded("gettransactioninfobyid_SUCCESS_memo"))


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("broadcasthex_err_expired", "SLOT_EXPIRED", Ambiguous),
        ("broadcasthex_err_bandwith", "SENDER_UNFUNDED", Transient),
        ("broadcasthex_err_no_connection", "RPC_REFUSED", Transient),
        ("broadcasthex_err_tapos_wrong_hash", "BROADCAST_REFUSED", Ambiguous),
        ("broadcasthex_err_sig_wrong_key", "BROADCAST_REFUSED", Ambiguous),
    ],
)
def test_broadcast__refused_as_recorded__is_the_right_class(
    name: str, code: str, kind: type[ServiceError]
) -> None:
    error = broadcast_refused(recorded(name), "node")
    assert isinstance(error, kind)
    assert error.code == code


@pytest.mark.parametrize("name", ["dup_while_pending", "dup_after_inclusion"])
def test_broadcast__dup_as_recorded__ends_the_sending(name: str) -> None:
    """F40."""
    assert broadcast_refused(recorded(f"broadcasthex_err_{name}"), "node") is None


def test_address__recorded_text__has_the_recorded_bytes() -> None:
    raw = bytes.fromhex("bcc10170da3fb480e63510264e6e4af2e28b4182")
    assert account_text(raw) == "TTBFFPXkCd7MrsspWTp7yT68AcsDmiELN3"
    assert parse_account("TTBFFPXkCd7MrsspWTp7yT68AcsDmiELN3") == raw
    assert from_hex(to_hex(raw), "address") == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TTBFFPXkCd7MrsspWTp7yT68AcsDmiELN4",
        "TTBFFPXkCd7MrsspWTp7yT68AcsDmiELN",
        "41bcc10170da3fb480e63510264e6e4af2e28b4182",
        "0xbcc10170da3fb480e63510264e6e4af2e28b4182",
        "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "TTBFFPXkCd7MrsspWTp7yT68AcsDmiEL0O",
    ],
    ids=["empty", "checksum", "short", "hex41", "evm", "zero", "bitcoin", "alphabet"],
)
def test_address__of_another_form__is_refused_with_the_remedy(text: str) -> None:
    """F18."""
    with pytest.raises(InvalidId) as refused:
        parse_account(text)
    assert refused.value.remedy


@pytest.mark.parametrize("value", [None, 5, "", "41", "0x41" + "00" * 20, "42" + "11" * 20])
def test_address__in_a_nodes_hex__is_checked(value: Any) -> None:
    """F37."""
    with pytest.raises(InvalidMessage):
        from_hex(value, "address")
