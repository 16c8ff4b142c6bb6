"""The chain families that the proxy serves, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from xstock_devnet.proxy.evm import Evm
from xstock_devnet.proxy.family import Family
from xstock_devnet.proxy.faults import FaultKind, Params, RefuseParams
from xstock_devnet.proxy.solana import Solana
from xstock_devnet.proxy.ton import Ton
from xstock_devnet.proxy.tron import Tron

USUAL: Final = "evm"
FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {family.name: family for family in (Evm(), Solana(), Tron(), Ton())}
)


def family_named(name: str) -> Family:
    """The family of a name; raises ValueError naming those there are."""
    if name not in FAMILIES:
        raise ValueError(f"family: {name!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def fitted(kind: FaultKind, params: Params, struck: Mapping[str, Family]) -> Params:
    """The params as the struck chains take them: `refuse` gets its error's usual methods.

    Raises ValueError for an error that a struck chain's family does not have.
    """
    if kind is not FaultKind.REFUSE or not isinstance(params, RefuseParams):
        return params
    methods: set[str] = set()
    for chain, family in struck.items():
        if params.error not in family.errors:
            known = ", ".join(sorted(family.errors))
            raise ValueError(f"error: {params.error!r} is not said on {chain}; it says {known}")
        methods |= set(family.errors[params.error].methods)
    if params.methods or not methods:
        return params
    return params.model_copy(update={"methods": tuple(sorted(methods))})
