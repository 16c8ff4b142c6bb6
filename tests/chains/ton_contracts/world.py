"""One asset's bridge on a machine of its own, three guards of which two sign, and hands to move it.

Accounts are names; "wallet:alice" is alice's jetton wallet, "-1:alice" an account outside the
basechain. Amounts are shares with 8 decimals, coins are nanoTON. Every send runs until nothing
is left to deliver, unless it is held.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.chains.ton_contracts.vm import Vm, artifact

TON: Final = 10**9
ONE: Final = 10**8
"""One whole share."""
DAY: Final = 86_400
WINDOW: Final = 7 * DAY
MINIMUM: Final = ONE // 100
CAPACITY: Final = 1_000_000 * ONE
GUARDS: Final = ("guard 0", "guard 1", "guard 2")
TWO: Final = ((0, "guard 0"), (1, "guard 1"))
RELEASE, CANCEL = 1, 2
ETHEREUM, BNB, SOLANA, TRON, CUSTODY = 1, 2, 4, 5, 100
LANES: Final = ((ETHEREUM, 1), (BNB, 1), (3, 1), (SOLANA, 2), (TRON, 1), (CUSTODY, 3))
EVM_RECIPIENT: Final = "0x" + "00" * 12 + "c0" * 20
STATES: Final = ("none", "in flight", "settled", "parked", "cancelled")
MINT, ACK, EXCESSES, BURN_NOTIFICATION = 0x178D4519, 0x78730002, 0xD53276DB, 0x7BDD97DE

Transaction = dict[str, Any]

SKIPS: Final = {
    1: "ALREADY_RELEASED",
    2: "ALREADY_CANCELLED",
    3: "BRIDGE_PAUSED",
    6: "AMOUNT_ZERO",
    7: "RECIPIENT_REFUSED",
    10: "BUCKET_EMPTY",
    13: "IN_FLIGHT",
    14: "AMOUNT_DIFFERS",
    15: "NONCE_EXPIRED",
    16: "NONCES_FULL",
    17: "BURNED_LATER",
    18: "AMOUNT_DUST",
    19: "RETIRED",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a batch; `burned_at` only where the source is Solana."""

    counter: int = 1
    recipient: str = "alice"
    amount: int = ONE
    source: int = ETHEREUM
    action: int = RELEASE
    burned_at: int | None = None
    tag: int = 0xABC

    @property
    def nonce(self) -> int:
        """The 32 bytes as a number."""
        return (self.tag << 64) | self.counter

    def packed(self) -> dict[str, Any]:
        """As vm.mjs takes it."""
        return {
            "action": self.action,
            "source": self.source,
            "nonce": str(self.nonce),
            "recipient": self.recipient,
            "amount": str(self.amount),
            "burned_at": self.burned_at,
        }


@dataclass
class Totals:
    """What has moved, by the logs alone."""

    released: int = 0
    burned: int = 0


@dataclass
class World:
    """A deployed bridge."""

    vm: Vm
    bridge: int
    asset: int
    now: int
    totals: Totals = field(default_factory=Totals)

    # ------------------------------------------------------------------- sending

    def send(self, origin: str, to: str, value: int, **body: Any) -> list[Transaction]:
        """One message and all that follows from it."""
        hold = body.pop("hold", False)
        seen: list[Transaction] = self.vm(
            "send", **{"from": origin}, to=to, value=str(value), body=body, hold=hold
        )
        return self._count(seen)

    def drain(self, limit: int | None = None) -> list[Transaction]:
        """Deliver what a held send left waiting."""
        seen: list[Transaction] = self.vm("drain", limit=limit)
        return self._count(seen)

    def _count(self, seen: list[Transaction]) -> list[Transaction]:
        for log in logs(seen):
            if log["name"] == "Released":
                self.totals.released += log["amount"]
            elif log["name"] == "BurnedToBridge":
                self.totals.burned += log["amount"]
        return seen

    def release(
        self,
        *items: Item,
        signers: Sequence[tuple[int, str]] = TWO,
        value: int | None = None,
        deadline: int | None = None,
        sender: str = "relayer",
        hold: bool = False,
        **lies: Any,
    ) -> list[Transaction]:
        """Submit a batch, with the value that README.md asks for."""
        header: dict[str, Any] = {
            key: lies.pop(key) for key in ("version", "count", "known") if key in lies
        }
        if "items" in lies:
            lies["items"] = [item.packed() for item in lies["items"]]
        body = {
            "items": [item.packed() for item in items],
            "deadline": str(self.now + 1800 if deadline is None else deadline),
            "signers": [list(signer) for signer in signers],
            "lies": lies,
            **header,
        }
        price = 30 * TON // 1000 * (1 + len(items)) if value is None else value
        return self.send(sender, "bridge", price, release=body, hold=hold)

    def burn(
        self,
        owner: str = "alice",
        amount: int = ONE,
        destination: int = ETHEREUM,
        recipient: str = EVM_RECIPIENT,
        *,
        value: int = 50 * TON // 1000,
        **payload: Any,
    ) -> list[Transaction]:
        """The owner asks its wallet to burn; amount in units of the jetton."""
        body = {
            "units": str(amount),
            "response": owner,
            "payload": {"destination": destination, "recipient": recipient, **payload},
        }
        return self.send(owner, f"wallet:{owner}", value, burn=body)

    def admin(self, origin: str = "admin", **body: Any) -> list[Transaction]:
        """A message of 0.1 TON to the bridge."""
        return self.send(origin, "bridge", TON // 10, **body)

    def change(self, action: dict[str, Any], by: str = "admin") -> list[Transaction]:
        """Propose, wait, apply."""
        self.admin(propose={"action": action})
        self.warp(DAY)
        return self.admin(by, apply={"action": action})

    def park(self, item: Item) -> None:
        """Release an item whose wallet does not run, so that the mint bounces."""
        self.vm("break_account", of=f"wallet:{item.recipient}")
        self.release(item)
        assert self.state(item) == "parked"

    def warp(self, seconds: int) -> None:
        """Let time pass."""
        self.now = self.vm("warp", seconds=seconds)

    # ------------------------------------------------------------------- looking

    def get(self, method: str, *arguments: tuple[str, Any], of: str = "bridge") -> list[Any]:
        """A get method's stack."""
        stack: list[Any] = self.vm("get", of=of, method=method, args=[list(a) for a in arguments])
        return stack

    def state(self, item: Item) -> str:
        """What the bridge says of the item's nonce."""
        code: int = self.get(
            "execution", ("number", str(item.source)), ("number", str(item.nonce))
        )[0]
        return STATES[code]

    def held_by(self, owner: str) -> int:
        """Units in the owner's wallet; 0 if there is none."""
        return int(self.vm("wallet", owner=owner) or 0)

    @property
    def supply(self) -> int:
        """Units, by the bridge."""
        return int(self.get("get_jetton_data")[0])

    def counter(self, destination: int) -> int:
        """Burns so far."""
        return int(self.get("lane_counter", ("number", str(destination)))[0])

    def account(self, name: str) -> int:
        """The account hash of a name."""
        return int(self.vm("account", of=name))

    def coins(self, name: str) -> int:
        """The balance in nanoTON."""
        return int(self.vm("balance", of=name))


def build_world(vm: Vm, codes: dict[str, str] | None = None, **changed: Any) -> World:
    """Deploy wallet and bridge: the committed code, unless other code is given."""
    committed = {name: artifact(name)["codeBoc64"] for name in ("Bridge", "Wallet")}
    settings = {
        "decimals": 8,
        "guards": list(GUARDS),
        "threshold": 2,
        "minimum": str(MINIMUM),
        "capacity": str(CAPACITY),
        "refill": "1000",
        "delay": DAY,
        "lanes": [list(lane) for lane in LANES],
        "balance": str(5 * TON),
        **changed,
    }
    made = vm("world", codes=codes or committed, **settings)
    return World(vm=vm, bridge=made["bridge"], asset=made["asset"], now=made["now"])


def logs(seen: Sequence[Transaction], name: str | None = None) -> list[dict[str, Any]]:
    """The logs of all transactions, in order; of one name if given."""
    every = [log for tx in seen for log in tx["logs"]]
    return [log for log in every if name is None or log["name"] == name]


def skips(seen: Sequence[Transaction]) -> list[str]:
    """Why items were skipped."""
    return [SKIPS[log["reason"]] for log in logs(seen, "ReleaseSkipped")]


def exits(seen: Sequence[Transaction], to: str = "bridge") -> list[int]:
    """Exit codes of what `to` computed, other than success."""
    return [tx["exit"] for tx in seen if tx["to"] == to and tx["exit"] not in (0, None)]


def cancel(item: Item) -> Item:
    """The same item to be cancelled."""
    return replace(item, action=CANCEL)
