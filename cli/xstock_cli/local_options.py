"""The options by which a local world uses somebody else's chains, parsed with clear errors.

`--external chain=URL[,URL]`, `--external-key chain=FILE`, `--token chain:SYMBOL=ADDRESS`: the same
for `demo` and `up`, for every chain of the local world's plan.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xstock_chains.addresses import parse_wire
from xstock_chains.families import Family
from xstock_cli.exits import UsageProblem
from xstock_cli.nodes import check_nodes
from xstock_core.ids import InvalidId

if TYPE_CHECKING:
    from xstock_devnet.plan import External

    Externals = Sequence[External]
else:
    Externals = Sequence


_KEY: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Others:
    """What of a local world somebody else runs: chains, and Kafka ("" means ours)."""

    externals: Externals = ()
    kafka: str = ""


def parse_kafka(text: str) -> str:
    """One or more host:port by comma, or nothing; raises UsageProblem."""
    for one in text.split(",") if text else ():
        host, colon, port = one.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise UsageProblem("--kafka", one, "write it as HOST:PORT, more by comma")
    return text


def parse_externals(
    urls: Sequence[str] | None, keys: Sequence[str] | None, tokens: Sequence[str] | None
) -> Externals:
    """The chains of others; raises UsageProblem naming the option, its value and the remedy."""
    from xstock_devnet.plan import ASSETS, CHAINS, External

    families = {chain.name: chain.family for chain in CHAINS}
    names = list(families)
    urls_of = {
        chain: _urls(value, families[chain])
        for chain, value in _pairs("--external", urls, names, "URL[,URL]")
    }
    key_of = dict(_pairs("--external-key", keys, names, "FILE"))
    tokens_of: dict[str, dict[str, str]] = {}
    symbols = {asset.symbol for asset in ASSETS}
    for text in tokens or ():
        chain, symbol, address = _token(text, families, symbols)
        tokens_of.setdefault(chain, {})[symbol] = address
    for option, chains in (("--external-key", key_of), ("--token", tokens_of)):
        for chain in chains:
            if chain not in urls_of:
                raise UsageProblem(option, chain, f"give --external {chain}=URL too")
    externals = []
    for chain, addresses in urls_of.items():
        if chain not in key_of:
            remedy = f"give --external-key {chain}=FILE with a key that has gas money there"
            raise UsageProblem("--external", chain, remedy)
        key = _key(key_of[chain])
        externals.append(External(chain, addresses, key, tokens_of.get(chain, {})))
    return externals


def _pairs(
    option: str, given: Sequence[str] | None, names: Sequence[str], form: str
) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in given or ():
        chain, found, value = text.partition("=")
        if not found or not value:
            raise UsageProblem(option, text, f"write it as CHAIN={form}")
        if chain not in names:
            raise UsageProblem(option, chain, f"use one of {', '.join(names)}")
        if chain in (known for known, _ in pairs):
            raise UsageProblem(option, text, f"{chain} is given twice; give it once")
        pairs.append((chain, value))
    return pairs


def _urls(value: str, family: Family) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in value.split(","))
    check_nodes("--external", urls, family)
    return urls


def _token(text: str, families: Mapping[str, Family], symbols: set[str]) -> tuple[str, str, str]:
    place, found, address = text.partition("=")
    chain, colon, symbol = place.partition(":")
    if not found or not colon or not address:
        raise UsageProblem("--token", text, "write it as CHAIN:SYMBOL=ADDRESS")
    if chain not in families:
        raise UsageProblem("--token", chain, f"use one of {', '.join(families)}")
    if symbol not in symbols:
        raise UsageProblem("--token", symbol, f"use one of {', '.join(sorted(symbols))}")
    if families[chain] == "ton":
        remedy = "a jetton that exists cannot be taken over; leave it out, ours is deployed"
        raise UsageProblem("--token", text, remedy)
    try:
        parse_wire(families[chain], address, "--token")
    except InvalidId as error:
        raise UsageProblem("--token", text, error.remedy) from None
    return chain, symbol, address


def _key(file: str) -> str:
    try:
        text = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not _KEY.fullmatch(text):
        remedy = "give a readable file with 64 hexadecimal digits (32 bytes), whatever the chain"
        raise UsageProblem("--external-key", file, remedy)
    return text
