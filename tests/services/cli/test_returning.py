"""`xstock cancel` and `xstock redeem` against a gateway in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import a_message, id_of
from tests.chains.evm.test_registry import document
from tests.services.cli.gateway import FakeGateway, event, serving
from xstock_cli.__main__ import run_arguments
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.requests import REQUEST_SECONDS, signed_request
from xstock_core.holder import address_of_key
from xstock_core.ids import Address32, Domain
from xstock_core.message import TransferMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_wire.v1 import bridge_pb2

SECRET = "11" * 32
NOW_MS = 1_800_000_000_000


def shown(message: TransferMessage, state: int = 0, revision: int = 1) -> bridge_pb2.Transfer:
    """A transfer as the partner API shows it."""
    terminal = state in (bridge_pb2.TRANSFER_STATE_REFUNDED, bridge_pb2.TRANSFER_STATE_RELEASED)
    return bridge_pb2.Transfer(
        id=id_of(message),
        message=message.pack(),
        state=state,  # type: ignore[arg-type]
        terminal=terminal,
        revision=revision,
        source="ethereum",
        destination="bnb",
        symbol="TSLAx",
        shares=message.amount,
    )


def solana_burn() -> TransferMessage:
    """A burn on Solana."""
    reference = Address32(keccak256(b"reference"))
    return a_message(
        source=Domain.SOLANA,
        destination=Domain.BNB,
        nonce=keccak256(b"nonce"),
        source_bridge=reference,
        refund_address=Address32(keccak256(b"owner")),
    )


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A holder's key file."""
    file = tmp_path / "holder.key"
    file.write_text(SECRET, encoding="ascii")
    return file


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry file."""
    file = tmp_path / "registry.json"
    file.write_text(json.dumps(document()), encoding="ascii")
    return file


@pytest.mark.parametrize("message", [a_message(), solana_burn()])
def test_request__signed_by_the_command_line__is_what_a_guard_believes(
    message: TransferMessage, key: Path
) -> None:
    """Signer and verifier share only the digest; the address is the key's on the burn's chain."""
    signed = signed_request(shown(message), key, "test", "back please", NOW_MS)
    read = wire.cancel_from_wire(signed, "test")
    public = bytes.fromhex(read.statement.key_id)
    assert read.transfer_id == id_of(message)
    assert read.expires == NOW_MS // 1000 + REQUEST_SECONDS
    assert signature_valid(public, read.statement.digest, read.statement.signature)
    assert address_of_key(message.source, public) is not None
    other = wire.cancel_from_wire(signed, "another deployment").statement
    assert not signature_valid(public, other.digest, other.signature)


def test_request__for_a_burn_on_ton__says_whom_to_ask(key: Path) -> None:
    burn = a_message(source=Domain.TON, refund_address=Address32(keccak256(b"wallet")))
    with pytest.raises(UsageProblem, match="operators"):
        signed_request(shown(burn), key, "test", "back", NOW_MS)


class Returning(FakeGateway):
    """A gateway whose transfer takes the given states once somebody asks for it back."""

    def __init__(self, *states: int) -> None:
        message = a_message()
        held = shown(message, bridge_pb2.TRANSFER_STATE_HELD)
        told = [shown(message, state, 2 + n) for n, state in enumerate(states)]
        super().__init__(transfers={held.id: held}, streams=[[event(one) for one in (held, *told)]])
        self.after = told[0]
        self.asked: list[Any] = []

    def CancelTransfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        del context
        self.asked.append(request)
        return bridge_pb2.CancelTransferResponse(transfer=self.after)


CANCELLING = bridge_pb2.TRANSFER_STATE_CANCELLING
REFUNDING = bridge_pb2.TRANSFER_STATE_REFUNDING


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((CANCELLING, REFUNDING, bridge_pb2.TRANSFER_STATE_REFUNDED), Exit.DONE),
        ((CANCELLING, bridge_pb2.TRANSFER_STATE_RELEASED), Exit.FAILED),
        ((CANCELLING, bridge_pb2.TRANSFER_STATE_HELD), Exit.REFUSED),
        ((CANCELLING, REFUNDING), Exit.PENDING),
    ],
)
def test_cancel__followed__says_how_it_ended(
    states: tuple[int, ...],
    code: Exit,
    key: Path,
    registry: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gateway = Returning(*states)  # type: ignore[abstract]
    with serving(gateway) as address:
        arguments = ["cancel", id_of(a_message()).hex(), "--key", str(key), "--gateway", address]
        more = ["--registry", str(registry), "--timeout", "3", "--json"]
        assert run_arguments([*arguments, *more]) == code
    assert gateway.asked[0].transfer_id == id_of(a_message())
    told = json.loads(capfd.readouterr().out)
    assert told["transfer"]["state"].endswith(
        bridge_pb2.TransferState.Name(states[-1]).removeprefix("TRANSFER_STATE_")  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("given", [[], ["--key", "x", "--as", "operator-1"]])
def test_cancel__neither_or_both_ways__is_a_wrong_call(given: list[str]) -> None:
    assert run_arguments(["cancel", "ab" * 32, *given]) == Exit.USAGE


def test_cancel__no_transfer_id__is_a_wrong_call(key: Path) -> None:
    arguments = ["cancel", "nonsense", "--key", str(key), "--gateway", "127.0.0.1:1"]
    assert run_arguments(arguments) == Exit.USAGE


def test_redeem__nobody_can_be_asked__wants_yes(key: Path) -> None:
    arguments = ["redeem", "1", "TSLAx", "--from", "bnb", "--key", str(key), "--account", "11" * 32]
    assert run_arguments([*arguments, "--gateway", "127.0.0.1:1", "--no-input"]) == Exit.USAGE
