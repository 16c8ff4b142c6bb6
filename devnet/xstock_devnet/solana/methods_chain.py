"""RPC methods about the chain itself: health, slots, blocks, blockhashes, fees by slot."""

from collections.abc import Callable, Mapping
from functools import partial

from xstock_devnet.solana.accounts import SLOTS_IN_EPOCH
from xstock_devnet.solana.arguments import Arguments, hash_of, keys_of
from xstock_devnet.solana.chain import (
    BLOCKHASH_AGE_MAX,
    GENESIS_HASH,
    LEADER,
    Block,
    Chain,
)
from xstock_devnet.solana.errors import (
    Json,
    block_cleaned_up,
    block_not_available,
    invalid_params,
    node_behind,
    slot_skipped,
)
from xstock_devnet.solana.render import Renderer, block_header, block_rewards

API_VERSION = "4.2.2"
FEATURE_SET = 3_640_012_085
BLOCK_RANGE_MAX = 500_000
STAKE = 1_000_000_000_000_000
FEE_ACCOUNTS_MAX = 128
Method = Callable[[Json], Json]


def in_context(block: Block, value: Json) -> Json:
    """Return an answer that names the slot it is true at."""
    return {"context": {"apiVersion": API_VERSION, "slot": block.slot}, "value": value}


def chain_methods(chain: Chain, renderer: Renderer) -> Mapping[str, Method]:
    """Return the methods of this module by name."""
    return {
        "getHealth": partial(_health, chain),
        "getVersion": lambda _: {"feature-set": FEATURE_SET, "solana-core": API_VERSION},
        "getGenesisHash": lambda _: str(GENESIS_HASH),
        "getIdentity": lambda _: {"identity": str(LEADER.pubkey())},
        "getSlotLeader": lambda _: str(LEADER.pubkey()),
        "getFirstAvailableBlock": lambda _: chain.first_slot,
        "minimumLedgerSlot": lambda _: chain.first_slot,
        "getSlot": lambda params: Arguments(params, 0, 0).block(chain).slot,
        "getBlockHeight": lambda params: Arguments(params, 0, 0).block(chain).height,
        "getTransactionCount": lambda params: Arguments(params, 0, 0).block(chain).total,
        "getRecentPerformanceSamples": lambda _: [],
        "getEpochInfo": partial(_epoch_info, chain),
        "getLatestBlockhash": partial(_latest_blockhash, chain),
        "isBlockhashValid": partial(_is_blockhash_valid, chain),
        "getBlock": partial(_block, chain, renderer),
        "getBlocks": partial(_blocks, chain),
        "getBlocksWithLimit": partial(_blocks_with_limit, chain),
        "getBlockTime": partial(_block_time, chain),
        "getBlockCommitment": partial(_block_commitment, chain),
        "getRecentPrioritizationFees": partial(_prioritization_fees, chain),
    }


def check_health(chain: Chain) -> None:
    """Raise RpcFailure if the node was told to lag (the control command `behind`)."""
    if chain.behind_slots:
        raise node_behind(chain.behind_slots)


def _health(chain: Chain, params: Json) -> Json:
    del params
    check_health(chain)
    return "ok"


def _epoch_info(chain: Chain, params: Json) -> Json:
    block = Arguments(params, 0, 0).block(chain)
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // SLOTS_IN_EPOCH,
        "slotIndex": block.slot % SLOTS_IN_EPOCH,
        "slotsInEpoch": SLOTS_IN_EPOCH,
        "transactionCount": block.total,
    }


def _latest_blockhash(chain: Chain, params: Json) -> Json:
    block = Arguments(params, 0, 0).block(chain)
    value = {
        "blockhash": str(block.blockhash),
        "lastValidBlockHeight": chain.last_valid_height(block),
    }
    return in_context(block, value)


def _is_blockhash_valid(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    blockhash = hash_of(arguments.values[0])
    block = arguments.block(chain)
    age = chain.blockhash_age(blockhash, block)
    return in_context(block, age is not None and age <= BLOCKHASH_AGE_MAX)


def stored_block(chain: Chain, slot: int, newest: Block) -> Block:
    """Return the block of a slot up to `newest`; raises RpcFailure saying why there is none."""
    block = chain.block_at(slot)
    if slot < chain.first_slot:
        raise block_cleaned_up(slot, chain.first_slot)
    if block is not None and slot <= newest.slot:
        return block
    if slot <= chain.finalized.slot:
        raise slot_skipped(slot)
    raise block_not_available(slot)


def _block(chain: Chain, renderer: Renderer, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    slot = arguments.integer(0)
    block = stored_block(chain, slot, arguments.history_block(chain))
    details = arguments.option("transactionDetails", "full")
    encoding = arguments.option("encoding", "json")
    highest = arguments.option("maxSupportedTransactionVersion")
    shown = block_header(block)
    if details == "full":
        shown["transactions"] = [
            renderer.in_block(entry, encoding, highest) for entry in block.landed
        ]
    elif details == "accounts":
        shown["transactions"] = [renderer.accounts_only(entry, highest) for entry in block.landed]
    elif details == "signatures":
        shown["signatures"] = [entry.loaded.signature for entry in block.landed]
    elif details != "none":
        raise invalid_params(
            f"Invalid params: unknown variant `{details}`, expected one of `full`, `signatures`,"
            " `none`, `accounts`."
        )
    if arguments.option("rewards", otherwise=True):
        shown["rewards"] = block_rewards(block)
    return shown


def _blocks(chain: Chain, params: Json) -> Json:
    second = params[1] if isinstance(params, list) and len(params) > 1 else None
    options_at = 1 if isinstance(second, dict) else 2
    arguments = Arguments(params, 1, options_at)
    newest = arguments.history_block(chain)
    first = max(arguments.integer(0), chain.first_slot)
    last = newest.slot
    if isinstance(second, int):
        last = min(last, arguments.integer(1))
    if last - first > BLOCK_RANGE_MAX:
        raise invalid_params(f"Slot range too large; max {BLOCK_RANGE_MAX}")
    return chain.slots_between(first, last)


def _blocks_with_limit(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 2, 2)
    newest = arguments.history_block(chain)
    limit = arguments.integer(1)
    if limit > BLOCK_RANGE_MAX:
        raise invalid_params(f"Limit too large; max {BLOCK_RANGE_MAX}")
    first = max(arguments.integer(0), chain.first_slot)
    return chain.slots_between(first, newest.slot)[:limit]


def _block_time(chain: Chain, params: Json) -> Json:
    slot = Arguments(params, 1, 1).integer(0)
    return stored_block(chain, slot, chain.confirmed).unix_seconds


def _block_commitment(chain: Chain, params: Json) -> Json:
    slot = Arguments(params, 1, 1).integer(0)
    block = chain.block_at(slot)
    if block is None:
        return {"commitment": None, "totalStake": STAKE}
    depth = min(31, chain.tip.height - block.height)
    return {
        "commitment": [STAKE if place == depth else 0 for place in range(32)],
        "totalStake": STAKE,
    }


def _prioritization_fees(chain: Chain, params: Json) -> Json:
    """Return for each of the last blocks the lowest price that got a lock on any account named."""
    arguments = Arguments(params, 0, 1)
    wanted = frozenset(keys_of(arguments.values[0], FEE_ACCOUNTS_MAX) if arguments.values else ())
    fees = []
    for block in chain.blocks[-BLOCKHASH_AGE_MAX:]:
        prices = [
            entry.loaded.unit_price
            for entry in block.landed
            if not wanted or wanted & entry.loaded.writable_keys
        ]
        fees.append({"prioritizationFee": min(prices, default=0), "slot": block.slot})
    return fees
