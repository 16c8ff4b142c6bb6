"""The start-up self-test of one TON network: is this the chain, and are these the minters?

Compares the live node with the registry: global id, zero state, the global version that parked
mints need, and for every minter its code and its wallets' code, asset, domain, decimals, minimum,
guard set in the order in which signatures name it, threshold and epoch. Swapped entries
or another build show here, before anything is signed (F88). What could not be found out is
unknown, which is not a pass. Reads only.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.ton.address import show
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.minter import artifact
from xstock_chains.ton.rpc import AccountHead, Toncenter
from xstock_chains.ton.storage import MinterState, read_minter
from xstock_runtime.errors import InvalidMessage, Transient

GLOBAL_VERSION_MIN: Final = 12
_NODE_REMEDY: Final = "give the address of a node of this network, or correct the registry"
_MINTER_REMEDY: Final = "correct the asset's registry entry; do not start with another contract"
_VERSION: Final = f"the network needs global version {GLOBAL_VERSION_MIN} or later"
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
        checks = [*network, await self._asked("global version", "enough", self._version, _VERSION)]
        checks += await self._minters()
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

    async def _version(self) -> str:
        """As a contract sees it: what parked mints need is an instruction of the TVM."""
        found = (await self._api.run(self.chain.minters[0].address, "network")).integer(0)
        return "enough" if found >= GLOBAL_VERSION_MIN else f"version {found}"

    async def _minters(self) -> list[CheckResult]:
        """Every minter by its own storage, all of them in one question to the node."""
        addresses = [minter.address for minter in self.chain.minters]
        try:
            accounts = await self._api.accounts(addresses, with_data=True)
        except (Transient, InvalidMessage) as error:
            remedy = "check that the node serves account states with their data"
            return [CheckResult("minters", None, "their states", error.message, remedy)]
        return [
            check
            for minter in self.chain.minters
            for check in self._of_minter(minter, accounts.get(minter.address))
        ]

    def _of_minter(self, minter: TonMinter, account: AccountHead | None) -> list[CheckResult]:
        """A retired minter is checked by its code alone."""
        symbol = minter.asset.symbol
        found = f"no contract at {show(minter.address)}"
        if account is not None and account.active:
            found = account.code_hash.hex()
        code = _compared(f"{symbol} minter code", minter.code_hash.hex(), found, _MINTER_REMEDY)
        if minter.retired_block is not None or account is None or not code.passed:
            return [code]
        try:
            state = read_minter(account)
        except InvalidMessage as error:
            name = f"{symbol} storage"
            failed = CheckResult(name, False, "readable", error.message[:200], _MINTER_REMEDY)  # noqa: FBT003
            return [code, failed]
        return [
            code,
            *(
                _compared(f"{symbol} {name}", expected, said, remedy)
                for name, expected, said, remedy in self._compare(minter, state)
            ),
        ]

    def _compare(self, minter: TonMinter, state: MinterState) -> list[tuple[str, str, str, str]]:
        chain, asset = self.chain, minter.asset
        guards = ", ".join(key.hex() for key in chain.guards)
        domain = int(chain.domain)
        return [
            (
                "wallet code",
                artifact("Wallet").hash.hex(),
                state.wallet_code.hash.hex(),
                _MINTER_REMEDY,
            ),
            (
                "asset, decimals",
                f"{asset.asset.hex()} {asset.decimals}",
                f"{state.asset.hex()} {state.decimals}",
                _MINTER_REMEDY,
            ),
            ("retired", "no", "yes" if state.retired else "no", "register the minter in use"),
            (
                "minimum",
                str(asset.minimum),
                str(state.minimum),
                "make minimum_shares the minter's",
            ),
            ("guard epoch", str(chain.guard_epoch), str(state.epoch), _GUARDS_REMEDY),
            ("guard threshold", str(chain.threshold), str(state.threshold), _GUARDS_REMEDY),
            ("guards", guards, ", ".join(key.hex() for key in state.guards), _GUARDS_REMEDY),
            (
                "own lane",
                "closed",
                "open" if domain in state.lane_counters else "closed",
                "the minter must not burn towards its own chain",
            ),
        ]


def _compared(name: str, expected: str, found: str, remedy: str) -> CheckResult:
    return CheckResult(name, found == expected, expected, found, remedy)
