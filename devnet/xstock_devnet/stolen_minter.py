"""A local EVM chain whose minter is in the wrong hands: what every auditor must notice.

The node signs for the bridge itself (`anvil_impersonateAccount`), so shares appear, and can be
taken back, without a burn, an order or a guard. For the demonstration and for tests of the
auditors only; it works on a node of ours and on no other. Multipliers below one are not for it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import address_word, selector, word
from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS
from xstock_core.ids import Address32
from xstock_devnet.processes import ProcessFailed
from xstock_runtime.clock import Clock, SystemClock

_GAS_MONEY: Final = hex(10**18)
_GAS: Final = hex(500_000)
_MINED_SECONDS_MAX: Final = 30.0


class StolenMinter:
    """Mints and burns an asset past the bridge; amounts in 10^-8 shares."""

    def __init__(self, rpc: Rpc, token: str, bridge: str, decimals: int, clock: Clock) -> None:
        self._rpc = rpc
        self._token = token
        self._bridge = bridge
        self._scale = 10 ** (decimals - SHARE_DECIMALS)
        self._clock = clock

    async def mint(self, to: Address32, shares: int) -> str:
        """Create shares for somebody out of nothing; the transaction's hash."""
        units = await self._displayed(shares)
        data = selector("mint(address,uint256)") + address_word(to[12:]) + word(units)
        return await self._send(data)

    async def burn(self, shares: int) -> str:
        """Destroy shares that somebody has sent to the bridge's own address."""
        units = await self._displayed(shares)
        holder = bytes.fromhex(self._bridge[2:])
        data = selector("burn(address,uint256)") + address_word(holder) + word(units)
        return await self._send(data)

    async def take_back(self, account: Address32, shares: int) -> str:
        """Send somebody's shares to the bridge's own address, whether they like it or not."""
        owner = "0x" + account[12:].hex()
        units = shares * self._scale
        to = bytes.fromhex(self._bridge[2:])
        data = selector("transferShares(address,uint256)") + address_word(to) + word(units)
        return await self._send(data, owner)

    async def _displayed(self, shares: int) -> int:
        """What the token must be asked for so that exactly these shares move."""
        call = {"to": self._token, "data": "0x" + selector("getCurrentMultiplier()").hex()}
        answer = await self._rpc.call("eth_call", call, "latest")
        multiplier = int(answer[2:66], 16)
        if multiplier < MULTIPLIER_ONE:
            text = f"the token's multiplier {multiplier} is below 10^18; take another asset"
            raise ProcessFailed(text)
        displayed: int = -(-shares * self._scale * multiplier // MULTIPLIER_ONE)
        return displayed

    async def _send(self, data: bytes, sender: str = "") -> str:
        who = sender or self._bridge
        await self._rpc.call("anvil_impersonateAccount", who)
        if quantity(await self._rpc.call("eth_getBalance", who, "latest"), "balance") == 0:
            await self._rpc.call("anvil_setBalance", who, _GAS_MONEY)
        order = {"from": who, "to": self._token, "data": "0x" + data.hex(), "gas": _GAS}
        tx = str(await self._rpc.call("eth_sendTransaction", order))
        await self._rpc.call("anvil_stopImpersonatingAccount", who)
        deadline = self._clock.monotonic() + _MINED_SECONDS_MAX
        while (receipt := await self._rpc.call("eth_getTransactionReceipt", tx)) is None:
            if self._clock.monotonic() > deadline:
                raise TimeoutError(f"waited {_MINED_SECONDS_MAX:g} s for {tx} to be in a block")
            await self._clock.sleep(0.2)
        if receipt["status"] != "0x1":
            raise ProcessFailed(f"stolen minter: transaction {tx} failed in its block")
        return tx


@asynccontextmanager
async def stolen_minter(
    registry: Registry, chain: str, url: str, symbol: str
) -> AsyncIterator[StolenMinter]:
    """The minter of an asset on an EVM chain of ours, as a thief would hold it."""
    deployment = registry.asset(symbol).on(chain)
    if deployment is None or registry.chain(chain).family != "evm":
        raise ProcessFailed(f"{symbol} on {chain} is no token of a local EVM chain")
    rpc = Rpc(url)
    bridge = registry.bridge_on(chain, symbol).address
    try:
        yield StolenMinter(rpc, deployment.token, bridge, deployment.decimals, SystemClock())
    finally:
        await rpc.aclose()
