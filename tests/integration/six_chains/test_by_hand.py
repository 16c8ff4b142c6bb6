"""The rehearsal: what people do by hand to six chains while nothing of the bridge runs.

There is no guard, relayer, gateway, broker or database in this file. The commands run as processes
of their own, with nodes and key files and an empty environment; whether they did what they say is
tried on each chain by releasing a share, as a relayer with M guards' signatures would.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.six_chains.bare import DELAY_SECONDS, BareChains, bare_chains
from xstock_chains.ports import ExecutionState
from xstock_chains.registry import Registry, load_registry
from xstock_devnet.plan import CHAINS
from xstock_runtime.clock import SystemClock

NAMES = [chain.name for chain in CHAINS]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[BareChains]:
    """Six chains of this test's own."""
    async with bare_chains(tmp_path) as chains:
        yield chains


async def releases(
    bare: BareChains, signers: Sequence[str], registry: Registry | None = None
) -> dict[str, ExecutionState | None]:
    """chain -> what became of a release that these keys signed."""
    states = await asyncio.gather(*(bare.release(name, signers, registry) for name in NAMES))
    return dict(zip(NAMES, states, strict=True))


def paused(document: Any) -> list[str]:
    """The chains that a document calls paused."""
    return [name for name, one in document["chains"].items() if one["paused"]]


async def test_pause_all__nothing_else_runs__every_chain_stops_and_one_that_is_away_is_named(
    bare: BareChains,
) -> None:
    """F82, F84: no single key releases anything anywhere; the agent's alone stops everything."""
    for alone in ("relayer", "agent", "deployer", "guard-1"):
        assert not any((await releases(bare, [alone])).values()), alone
    good = await releases(bare, ["guard-1", "guard-2"])
    assert set(good.values()) == {ExecutionState.RELEASED}, good

    pause = ("pause-all", "--registry", "registry.json", "--yes", "--key")
    code, document, notes = await bare.xstock(*pause, "stranger.key", "--limit", "20")
    assert (code, paused(document)) == (1, []), notes
    assert all(name in notes.splitlines()[-1] for name in NAMES)

    bare.nodes["ton"].child.freeze()
    code, document, notes = await bare.xstock(*pause, "agent.key", "--limit", "25")
    bare.nodes["ton"].child.thaw()
    assert code == 1
    assert paused(document) == [name for name in NAMES if name != "ton"], notes
    assert "NOT paused: ton" in notes

    before = SystemClock().monotonic()
    code, document, notes = await bare.xstock(*pause, "agent.key")
    took = SystemClock().monotonic() - before
    assert (code, paused(document)) == (0, NAMES), notes
    sent = {name: len(one["acts"]) for name, one in document["chains"].items()}
    assert sent == {name: int(name == "ton") for name in NAMES}
    assert took < 30

    assert not any((await releases(bare, ["guard-1", "guard-2"])).values())
    code, document, notes = await bare.xstock("pauses", "--registry", "registry.json")
    assert (code, paused(document)) == (0, NAMES), notes

    keys = ("--key", "deployer.key", "--key", "agent.key")
    unpause = ("unpause", "--registry", "registry.json", "--yes", *keys)
    code, document, notes = await bare.xstock(*unpause)
    assert code == 4, (document, notes)
    await SystemClock().sleep(DELAY_SECONDS + 3)
    code, document, notes = await bare.xstock(*unpause)
    assert code == 0, (document, notes)
    good = await releases(bare, ["guard-1", "guard-2"])
    assert set(good.values()) == {ExecutionState.RELEASED}, good


async def test_guard_rotate__add_remove_and_raise_the_threshold__resumes_and_ends_on_all_chains(
    bare: BareChains,
) -> None:
    """F83: guard-1 goes, guard-4 comes, three must sign; what two of before sign is void."""
    new = ("guard-2", "guard-3", "guard-4")
    bare.write_registry("next.json", bare.document(new, 3, 2))
    rotate = ("guard", "rotate", "--registry", "registry.json", "--new-registry", "next.json")
    code, document, notes = await bare.xstock(*rotate, "--dry-run")
    assert code == 0, notes
    planned = {act["state"] for one in document["chains"].values() for act in one["acts"]}
    assert planned == {"planned"}

    admin = (*rotate, "--admin-key", "deployer.key", "--yes", "--write", "registry-2.json")
    code, document, notes = await bare.xstock(*admin)
    assert code != 0
    assert "solana" in notes.splitlines()[-1], notes
    waiting = [
        name
        for name, one in document["chains"].items()
        if any(act["state"] == "waiting" and act["until"] for act in one["acts"])
    ]
    assert waiting == [name for name in NAMES if name != "solana"], document

    signed = (*admin, "--guard-key", "guard-1.key", "--guard-key", "guard-2.key")
    code, document, notes = await bare.xstock(*signed)
    while code == 4:
        await SystemClock().sleep(DELAY_SECONDS / 4)
        code, document, notes = await bare.xstock(*signed)
    assert code == 0, notes
    code, document, notes = await bare.xstock(*signed)
    states = {act["state"] for one in document["chains"].values() for act in one["acts"]}
    assert (code, states) == (0, {"already"}), document

    after = load_registry(bare.folder / "registry-2.json")
    assert not any((await releases(bare, ["guard-1", "guard-2"])).values())
    assert not any((await releases(bare, ["guard-2", "guard-3"], after)).values())
    good = await releases(bare, new, after)
    assert set(good.values()) == {ExecutionState.RELEASED}, good
