"""The local chain answers as the recorded java-tron did, value by value, or says why it does not.

One played session serves all: every recording is either compared or listed with its reason.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from coincurve import PrivateKey

from tests.chains.tron.local_stage import (
    GENESIS_OWNER,
    HOLDER,
    OWNER,
    POOR,
    RECORDINGS,
    Stage,
    comparable,
    play,
    recorded,
    shape,
)
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.tron import witness

STATE = "the recorded chain had another history when it was asked"
STAKING = "nothing can be staked here, senders pay in TRX"
NEWER = "the local VM is at paris on purpose: the artifact must not need newer opcodes"
ACCEPTED = {
    "getblockbynum_genesis": "the genesis endows one account instead of three, one with nothing",
    "broadcasthex_err_no_connection": "a single local node needs no peers",
    "estimateenergy_disabled": "estimateenergy is always on here",
    "getaccount_staked": STAKING,
    "getaccountresource_staked": STAKING,
    "gettransactioninfobyid_SUCCESS_staked_energy": STAKING,
    "gettransactioninfobyid_SUCCESS_origin_pays_energy": STAKING,
    "gettransactioninfobyid_SUCCESS_create2_internal": "its transaction was not recorded",
    "getcontractinfo": "energy_usage of a contract is not counted",
    "getnodeinfo": "heights, version and peers only",
    "listwitnesses": "how much each witness produced is not counted",
    "tvm_blobbasefee": NEWER,
    "tvm_blobhash": NEWER,
    "tvm_mcopy": NEWER,
    "tvm_probe_cancun": NEWER,
    "tvm_push0_probe_shanghai": NEWER,
    "tvm_tstore_tload": NEWER,
    "tvm_probe_istanbul": "its contract's creation was not recorded",
}
"""Recordings that the local chain does not answer alike, and why."""
SHAPE_ONLY = {
    "broadcasttransaction_err_sig_wrong_key": "the hex text holds a signature",
    "jsonrpc_eth_getBlockByNumber_earliest": "the genesis endows one account instead of three",
    "gettransactionbyid_pending": "a pending result is provisional: OUT_OF_TIME was recorded",
    "gettransactionfrompending_pending": "a pending result is provisional",
    "gettransactioninfobyid_OUT_OF_ENERGY_max_fee": "not traced to the step for a large limit",
    "jsonrpc_eth_call_latest": STATE,
    "jsonrpc_eth_getBalance": STATE,
    "jsonrpc_eth_getBalance_41": STATE,
    "jsonrpc_eth_getLogs_from_finalized": STATE,
    "jsonrpc_eth_getLogs_range": STATE,
    "jsonrpc_eth_getStorageAt": STATE,
    "jsonrpc_net_version": "another genesis, another chain id",
    "jsonrpc_soliditynode_eth_blockNumber": STATE,
    "jsonrpc_soliditynode_eth_getLogs": STATE,
    "triggerconstantcontract_data_field": STATE,
    "triggerconstantcontract_deploy_simulation": "the address follows from the transaction",
    "triggerconstantcontract_success": STATE,
    "triggerconstantcontract_success_visible": STATE,
    "tvm_bal": STATE,
    "tvm_blockhash": "BLOCKHASH and NUMBER are anvil's: a block a transaction",
    "tvm_chainid": "another genesis, another chain id",
    "tvm_create2": "CREATE2 addresses have Ethereum's prefix ff instead of 41",
    "tvm_ecrecover_x10": "the contract shows gas, which inside anvil is not energy",
    "tvm_env": "NUMBER, GASPRICE, BASEFEE and GASLIMIT are anvil's",
    "tvm_keccak_1024": "the contract shows gas, which inside anvil is not energy",
    "tvm_keccak_32": "the contract shows gas, which inside anvil is not energy",
    "tvm_sha256_1024": "the contract shows gas, which inside anvil is not energy",
}
"""Recordings of which only names and types are compared, and why not the values."""
ALL = sorted(path.stem for path in RECORDINGS.glob("*.json"))
COMPARED = [name for name in ALL if name not in ACCEPTED and name not in SHAPE_ONLY]


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    """The session, played once."""
    faucet = witness.faucet_key()
    keys = {
        OWNER: faucet,
        GENESIS_OWNER: faucet,
        POOR: PrivateKey(b"\x05" * 32),
        HOLDER: PrivateKey(b"\x06" * 32),
    }
    with tempfile.TemporaryDirectory() as folder:
        node = TronNode(Path(folder), block_ms=3_000, final_blocks=3, automine=False)
        async with node, httpx.AsyncClient(timeout=60, trust_env=False) as client:
            played = Stage(node, client, keys)
            await play(played)
            yield played


@pytest.mark.parametrize("name", COMPARED)
async def test_answer__the_recorded_request_again__the_recorded_answer(
    stage: Stage, name: str
) -> None:
    want: dict[str, Any] = recorded(name)["response"]
    assert stage.statuses[name] == (want["status"], want["content_type"])
    wanted = want["json"] if want["json"] is not None else want["body_text"]
    assert comparable(stage.answers[name]) == comparable(wanted)


@pytest.mark.parametrize("name", sorted(SHAPE_ONLY))
async def test_answer__a_value_that_two_chains_cannot_share__the_recorded_names_and_types(
    stage: Stage, name: str
) -> None:
    want: dict[str, Any] = recorded(name)["response"]
    assert stage.statuses[name] == (want["status"], want["content_type"])
    assert shape(comparable(stage.answers[name])) == shape(comparable(want["json"]))


@pytest.mark.parametrize(
    "name",
    [*sorted(name for name in SHAPE_ONLY if "eth_" not in name and "net_" not in name)],
)
async def test_energy__whatever_else_differs__is_the_recorded_one(stage: Stage, name: str) -> None:
    want, got = recorded(name)["response"]["json"], stage.answers[name]
    assert got.get("energy_used") == want.get("energy_used")
    assert got.get("receipt", {}) == want.get("receipt", {})


def test_recordings__each__is_compared_or_excused() -> None:
    """A recording that is added later is compared unless somebody writes down why not."""
    assert set(ACCEPTED) | set(SHAPE_ONLY) <= set(ALL)
    assert not set(ACCEPTED) & set(SHAPE_ONLY)


def test_comparison__a_missing_field_or_another_text__is_seen() -> None:
    """The comparison itself, with an answer spoilt: it must not be blind."""
    good = recorded("gettransactioninfobyid_REVERT_reason")["response"]["json"]
    assert comparable({**good, "result": "SUCCESS"}) != comparable(good)
    assert comparable({k: v for k, v in good.items() if k != "resMessage"}) != comparable(good)
    assert shape({**good, "fee": "1"}) != shape(good)
