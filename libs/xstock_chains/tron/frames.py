"""When a transaction of ours may land: the frame that makes it exclusive, and its text.

The reference block is the solid head, which no reorganisation can take away; the expiration
counts from the newest block's time, so a halted chain expires nothing. Timestamp and expiration
follow from each other: one slot and one content have one id. A transaction can never land any
more once the solid head's time has reached its expiration and it is in no solid block.
"""

from typing import Final

from xstock_chains.tron.blocks import Block, parse_block
from xstock_chains.tron.chain import TronFacts
from xstock_chains.tron.rpc import SOLID, WALLET, TronRpc
from xstock_chains.tron.transaction import Frame, reference
from xstock_core.ids import InvalidId

DAY_MS: Final = 86_400_000
"""A node refuses an expiration farther than this beyond its head."""


async def read_heads(rpc: TronRpc) -> tuple[Block, Block, Block]:
    """(genesis, solid head, newest block) of one server; raises Transient if it lacks one."""
    answers = await rpc.all(
        [
            (SOLID, "getblockbynum", {"num": 0}),
            (SOLID, "getnowblock", {}),
            (WALLET, "getnowblock", {}),
        ]
    )
    genesis, solid, newest = (parse_block(answer) for answer in answers)
    if genesis is None or solid is None or newest is None:
        raise rpc.behind("does not show its genesis, solid or newest block")
    return genesis, solid, newest


def frame_after(
    solid: Block, newest: Block, facts: TronFacts, until_ms: int | None = None
) -> Frame:
    """A frame from now on, ending at `until_ms` if that is earlier and still to come."""
    expiration = newest.time_ms + facts.lifetime_ms
    if until_ms is not None and newest.time_ms < until_ms < expiration:
        expiration = until_ms
    return make_frame(solid, expiration, facts)


def make_frame(solid: Block, expiration_ms: int, facts: TronFacts) -> Frame:
    """The frame with this reference block and expiration."""
    ref_bytes, ref_hash = reference(solid.number, solid.id)
    return Frame(ref_bytes, ref_hash, expiration_ms, expiration_ms - facts.lifetime_ms)


def frame_text(frame: Frame) -> str:
    """The frame as a slot's text."""
    parts = (frame.expiration_ms, frame.timestamp_ms)
    return f"{parts[0]}/{parts[1]}/{frame.ref_block_bytes.hex()}/{frame.ref_block_hash.hex()}"


def parse_frame(text: str) -> Frame:
    """The frame in a slot's text; raises InvalidId."""
    try:
        expiration, timestamp, ref_bytes, ref_hash = text.split("/")
        return Frame(
            bytes.fromhex(ref_bytes), bytes.fromhex(ref_hash), int(expiration), int(timestamp)
        )
    except ValueError as error:
        remedy = "give a slot of this adapter: expiration/timestamp/ref bytes/ref hash"
        raise InvalidId("slot", text, remedy) from error
