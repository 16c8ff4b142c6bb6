"""The local chain's own behaviour: what each commitment sees, expiry, duplicates, skips and forks.

In-process, blocks by hand, so each test says exactly what is in which block; one test at the end
runs the real process and speaks to it through solana-py as it stands.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from base58 import b58decode
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.solana.caller import calls
from xstock_devnet.solana.chain import Chain, ChainSettings
from xstock_devnet.solana.control import CONTROLS, ControlRefused
from xstock_devnet.solana.server import SolanaService, answer_call, rpc_methods
from xstock_runtime.clock import SeededRandomness, VirtualClock

MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
SEND = {"encoding": "base64", "preflightCommitment": "processed"}
SOL = 10**9


class World:
    """One chain, a funded payer and a caller of the RPC."""

    def __init__(self, **settings: int) -> None:
        self.payer = Keypair.from_seed(bytes([7]) * 32)
        self.clock = VirtualClock()
        lags = {"final_blocks": 4, **settings}
        accounts = (self.payer.pubkey(),)
        self.chain = Chain(self.clock, SeededRandomness(5), ChainSettings(**lags), accounts)
        self.service = SolanaService(self.chain, self.clock, automine=False)
        self.methods = rpc_methods(self.chain)

    def answer(self, method: str, *params: Any) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answered: dict[str, Any] = answer_call(self.methods, call)
        return answered

    def ask(self, method: str, *params: Any) -> Any:
        return self.answer(method, *params)["result"]

    def refused(self, method: str, *params: Any) -> tuple[int, str]:
        error = self.answer(method, *params)["error"]
        return error["code"], error["message"]

    def control(self, command: str, **body: Any) -> dict[str, Any]:
        return CONTROLS[command](self.service, body)

    def mine(self, blocks: int = 1) -> None:
        self.control("mine", blocks=blocks)

    def transfer(
        self, receiver: Pubkey, lamports: int, blockhash: Hash | None = None
    ) -> VersionedTransaction:
        order = TransferParams(
            from_pubkey=self.payer.pubkey(), to_pubkey=receiver, lamports=lamports
        )
        return self.signed([transfer(order)], blockhash)

    def signed(
        self, instructions: list[Instruction], blockhash: Hash | None = None
    ) -> VersionedTransaction:
        latest = blockhash or self.chain.tip.blockhash
        message = MessageV0.try_compile(self.payer.pubkey(), instructions, [], latest)
        return VersionedTransaction(message, [self.payer])

    def send(self, transaction: VersionedTransaction, **options: Any) -> str:
        return str(self.ask("sendTransaction", text_of(transaction), {**SEND, **options}))

    def pay(self, receiver: Pubkey, lamports: int) -> str:
        """Send a transfer and put it in a block."""
        signature = self.send(self.transfer(receiver, lamports))
        self.mine()
        return signature

    def balance(self, key: Pubkey, commitment: str) -> int:
        value: int = self.ask("getBalance", str(key), {"commitment": commitment})["value"]
        return value

    def level(self, signature: str) -> str | None:
        options = {"searchTransactionHistory": True}
        status = self.ask("getSignatureStatuses", [signature], options)["value"][0]
        return None if status is None else str(status["confirmationStatus"])

    def accounts(self) -> dict[Pubkey, Any]:
        """Return every changed account as the virtual machine itself holds it now."""
        book = self.chain.book
        return {key: book.vm.get_account(key) for key in book.changed_keys()}


def text_of(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def unlike(before: dict[Pubkey, Any], after: dict[Pubkey, Any]) -> list[Pubkey]:
    """Return the accounts that are not what they were; one that was not there must be gone."""
    return [key for key, held in after.items() if held != before.get(key)]


def memo(text: str, signer: Pubkey) -> Instruction:
    accounts = [AccountMeta(signer, is_signer=True, is_writable=False)]
    return Instruction(MEMO_PROGRAM, text.encode(), accounts)


def test_payment__block_after_block__each_commitment_sees_it_in_its_turn() -> None:
    world, holder = World(), Keypair().pubkey()
    signature = world.send(world.transfer(holder, SOL))
    assert world.level(signature) is None
    seen = []
    for _ in range(6):
        world.mine()
        balances = tuple(
            world.balance(holder, one) // SOL for one in ("processed", "confirmed", "finalized")
        )
        seen.append((world.level(signature), balances))
    assert seen == [
        ("processed", (1, 0, 0)),
        ("confirmed", (1, 1, 0)),
        ("confirmed", (1, 1, 0)),
        ("confirmed", (1, 1, 0)),
        ("finalized", (1, 1, 1)),
        ("finalized", (1, 1, 1)),
    ]


def test_finality_frozen__blocks_go_on__nothing_new_is_final_until_it_is_let_go() -> None:
    world = World()
    world.mine(6)
    world.control("freeze_finality", on=True)
    world.mine(10)
    assert world.ask("getSlot", {"commitment": "finalized"}) == 2
    assert world.ask("getSlot", {"commitment": "confirmed"}) == 15
    world.control("freeze_finality", on=False)
    assert world.ask("getSlot", {"commitment": "finalized"}) == 12


def test_finalize__payment_in_the_newest_block__final_at_once() -> None:
    world, holder = World(), Keypair().pubkey()
    signature = world.pay(holder, SOL)
    world.control("finalize")
    assert (world.level(signature), world.balance(holder, "finalized")) == ("finalized", SOL)


def test_reorg__payments_in_dropped_blocks__accounts_and_lists_are_as_if_they_never_were() -> None:
    world, holder, other = World(), Keypair().pubkey(), Keypair().pubkey()
    kept = world.pay(holder, SOL)
    before = world.accounts()
    slots = world.ask("getBlocks", 0, 100, {"commitment": "confirmed"})
    dropped = [world.pay(holder, 2 * SOL), world.pay(other, 3 * SOL)]
    answer = world.control("reorg", depth=2)
    assert answer["dropped"] == dropped
    assert unlike(before, world.accounts()) == []
    assert [world.level(signature) for signature in (kept, *dropped)] == ["processed", None, None]
    assert world.chain.history_of(other) == []
    world.mine()
    listed = world.ask("getSignaturesForAddress", str(holder), {"commitment": "confirmed"})
    assert [entry["signature"] for entry in listed] == [kept]
    assert world.ask("getBlocks", 0, 1, {"commitment": "confirmed"}) == [*slots, 1]


def test_reorg__same_bytes_again_with_a_hash_that_stayed__lands_this_time() -> None:
    world, holder = World(), Keypair().pubkey()
    payment = world.transfer(holder, SOL)
    world.send(payment)
    world.mine()
    world.control("reorg", depth=1)
    world.send(payment)
    world.mine()
    assert world.balance(holder, "processed") == SOL


def test_reorg__hash_of_a_dropped_block__is_unknown_afterwards() -> None:
    world, holder = World(), Keypair().pubkey()
    world.mine(2)
    payment = world.transfer(holder, SOL)
    world.control("reorg", depth=1)
    error = world.answer("sendTransaction", text_of(payment), SEND)["error"]
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")


def test_reorg__deeper_than_what_is_open__refused_with_the_depth_that_would_do() -> None:
    world = World()
    world.mine(9)
    with pytest.raises(ValueError, match=r"depth: 5 blocks; 1\.\.4 are not final yet"):
        world.control("reorg", depth=5)


def test_drop_tx__one_of_three_payments__exactly_it_is_gone() -> None:
    world = World()
    holders = [Keypair().pubkey() for _ in range(3)]
    signatures = [world.send(world.transfer(holder, SOL)) for holder in holders[:2]]
    world.mine()
    signatures.append(world.pay(holders[2], SOL))
    tip = world.chain.tip.height
    world.control("drop_tx", tx=signatures[1])
    assert [world.balance(holder, "processed") // SOL for holder in holders] == [1, 0, 1]
    assert [world.level(signature) is None for signature in signatures] == [False, True, False]
    assert world.chain.tip.height == tip
    world.mine(8)
    assert world.level(signatures[1]) is None


def test_drop_tx__final_or_unknown_payment__refused() -> None:
    world = World()
    final = world.pay(Keypair().pubkey(), SOL)
    world.mine(5)
    with pytest.raises(ValueError, match="is final; break_finality"):
        world.control("drop_tx", tx=final)
    with pytest.raises(ValueError, match="is on no block"):
        world.control("drop_tx", tx=str(Signature.default()))


def test_break_finality__final_payment__gone_and_its_slot_is_final_with_another_hash() -> None:
    world, holder = World(), Keypair().pubkey()
    signature = world.pay(holder, SOL)
    slot = world.chain.tip.slot
    world.mine(4)
    assert world.level(signature) == "finalized"
    first = world.ask("getBlock", slot, {"transactionDetails": "none"})["blockhash"]
    world.control("break_finality", depth=1)
    replaced = world.ask("getBlock", slot, {"transactionDetails": "signatures"})
    assert replaced["blockhash"] != first
    assert (replaced["signatures"], world.balance(holder, "finalized")) == ([], 0)
    assert world.ask("getSlot", {"commitment": "finalized"}) == slot
    assert world.level(signature) is None


@pytest.mark.parametrize(("blocks_since", "lands"), [(150, True), (151, False)])
def test_blockhash__last_block_that_takes_it__and_the_one_after(
    blocks_since: int, lands: bool
) -> None:
    """A transaction lands up to height `lastValidBlockHeight + 1`, and never later."""
    world, holder = World(), Keypair().pubkey()
    latest = world.ask("getLatestBlockhash", {"commitment": "processed"})["value"]
    payment = world.transfer(holder, SOL)
    world.mine(blocks_since)
    signature = world.send(payment, skipPreflight=True)
    world.mine()
    assert world.chain.tip.height == latest["lastValidBlockHeight"] + blocks_since - 149
    assert (world.level(signature) is not None) is lands
    valid = world.ask("isBlockhashValid", latest["blockhash"], {"commitment": "processed"})
    assert valid["value"] is False


def test_blockhash__newer_than_the_preflight_commitment_knows__refused_there_only() -> None:
    world, holder = World(), Keypair().pubkey()
    world.mine(3)
    payment = text_of(world.transfer(holder, SOL))
    assert world.refused("sendTransaction", payment, {"encoding": "base64"}) == (
        -32002,
        "Transaction simulation failed: Blockhash not found",
    )
    assert "result" in world.answer("sendTransaction", payment, SEND)


def test_same_bytes__waiting_then_landed__signature_then_already_processed() -> None:
    world, holder = World(), Keypair().pubkey()
    payment = world.transfer(holder, SOL)
    assert world.send(payment) == world.send(payment)
    world.mine()
    error = world.answer("sendTransaction", text_of(payment), SEND)["error"]
    assert error["data"]["err"] == "AlreadyProcessed"
    assert world.send(payment, skipPreflight=True) == str(payment.signatures[0])
    world.mine()
    assert world.balance(holder, "processed") == SOL


def test_send__signature_of_somebody_else__refused_and_never_in_a_block() -> None:
    world, holder = World(), Keypair().pubkey()
    message = world.transfer(holder, SOL).message
    forged = VersionedTransaction.populate(message, [Keypair().sign_message(bytes(message))])
    assert world.refused("sendTransaction", text_of(forged), SEND) == (
        -32002,
        "Transaction simulation failed: Transaction did not pass signature verification",
    )
    world.send(forged, skipPreflight=True)
    world.mine()
    assert (world.balance(holder, "processed"), world.chain.tip.landed) == (0, [])


def test_send__fails_when_it_runs__is_in_the_block_with_its_error_and_its_fee_is_gone() -> None:
    world, holder = World(), Keypair().pubkey()
    funds = world.balance(world.payer.pubkey(), "processed")
    signature = world.send(world.transfer(holder, 2 * funds), skipPreflight=True)
    world.mine(2)
    options = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    meta = world.ask("getTransaction", signature, options)["meta"]
    assert meta["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert world.balance(world.payer.pubkey(), "processed") == funds - meta["fee"] == funds - 5_000


def test_fee__price_for_compute_units__charged_told_beforehand_and_listed() -> None:
    world = World()
    instructions = [
        set_compute_unit_limit(20_000),
        set_compute_unit_price(2_000_000),
        memo("x", world.payer.pubkey()),
    ]
    transaction = world.signed(instructions)
    message = base64.b64encode(bytes(b"\x80" + bytes(transaction.message))).decode()
    told = world.ask("getFeeForMessage", message, {"commitment": "processed"})["value"]
    simulated = world.ask("simulateTransaction", text_of(transaction), {"encoding": "base64"})
    signature = world.send(transaction)
    world.mine()
    assert told == simulated["value"]["fee"] == 5_000 + 40_000
    assert world.chain.landed[signature].outcome.fee == told
    fees = world.ask("getRecentPrioritizationFees", [str(world.payer.pubkey())])
    assert fees[-1] == {"prioritizationFee": 2_000_000, "slot": world.chain.tip.slot}
    assert world.chain.tip.leader_reward == 2_500 + 40_000


def test_simulation__at_the_final_block__sees_accounts_as_they_were_and_changes_nothing() -> None:
    world, holder = World(), Keypair()
    world.mine(5)
    world.pay(holder.pubkey(), SOL)
    order = TransferParams(
        from_pubkey=holder.pubkey(), to_pubkey=world.payer.pubkey(), lamports=SOL // 2
    )
    message = MessageV0.try_compile(
        holder.pubkey(), [transfer(order)], [], world.chain.finalized.blockhash
    )
    text = text_of(VersionedTransaction(message, [holder]))
    before = world.accounts()
    wanted = {"encoding": "base64", "addresses": [str(holder.pubkey())]}
    now = world.ask(
        "simulateTransaction",
        text,
        {"encoding": "base64", "commitment": "processed", "accounts": wanted},
    )["value"]
    then = world.ask("simulateTransaction", text, {"encoding": "base64"})["value"]
    assert (now["err"], now["accounts"][0]["lamports"]) == (None, SOL // 2 - 5_000)
    assert then["err"] == "AccountNotFound"
    assert unlike(before, world.accounts()) == []


def test_simulation__blockhash_replaced__runs_whatever_hash_it_had() -> None:
    world, holder = World(), Keypair().pubkey()
    text = text_of(world.transfer(holder, SOL, Hash.new_unique()))
    options = {"encoding": "base64", "commitment": "processed"}
    assert world.ask("simulateTransaction", text, options)["value"]["err"] == "BlockhashNotFound"
    replaced = world.ask("simulateTransaction", text, {**options, "replaceRecentBlockhash": True})[
        "value"
    ]
    assert replaced["err"] is None
    assert replaced["replacementBlockhash"] == {
        "blockhash": str(world.chain.tip.blockhash),
        "lastValidBlockHeight": 150,
    }


def test_inner_instructions__program_that_calls_others__listed_with_their_caller() -> None:
    world = World()
    associated = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
    token = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
    native = Pubkey.from_string("So11111111111111111111111111111111111111112")
    owner = world.payer.pubkey()
    seeds = [bytes(owner), bytes(token), bytes(native)]
    account = Pubkey.find_program_address(seeds, associated)[0]
    keys = [
        AccountMeta(owner, is_signer=True, is_writable=True),
        AccountMeta(account, is_signer=False, is_writable=True),
        *(
            AccountMeta(key, is_signer=False, is_writable=False)
            for key in (owner, native, Pubkey.default(), token)
        ),
    ]
    creation = Instruction(associated, bytes([1]), keys)
    transaction = world.signed([memo("first", owner), creation])
    options = {"encoding": "base64", "commitment": "processed", "innerInstructions": True}
    simulated = world.ask("simulateTransaction", text_of(transaction), options)["value"]
    signature = world.send(transaction)
    world.mine(2)
    read = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    shown = world.ask("getTransaction", signature, read)
    inner = shown["meta"]["innerInstructions"]
    assert [group["index"] for group in inner] == [1]
    calls = inner[0]["instructions"]
    account_keys = shown["transaction"]["message"]["accountKeys"]
    programs = {account_keys[call["programIdIndex"]] for call in calls}
    assert programs == {str(token), str(Pubkey.default())}
    assert {call["stackHeight"] for call in calls} == {2}
    called = simulated["innerInstructions"][0]["instructions"]
    assert [call["programId"] for call in called] == [
        account_keys[call["programIdIndex"]] for call in calls
    ]


def test_caller_program__memo_twice_and_a_payment__done_inside_in_the_order_told() -> None:
    world, holder = World(), Keypair().pubkey()
    owner = world.payer.pubkey()
    payment = transfer(TransferParams(from_pubkey=owner, to_pubkey=holder, lamports=SOL))
    told = calls([memo("one", owner), payment, memo("two", owner), payment])
    signature = world.send(world.signed([told]))
    world.mine(2)
    read = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    shown = world.ask("getTransaction", signature, read)
    keys = shown["transaction"]["message"]["accountKeys"]
    inner = shown["meta"]["innerInstructions"][0]["instructions"]
    called = [keys[call["programIdIndex"]] for call in inner]
    memo_and_system = [str(MEMO_PROGRAM), str(Pubkey.default())]
    assert called == 2 * memo_and_system
    assert [b58decode(call["data"]) for call in inner[::2]] == [b"one", b"two"]
    assert world.balance(holder, "confirmed") == 2 * SOL


def test_caller_program__payment_of_somebody_who_did_not_sign__refused() -> None:
    world, victim = World(), Keypair().pubkey()
    order = TransferParams(from_pubkey=victim, to_pubkey=world.payer.pubkey(), lamports=SOL)
    told = calls([transfer(order)])
    stolen = Instruction(
        told.program_id,
        bytes(told.data),
        [
            AccountMeta(meta.pubkey, is_signer=False, is_writable=meta.is_writable)
            for meta in told.accounts
        ],
    )
    error = world.answer("sendTransaction", text_of(world.signed([stolen])), SEND)["error"]
    assert error["data"]["err"] == {"InstructionError": [0, "MissingRequiredSignature"]}


def test_skipped_slots__every_fifth__no_block_there_and_told_from_missing_ones() -> None:
    world = World(skip_every=5)
    world.mine(10)
    assert world.ask("getBlocks", 1, 8) == [1, 2, 3, 4, 6, 7]
    assert world.ask("getBlocksWithLimit", 3, 3) == [3, 4, 6]
    assert world.ask("getBlock", 6)["parentSlot"] == 4
    assert world.ask("getBlockHeight", {"commitment": "processed"}) == 10
    assert world.chain.tip.slot == 12
    skipped = "Slot 5 was skipped, or missing due to ledger jump to recent snapshot"
    assert world.refused("getBlock", 5) == (-32007, skipped)
    assert world.refused("getBlock", 10, {"commitment": "confirmed"}) == (
        -32004,
        "Block not available for slot 10",
    )


def test_pruned_history__below_the_first_slot__blocks_refused_and_lists_silently_short() -> None:
    world, holder = World(), Keypair().pubkey()
    old = world.pay(holder, SOL)
    world.mine(9)
    world.control("prune", below=3)
    assert world.refused("getBlock", 1) == (
        -32001,
        "Block 1 cleaned up, does not exist on node. First available block: 3",
    )
    assert world.ask("getSignaturesForAddress", str(holder)) == []
    assert world.ask("getTransaction", old, {"maxSupportedTransactionVersion": 0}) is None
    assert world.refused("getSignaturesForAddress", str(holder), {"until": old}) == (
        -32020,
        f"Transaction {old} not found",
    )
    assert (world.ask("getFirstAvailableBlock"), world.ask("getBlocks", 0)) == (3, [3, 4, 5, 6])


def test_signature_list__cursors_and_limit_within_one_block__newest_first_without_gap() -> None:
    world = World()
    payer = world.payer.pubkey()
    sent = []
    for block in range(3):
        sent += [world.send(world.signed([memo(f"{block}/{n}", payer)])) for n in range(3)]
        world.mine()
    world.mine(4)
    newest_first = sent[::-1]

    def page(**options: Any) -> list[str]:
        listed = world.ask("getSignaturesForAddress", str(payer), options)
        return [entry["signature"] for entry in listed]

    assert page() == newest_first
    assert page(before=newest_first[3], limit=2) == newest_first[4:6]
    assert page(until=newest_first[4]) == newest_first[:4]
    assert page(before=newest_first[1], until=newest_first[7]) == newest_first[2:7]
    assert page(before=newest_first[-1]) == []


def test_fund_and_warp__by_hand__money_at_once_and_later_time() -> None:
    world, holder = World(), Keypair().pubkey()
    for _ in range(2):
        world.control("fund", address=str(holder), amount=SOL)
    assert world.balance(holder, "processed") == 2 * SOL
    before = world.control("state")["time"]
    assert world.control("warp", seconds=90)["time"] == before + 90
    assert world.chain.book.vm.get_clock().unix_timestamp == before + 90


@pytest.mark.parametrize(
    ("command", "body", "complaint"),
    [
        ("mine", {"blocks": 0}, r"blocks: 0; give a whole number of 1\.\."),
        ("automine", {}, "on: None; give true or false"),
        ("fund", {"address": "x", "amount": 1}, "address: 'x' is Invalid param: WrongSize"),
        ("drop_tx", {"tx": 5}, "tx: 5; give text"),
    ],
)
def test_control__body_that_cannot_be_followed__refused_with_what_would_do(
    command: str, body: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ControlRefused, match=complaint):
        World().control(command, **body)


def test_rollback__taken_out__the_comparison_finds_what_stayed() -> None:
    """Defence removed: a book that does not undo keeps the dropped payment in the machine."""
    world, holder = World(), Keypair().pubkey()
    before = world.accounts()
    keep: Callable[..., None] = lambda *_: None  # noqa: E731 - one expression, one test
    world.chain.book.roll_back = keep  # type: ignore[method-assign]
    world.pay(holder, SOL)
    world.control("reorg", depth=1)
    assert set(unlike(before, world.accounts())) >= {holder, world.payer.pubkey()}


async def test_process__solana_py_as_it_stands__pays_and_sees_it_final(tmp_path: Path) -> None:
    seed = bytes.fromhex(dev_private_key(0).removeprefix("0x"))
    payer, holder = Keypair.from_seed(seed), Keypair().pubkey()
    async with SolanaNode(tmp_path, block_ms=50, final_blocks=3) as node:
        async with AsyncClient(node.url) as client:
            latest = (await client.get_latest_blockhash(Finalized)).value
            order = TransferParams(from_pubkey=payer.pubkey(), to_pubkey=holder, lamports=SOL)
            message = MessageV0.try_compile(payer.pubkey(), [transfer(order)], [], latest.blockhash)
            sent = await client.send_transaction(VersionedTransaction(message, [payer]))
            await client.confirm_transaction(sent.value, Finalized, sleep_seconds=0.05)
            balance = (await client.get_balance(holder, Finalized)).value
            shown = await client.get_transaction(sent.value, max_supported_transaction_version=0)
            listed = await client.get_signatures_for_address(holder, commitment=Confirmed)
            slot = (await client.get_slot(Processed)).value
        assert balance == SOL
        assert shown.value is not None
        assert [entry.signature for entry in listed.value] == [sent.value]
        async with httpx.AsyncClient(base_url=node.url, trust_env=False) as caller:
            assert (await caller.get("/health")).text == "ok"
            state = (await caller.post("/devnet/state")).json()
            assert (state["ok"], state["transactions"]) == (True, 1)
            assert state["slot"] >= slot
            wrong = await caller.post("/devnet/reorg", json={"depth": "two"})
            assert (wrong.status_code, json.loads(wrong.text)) == (
                400,
                {"error": "depth: 'two'; give a whole number of 1..10000"},
            )
