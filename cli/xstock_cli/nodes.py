"""Addresses of nodes as people give them, checked before anybody is asked.

Each family's API hangs below one address; only Tron's may name a second one, of the solidity
interface, which java-tron serves on another port: `http://full:8090#solidity=http://solid:8091`.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from xstock_chains.families import Family
from xstock_chains.registry import Registry
from xstock_cli.exits import UsageProblem

SOLIDITY_MARK: Final = "#solidity="
_SCHEMES: Final = ("http", "https")


def check_node(option: str, url: str, family: Family) -> None:
    """Raises UsageProblem for what is no address of a node of this family."""
    for part in _parts(url):
        if not _is_address(part):
            remedy = "give an address that begins with http(s):// and names a host"
            raise UsageProblem(option, url, remedy)
    if "#" not in url:
        return
    if family != "tron" or url.count("#") > 1 or SOLIDITY_MARK not in url:
        remedy = "leave # away; only tron takes http://host:port#solidity=http://host:port"
        raise UsageProblem(option, url, remedy)


def check_nodes(option: str, urls: Sequence[str], family: Family) -> None:
    """Check every address; raises UsageProblem too where one node would speak twice."""
    seen: set[str] = set()
    for url in urls:
        check_node(option, url, family)
        parts = {part.rstrip("/") for part in _parts(url)}
        if seen & parts:
            remedy = "give every node once: two votes of one node are one opinion"
            raise UsageProblem(option, ",".join(urls), remedy)
        seen |= parts


def named_nodes(
    given: Sequence[str], known: Mapping[str, Sequence[str]], registry: Registry
) -> dict[str, Sequence[str]]:
    """chain -> its nodes: those given as CHAIN=URL, else those known. Raises UsageProblem for a
    chain that the registry does not have, and where one node would speak twice."""
    names = [entry.name for entry in registry.chains]
    found: dict[str, list[str]] = {}
    for text in given:
        chain, _, url = text.partition("=")
        if chain not in names:
            remedy = f"write CHAIN=URL; the registry's chains are {', '.join(names)}"
            raise UsageProblem("--node", text, remedy)
        found.setdefault(chain, []).append(url)
    nodes = {name: found.get(name) or list(known.get(name, ())) for name in names}
    for entry in registry.chains:
        check_nodes("--node", nodes[entry.name], entry.family)
    return dict(nodes)


def _parts(url: str) -> list[str]:
    """The node's address, and its solidity interface's if it names one."""
    node, mark, solidity = url.partition(SOLIDITY_MARK)
    return [node.partition("#")[0], solidity] if mark else [node.partition("#")[0]]


def _is_address(text: str) -> bool:
    try:
        found = urlsplit(text)
        found.port  # noqa: B018 - reading it checks it
    except ValueError:
        return False
    return found.scheme in _SCHEMES and bool(found.hostname)
