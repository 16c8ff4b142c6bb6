"""RPC methods about accounts: raw, by token, by owner; each at the block of its commitment."""

import base64
from collections.abc import Iterator, Mapping
from functools import partial

import base58
from solders.account import Account
from solders.pubkey import Pubkey

from xstock_devnet.solana.arguments import Arguments, key_of, keys_of, mapping, whole
from xstock_devnet.solana.chain import Block, Chain
from xstock_devnet.solana.errors import Json, invalid_params
from xstock_devnet.solana.methods_chain import Method, in_context
from xstock_devnet.solana.programs import TOKEN_PROGRAMS
from xstock_devnet.solana.render import account as shown_account
from xstock_devnet.solana.tokens import (
    Mint,
    TokenAccount,
    read_mint,
    read_token_account,
    shown_amount,
)

ACCOUNTS_PER_CALL_MAX = 100
LARGEST_ACCOUNTS = 20
NOT_FOUND = "Invalid param: could not find account"
ENCODINGS = ("binary", "base58", "base64", "base64+zstd", "jsonParsed")


def account_methods(chain: Chain) -> Mapping[str, Method]:
    """Return the methods of this module by name."""
    return {
        "getAccountInfo": partial(_account_info, chain),
        "getMultipleAccounts": partial(_multiple_accounts, chain),
        "getBalance": partial(_balance, chain),
        "getTokenSupply": partial(_token_supply, chain),
        "getTokenAccountBalance": partial(_token_balance, chain),
        "getTokenAccountsByOwner": partial(_token_accounts_by_owner, chain),
        "getTokenLargestAccounts": partial(_token_largest, chain),
        "getProgramAccounts": partial(_program_accounts, chain),
        "getMinimumBalanceForRentExemption": partial(_rent_exemption, chain),
    }


def _account_info(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    block = arguments.block(chain)
    return in_context(block, _shown(arguments, chain.book.at(key, block.slot), "binary"))


def _multiple_accounts(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    keys = keys_of(arguments.values[0], ACCOUNTS_PER_CALL_MAX)
    block = arguments.block(chain)
    accounts = [_shown(arguments, chain.book.at(key, block.slot), "base64") for key in keys]
    return in_context(block, accounts)


def _balance(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    block = arguments.block(chain)
    held = chain.book.at(key, block.slot)
    return in_context(block, 0 if held is None else held.lamports)


def _token_supply(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    block = arguments.block(chain)
    mint = _mint(chain, key, block)
    return in_context(block, _amount(mint.supply, mint, block))


def _token_balance(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    block = arguments.block(chain)
    held = chain.book.at(key, block.slot)
    if held is None:
        raise invalid_params(NOT_FOUND)
    token = read_token_account(held)
    if token is None:
        raise invalid_params("Invalid param: not a Token account")
    mint = _mint(chain, token.mint, block)
    return in_context(block, _amount(token.amount, mint, block))


def _token_accounts_by_owner(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 2, 2)
    owner = arguments.key(0)
    wanted = arguments.values[1]
    block = arguments.block(chain)
    if not isinstance(wanted, dict) or not ({"mint", "programId"} & wanted.keys()):
        raise invalid_params("Invalid params: expected one of `mint`, `programId`.")
    mint = key_of(wanted["mint"]) if "mint" in wanted else None
    program = key_of(wanted["programId"]) if mint is None else None
    if mint is not None and chain.book.at(mint, block.slot) is None:
        raise invalid_params("Invalid param: could not find mint")
    if program is not None and program not in TOKEN_PROGRAMS:
        raise invalid_params("Invalid param: unrecognized Token program id")
    found = [
        {"account": _shown(arguments, held, "binary"), "pubkey": str(key)}
        for key, held, token in _tokens(chain, block)
        if token.owner == owner and (token.mint == mint or held.owner == program)
    ]
    return in_context(block, found)


def _token_largest(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    key = arguments.key(0)
    block = arguments.block(chain)
    mint = _mint(chain, key, block)
    held = [
        (token.amount, holder) for holder, _, token in _tokens(chain, block) if token.mint == key
    ]
    held.sort(key=lambda pair: (-pair[0], bytes(pair[1])))
    largest = [
        {"address": str(holder), **_amount(amount, mint, block)}
        for amount, holder in held[:LARGEST_ACCOUNTS]
    ]
    return in_context(block, largest)


def _program_accounts(chain: Chain, params: Json) -> Json:
    arguments = Arguments(params, 1, 1)
    program = arguments.key(0)
    block = arguments.block(chain)
    filters = [mapping(wanted) for wanted in arguments.option("filters", [])]
    found = [
        {"account": _shown(arguments, held, "binary"), "pubkey": str(key)}
        for key in chain.book.changed_keys()
        if (held := chain.book.at(key, block.slot)) is not None
        and held.owner == program
        and all(_passes(bytes(held.data), wanted) for wanted in filters)
    ]
    return in_context(block, found) if arguments.option("withContext") else found


def _rent_exemption(chain: Chain, params: Json) -> Json:
    size = Arguments(params, 1, 1).integer(0)
    return chain.book.vm.minimum_balance_for_rent_exemption(size)


def _passes(data: bytes, wanted: dict[str, Json]) -> bool:
    """Tell whether account data passes one filter; raises RpcFailure for an unknown one."""
    if "dataSize" in wanted:
        return len(data) == whole(wanted["dataSize"])
    if "memcmp" not in wanted:
        raise invalid_params("Invalid params: expected one of `dataSize`, `memcmp`.")
    compared = mapping(wanted["memcmp"])
    coded = str(compared.get("bytes", ""))
    base64_coded = compared.get("encoding") == "base64"
    try:
        expected = base64.b64decode(coded) if base64_coded else base58.b58decode(coded)
    except ValueError as error:
        raise invalid_params("Invalid params: invalid memcmp bytes.") from error
    offset = whole(compared.get("offset"))
    return data[offset : offset + len(expected)] == expected


def _tokens(chain: Chain, block: Block) -> Iterator[tuple[Pubkey, Account, TokenAccount]]:
    for key in chain.book.token_accounts():
        held = chain.book.at(key, block.slot)
        token = read_token_account(held)
        if held is not None and token is not None:
            yield key, held, token


def _mint(chain: Chain, key: Pubkey, block: Block) -> Mint:
    held = chain.book.at(key, block.slot)
    if held is None:
        raise invalid_params(NOT_FOUND)
    mint = read_mint(held)
    if mint is None:
        if held.owner not in TOKEN_PROGRAMS:
            raise invalid_params("Invalid param: not a Token mint")
        raise invalid_params("Invalid param: mint could not be unpacked")
    return mint


def _amount(amount: int, mint: Mint, block: Block) -> Json:
    return shown_amount(amount, mint.decimals, mint.multiplier_at(block.unix_seconds))


def _shown(arguments: Arguments, held: Account | None, otherwise: str) -> Json:
    encoding = arguments.option("encoding", otherwise)
    if encoding not in ENCODINGS:
        raise invalid_params(
            f"Invalid params: unknown variant `{encoding}`, expected one of `binary`, `base64`,"
            " `base58`, `jsonParsed`, `base64+zstd`."
        )
    window = arguments.mapping("dataSlice")
    slice_ = None if window is None else (whole(window.get("offset")), whole(window.get("length")))
    return None if held is None else shown_account(held, encoding, slice_)
