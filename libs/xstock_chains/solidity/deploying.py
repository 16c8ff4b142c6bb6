"""What putting our contracts on a chain consists of: the plan, its steps, and what is kept.

A step is a creation or a call, with the chain's own word on whether it is done already; how it is
sent and awaited is a family's affair. Pure but for the state file, which is written whole or not
at all, so that a deployment may be stopped anywhere and started again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode

from xstock_chains.ports import DeploymentOrder
from xstock_chains.solidity.abi import selector
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.artifact import creation_code
from xstock_core.ids import AssetId, Domain, asset_id
from xstock_runtime.hashing import keccak256

_ONE: Final = 10**18
_ROLES_A_TOKEN: Final = ("owner()", "minter()", "burner()", "pauser()")
READS_A_TOKEN: Final = 1 + len(_ROLES_A_TOKEN)


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """An asset to register; without `token` a test token with this multiplier is deployed."""

    symbol: str
    token: bytes | None = None
    multiplier: int = _ONE
    minimum_shares: int = 1_000_000
    bucket_shares: int = 10**15
    bucket_refill_shares_per_second: int = 10**12

    @property
    def asset(self) -> AssetId:
        """The asset's id."""
        return asset_id(self.symbol, keccak256)


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """One chain's deployment; addresses are 20 bytes, `delay_seconds` is the admin's delay."""

    chain: str
    domain: Domain
    chain_id: int
    guards: tuple[bytes, ...]
    threshold: int
    agent: bytes
    tokens: tuple[TokenPlan, ...]
    block_time_ms: int
    admin: bytes | None = None
    """None: the deploying key."""
    delay_seconds: int = 86_400
    batch_items_max: int = 200
    take_roles: bool = True


def plan_of(order: DeploymentOrder, parse: Callable[[str, str], bytes]) -> DeployPlan:
    """The plan of an order; `parse` reads (text, field) into 20 bytes and raises InvalidId."""
    return DeployPlan(
        chain=order.chain,
        domain=order.domain,
        chain_id=order.network_id,
        guards=tuple(parse(guard, "guards") for guard in order.guards),
        threshold=order.threshold,
        agent=parse(order.agent, "agent"),
        tokens=tuple(
            TokenPlan(
                asset.symbol,
                token=None if asset.token is None else parse(asset.token, asset.symbol),
                multiplier=asset.multiplier,
                minimum_shares=asset.minimum_shares,
            )
            for asset in order.assets
        ),
        block_time_ms=order.block_time_ms,
        admin=None if order.admin is None else parse(order.admin, "admin"),
        delay_seconds=order.delay_seconds,
        batch_items_max=order.batch_items_max,
        take_roles=order.take_roles,
    )


@dataclass(slots=True)
class DeployState:
    """What is known of a deployment so far, kept in one JSON file."""

    path: Path | None
    chain_id: int = 0
    genesis: str = ""
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """step name -> {raw, hash, address, …}: written before the transaction is sent."""

    @classmethod
    def load(cls, path: Path | None) -> "DeployState":
        """Read the file if there is one."""
        if path is None or not path.exists():
            return cls(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, document["chain_id"], document["genesis"], document["sent"])

    def save(self) -> None:
        """Write the file whole, or not at all."""
        if self.path is None:
            return
        document = {"chain_id": self.chain_id, "genesis": self.genesis, "sent": self.sent}
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
        beside.replace(self.path)


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction that a step needs; `done` if the chain shows its effect already."""

    name: str
    to: bytes | None
    """None: it creates a contract."""
    data: bytes
    done: bool = False
    owner: bytes | None = None
    """Whose key must send it, where that is not ours."""


def creations(plan: DeployPlan, me: bytes) -> list[Action]:
    """The bridge and the test tokens to create, by the deploying key `me`."""
    arguments = encode(
        ["uint32", "address", "address", "address[]", "uint8", "uint256"],
        [
            int(plan.domain),
            plan.admin or me,
            plan.agent,
            list(plan.guards),
            plan.threshold,
            plan.delay_seconds,
        ],
    )
    actions = [Action("bridge", None, creation_code("XStockBridge") + arguments)]
    for token in plan.tokens:
        if token.token is None:
            arguments = encode(
                ["string", "string", "address", "uint256"],
                [f"{token.symbol} test token", token.symbol, me, token.multiplier],
            )
            data = creation_code("XStockToken") + arguments
            actions.append(Action(f"token {token.symbol}", None, data))
    return actions


def configuration_reads(
    plan: DeployPlan, bridge: bytes, tokens: Mapping[str, bytes]
) -> list[tuple[bytes, bytes]]:
    """(contract, call data) of what `configuration` must know, `READS_A_TOKEN` for each token."""
    reads: list[tuple[bytes, bytes]] = []
    for token in plan.tokens:
        reads.append((bridge, selector("tokenOf(bytes32)") + token.asset))
        reads.extend((tokens[token.symbol], selector(name)) for name in _ROLES_A_TOKEN)
    return reads


def configuration(
    plan: DeployPlan,
    me: bytes,
    bridge: bytes,
    tokens: Mapping[str, bytes],
    found: Sequence[bytes | None],
) -> list[Action]:
    """What is to be registered and granted, by the addresses that the reads found."""
    actions: list[Action] = []
    for at, token in enumerate(plan.tokens):
        part = found[READS_A_TOKEN * at : READS_A_TOKEN * (at + 1)]
        actions.extend(_token_actions(plan, me, bridge, tokens[token.symbol], token, part))
    return actions


def _token_actions(
    plan: DeployPlan,
    me: bytes,
    bridge: bytes,
    address: bytes,
    token: TokenPlan,
    found: Sequence[bytes | None],
) -> list[Action]:
    registered, owner, minter, burner, pauser = found
    symbol, admin = token.symbol, plan.admin or me
    register = selector("registerAsset(bytes32,address,uint64,uint64,uint64)") + encode(
        ["bytes32", "address", "uint64", "uint64", "uint64"],
        [
            token.asset,
            address,
            token.minimum_shares,
            token.bucket_shares,
            token.bucket_refill_shares_per_second,
        ],
    )
    done = registered == address
    actions = [Action(f"register {symbol}", bridge, register, done=done, owner=admin)]
    if not plan.take_roles:
        return actions
    for role, holder in (("Minter", minter), ("Burner", burner)):
        data = selector(f"set{role}(address)") + to_wire(bridge)
        actions.append(
            Action(f"set{role} {symbol}", address, data, done=holder == bridge, owner=owner)
        )
    if token.token is None:
        data = selector("setPauser(address)") + to_wire(me)
        actions.append(Action(f"setPauser {symbol}", address, data, done=pauser == me))
    return actions


def blind_actions(plan: DeployPlan) -> list[str]:
    """The steps of `configuration` by name, while there is no bridge to ask."""
    return [
        f"{what} {token.symbol}"
        for token in plan.tokens
        for what in ("register", "setMinter", "setBurner")
    ]


def chain_document(
    plan: DeployPlan, family: str, genesis: str, bridge: str, deployed_block: int, code_hash: bytes
) -> dict[str, Any]:
    """The chain's entry for the registry file; texts in the family's own form."""
    return {
        "name": plan.chain,
        "domain": int(plan.domain),
        "family": family,
        "network_id": plan.chain_id,
        "genesis_hash": "0x" + genesis,
        "finality": "finalized",
        "block_time_ms": plan.block_time_ms,
        "batch_items_max": plan.batch_items_max,
        "bridges": [
            {
                "address": bridge,
                "deployed_block": deployed_block,
                "code_hash": "0x" + code_hash.hex(),
                "retired_block": None,
            }
        ],
    }


def asset_documents(plan: DeployPlan, tokens: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """symbol -> this chain's deployment of the asset, by the tokens' texts."""
    return {
        token.symbol: {
            "chain": plan.chain,
            "token": tokens[token.symbol],
            "decimals": 18,
            "kind": "evm_shares",
            "minimum_shares": token.minimum_shares,
        }
        for token in plan.tokens
    }
