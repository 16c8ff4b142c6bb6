"""Whoever else there is: people with tokens of their own, and a java-tron on two ports.

Plain transactions by plain keys, nothing of the bridge: what a chain looks like on which it is to
be deployed for the first time, with tokens that have holders already.
"""

import json
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx
from aiohttp import ClientSession, web
from eth_abi.abi import encode

from xstock_chains.evm.address import checksummed
from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import PreparedTx, SendSlot
from xstock_chains.solana import programs as spl
from xstock_chains.solana.address import show
from xstock_chains.solana.rpc import Rpc as SolanaRpc
from xstock_chains.solana.rpc import key_of
from xstock_chains.solana.signer import LocalSigner as SolanaKey
from xstock_chains.solana.wire import Instruction, Meta, compile_message, transaction_bytes
from xstock_chains.solidity.abi import hex_of, selector
from xstock_chains.solidity.artifact import artifact, creation_code
from xstock_chains.tron import transaction as trx
from xstock_chains.tron.address import account_text
from xstock_chains.tron.chain import TronFacts
from xstock_chains.tron.frames import frame_after, read_heads
from xstock_chains.tron.rpc import TronRpc
from xstock_chains.tron.signer import TronSigner
from xstock_core.ids import Domain
from xstock_runtime.clock import SystemClock

SYMBOL = "TSLAx"
NAME = "Tesla xStock"
MULTIPLIER = 1_370_000_000_000_000_000
_ONE = 10**18
_MINT_BYTES = 166 + sum(4 + size for size in (64, 32, 1, 64, 56, 33))
"""A mint with its type byte, and the extensions that xStocks have."""


async def told(url: str, command: str, **body: Any) -> None:
    """A command to a local chain's control API: its owner's affair."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(f"{url}/devnet/{command}", json=body)
    assert answer.status_code == 200, answer.text


async def _until(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    clock = SystemClock()
    for _ in range(300):
        answer = await found()
        if answer:
            return answer
        await clock.sleep(0.1)
    raise TimeoutError(f"waited 30 s for {what}")


def _calls(token: bytes, me: bytes, holder: bytes, amount: int) -> list[tuple[bytes, bytes]]:
    """What the maker of a Solidity token sends it: roles, a mint, a multiplier that moves once."""
    mine = checksummed(me)
    update = encode(["uint256", "uint256", "uint256"], [MULTIPLIER, _ONE, 0])
    mint = encode(["address", "uint256"], [checksummed(holder), amount])
    calls = [selector(f"set{role}(address)") + encode(["address"], [mine]) for role in _ROLES]
    calls.append(selector("mint(address,uint256)") + mint)
    calls.append(selector("updateMultiplierValue(uint256,uint256,uint256)") + update)
    return [(token, call) for call in calls]


_ROLES = ("Minter", "Burner")


def _constructor(me: bytes) -> bytes:
    kinds = ["string", "string", "address", "uint256"]
    return encode(kinds, [NAME, SYMBOL, checksummed(me), _ONE])


class TokenMaker(Protocol):
    """Somebody who makes a token."""

    async def make_token(self, holder: bytes, amount: int) -> str:
        """With supply in a holder's hands; its address."""
        ...


class EvmMaker:
    """A token on an EVM chain."""

    def __init__(self, url: str, chain_id: int, key: str) -> None:
        self._rpc = Rpc(url)
        self._chain_id = chain_id
        self._signer = LocalSigner.from_hex(key)
        self._nonce = 0

    async def make_token(self, holder: bytes, amount: int) -> str:
        """With supply in a holder's hands; its address."""
        me = self._signer.identity
        try:
            bytecode = bytes.fromhex(artifact("XStockToken")["bytecode"][2:])
            receipt = await self._send(None, bytecode + _constructor(me))
            token = bytes.fromhex(receipt["contractAddress"][2:])
            for to, data in _calls(token, me, holder, amount):
                await self._send(to, data)
        finally:
            await self._rpc.aclose()
        return checksummed(token)

    async def _send(self, to: bytes | None, data: bytes) -> dict[str, Any]:
        fields: dict[str, object] = {
            "type": 2,
            "chainId": self._chain_id,
            "nonce": self._nonce,
            "from": checksummed(self._signer.identity),
            "value": 0,
            "data": hex_of(data),
            "gas": 5_000_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
        }
        if to is not None:
            fields["to"] = checksummed(to)
        slot = SendSlot(Domain.BNB, self._signer.wire, str(self._nonce))
        payload = json.dumps(fields).encode()
        prepared = PreparedTx(Domain.BNB, slot, payload, "", simulated=False)
        signed = await self._signer.sign_transaction(prepared)
        self._nonce += 1
        tx = await self._rpc.call("eth_sendRawTransaction", hex_of(signed.raw))

        async def receipt() -> Any:
            return await self._rpc.call("eth_getTransactionReceipt", tx)

        found = await _until(receipt, "the other hands' transaction on their EVM chain")
        assert quantity(found["status"], "status") == 1, found
        return dict(found)


class TronMaker:
    """The same token on a Tron network."""

    def __init__(self, url: str, key: str) -> None:
        self._rpc = TronRpc(url)
        self._signer = TronSigner.from_hex(key)

    async def make_token(self, holder: bytes, amount: int) -> str:
        """With supply in a holder's hands; its address."""
        me = self._signer.identity
        try:
            code = creation_code("XStockToken") + _constructor(me)
            tx = await self._send(trx.Create(me, code, NAME))
            token = trx.created_address(tx, me)
            for to, data in _calls(token, me, holder, amount):
                await self._send(trx.Trigger(me, to, data))
        finally:
            await self._rpc.aclose()
        return account_text(token)

    async def _send(self, content: trx.Content) -> bytes:
        _, solid, newest = await read_heads(self._rpc)
        frame = frame_after(solid, newest, TronFacts())
        raw = trx.encode(trx.RawTransaction(frame, content, 1_000 * 10**6))
        slot = SendSlot(Domain.TRON, self._signer.wire, "")
        prepared = PreparedTx(Domain.TRON, slot, raw, "", simulated=False)
        signed = await self._signer.sign_transaction(prepared)
        answer = await self._rpc.wallet("broadcasthex", transaction=signed.raw.hex())
        assert answer.get("result") is True, answer.get("message")
        tx = signed.ref.id

        async def info() -> Any:
            return await self._rpc.wallet("gettransactioninfobyid", value=tx.hex())

        found = await _until(info, "the other hands' transaction on their Tron network")
        assert found["receipt"].get("result") == "SUCCESS", found
        return tx


class SolanaMaker:
    """A Token-2022 mint with the extensions that xStocks have, its authority the maker's key."""

    def __init__(self, url: str, key: str) -> None:
        self._rpc = SolanaRpc(url)
        self._signer = SolanaKey.from_hex(key)

    async def make_token(self, holder: bytes, amount: int) -> str:
        """With supply in a holder's hands; its address."""
        me = self._signer.identity
        seed = b"a-mint-of-others"
        mint = spl.seeded_address(me, seed, spl.TOKEN_2022)
        rent = await self._rpc.call("getMinimumBalanceForRentExemption", 1_000)
        before, after = spl.xstock_extensions(
            mint=mint,
            issuer=me,
            pauser=me,
            creator=me,
            multiplier=struct.pack("<d", MULTIPLIER / _ONE),
            name=NAME,
            symbol=SYMBOL,
        )
        account = spl.ata_of(holder, mint)
        supplied = (Meta(mint, writable=True), Meta(account, writable=True), Meta(me, signer=True))
        try:
            await self._send(
                [
                    spl.create_with_seed(me, mint, seed, rent, _MINT_BYTES),
                    *before,
                    spl.initialize_mint(mint, me, me),
                    *after,
                ]
            )
            await self._send(
                [
                    spl.create_ata(me, account, holder, mint),
                    Instruction(
                        spl.TOKEN_2022, supplied, spl.amount_data(spl.MINT_TO_CHECKED, amount)
                    ),
                ]
            )
        finally:
            await self._rpc.aclose()
        return show(mint)

    async def _send(self, instructions: list[Instruction]) -> None:
        newest = await self._rpc.call("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = key_of(newest["value"]["blockhash"], "blockhash")
        message = compile_message(self._signer.identity, instructions, blockhash)
        raw = transaction_bytes([self._signer.sign(message)], message)
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        tx = await self._rpc.call("sendTransaction", b64encode(raw).decode(), options)

        async def status() -> Any:
            answer = await self._rpc.call("getSignatureStatuses", [tx])
            (found,) = answer["value"]
            return found if found and found["confirmationStatus"] == "finalized" else None

        found = await _until(status, "the other hands' transaction on their Solana cluster")
        assert found["err"] is None, found


class SplitTron:
    """A Tron server as java-tron is run: the full node and its solidity interface on two ports,
    and neither answers what the other is for. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runners: list[web.ServerRunner] = []
        self.url = ""

    async def __aenter__(self) -> "SplitTron":
        """Listen on two loopback ports."""
        self._session = ClientSession()
        full = await self._listen("/wallet/")
        solid = await self._listen("/walletsolidity/")
        self.url = f"http://127.0.0.1:{full}#solidity=http://127.0.0.1:{solid}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()
        await self._session.close()

    async def _listen(self, interface: str) -> int:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if not request.path.startswith(interface):
                return web.Response(status=405, text="<html>not here</html>")
            body = await request.content.read(-1)
            async with self._session.post(f"{self._url}{request.path}", data=body) as found:
                return web.Response(
                    body=await found.read(), status=found.status, content_type="application/json"
                )

        runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return int(runner.addresses[0][1])
