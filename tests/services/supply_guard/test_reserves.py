"""The issuer's proof-of-reserves feed as one of K attestors, over loopback HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import hand_in, in_force, paper_of
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    HOLDER,
    SHARE,
    STRANGER,
    World,
    paper_key,
)
from xstock_devnet.reserves import DIGEST_TAG, Feed
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.adapters.reserves_feed import ReservesFeed
from xstock_supply_guard.entrypoints.collateral import FeedLoop
from xstock_supply_guard.handlers import attesting, reserves
from xstock_supply_guard.handlers.reserves import note_reserves
from xstock_supply_guard.metrics import GuardMetrics
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import papers_pb2

FEED_KEY = paper_key("reserves-feed")
HELD = 1000 * SHARE
"""Units of 10^-8 that custody's papers in this file claim."""


@dataclass
class Scene:
    """A guard that asks for two attestors, one of which is the feed."""

    world: World = field(default_factory=World)
    holdings: dict[str, int] = field(default_factory=lambda: {"TSLAx": HELD, "AAPLx": 5})

    def __post_init__(self) -> None:
        base = self.world.desk.config
        self.world.desk.config = replace(
            base,
            attestors={key.key_id: key.public_key for key in (ATTESTOR, FEED_KEY)},
            policy=replace(base.policy, attestors_needed=2, attestation_age_seconds_max=600),
        )

    def body(self, **changes: Any) -> bytes:
        """The feed's document of TSLAx."""
        fields = {"symbol": "TSLAx", "sharesHeld": "1000.0", "timestamp": self.world.now}
        return json.dumps(fields | changes).encode()

    def note(self, body: bytes, key: PaperKey = FEED_KEY, key_id: str = "") -> int:
        """Hand a document over as the poller does."""
        signature = key.sign_digest(keccak256(DIGEST_TAG + body))
        return note_reserves(self.world.desk, ASSET, body, key_id or key.key_id, signature)


@pytest.fixture
def scene() -> Scene:
    """A guard and what the feed would say."""
    return Scene()


@pytest.fixture
def feed(scene: Scene) -> Iterator[Feed]:
    """The feed on loopback."""
    served = Feed(lambda: scene.holdings, FEED_KEY, lambda: scene.world.now)
    served.start()
    yield served
    served.close()


def failures_of(loop: FeedLoop, code: str) -> float:
    """How often the feed failed with this code."""
    return float(loop.metrics.feed_failures.labels(code)._value.get())


def loop_of(scene: Scene, source: ReservesFeed) -> FeedLoop:
    """The poller."""
    counters = GuardMetrics.create(Metrics("test"))
    return FeedLoop(scene.world.desk, source, scene.world.clock, counters, 60.0)


async def test_feed__polled__is_the_second_voice(scene: Scene, feed: Feed) -> None:
    assert not (await hand_in(scene.world, paper_of(scene.world), ATTESTOR)).in_force
    async with ReservesFeed(f"http://127.0.0.1:{feed.port}", 5.0) as source:
        await loop_of(scene, source).step()
    answer = await hand_in(scene.world, paper_of(scene.world), ATTESTOR)
    assert (answer.in_force, answer.signatures) == (True, 2)
    async with scene.world.store.read() as books:
        record = (await books.attestations([ASSET]))[ASSET]
    assert record.statement.paper == paper_of(scene.world).SerializeToString(deterministic=True)
    lines = [line for _, _, said in scene.world.store.links for line in said]  # type: ignore[attr-defined]
    assert any(
        line.startswith("attest-signature") and "key=reserves-feed" in line for line in lines
    )
    assert all("reserves-feed" not in line for line in lines if line.startswith("attest "))


async def test_feed__without_custody__is_one_voice_and_no_paper(scene: Scene) -> None:
    scene.note(scene.body())
    assert await in_force(scene.world) == 0
    with pytest.raises(InvalidMessage, match="signature"):
        await hand_in(scene.world, paper_of(scene.world), STRANGER)


async def test_feed__frozen__confirms_no_more(scene: Scene) -> None:
    """F54: the feed stands still; new papers gather no K, the one in force grows old."""
    world = scene.world
    scene.note(scene.body())
    assert (await hand_in(world, paper_of(world), ATTESTOR)).in_force
    await world.clock.advance(601)
    assert not (await hand_in(world, paper_of(world, sequence=2), ATTESTOR)).in_force
    world.mine()
    await world.scan()
    assert await world.outcome(world.order(1, SHARE)) == ("HELD", "COLLATERAL_STALE")


async def test_feed__shows_less_than_the_paper_claims__confirms_nothing(scene: Scene) -> None:
    scene.note(scene.body(sharesHeld="999.99999999"))
    assert not (await hand_in(scene.world, paper_of(scene.world), ATTESTOR)).in_force
    low = paper_of(scene.world, HELD - 1, sequence=2)
    assert (await hand_in(scene.world, low, ATTESTOR)).in_force


async def test_feed__paper_lists_a_payout__is_no_voice_for_it(scene: Scene) -> None:
    """It shows what is held, nothing of what was paid: one key alone writes nothing off."""
    scene.note(scene.body())
    paid = paper_of(scene.world, paid=[b"\x05" * 32])
    assert not (await hand_in(scene.world, paid, ATTESTOR)).in_force
    assert (await hand_in(scene.world, paper_of(scene.world, sequence=2), ATTESTOR)).in_force


async def test_feed__paper_names_issuer_inventory__is_no_voice_for_it(scene: Scene) -> None:
    """It shows what is held, nothing of what is unsold: one key alone raises no limit."""
    scene.note(scene.body())
    named = [papers_pb2.InventoryAccount(chain=1, owner=HOLDER)]
    stock = paper_of(scene.world, inventory=named)
    assert not (await hand_in(scene.world, stock, ATTESTOR)).in_force
    assert (await hand_in(scene.world, paper_of(scene.world, sequence=2), ATTESTOR)).in_force


async def test_feed__comparison_removed__any_claim_is_confirmed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence removed: a voice that is counted whatever it says."""
    scene.note(scene.body(sharesHeld="1"))
    voice = reserves.feed_voice

    def deaf(desk: Any, attestation: Any, paper: Any) -> Any:
        return voice(desk, replace(attestation, held_units=0), paper)

    monkeypatch.setattr(attesting, "feed_voice", deaf)
    assert (await hand_in(scene.world, paper_of(scene.world), ATTESTOR)).in_force


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"symbol": "AAPLx"}, "symbol"),
        ({"sharesHeld": "-1"}, "sharesHeld"),
        ({"sharesHeld": "NaN"}, "sharesHeld"),
        ({"sharesHeld": "1e999"}, "sharesHeld"),
        ({"sharesHeld": True}, "sharesHeld"),
        ({"sharesHeld": None}, "sharesHeld"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": "2026-01-01T00:00:00"}, "timestamp"),
        ({"timestamp": 4_000_000_000}, "timestamp"),
    ],
)
def test_feed__what_cannot_be_believed__refused_by_name(
    scene: Scene, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidMessage, match=field):
        scene.note(scene.body(**changes))


def test_feed__field_twice_or_no_object__refused(scene: Scene) -> None:
    for body in (b'{"symbol":"TSLAx","symbol":"TSLAx"}', b"[]", b"\xff", b"[" * 30_000):
        with pytest.raises(InvalidMessage, match="body"):
            scene.note(body)


def test_feed__of_a_stranger_or_rolled_back__refused(scene: Scene) -> None:
    with pytest.raises(InvalidMessage, match="signature"):
        scene.note(scene.body(), STRANGER)
    with pytest.raises(InvalidMessage, match="signature"):
        scene.note(scene.body(), STRANGER, FEED_KEY.key_id)
    scene.note(scene.body())
    with pytest.raises(InvalidMessage, match="before"):
        scene.note(scene.body(timestamp=scene.world.now - 1))


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("418", 418 * SHARE),
        ("387.3067", 38_730_670_000),
        ("0.000000019", 1),
        (0, 0),
        ("90071992547.40993", 9_007_199_254_740_993_000),
    ],
)
def test_feed__decimal_strings__are_exact(scene: Scene, text: object, units: int) -> None:
    """No float on the way: 2^53 + 1 and digits below 10^-8 come through exactly or rounded down."""
    assert scene.note(scene.body(sharesHeld=text)) == units


async def test_feed__down_or_of_an_unknown_symbol__is_counted_and_asked_again(
    scene: Scene, feed: Feed
) -> None:
    scene.holdings.pop("AAPLx")
    async with ReservesFeed(f"http://127.0.0.1:{feed.port}", 5.0) as source:
        loop = loop_of(scene, source)
        await loop.step()
        assert failures_of(loop, "FEED_UNREACHABLE") == 1
        assert list(scene.world.desk.live.reserves) == [ASSET]
        feed.close()
        await loop.step()
        assert failures_of(loop, "FEED_UNREACHABLE") == 3
        with pytest.raises(Transient):
            await source.ask("TSLAx")
