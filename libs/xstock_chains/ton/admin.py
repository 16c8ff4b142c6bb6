"""The start-up self-test of one TON network: is this the chain, and are these the minters?

Compares the live node with the registry: global id, zero state, the global version that parked
mints need, and for every minter its code and its wallets' code, asset, domain, decimals, minimum,
guard set in the order in which signatures name it, threshold, epoch and counters. Swapped entries
or another build show here, before anything is signed (F88). What could not be found out is
unknown, which is not a pass. Reads only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.ton.address import show
from xstock_chains.ton.cells import dictionary
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.minter import artifact, guards_of
from xstock_chains.ton.rpc import Stack, Toncenter
from xstock_runtime.errors import InvalidMessage, Transient

GLOBAL_VERSION_MIN: Final = 12
_NODE_REMEDY: Final = "give the address of a node of this network, or correct the registry"
_MINTER_REMEDY: Final = "correct the asset's registry entry; do not start with another contract"
_GUARDS_REMEDY: Final = "make the registry's guards, threshold and epoch those of the minter"


class TonAdmin:
    """`ChainAdmin` for one node of one TON network."""

    def __init__(self, chain: TonChain, api: Toncenter) -> None:
        self.chain = chain
        self._api = api

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    async def self_test(self) -> SelfTest:
        """Every check; an unreachable node is one unknown check."""
        try:
            head = await self._api.masterchain_head()
        except (Transient, InvalidMessage) as error:
            remedy = "check the node's address and that it runs"
            unknown = CheckResult("node answers", None, "an answer", error.message, remedy)
            return SelfTest(self.chain.domain, (unknown,))
        network = [
            _compared("global id", str(self.chain.global_id), str(head.global_id), _NODE_REMEDY),
            await self._asked(
                "zero state", self.chain.zero_state.hex(), self._zero_state, _NODE_REMEDY
            ),
        ]
        of_minters = await asyncio.gather(*(self._of_minter(m) for m in self.chain.minters))
        checks = [*network, *(check for checks in of_minters for check in checks)]
        return SelfTest(self.chain.domain, tuple(checks))

    async def _zero_state(self) -> str:
        return (await self._api.zero_state()).hex()

    async def _asked(
        self, name: str, expected: str, ask: Callable[[], Awaitable[str]], remedy: str
    ) -> CheckResult:
        """One question; silence is unknown, garbage is a failure."""
        try:
            found = await ask()
        except Transient as error:
            return CheckResult(name, None, expected, error.message, remedy)
        except InvalidMessage as error:
            return CheckResult(name, False, expected, error.message[:200], remedy)  # noqa: FBT003
        return _compared(name, expected, found, remedy)

    async def _of_minter(self, minter: TonMinter) -> list[CheckResult]:
        """A retired minter is checked by its code alone."""
        symbol = minter.asset.symbol
        code = await self._asked(
            f"{symbol} minter code",
            minter.code_hash.hex(),
            lambda: self._code(minter),
            _MINTER_REMEDY,
        )
        if minter.retired_block is not None:
            return [code]
        asked = [
            self._asked(f"{symbol} {name}", expected, partial(ask, minter), remedy)
            for name, expected, ask, remedy in self._questions(minter)
        ]
        return [code, *await asyncio.gather(*asked)]

    def _questions(
        self, minter: TonMinter
    ) -> list[tuple[str, str, Callable[[TonMinter], Awaitable[str]], str]]:
        chain, asset = self.chain, minter.asset
        guards = ", ".join(key.hex() for key in chain.guards)
        config = f"{int(chain.domain)} {chain.global_id} {asset.asset.hex()} {asset.decimals}"
        return [
            ("wallet code", artifact("Wallet").hash.hex(), self._wallet_code, _MINTER_REMEDY),
            ("domain, network, asset, decimals", config, self._config, _MINTER_REMEDY),
            ("retired", "no", self._retired, "point the registry at the minter in use"),
            ("minimum", str(asset.minimum), self._minimum, "make minimum_shares the minter's"),
            ("guard epoch", str(chain.guard_epoch), self._epoch, _GUARDS_REMEDY),
            ("guard threshold", str(chain.threshold), self._threshold, _GUARDS_REMEDY),
            ("guards", guards, self._guards, _GUARDS_REMEDY),
            ("own lane", "-1", self._own_lane, "the minter must not burn towards its own chain"),
            ("global version", "enough", self._version, f"needs {GLOBAL_VERSION_MIN} or later"),
        ]

    async def _code(self, minter: TonMinter) -> str:
        account = (await self._api.accounts([minter.address])).get(minter.address)
        if account is None or not account.active:
            return f"no contract at {show(minter.address)}"
        return account.code_hash.hex()

    async def _run(self, minter: TonMinter, method: str, *arguments: int) -> Stack:
        return await self._api.run(minter.address, method, arguments)

    async def _wallet_code(self, minter: TonMinter) -> str:
        code = (await self._run(minter, "get_jetton_data")).cell(4)
        return "none" if code is None else code.hash.hex()

    async def _config(self, minter: TonMinter) -> str:
        stack = await self._run(minter, "config")
        asset = stack.integer(2).to_bytes(32, "big").hex()
        return f"{stack.integer(0)} {stack.integer(1)} {asset} {stack.integer(3)}"

    async def _retired(self, minter: TonMinter) -> str:
        return "yes" if (await self._run(minter, "config")).integer(6) else "no"

    async def _minimum(self, minter: TonMinter) -> str:
        return str((await self._run(minter, "minimum")).integer(0))

    async def _epoch(self, minter: TonMinter) -> str:
        return str((await self._run(minter, "guard_set")).integer(0))

    async def _threshold(self, minter: TonMinter) -> str:
        return str((await self._run(minter, "guard_set")).integer(1))

    async def _guards(self, minter: TonMinter) -> str:
        entries = dictionary((await self._run(minter, "guard_set")).cell(3), 8)
        return ", ".join(key.hex() for key in guards_of(entries))

    async def _own_lane(self, minter: TonMinter) -> str:
        return str((await self._run(minter, "lane_counter", int(self.chain.domain))).integer(0))

    async def _version(self, minter: TonMinter) -> str:
        version = (await self._run(minter, "network")).integer(0)
        return "enough" if version >= GLOBAL_VERSION_MIN else f"version {version}"


def _compared(name: str, expected: str, found: str, remedy: str) -> CheckResult:
    return CheckResult(name, found == expected, expected, found, remedy)
