"""What the proof-of-reserves feed leaves behind, whole: what is taken, refusals by name, its voice.

A refusal is one outcome: its code, the field, the value and the remedy; what was believed before
stands. The voice is one signature, and it is silent at the very second and unit where it must be.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import AGENT, hand_in, paper_of
from tests.services.supply_guard.test_reserves import FEED_KEY, HELD, Scene, failures_of
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    OTHER,
    SHARE,
    STRANGER,
)
from xstock_core.cap import Attestation
from xstock_devnet.reserves import DIGEST_TAG
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_runtime.metrics import Metrics
from xstock_supply_guard import wire
from xstock_supply_guard.entrypoints.collateral import FeedLoop
from xstock_supply_guard.handlers.reserves import BODY_BYTES_MAX, feed_voice, note_reserves
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.model import FeedAnswer, PaperSignature, Reserves, SignedStatement
from xstock_wire.papers import ATTESTATION, PaperKey

NOW = 1_700_000_000
DECIMAL = "give a decimal string"
NOT_BELOW = "give a decimal string, 0 or more"
SECONDS = "give Unix seconds or RFC 3339"
WITH_ZONE = "give Unix seconds or RFC 3339 with its zone"
OBJECT = "give one JSON object"
ONCE = "give one JSON object, every field once"
REGISTERED = "the feed signs with a registered attestor's key"


@pytest.fixture
def scene() -> Scene:
    """A guard and what the feed would say."""
    return Scene()


def signed(body: bytes, key: PaperKey = FEED_KEY) -> bytes:
    """The feed's signature of a body."""
    return key.sign_digest(keccak256(DIGEST_TAG + body))


def raw(scene: Scene, held: str = '"1000"', moment: str = str(NOW)) -> bytes:
    """A document whose values are this very text: JSON of another writer."""
    assert scene.world.now == NOW
    return f'{{"symbol":"TSLAx","sharesHeld":{held},"timestamp":{moment}}}'.encode()


def refused(scene: Scene, body: bytes) -> tuple[str, str, str]:
    """(field, value, remedy) of the refusal of a signed body; nothing is believed by it."""
    before = dict(scene.world.desk.live.reserves)
    with pytest.raises(InvalidMessage) as found:
        scene.note(body)
    assert scene.world.desk.live.reserves == before
    return whole(found.value)


def whole(error: InvalidMessage) -> tuple[str, str, str]:
    """(field, value, remedy) of a refusal whose code and shape are right."""
    assert error.code == "RESERVES_INVALID"
    field, value = error.metadata["field"], error.metadata["value"]
    assert error.metadata == {"field": field, "value": value}
    opening = f"{field}: {value!r} is not valid; "
    assert error.message.startswith(opening)
    return field, value, error.message.removeprefix(opening)


# --- what is taken --------------------------------------------------------------------------------


def test_document__of_the_feed__is_kept_whole_with_its_signature(scene: Scene) -> None:
    body = raw(scene, '"12.5"')
    assert scene.note(body) == 1_250_000_000
    assert scene.world.desk.live.reserves == {
        ASSET: Reserves(
            asset=ASSET,
            held_units=1_250_000_000,
            as_of=NOW,
            key_id="reserves-feed",
            public_key=FEED_KEY.public_key,
            body=body,
            signature=signed(body),
        )
    }


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("1000", 1000 * SHARE),
        ("1000.5", 100_050_000_000),
        ("90071992547.40993", 9_007_199_254_740_993_000),
        ("0.00000001", 1),
        ("1e-8", 1),
        ("1e-9", 0),
        ("1e-9999999", 0),
        ('"1e3"', 1000 * SHARE),
        ('"0.009999999"', 999_999),
        ('"-0"', 0),
        ("18446744073709551615", (2**64 - 1) * SHARE),
        ('"18446744073709551615.00000000"', (2**64 - 1) * SHARE),
        (f'"0.{"9" * 58}"', SHARE - 1),
        (f'"18446744073709551614.{"9" * 39}"', (2**64 - 1) * SHARE - 1),
    ],
)
def test_shares__of_any_exact_form__are_whole_units_rounded_down(
    scene: Scene, text: str, units: int
) -> None:
    """Down for every digit that may come: the last two have more than decimals keep by default."""
    assert scene.note(raw(scene, text)) == units
    assert scene.world.desk.live.reserves[ASSET].held_units == units


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1", 1),
        (str(NOW), NOW),
        (str(NOW + 30), NOW + 30),
        ('"2023-11-14T22:13:20Z"', NOW),
        ('"2023-11-14T22:13:20+00:00"', NOW),
        ('"2023-11-15T00:13:20+02:00"', NOW),
        ('"2023-11-14T17:13:20-05:00"', NOW),
        ('"2023-11-14T22:13:20.999999Z"', NOW),
        ('"2023-11-14T22:13:50Z"', NOW + 30),
        ('"0001-01-01T00:00:00+14:00"', -62_135_647_200),
    ],
)
def test_time__of_either_form__is_unix_seconds(scene: Scene, text: str, moment: int) -> None:
    """The last one is before the first day of UTC: old, and no reason to fall over."""
    scene.note(raw(scene, moment=text))
    assert scene.world.desk.live.reserves[ASSET].as_of == moment


def test_document__as_long_as_it_may_be__is_taken_and_one_byte_more_is_not(scene: Scene) -> None:
    body = raw(scene).ljust(BODY_BYTES_MAX)
    assert len(body) == 65_536
    assert scene.note(body) == HELD
    assert refused(scene, body + b" ") == ("body", "65537 bytes", "at most 65536")


def test_document__with_fields_nobody_asked_for__is_taken(scene: Scene) -> None:
    assert scene.note(scene.body(custodian={"name": "x"}, note=[1.5, None])) == HELD


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "remedy"),
    [
        ("null", "None", DECIMAL),
        ("true", "True", DECIMAL),
        ("NaN", "nan", DECIMAL),
        ("Infinity", "inf", DECIMAL),
        ("[1]", "[1]", DECIMAL),
        ("{}", "{}", DECIMAL),
        ('""', "", NOT_BELOW),
        ('"many"', "many", NOT_BELOW),
        ('"1,5"', "1,5", NOT_BELOW),
        ('"NaN"', "NaN", NOT_BELOW),
        ('"sNaN"', "sNaN", NOT_BELOW),
        ('"Infinity"', "Infinity", NOT_BELOW),
        ('"-0.00000001"', "-0.00000001", NOT_BELOW),
        ("-1", "-1", NOT_BELOW),
        ('"18446744073709551615.00000001"', "18446744073709551615.00000001", NOT_BELOW),
        ("18446744073709551616", "18446744073709551616", NOT_BELOW),
        ('"1e999999999999999999999"', "1e999999999999999999999", NOT_BELOW),
        (f'"0.{"0" * 59}"', "0." + "0" * 58, NOT_BELOW),
    ],
)
def test_shares__that_are_no_amount__are_refused_by_value(
    scene: Scene, text: str, shown: str, remedy: str
) -> None:
    """The last text is one digit longer than a text may be; of a value sixty letters are told."""
    assert refused(scene, raw(scene, text)) == ("sharesHeld", shown, remedy)


@pytest.mark.parametrize(
    ("text", "shown", "remedy"),
    [
        ("0", "0", WITH_ZONE),
        ("-1", "-1", WITH_ZONE),
        ("true", "True", WITH_ZONE),
        ("null", "None", WITH_ZONE),
        ("1700000000.0", "1700000000.0", WITH_ZONE),
        ('"2023-11-14T22:13:20"', "2023-11-14T22:13:20", WITH_ZONE),
        ('"yesterday"', "yesterday", SECONDS),
        ('""', "", SECONDS),
        ('"1700000000"', "1700000000", SECONDS),
        (str(NOW + 31), str(NOW + 31), f"it lies in the future (now {NOW})"),
        ('"2023-11-14T22:13:51Z"', str(NOW + 31), f"it lies in the future (now {NOW})"),
    ],
)
def test_time__that_is_none_or_to_come__is_refused_by_value(
    scene: Scene, text: str, shown: str, remedy: str
) -> None:
    assert refused(scene, raw(scene, moment=text)) == ("timestamp", shown, remedy)


@pytest.mark.parametrize(
    ("missing", "shown", "remedy"),
    [
        ("symbol", "None", "asked for TSLAx"),
        ("sharesHeld", "None", DECIMAL),
        ("timestamp", "None", WITH_ZONE),
    ],
)
def test_document__without_a_field__is_refused_by_its_name(
    scene: Scene, missing: str, shown: str, remedy: str
) -> None:
    fields = json.loads(scene.body())
    del fields[missing]
    assert refused(scene, json.dumps(fields).encode()) == (missing, shown, remedy)


@pytest.mark.parametrize("symbol", ["AAPLx", "tslax", "", 7])
def test_document__of_another_symbol__is_refused_by_the_one_asked_for(
    scene: Scene, symbol: object
) -> None:
    answer = refused(scene, scene.body(symbol=symbol))
    assert answer == ("symbol", str(symbol), "asked for TSLAx")


@pytest.mark.parametrize(
    ("body", "shown", "remedy"),
    [
        (b"[]", "list", OBJECT),
        (b'"TSLAx"', "str", OBJECT),
        (b"null", "NoneType", OBJECT),
        (b"1.5", "Decimal", OBJECT),
        (b'{"symbol":"TSLAx","symbol":"TSLAx"}', "symbol is given twice", ONCE),
        (b'{"a":1,"b":1,"b":1,"c":1,"c":1}', "b is given twice", ONCE),
        (b'{"a":{"b":1,"b":1}}', "b is given twice", ONCE),
        (b"", "Expecting value: line 1 column 1 (char 0)", ONCE),
        (b"{", "Expecting property name enclosed in double quotes: line 1 co", ONCE),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid ", ONCE),
        (b'{"sharesHeld":1e99999999999999999999}', "[<class 'decimal.InvalidOperation'>]", ONCE),
    ],
)
def test_body__that_is_no_one_object__is_refused_with_what_is_wrong(
    scene: Scene, body: bytes, shown: str, remedy: str
) -> None:
    assert refused(scene, body) == ("body", shown, remedy)


def test_body__of_endless_depth__is_refused(scene: Scene) -> None:
    field, _, remedy = refused(scene, b"[" * 30_000)
    assert (field, remedy) == ("body", ONCE)


@pytest.mark.parametrize(
    ("key", "key_id", "tag", "shown"),
    [
        (STRANGER, "stranger", DIGEST_TAG, "stranger"),
        (STRANGER, "reserves-feed", DIGEST_TAG, "reserves-feed"),
        (ATTESTOR, "reserves-feed", DIGEST_TAG, "reserves-feed"),
        (FEED_KEY, "custodian-1", DIGEST_TAG, "custodian-1"),
        (FEED_KEY, "reserves-feed", b"", "reserves-feed"),
        (FEED_KEY, "", DIGEST_TAG, ""),
        (FEED_KEY, "k" * 61, DIGEST_TAG, "k" * 60),
    ],
)
def test_signature__of_anybody_else_or_anything_else__is_refused_by_the_keys_name(
    scene: Scene, key: PaperKey, key_id: str, tag: bytes, shown: str
) -> None:
    """The tag keeps a signature over other bytes from being taken for the feed's."""
    body = raw(scene)
    signature = key.sign_digest(keccak256(tag + body))
    with pytest.raises(InvalidMessage) as found:
        note_reserves(scene.world.desk, ASSET, body, key_id, signature)
    assert whole(found.value) == ("signature", shown, REGISTERED)
    assert scene.world.desk.live.reserves == {}


def test_signature__is_looked_at_before_the_body(scene: Scene) -> None:
    with pytest.raises(InvalidMessage) as found:
        scene.note(b"no JSON", STRANGER)
    assert whole(found.value)[0] == "signature"


def test_time__that_goes_back__is_refused_and_the_same_second_is_the_newer_word(
    scene: Scene,
) -> None:
    """One asset's time says nothing of another's."""
    scene.note(raw(scene))
    behind = refused(scene, raw(scene, moment=str(NOW - 1)))
    assert behind == ("timestamp", str(NOW - 1), f"the feed was at {NOW} before")
    assert scene.note(raw(scene, '"7"')) == 7 * SHARE
    other = scene.body(symbol="AAPLx", timestamp=NOW - 1)
    note_reserves(scene.world.desk, OTHER, other, "reserves-feed", signed(other))
    found = {asset: one.as_of for asset, one in scene.world.desk.live.reserves.items()}
    assert found == {ASSET: NOW, OTHER: NOW - 1}
    assert scene.world.desk.live.reserves[ASSET].held_units == 7 * SHARE


# --- its voice ------------------------------------------------------------------------------------


async def test_voice__beside_custodys__is_kept_with_the_feeds_own_words(scene: Scene) -> None:
    """Its subject, kind and digest are the paper's; body, name, key and signature are its own."""
    body = raw(scene)
    scene.note(body)
    paper = paper_of(scene.world, sequence=4)
    answer = await hand_in(scene.world, paper, ATTESTOR)
    assert (answer.signatures, answer.in_force) == (2, True)
    custody = wire.statement_from_wire(
        ATTESTOR.sign(ATTESTATION, DEPLOYMENT, paper), ATTESTATION, DEPLOYMENT
    )
    subject = ASSET + bytes(7) + b"\x04"
    words = SignedStatement(ATTESTATION, body, custody.digest, "reserves-feed", signed(body))
    async with scene.world.store.read() as books:
        kept = await books.paper_signatures(ATTESTATION, subject)
    assert sorted(kept, key=lambda one: one.statement.key_id) == [
        PaperSignature(subject, ATTESTOR.public_key, custody),
        PaperSignature(subject, FEED_KEY.public_key, words),
    ]


@pytest.mark.parametrize(
    ("held", "moment", "later", "voices"),
    [
        ("1000", NOW, 0, 2),
        ("1000", NOW, 600, 2),
        ("1000", NOW, 601, 1),
        ("1000", NOW - 600, 0, 2),
        ("1000", NOW - 601, 0, 1),
        ("1000", NOW + 30, 630, 2),
        ("1000", NOW + 30, 631, 1),
        ("1000.00000001", NOW, 0, 2),
        ("999.99999999", NOW, 0, 1),
        ("0", NOW, 0, 1),
    ],
)
async def test_voice__counts_up_to_its_age_and_down_to_the_claim(
    scene: Scene, held: str, moment: int, later: int, voices: int
) -> None:
    scene.note(scene.body(sharesHeld=held, timestamp=moment))
    await scene.world.clock.advance(later)
    answer = await hand_in(scene.world, paper_of(scene.world), ATTESTOR)
    assert (answer.signatures, answer.in_force) == (voices, voices == 2)


async def test_voice__of_another_asset__is_silent(scene: Scene) -> None:
    body = scene.body(symbol="AAPLx")
    note_reserves(scene.world.desk, OTHER, body, "reserves-feed", signed(body))
    assert (await hand_in(scene.world, paper_of(scene.world), ATTESTOR)).signatures == 1
    paper = paper_of(scene.world, asset=OTHER)
    assert (await hand_in(scene.world, paper, ATTESTOR)).signatures == 2


async def test_voice__whose_key_left_the_registry_or_changed_since__counts_no_more(
    scene: Scene,
) -> None:
    """It was registered when the feed spoke; what counts is who is registered now."""
    scene.note(scene.body())
    desk, here = scene.world.desk, scene.world.desk.config
    for sequence, changed in enumerate(({}, {"reserves-feed": AGENT.public_key}), 1):
        attestors = {ATTESTOR.key_id: ATTESTOR.public_key, **changed}
        desk.config = replace(here, attestors=attestors)
        paper = paper_of(scene.world, sequence=sequence)
        assert (await hand_in(scene.world, paper, ATTESTOR)).signatures == 1
    desk.config = here
    paper = paper_of(scene.world, sequence=3)
    assert (await hand_in(scene.world, paper, ATTESTOR)).signatures == 2


def test_voice__for_a_paper_of_other_decimals__is_silent(scene: Scene) -> None:
    """Its units are of 10^-8 share; a greater figure in other units would be no comparison."""
    scene.note(scene.body())
    envelope = ATTESTOR.sign(ATTESTATION, DEPLOYMENT, paper_of(scene.world))
    said = wire.statement_from_wire(envelope, ATTESTATION, DEPLOYMENT)
    paper = Attestation(ASSET, HELD, 8, 10**18, 0, 1, NOW)
    own = PaperSignature(b"subject", ATTESTOR.public_key, said)
    assert len(feed_voice(scene.world.desk, paper, own)) == 1
    for decimals in (7, 9):
        assert feed_voice(scene.world.desk, replace(paper, held_decimals=decimals), own) == []


# --- its poller -----------------------------------------------------------------------------------


@dataclass
class Documents:
    """A feed in memory: a body of each symbol, signed with its key."""

    bodies: dict[str, bytes]

    async def ask(self, symbol: str) -> FeedAnswer:
        """The document of a symbol."""
        body = self.bodies[symbol]
        return FeedAnswer(body, FEED_KEY.key_id, signed(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"sharesHeld":1e99999999999999999999}',
        b'{"symbol":"TSLAx","sharesHeld":"1e99999999999999999999","timestamp":1}',
        b'{"symbol":"TSLAx","sharesHeld":"1","timestamp":"9999-12-31T23:59:59-14:00"}',
        b"[" * 30_000,
    ],
    ids=["no decimal", "no amount", "no day of UTC", "no end"],
)
async def test_poller__given_what_no_parser_expects__counts_it_and_asks_on(
    scene: Scene, body: bytes
) -> None:
    """F54: a feed that says nonsense of one asset takes no other asset's voice away."""
    counters = GuardMetrics.create(Metrics("test"))
    source: Any = Documents({"TSLAx": body, "AAPLx": scene.body(symbol="AAPLx")})
    loop = FeedLoop(scene.world.desk, source, scene.world.clock, counters, 60.0)
    await loop.step()
    assert failures_of(loop, "RESERVES_INVALID") == 1
    assert list(scene.world.desk.live.reserves) == [OTHER]
