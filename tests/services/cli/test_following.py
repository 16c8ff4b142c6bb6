"""Status, following and watching over a stream that breaks, against a gateway in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.services.cli.gateway import event, fake_gateway, serving, transfer
from xstock_cli.__main__ import run_arguments
from xstock_cli.exits import Exit
from xstock_runtime.grpc_errors import CallRefused
from xstock_wire.v1 import bridge_pb2

HASH = "0x" + "ab" * 32
RELEASED = bridge_pb2.TRANSFER_STATE_RELEASED


def coverage(verdict: Any) -> bridge_pb2.LookupTransfersResponse:
    found = bridge_pb2.LookupCoverage(chain="ethereum", verdict=verdict)
    return bridge_pb2.LookupTransfersResponse(coverage=[found])


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (bridge_pb2.LOOKUP_VERDICT_UNKNOWN_TO_NODES, Exit.FAILED),
        (bridge_pb2.LOOKUP_VERDICT_NOT_A_BRIDGE_BURN, Exit.FAILED),
        (bridge_pb2.LOOKUP_VERDICT_REVERTED, Exit.FAILED),
        (bridge_pb2.LOOKUP_VERDICT_IN_MEMPOOL, Exit.PENDING),
        (bridge_pb2.LOOKUP_VERDICT_SEEN_NOT_FINAL, Exit.PENDING),
        (bridge_pb2.LOOKUP_VERDICT_CHAIN_UNREADABLE, Exit.UNKNOWN),
    ],
)
def test_status__nothing_found__says_what_each_chain_knows(
    verdict: bridge_pb2.LookupVerdict, code: Exit, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not knowing and knowing that there is nothing are never one exit code."""
    with serving(fake_gateway(lookup=coverage(verdict))) as address:
        assert run_arguments([HASH, "--gateway", address, "--json"]) == code
    document = json.loads(capfd.readouterr().out)
    assert document["results"] == []
    assert document["coverage"][0]["chain"] == "ethereum"


def test_status__found__is_printed_with_what_it_waits_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    held = transfer(state=bridge_pb2.TRANSFER_STATE_HELD, reason="CAP_EXCEEDED")
    found = bridge_pb2.LookupTransfersResponse(results=[held])
    with serving(fake_gateway(lookup=found)) as address:
        assert run_arguments(["status", HASH, "--gateway", address]) == Exit.DONE
    out = capfd.readouterr().out
    assert "CAP_EXCEEDED" in out
    assert "ethereum → bnb" in out
    assert "1.25 shares of TSLAx" in out


def test_status__wait__follows_across_a_broken_stream_to_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = transfer()
    last = transfer(revision=2, state=RELEASED, terminal=True)
    gateway = fake_gateway(
        transfers={bytes(first.id): first},
        lookup=bridge_pb2.LookupTransfersResponse(results=[first]),
        streams=[[event(first, b"t1")], [event(last, b"t2")]],
    )
    with serving(gateway) as address:
        words = ["status", HASH, "--wait", "--timeout", "20", "--gateway", address, "--json"]
        assert run_arguments(words) == Exit.DONE
    assert json.loads(capfd.readouterr().out)["results"][0]["state"] == "RELEASED"
    assert gateway.starts[1].resume_token == b"t1"


def test_status__wait__pending_at_the_timeout_is_exit_4(capfd: pytest.CaptureFixture[str]) -> None:
    first = transfer()
    gateway = fake_gateway(
        transfers={bytes(first.id): first},
        lookup=bridge_pb2.LookupTransfersResponse(results=[first]),
        streams=[[event(first)]],
    )
    with serving(gateway) as address:
        words = ["status", HASH, "--wait", "--timeout", "0.5", "--gateway", address]
        assert run_arguments(words) == Exit.PENDING
    assert "SEEN" in capfd.readouterr().out


def test_status__ended_before_the_stream_began__is_seen_all_the_same(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A stream begins with open transfers: one that has just ended is not among them."""
    last = transfer(revision=9, state=RELEASED, terminal=True)
    progress = bridge_pb2.WatchTransfersResponse(
        progress=bridge_pb2.WatchProgress(first=True), resume_token=b"t"
    )
    gateway = fake_gateway(
        transfers={bytes(last.id): last},
        lookup=bridge_pb2.LookupTransfersResponse(results=[transfer()]),
        streams=[[progress]],
    )
    with serving(gateway) as address:
        words = ["status", HASH, "--wait", "--timeout", "10", "--gateway", address]
        assert run_arguments(words) == Exit.DONE


def test_status__refused_by_the_server__has_reason_remedy_and_code(
    capfd: pytest.CaptureFixture[str],
) -> None:
    refusal = CallRefused(
        "CHAIN_UNKNOWN", "chain: 'x' is none", violations=[("chain", "use ListChains")]
    )
    with serving(fake_gateway(refusal=refusal)) as address:
        code = run_arguments(["status", HASH, "--chain", "x", "--gateway", address, "--json"])
    error = json.loads(capfd.readouterr().out)["error"]
    assert code == error["exit"] == Exit.USAGE
    assert error["code"] == "CHAIN_UNKNOWN"
    assert error["violations"] == [{"field": "chain", "text": "use ListChains"}]


def test_watch__gateway_restarts__goes_on_from_the_last_token(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint.json"
    gateway = fake_gateway(
        streams=[[event(transfer(1), b"a")], [event(transfer(2), b"b")], [event(transfer(3), b"c")]]
    )
    usual = ["watch", "--json", "--checkpoint", str(file)]
    with serving(gateway) as address:
        assert run_arguments([*usual, "--count", "2", "--gateway", address]) == Exit.DONE
        assert run_arguments([*usual, "--count", "1", "--gateway", address]) == Exit.DONE
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"]["transfer"]["id"][:2] for line in lines] == ["01", "02", "03"]
    assert gateway.starts[0].snapshot_then_follow
    assert [start.resume_token for start in gateway.starts[1:]] == [b"a", b"b"]
    assert json.loads(file.read_text())["resume_token"] == b"c".hex()
