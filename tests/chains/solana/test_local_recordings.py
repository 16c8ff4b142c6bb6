"""The local chain answers what a real validator answered: same members, same types, same errors.

Every recorded call is asked again in the order of the recording, and the two answers are compared
member by member. What may differ is listed below with its reason; an entry that no longer explains
anything fails too. Values are not compared, except error codes and messages.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.chains.solana.local_replay import FOLDER, Replay, recordings
from xstock_devnet.solana.server import answer_body

ACCEPTED = {
    r"^028-.*: \.result\.value\.data: ": "token accounts are not parsed: a node shows what it"
    " cannot parse as base64, and so does the local chain for all of them",
    r"^(074|075|091|110|152)-.*: \.result\.transaction\.message\.instructions\[\d\]\."
    r"(accounts|data|parsed|program): ": "token and system instructions are not parsed: they stand"
    " as a node shows instructions of programs it does not know",
    r"^(07|08|10|11|13|15)\d-.*: .*\.log(s|Messages): ": "the memo program of the virtual machine"
    " is a newer one that logs in other lines",
    r"^(071|092|094|095|096|102)-.*: \.result\.(transactions|signatures|rewards): ": "there are no"
    " votes, so blocks hold one transaction less and an empty one pays no reward",
    r"^200-.*: \.result: ": "prices are listed for every block, also for those without votes",
    r"^400-lag-10-.*: \.result\.meta\.(innerInstructions|logMessages): ": "the recorded node kept"
    " no logs of what it had not run itself",
}
NUMBERED = frozenset({-32001, -32004, -32007})
"""Errors whose message names slots of the recorded ledger."""


def differences(path: str, recorded: Any, local: Any) -> Iterator[str]:
    """Yield every place where the two answers differ in members, types, codes or messages."""
    if isinstance(recorded, dict) and isinstance(local, dict):
        for name in sorted(recorded.keys() | local.keys()):
            if name not in recorded or name not in local:
                yield f"{path}.{name}: only {'local' if name in local else 'recorded'}"
            else:
                yield from differences(f"{path}.{name}", recorded[name], local[name])
    elif isinstance(recorded, list) and isinstance(local, list):
        if len(recorded) != len(local):
            yield f"{path}: recorded {len(recorded)} long, local {len(local)}"
            return
        for index, (one, other) in enumerate(zip(recorded, local, strict=True)):
            yield from differences(f"{path}[{index}]", one, other)
    elif type(recorded) is not type(local):
        yield f"{path}: recorded {recorded!r:.80}, local {local!r:.80}"


def error_differences(recorded: dict[str, Any], local: dict[str, Any]) -> Iterator[str]:
    """Yield where error code and message differ; slots of the recorded ledger may."""
    if recorded.get("code") != local.get("code"):
        yield f".error.code: recorded {recorded.get('code')}, local {local.get('code')}"
    texts = [str(error.get("message")) for error in (recorded, local)]
    if recorded.get("code") in NUMBERED:
        texts = [re.sub(r"\d+", "#", text) for text in texts]
    if texts[0] != texts[1]:
        yield f".error.message: recorded {texts[0]!r}, local {texts[1]!r}"


@cache
def found() -> dict[str, list[str]]:
    """Return by recording how the local answer differs from it, accepted or not."""
    by_name = {}
    for name, recorded, answer in Replay().answers():
        response = recorded["response"]
        listed = list(differences("", response, answer))
        listed += error_differences(response.get("error", {}), answer.get("error", {}))
        by_name[name] = [f"{name}: {difference}" for difference in listed]
    return by_name


@pytest.mark.parametrize("name", [name for name, _ in recordings()])
def test_local_answer__recorded_call_asked_again__same_members_types_and_errors(name: str) -> None:
    unexplained = [
        difference
        for difference in found()[name]
        if not any(re.search(pattern, difference) for pattern in ACCEPTED)
    ]
    assert unexplained == []


def test_accepted_differences__each__still_explains_one() -> None:
    listed = [difference for many in found().values() for difference in many]
    stale = [
        pattern
        for pattern in ACCEPTED
        if not any(re.search(pattern, difference) for difference in listed)
    ]
    assert stale == []


def test_comparison__a_member_renamed_and_a_code_changed__both_are_found() -> None:
    recorded: dict[str, Any] = {"error": {"code": -32020, "message": "m"}, "value": [{"slot": 1}]}
    local: dict[str, Any] = {"error": {"code": -32602, "message": "m"}, "value": [{"slots": 1}]}
    assert list(differences("", recorded, local)) == [
        ".value[0].slot: only recorded",
        ".value[0].slots: only local",
    ]
    assert list(error_differences(recorded["error"], local["error"])) == [
        ".error.code: recorded -32020, local -32602"
    ]


def test_local_answer__body_that_is_no_json__recorded_parse_error() -> None:
    recorded = json.loads((FOLDER / "900-ERR-parse.json").read_text())
    assert json.loads(answer_body({}, b"{nonsense")) == json.loads(recorded["response"])


def test_local_answer__batch_with_an_unknown_method__recorded_list() -> None:
    recorded = json.loads((FOLDER / "901-batch.json").read_text())
    calls = [{"id": 1, "method": "getSlot"}, {"id": 2, "method": "nope"}]
    answers = json.loads(answer_body(Replay().methods, json.dumps(calls).encode()))
    assert list(differences("", recorded["response"], answers)) == []
    assert answers[1]["error"] == recorded["response"][1]["error"]
