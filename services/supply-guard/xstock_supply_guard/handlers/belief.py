"""What a page may say at all, before anything of it is booked.

The readers prove where an observation comes from; this is the second lock behind them. A page
that speaks of another chain, of blocks beyond its own end or of a bridge that was never
registered is no fact, whoever showed it: it never enters the ledger, and its chain is held.
"""

from xstock_chains.ports import Page
from xstock_core.ids import Address32, Domain
from xstock_core.observation import BurnFinal, CancelFinal, Observation, ReleaseFinal
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.model import ChainConfig, GuardConfig


def check_page(config: GuardConfig, chain: Domain, page: Page) -> None:
    """Raises InvalidMessage PAGE_UNBELIEVABLE naming the first observation that cannot be one."""
    if page.through.chain is not chain:
        raise _unbelievable(f"a page of chain {int(page.through.chain)}", page.observations[:1])
    for one in page.observations:
        block = one.place.block
        if block.chain is not chain or block.number > page.through.number:
            raise _unbelievable(f"block {block.number} of chain {int(block.chain)}", (one,))
        if not _registered(config.chains[chain], one):
            raise _unbelievable("a bridge or chain that is not registered", (one,))


def _registered(chain: ChainConfig, one: Observation) -> bool:
    """SECURITY: a sibling's burn looks like one of ours in everything but its bridge (F08)."""
    match one:
        case BurnFinal(message=message):
            return message.source is chain.domain and knows_bridge(chain, message.source_bridge)
        case ReleaseFinal() | CancelFinal():
            return one.destination is chain.domain
        case _:
            return True


def knows_bridge(chain: ChainConfig, bridge: Address32) -> bool:
    """Whether this bridge is, or ever was, one of the chain's own."""
    return bridge in chain.bridges


def _unbelievable(what: str, about: tuple[Observation, ...]) -> InvalidMessage:
    text = f"the page names {what}: {about!r}; compare the providers and the registry"
    return InvalidMessage("PAGE_UNBELIEVABLE", text[:2_000], {"what": what})
