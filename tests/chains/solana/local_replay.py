"""The recorded scenario asked again of the local chain, with keys of our own in place of theirs.

A recorded key becomes the key whose seed is its hash (associated accounts are derived anew), a
recorded transaction is rebuilt with those keys and a blockhash of the local chain and signed
again, recorded signatures and slots become the local ones. What the recording session did between
two recorded requests stands in `_before`.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import base58
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from xstock_devnet.solana.chain import Chain, ChainSettings
from xstock_devnet.solana.programs import TOKEN_2022_PROGRAM
from xstock_devnet.solana.server import answer_call, rpc_methods
from xstock_runtime.clock import SeededRandomness, VirtualClock

FOLDER = Path(__file__).with_name("recordings")
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
ASSOCIATED_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
PROGRAMS = frozenset({MEMO_PROGRAM, ASSOCIATED_PROGRAM, TOKEN_2022_PROGRAM, Pubkey.default()})
STRANGE_BLOCKHASH = ("131", "132", "400-lag-08", "400-lag-14", "193")
"""Recordings that mean an unknown blockhash: theirs is kept, it is unknown here too."""
NOT_MINED = ("125",)
FOLLOWER = "2JwFcSTvaNvE2qgiTBwcEKWckhEEfKPtmQrhk1mddSZB"
FREEZE, THAW, BURN_CHECKED = 10, 11, 15


def recordings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every recorded call, in the order in which it was made."""
    for path in sorted(FOLDER.glob("*.json")):
        recorded = json.loads(path.read_text())
        if isinstance(recorded, dict) and "request" in recorded:
            yield path.stem, recorded


def recorded_keys() -> dict[str, Any]:
    """Return the recorded scenario's accounts by role."""
    found: dict[str, Any] = json.loads((FOLDER / "000-keys.json").read_text())
    return found


class Replay:
    """One local chain led through the recorded scenario."""

    def __init__(self) -> None:
        self.chain = Chain(VirtualClock(), SeededRandomness(1), ChainSettings())
        self.methods = rpc_methods(self.chain)
        self.keys = recorded_keys()
        self.signatures: dict[str, str] = {}
        self.skipped_slot = 0
        self._kept = self.chain.tip.blockhash
        self._associated: dict[Pubkey, Pubkey] = {}
        self._associated = {
            Pubkey.from_string(self.keys[ata]): self._associated_account(self.keys[owner])
            for ata, owner in (("userAta", "user"), ("user2Ata", "user2"))
        }

    def local(self, recorded: Pubkey) -> Pubkey:
        """Return what stands for a recorded key."""
        if recorded in PROGRAMS:
            return recorded
        return self._associated.get(recorded) or self.pair(recorded).pubkey()

    def pair(self, recorded: Pubkey | str) -> Keypair:
        """Return the key pair that stands for a recorded key."""
        key = Pubkey.from_string(recorded) if isinstance(recorded, str) else recorded
        return Keypair.from_seed(hashlib.sha256(bytes(key)).digest())

    def answers(self) -> Iterator[tuple[str, dict[str, Any], Any]]:
        """Yield (name, recording, local answer) for every recorded call."""
        for name, recorded in recordings():
            self._before(name)
            request = recorded["request"]
            call = {**request, "params": self._params(name, request)}
            answer = answer_call(self.methods, call)
            yield name, recorded, answer
            self._after(name, request, recorded["response"], answer)

    # ---- requests

    def _params(self, name: str, request: dict[str, Any]) -> Any:
        params = request.get("params", [])
        if request["method"] in ("sendTransaction", "simulateTransaction") and params:
            if len(params[0]) < 100:
                return params
            return [self._rebuilt(name, params[0]), *params[1:]]
        if request["method"] == "getFeeForMessage":
            message = base64.b64decode(params[0])
            old = MessageV0.from_bytes(message[1:] if message[0] == 0x80 else message)
            fresh = bytes(self.chain.tip.blockhash)
            return [
                base64.b64encode(message.replace(bytes(old.recent_blockhash), fresh)).decode(),
                *params[1:],
            ]
        if request["method"] in ("getBlock", "getBlockTime", "getBlockCommitment"):
            return [self._slot(name, params[0]), *params[1:]]
        if request["method"] == "isBlockhashValid" and not name.startswith(STRANGE_BLOCKHASH):
            fresh_hash = str(self.chain.confirmed.blockhash) if "fresh" in name else params[0]
            return [fresh_hash, *params[1:]]
        return self._substituted(params)

    def _slot(self, name: str, recorded: int) -> int:
        if "skipped" in name:
            return self.skipped_slot
        chosen = {
            "102": self.chain.confirmed.slot,
            "103": self.chain.tip.slot,
            "104": self.chain.tip.slot + 1,
            "099": recorded,
            "400": 1,
        }
        minted = self.chain.landed.get(self.signatures.get("mint", ""))
        return chosen.get(name[:3], 0 if minted is None else minted.slot)

    def _substituted(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._substituted(item) for item in value]
        if isinstance(value, dict):
            return {key: self._substituted(item) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        if value in self.signatures:
            return self.signatures[value]
        try:
            data = base58.b58decode(value)
        except ValueError:
            return value
        return str(self.local(Pubkey(data))) if len(data) == 32 else value

    def _rebuilt(self, name: str, text: str) -> str:
        """Return a recorded transaction with local keys and blockhash, signed as theirs was."""
        recorded = VersionedTransaction.from_bytes(base64.b64decode(text))
        message = recorded.message
        assert isinstance(message, MessageV0)
        strange = name.startswith(STRANGE_BLOCKHASH)
        blockhash = message.recent_blockhash if strange else self._blockhash(name)
        rebuilt = self._with_local_keys(message, blockhash)
        signers = message.account_keys[: message.header.num_required_signatures]
        signatures = [
            given if given == Signature.default() else self._signed(name, place, signer, rebuilt)
            for place, (signer, given) in enumerate(zip(signers, recorded.signatures, strict=True))
        ]
        transaction = VersionedTransaction.populate(rebuilt, signatures)
        self.signatures[str(recorded.signatures[0])] = str(signatures[0])
        return base64.b64encode(bytes(transaction)).decode()

    def _blockhash(self, name: str) -> Hash:
        """Return the tip's hash; the same again where the same bytes were sent again."""
        if name[:3] == "125":
            self._kept = self.chain.tip.blockhash
        return self._kept if name[:3] in ("126", "127", "129") else self.chain.tip.blockhash

    def _signed(self, name: str, place: int, signer: Pubkey, message: MessageV0) -> Signature:
        wrong = "wrongSignature" in name and place > 0
        pair = Keypair.from_seed(bytes(32)) if wrong else self.pair(signer)
        return pair.sign_message(to_bytes_versioned(message))

    def _with_local_keys(self, message: MessageV0, blockhash: Hash) -> MessageV0:
        replaced = []
        for instruction in message.instructions:
            data = bytes(instruction.data)
            for recorded in self._known_keys():
                data = data.replace(bytes(recorded), bytes(self.local(recorded)))
            replaced.append(
                CompiledInstruction(instruction.program_id_index, data, bytes(instruction.accounts))
            )
        keys = [self.local(key) for key in message.account_keys]
        return MessageV0(message.header, keys, blockhash, replaced, [])

    def _known_keys(self) -> list[Pubkey]:
        names = (value for value in self.keys.values() if isinstance(value, str))
        return [Pubkey.from_string(text) for text in (*names, *self.keys["signers"])]

    # ---- what the recording session did in between

    def _before(self, name: str) -> None:
        steps = {
            "028-getAccountInfo-tokenAccount-frozen-jsonParsed": self._mine,
            "032-getSignatureStatuses-unknown": self._mint,
            "045-getSignatureStatuses-processed": self._mine,
            "059-getSignatureStatuses-confirmed": self._mine,
            "074-getTransaction-at-finalized-confirmed": lambda: self._mine(32),
            "109-getTransaction-burn-json": self._mine,
            "113-getSignaturesForAddress-ref": self._more_burns,
            "134-getSignatureStatuses-dropped": self._mine,
            "127-ERR-sendTransaction-alreadyProcessed": self._mine,
            "151-getSignatureStatuses-failedOnChain": self._fail_on_chain,
            "160-ERR-sendTransaction-frozen-permanentDelegateBurn": lambda: self._freeze(FREEZE),
            "161-sendTransaction-permanentDelegateBurn": lambda: self._freeze(THAW),
            "164-getTokenAccountBalance-scaled-confirmed": self._mine,
            "300-restart-ERR-getBlock-skipped-confirmed": self._skip_a_slot,
            "300-restart-getSignatureStatuses-afterRestart-history": self._forget_history,
            "400-lag-02-sendTransaction-via-follower": self._fund_follower,
            "400-lag-03-ERR-getHealth-behind": lambda: self._behind(55),
            "400-lag-10-getTransaction-missing-on-lagging": self._send_during_stop,
        }
        if name in steps:
            steps[name]()

    def _after(self, name: str, request: Any, recorded: Any, answer: Any) -> None:
        if request["method"] == "requestAirdrop":
            self._mine(2)
        if request["method"] == "sendTransaction" and "result" in recorded:
            self.signatures[recorded["result"]] = answer.get("result", "")
            if name[:3] not in NOT_MINED:
                self._mine()

    def _mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.chain.mine()

    def _mint(self) -> None:
        """Send the mint that the recording `087` shows, and leave it waiting."""
        self._mine()
        shown = json.loads((FOLDER / "087-getTransaction-base64.json").read_text())
        text = self._rebuilt("mint", shown["response"]["result"]["transaction"][0])
        options = {"encoding": "base64", "preflightCommitment": "processed"}
        sent = self._ask("sendTransaction", text, options)
        self.signatures["mint"] = sent["result"]

    def _more_burns(self) -> None:
        for number in range(2, 6):
            memo = f"redeem:{number:04d}".encode()
            recorded = {2: "xU9CDGfc", 3: "4fokCzy2", 4: "61im68at", 5: "2b6voBBz"}[number]
            self._send_burn(memo, 1_000_000, recorded, reference=True)
            self._mine()
        self._mine()

    def _fail_on_chain(self) -> None:
        self._send_burn(b"x", 1, "27DD3SZv", reference=False)
        self._mine(2)

    def _send_burn(self, memo: bytes, amount: int, recorded: str, *, reference: bool) -> None:
        user = self.pair(self.keys["user"])
        data = bytes([BURN_CHECKED]) + amount.to_bytes(8, "little") + bytes([6])
        accounts = [
            AccountMeta(self._key("userAta"), is_signer=False, is_writable=True),
            AccountMeta(self._key("mint"), is_signer=False, is_writable=True),
            AccountMeta(user.pubkey(), is_signer=True, is_writable=False),
        ]
        if reference:
            key = self._key("reference")
            accounts.append(AccountMeta(key, is_signer=False, is_writable=False))
        signer = [AccountMeta(user.pubkey(), is_signer=True, is_writable=False)]
        sent = self._send(
            [
                Instruction(MEMO_PROGRAM, memo, signer),
                Instruction(TOKEN_2022_PROGRAM, data, accounts),
            ],
            user,
        )
        self.signatures[self._full_signature(recorded)] = sent

    def _freeze(self, action: int) -> None:
        authority = self.pair(self.keys["freezeAuthority"])
        accounts = [
            AccountMeta(self._key("userAta"), is_signer=False, is_writable=True),
            AccountMeta(self._key("mint"), is_signer=False, is_writable=False),
            AccountMeta(authority.pubkey(), is_signer=True, is_writable=False),
        ]
        self._send([Instruction(TOKEN_2022_PROGRAM, bytes([action]), accounts)], authority)
        self._mine()

    def _skip_a_slot(self) -> None:
        self._mine()
        self.skipped_slot = self.chain.tip.slot
        self.chain.reorg(1)
        self._mine(33)

    def _forget_history(self) -> None:
        self.chain.prune(self.chain.finalized.slot)

    def _fund_follower(self) -> None:
        self._ask("requestAirdrop", str(self.pair(FOLLOWER).pubkey()), 10**9)
        self._mine()

    def _send_during_stop(self) -> None:
        memo = Instruction(MEMO_PROGRAM, b"during stop", [])
        recorded = self._full_signature("aves59RB")
        self.signatures[recorded] = self._send([memo], payer=self.pair(FOLLOWER))
        self._mine(2)

    def _behind(self, slots: int) -> None:
        self.chain.behind_slots = slots

    def _send(
        self, instructions: list[Instruction], *signers: Keypair, payer: Keypair | None = None
    ) -> str:
        payer = payer or self.pair(self.keys["payer"])
        message = MessageV0.try_compile(payer.pubkey(), instructions, [], self.chain.tip.blockhash)
        text = base64.b64encode(bytes(VersionedTransaction(message, [payer, *signers]))).decode()
        sent = self._ask("sendTransaction", text, {"encoding": "base64", "skipPreflight": True})
        return str(sent["result"])

    def _ask(self, method: str, *params: Any) -> Any:
        return answer_call(self.methods, {"id": 1, "method": method, "params": list(params)})

    def _key(self, role: str) -> Pubkey:
        return self.local(Pubkey.from_string(self.keys[role]))

    def _associated_account(self, owner: str) -> Pubkey:
        seeds = [
            bytes(self.pair(owner).pubkey()),
            bytes(TOKEN_2022_PROGRAM),
            bytes(self.pair(self.keys["mint"]).pubkey()),
        ]
        return Pubkey.find_program_address(seeds, ASSOCIATED_PROGRAM)[0]

    def _full_signature(self, beginning: str) -> str:
        for path in FOLDER.glob("[14]*.json"):
            for item in _strings(json.loads(path.read_text())):
                if item.startswith(beginning) and len(item) > 80:
                    return item
        raise AssertionError(f"no recorded signature begins with {beginning}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
