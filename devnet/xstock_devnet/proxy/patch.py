"""Lies: JSON patches on what a node answered, the same for every chain family."""

import copy

from xstock_devnet.proxy.faults import LieRule, PatchStep
from xstock_devnet.proxy.wire import Answer, Call, Json


def tell_lies(rules: tuple[LieRule, ...], call: Call, answer: Answer) -> Answer:
    """Return the answer with every rule's patch applied whose method and `where` fit the call."""
    asked = str(call.params).lower()
    document = answer.document
    for rule in rules:
        if rule.fits(call.method) and rule.where.lower() in asked:
            for step in rule.patch:
                document = apply_patch(document, step)
    return answer.saying(document)


def apply_patch(document: Json, step: PatchStep) -> Json:
    """Return a copy of `document` with one JSON-pointer step applied (`-` appends to a list).

    Raises ValueError if the path is not there: a lie that cannot be told must not pass silently.
    """
    if step.path == "":
        return copy.deepcopy(step.value) if step.op != "remove" else None
    changed = copy.deepcopy(document)
    *parents, last = step.path.split("/")[1:]
    place = changed
    try:
        for part in parents:
            place = place[_key(place, part)]
        if step.op == "remove":
            del place[_key(place, last)]
        elif isinstance(place, list) and step.op == "add":
            place.insert(len(place) if last == "-" else int(last), copy.deepcopy(step.value))
        else:
            place[_key(place, last)] = copy.deepcopy(step.value)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"path {step.path!r} is not in the result: {error!r}") from None
    return changed


def _key(place: Json, part: str) -> Json:
    return int(part) if isinstance(place, list) else part
