"""The local TON chain's jetton lists, over TEP-74's reference jetton (token-contract's code).

The lists are the indexer's reading of contracts' own getters and of message bodies, so they are
tested with a contract that is not this project's.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from pytoniq_core.boc.address import Address
from pytoniq_core.boc.cell import Cell
from pytoniq_core.tlb.account import StateInit

from tests.chains.ton.local_chain import (
    TON,
    LocalChain,
    WalletV4,
    boc,
    builder,
    internal,
    raw,
    running_chain,
)

CODES = json.loads(Path(__file__).with_name("local_jetton_codes.json").read_text())
MINTED, SENT, BURNED = 1_000, 250, 100
OP_MINT, OP_INTERNAL_TRANSFER, OP_TRANSFER, OP_BURN = 21, 0x178D4519, 0x0F8A7EA5, 0x595F07BC
FEES = TON // 10


class Jetton:
    """A minter whose administrator is `admin`, and the bodies people send to it."""

    def __init__(self, admin: Address) -> None:
        content = builder().store_uint(1, 8).store_bytes(b"https://example.org/x.json").end_cell()
        self.wallet_code = Cell.one_from_boc(CODES["wallet"])
        data = (
            builder()
            .store_coins(0)
            .store_address(admin)
            .store_ref(content)
            .store_ref(self.wallet_code)
            .end_cell()
        )
        self.init = StateInit(code=Cell.one_from_boc(CODES["minter"]), data=data)
        self.address = Address((0, self.init.serialize().hash))

    def wallet_of(self, owner: Address) -> Address:
        """Where the jetton wallet of an owner is."""
        data = (
            builder()
            .store_coins(0)
            .store_address(owner)
            .store_address(self.address)
            .store_ref(self.wallet_code)
            .end_cell()
        )
        return Address((0, StateInit(code=self.wallet_code, data=data).serialize().hash))

    def mint(self, owner: Address, amount: int) -> Cell:
        """The message that deploys the minter if need be and mints."""
        inner = (
            builder()
            .store_uint(OP_INTERNAL_TRANSFER, 32)
            .store_uint(7, 64)
            .store_coins(amount)
            .store_uint(0, 4)
            .store_coins(0)
            .store_bit(0)
            .end_cell()
        )
        body = (
            builder()
            .store_uint(OP_MINT, 32)
            .store_uint(7, 64)
            .store_address(owner)
            .store_coins(FEES)
            .store_ref(inner)
            .end_cell()
        )
        return internal(self.address, 2 * FEES, body=body, init=self.init)

    def transfer(self, owner: Address, to: Address, amount: int) -> Cell:
        """The owner's message that moves jettons."""
        body = (
            builder()
            .store_uint(OP_TRANSFER, 32)
            .store_uint(8, 64)
            .store_coins(amount)
            .store_address(to)
            .store_address(owner)
            .store_bit(0)
            .store_coins(1)
            .store_bit(0)
            .end_cell()
        )
        return internal(self.wallet_of(owner), FEES, body=body)

    def burn(self, owner: Address, amount: int, payload: Cell) -> Cell:
        """The owner's message that burns jettons with a custom payload."""
        body = (
            builder()
            .store_uint(OP_BURN, 32)
            .store_uint(9, 64)
            .store_coins(amount)
            .store_address(owner)
            .store_maybe_ref(payload)
            .end_cell()
        )
        return internal(self.wallet_of(owner), FEES, body=body)


class Played:
    """A jetton that was minted, sent and burned once, and the people in it."""

    def __init__(self, chain: LocalChain, jetton: Jetton, owner: WalletV4, other: WalletV4) -> None:
        self.chain = chain
        self.jetton = jetton
        self.owner = owner
        self.other = other


PAYLOAD = builder().store_uint(0xB0B, 32).end_cell()


@pytest.fixture(scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    """One mint, one transfer, one burn, all final."""
    async with running_chain(tmp_path_factory.mktemp("ton")) as chain:
        owner = await chain.funded_wallet(1)
        other = WalletV4(SigningKey(b"\x02" * 32))
        jetton = Jetton(owner.address)
        messages = (
            jetton.mint(owner.address, MINTED),
            jetton.transfer(owner.address, other.address, SENT),
            jetton.burn(owner.address, BURNED, PAYLOAD),
        )
        for seqno, message in enumerate(messages):
            await chain.send(owner.transfer(seqno, [message]))
            await chain.mine(6)
        yield Played(chain, jetton, owner, other)


async def test_masters__one_jetton__supply_is_what_was_minted_less_what_was_burned(
    played: Played,
) -> None:
    answer = await played.chain.get("jetton/masters", ("address", raw(played.jetton.address)))
    (master,) = answer["jetton_masters"]
    assert master["total_supply"] == str(MINTED - BURNED)
    assert master["admin_address"] == raw(played.owner.address)
    assert master["mintable"] is True
    assert master["jetton_content"] == {"uri": "https://example.org/x.json"}


async def test_wallets__by_owner_and_by_master__show_balances(played: Played) -> None:
    by_owner = await played.chain.get(
        "jetton/wallets",
        ("owner_address", raw(played.owner.address)),
        ("jetton_address", raw(played.jetton.address)),
    )
    (wallet,) = by_owner["jetton_wallets"]
    assert wallet["address"] == raw(played.jetton.wallet_of(played.owner.address))
    assert wallet["balance"] == str(MINTED - SENT - BURNED)
    by_master = await played.chain.get(
        "jetton/wallets", ("jetton_address", raw(played.jetton.address))
    )
    owners = {each["owner"]: each["balance"] for each in by_master["jetton_wallets"]}
    assert owners[raw(played.other.address)] == str(SENT)
    assert len(owners) == 2


async def test_burns__one_burn__has_its_payload_and_its_transaction(played: Played) -> None:
    answer = await played.chain.get("jetton/burns", ("jetton_master", raw(played.jetton.address)))
    (burn,) = answer["jetton_burns"]
    assert (burn["owner"], burn["amount"]) == (raw(played.owner.address), str(BURNED))
    assert burn["query_id"] == "9"
    assert Cell.one_from_boc(burn["custom_payload"]).hash == PAYLOAD.hash
    assert burn["transaction_aborted"] is False
    found = await played.chain.get("transactions", ("hash", burn["transaction_hash"]))
    (tx,) = found["transactions"]
    assert (tx["account"], tx["lt"]) == (burn["jetton_wallet"], burn["transaction_lt"])


async def test_transfers__by_either_side__are_found(played: Played) -> None:
    for owner, direction in ((played.owner, "out"), (played.other, "in")):
        answer = await played.chain.get(
            "jetton/transfers",
            ("owner_address", raw(owner.address)),
            ("direction", direction),
        )
        (transfer,) = answer["jetton_transfers"]
        assert transfer["amount"] == str(SENT)
        assert transfer["source"] == raw(played.owner.address)
        assert transfer["destination"] == raw(played.other.address)
        assert transfer["forward_ton_amount"] == "1"
    wrong = await played.chain.get(
        "jetton/transfers", ("owner_address", raw(played.other.address)), ("direction", "out")
    )
    assert wrong["jetton_transfers"] == []


async def test_getter__with_an_address_on_its_stack__answers_a_slice(played: Played) -> None:
    owner = builder().store_address(played.owner.address).end_cell()
    answer = await played.chain.http.post(
        "/api/v3/runGetMethod",
        json={
            "address": raw(played.jetton.address),
            "method": "get_wallet_address",
            "stack": [{"type": "slice", "value": boc(owner)}],
        },
    )
    wallet = builder().store_address(played.jetton.wallet_of(played.owner.address)).end_cell()
    (entry,) = answer.json()["stack"]
    assert (entry["type"], Cell.one_from_boc(entry["value"]).hash) == ("slice", wallet.hash)


async def test_getter__that_is_not_there__is_exit_code_11(played: Played) -> None:
    body = {"address": raw(played.jetton.address), "method": "get_nothing", "stack": []}
    answer = await played.chain.http.post("/api/v3/runGetMethod", json=body)
    assert answer.json()["exit_code"] == 11
