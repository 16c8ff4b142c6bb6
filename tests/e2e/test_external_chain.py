"""Chains of every family that somebody else runs, with tokens that other hands made, in a world
of ours: Ethereum is the only chain it starts itself.

Each foreign node has other ids and another finality lag than our plan's. The tokens have a
multiplier of their own and a holder from before the bridge; on EVM and Tron the amount is no whole
number of message units. Their maker's key, funded there, deploys the bridge and takes the roles.
TON's jettons cannot be taken over: there the bridge begins with nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.other_hands import (
    MULTIPLIER,
    SYMBOL,
    EvmMaker,
    SolanaMaker,
    SplitTron,
    TokenMaker,
    TronMaker,
    told,
)
from xstock_chains.addresses import show_wire
from xstock_chains.evm.rpc import Rpc
from xstock_chains.families import Family
from xstock_chains.profiles import open_account, open_signer
from xstock_cli.hands import Hands, hands_of_world
from xstock_cli.local_options import parse_externals
from xstock_cli.verify import Auditor
from xstock_devnet.engines.anvil import AnvilNode, dev_private_key
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.engines.ton import TonNode
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.plan import ASSETS, CHAINS, GUARDS, HOLDERS
from xstock_devnet.world import World

OWNER_KEY = "5eed" * 16
"""The key that made the tokens and has money, on every family."""
PATIENCE = 2.0
"""Foreign chains are slower than ours to be final."""
FOREIGN = ("bnb", "solana", "tron", "ton")
BEFORE_THE_BRIDGE = {
    "bnb": 12_345_678_901_234_567_890,
    "solana": 9_876_543_219,
    "tron": 45_000_000_000_000_000_007,
    "ton": 0,
}
"""What holder-0 has there already, in the token's own units."""
DECIMALS = {"bnb": 18, "solana": 8, "tron": 18, "ton": 8}


@dataclass(slots=True)
class Outside:
    """Somebody else's chains, as `xstock up --external` is told of them."""

    urls: dict[str, str]
    tokens: dict[str, str]
    key_file: Path


def _account(family: Family, key_file: Path) -> str:
    return show_wire(family, open_account(family, open_signer(family, key_file), "holder"))


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    """Four foreign chains with other ids and lags than the plan's, and the tokens on them."""
    folder = tmp_path_factory.mktemp("outside")
    key_file, holder_file = folder / "owner.key", folder / "holder.key"
    key_file.write_text(OWNER_KEY, encoding="ascii")
    holder_file.write_text(dev_private_key(HOLDERS[0]), encoding="ascii")
    async with AsyncExitStack() as stack:
        bnb = AnvilNode(folder, chain_id=97, name="other-bnb", block_seconds=1, slots_in_an_epoch=3)
        solana = SolanaNode(folder, name="other-solana", block_ms=700, final_blocks=9)
        tron = TronNode(folder, name="other-tron", block_ms=700, final_blocks=5)
        ton = TonNode(folder, name="other-ton", block_ms=600, final_blocks=3, global_id=-3)
        for node in (bnb, solana, tron, ton):
            stack.push_async_callback(node.stop)
        await asyncio.gather(*(node.start() for node in (bnb, solana, tron, ton)))
        rpc = Rpc(bnb.url)
        await rpc.call("anvil_setBalance", _account("evm", key_file), hex(10**22))
        await rpc.aclose()
        await told(solana.url, "fund", address=_account("solana", key_file), amount=5_000 * 10**9)
        await told(tron.url, "fund", address=_account("tron", key_file), amount=200_000 * 10**6)
        await told(ton.url, "fund", address=_account("ton", key_file), amount=1_000 * 10**9)
        split = await stack.enter_async_context(SplitTron(tron.url))
        holders = {
            family: open_signer(family, holder_file).identity
            for family in ("evm", "solana", "tron")
        }
        makers: dict[str, tuple[TokenMaker, bytes]] = {
            "bnb": (EvmMaker(bnb.url, 97, OWNER_KEY), holders["evm"]),
            "solana": (SolanaMaker(solana.url, OWNER_KEY), holders["solana"]),
            "tron": (TronMaker(split.url, OWNER_KEY), holders["tron"]),
        }
        made = await asyncio.gather(
            *(
                maker.make_token(holder, BEFORE_THE_BRIDGE[chain])
                for chain, (maker, holder) in makers.items()
            )
        )
        urls = {"bnb": bnb.url, "solana": solana.url, "tron": split.url, "ton": ton.url}
        yield Outside(urls, dict(zip(makers, made, strict=True)), key_file)


@pytest.fixture(scope="module")
async def mixed(outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Ethereum of our own, four chains of somebody else's, given as on the command line."""
    externals = parse_externals(
        [f"{chain}={url}" for chain, url in outside.urls.items()],
        [f"{chain}={outside.key_file}" for chain in outside.urls],
        [f"{chain}:{SYMBOL}={token}" for chain, token in outside.tokens.items()],
    )
    world = World(
        tmp_path_factory.mktemp("mixed"),
        say=lambda _: None,
        chains=[chain for chain in CHAINS if chain.name in ("ethereum", *FOREIGN)],
        assets=(replace(ASSETS[0], multiplier=MULTIPLIER),),
        externals=externals,
    )
    async with world:
        yield world


@pytest.fixture(scope="module")
async def hands(mixed: World) -> AsyncIterator[Hands]:
    """Connected hands on the mixed world."""
    async with hands_of_world(mixed.document(), mixed.registry, patience=PATIENCE) as connected:
        await connected.guards_ready()
        yield connected


async def test_foreign_networks__of_other_ids__are_read_from_the_nodes_and_stand_in_the_registry(
    mixed: World,
) -> None:
    planned = {chain.name: chain.network_id for chain in CHAINS}
    found = {entry.name: entry.network_id for entry in mixed.registry.chains}
    assert (found["bnb"], found["ton"]) == (97, -3)
    assert found["solana"] != planned["solana"]
    assert found["tron"] != planned["tron"]
    assert mixed.node_urls("tron")[0].count("#solidity=") == 1
    assert {name for name, before in BEFORE_THE_BRIDGE.items() if before} == set(
        mixed.openings[SYMBOL]
    )


async def test_foreign_tokens__with_holders_from_before__old_supply_moves_and_returns(
    mixed: World, hands: Hands
) -> None:
    """What was there before the bridge crosses it from and to each chain, to the last unit."""
    await _cross(
        hands,
        ("bnb", "ethereum", "holder-0", "holder-1", "12.3"),
        ("solana", "ethereum", "holder-0", "holder-1", "21.00000009"),
        ("tron", "ton", "holder-0", "holder-1", "33.25"),
    )
    await _cross(
        hands,
        ("ethereum", "bnb", "holder-1", "holder-0", "0.01000007"),
        ("ton", "tron", "holder-1", "holder-0", "3.00000001"),
    )
    await _cross(hands, ("ethereum", "solana", "holder-1", "holder-0", "1.00000003"))
    await _chains_agree(mixed, hands)
    moved = {
        "bnb": 1_000_007 - 1_230_000_000,
        "solana": 100_000_003 - 2_100_000_009,
        "tron": 300_000_001 - 3_325_000_000,
    }
    for chain, units in moved.items():
        left = await hands.holder(chain, "holder-0").shares_of(SYMBOL)
        assert left == BEFORE_THE_BRIDGE[chain] + units * 10 ** (DECIMALS[chain] - 8), chain
    assert await hands.holder("ton", "holder-1").shares_of(SYMBOL) == 3_325_000_000 - 300_000_001


async def _cross(hands: Hands, *routes: tuple[str, str, str, str, str]) -> None:
    """Send over (source, destination, sender, receiver, amount) at once; a chain is the source of
    one of them only. Returns once all are released."""

    async def cross(route: tuple[str, str, str, str, str]) -> None:
        source, destination, sender, receiver, amount = route
        to = hands.holder(destination, receiver).address_text
        holder = hands.holder(source, sender)
        sent = await hands.send(holder, source, destination, SYMBOL, amount, recipient=to)
        await hands.released(sent, seconds=90)

    await asyncio.gather(*(cross(route) for route in routes))


async def _chains_agree(world: World, hands: Hands) -> None:
    """Nothing lost, nothing doubled; supply = ledger on every chain, prior holders included."""
    nodes = {chain.name: world.node_urls(chain.name) for chain in world.chains}
    async with Auditor(world.registry, nodes, world.residues) as auditor:

        async def agreed() -> bool:
            targets = {guard: world.processes[guard].target for guard in GUARDS}
            books = {guard: await hands.bridge.ledger(t) for guard, t in targets.items()}
            return all(check.equal for check in await auditor.compare(books))

        await hands.poll(agreed, seconds=60, waiting_for="supply to equal every ledger")
        facts = await auditor.facts()
    assert not facts.lost
    assert not facts.duplicated
    assert len(facts.burns) == len(facts.releases) == 6
