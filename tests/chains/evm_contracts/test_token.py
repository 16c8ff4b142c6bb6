"""The test token keeps the real token's rules: what the bridge is tested against is the like."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.chains.evm_contracts import batch
from tests.chains.evm_contracts.chain import (
    Contract,
    Receipt,
    Reverted,
    Rpc,
    artifact,
    deploy,
    error_name,
)
from tests.chains.evm_contracts.world import (
    HOLDER,
    ISSUER,
    ONE,
    RECIPIENT,
    STRANGER,
    fund_actors,
)

pytestmark = pytest.mark.chains

MINTER = STRANGER
ODD = 1_000_918_075_800_000_000


@pytest.fixture
def token(fresh_chain: Rpc) -> Contract:
    """A token at an odd multiplier whose minter and burner is a plain account."""
    fund_actors(fresh_chain)
    sanctions = deploy(fresh_chain, artifact("SanctionsList"), ISSUER, ISSUER)
    made = deploy(fresh_chain, artifact("XStockToken"), ISSUER, "Tesla", "TSLAx", ISSUER, ODD)
    for role in ("setMinter", "setBurner"):
        made.must(role, MINTER, sender=ISSUER)
    made.must("setPauser", ISSUER, sender=ISSUER)
    made.must("setSanctionsList", sanctions.address, sender=ISSUER)
    return made


def _refused(token: Contract, name: str, *args: Any, sender: str) -> str:
    with pytest.raises(Reverted) as refusal:
        token.must(name, *args, sender=sender)
    return error_name([token.abi], refusal.value.data)


def _list(token: Contract, account: str, *, listed: bool = True) -> None:
    sanctions = Contract(token.rpc, token.call("sanctionsList"), artifact("SanctionsList")["abi"])
    sanctions.must("setSanctioned", account, listed, sender=ISSUER)


def _both_events(token: Contract, receipt: Receipt) -> list[tuple[str, str, int]]:
    return [(e.name, e.args["to"], e.args["value"]) for e in token.events(receipt)]


def test_mint__of_a_displayed_amount__rounds_shares_down_and_emits_both(token: Contract) -> None:
    receipt = token.must("mint", HOLDER, 10**18, sender=MINTER)
    shares = 10**18 * ONE // ODD
    assert token.call("sharesOf", HOLDER) == shares
    assert token.call("balanceOf", HOLDER) == shares * ODD // ONE
    assert token.call("totalSupply") == shares * ODD // ONE
    assert _both_events(token, receipt) == [
        ("Transfer", HOLDER, 10**18),
        ("TransferShares", HOLDER, shares),
    ]


def test_transfer__of_shares__moves_them_exactly_at_any_multiplier(token: Contract) -> None:
    token.must("mint", HOLDER, 10**18, sender=MINTER)
    receipt = token.must("transferShares", RECIPIENT, 777_777, sender=HOLDER)
    assert token.call("sharesOf", RECIPIENT) == 777_777
    assert _both_events(token, receipt) == [
        ("Transfer", RECIPIENT, 777_777 * ODD // ONE),
        ("TransferShares", RECIPIENT, 777_777),
    ]


def test_transfer__of_a_displayed_amount__converts_at_execution(token: Contract) -> None:
    token.must("mint", HOLDER, 10**18, sender=MINTER)
    token.must("transfer", RECIPIENT, 10**17, sender=HOLDER)
    assert token.call("sharesOf", RECIPIENT) == 10**17 * ONE // ODD


def test_transfer_shares_from__spends_a_displayed_allowance_rounded_down(token: Contract) -> None:
    token.must("mint", HOLDER, 10**18, sender=MINTER)
    needed = 12_345_678_901 * ODD // ONE
    token.must("approve", STRANGER, needed - 1, sender=HOLDER)
    take = ("transferSharesFrom", HOLDER, RECIPIENT, 12_345_678_901)
    assert _refused(token, *take, sender=STRANGER) == "AllowanceTooLow"
    token.must("approve", STRANGER, needed, sender=HOLDER)
    token.must(*take, sender=STRANGER)
    assert token.call("allowance", HOLDER, STRANGER) == 0
    assert token.call("sharesOf", RECIPIENT) == 12_345_678_901


def test_roles__are_single_and_moved_by_the_owner_alone(token: Contract) -> None:
    assert _refused(token, "mint", HOLDER, 1, sender=ISSUER) == "NotRole"
    assert _refused(token, "burn", HOLDER, 1, sender=ISSUER) == "NotRole"
    assert _refused(token, "setPause", True, sender=MINTER) == "NotRole"
    for role in ("setMinter", "setBurner", "setPauser", "setMultiplierUpdater"):
        assert _refused(token, role, HOLDER, sender=MINTER) == "OwnableUnauthorizedAccount"
    token.must("setMinter", HOLDER, sender=ISSUER)
    assert _refused(token, "mint", HOLDER, 1, sender=MINTER) == "NotRole"


def test_burn__takes_from_the_burner_or_the_token_itself_only(token: Contract) -> None:
    for account in (HOLDER, MINTER, token.address):
        token.must("mint", account, 10**18, sender=MINTER)
    assert _refused(token, "burn", HOLDER, 1, sender=MINTER) == "CannotBurnFrom"
    token.must("burn", MINTER, 10**17, sender=MINTER)
    token.must("burn", token.address, 10**17, sender=MINTER)
    held = 10**18 * ONE // ODD
    assert token.call("sharesOf", MINTER) == held - 10**17 * ONE // ODD


def test_pause__stops_mint_burn_and_transfer_but_not_approvals_or_multipliers(
    token: Contract,
) -> None:
    token.must("mint", MINTER, 10**18, sender=MINTER)
    token.must("setPause", True, sender=ISSUER)
    for name, args in (
        ("mint", (HOLDER, 1)),
        ("burn", (MINTER, 1)),
        ("transfer", (HOLDER, 1)),
        ("transferShares", (HOLDER, 1)),
    ):
        assert _refused(token, name, *args, sender=MINTER) == "TransfersPaused"
    token.must("approve", HOLDER, 1, sender=MINTER)
    token.must("updateMultiplierValue", ONE, ODD, 0, sender=ISSUER)


def test_sanctions__stop_transfers_from_to_and_by_but_neither_mint_nor_burn(
    token: Contract,
) -> None:
    for account in (HOLDER, MINTER):
        token.must("mint", account, 10**18, sender=MINTER)
    token.must("approve", STRANGER, 10**18, sender=HOLDER)
    _list(token, HOLDER)
    assert _refused(token, "transferShares", RECIPIENT, 1, sender=HOLDER) == "Sanctioned"
    assert _refused(token, "transferShares", HOLDER, 1, sender=MINTER) == "Sanctioned"
    token.must("mint", HOLDER, 1, sender=MINTER)
    _list(token, HOLDER, listed=False)
    _list(token, STRANGER)
    by = ("transferSharesFrom", HOLDER, RECIPIENT, 1)
    assert _refused(token, *by, sender=STRANGER) == "Sanctioned"
    token.must("burn", MINTER, 1, sender=MINTER)


def test_multiplier__scheduled__counts_from_its_second_and_raises_the_nonce(
    token: Contract,
) -> None:
    token.must("mint", HOLDER, 10**18, sender=MINTER)
    shares = token.call("sharesOf", HOLDER)
    activation = token.rpc.now() + 3_600
    token.must("updateMultiplierValue", 10 * ODD, ODD, activation, sender=ISSUER)
    assert token.call("getCurrentMultiplier") == (ODD, 0, 0)
    assert token.call("newMultiplierActivationTime") == activation
    token.rpc.advance(3_700)
    assert token.call("getCurrentMultiplier") == (10 * ODD, 0, 1)
    assert token.call("multiplier") == 10 * ODD
    assert token.call("sharesOf", HOLDER) == shares
    assert token.call("balanceOf", HOLDER) == shares * 10 * ODD // ONE
    receipt = token.must("transferShares", RECIPIENT, 1, sender=HOLDER)
    assert token.events(receipt, "MultiplierUpdated")[0].args["value"] == 10 * ODD
    assert token.call("newMultiplierActivationTime") == 0


def test_multiplier__pending__is_overridden_by_a_newer_one(token: Contract) -> None:
    activation = token.rpc.now() + 3_600
    token.must("updateMultiplierValue", 2 * ODD, ODD, activation, sender=ISSUER)
    token.must("updateMultiplierWithNonce", 3 * ODD, ODD, 9, activation, sender=ISSUER)
    token.rpc.advance(3_700)
    assert token.call("getCurrentMultiplier") == (3 * ODD, 0, 9)
    stale = ("updateMultiplierWithNonce", ODD, 3 * ODD, 9, 0)
    assert _refused(token, *stale, sender=ISSUER) == "MultiplierNonceOutdated"
    moved = ("updateMultiplierValue", ODD, ODD, 0)
    assert _refused(token, *moved, sender=ISSUER) == "MultiplierMoved"
    zero = ("updateMultiplierValue", 0, 3 * ODD, 0)
    assert _refused(token, *zero, sender=ISSUER) == "MultiplierIsZero"


def test_fee__accrues_per_period_without_a_transaction(token: Contract) -> None:
    token.must("updateFeePerPeriod", 10**15, sender=ISSUER)
    token.rpc.advance(2 * 86_400)
    expected = ODD
    for _ in range(2):
        expected = expected * (ONE - 10**15) // ONE
    assert token.call("getCurrentMultiplier")[:2] == (expected, 2)
    token.must("mint", HOLDER, 10**18, sender=MINTER)
    assert token.call("getCurrentMultiplier")[:2] == (expected, 0)
    assert token.call("sharesOf", HOLDER) == 10**18 * ONE // expected


def test_permit__works_only_in_delegate_mode_or_for_the_listed(token: Contract) -> None:
    signed = (HOLDER, RECIPIENT, 1, 2**40, 27, b"\x01" * 32, b"\x02" * 32)
    assert _refused(token, "permit", *signed, sender=STRANGER) == "DelegateNotAllowed"
    token.must("setDelegateWhitelist", STRANGER, True, sender=ISSUER)
    assert _refused(token, "permit", *signed, sender=STRANGER) != "DelegateNotAllowed"
    token.must("setDelegateMode", True, sender=ISSUER)
    assert _refused(token, "permit", *signed, sender=RECIPIENT) != "DelegateNotAllowed"


@pytest.mark.parametrize(
    ("name", "kind", "shares"),
    [
        ("delegatedTransfer", "DELEGATED_TRANSFER", 10**9 * ONE // ODD),
        ("delegatedTransferShares", "DELEGATED_TRANSFER_SHARES", 10**9),
    ],
)
def test_delegated_transfer__signed_by_the_owner__moves_once(
    token: Contract, name: str, kind: str, shares: int
) -> None:
    owner = batch.guard("owner")
    token.must("mint", owner.address, 10**18, sender=MINTER)
    token.must("setDelegateMode", True, sender=ISSUER)
    request = (owner.address, RECIPIENT, 10**9, token.rpc.now() + 3_600)
    signature = _sign_delegated(token, owner, kind, request)
    token.must(name, *request, *signature, sender=STRANGER)
    assert token.call("sharesOf", RECIPIENT) == shares
    assert _refused(token, name, *request, *signature, sender=STRANGER) == "WrongSigner"


def _sign_delegated(
    token: Contract, owner: batch.Guard, kind: str, request: tuple[str, str, int, int]
) -> tuple[int, bytes, bytes]:
    fields = "(address owner,address to,uint256 value,uint256 nonce,uint256 deadline)"
    nonce = token.call("nonces", owner.address)
    content = encode(
        ["bytes32", "address", "address", "uint256", "uint256", "uint256"],
        [keccak(text=kind + fields), *request[:3], nonce, request[3]],
    )
    separator = token.call("DOMAIN_SEPARATOR")
    digest = keccak(b"\x19\x01" + separator + keccak(content))
    signature = owner.key.sign_recoverable(digest, hasher=None)
    return 27 + signature[64], signature[:32], signature[32:64]
