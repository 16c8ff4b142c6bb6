"""A minter's storage, decoded: one account state answers what a dozen get methods would.

Layout: contracts/ton/README.md, "Storage". The state comes with the account's last transaction, so
what is read here stands exactly at that place of the account's chain. Sound only for an account
whose code is the committed artifact: `read_minter` refuses any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytoniq_core.boc.cell import Cell

from xstock_chains.ton.cells import dictionary, load_account, slice_of
from xstock_chains.ton.minter import artifact, guards_of
from xstock_chains.ton.rpc import AccountHead
from xstock_core.ids import Address32
from xstock_runtime.errors import InvalidMessage


@dataclass(frozen=True, slots=True)
class MinterState:
    """What a minter remembers, at the place of its account's last transaction.

    `supply` in units of the jetton, `minimum` and bucket figures in shares, times in Unix seconds.
    """

    supply: int
    bucket_capacity: int
    bucket_refill: int
    bucket_level: int
    bucket_at: int
    paused_until: int
    minimum: int
    retired: bool
    asset: bytes
    decimals: int
    epoch: int
    threshold: int
    guards: tuple[bytes, ...]
    wallet_code: Cell
    admin: Address32 | None
    agent: Address32 | None
    delay_seconds: int
    pause_count: int
    proposals: Mapping[int, int]
    """hash of a delayed action -> when it may be applied."""
    paused_at: Mapping[int, int]
    """key or account, as a number -> when it paused last."""
    multiplier: tuple[int, int]
    lane_counters: Mapping[int, int]

    def bucket_now(self, now: int) -> int:
        """The bucket's level at a time."""
        grown = max(0, now - self.bucket_at) * self.bucket_refill
        return min(self.bucket_capacity, self.bucket_level + grown)


def read_minter(account: AccountHead) -> MinterState:
    """The state of an active minter with our code; raises InvalidMessage for anything else."""
    if not account.active or account.data is None:
        raise _unreadable(account, "it is not active, or the node gave no data")
    if account.code_hash != artifact("Bridge").hash:
        raise _unreadable(account, f"its code is {account.code_hash.hex()}, not ours")
    try:
        return _decode(account.data)
    except InvalidMessage:
        raise
    except Exception as error:  # the cell library raises whatever a short slice leads to
        raise _unreadable(account, f"its storage cannot be decoded ({error})") from error


def read_holding(
    account: AccountHead, state: MinterState, minter: Address32, owner: Address32
) -> int:
    """Jettons in the account of an owner's wallet (`minter.jetton_wallet`); 0 where no contract
    stands, as nothing was ever received.

    Raises InvalidMessage for anything that is not this minter's wallet of this owner, a frozen
    one included: its jettons are there, and nobody can say how many.
    """
    ours = artifact("Wallet").hash
    if state.wallet_code.hash != ours:
        raise _no_wallet(account, "its minter gives wallets another code, at other accounts")
    if account.absent:
        return 0
    if not account.active or account.data is None:
        raise _no_wallet(account, "it is frozen, or the node gave no data")
    if account.code_hash != ours:
        raise _no_wallet(account, f"its code is {account.code_hash.hex()}, not ours")
    try:
        data = slice_of(account.data)
        units = int(data.load_coins())
        named = (load_account(data, "owner"), load_account(data, "minter"))
    except InvalidMessage:
        raise
    except Exception as error:  # the cell library raises whatever a short slice leads to
        raise _no_wallet(account, f"its storage cannot be decoded ({error})") from error
    if named != (owner, minter):
        raise _no_wallet(account, "it is another owner's, or another minter's")
    return units


def _decode(data: Cell) -> MinterState:
    root = slice_of(data)
    supply = int(root.load_coins())
    capacity, refill, level = (int(root.load_uint(64)) for _ in range(3))
    at, paused = int(root.load_uint(32)), int(root.load_uint(32))
    minimum, retired = int(root.load_uint(64)), bool(root.load_bit())
    root.skip_bits(32)
    for _ in range(2):  # lanes in and days: what they say is asked by key, not read whole
        if root.load_bit():
            root.load_ref()
    side, config = slice_of(root.load_ref()), slice_of(root.load_ref())
    for _ in range(2):  # parked items and redirects
        if side.load_bit():
            side.load_ref()
    lanes = side.load_ref() if side.load_bit() else None
    asset = bytes(config.load_bytes(32))
    config.skip_bits(32)
    decimals, epoch = int(config.load_uint(8)), int(config.load_uint(32))
    threshold = int(config.load_uint(8))
    config.skip_bits(8)
    guards = guards_of(dictionary(config.load_ref() if config.load_bit() else None, 8))
    wallet_code = config.load_ref()
    config.load_ref()
    governance = _governance(slice_of(config.load_ref()))
    return MinterState(
        supply=supply,
        bucket_capacity=capacity,
        bucket_refill=refill,
        bucket_level=level,
        bucket_at=at,
        paused_until=paused,
        minimum=minimum,
        retired=retired,
        asset=asset,
        decimals=decimals,
        epoch=epoch,
        threshold=threshold,
        guards=tuple(guards),
        wallet_code=wallet_code,
        **governance,
        lane_counters=_counters(lanes),
    )


def _governance(piece: Any) -> dict[str, Any]:
    """The fields of `MinterState` that the governance cell holds."""
    admin, agent = load_account(piece, "admin"), load_account(piece, "agent")
    delay, count = int(piece.load_uint(32)), int(piece.load_uint(32))
    proposals, paused_at = (_times(piece.load_ref() if piece.load_bit() else None) for _ in "12")
    multiplier = slice_of(piece.load_ref())
    return {
        "admin": admin,
        "agent": agent,
        "delay_seconds": delay,
        "pause_count": count,
        "proposals": proposals,
        "paused_at": paused_at,
        "multiplier": (_var_uint32(multiplier), _var_uint32(multiplier)),
    }


def _times(cell: Cell | None) -> dict[int, int]:
    """Numbers of 256 bits -> Unix seconds."""
    return {key: int(value.load_uint(32)) for key, value in dictionary(cell, 256).items()}


def _var_uint32(piece: Any) -> int:
    """VarUInteger 32: a length of 5 bits, then so many bytes."""
    return int(piece.load_uint(8 * length)) if (length := piece.load_uint(5)) else 0


def _counters(lanes: Cell | None) -> dict[int, int]:
    counters = {}
    for destination, entry in dictionary(lanes, 32).items():
        entry.skip_bits(8)
        counters[destination] = int(entry.load_uint(64))
    return counters


def _no_wallet(account: AccountHead, why: str) -> InvalidMessage:
    text = f"jetton wallet {account.address.hex()}: {why}; ask another node"
    return InvalidMessage("WALLET_UNREADABLE", text, {"account": account.address.hex()})


def _unreadable(account: AccountHead, why: str) -> InvalidMessage:
    text = f"minter {account.address.hex()}: {why}; check the registry, or ask another node"
    return InvalidMessage("MINTER_UNREADABLE", text, {"account": account.address.hex()})
