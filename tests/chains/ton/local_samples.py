"""Recorded toncenter answers and its OpenAPI document, beside the checkout, and how to compare.

Answers are compared by shape: which fields stand where, and of which JSON types. Recorded answers
come from several years of the service, so what one of them shows may be what another lacks.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from xstock_devnet.settings import PROJECT_ROOT

Json = Any
Shape = dict[str, set[str]]
FOLDER: Final = PROJECT_ROOT.parent / "shared" / "recordings" / "ton"
TRANSACTION_FILES: Final = (
    "v3_transactions_2026.json",
    "v3_transactions_aborted.json",
    "v3_transactions_bounced.json",
    "v3_transactions_external_in.json",
    "v3_transactions_with_extout_logs.json",
)
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}
_MAPS: Final = ("address_book", "metadata")
_OPAQUE: Final = ("extra_currencies", "value_extra_currencies", "total_fees_extra_currencies")


def samples() -> Path:
    """The folder of recordings; without it there is nothing to compare with, and that is said."""
    if not FOLDER.is_dir():
        pytest.skip(
            "the recorded toncenter answers (shared/recordings/ton beside the checkout) are not"
            " here, so the local chain was NOT compared with them"
        )
    return FOLDER


def load(name: str) -> Json:
    """One recording, JSON or YAML."""
    text = (samples() / name).read_text()
    return yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)


def recorded_transactions(name: str) -> list[Json]:
    """The transactions of one recording; a trace lists them by hash."""
    content = load(name)
    if "traces" in content:
        return [tx for trace in content["traces"] for tx in trace["transactions"].values()]
    listed: list[Json] = content["transactions"]
    return listed


def shape(value: Json) -> Shape:
    """Where which JSON types stand in a value, e.g. `out_msgs[].value: {string, null}`."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path, kind in _walk(value, ""):
        found[path].add(kind)
    return dict(found)


def _walk(value: Json, path: str) -> Iterator[tuple[str, str]]:
    kind = "null" if value is None else _TYPES[type(value)]
    yield path, kind
    name = path.rpartition(".")[2]
    if kind == "array":
        for item in value:
            yield from _walk(item, f"{path}[]")
    elif kind == "object" and name not in _OPAQUE:
        for key, item in value.items():
            step = "{}" if name in _MAPS else f".{key}"
            yield from _walk(item, f"{path}{step}")


def joined(shapes: Iterable[Shape]) -> Shape:
    """All that any of several values shows."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for each in shapes:
        for path, kinds in each.items():
            found[path] |= kinds
    return dict(found)


class OpenApi:
    """The service's own description of its answers, as far as comparing needs it."""

    def __init__(self, document: Json) -> None:
        self.paths: dict[str, Json] = document["paths"]
        self._schemas: dict[str, Json] = document["components"]["schemas"]

    def parameters(self, path: str) -> list[str]:
        """The query parameters of a GET."""
        return [parameter["name"] for parameter in self.paths[path]["get"].get("parameters", [])]

    def answer_schema(self, path: str, method: str) -> Json:
        """What a 200 is said to hold."""
        content = self.paths[path][method]["responses"]["200"]["content"]
        return content["application/json"]["schema"]

    def complaints(self, value: Json, schema: Json, path: str = "") -> Iterator[str]:
        """Where a value is not what the document says; null is allowed, as the service does."""
        schema = self._resolved(schema)
        kind = schema.get("type")
        if value is None or kind is None:
            return
        if _TYPES[type(value)] != kind:
            yield f"{path}: {_TYPES[type(value)]}, documented as {kind}"
        elif kind == "array":
            for item in value:
                yield from self.complaints(item, schema["items"], f"{path}[]")
        elif kind == "object":
            yield from self._object_complaints(value, schema, path)

    def _object_complaints(self, value: Json, schema: Json, path: str) -> Iterator[str]:
        properties = schema.get("properties")
        values = schema.get("additionalProperties", {})
        for key, item in value.items():
            if properties is None:
                yield from self.complaints(item, values, f"{path}{{}}")
            elif key in properties:
                yield from self.complaints(item, properties[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: not documented"

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema if isinstance(schema, dict) else {}
