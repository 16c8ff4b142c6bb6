"""Checks of supply: what a chain does not say is never counted as equal."""

import json
from collections.abc import Mapping

from tests.chains.evm.test_registry import document
from xstock_chains.registry import parse_registry
from xstock_cli.verify import Auditor, SupplyCheck, counts
from xstock_core.ids import AssetId, Domain
from xstock_wire.v1 import supply_guard_pb2

REGISTRY = parse_registry(json.dumps(document()))
TSLA = REGISTRY.asset("TSLAx").id


class Heard(Auditor):
    """An auditor whose chains have said this."""

    said: Mapping[tuple[Domain, AssetId], tuple[int, int]] = {}

    async def supply(self) -> dict[tuple[Domain, AssetId], tuple[int, int]]:
        """What they said."""
        return dict(self.said)


async def compared(said: Mapping[tuple[Domain, AssetId], tuple[int, int]]) -> list[SupplyCheck]:
    auditor = Heard(REGISTRY, {})
    auditor.said = said
    return await auditor.compare({"guard-1": supply_guard_pb2.GetLedgerResponse()})


async def test_compare__every_chain_says_what_the_ledger_says__is_equal() -> None:
    said = {(Domain.ETHEREUM, TSLA): (0, 1), (Domain.BNB, TSLA): (0, 1)}
    assert counts(await compared(said)) == (2, 2)


async def test_compare__a_chain_does_not_say_the_supply_of_an_asset__is_not_equal() -> None:
    checks = await compared({(Domain.ETHEREUM, TSLA): (0, 1)})
    assert [(one.chain, one.on_chain, one.equal) for one in checks] == [
        ("ethereum", 0, True),
        ("bnb", None, False),
    ]
    assert counts(checks) == (1, 2)
