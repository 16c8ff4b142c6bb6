"""The start-up self-test of one Solana chain: is this the chain, and are these the mints?

Compares the live node with the registry: genesis, the multisig's bytes and members, the authority,
decimals and facts of every mint, the lane key's funds. Swapped entries, a mint under another
authority or a rotated guard set show here, before anything is signed (F88). Reads only.
"""

from collections.abc import Sequence
from typing import Any, Final

from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.registry import Registry
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED
from xstock_chains.solana.chain import FAMILY, SolanaAsset, SolanaChain
from xstock_chains.solana.errors import RpcFault
from xstock_chains.solana.mint import EXT_TRANSFER_HOOK, facts_hash_input, multisig_data, parse_mint
from xstock_chains.solana.programs import DECIMALS, SYSTEM, TOKEN_2022
from xstock_chains.solana.rpc import (
    Account,
    Call,
    Rpc,
    account_of,
    key_of,
    list_of,
    number_of,
    with_context,
)
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

_NODE_REMEDY: Final = "give the address of a node of this chain, or correct the registry"
_GUARDS_REMEDY: Final = "make the registry's guards, threshold and multisig those of the chain"
_ACCOUNTS_A_CALL: Final = 100


class SolanaAdmin:
    """`ChainAdmin` for one node of one Solana deployment."""

    def __init__(self, chain: SolanaChain, registry: Registry, rpc: Rpc) -> None:
        self.chain = chain
        self._registry = registry
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def self_test(self) -> SelfTest:
        """Every check, in one round trip; an unreachable node is one unknown check."""
        keys = [
            self.chain.multisig.key,
            self.chain.lane_key,
            *(one.mint for one in self.chain.assets),
        ]
        parts = [keys[at : at + _ACCOUNTS_A_CALL] for at in range(0, len(keys), _ACCOUNTS_A_CALL)]
        options = {"encoding": "base64", **CONFIRMED}
        calls: list[Call] = [
            ("getGenesisHash", []),
            ("getSlot", [FINALIZED]),
            *(("getMultipleAccounts", [[show(one) for one in part], options]) for part in parts),
        ]
        try:
            genesis, slot, *answers = await self._rpc.batch_settled(calls)
            multisig, lane, *mints = _accounts(answers)
        except (Transient, InvalidMessage) as error:
            remedy = "check the node's address and that it runs"
            unknown = CheckResult("node answers", None, "an answer", error.message, remedy)
            return SelfTest(self.chain.domain, (unknown,))
        checks = [
            self._genesis(genesis),
            _finalized(slot),
            self._multisig(multisig),
            self._guards(),
            self._lane(lane),
        ]
        for asset, account in zip(self.chain.assets, mints, strict=True):
            checks.extend(self._mint(asset, account))
        return SelfTest(self.chain.domain, tuple(checks))

    def _genesis(self, answer: Any) -> CheckResult:
        expected = show(self.chain.genesis_hash)
        if isinstance(answer, RpcFault):
            return CheckResult("genesis", None, expected, answer.message, _NODE_REMEDY)
        found = show(key_of(answer, "getGenesisHash"))
        return CheckResult("genesis", found == expected, expected, found, _NODE_REMEDY)

    def _multisig(self, account: Account | None) -> CheckResult:
        expected = self.chain.multisig.data_hash.hex()
        name = f"multisig {show(self.chain.multisig.key)}"
        if account is None or account.owner != TOKEN_2022:
            return CheckResult(name, False, expected, "no Token-2022 account", _GUARDS_REMEDY)  # noqa: FBT003
        found = keccak256(account.data).hex()
        return CheckResult(name, found == expected, expected, found, _GUARDS_REMEDY)

    def _guards(self) -> CheckResult:
        """The registered hash must be that of M of exactly the registry's guards."""
        members = ", ".join(self._registry.guard_identities(FAMILY))
        data = multisig_data(self.chain.threshold, self.chain.guards)
        right = keccak256(data) == self.chain.multisig.data_hash
        expected = f"{self.chain.threshold} of {members}"
        found = expected if right else "a multisig of others"
        return CheckResult("guards", right, expected, found, _GUARDS_REMEDY)

    def _lane(self, account: Account | None) -> CheckResult:
        """A wallet, funded or not: an empty one stops the relayer, and nobody else's start."""
        lamports = 0 if account is None else account.lamports
        remedy = "register the relayer's own key; a program's account cannot pay or sign"
        right = account is None or (account.owner == SYSTEM and not account.data)
        found = f"{'a wallet' if right else 'a program account'} with {lamports} lamports"
        return CheckResult("lane key", right, "a wallet", found, remedy)

    def _mint(self, asset: SolanaAsset, account: Account | None) -> Sequence[CheckResult]:
        remedy = f"correct the registry's token of {asset.symbol}"
        try:
            mint = parse_mint(account, asset.symbol)
        except InvalidMessage as error:
            return [
                CheckResult(f"{asset.symbol} mint", False, "a mint", error.message, remedy)  # noqa: FBT003
            ]
        authority = "nobody" if mint.authority is None else show(mint.authority)
        wanted = show(self.chain.multisig.key)
        give = f"the mint's authority is set to {wanted} (SetAuthority)"
        facts = keccak256(
            facts_hash_input(
                asset.mint, asset.reference.key, mint.decimals, mint.authority or bytes(32)
            )
        ).hex()
        expected = asset.reference.facts_hash.hex()
        hook = mint.extensions.get(EXT_TRANSFER_HOOK, bytes(64))[32:]
        return [
            CheckResult(f"{asset.symbol} authority", authority == wanted, wanted, authority, give),
            CheckResult(
                f"{asset.symbol} decimals",
                mint.decimals == DECIMALS,
                str(DECIMALS),
                str(mint.decimals),
                remedy,
            ),
            CheckResult(f"{asset.symbol} facts", facts == expected, expected, facts, remedy),
            CheckResult(
                f"{asset.symbol} transfer hook",
                not any(hook),
                "no program",
                "no program" if not any(hook) else show(hook),
                "the issuer removes the hook's program, or leaves the asset off this bridge",
            ),
        ]


def _accounts(answers: Sequence[Any]) -> list[Account | None]:
    found: list[Account | None] = []
    for answer in answers:
        if isinstance(answer, RpcFault):
            raise Transient("RPC_REFUSED", answer.message)
        shown = list_of(with_context(answer, "getMultipleAccounts")[1], "getMultipleAccounts")
        found.extend(account_of(one) for one in shown)
    return found


def _finalized(answer: Any) -> CheckResult:
    remedy = "use a node that serves the commitment finalized; no other is accepted"
    if isinstance(answer, RpcFault):
        return CheckResult("finalized slot", None, "a slot", answer.message, remedy)
    return CheckResult("finalized slot", True, "a slot", str(number_of(answer, "getSlot")), remedy)  # noqa: FBT003
