"""Every family's own reader behind one struck provider: a burn may be late, and is never lost.

Method: three burns on a real local chain; a reader behind the proxy reads all it can while a fault
is in force, by pages as a watcher does, and again once the fault is lifted. Whatever the provider
hid, forged or refused, the reader must either not have moved its cursor past a burn that it did
not show, or have raised; so in the end each burn has been seen, once, as it is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import base58
import pytest

from tests.contract.conftest import ON_A_NODE
from tests.contract.driver import SHARE
from xstock_chains.evm.reader import EvmReader
from xstock_chains.evm.rpc import Rpc as EvmRpc
from xstock_chains.ports import ChainReader, Cursor
from xstock_chains.quorum import Quorum
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Rpc as SolanaRpc
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import Toncenter
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import TronRpc
from xstock_core.observation import BurnFinal, TxRef
from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_devnet.proxy.server import RpcProxy
from xstock_runtime.errors import ServiceError

READERS: Mapping[str, tuple[Callable[..., Any], Callable[[Any, Any], ChainReader]]] = {
    "evm": (EvmRpc, EvmReader),
    "solana": (SolanaRpc, SolanaReader),
    "tron": (TronRpc, TronReader),
    "ton": (Toncenter, TonReader),
}
HEIGHTS = 6
PAGES_MAX = 60


@dataclass(slots=True)
class Watched:
    """A chain with three burns, and a way to read it behind the proxy as a watcher does."""

    family: str
    admin: ProxyAdmin
    reader: ChainReader
    burns: list[TxRef]
    cursor: Cursor
    height: int
    """Where the last burn stands, about."""
    seen: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    """Codes of what the reader raised."""

    async def strike(self, fault: str, **params: Any) -> int:
        """Put a fault on the first provider."""
        return await self.admin.add(fault, chain=self.family, provider=0, **params)

    async def read(self) -> None:
        """Read from the cursor until there is no more, or the provider cannot be believed."""
        for _ in range(PAGES_MAX):
            try:
                page = await self.reader.read_page(self.cursor, limit=2)
            except ServiceError as error:
                self.held.append(error.code)
                return
            burns = [found for found in page.observations if isinstance(found, BurnFinal)]
            self.seen += [burn.place.tx.id.hex() for burn in burns]
            self.cursor = page.cursor
            if not page.more:
                return

    @property
    def burned(self) -> list[str]:
        """The burns' transactions."""
        return [burn.id.hex() for burn in self.burns]


@pytest.fixture(scope="module", params=list(READERS))
async def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[..., Awaitable[Watched]]]:
    family = request.param
    deployments = ON_A_NODE[family](tmp_path_factory.mktemp(family))
    chain = await deployments.fresh()
    burns: list[TxRef] = []
    for number in range(3):
        burns += await chain.burn(SHARE + number)
        await chain.mine(1)
    await chain.mine(HEIGHTS)
    await chain.finalize()
    (last,) = [
        found for found in await chain.reader.re_observe(burns[-1]) if isinstance(found, BurnFinal)
    ]
    proxy = RpcProxy({family: [chain.world.node.url]}, {family: family})
    admin = ProxyAdmin(f"http://127.0.0.1:{await proxy.start()}")
    connect, make = READERS[family]
    async with AsyncExitStack() as stack:

        def reader_at(provider: int) -> ChainReader:
            connection = connect(admin.endpoint("watcher", family, provider))
            stack.push_async_callback(connection.aclose)
            return make(chain.world.chain, connection)

        async def begin(providers: int = 1) -> Watched:
            await admin.lift()
            many = [reader_at(provider) for provider in range(providers)]
            reader = many[0] if providers == 1 else Quorum(many, providers // 2 + 1)
            height = last.place.block.number
            return Watched(family, admin, reader, burns, chain.start, height)

        yield begin
    await proxy.stop()
    await deployments.aclose()


async def test_reader__nothing_is_wrong__sees_every_burn_once(watched: Any) -> None:
    watching = await watched()
    await watching.read()
    assert watching.seen == watching.burned


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("lag", {"blocks": HEIGHTS + 4}),
        ("stale", {"blocks": HEIGHTS + 4}),
        ("stop", {"times": 4}),
        ("rate_limit", {"times": 4}),
    ],
)
async def test_reader__provider_behind_or_away__is_late_and_loses_nothing(
    watched: Any, fault: str, params: dict[str, Any]
) -> None:
    """F30, F31, F36: absence is never taken for proof while the provider lacks the block."""
    watching = await watched()
    await watching.strike(fault, **params)
    await watching.read()
    await watching.read()
    assert watching.seen == watching.burned[: len(watching.seen)]
    await watching.admin.lift()
    await watching.read()
    assert watching.seen == watching.burned


async def test_reader__finality_frozen__reads_no_further(watched: Any) -> None:
    """F21: what is not final is not observed, and it comes when finality goes on."""
    watching = await watched()
    number = await watching.strike("freeze_finality", at=1)
    await watching.read()
    assert watching.seen == []
    await watching.admin.lift(id=number)
    await watching.read()
    assert watching.seen == watching.burned


def text_of(watching: Watched, tx: TxRef) -> str:
    """A transaction's id as its chain's API writes it."""
    if watching.family == "solana":
        return base58.b58encode(tx.id).decode()
    return ("0x" if watching.family == "evm" else "") + tx.id.hex()


async def test_reader__one_burn_missing_in_an_index__does_not_pass_it_by(watched: Any) -> None:
    """F30, F34: a burn that one index lost is minted late, once, and never skipped."""
    watching = await watched()
    gone = text_of(watching, watching.burns[1])
    await watching.strike("hide_event", tx_hash=gone, receipts=False)
    await watching.read()
    assert watching.burned[2] not in watching.seen or watching.burned[1] in watching.seen
    await watching.admin.lift()
    await watching.read()
    assert watching.seen == watching.burned


async def test_quorum__one_provider_hides_a_burn_everywhere__is_outvoted(watched: Any) -> None:
    """F01: one of three lies about whole blocks; what two tell is read, or nothing is."""
    watching = await watched(providers=3)
    gone = text_of(watching, watching.burns[1])
    await watching.strike("hide_event", tx_hash=gone)
    await watching.read()
    assert watching.seen == watching.burned[: len(watching.seen)]
    await watching.admin.lift()
    await watching.read()
    assert watching.seen == watching.burned


async def test_quorum__one_provider_follows_a_fork__is_outvoted(watched: Any) -> None:
    """F29, F33: one of three is on a branch of its own with valid-looking, empty blocks."""
    watching = await watched(providers=3)
    await watching.strike("drop_block", from_number=watching.height)
    await watching.read()
    assert watching.seen == watching.burned[: len(watching.seen)]
    await watching.admin.lift()
    await watching.read()
    assert watching.seen == watching.burned


@pytest.mark.parametrize("watched", ["solana"], indirect=True)
async def test_quorum__taken_out__a_lone_provider_hides_a_burn_until_supply_tells(
    watched: Any,
) -> None:
    """Solana's burns have no counter: a lone node that lies about blocks gets the cursor past one.

    The reader's own check of supply then holds it for good, so nothing is minted on the lie.
    """
    watching = await watched()
    gone = text_of(watching, watching.burns[1])
    await watching.strike("hide_event", tx_hash=gone)
    await watching.read()
    await watching.admin.lift()
    await watching.read()
    assert watching.burned[1] not in watching.seen
    assert "SUPPLY_UNEXPLAINED" in watching.held
