"""A local TON chain as its tests use it: requests by path, wallets that sign real messages.

Nothing of the adapter is used here, so that the chain is judged apart from what will read it.
"""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from nacl.signing import SigningKey
from pytoniq_core.boc.address import Address
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell
from pytoniq_core.tlb.account import StateInit
from pytoniq_core.tlb.block import CurrencyCollection
from pytoniq_core.tlb.transaction import (
    ExternalMsgInfo,
    ExternalOutMsgInfo,
    InternalMsgInfo,
    MessageAny,
)

import xstock_devnet.ton
from xstock_devnet.engines.ton import TonNode

TON = 10**9
WALLET_ID = 698983191
FOREVER = 2**32 - 1
HIGHLOAD_SUBWALLET = 0x10AD
HIGHLOAD_TIMEOUT_SECONDS = 3600
MODE_FEES_APART_IGNORING_ERRORS = 3
NOWHERE = Address((0, b"\x11" * 32))
WALLET_CODES: dict[str, str] = json.loads(
    Path(xstock_devnet.ton.__file__).with_name("wallet_codes.json").read_text()
)
Json = Any
NO_ADDRESS: Any = None


def builder() -> Any:
    """A new cell in the making; the library's own builder is untyped where it chains."""
    return Builder()


def body_of(message: Cell) -> Cell:
    """The body of a message, wherever its envelope keeps it."""
    parsed: Any = MessageAny
    body: Cell = parsed.deserialize(parsed_slice(message)).body
    return body


def parsed_slice(cell: Cell) -> Any:
    """A reader of the cell's content."""
    reader: Any = cell
    return reader.begin_parse()


def code_of(wallet: str) -> Cell:
    """The code cell of a standard wallet, e.g. `wallet v4 r2`."""
    return Cell.one_from_boc(WALLET_CODES[wallet])


def internal(
    to: Address,
    value: int,
    *,
    body: Cell | None = None,
    bounce: bool = True,
    init: StateInit | None = None,
) -> Cell:
    """An internal message as a wallet is asked to send it."""
    info = InternalMsgInfo(
        ihr_disabled=True,
        bounce=bounce,
        bounced=False,
        src=NO_ADDRESS,
        dest=to,
        value=CurrencyCollection(grams=value),
        ihr_fee=0,
        fwd_fee=0,
        created_lt=0,
        created_at=0,
    )
    return MessageAny(info=info, init=init, body=body or builder().end_cell()).serialize()


def log(body: Cell) -> Cell:
    """An external-out message: what contracts leave for readers."""
    info = ExternalOutMsgInfo(src=NO_ADDRESS, dest=NO_ADDRESS, created_lt=0, created_at=0)
    return MessageAny(info=info, init=None, body=body).serialize()


def boc(cell: Cell) -> str:
    """A cell as the API takes it."""
    return base64.b64encode(bytes(cell.to_boc())).decode()  # type: ignore[no-untyped-call]


def raw(address: Address) -> str:
    """An address as v3 writes it."""
    return f"{address.wc}:{address.hash_part.hex().upper()}"


def normalized_hash(to: Address, body: Cell) -> str:
    """TEP-467, written again in another language than the chain's."""
    cell = (
        builder()
        .store_uint(2, 2)
        .store_uint(0, 2)
        .store_address(to)
        .store_coins(0)
        .store_bit(0)
        .store_bit(1)
        .store_ref(body)
        .end_cell()
    )
    return base64.b64encode(cell.hash).decode()


class Wallet:
    """What both wallets share: a key, an address, and the envelope around a signed body."""

    def __init__(self, key: SigningKey, code: Cell, data: Cell) -> None:
        self.key = key
        self.init = StateInit(code=code, data=data)
        self.address = Address((0, self.init.serialize().hash))

    def envelope(self, body: Cell, *, deploy: bool) -> Cell:
        """The external message that carries `body`, with the wallet's first state to deploy it."""
        info = ExternalMsgInfo(src=NO_ADDRESS, dest=self.address, import_fee=0)
        return MessageAny(info=info, init=self.init if deploy else None, body=body).serialize()


class WalletV4(Wallet):
    """Wallet v4r2: one number after another."""

    def __init__(self, key: SigningKey) -> None:
        data = (
            builder()
            .store_uint(0, 32)
            .store_uint(WALLET_ID, 32)
            .store_bytes(key.verify_key.encode())
            .store_bit(0)
            .end_cell()
        )
        super().__init__(key, code_of("wallet v4 r2"), data)

    def transfer(
        self,
        seqno: int,
        messages: Sequence[Cell],
        *,
        mode: int = MODE_FEES_APART_IGNORING_ERRORS,
        valid_until: int = FOREVER,
        wallet_id: int = WALLET_ID,
    ) -> Cell:
        """The external message that sends up to four messages; the first one deploys."""
        unsigned = (
            builder()
            .store_uint(wallet_id, 32)
            .store_uint(valid_until, 32)
            .store_uint(seqno, 32)
            .store_uint(0, 8)
        )
        for message in messages:
            unsigned.store_uint(mode, 8).store_ref(message)
        payload = unsigned.end_cell()
        signature = self.key.sign(payload.hash).signature
        body = builder().store_bytes(signature).store_cell(payload).end_cell()
        return self.envelope(body, deploy=seqno == 0)


class HighloadWallet(Wallet):
    """Highload wallet v3: any order, each query number once."""

    def __init__(self, key: SigningKey) -> None:
        data = (
            builder()
            .store_bytes(key.verify_key.encode())
            .store_uint(HIGHLOAD_SUBWALLET, 32)
            .store_uint(0, 1 + 1 + 64)
            .store_uint(HIGHLOAD_TIMEOUT_SECONDS, 22)
            .end_cell()
        )
        super().__init__(key, code_of("highload wallet v3 r1"), data)

    def send(self, query: int, message: Cell, created_at: int, *, deploy: bool = False) -> Cell:
        """The external message that sends one message under a query number."""
        payload = (
            builder()
            .store_uint(HIGHLOAD_SUBWALLET, 32)
            .store_ref(message)
            .store_uint(MODE_FEES_APART_IGNORING_ERRORS, 8)
            .store_uint(query, 23)
            .store_uint(created_at, 64)
            .store_uint(HIGHLOAD_TIMEOUT_SECONDS, 22)
            .end_cell()
        )
        signature = self.key.sign(payload.hash).signature
        body = builder().store_bytes(signature).store_ref(payload).end_cell()
        return self.envelope(body, deploy=deploy)


@dataclass(frozen=True, slots=True)
class LocalChain:
    """A running chain whose blocks come only by `mine`."""

    node: TonNode
    http: httpx.AsyncClient

    async def control(self, command: str, **body: object) -> Json:
        """Obey a control command; raises AssertionError with the chain's complaint."""
        answer = await self.http.post(f"/devnet/{command}", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def mine(self, blocks: int = 1) -> Json:
        """Make blocks."""
        return await self.control("mine", blocks=blocks)

    async def get(self, path: str, *parameters: tuple[str, str | int]) -> Json:
        """Read a v3 list or object."""
        answer = await self.http.get(f"/api/v3/{path}", params=list(parameters))
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def submit(self, message: Cell) -> httpx.Response:
        """Post an external message, accepted or not."""
        return await self.http.post("/api/v3/message", json={"boc": boc(message)})

    async def send(self, message: Cell) -> str:
        """Post an external message the chain must take; returns its normalised hash."""
        answer = await self.submit(message)
        assert answer.status_code == httpx.codes.OK, answer.text
        norm: str = answer.json()["message_hash_norm"]
        return norm

    async def transactions(self, account: Address) -> list[Json]:
        """An account's final transactions, oldest first."""
        found = await self.get(
            "transactions", ("account", raw(account)), ("sort", "asc"), ("limit", 1000)
        )
        listed: list[Json] = found["transactions"]
        return listed

    async def pending(self, account: Address) -> list[Json]:
        """An account's transactions that are in a block and not final, newest first."""
        found = await self.get("pendingTransactions", ("account", raw(account)))
        listed: list[Json] = found["transactions"]
        return listed

    async def by_message(self, message_hash: str) -> list[Json]:
        """The final transactions that received this message."""
        found = await self.get(
            "transactionsByMessage", ("msg_hash", message_hash), ("direction", "in")
        )
        listed: list[Json] = found["transactions"]
        return listed

    async def balance(self, account: Address) -> int:
        """An account's final balance, in nanotons."""
        return int((await self.get("addressInformation", ("address", raw(account))))["balance"])

    async def funded_wallet(self, seed: int, amount: int = 100 * TON) -> WalletV4:
        """A wallet v4r2 of its own, holding coins and not yet deployed."""
        wallet = WalletV4(SigningKey(seed.to_bytes(32, "big")))
        await self.control("fund", address=raw(wallet.address), amount=amount)
        await self.mine(2)
        return wallet


@asynccontextmanager
async def running_chain(
    folder: Path, *, final_blocks: int = 1, automine: bool = False, block_ms: int = 400
) -> AsyncIterator[LocalChain]:
    """A chain of its own; by default no block comes by itself."""
    node = TonNode(folder, final_blocks=final_blocks, automine=automine, block_ms=block_ms)
    async with node, httpx.AsyncClient(base_url=node.url, timeout=30, trust_env=False) as http:
        yield LocalChain(node, http)
