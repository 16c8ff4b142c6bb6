"""What every office refuses before it sends anything, in one set of words for all families.

A guard set that a contract would refuse costs a day of delay first, and one that no contract can
refuse (Solana's multisig) would be law at once; so both are judged here, by the same rule as the
registry's. Nothing here talks to a chain.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from xstock_chains.ports import GuardSet
from xstock_core.ids import AssetId
from xstock_core.invariants import threshold_sane
from xstock_runtime.errors import Ambiguous, InvalidMessage

Shown = Callable[[bytes], str]


def rotation_needed(current: GuardSet, new: GuardSet, *, guards_max: int, shown: Shown) -> bool:
    """False if the chain has this very set already; raises InvalidMessage for one it may not get.

    GUARD_SET_REFUSED: no majority, a guard twice, none or too many of them (F83).
    GUARD_EPOCH_UNEXPECTED: not the successor of what the chain has.
    """
    _check_set(new, guards_max, shown)
    same = (set(current.identities), current.threshold) == (set(new.identities), new.threshold)
    if new.epoch == current.epoch and same:
        return False
    if new.epoch != current.epoch + 1:
        text = (
            f"guard_epoch: {new.epoch} cannot follow the chain's {current.epoch}; the new "
            f"registry's guard_epoch must be {current.epoch + 1}"
        )
        facts = {"found": current.epoch, "wanted": new.epoch}
        raise InvalidMessage("GUARD_EPOCH_UNEXPECTED", text, facts)
    return True


def _check_set(new: GuardSet, guards_max: int, shown: Shown) -> None:
    count = len(new.identities)
    if not 0 < count <= guards_max:
        raise _refused("guards", count, f"between 1 and {guards_max} on this chain")
    for identity in new.identities:
        if new.identities.count(identity) > 1 or not any(identity):
            raise _refused("guards", shown(identity), "every guard once, and none of zeros")
    if not threshold_sane(count, new.threshold):
        wanted = f"more than half of {count} and at most {count}: {count // 2 + 1} to {count}"
        raise _refused("threshold", new.threshold, wanted)


def _refused(field: str, value: object, wanted: str) -> InvalidMessage:
    text = f"{field}: {value} is refused; give {wanted}"
    return InvalidMessage("GUARD_SET_REFUSED", text, {"field": field, "value": value})


def key_may_not(act: str, key: str, who: str) -> InvalidMessage:
    """The key that was given is not one of those that may: names both."""
    text = f"{act}: the key of {key} may not; it takes {who}"
    return InvalidMessage("KEY_MAY_NOT", text, {"act": act, "key": key, "who": who})


def key_missing(act: str) -> InvalidMessage:
    """An office that was opened without a key only looks."""
    return key_may_not(act, "nobody", "a key file; none was given")


def pause_cooldown(key: str, until: int) -> InvalidMessage:
    """This key has used its pause; it may pause again from `until` (Unix seconds)."""
    text = (
        f"pause: the key of {key} has paused before and may again from {moment(until)}; "
        "use another guard's key, or have M guards confirm the pause"
    )
    return InvalidMessage("PAUSE_COOLDOWN", text, {"key": key, "until": until})


def asset_unknown(chain: str, asset: AssetId, known: Sequence[str]) -> InvalidMessage:
    """An asset that this chain's registry entry does not have."""
    text = f"asset: {asset.hex()} is not on {chain}; it has {', '.join(known) or 'none'}"
    return InvalidMessage("ASSET_UNKNOWN", text, {"chain": chain, "asset": asset.hex()})


def act_refused(act: str, reason: str) -> InvalidMessage:
    """The chain itself said no: before anything was sent, or in a block."""
    text = f"{act} is refused by the chain: {reason}"
    return InvalidMessage("ACT_REFUSED", text, {"act": act, "reason": reason})


def act_pending(act: str, tx: str) -> Ambiguous:
    """Sent, and not seen in a block while we waited; running it again is safe and tells."""
    text = f"{act}: {tx} was sent and is in no block yet; run it again, it looks first"
    return Ambiguous("ACT_PENDING", text, {"act": act, "tx": tx})


def moment(unix_seconds: int) -> str:
    """A moment for people: "2026-01-02T03:04:05Z (1767323045)"."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%dT%H:%M:%SZ} ({unix_seconds})"
