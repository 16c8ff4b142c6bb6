"""The control API: what a test or a person can do to the chain, one vocabulary for every chain.

Each command takes the service and the request's JSON object and returns what the answer adds to
`{"ok": true}`. A refusal names the field, its value and what would do.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from xstock_devnet.solana.arguments import key_of
from xstock_devnet.solana.errors import Json, RpcFailure
from xstock_devnet.solana.methods_transactions import airdrop

if TYPE_CHECKING:
    from xstock_devnet.solana.server import SolanaService

Body = dict[str, Json]
BLOCKS_PER_CALL_MAX = 10_000


class ControlRefused(Exception):
    """A command that cannot be followed; the text says why and what would do."""


def _mine(service: "SolanaService", body: Body) -> Body:
    blocks = _number(body, "blocks", 1, BLOCKS_PER_CALL_MAX, otherwise=1)
    for _ in range(blocks):
        service.chain.mine()
    return _heights(service)


def _automine(service: "SolanaService", body: Body) -> Body:
    service.automine = _flag(body, "on")
    return {"automine": service.automine}


def _finalize(service: "SolanaService", body: Body) -> Body:
    del body
    service.chain.finalize()
    return _heights(service)


def _freeze_finality(service: "SolanaService", body: Body) -> Body:
    service.chain.freeze_finality(on=_flag(body, "on"))
    return _heights(service)


def _reorg(service: "SolanaService", body: Body) -> Body:
    dropped = service.chain.reorg(_number(body, "depth", 1, BLOCKS_PER_CALL_MAX))
    signatures = [entry.loaded.signature for block in dropped for entry in block.landed]
    return {"dropped": signatures, **_heights(service)}


def _drop_tx(service: "SolanaService", body: Body) -> Body:
    service.chain.drop(_text(body, "tx"))
    return _heights(service)


def _break_finality(service: "SolanaService", body: Body) -> Body:
    service.chain.break_finality(_number(body, "depth", 1, BLOCKS_PER_CALL_MAX))
    return _heights(service)


def _fund(service: "SolanaService", body: Body) -> Body:
    """Give lamports at once: the transfer stands in a block made for it."""
    try:
        receiver = key_of(_text(body, "address"))
    except RpcFailure as error:
        raise ControlRefused(
            f"address: {body['address']!r} is {error.message}; give a base58 key of 32 bytes"
        ) from error
    loaded = airdrop(service.chain, receiver, _number(body, "amount", 1, 2**60))
    service.chain.submit(loaded)
    service.chain.mine()
    return {"tx": loaded.signature, **_heights(service)}


def _warp(service: "SolanaService", body: Body) -> Body:
    service.chain.warp(_number(body, "seconds", 1, 10**9))
    service.chain.mine()
    return _heights(service)


def _prune(service: "SolanaService", body: Body) -> Body:
    service.chain.prune(_number(body, "below", 0, 10**12))
    return {"first_slot": service.chain.first_slot}


def _behind(service: "SolanaService", body: Body) -> Body:
    """Let the node call itself so many slots behind (0: healthy): it refuses preflighted sends."""
    service.chain.behind_slots = _number(body, "slots", 0, 10**6)
    return {"behind": service.chain.behind_slots}


def _state(service: "SolanaService", body: Body) -> Body:
    del body
    chain = service.chain
    return {
        **_heights(service),
        "first_slot": chain.first_slot,
        "transactions": chain.tip.total,
        "pending": len(chain.pending),
        "automine": service.automine,
        "finality_frozen": chain.finality_frozen,
    }


CONTROLS: Mapping[str, Callable[["SolanaService", Body], Body]] = {
    "mine": _mine,
    "automine": _automine,
    "finalize": _finalize,
    "freeze_finality": _freeze_finality,
    "reorg": _reorg,
    "drop_tx": _drop_tx,
    "break_finality": _break_finality,
    "fund": _fund,
    "warp": _warp,
    "prune": _prune,
    "behind": _behind,
    "state": _state,
}


def _heights(service: "SolanaService") -> Body:
    chain = service.chain
    return {
        "slot": chain.tip.slot,
        "height": chain.tip.height,
        "confirmed_slot": chain.confirmed.slot,
        "final_slot": chain.finalized.slot,
        "final_height": chain.final_height,
        "time": chain.tip.unix_seconds,
    }


def _number(body: Body, name: str, least: int, most: int, otherwise: int | None = None) -> int:
    value = body.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ControlRefused(f"{name}: {value!r}; give a whole number of {least}..{most}")
    return value


def _flag(body: Body, name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool):
        raise ControlRefused(f"{name}: {value!r}; give true or false")
    return value


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ControlRefused(f"{name}: {value!r}; give text")
    return value
