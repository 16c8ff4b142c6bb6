"""The command line against a running bridge, each command as the process that people start.

Everything is asked with --json, which is what scripts see; amounts are small, and what a test
halts it resumes, because the world is shared.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import SUPPLIED, SUPPLIED_UNITS, token_units
from xstock_cli.exits import Exit
from xstock_cli.hands import Hands
from xstock_devnet.world import World

TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        assert self.out.count("\n") == 1, self.out + self.err
        return json.loads(self.out)


Xstock = Callable[..., Coroutine[Any, Any, Answer]]


@pytest.fixture
def environment(world: World) -> dict[str, str]:
    """Nothing but where the world is."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "XSTOCK_WORLD": str(world.folder / "world.json")}


@pytest.fixture
def xstock(environment: dict[str, str]) -> Xstock:
    """Run the command to its end."""

    async def call(*words: str) -> Answer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xstock_cli", *words),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert b"Traceback" not in err, err.decode()
        return Answer(process.returncode or 0, out.decode(), err.decode())

    return call


async def test_world__up_and_supplied__holder_has_its_shares(world: World, hands: Hands) -> None:
    """The ground on which every end-to-end test stands."""
    for chain in world.chains:
        holder = hands.holder(chain.name, "holder-0")
        for symbol in SUPPLIED:
            half = token_units(world, chain.name, symbol, SUPPLIED_UNITS) // 2
            assert await holder.shares_of(symbol) > half


async def test_chains_assets_supply__say_what_the_registry_says(
    world: World, xstock: Xstock
) -> None:
    chains, assets, supply = await asyncio.gather(
        xstock("chains", "--json"), xstock("assets", "--json"), xstock("supply", "TSLAx", "--json")
    )
    assert {one["name"] for one in chains.document["chains"]} == {c.name for c in world.chains}
    assert all(one["coverage"]["through"] for one in chains.document["chains"])
    assert len(assets.document["assets"]) == len(world.registry.assets)
    guards = {one["guard_id"] for one in supply.document["supplies"]}
    assert guards == {guard.id for guard in world.registry.guards}
    assert all(int(one["cap"]) > int(one["exposure"]) > 0 for one in supply.document["supplies"])


async def test_tables__for_people__carry_the_same_facts(world: World, xstock: Xstock) -> None:
    chains = await xstock("chains")
    assert chains.code == Exit.DONE
    for chain in world.chains:
        assert chain.name in chains.out
    for network in ("eip155:1", "solana:", "tron:", "tvm:"):
        assert network in chains.out


async def test_doctor__healthy_world__passes_every_check_of_every_chain(
    world: World, xstock: Xstock
) -> None:
    answer = await xstock("doctor", "--json")
    bad = [one for one in answer.document["checks"] if one["passed"] is not True]
    assert bad == []
    assert answer.code == Exit.DONE
    parts = {one["part"] for one in answer.document["checks"]}
    assert {"registry", "guard-1", "relayer", "kafka"} <= parts
    for chain in world.chains:
        assert {chain.name, f"watcher-{chain.name}"} <= parts


async def test_doctor__node_of_another_chain__says_what_differs(
    world: World, xstock: Xstock, environment: dict[str, str]
) -> None:
    """F88: swapped entries are found before anything is signed."""
    nodes = {chain.name: list(world.node_urls(chain.name)) for chain in world.chains}
    nodes["ethereum"], nodes["bnb"] = nodes["bnb"], nodes["ethereum"]
    environment["XSTOCK_NODES"] = json.dumps(nodes)
    answer = await xstock("doctor", "--json")
    assert answer.code == Exit.FAILED
    bad = {(one["part"], one["name"]) for one in answer.document["checks"] if not one["passed"]}
    assert {("ethereum", "chain id"), ("bnb", "chain id")} <= bad


async def test_doctor__tron_and_ton_nodes_that_are_no_such_nodes__are_unknown_not_passed(
    world: World, xstock: Xstock, environment: dict[str, str]
) -> None:
    nodes = {chain.name: list(world.node_urls(chain.name)) for chain in world.chains}
    nodes["tron"], nodes["ton"] = nodes["ton"], nodes["tron"]
    environment["XSTOCK_NODES"] = json.dumps(nodes)
    answer = await xstock("doctor", "--json")
    assert answer.code in (Exit.FAILED, Exit.UNKNOWN)
    bad = {one["part"] for one in answer.document["checks"] if one["passed"] is not True}
    assert bad == {"tron", "ton"}


async def test_transfer__dry_run__shows_effects_and_checks_and_sends_nothing(
    hands: Hands, xstock: Xstock
) -> None:
    holder = hands.holder("ethereum", "holder-2")
    before = await holder.shares_of("TSLAx")
    answer = await xstock(
        *("transfer", "1.5", "TSLAx", "--from", "ethereum", "--to", "bnb"),
        *("--key", "holder-0", "--dry-run", "--json"),
    )
    assert answer.code == Exit.DONE
    built = answer.document["built"]
    assert built["shares"] == "150000000"
    assert built["effects"]
    assert {check["outcome"] for check in built["checks"]} <= {"PASS", "WARN"}
    assert await holder.shares_of("TSLAx") == before


@pytest.mark.parametrize(
    ("source", "destination"),
    [("mantle", "bnb"), ("solana", "tron"), ("tron", "ton"), ("ton", "solana")],
)
async def test_transfer__sent_and_followed__arrives_and_every_way_of_asking_finds_it(
    source: str, destination: str, world: World, hands: Hands, xstock: Xstock
) -> None:
    """Build, show, sign, send and follow, from a chain of each family."""
    receiver = hands.holder(destination, "holder-2")
    before = await receiver.shares_of("SPYx")
    answer = await xstock(
        *("transfer", "0.12345678", "SPYx", "--from", source, "--to", destination),
        *("--key", "holder-0", "--recipient", receiver.address_text, "--yes", "--json"),
    )
    assert answer.code == Exit.DONE, answer.err
    told = answer.document
    assert told["transfer"]["state"] == "RELEASED"
    arrived = token_units(world, destination, "SPYx", 12_345_678)
    assert await receiver.shares_of("SPYx") == before + arrived
    release = next(one["tx"] for one in told["transfer"]["steps"] if one["kind"] == "RELEASED")
    for query in (told["tx"], told["transfer"]["id"], release, receiver.address_text):
        found = await xstock(query, "--json")
        assert found.code == Exit.DONE, (query, found.err)
        assert told["transfer"]["id"] in {one["id"] for one in found.document["results"]}


async def test_transfer__refused_before_a_burn_is_built__names_field_and_remedy(
    xstock: Xstock,
) -> None:
    route = ("--from", "ethereum", "--to", "bnb", "--key", "holder-0", "--yes", "--json")
    cases = {
        ("0.000000001", "TSLAx"): ("AMOUNT_HAS_DUST", Exit.USAGE),
        ("0", "TSLAx"): (None, Exit.USAGE),
        ("1", "DOGEx"): ("ASSET_UNKNOWN", Exit.USAGE),
        ("99999999", "TSLAx"): ("CHECK_FAILED", Exit.REFUSED),
    }
    for words, (code, exit_code) in cases.items():
        answer = await xstock("transfer", *words, *route)
        error = answer.document["error"]
        assert answer.code == error["exit"] == exit_code, error
        assert code in (None, error["code"])
    wrong = await xstock("transfer", "1", "TSLAx", *route, "--recipient", "0x1234")
    assert wrong.document["error"]["code"] == "RECIPIENT_INVALID"
    assert wrong.code == Exit.USAGE


async def test_transfer__recipient_of_another_family__is_refused_before_a_burn_is_built(
    hands: Hands, xstock: Xstock
) -> None:
    chains = ("ethereum", "solana", "tron", "ton")
    address = {chain: hands.holder(chain, "holder-2").address_text for chain in chains}
    for there, other in (("solana", "tron"), ("tron", "ton"), ("ton", "ethereum")):
        answer = await xstock(
            *("transfer", "1", "TSLAx", "--from", "bnb", "--to", there, "--key", "holder-0"),
            *("--yes", "--json", "--recipient", address[other]),
        )
        assert answer.code == Exit.USAGE, (there, other)
        assert answer.document["error"]["code"] == "RECIPIENT_INVALID"


async def test_transfer__timeout_before_the_end__is_pending_and_says_how_to_find_it(
    xstock: Xstock,
) -> None:
    answer = await xstock(
        *("transfer", "1", "TSLAx", "--from", "ethereum", "--to", "mantle", "--key", "holder-0"),
        *("--yes", "--timeout", "1", "--json"),
    )
    assert answer.code == Exit.PENDING, answer.err
    assert "xstock status" in answer.err
    tx = answer.document["tx"] if "tx" in answer.document else answer.err.split()[-1]
    ended = await xstock("status", tx, "--wait", "--timeout", "60", "--json")
    assert ended.code == Exit.DONE
    assert ended.document["results"][0]["state"] == "RELEASED"


async def test_issue__within_the_cap__is_minted(hands: Hands, xstock: Xstock) -> None:
    receiver = hands.holder("ethereum", "holder-2")
    before = await receiver.shares_of("MSFTx")
    answer = await xstock(
        *("issue", "2.5", "MSFTx", "--to", "ethereum"),
        *("--recipient", receiver.address_text, "--json"),
    )
    assert answer.code == Exit.DONE, answer.err
    assert answer.document["transfer"]["state"] == "RELEASED"
    assert await receiver.shares_of("MSFTx") == before + 250_000_000 * 10**10


async def test_issue__above_the_cap__is_refused_with_every_guard_s_numbers(
    hands: Hands, xstock: Xstock
) -> None:
    receiver = hands.holder("bnb", "holder-2")
    answer = await xstock(
        *("issue", "1000000", "METAx", "--to", "bnb"),
        *("--recipient", receiver.address_text, "--json"),
    )
    assert answer.code == Exit.REFUSED, answer.err
    assert answer.document["transfer"]["waiting_for"]["reason"] == "CAP_EXCEEDED"
    for guard in ("guard-1", "guard-2", "guard-3"):
        assert f"{guard}: exposure 0 + asked 1000000 > cap" in answer.err
    assert await receiver.shares_of("METAx") == 0


async def test_halt__asset__is_latched_everywhere_until_two_people_clear_it(
    xstock: Xstock,
) -> None:
    halted = await xstock(
        "halt", "--asset", "COINx", "--reason", "a drill", "--as", "operator-1", "--json"
    )
    services = {"guard-1", "guard-2", "guard-3", "relayer"}
    assert halted.code == Exit.DONE, halted.err
    assert set(halted.document["services"]) == services
    listed = await xstock("halts", "--json")
    assert all(listed.document["services"][name]["halts"] for name in services)
    once = await xstock("resume", "all", "--reason", "over", "--as", "operator-1", "--json")
    assert once.code == Exit.REFUSED
    again = await xstock("resume", "all", "--reason", "over", "--as", "operator-1", "--json")
    assert again.code == Exit.REFUSED
    other = await xstock("resume", "all", "--reason", "over", "--as", "operator-2", "--json")
    assert other.code == Exit.DONE, other.err
    assert all(one["cleared"] for one in other.document["resumed"])


async def test_halt__by_somebody_without_the_right__is_refused_everywhere(xstock: Xstock) -> None:
    answer = await xstock("halt", "--reason", "mischief", "--as", "holder", "--json")
    assert answer.code == Exit.REFUSED
    codes = {one["error"]["code"] for one in answer.document["services"].values()}
    assert codes == {"PERMISSION_DENIED"}


async def test_watch__checkpoint__goes_on_where_it_was_stopped(
    xstock: Xstock, tmp_path: Path
) -> None:
    words = ("watch", "--symbol", "GOOGLx", "--json", "--checkpoint", str(tmp_path / "token"))
    watching = asyncio.create_task(xstock(*words, "--now", "--count", "2"))
    await asyncio.sleep(3)
    sent = await xstock(
        *("transfer", "1", "GOOGLx", "--from", "bnb", "--to", "ethereum", "--key", "holder-0"),
        *("--yes", "--json"),
    )
    first = await watching
    rest = await xstock(*words, "--count", "1")
    frames = [json.loads(line) for line in (first.out + rest.out).splitlines()]
    events = [frame["event"] for frame in frames if frame["event"]]
    assert {one["transfer"]["id"] for one in events} == {sent.document["transfer"]["id"]}
    revisions = [int(one["transfer"]["revision"]) for one in events]
    assert revisions == list(range(revisions[0], revisions[0] + 3))


async def test_watch__interrupted__ends_in_order(world: World, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xstock_cli", "watch", "--now"),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(_connected(process.pid, world.gateway.grpc_port), TIMEOUT_SECONDS)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    assert process.returncode == 128 + signal.SIGINT
    assert b"Traceback" not in err


async def _connected(pid: int, port: int) -> None:
    """Wait until a process has a connection to a port of this machine."""
    process = psutil.Process(pid)
    while not any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
        await asyncio.sleep(0.1)
