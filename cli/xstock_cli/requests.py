"""A holder's signed request to cancel, in the form of the chain that burned.

EVM and Tron holders sign with their secp256k1 key, Solana's with their ed25519 key; the paper
names the transfer and soon expires. A TON wallet is a contract and signs no papers.
"""

from pathlib import Path
from typing import Final

from xstock_chains.keyfile import secret_of_file
from xstock_cli.exits import UsageProblem
from xstock_core.ids import EVM_WIDTH_DOMAINS, Domain
from xstock_core.message import parse_message
from xstock_wire.papers import CANCEL_REQUEST, PaperKey, sign_with_ed25519
from xstock_wire.v1 import bridge_pb2, common_pb2, papers_pb2

REQUEST_SECONDS: Final = 3_600
_REASON_CHARACTERS_MAX: Final = 500


def signed_request(
    transfer: bridge_pb2.Transfer, key_file: Path, deployment_id: str, reason: str, now_ms: int
) -> common_pb2.SignedPaper:
    """The request for this transfer; raises UsageProblem for a burn on TON."""
    source = parse_message(transfer.message).source
    paper = papers_pb2.CancelRequest(
        transfer_id=transfer.id,
        expires=now_ms // 1000 + REQUEST_SECONDS,
        reason=reason[:_REASON_CHARACTERS_MAX],
    )
    secret = secret_of_file(key_file)
    if source is Domain.SOLANA:
        return sign_with_ed25519(secret, CANCEL_REQUEST, deployment_id, paper)
    if source not in EVM_WIDTH_DOMAINS:
        remedy = "a TON wallet signs no papers: ask the operators (xstock cancel --as OPERATOR)"
        raise UsageProblem("--key", key_file.name, remedy)
    return PaperKey.of_holder(secret).sign(CANCEL_REQUEST, deployment_id, paper)
