"""What somebody would try against the bridge, each with the defence that stops it.

An attack runs against a world and says how it ended: the name of the contract's refusal, or
HARM. The same function is run twice: against the real contract it must be refused by name, and
against a contract whose defence was taken out of the source it must do HARM. So no defence
here is untested and no test here is a test of nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chains.evm_contracts import batch
from tests.chains.evm_contracts.batch import CANCEL, Item, header, pack, sign, sign_all, wire
from tests.chains.evm_contracts.chain import Receipt, Reverted, artifact, deploy
from tests.chains.evm_contracts.compiler import (
    BRIDGE,
    GUARD_SET,
    TOKEN,
    Change,
    compile_all,
    mutate,
)
from tests.chains.evm_contracts.world import (
    ADMIN,
    AGENT,
    ETHEREUM,
    GUARDS,
    ISSUER,
    ONE,
    RECIPIENT,
    RELAYER,
    STRANGER,
    THIRD,
    UNIT,
    World,
    account,
    deploy_bridge,
    sign_token_permit,
)

HARM = "HARM"
_SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Attack:
    """`run` returns the refusal's name or HARM; `removed` takes the defence out."""

    name: str
    run: Callable[[World], str]
    refusal: str
    removed: Sequence[Change]
    token: Sequence[Change] = ()
    build: dict[str, Any] = field(default_factory=dict)


def ending(world: World, action: Callable[[], Receipt]) -> str:
    """How a batch or a burn ended: the refusal's name, the first skip's reason, or HARM."""
    try:
        receipt = action()
    except Reverted as refused:
        return world.error(refused) if refused.data else "revert"
    skips = world.skips(receipt)
    return skips[0] if skips else HARM


def bridge_change(old: str, new: str) -> Change:
    return Change(BRIDGE, old, new)


def guard_change(old: str, new: str) -> Change:
    return Change(GUARD_SET, old, new)


_FORGET_RELEASED = bridge_change("used[counter >> 8] = bits | bit;", "")
_DIGEST = "bytes32 digest = _hashTypedDataV4("
_END_OF_GUARD_SET = "    function _guardsProposal("


def _digest_with(chain_id: str, contract_: str) -> tuple[Change, Change]:
    """A digest that binds other things than it should."""
    return (
        guard_change(_DIGEST, "bytes32 digest = _loose("),
        guard_change(
            _END_OF_GUARD_SET,
            f"""    function _loose(bytes32 content) private view returns (bytes32) {{
        bytes32 kind = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );
        bytes32 separator = keccak256(
            abi.encode(kind, keccak256("xStock Bridge"), keccak256("1"), {chain_id}, {contract_})
        );
        return keccak256(abi.encodePacked(hex"1901", separator, content));
    }}

{_END_OF_GUARD_SET}""",
        ),
    )


# ---------------------------------------------------------------------- permits


def other_chain_id(world: World) -> str:
    return ending(world, lambda: world.submit(pack([world.item()]), chain_id=1))


def other_contract(world: World) -> str:
    return ending(
        world, lambda: world.submit(pack([world.item()]), bridge="0x" + "00" * 18 + "beef")
    )


def old_epoch(world: World) -> str:
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.bridge.must("rotateGuards", guards, 2, sender=ADMIN)
    return ending(world, lambda: world.submit(pack([world.item()]), epoch=1))


def removed_guard(world: World) -> str:
    fresh = [batch.guard(f"fresh {n}").address for n in range(3)]
    world.propose_and_wait("proposeGuards", fresh, 2)
    world.bridge.must("rotateGuards", fresh, 2, sender=ADMIN)
    return ending(world, lambda: world.submit(pack([world.item()])))


def expired(world: World) -> str:
    return ending(world, lambda: world.submit(pack([world.item()]), deadline=world.rpc.now() - 1))


def far_deadline(world: World) -> str:
    deadline = world.rpc.now() + 3600 + 600
    return ending(world, lambda: world.submit(pack([world.item()]), deadline=deadline))


def too_few(world: World) -> str:
    return ending(world, lambda: world.submit(pack([world.item()]), signers=GUARDS[:1]))


def _with_signatures(world: World, make: Callable[[batch.Permit], bytes]) -> str:
    items = pack([world.item()])
    permit = world.permit(items)
    return ending(world, lambda: world.submit_signed(items, permit.deadline, make(permit)))


def one_signer_twice(world: World) -> str:
    return _with_signatures(world, lambda permit: sign(permit, GUARDS[0]) * 2)


def unsorted_signers(world: World) -> str:
    return _with_signatures(world, lambda p: sign(p, GUARDS[1]) + sign(p, GUARDS[0]))


def stranger_signs(world: World) -> str:
    signers = [GUARDS[0], batch.guard("stranger")]
    return _with_signatures(world, lambda permit: sign_all(permit, signers))


def malleable(world: World) -> str:
    def twisted(permit: batch.Permit) -> bytes:
        low = sign(permit, GUARDS[0])
        s = _SECP256K1_N - int.from_bytes(low[32:64], "big")
        return low[:32] + s.to_bytes(32, "big") + bytes([55 - low[64]]) + sign(permit, GUARDS[1])

    return _with_signatures(world, twisted)


def tampered_amount(world: World) -> str:
    """The guards' signatures cover every byte, not the beginning of the batch."""
    permit = world.permit(b"\x01")
    signatures = sign_all(permit, GUARDS[:2])
    items = pack([world.item()])
    return ending(world, lambda: world.submit_signed(items, permit.deadline, signatures))


# ----------------------------------------------------------------- exactly once


def _minted_twice(world: World, first: Item, again: Item) -> str:
    world.release(first)
    before = world.shares(RECIPIENT)
    how = ending(world, lambda: world.release(again))
    return HARM if world.shares(RECIPIENT) != before else how


def replayed(world: World) -> str:
    """F10/F14: the same signed nonce once more."""
    return _minted_twice(world, world.item(), world.item())


def replayed_in_one_batch(world: World) -> str:
    receipt = world.release(world.item(), world.item())
    twice = world.shares(RECIPIENT) != world.item().amount * UNIT
    return HARM if twice else world.skips(receipt)[0]


def replayed_by_reentry(world: World) -> str:
    """The token calls back into the bridge with the batch it is minting for."""
    items = pack([world.item()])
    permit = world.permit(items)
    signatures = sign_all(permit, GUARDS[:2])
    again = world.bridge.calldata("releaseBatch", items, permit.deadline, signatures)
    world.token.must("setHook", bytes.fromhex(again[2:]), sender=ISSUER)
    world.submit_signed(items, permit.deadline, signatures)
    if world.shares(RECIPIENT) > world.item().amount * UNIT:
        return HARM
    return world.error(Reverted(world.token.call("lastAnswer")))


def released_after_cancel(world: World) -> str:
    return _minted_twice(world, world.item(action=CANCEL), world.item())


def cancelled_after_release(world: World) -> str:
    world.release(world.item())
    receipt = world.release(world.item(action=CANCEL))
    return HARM if world.is_cancelled(world.item()) else world.skips(receipt)[0]


def other_source_same_nonce(world: World) -> str:
    """Two chains may use the same nonce bytes: neither may use up the other's."""
    world.release(world.item())
    other = world.item(source=3)
    receipt = world.release(other)
    return "SEPARATE" if world.is_released(other) and not world.skips(receipt) else HARM


# ------------------------------------------------------------------ bad content


def own_domain_as_source(world: World) -> str:
    return ending(world, lambda: world.release(world.item(source=2)))


def count_beyond_the_end(world: World) -> str:
    item = world.item()
    body = pack([item])[64:]
    packed = b"\x01" + header(1, ETHEREUM, item.nonce[:24], item.asset, 2) + body
    how = ending(world, lambda: world.submit(packed))
    return how if how == "ItemsMalformed" else HARM


def unknown_action(world: World) -> str:
    return ending(world, lambda: world.release(world.item(action=3)))


def unknown_version(world: World) -> str:
    return ending(world, lambda: world.submit(b"\x02" + pack([world.item()])[1:]))


def zero_amount(world: World) -> str:
    return ending(world, lambda: world.release(world.item(amount=0)))


def bridge_receives(world: World) -> str:
    return ending(world, lambda: world.release(world.item(recipient=world.bridge.address)))


def token_receives(world: World) -> str:
    return ending(world, lambda: world.release(world.item(recipient=world.token.address)))


def sanctioned_receives(world: World) -> str:
    world.sanctions.must("setSanctioned", RECIPIENT, True, sender=ISSUER)
    return ending(world, lambda: world.release(world.item()))


def silent_sanctions_list(world: World) -> str:
    world.rpc("anvil_setCode", world.sanctions.address, "0x60006000fd")
    return ending(world, lambda: world.release(world.item()))


def hidden_sanctions_list(world: World) -> str:
    """The token stops telling where its list is."""
    world.token.must("hideList", sender=ISSUER)
    return ending(world, lambda: world.release(world.item()))


def poisoned_batch(world: World) -> str:
    """One item that its token refuses, between two good ones."""
    poison = world.item(2, recipient="0x" + "00" * 20)
    try:
        receipt = world.release(world.item(1), poison, world.item(3))
    except Reverted:
        return HARM
    assert world.released(receipt) == [world.item(1).nonce, world.item(3).nonce]
    return world.skips(receipt)[0]


def refusing_token(world: World) -> str:
    """One item whose token reverts (its minter role was taken) must not take others down."""
    world.token.must("setMinter", STRANGER, sender=ISSUER)
    try:
        receipt = world.release(world.item(1), world.item(2, action=CANCEL))
    except Reverted:
        return HARM
    assert world.is_cancelled(world.item(2))
    return world.skips(receipt)[0]


def gas_starved(world: World) -> str:
    """A valid batch submitted with every amount of gas: a good item must never be skipped."""
    items = pack([world.item(1), world.item(2, recipient=account("second"))])
    permit = world.permit(items)
    signatures = sign_all(permit, GUARDS[:2])
    arguments = (items, permit.deadline, signatures)
    for gas in range(100_000, 700_000, 10_000):
        snapshot = world.rpc("evm_snapshot")
        receipt = world.bridge.send("releaseBatch", *arguments, sender=RELAYER, gas=gas)
        if receipt.ok and world.skips(receipt):
            return HARM
        world.rpc("evm_revert", snapshot)
    return ending(world, lambda: world.submit_signed(*arguments, gas=300_000))


def settle_by_hand(world: World) -> str:
    arguments = (RECIPIENT, UNIT, world.asset, world.token.address, ONE)
    return ending(world, lambda: world.bridge.must("settle", *arguments, sender=STRANGER))


# -------------------------------------------------------------- tokens that lie


def short_mint(world: World) -> str:
    """The token mints one share less than its arithmetic says."""
    return ending(world, lambda: world.release(world.item()))


def short_transfer(world: World) -> str:
    """The token keeps one share of every transfer; shares lie about to fill the gap."""
    world.fund(10**9)
    world.release(world.item(50, recipient=STRANGER, amount=10**9))
    world.token.must("transferShares", world.bridge.address, 10**10, sender=STRANGER)
    return ending(world, lambda: world.burn(10**8))


def donated_shares_mint_less(world: World) -> str:
    """A donation stands in for newly minted shares: supply would fall short of the ledger."""
    world.release(world.item(50, recipient=STRANGER, amount=10**6))
    world.token.must("transferShares", world.bridge.address, 10**12, sender=STRANGER)
    supply = supply_shares(world)
    inventory = world.inventory()
    how = ending(world, lambda: world.release(world.item()))
    if how != HARM:
        return how
    grown = supply_shares(world) - supply - (world.inventory() - inventory)
    return "EXACT" if grown == world.item().amount * UNIT else HARM


def supply_shares(world: World) -> int:
    """Token shares in existence, from the token's own share events."""
    topics = [_transfer_shares_topic(world)]
    logs = world.rpc(
        "eth_getLogs",
        {"address": world.token.address, "topics": topics, "fromBlock": "0x0"},
    )
    nobody = "0x" + "00" * 32
    total = 0
    for log in logs:
        value = int(log["data"], 16)
        total += value if log["topics"][1] == nobody else 0
        total -= value if log["topics"][2] == nobody else 0
    return total


def _transfer_shares_topic(world: World) -> str:
    return "0x" + world.token.topic("TransferShares").hex()


# --------------------------------------------------------------------- backstops


def over_the_bucket(world: World) -> str:
    return ending(world, lambda: world.release(world.item(amount=10**12 + 1)))


def over_the_bucket_together(world: World) -> str:
    items = [world.item(n, amount=6 * 10**11) for n in (1, 2)]
    return ending(world, lambda: world.release(*items))


def over_the_bucket_in_turn(world: World) -> str:
    world.release(world.item(1, amount=6 * 10**11))
    return ending(world, lambda: world.release(world.item(2, amount=6 * 10**11)))


def release_while_paused(world: World) -> str:
    world.bridge.must("pause", bytes(32), sender=AGENT)
    return ending(world, lambda: world.release(world.item()))


def release_while_asset_paused(world: World) -> str:
    world.bridge.must("pause", world.asset, sender=AGENT)
    return ending(world, lambda: world.release(world.item()))


def burn_while_paused(world: World) -> str:
    world.fund(10**9)
    world.bridge.must("pause", bytes(32), sender=AGENT)
    return ending(world, lambda: world.burn(10**8))


def burn_while_asset_paused(world: World) -> str:
    world.fund(10**9)
    world.bridge.must("pause", world.asset, sender=AGENT)
    return ending(world, lambda: world.burn(10**8))


def stranger_pauses(world: World) -> str:
    return ending(world, lambda: world.bridge.must("pause", bytes(32), sender=STRANGER))


def pause_again(world: World) -> str:
    """One key keeps the bridge shut by pausing again and again."""
    world.bridge.must("pause", bytes(32), sender=AGENT)
    world.rpc.advance(6 * 86_400)
    return ending(world, lambda: world.bridge.must("pause", bytes(32), sender=AGENT))


def confirm_alone(world: World) -> str:
    """One guard votes twice to make a pause that never ends."""
    guard = GUARDS[0].address
    world.bridge.must("pause", bytes(32), sender=guard)
    world.bridge.must("confirmPause", bytes(32), sender=guard)
    endless = world.bridge.call("pausedUntil", bytes(32)) == 2**32 - 1
    return HARM if endless else "ONE VOTE"


def unpause_at_once(world: World) -> str:
    world.bridge.must("pause", bytes(32), sender=AGENT)
    world.bridge.must("proposeUnpause", bytes(32), sender=ADMIN)
    return ending(world, lambda: world.bridge.must("unpause", bytes(32), sender=ADMIN))


def unpause_kept_ready(world: World) -> str:
    """An unpause proposed for one pause is kept to lift the next one at once."""
    world.bridge.must("pause", bytes(32), sender=AGENT)
    world.propose_and_wait("proposeUnpause", bytes(32))
    world.bridge.must("pause", bytes(32), sender=GUARDS[0].address)
    return ending(world, lambda: world.bridge.must("unpause", bytes(32), sender=ADMIN))


def rotate_without_proposal(world: World) -> str:
    mine = [batch.guard(f"mine {n}").address for n in range(3)]
    return ending(world, lambda: world.bridge.must("rotateGuards", mine, 2, sender=ADMIN))


def rotate_by_stranger(world: World) -> str:
    mine = [batch.guard(f"mine {n}").address for n in range(3)]
    world.propose_and_wait("proposeGuards", mine, 2)
    return ending(world, lambda: world.bridge.must("rotateGuards", mine, 2, sender=STRANGER))


def rotate_to_half(world: World) -> str:
    """2 of 4: two pairs of guards could sign two truths."""
    four = [batch.guard(f"half {n}").address for n in range(4)]
    world.propose_and_wait("proposeGuards", four, 2)
    return ending(world, lambda: world.bridge.must("rotateGuards", four, 2, sender=ADMIN))


def rotate_to_zero_threshold(world: World) -> str:
    """F83: a threshold of zero accepts anybody's batch."""
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 0)
    return ending(world, lambda: world.bridge.must("rotateGuards", guards, 0, sender=ADMIN))


def rotate_to_one_guard_twice(world: World) -> str:
    twice = [GUARDS[0].address, GUARDS[0].address, GUARDS[1].address]
    world.propose_and_wait("proposeGuards", twice, 2)
    return ending(world, lambda: world.bridge.must("rotateGuards", twice, 2, sender=ADMIN))


def asset_repointed(world: World) -> str:
    other = deploy(world.rpc, artifact("XStockToken"), ISSUER, "Other", "X", ISSUER, ONE)
    arguments = (world.asset, other.address, 1, 1, 1)
    return ending(world, lambda: world.bridge.must("registerAsset", *arguments, sender=ADMIN))


def token_registered_twice(world: World) -> str:
    """Two asset ids for one token: two caps for one supply."""
    arguments = (b"\x01" * 32, world.token.address, 1, 1, 1)
    return ending(world, lambda: world.bridge.must("registerAsset", *arguments, sender=ADMIN))


def _rotate_to_the_same(world: World) -> None:
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.bridge.must("rotateGuards", guards, 2, sender=ADMIN)


def _endless(world: World) -> str:
    return HARM if world.bridge.call("pausedUntil", bytes(32)) == 2**32 - 1 else "NOT CONFIRMED"


def confirm_across_epochs(world: World) -> str:
    """A vote of a guard that was rotated out must not count with today's."""
    world.bridge.must("confirmPause", bytes(32), sender=GUARDS[0].address)
    _rotate_to_the_same(world)
    world.bridge.must("confirmPause", bytes(32), sender=GUARDS[1].address)
    return _endless(world)


def confirm_across_days(world: World) -> str:
    world.bridge.must("confirmPause", bytes(32), sender=GUARDS[0].address)
    world.rpc.advance(25 * 3600)
    world.bridge.must("confirmPause", bytes(32), sender=GUARDS[1].address)
    return _endless(world)


def confirm_by_agent(world: World) -> str:
    return ending(world, lambda: world.bridge.must("confirmPause", bytes(32), sender=AGENT))


def forgotten_proposal(world: World) -> str:
    """A proposal nobody watches any more is applied months later."""
    guards = [g.address for g in GUARDS]
    world.propose_and_wait("proposeGuards", guards, 2)
    world.rpc.advance(60 * 86_400)
    return ending(world, lambda: world.bridge.must("rotateGuards", guards, 2, sender=ADMIN))


def admin_leaves(world: World) -> str:
    return ending(world, lambda: world.bridge.must("renounceOwnership", sender=ADMIN))


def _built(world: World, **changes: Any) -> str:
    try:
        deploy_bridge(world.rpc, world.compiled, **changes)
    except Reverted as refused:
        return world.error(refused)
    return HARM


def built_without_delay(world: World) -> str:
    """F83: zero is never configuration."""
    return _built(world, delay_seconds=0)


def built_without_domain(world: World) -> str:
    """F10: zero is never configuration."""
    return _built(world, domain=0)


def _registered(world: World, token: str, minimum: int, capacity: int, sender: str) -> str:
    arguments = (b"\x01" * 32, token, minimum, capacity, 1)
    return ending(world, lambda: world.bridge.must("registerAsset", *arguments, sender=sender))


def _another_token(world: World) -> str:
    other = deploy(world.rpc, artifact("XStockToken"), ISSUER, "Other", "X", ISSUER, ONE)
    return other.address


def registered_by_stranger(world: World) -> str:
    return _registered(world, _another_token(world), 1, 1, STRANGER)


def registered_without_minimum(world: World) -> str:
    return _registered(world, _another_token(world), 0, 1, ADMIN)


def registered_without_bucket(world: World) -> str:
    return _registered(world, _another_token(world), 1, 0, ADMIN)


def registered_without_capability(world: World) -> str:
    """F88: an older token, without transferSharesFrom, whose holders could never burn."""
    changes = [Change(TOKEN, "function transferSharesFrom(", "function transferSharesOf(")]
    old = compile_all({"old": mutate(changes, unit=TOKEN)})["old"]["XStockToken"]
    token = deploy(world.rpc, old, ISSUER, "Old", "OLDx", ISSUER, ONE)
    return _registered(world, token.address, 1, 1, ADMIN)


def registered_with_other_decimals(world: World) -> str:
    """F50, F88: a token of 8 decimals would be minted ten thousand million times over."""
    changes = [Change(TOKEN, "return 18;", "return 8;")]
    odd = compile_all({"odd": mutate(changes, unit=TOKEN)})["odd"]["XStockToken"]
    token = deploy(world.rpc, odd, ISSUER, "Odd", "ODDx", ISSUER, ONE)
    return _registered(world, token.address, 1, 1, ADMIN)


# ------------------------------------------------------------------------- burns


def burn_counted_twice(world: World) -> str:
    """Two burns under one counter: one of them could never be released."""
    world.fund(10**9)
    counters = [world.bridge.events(world.burn(10**8))[0].args["counter"] for _ in range(2)]
    return "DENSE" if counters == [1, 2] else HARM


def bucket_idle_for_days(world: World) -> str:
    """F53: quiet days must not save up more than the bucket holds."""
    world.release(world.item(1, amount=10**12))
    world.rpc.advance(10 * 86_400)
    return ending(world, lambda: world.release(world.item(2, amount=10**12 + 1)))


def _burn_ending(world: World, amount: int = 10**8, **changes: Any) -> str:
    world.fund(10**9)
    return ending(world, lambda: world.burn(amount, **changes))


def burn_to_unknown_chain(world: World) -> str:
    return _burn_ending(world, destination=7)


def burn_to_own_chain(world: World) -> str:
    return _burn_ending(world, destination=2)


def burn_below_minimum(world: World) -> str:
    return _burn_ending(world, amount=999)


def burn_zero(world: World) -> str:
    """F57: nothing burned must never become an event."""
    return _burn_ending(world, amount=0)


def burn_to_nobody(world: World) -> str:
    return _burn_ending(world, recipient=bytes(32))


def burn_with_bad_padding(world: World) -> str:
    return _burn_ending(world, recipient=b"\x01" + wire(RECIPIENT)[1:])


def burn_to_the_bridge(world: World) -> str:
    return _burn_ending(world, recipient=wire(world.bridge.address))


def burn_to_the_token(world: World) -> str:
    return _burn_ending(world, recipient=wire(world.token.address))


def refund_to_the_bridge(world: World) -> str:
    return _burn_ending(world, refund_to=world.bridge.address)


def burn_unbound_shares(world: World) -> str:
    """At a multiplier below one the cheap path cannot burn every number of shares."""
    world.fund(10**9)
    try:
        for amount in range(10**8, 10**8 + 5):
            world.burn(amount)
    except Reverted:
        return HARM
    return "EXACT"


def mint_unbound_shares(world: World) -> str:
    """At a multiplier below one the cheap path cannot mint every number of shares."""
    receipt = world.release(*(world.item(n, amount=10**8 + n) for n in range(1, 8)))
    return HARM if world.skips(receipt) else "EXACT"


def front_run_permit(world: World) -> str:
    """Somebody uses the holder's permit first; the burn must go through all the same."""
    holder = batch.guard("holder with a key")
    world.rpc("anvil_setBalance", holder.address, hex(10**21))
    world.release(world.item(recipient=holder.address, amount=10**9))
    world.token.must("setDelegateMode", True, sender=ISSUER)
    signed = sign_token_permit(world, holder, 2**200)
    spender = world.bridge.address
    world.token.must("permit", holder.address, spender, *signed, sender=STRANGER)
    burn = (world.asset, 10**8, ETHEREUM, wire(RECIPIENT), holder.address)
    receipt = world.bridge.send("bridgeOutWithPermit", *burn, *signed, sender=holder.address)
    return "BURNED" if receipt.ok else HARM


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "confirm_across_epochs",
        confirm_across_epochs,
        "NOT CONFIRMED",
        [guard_change("if (stale || vote.epoch != _gate.epoch)", "if (stale)")],
    ),
    Attack(
        "confirm_across_days",
        confirm_across_days,
        "NOT CONFIRMED",
        [guard_change("if (stale || vote.epoch != _gate.epoch)", "if (vote.epoch != _gate.epoch)")],
    ),
    Attack(
        "confirm_by_agent",
        confirm_by_agent,
        "NotGuard",
        [guard_change("if (number == 0) revert NotGuard(msg.sender);", "if (number == 0) return;")],
    ),
    Attack(
        "forgotten_proposal",
        forgotten_proposal,
        "ChangeExpired",
        [guard_change("if (block.timestamp > ready + PROPOSAL_SECONDS_MAX)", "if (false)")],
    ),
    Attack(
        "admin_leaves",
        admin_leaves,
        "AdminMayNotLeave",
        [
            guard_change(
                "function renounceOwnership() public pure override {\n"
                "        revert AdminMayNotLeave();",
                "function renounceOwnership() public override {\n"
                "        super.renounceOwnership();",
            )
        ],
    ),
    Attack(
        "built_without_delay",
        built_without_delay,
        "DelayIsZero",
        [guard_change("if (delaySeconds_ == 0) revert DelayIsZero();", "")],
    ),
    Attack(
        "built_without_domain",
        built_without_domain,
        "DomainRefused",
        [bridge_change("if (domain == 0 || domain == CUSTODY)", "if (domain == CUSTODY)")],
    ),
    Attack(
        "registered_by_stranger",
        registered_by_stranger,
        "OwnableUnauthorizedAccount",
        [bridge_change(") external onlyOwner nonReentrant {", ") external nonReentrant {")],
    ),
    Attack(
        "registered_without_minimum",
        registered_without_minimum,
        "MinimumIsZero",
        [bridge_change("if (minimum == 0) revert MinimumIsZero();", "")],
    ),
    Attack(
        "registered_without_bucket",
        registered_without_bucket,
        "BucketIsZero",
        [bridge_change("if (bucketCapacity == 0) revert BucketIsZero();", "")],
    ),
    Attack(
        "registered_without_capability",
        registered_without_capability,
        "TokenUnfit",
        [bridge_change("if (!_canMoveShares(token)) revert", "if (false) revert")],
    ),
    Attack(
        "registered_with_other_decimals",
        registered_with_other_decimals,
        "TokenUnfit",
        [bridge_change("if (_readWord(token, IShareToken.decimals.selector) != 18)", "if (false)")],
    ),
    Attack(
        "burn_counted_twice",
        burn_counted_twice,
        "DENSE",
        [bridge_change("lane.counter = counter;", "")],
    ),
    Attack(
        "bucket_idle_for_days",
        bucket_idle_for_days,
        "BUCKET_EMPTY",
        [bridge_change("return _min(asset.bucketCapacity, ", "return _min(type(uint64).max, ")],
        build={"capacity": 10**12, "refill": 10**9},
    ),
    Attack("chain_id", other_chain_id, "SignerNotGuard", _digest_with("1", "address(this)")),
    Attack(
        "contract",
        other_contract,
        "SignerNotGuard",
        _digest_with("block.chainid", "address(0xbeef)"),
    ),
    Attack(
        "epoch",
        old_epoch,
        "SignerNotGuard",
        [guard_change("TYPEHASH, _gate.epoch, deadline", "TYPEHASH, uint32(1), deadline")],
    ),
    Attack(
        "removed_guard",
        removed_guard,
        "SignerNotGuard",
        [guard_change("delete _guardNumber[_guards[i]];", "continue;")],
    ),
    Attack(
        "expired",
        expired,
        "DeadlinePassed",
        [guard_change("if (deadline < block.timestamp) revert", "if (false) revert")],
    ),
    Attack(
        "far_deadline",
        far_deadline,
        "DeadlineTooFar",
        [guard_change("if (deadline > block.timestamp + PERMIT_SECONDS_MAX)", "if (false)")],
    ),
    Attack(
        "too_few",
        too_few,
        "TooFewSignatures",
        [guard_change("if (given < _gate.threshold)", "if (false)")],
    ),
    Attack(
        "one_signer_twice",
        one_signer_twice,
        "SignersNotAscending",
        [guard_change("if (signer <= previous)", "if (signer < previous)")],
    ),
    Attack(
        "unsorted_signers",
        unsorted_signers,
        "SignersNotAscending",
        [guard_change("if (signer <= previous)", "if (signer == previous)")],
    ),
    Attack(
        "stranger_signs",
        stranger_signs,
        "SignerNotGuard",
        [guard_change("if (_guardNumber[signer] == 0)", "if (false)")],
    ),
    Attack(
        "malleable",
        malleable,
        "ECDSAInvalidSignatureS",
        [guard_change("ECDSA.recover(", "ecrecover(")],
    ),
    Attack(
        "tampered",
        tampered_amount,
        "SignerNotGuard",
        [bridge_change("(keccak256(items), deadline", "(keccak256(items[:1]), deadline")],
    ),
    Attack("replayed", replayed, "ALREADY_RELEASED", [_FORGET_RELEASED]),
    Attack("replayed_in_one_batch", replayed_in_one_batch, "ALREADY_RELEASED", [_FORGET_RELEASED]),
    Attack(
        "replayed_by_reentry",
        replayed_by_reentry,
        "Reentered",
        [
            guard_change("if (_gate.locked) revert Reentered();", ""),
            bridge_change("SETTLE_GAS = 300_000", "SETTLE_GAS = 3_000_000"),
            bridge_change("if (received != wanted)", "if (false)"),
        ],
        token=[
            Change(
                TOKEN,
                "        _totalShares += shares;\n",
                "        _totalShares += shares;\n"
                "        if (hook.length != 0) (, lastAnswer) = msg.sender.call(hook);\n",
            ),
            Change(
                TOKEN,
                "    function transfer(",
                "    bytes public hook;\n    bytes public lastAnswer;\n"
                "    function setHook(bytes calldata to) external { hook = to; }\n"
                "    function transfer(",
            ),
        ],
    ),
    Attack(
        "released_after_cancel",
        released_after_cancel,
        "ALREADY_CANCELLED",
        [bridge_change("_used[lane][counter >> 8] |= bit;", "")],
    ),
    Attack(
        "cancelled_after_release",
        cancelled_after_release,
        "ALREADY_RELEASED",
        [bridge_change("if (done != Skip.NONE) {", "if (done == Skip.ALREADY_CANCELLED) {")],
    ),
    Attack(
        "other_source_same_nonce",
        other_source_same_nonce,
        "SEPARATE",
        [
            bridge_change(
                "lane = uint224(head >> 24);",
                "lane = uint224((head >> 24) & (2 ** 192 - 1)) | (uint224(1) << 192);",
            )
        ],
    ),
    Attack(
        "own_domain_as_source",
        own_domain_as_source,
        "ItemsMalformed",
        [bridge_change(" || source == DOMAIN", "")],
    ),
    Attack(
        "count_beyond_the_end",
        count_beyond_the_end,
        "ItemsMalformed",
        [bridge_change(" || end > items.length", "")],
    ),
    Attack(
        "unknown_action",
        unknown_action,
        "ItemsMalformed",
        [bridge_change("if (action != ACTION_RELEASE && action != ACTION_CANCEL)", "if (false)")],
    ),
    Attack(
        "unknown_version",
        unknown_version,
        "ItemsVersionRefused",
        [bridge_change("if (uint8(items[0]) != ITEMS_VERSION)", "if (false)")],
    ),
    Attack(
        "zero_amount",
        zero_amount,
        "AMOUNT_ZERO",
        [bridge_change("if (amount == 0) return", "if (false) return")],
    ),
    Attack(
        "bridge_receives",
        bridge_receives,
        "RECIPIENT_REFUSED",
        [bridge_change(" || recipient == address(this)", "")],
    ),
    Attack(
        "token_receives",
        token_receives,
        "RECIPIENT_REFUSED",
        [bridge_change(" || recipient == section.token", "")],
    ),
    Attack(
        "sanctioned_receives",
        sanctioned_receives,
        "RECIPIENT_SANCTIONED",
        [bridge_change("if (listed != 0) return", "if (false) return")],
    ),
    Attack(
        "silent_sanctions_list",
        silent_sanctions_list,
        "SCREEN_UNAVAILABLE",
        [bridge_change("if (!read) return", "if (false) return")],
    ),
    Attack(
        "hidden_sanctions_list",
        hidden_sanctions_list,
        "SCREEN_UNAVAILABLE",
        [bridge_change("else if (screened)", "else if (false)")],
        token=[
            Change(
                TOKEN,
                "    ISanctionsList public sanctionsList;\n",
                "    ISanctionsList private _list;\n    bool private _hidden;\n"
                "    function hideList() external { _hidden = true; }\n"
                "    function sanctionsList() public view returns (ISanctionsList) {\n"
                "        require(!_hidden);\n        return _list;\n    }\n",
            ),
            Change(TOKEN, "sanctionsList = ISanctionsList(list);", "_list = ISanctionsList(list);"),
            Change(TOKEN, "ISanctionsList list = sanctionsList;", "ISanctionsList list = _list;"),
        ],
    ),
    Attack(
        "poisoned_batch",
        poisoned_batch,
        "RECIPIENT_REFUSED",
        [
            bridge_change("recipient == address(0) || ", ""),
            bridge_change("return Skip.TOKEN_REFUSED;", "revert();"),
        ],
    ),
    Attack(
        "refusing_token",
        refusing_token,
        "TOKEN_REFUSED",
        [bridge_change("return Skip.TOKEN_REFUSED;", "revert();")],
    ),
    Attack(
        "gas_starved",
        gas_starved,
        "GasTooLow",
        [bridge_change("if (left < ITEM_GAS)", "if (false)")],
        token=[
            Change(
                TOKEN,
                "        _totalShares += shares;\n",
                "        _totalShares += shares;\n        if (gasleft() < 150_000) revert();\n",
            )
        ],
    ),
    Attack(
        "settle_by_hand",
        settle_by_hand,
        "OnlySelf",
        [bridge_change("if (msg.sender != address(this)) revert", "if (false) revert")],
    ),
    Attack(
        "short_mint",
        short_mint,
        "TOKEN_REFUSED",
        [bridge_change("if (received != wanted)", "if (false)")],
        token=[
            Change(TOKEN, "_shares[account] += shares;", "_shares[account] += shares - 1;"),
        ],
    ),
    Attack(
        "short_transfer",
        short_transfer,
        "SharesMismatch",
        [
            bridge_change("if (held - before != wanted)", "if (false)"),
            bridge_change("if (left != before)", "if (false)"),
        ],
        token=[Change(TOKEN, "_shares[to] += shares;", "_shares[to] += shares - 1;")],
    ),
    Attack(
        "donated_shares_mint_less",
        donated_shares_mint_less,
        "EXACT",
        [
            bridge_change(
                "uint256 available = asset.inventory;",
                "uint256 available = token.sharesOf(address(this));",
            )
        ],
        build={"multiplier": THIRD},
    ),
    Attack(
        "over_the_bucket",
        over_the_bucket,
        "BUCKET_EMPTY",
        [
            bridge_change("if (amount > section.level) return", "if (false) return"),
            bridge_change("section.level -= amount;", ""),
        ],
        build={"capacity": 10**12, "refill": 0},
    ),
    Attack(
        "over_the_bucket_together",
        over_the_bucket_together,
        "BUCKET_EMPTY",
        [bridge_change("section.level -= amount;", "")],
        build={"capacity": 10**12, "refill": 0},
    ),
    Attack(
        "over_the_bucket_in_turn",
        over_the_bucket_in_turn,
        "BUCKET_EMPTY",
        [bridge_change("if (section.level != levelBefore)", "if (false)")],
        build={"capacity": 10**12, "refill": 0},
    ),
    Attack(
        "release_while_paused",
        release_while_paused,
        "BRIDGE_PAUSED",
        [bridge_change("else if (block.timestamp < _gate.pausedUntil)", "else if (false)")],
    ),
    Attack(
        "release_while_asset_paused",
        release_while_asset_paused,
        "ASSET_PAUSED",
        [bridge_change("else if (block.timestamp < asset.pausedUntil)", "else if (false)")],
    ),
    Attack(
        "burn_while_paused",
        burn_while_paused,
        "BridgePaused",
        [bridge_change("if (block.timestamp < until)", "if (false)")],
    ),
    Attack(
        "burn_while_asset_paused",
        burn_while_asset_paused,
        "AssetPaused",
        [bridge_change("if (block.timestamp < assetPausedUntil)", "if (false)")],
    ),
    Attack(
        "stranger_pauses",
        stranger_pauses,
        "NotGuardOrAgent",
        [guard_change("if (number == 0 && msg.sender != _gate.agent)", "if (false)")],
    ),
    Attack(
        "pause_again",
        pause_again,
        "PauseCooldown",
        [guard_change("if (last != 0 && block.timestamp < last", "if (false && 0 < last")],
    ),
    Attack(
        "confirm_alone",
        confirm_alone,
        "ONE VOTE",
        [guard_change("if (vote.voters & bit == 0)", "if (true)")],
    ),
    Attack(
        "unpause_at_once",
        unpause_at_once,
        "ChangeTooEarly",
        [guard_change("if (block.timestamp < ready)", "if (false)")],
    ),
    Attack(
        "unpause_kept_ready",
        unpause_kept_ready,
        "ChangeNotProposed",
        [guard_change('"unpause", scope, pauseCount[scope]', '"unpause", scope')],
    ),
    Attack(
        "rotate_without_proposal",
        rotate_without_proposal,
        "ChangeNotProposed",
        [guard_change("ready = readyAt[proposal];", "ready = block.timestamp;")],
    ),
    Attack(
        "rotate_by_stranger",
        rotate_by_stranger,
        "OwnableUnauthorizedAccount",
        [
            guard_change(
                "rotateGuards(address[] calldata newGuards, uint8 newThreshold) external onlyOwner",
                "rotateGuards(address[] calldata newGuards, uint8 newThreshold) external",
            )
        ],
    ),
    Attack(
        "rotate_to_half",
        rotate_to_half,
        "ThresholdRefused",
        [guard_change(" || uint256(newThreshold) * 2 <= count", "")],
    ),
    Attack(
        "rotate_to_zero_threshold",
        rotate_to_zero_threshold,
        "ThresholdRefused",
        [guard_change(" || uint256(newThreshold) * 2 <= count", "")],
    ),
    Attack(
        "rotate_to_one_guard_twice",
        rotate_to_one_guard_twice,
        "GuardRefused",
        [guard_change(" || _guardNumber[guard] != 0", "")],
    ),
    Attack(
        "asset_repointed",
        asset_repointed,
        "AssetAlreadyRegistered",
        [bridge_change("if (_assets[assetId].token != address(0))", "if (false)")],
    ),
    Attack(
        "token_registered_twice",
        token_registered_twice,
        "AssetAlreadyRegistered",
        [bridge_change("if (assetOf[token] != bytes32(0))", "if (false)")],
    ),
    Attack(
        "burn_to_unknown_chain",
        burn_to_unknown_chain,
        "DestinationUnknown",
        [bridge_change("if (kind == RecipientKind.CLOSED) revert", "if (false) revert")],
    ),
    Attack(
        "burn_to_own_chain",
        burn_to_own_chain,
        "DestinationUnknown",
        [bridge_change("if (kind == RecipientKind.CLOSED) revert", "if (false) revert")],
    ),
    Attack(
        "burn_below_minimum",
        burn_below_minimum,
        "BelowMinimum",
        [bridge_change("if (shares < asset.minimum)", "if (false)")],
    ),
    Attack(
        "burn_zero",
        burn_zero,
        "BelowMinimum",
        [bridge_change("if (shares < asset.minimum)", "if (false)")],
    ),
    Attack(
        "burn_to_nobody",
        burn_to_nobody,
        "RecipientIsZero",
        [bridge_change("if (recipient == bytes32(0))", "if (false)")],
    ),
    Attack(
        "burn_with_bad_padding",
        burn_with_bad_padding,
        "RecipientPadding",
        [bridge_change("if (uint256(recipient) >> 160 != 0)", "if (false)")],
    ),
    Attack(
        "burn_to_the_bridge",
        burn_to_the_bridge,
        "RecipientRefused",
        [bridge_change("account == address(this) || account == token", "account == token")],
    ),
    Attack(
        "burn_to_the_token",
        burn_to_the_token,
        "RecipientRefused",
        [bridge_change("account == address(this) || account == token", "account == address(this)")],
    ),
    Attack(
        "refund_to_the_bridge",
        refund_to_the_bridge,
        "RefundRefused",
        [bridge_change("if (refundTo == address(this) || refundTo == token)", "if (false)")],
    ),
    Attack(
        "burn_unbound_shares",
        burn_unbound_shares,
        "EXACT",
        [
            bridge_change(
                "if (multiplier >= ONE) {\n            IShareToken(token).burn",
                "if (true) {\n            IShareToken(token).burn",
            )
        ],
        build={"multiplier": THIRD},
    ),
    Attack(
        "mint_unbound_shares",
        mint_unbound_shares,
        "EXACT",
        [
            bridge_change(
                "if (multiplier >= ONE) {\n            token.act(",
                "if (true) {\n            token.act(",
            )
        ],
        build={"multiplier": THIRD},
    ),
    Attack(
        "front_run_permit",
        front_run_permit,
        "BURNED",
        [
            bridge_change("try IShareToken(token).permit(", "IShareToken(token).permit("),
            bridge_change(") {} catch {}", ");"),
        ],
    ),
)
