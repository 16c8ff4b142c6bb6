"""What a transaction may cost: energy as estimated, with a margin, at the network's price.

Energy that is not used costs nothing, but a limit that is reached burns whole (OUT_OF_ENERGY),
so the limit is generous and capped: by our own bound and by the network's. `fee_limit` covers
energy only; bandwidth is paid besides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.tron.chain import TronFacts
from xstock_chains.tron.rpc import TronRpc, list_of, number_of, object_of
from xstock_runtime.errors import InvalidMessage, Transient

_MARGIN_PERCENT: Final = 120


@dataclass(frozen=True, slots=True)
class Prices:
    """A network's parameters, in sun."""

    energy: int
    bandwidth: int
    fee_limit_max: int


async def read_prices(rpc: TronRpc) -> Prices:
    """The network's parameters now; raises Transient for a node that does not tell them."""
    answer = object_of(await rpc.wallet("getchainparameters"), "getchainparameters")
    found: Mapping[str, Any] = {
        str(one.get("key")): one.get("value")
        for one in list_of(answer.get("chainParameter"), "chainParameter")
    }
    prices = Prices(
        energy=number_of(found.get("getEnergyFee"), "getEnergyFee"),
        bandwidth=number_of(found.get("getTransactionFee"), "getTransactionFee"),
        fee_limit_max=number_of(found.get("getMaxFeeLimit"), "getMaxFeeLimit"),
    )
    if not prices.energy or not prices.fee_limit_max:
        raise Transient("RPC_REFUSED", f"{rpc.host} does not tell its energy price or fee bound")
    return prices


def with_margin(energy: int) -> int:
    """Energy to allow for, where so much was estimated."""
    return energy * _MARGIN_PERCENT // 100


def fee_limit(what: str, energy: int, prices: Prices, facts: TronFacts) -> int:
    """The fee limit for so much energy; raises InvalidMessage BATCH_TOO_LARGE if no transaction
    may use so much, Transient FEE_CAP_REACHED if only its price forbids it."""
    if energy > facts.energy_max:
        text = f"{what} needs {energy} energy, a transaction may use {facts.energy_max}; split it"
        raise InvalidMessage("BATCH_TOO_LARGE", text, {"needed": energy})
    wanted = energy * prices.energy
    most = min(facts.fee_limit_max, prices.fee_limit_max)
    if wanted > most:
        text = f"{what} needs a fee limit of {wanted} sun, the cap is {most}; wait or split it"
        raise Transient("FEE_CAP_REACHED", text, {"needed": wanted, "cap": most})
    return wanted
