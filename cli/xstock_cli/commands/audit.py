"""`xstock audit`: export a guard's journal, check it offline, get signed proofs of supply.

The check itself is a program of its own that shares no code with the bridge
(`audit/verify_journal.py`); it is run as such, and can be run without this command.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
import typer

from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.journal_file import JournalFile
from xstock_cli.options import AsOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import limit_text, share_text
from xstock_runtime.errors import ServiceError
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.v1 import audit_pb2, audit_pb2_grpc, papers_pb2

IDENTITY: Final = "auditor"
_PROOF_SECONDS: Final = 20
_HASH_SECONDS: Final = 60

app = typer.Typer(
    name="audit",
    help="Check the guards: journals exported and verified offline, signed proofs of supply.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
GuardOption = Annotated[
    str | None, typer.Option("--guard", help="This guard (guard-1). None means the first.")
]


@app.command("export")
def export_journal(
    out: Annotated[Path, typer.Option("--out", help="The file; an unfinished one goes on.")],
    guard: GuardOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a guard's whole journal to a file; run again to add what came since."""
    place, screen = find_place(world=world), Screen(as_json=as_json)
    name, target = _guard(place, guard)
    file = JournalFile.resume(out, name)
    begun = file.last
    run(lambda: _export(place, target, who or place.identity or IDENTITY, file, screen))
    document = {"guard": name, "file": str(out), "links": file.last, "new": file.last - begun}
    screen.document(document)
    screen.line(f"{name}: {file.last} links in {out} ({file.last - begun} new)")


async def _export(place: Place, target: str, who: str, file: JournalFile, screen: Screen) -> None:
    async with Bridge("", tls=place.tls, identity=who) as bridge:
        stub = audit_pb2_grpc.AuditServiceStub(await bridge.channel(target, who))
        request = audit_pb2.ExportJournalRequest(after_sequence=file.last)
        told = 0
        try:
            async for page in stub.ExportJournal(request):
                file.append(page)
                percent = 100 * file.last // page.last_sequence if page.last_sequence else 100
                if percent >= told + 10:
                    told = percent
                    screen.note(f"{file.last} of {page.last_sequence} links ({percent} %)")
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error


@app.command("verify")
def verify_journal(
    journal: Annotated[Path, typer.Argument(help="A file of `xstock audit export`.")],
    proof: Annotated[
        list[Path] | None, typer.Option("--proof", help="A file of `xstock audit proof`; repeat.")
    ] = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an exported journal offline, with a program that shares no code with the guard.

    Exit codes: 0 everything holds, 1 something is wrong (it says which link and why), 2 nothing
    to check.
    """
    arguments = [str(journal)]
    for one in proof or []:
        arguments += ["--proof", str(one)]
    path = find_place(world=world, registry=registry).registry_path if proof else None
    if path is not None:
        arguments += ["--registry", str(path)]
    if as_json:
        arguments.append("--json")
    # Its own interpreter, without our packages: nothing of ours can help it to agree with us.
    done = subprocess.run([sys.executable, "-I", "-S", str(verifier()), *arguments], check=False)  # noqa: S603 - our own file
    raise typer.Exit(done.returncode)


def verifier() -> Path:
    """The verifier's file: beside this package when installed, else in the checkout."""
    package = Path(__file__).parents[1]
    places = (package / "verify_journal.py", package.parents[1] / "audit" / "verify_journal.py")
    for place in places:
        if place.is_file():
            return place
    raise UsageProblem("verify", str(places[1]), "get audit/verify_journal.py of this release")


@app.command("proof")
def supply_proof(
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    at: Annotated[
        str, typer.Option("--at", help="A past moment, e.g. 2026-11-22T18:00:00Z. None means now.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder: one signed proof per guard goes there.")
    ] = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every guard for its signed statement of an asset's supply, and compare them.

    Exit codes: 0 all say the same, 1 they differ, 3 a guard was away.
    """
    place, screen = find_place(world=world, registry=registry), Screen(as_json=as_json)
    asset = place.need_registry().asset(symbol).id
    request = audit_pb2.GetSupplyProofRequest(asset=asset, at_ms=_moment(at))
    identity = who or place.identity or IDENTITY
    answers, failures = run(
        lambda: _ask(place, identity, "GetSupplyProof", request, _PROOF_SECONDS)
    )
    proofs = {name: papers_pb2.SupplyProof.FromString(a.proof.paper) for name, a in answers.items()}
    deployment = place.need_registry().deployment_id
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, answer in answers.items():
            _write_proof(out / f"{symbol}-{name}.json", deployment, answer.proof)
    same = len({_figures(proof) for proof in proofs.values()}) <= 1
    screen.document(
        {
            "same": same,
            "proofs": {name: _document(proof) for name, proof in proofs.items()},
            "failures": {name: str(error) for name, error in failures.items()},
        }
    )
    _print_proofs(screen, symbol, proofs, failures, same=same)
    if not same:
        raise typer.Exit(Exit.FAILED)
    if failures:
        raise typer.Exit(Exit.RETRY)


@app.command("hash")
def ledger_hash(
    who: AsOption = None, world: WorldOption = None, as_json: JsonOption = False
) -> None:
    """Ask every guard for the hash over what chains alone decide in its ledger.

    Guards that have booked the same blocks say the same; a rebuilt one too.
    """
    place, screen = find_place(world=world), Screen(as_json=as_json)
    identity = who or place.identity or IDENTITY
    request = audit_pb2.GetLedgerHashRequest()
    answers, failures = run(lambda: _ask(place, identity, "GetLedgerHash", request, _HASH_SECONDS))
    rows = [
        (name, answer.ledger_hash.hex(), str(answer.entries), str(answer.journal_sequence))
        for name, answer in answers.items()
    ]
    document = {
        name: {
            "ledger_hash": answer.ledger_hash.hex(),
            "entries": answer.entries,
            "journal_sequence": answer.journal_sequence,
            "journal_digest": answer.journal_digest.hex(),
        }
        for name, answer in answers.items()
    }
    screen.document({"guards": document, "failures": {n: str(e) for n, e in failures.items()}})
    screen.table("", ("guard", "ledger hash", "entries", "journal"), rows, right=("entries",))
    for name, error in failures.items():
        screen.note(f"{name}: {error}")
    if failures:
        raise typer.Exit(Exit.RETRY)


def _guard(place: Place, wanted: str | None) -> tuple[str, str]:
    guards = place.need_guards()
    name = wanted or next(iter(guards))
    if name not in guards:
        raise UsageProblem("--guard", name, f"known are {', '.join(guards)}")
    return name, guards[name]


def _moment(text: str) -> int:
    """Unix milliseconds of an ISO time; 0 for none. Raises UsageProblem."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem("--at", text, "write 2026-11-22T18:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageProblem("--at", text, "say the zone, e.g. Z for UTC")
    return int(moment.timestamp() * 1000)


async def _ask(
    place: Place, who: str, method: str, request: Any, seconds: float
) -> tuple[dict[str, Any], dict[str, ServiceError]]:
    """What every guard answers, and who failed."""
    answers: dict[str, Any] = {}
    failures: dict[str, ServiceError] = {}
    async with Bridge("", tls=place.tls, identity=who) as bridge:
        for name, target in place.need_guards().items():
            stub = audit_pb2_grpc.AuditServiceStub(await bridge.channel(target, who))
            try:
                answers[name] = await getattr(stub, method)(request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                failures[name] = remote_error(error)
    return answers, failures


def _write_proof(path: Path, deployment: str, proof: Any) -> None:
    document = {
        "kind": proof.kind,
        "deployment": deployment,
        "key_id": proof.key_id,
        "paper": proof.paper.hex(),
        "signature": proof.signature.hex(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _figures(proof: papers_pb2.SupplyProof) -> tuple[Any, ...]:
    """What guards that have booked the same blocks must say alike."""
    return (
        tuple((chain.chain, chain.ledger) for chain in proof.chains),
        (proof.in_flight, proof.orphaned, proof.open_issuance, proof.unpaid_redemption),
        (proof.exposure, proof.attestation_sequence, proof.cap),
    )


def _document(proof: papers_pb2.SupplyProof) -> Mapping[str, Any]:
    return {
        "as_of_ms": proof.as_of_ms,
        "journal_sequence": proof.journal_sequence,
        "journal_digest": proof.journal_digest.hex(),
        "chains": {
            str(chain.chain): {
                "ledger": chain.ledger,
                "booked_number": chain.booked_number,
                "booked_hash": chain.booked_hash.hex(),
                "reading": chain.reading,
            }
            for chain in proof.chains
        },
        "in_flight": proof.in_flight,
        "orphaned": proof.orphaned,
        "open_issuance": proof.open_issuance,
        "unpaid_redemption": proof.unpaid_redemption,
        "exposure": proof.exposure,
        "attestation_sequence": proof.attestation_sequence,
        "cap": proof.cap,
        "excluded": proof.excluded,
    }


def _print_proofs(
    screen: Screen,
    symbol: str,
    proofs: Mapping[str, papers_pb2.SupplyProof],
    failures: Mapping[str, ServiceError],
    *,
    same: bool,
) -> None:
    rows = [
        (
            name,
            share_text(proof.exposure),
            limit_text(proof.cap, proof.excluded),
            share_text(proof.in_flight),
            str(proof.journal_sequence),
            proof.journal_digest.hex()[:16],
        )
        for name, proof in proofs.items()
    ]
    columns = ("guard", "exposure", "cap", "in flight", "link", "head")
    screen.table(symbol, columns, rows, right=("exposure", "cap", "in flight", "link"))
    screen.line("all guards say the same" if same else "THE GUARDS DIFFER: see --json")
    for name, error in failures.items():
        screen.note(f"{name}: {error}")
