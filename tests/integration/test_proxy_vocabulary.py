"""The vocabulary: in the docs as in the code, and the same for whole chains of every family."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.proxied import Provider
from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.proxy.__main__ import families_from
from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_devnet.proxy.controls import (
    ChainCommand,
    ChainControl,
    ChainRefused,
    chain_controls,
)
from xstock_devnet.proxy.families import FAMILIES
from xstock_devnet.proxy.page import tables
from xstock_devnet.proxy.server import RpcProxy
from xstock_devnet.settings import PROJECT_ROOT


def test_page__has_every_table_as_the_code_has_it() -> None:
    """Print them anew with: python -m xstock_devnet.proxy.page."""
    page = (PROJECT_ROOT / "docs" / "chaos.md").read_text(encoding="utf-8")
    assert [table[0] for table in tables() if "\n".join(table) not in page] == []


def test_families__each_says_how_it_hides_and_what_passes() -> None:
    for family in FAMILIES.values():
        assert list(family.hides_by) == ["address", "topic", "tx_hash", "receipts"]
        assert family.passes
        assert len(family.errors) > 10


@pytest.mark.parametrize("pair", ["tron", "tron=doge", "bnb=evm"])
def test_proxy__family_that_cannot_be__is_refused_naming_it(pair: str) -> None:
    with pytest.raises(ValueError, match=f"--family '{pair}'"):
        families_from([pair], {"tron": ["http://127.0.0.1:9"]})


@pytest.fixture
async def evm(
    tmp_path: Path,
) -> AsyncIterator[tuple[ChainControl, ProxyAdmin, Provider]]:
    async with AnvilNode(tmp_path, chain_id=56) as node:
        proxy = RpcProxy({"bnb": [node.url]})
        admin = ProxyAdmin(f"http://127.0.0.1:{await proxy.start()}")
        control = ChainControl("bnb", node.url, "evm", node.child.pid)
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            yield control, admin, Provider(admin.endpoint("guard-1", "bnb", 0), client)
        await proxy.stop()


async def test_evm_chain__finality_frozen__stays_for_every_reader_until_thawed(
    evm: tuple[ChainControl, ProxyAdmin, Provider],
) -> None:
    """F21: anvil cannot hold its finality, so the proxy says so to all."""
    control, admin, provider = evm

    async def final() -> int:
        await provider.rpc("anvil_mine", hex(5))
        block = await provider.rpc("eth_getBlockByNumber", "finalized", False)
        return int(block["number"], 16)

    first = await final()
    said = await control.do(ChainCommand.FREEZE_FINALITY, admin)
    frozen = [await final(), await final()]
    thawed = await control.do(ChainCommand.THAW_FINALITY, admin)
    assert said["at"] == first
    assert frozen == [first, first]
    assert thawed == {"lifted": 1}
    assert await final() > first


async def test_evm_chain__reorg__replaces_its_newest_blocks(
    evm: tuple[ChainControl, ProxyAdmin, Provider],
) -> None:
    control, admin, provider = evm
    await provider.rpc("anvil_mine", hex(6))
    heads = ["0x4", "0x5", "0x6"]

    async def hashes() -> list[str]:
        blocks = [await provider.rpc("eth_getBlockByNumber", head, False) for head in heads]
        return [block["hash"] for block in blocks]

    before = await hashes()
    await control.do(ChainCommand.REORG, admin, 2)
    after = await hashes()
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, False]
    with pytest.raises(ChainRefused, match="only 2 blocks are not final"):
        await control.do(ChainCommand.REORG, admin, 3)


async def test_chain__stopped__answers_nothing_and_forgets_nothing(
    evm: tuple[ChainControl, ProxyAdmin, Provider],
) -> None:
    """F28: a halted chain."""
    control, admin, provider = evm
    await provider.rpc("anvil_mine", hex(3))
    await control.do(ChainCommand.STOP, admin)
    with pytest.raises(httpx.TimeoutException):
        async with httpx.AsyncClient(timeout=0.3, trust_env=False) as client:
            await client.post(control.url, json={"id": 1, "method": "eth_blockNumber"})
    await control.do(ChainCommand.RESUME, admin)
    assert await provider.rpc("eth_blockNumber") == "0x3"


def test_world__controls_that_lack_a_field__are_refused_naming_the_chain() -> None:
    assert chain_controls({}) == {}
    with pytest.raises(ValueError, match=r"controls\.bnb.*family"):
        chain_controls({"controls": {"bnb": {"url": "http://127.0.0.1:9", "pid": 1}}})
