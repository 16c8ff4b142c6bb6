"""What the registry says of Solana after a rotation: the new multisig in place of the old one.

A multisig never changes, so other guards mean another mint authority: the chain's entry names it
beside its retired predecessor, whose signed mints stay evidence, and every reference's `code_hash`
binds it. Pure: the office looks the authority up, the command line writes the file.
"""

import copy
from collections.abc import Mapping
from typing import Any

from xstock_chains.solana.address import show
from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.mint import facts_hash_input
from xstock_chains.solana.programs import DECIMALS
from xstock_runtime.hashing import keccak256


def with_multisig(
    document: Mapping[str, Any], chain: SolanaChain, multisig: bytes, data: bytes, slot: int
) -> dict[str, Any]:
    """The registry's document with this mint authority in use since `slot`; `data` is the
    multisig account's. A document that names it already is returned as it is."""
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    entry = next(one for one in changed["chains"] if one["name"] == chain.name)
    if any(one["address"] == show(multisig) for one in entry["bridges"]):
        return changed
    for bridge in entry["bridges"]:
        if bridge.get("retired_block") is None:
            bridge["retired_block"] = slot
    entry["bridges"].append(
        {
            "address": show(multisig),
            "deployed_block": slot,
            "code_hash": "0x" + keccak256(data).hex(),
            "retired_block": None,
        }
    )
    for asset in chain.assets:
        _rebind(
            changed, chain.name, asset.symbol, show(asset.reference.key), _facts(asset, multisig)
        )
    return changed


def _rebind(
    document: dict[str, Any], chain: str, symbol: str, reference: str, facts: bytes
) -> None:
    asset = next(one for one in document["assets"] if one["symbol"] == symbol)
    deployment = next(one for one in asset["deployments"] if one["chain"] == chain)
    for bridge in deployment["bridges"]:
        if bridge["address"] == reference:
            bridge["code_hash"] = "0x" + keccak256(facts).hex()


def _facts(asset: SolanaAsset, multisig: bytes) -> bytes:
    return facts_hash_input(asset.mint, asset.reference.key, DECIMALS, multisig)
