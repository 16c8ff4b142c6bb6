"""The committed compiler output of our contracts, and what their refusals mean.

Refusals of a contract are matched by the four bytes of its custom error, from the artifact.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from xstock_chains.solidity.abi import selector


@cache
def artifact(name: str) -> dict[str, Any]:
    """The committed compiler output of a contract: abi, bytecode, deployedBytecode."""
    text = (files("xstock_chains.solidity") / "artifacts" / f"{name}.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def creation_code(name: str) -> bytes:
    """What a contract is created with, before its constructor's arguments."""
    return bytes.fromhex(artifact(name)["bytecode"][2:])


@cache
def _error_names() -> dict[bytes, str]:
    names = {
        selector(f"{entry['name']}({','.join(part['type'] for part in entry['inputs'])})"): entry[
            "name"
        ]
        for contract in ("XStockBridge", "XStockToken")
        for entry in artifact(contract)["abi"]
        if entry["type"] == "error"
    }
    return names | {selector("Error(string)"): "Error", selector("Panic(uint256)"): "Panic"}


def error_text(raw: bytes) -> str | None:
    """The contract's error in a revert's data, with its raw arguments; None if none is known."""
    name = _error_names().get(raw[:4])
    if name == "Error":
        length = int.from_bytes(raw[36:68], "big")
        return raw[68 : 68 + length].decode("utf-8", "replace")[:200]
    if name is None:
        return None
    return f"{name}(0x{raw[4:].hex()})" if len(raw) > 4 else name
