"""A chain that somebody else runs, with a token that other hands made, in a world of ours.

The token has a multiplier of its own, a holder from before the bridge, and an amount that is no
whole number of message units. Its owner deployed it; the same key grants the roles.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode

from xstock_chains.evm.address import checksummed
from xstock_chains.evm.heads import block_call
from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import PreparedTx, SendSlot
from xstock_chains.solidity.abi import hex_of, selector
from xstock_chains.solidity.artifact import artifact
from xstock_cli.hands import Hands, hands_of_world
from xstock_cli.verify import Auditor
from xstock_core.ids import Domain
from xstock_devnet.engines.anvil import AnvilNode, dev_private_key
from xstock_devnet.plan import ASSETS, CHAINS, GUARDS, External
from xstock_devnet.world import World
from xstock_runtime.clock import SystemClock

SYMBOL = "TSLAx"
MULTIPLIER = 1_370_000_000_000_000_000
BEFORE_THE_BRIDGE = 12_345_678_901_234_567_890
OWNER = 7


class OtherHands:
    """Whoever made the token: plain transactions, nothing of the bridge."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._signer = LocalSigner.from_hex(dev_private_key(OWNER))
        self._nonce = 0

    async def make_token(self, holder: bytes) -> str:
        """A token with supply in a holder's hands and a multiplier that has moved once."""
        me = checksummed(self._signer.identity)
        constructor = encode(
            ["string", "string", "address", "uint256"], ["Tesla xStock", SYMBOL, me, 10**18]
        )
        bytecode = bytes.fromhex(artifact("XStockToken")["bytecode"][2:])
        receipt = await self._send(None, bytecode + constructor)
        token = str(receipt["contractAddress"])
        for role in ("setMinter(address)", "setBurner(address)"):
            await self._send(token, selector(role) + encode(["address"], [me]))
        mint = encode(["address", "uint256"], [checksummed(holder), BEFORE_THE_BRIDGE])
        await self._send(token, selector("mint(address,uint256)") + mint)
        update = encode(["uint256", "uint256", "uint256"], [MULTIPLIER, 10**18, 0])
        name = "updateMultiplierValue(uint256,uint256,uint256)"
        await self._send(token, selector(name) + update)
        return checksummed(bytes.fromhex(token[2:]))

    async def _send(self, to: str | None, data: bytes) -> dict[str, object]:
        fields: dict[str, object] = {
            "type": 2,
            "chainId": 97,
            "nonce": self._nonce,
            "from": checksummed(self._signer.identity),
            "value": 0,
            "data": hex_of(data),
            "gas": 5_000_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
        }
        if to is not None:
            fields["to"] = checksummed(bytes.fromhex(to[2:]))
        slot = SendSlot(Domain.BNB, self._signer.wire, str(self._nonce))
        payload = json.dumps(fields).encode()
        prepared = PreparedTx(Domain.BNB, slot, payload, "", simulated=False)
        signed = await self._signer.sign_transaction(prepared)
        self._nonce += 1
        tx = await self._rpc.call("eth_sendRawTransaction", hex_of(signed.raw))
        clock = SystemClock()
        for _ in range(200):
            receipt = await self._rpc.call("eth_getTransactionReceipt", tx)
            if receipt is not None:
                assert quantity(receipt["status"], "status") == 1, receipt
                return dict(receipt)
            await clock.sleep(0.1)
        raise TimeoutError("waited 20 s for the other hands' transaction")


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[tuple[AnvilNode, str]]:
    """Somebody else's chain (id 97) and the token on it."""
    async with AnvilNode(tmp_path, chain_id=97, name="outside", block_seconds=1) as node:
        rpc = Rpc(node.url)
        try:
            await rpc.batch([block_call(0)])
            holder = LocalSigner.from_hex(dev_private_key(3)).identity
            yield node, await OtherHands(rpc).make_token(holder)
        finally:
            await rpc.aclose()


@pytest.fixture
async def mixed(outside: tuple[AnvilNode, str], tmp_path: Path) -> AsyncIterator[World]:
    """Ethereum of our own, BNB of somebody else's."""
    node, token = outside
    key = dev_private_key(OWNER)
    external = External("bnb", (node.url,), key, {SYMBOL: token})
    ethereum, bnb = CHAINS[:2]
    world = World(
        tmp_path / "world",
        say=lambda _: None,
        chains=(ethereum, bnb),
        assets=(replace(ASSETS[0], multiplier=MULTIPLIER),),
        externals=(external,),
    )
    async with world:
        yield world


async def test_foreign_chain_and_token__with_holders_and_a_multiplier__old_supply_moves_and_returns(
    mixed: World,
) -> None:
    """What was there before the bridge crosses it both ways, to the last unit."""
    async with hands_of_world(mixed.document(), mixed.registry) as hands:
        await hands.guards_ready()
        await _cross(hands, "bnb", "ethereum", "holder-0", "holder-1", "12.3")
        await _cross(hands, "ethereum", "bnb", "holder-1", "holder-0", "0.01000007")
        nodes = {chain.name: mixed.node_urls(chain.name) for chain in mixed.chains}
        async with Auditor(mixed.registry, nodes, mixed.residues) as auditor:

            async def agreed() -> bool:
                targets = {guard: mixed.processes[guard].target for guard in GUARDS}
                books = {guard: await hands.bridge.ledger(t) for guard, t in targets.items()}
                return all(check.equal for check in await auditor.compare(books))

            await hands.poll(agreed, seconds=60, waiting_for="supply to equal every ledger")
            facts = await auditor.facts()
        assert not facts.lost
        assert not facts.duplicated
        left = await hands.holder("bnb", "holder-0").shares_of(SYMBOL)
        assert left == BEFORE_THE_BRIDGE - 123 * 10**17 + 1_000_007 * 10**10


async def _cross(
    hands: Hands, source: str, destination: str, sender: str, receiver: str, amount: str
) -> None:
    to = hands.holder(destination, receiver).address_text
    holder = hands.holder(source, sender)
    sent = await hands.send(holder, source, destination, SYMBOL, amount, recipient=to)
    await hands.released(sent, seconds=60)
