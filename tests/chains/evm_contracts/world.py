"""One chain with a bridge, a token and three guards, ready for attacks.

Domain 2 (BNB) of chain id 56: burns arrive from Ethereum (1), Solana (4) and CUSTODY (100).
Every test starts from the same snapshot, so none sees another's marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.chains.evm_contracts import batch
from tests.chains.evm_contracts.batch import Guard, Item, Permit
from tests.chains.evm_contracts.chain import (
    Contract,
    Receipt,
    Reverted,
    Rpc,
    artifact,
    deploy,
    error_name,
)

DOMAIN = 2
CHAIN_ID = 56
ETHEREUM = 1
SOLANA = 4
CUSTODY = 100
ONE = 10**18
THIRD = 333_333_333_333_333_333
UNIT = 10**10
DELAY_SECONDS = 600
MINIMUM = 1_000
CAPACITY = 10**16
REFILL = 10**9
ASSET = keccak(text="xstock:TSLAx")
SOURCE_BRIDGE = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
GUARDS = tuple(sorted((batch.guard(str(n)) for n in range(3)), key=lambda g: g.address))


def account(name: str) -> str:
    """An address that belongs to nobody else in the world."""
    return "0x" + keccak(text=f"account {name}")[12:].hex()


ADMIN = account("admin")
AGENT = account("agent")
ISSUER = account("issuer")
HOLDER = account("holder")
RELAYER = account("relayer")
RECIPIENT = account("recipient")
STRANGER = account("stranger")
ACTORS = (ADMIN, AGENT, ISSUER, HOLDER, RELAYER, RECIPIENT, STRANGER)


@dataclass(frozen=True, slots=True)
class World:
    """The deployed contracts of one chain; `compiled` is the bridge's output if not committed."""

    rpc: Rpc
    bridge: Contract
    token: Contract
    sanctions: Contract
    asset: bytes = ASSET
    compiled: dict[str, Any] | None = None

    # ---------------------------------------------------------------- releases

    def item(self, counter: int = 1, **changes: Any) -> Item:
        """A valid release from Ethereum, unless changed."""
        fields: dict[str, Any] = {
            "source": ETHEREUM,
            "nonce": batch.nonce_of(SOURCE_BRIDGE, counter),
            "asset": self.asset,
            "recipient": RECIPIENT,
            "amount": 123_456_789,
        }
        return Item(**(fields | changes))

    def permit(self, items: bytes, **changes: Any) -> Permit:
        """What honest guards sign for these bytes now, unless changed."""
        fields: dict[str, Any] = {
            "chain_id": int(self.rpc("eth_chainId"), 16),
            "bridge": self.bridge.address,
            "epoch": self.bridge.call("guardEpoch"),
            "deadline": self.rpc.now() + 1800,
            "items": items,
        }
        return Permit(**(fields | changes))

    def submit(
        self,
        items: bytes,
        *,
        signers: Sequence[Guard] = GUARDS[:2],
        gas: int = 15_000_000,
        **changes: Any,
    ) -> Receipt:
        """Sign the permit and submit it; raises Reverted if the batch is refused."""
        permit = self.permit(items, **changes)
        return self.submit_signed(items, permit.deadline, batch.sign_all(permit, signers), gas=gas)

    def submit_signed(
        self, items: bytes, deadline: int, signatures: bytes, *, gas: int = 15_000_000
    ) -> Receipt:
        """Submit a batch with given signatures; raises Reverted if it is refused."""
        return self.bridge.must(
            "releaseBatch", items, deadline, signatures, sender=RELAYER, gas=gas
        )

    def release(self, *items: Item, **changes: Any) -> Receipt:
        """Release or cancel these items with valid signatures."""
        return self.submit(batch.pack(items), **changes)

    def released(self, receipt: Receipt) -> list[bytes]:
        """Nonces that a receipt says were released."""
        return [e.args["nonce"] for e in self.bridge.events(receipt, "Released")]

    def skips(self, receipt: Receipt) -> list[str]:
        """Why items of a receipt were skipped, by name."""
        events = self.bridge.events(receipt, "ReleaseSkipped")
        return [SKIP_REASONS[e.args["reason"]] for e in events]

    def is_released(self, item: Item) -> bool:
        """What the contract says of an item."""
        return bool(self.bridge.call("isReleased", item.source, item.nonce))

    def is_cancelled(self, item: Item) -> bool:
        """What the contract says of an item."""
        return bool(self.bridge.call("isCancelled", item.source, item.nonce))

    # ------------------------------------------------------------------- burns

    def fund(self, amount: int, holder: str = HOLDER, counter: int = 10_000) -> None:
        """Give a holder `amount` shares (8 decimals) by a release, and a full allowance."""
        receipt = self.release(self.item(counter, amount=amount, recipient=holder))
        assert self.skips(receipt) == []
        self.approve(holder)

    def approve(self, holder: str = HOLDER) -> None:
        """Let the bridge take whatever the holder has."""
        self.token.must("approve", self.bridge.address, 2**256 - 1, sender=holder)

    def burn(self, amount: int, *, sender: str = HOLDER, **changes: Any) -> Receipt:
        """Burn `amount` shares towards Ethereum, unless changed; raises Reverted."""
        fields: dict[str, Any] = {
            "asset": self.asset,
            "amount": amount,
            "destination": ETHEREUM,
            "recipient": batch.wire(RECIPIENT),
            "refund_to": sender,
        } | changes
        return self.bridge.must("bridgeOut", *fields.values(), sender=sender)

    # ---------------------------------------------------------------- readings

    def shares(self, account: str) -> int:
        """Token shares (18 decimals) of an account."""
        return int(self.token.call("sharesOf", account))

    def inventory(self) -> int:
        """Token shares the bridge accounts for as its own."""
        return int(self.bridge.call("inventoryOf", self.asset))

    def error(self, refused: Reverted) -> str:
        """The name of the contract's error."""
        return error_name([self.bridge.abi, self.token.abi], refused.data)

    def set_multiplier(self, value: int, activation: int = 0) -> None:
        """Set (or schedule) the token's multiplier."""
        current = self.token.call("getCurrentMultiplier")[0]
        self.token.must("updateMultiplierValue", value, current, activation, sender=ISSUER)

    def propose_and_wait(self, name: str, *args: Any) -> None:
        """The admin's first step, and the delay."""
        self.bridge.must(name, *args, sender=ADMIN)
        self.rpc.advance(DELAY_SECONDS)


def sign_token_permit(
    world: World, holder: Guard, value: int
) -> tuple[int, int, int, bytes, bytes]:
    """(value, deadline, v, r, s) of a holder's permit for the bridge, valid for an hour."""
    deadline = world.rpc.now() + 3600
    kind = keccak(
        text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    )
    content = encode(
        ["bytes32", "address", "address", "uint256", "uint256", "uint256"],
        [
            kind,
            holder.address,
            world.bridge.address,
            value,
            world.token.call("nonces", holder.address),
            deadline,
        ],
    )
    separator = world.token.call("DOMAIN_SEPARATOR")
    digest = keccak(b"\x19\x01" + separator + keccak(content))
    signature = holder.key.sign_recoverable(digest, hasher=None)
    return value, deadline, 27 + signature[64], signature[:32], signature[32:64]


SKIP_REASONS = (
    "NONE",
    "ALREADY_RELEASED",
    "ALREADY_CANCELLED",
    "BRIDGE_PAUSED",
    "ASSET_UNKNOWN",
    "ASSET_PAUSED",
    "AMOUNT_ZERO",
    "RECIPIENT_REFUSED",
    "RECIPIENT_SANCTIONED",
    "SCREEN_UNAVAILABLE",
    "BUCKET_EMPTY",
    "TOKEN_REFUSED",
    "TOKEN_UNAVAILABLE",
)


def deploy_bridge(
    rpc: Rpc,
    compiled: dict[str, Any] | None = None,
    *,
    domain: int = DOMAIN,
    guards: Sequence[Guard] = GUARDS,
    threshold: int = 2,
    delay_seconds: int = DELAY_SECONDS,
) -> Contract:
    """A bridge with the world's admin and agent; raises Reverted if it refuses to exist."""
    return deploy(
        rpc,
        compiled or artifact("XStockBridge"),
        ADMIN,
        domain,
        ADMIN,
        AGENT,
        [g.address for g in guards],
        threshold,
        delay_seconds,
    )


def fund_actors(rpc: Rpc) -> None:
    """Give everybody ether for gas."""
    for actor in (*ACTORS, *(g.address for g in GUARDS)):
        rpc("anvil_setBalance", actor, hex(10**21))


def build_world(
    rpc: Rpc,
    compiled: dict[str, Any] | None = None,
    *,
    token: dict[str, Any] | None = None,
    multiplier: int = ONE,
    capacity: int = CAPACITY,
    refill: int = REFILL,
) -> World:
    """Bridge, token, sanctions list; the bridge holds both roles and knows the asset."""
    fund_actors(rpc)
    sanctions = deploy(rpc, artifact("SanctionsList"), ISSUER, ISSUER)
    named = ("Tesla", "TSLAx", ISSUER, multiplier)
    asset = deploy(rpc, token or artifact("XStockToken"), ISSUER, *named)
    bridge = deploy_bridge(rpc, compiled)
    asset.must("setSanctionsList", sanctions.address, sender=ISSUER)
    asset.must("setPauser", ISSUER, sender=ISSUER)
    asset.must("setMinter", bridge.address, sender=ISSUER)
    asset.must("setBurner", bridge.address, sender=ISSUER)
    bridge.must("registerAsset", ASSET, asset.address, MINIMUM, capacity, refill, sender=ADMIN)
    return World(rpc, bridge, asset, sanctions, compiled=compiled)
