"""The options by which a local world uses somebody else's chains, parsed with clear errors.

`--external chain=URL[,URL]`, `--external-key chain=FILE`, `--token chain:SYMBOL=ADDRESS`: the same
for `demo` and `up`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xstock_cli.exits import UsageProblem

if TYPE_CHECKING:
    from xstock_devnet.plan import External

    Externals = Sequence[External]
else:
    Externals = Sequence


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

    names = [chain.name for chain in CHAINS]
    urls_of = {
        chain: _urls(value) for chain, value in _pairs("--external", urls, names, "URL[,URL]")
    }
    key_of = dict(_pairs("--external-key", keys, names, "FILE"))
    tokens_of: dict[str, dict[str, str]] = {}
    symbols = {asset.symbol for asset in ASSETS}
    for text in tokens or ():
        chain, symbol, address = _token(text, names, symbols)
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


def _urls(value: str) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in value.split(","))
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageProblem("--external", url, "give an address that begins with http(s)://")
    if len(set(urls)) != len(urls):
        raise UsageProblem("--external", value, "give every node once")
    return urls


def _token(text: str, names: Sequence[str], symbols: set[str]) -> tuple[str, str, str]:
    place, found, address = text.partition("=")
    chain, colon, symbol = place.partition(":")
    if not found or not colon or not address:
        raise UsageProblem("--token", text, "write it as CHAIN:SYMBOL=ADDRESS")
    if chain not in names:
        raise UsageProblem("--token", chain, f"use one of {', '.join(names)}")
    if symbol not in symbols:
        raise UsageProblem("--token", symbol, f"use one of {', '.join(sorted(symbols))}")
    return chain, symbol, address


def _key(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        remedy = "give a readable file with 64 hexadecimal digits"
        raise UsageProblem("--external-key", file, remedy) from None
