#!/usr/bin/env python3
"""Checks an exported journal of a supply-guard, offline, with nothing but Python itself.

It shares no code with the guard and trusts nothing the guard says about itself: it follows the
chain of hashes, replays every posting, and asks of every decision whether the rules allowed it at
that very point. With a supply proof and the guard's public key it also checks the signature and
that the proof says what the journal says. docs/journal.md describes what is read here.

    python3 audit/verify_journal.py journal.jsonl --proof proof.json --registry registry.json

Exit codes: 0 everything holds, 1 something is wrong (which link, and why), 2 nothing to check.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

FORMAT = "xstock-journal/2"
LINK_FORM = b"xstock/journal/2"
OK, WRONG, USAGE = 0, 1, 2
EXPOSURE_KINDS = {"OPENING", "ISSUE_RESERVE", "ISSUE_VOID", "REDEEM_PAID", "ORPHAN_WRITE_OFF"}
APPROVERS_MIN = 2
Fields = dict[str, str]


class Wrong(Exception):
    """Something that cannot be true of an honest guard's journal."""


class Unreadable(Exception):
    """There is nothing that could be checked."""


# ---------------------------------------------------------------- the chain of links


@dataclass(frozen=True)
class Link:
    """One line of the export."""

    sequence: int
    at_ms: int
    previous: bytes
    digest: bytes
    lines: list[str]


def read_links(path: Path) -> tuple[dict[str, Any], Iterator[Link]]:
    """The header and the links; raises Unreadable."""
    try:
        file = path.open(encoding="utf-8")
        header = json.loads(file.readline() or "null")
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise Unreadable(f"{path}: the first line does not say format {FORMAT!r}")

    def links() -> Iterator[Link]:
        with file:
            for number, text in enumerate(file, 2):
                yield _link(number, text)

    return header, links()


def _link(number: int, text: str) -> Link:
    try:
        one = json.loads(text)
        lines = [str(line) for line in one["lines"]]
        previous, digest = bytes.fromhex(one["previous"]), bytes.fromhex(one["digest"])
        return Link(int(one["sequence"]), int(one["at_ms"]), previous, digest, lines)
    except (ValueError, KeyError, TypeError) as error:
        raise Wrong(f"line {number} of the file is no link: {error}") from error


def link_digest(link: Link) -> bytes:
    """sha256(form, digest before, sequence, time, number of bytes, lines)."""
    body = "\n".join(link.lines).encode()
    numbers = (link.sequence, link.at_ms, len(body))
    bound = link.previous + b"".join(value.to_bytes(8, "big") for value in numbers)
    return sha256(LINK_FORM + bound + body).digest()


# ---------------------------------------------------------------- what the lines mean


@dataclass
class Halt:
    """A halt that stands; neither asset nor chain: everything."""

    asset: str | None
    chain: str | None
    approvals: set[str] = field(default_factory=set)


DECIMALS_MAX = 36
"""Of any token; more would only keep this program busy."""


@dataclass
class Asset:
    """One asset as replayed so far; `cap` None before any attestation.

    `burned` is by chain: (the block after which, shares), in the order of the links.
    """

    accounts: dict[str, int] = field(default_factory=dict)
    attestation: Fields = field(default_factory=dict)
    cap: int | None = None
    burned: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def exposure(self) -> int:
        """What custody must cover: everything but custody itself."""
        return sum(amount for name, amount in self.accounts.items() if name != "custody")


class Replay:
    """The books, rebuilt from the lines alone."""

    def __init__(self) -> None:
        self.assets: dict[str, Asset] = {}
        self.entries: set[bytes] = set()
        self.rulings: dict[str, Fields] = {}
        self.permits: set[str] = set()
        self.halts: dict[str, Halt] = {}
        self.through: dict[str, Fields] = {}
        self.flags: list[str] = []
        self.count: dict[str, int] = {}
        self.excluded: dict[str, int] = {}
        """By asset, the issuer inventory that the link in hand counts on."""
        self._verbs: dict[str, Callable[[Fields], None]] = {
            "entry": self._entry,
            "attest": self._attest,
            "inventory": self._inventory,
            "rule": self._rule,
            "permit": self._permit,
            "halt": self._halt,
            "approve": self._approve,
            "clear": self._clear,
            "through": self._through,
        }

    def asset(self, name: str) -> Asset:
        """An asset's books, empty at first."""
        return self.assets.setdefault(name, Asset())

    def take(self, link: Link) -> None:
        """Replay one link; raises Wrong."""
        decided: set[str] = set()
        moved: set[str] = set()
        self.excluded.clear()
        facts = any(line.startswith("through ") for line in link.lines)
        for line in link.lines:
            verb, fields = parse_line(line)
            self.count[verb] = self.count.get(verb, 0) + 1
            act = self._verbs.get(verb)
            if act is not None:
                act(fields)
            if verb == "entry":
                moved.add(fields["asset"])
                if fields["kind"] == "ISSUE_RESERVE" and not facts:
                    decided.add(fields["asset"])
        for name in sorted(decided):
            self._covered(name, "an issuance was reserved")
        for name in sorted(moved):
            self._overdrawn(name, self.assets[name])

    def _entry(self, said: Fields) -> None:
        amount, asset = _whole(said, "amount"), self.asset(said["asset"])
        debit, credit, kind = said["debit"], said["credit"], said["kind"]
        head = f"{kind}|{debit}|{credit}|{amount}|".encode()
        made = sha256(head + bytes.fromhex(said["asset"]) + bytes.fromhex(said["ref"])).digest()
        if made.hex() != said["id"]:
            raise Wrong(f"entry {said['id']} is not the id of what it says")
        if made in self.entries:
            raise Wrong(f"entry {said['id']} is posted twice")
        if amount < 1 or debit == credit:
            raise Wrong(f"entry {said['id']} moves nothing")
        if ("custody" in (debit, credit)) != (kind in EXPOSURE_KINDS):
            raise Wrong(f"entry {said['id']} of kind {kind} may not move {debit} to {credit}")
        self.entries.add(made)
        asset.accounts[debit] = asset.accounts.get(debit, 0) - amount
        asset.accounts[credit] = asset.accounts.get(credit, 0) + amount
        if debit.startswith("supply/"):
            self._note_burn(asset, debit.removeprefix("supply/"), amount)

    def _note_burn(self, asset: Asset, chain: str, amount: int) -> None:
        """Entries come before their link's `through`: the burn lies above the one before."""
        after = int(self.through.get(chain, {}).get("number", "0"))
        known = asset.burned.setdefault(chain, [])
        if known and known[-1][0] == after:
            amount += known.pop()[1]
        known.append((after, amount))

    def _inventory(self, said: Fields) -> None:
        """Issuer inventory that the link counts on: custody names it, no burn is left out."""
        name, total = said["asset"], 0
        asset, seen = self.asset(name), set[str]()
        named = inventory_chains(asset.attestation)
        for part in said["chains"].split(","):
            chain, *figures = part.split(":")
            number, units, decimals, burned, shares = (_number(one) for one in figures)
            if chain not in named or chain in seen:
                raise Wrong(f"inventory on chain {chain} is not what the attestation names")
            seen.add(chain)
            since = burned_after(asset, chain, number)
            if burned < since:
                raise Wrong(f"inventory on chain {chain} leaves out burns: {burned} of {since}")
            if decimals > DECIMALS_MAX or shares != max(0, units * 10**8 // 10**decimals - burned):
                raise Wrong(f"inventory {part!r} does not add up")
            if shares > asset.accounts.get(f"supply/{chain}", 0):
                raise Wrong(f"inventory {part!r} is more than the books have on chain {chain}")
            total += shares
        if total != _whole(said, "excluded"):
            raise Wrong(f"inventory {said['excluded']} of asset {name} is not the sum of its parts")
        self.excluded[name] = total

    def _attest(self, said: Fields) -> None:
        asset = self.asset(said["asset"])
        before = asset.attestation
        if before and _whole(said, "sequence") <= _whole(before, "sequence"):
            raise Wrong(f"attestation {said['sequence']} follows {before['sequence']}")
        held = _whole(said, "held") * (10_000 - _whole(said, "margin")) * 10**18 * 10**8
        units = 10_000 * _whole(said, "multiplier") * 10 ** _whole(said, "decimals")
        if units == 0 or held // units != _whole(said, "cap"):
            raise Wrong(f"the cap {said['cap']} does not follow from attestation {said}")
        asset.attestation, asset.cap = said, _whole(said, "cap")

    def _rule(self, said: Fields) -> None:
        known = self.rulings.get(said["id"])
        if known is not None and known["outcome"] == "GRANTED":
            raise Wrong(f"transfer {said['id']} was granted and is ruled {said['outcome']} now")
        self.rulings[said["id"]] = said

    def _permit(self, said: Fields) -> None:
        if said["digest"] in self.permits:
            raise Wrong(f"permit {said['digest']} is given twice")
        self.permits.add(said["digest"])
        for name in filter(None, said.get("release", "").split(",")):
            ruling = self.rulings.get(name)
            if ruling is None or ruling["outcome"] != "GRANTED":
                standing = "never ruled on" if ruling is None else f"ruled {ruling['outcome']}"
                raise Wrong(f"permit {said['digest']} releases {name}, which was {standing}")
            self._covered(ruling["asset"], f"permit {said['digest']} was given")
            self._not_halted(ruling, said["digest"])

    def _covered(self, name: str, what: str) -> None:
        asset, excluded = self.asset(name), self.excluded.get(name, 0)
        if asset.cap is None or asset.exposure > asset.cap + excluded:
            text = f"while its exposure {asset.exposure} was above the cap {asset.cap}"
            text += f" and the inventory {excluded}" if excluded else ""
            raise Wrong(f"{what} for asset {name} {text}")

    def _not_halted(self, ruling: Fields, digest: str) -> None:
        for halt_id, halt in self.halts.items():
            everything = halt.asset is None and halt.chain is None
            chains = (ruling.get("source"), ruling.get("destination"))
            if everything or halt.asset == ruling["asset"] or (halt.chain and halt.chain in chains):
                raise Wrong(f"permit {digest} releases {ruling['id']} through halt {halt_id}")

    def _halt(self, said: Fields) -> None:
        self.halts[said["id"]] = Halt(said.get("asset"), said.get("chain"))

    def _approve(self, said: Fields) -> None:
        if said.get("halt") in self.halts:
            self.halts[said["halt"]].approvals.add(said["by"])

    def _clear(self, said: Fields) -> None:
        halt = self.halts.pop(said["halt"], None)
        if halt is None:
            raise Wrong(f"halt {said['halt']} is cleared and does not stand")
        if len(halt.approvals) < APPROVERS_MIN:
            raise Wrong(f"halt {said['halt']} is cleared by {len(halt.approvals)} person(s)")

    def _through(self, said: Fields) -> None:
        known = self.through.get(said["chain"])
        if known is not None and _whole(said, "number") < _whole(known, "number"):
            raise Wrong(f"chain {said['chain']} is booked back from block {known['number']}")
        self.through[said["chain"]] = said

    def _overdrawn(self, name: str, asset: Asset) -> None:
        """A chain below zero is a fact that may happen, and then the asset must stand still."""
        for account, amount in asset.accounts.items():
            if not account.startswith("supply/") or amount >= 0:
                continue
            # Before anything of it was issued or taken over, its holders burn what stood there.
            unopened = not asset.accounts.get("custody")
            halted = any(h.asset in (name, None) for h in self.halts.values())
            if not halted and not unopened:
                raise Wrong(f"{account} of asset {name} is {amount} and nothing is halted")
            why = "it was not open yet" if unopened else "the asset was halted"
            flag = f"{account} of asset {name} was below zero ({why})"
            if flag not in self.flags:
                self.flags.append(flag)


def parse_line(line: str) -> tuple[str, Fields]:
    """A line as verb and fields; raises Wrong."""
    verb, *parts = line.split(" ")
    fields: Fields = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name or name in fields:
            raise Wrong(f"the line {line[:80]!r} is not `verb field=value ...`")
        fields[name] = unquote(value)
    return verb, fields


def _whole(fields: Fields, name: str) -> int:
    return _number(fields.get(name, ""), f"{name}=")


def _number(text: str, label: str = "") -> int:
    if not text.isascii() or not text.isdecimal():
        raise Wrong(f"{label}{text!r} is no whole number")
    return int(text)


def burned_after(asset: Asset, chain: str, number: int) -> int:
    """What the journal knows to be burned on a chain in blocks above this one."""
    later = takewhile(lambda one: one[0] >= number, reversed(asset.burned.get(chain, [])))
    return sum(gone for _, gone in later)


def inventory_chains(attestation: Fields) -> set[str]:
    """The chains for which the paper of an attestation names owners of issuer inventory."""
    paper = decode_message(bytes.fromhex(attestation.get("paper", "")))
    named = [decode_message(one) for one in paper.get(8, []) if isinstance(one, bytes)]
    return {str(_signed(one, 1)) for one in named}


# ---------------------------------------------------------------- supply proofs


@dataclass
class SupplyProof:
    """A guard's signed statement, decoded from its paper."""

    file: str
    key_id: str
    signed: bool
    asset: str
    sequence: int
    digest: bytes
    figures: dict[str, int]
    met: bool = False


_FIGURES = {7: "in_flight", 8: "orphaned", 9: "open_issuance", 10: "unpaid_redemption"}


def read_proof(path: Path, deployment: str, keys: dict[str, bytes]) -> SupplyProof:
    """A proof as `xstock audit proof --out` writes it, its signature checked with `keys`.

    Raises Unreadable, or Wrong for a signature that is not of the key it names.
    """
    try:
        one = json.loads(path.read_text(encoding="utf-8"))
        paper, signature = bytes.fromhex(one["paper"]), bytes.fromhex(one["signature"])
        key_id = str(one["key_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{path}: no supply proof: {error}") from error
    key = keys.get(key_id)
    if key is not None:
        digest = keccak256(b"xstock/paper/supply-proof/1" + deployment.encode() + paper)
        if not signature_valid(key, digest, signature):
            raise Wrong(f"{path}: the signature is not of key {key_id!r}")
    fields = decode_message(paper)
    figures = {name: _signed(fields, number) for number, name in _FIGURES.items()}
    excluded = 0
    for chain in fields.get(6, []):
        part = decode_message(chain)
        figures[f"supply/{_signed(part, 1)}"] = _signed(part, 2)
        excluded += _signed(part, 10)
    if excluded != _signed(fields, 16):
        raise Wrong(f"{path}: the inventory {_signed(fields, 16)} is not its chains' {excluded}")
    figures["exposure"], figures["cap"] = _signed(fields, 11), _signed(fields, 15)
    asset, digest = fields.get(2, [b""])[-1], fields.get(5, [b""])[-1]
    sequence = _signed(fields, 4)
    return SupplyProof(path.name, key_id, key is not None, asset.hex(), sequence, digest, figures)


def decode_message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protobuf message by number: numbers and bytes; raises Unreadable."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Any
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise Unreadable(f"a paper has no fields of wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise Unreadable("a paper ends in the middle of a number")


def _signed(fields: dict[int, list[Any]], number: int) -> int:
    value = int(fields.get(number, [0])[-1])
    return value - 2**64 if value >= 2**63 else value


def meet(proof: SupplyProof, link: Link, replay: Replay) -> None:
    """The proof against the journal right after the link that it names; raises Wrong."""
    if proof.digest != link.digest:
        raise Wrong(f"{proof.file} names another digest for this link: another history was shown")
    asset = replay.asset(proof.asset)
    mine = {name: amount for name, amount in asset.accounts.items() if name != "custody"}
    mine |= {"exposure": asset.exposure, "cap": asset.cap or 0}
    for name in sorted(mine.keys() | proof.figures.keys()):
        said, found = proof.figures.get(name, 0), mine.get(name, 0)
        if said != found:
            raise Wrong(f"{proof.file} says {name} {said}, the journal {found}")
    proof.met = True


# ---------------------------------------------------------------- signatures

_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Q = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _Q) % _Q
Point = tuple[int, int] | None


def signature_valid(key: bytes, digest: bytes, signature: bytes) -> bool:
    """secp256k1 for a key of 33 bytes (signature r, s, maybe v), ed25519 for one of 32."""
    if len(key) == 33 and len(signature) in (64, 65):
        return _ecdsa_valid(key, digest, signature)
    if len(key) == 32 and len(signature) == 64:
        return _ed25519_valid(key, digest, signature)
    return False


def _ecdsa_valid(key: bytes, digest: bytes, signature: bytes) -> bool:
    """SEC 1, 4.1.4, with the low-s rule of Ethereum."""
    point = _secp_point(key)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if point is None or not (0 < r < _N and 0 < s <= _N // 2):
        return False
    inverse = pow(s, -1, _N)
    one = _secp_times(_G, int.from_bytes(digest, "big") * inverse % _N)
    found = _secp_add(one, _secp_times(point, r * inverse % _N))
    return found is not None and found[0] % _N == r


def _secp_point(key: bytes) -> Point:
    x = int.from_bytes(key[1:], "big")
    y = pow(x**3 + 7, (_P + 1) // 4, _P)
    if key[0] not in (2, 3) or x >= _P or (y * y - x**3 - 7) % _P:
        return None
    return x, y if y % 2 == key[0] % 2 else _P - y


def _secp_add(one: Point, two: Point) -> Point:
    if one is None or two is None:
        return one or two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2:
        if (y1 + y2) % _P == 0:
            return None
        slope = 3 * x1 * x1 * pow(2 * y1, -1, _P) % _P
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P) % _P
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _secp_times(point: Point, factor: int) -> Point:
    total: Point = None
    while factor:
        if factor & 1:
            total = _secp_add(total, point)
        point, factor = _secp_add(point, point), factor >> 1
    return total


def _ed25519_valid(key: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032, 5.1.7."""
    public, first = _ed_point(key), _ed_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if public is None or first is None or s >= _L:
        return False
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % _L
    base_y = 4 * pow(5, -1, _Q) % _Q
    base = _ed_point(base_y.to_bytes(32, "little"))
    return base is not None and _ed_times(base, s) == _ed_add(first, _ed_times(public, h))


def _ed_point(data: bytes) -> tuple[int, int] | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _Q) % _Q
    x = pow(square, (_Q + 3) // 8, _Q)
    if (x * x - square) % _Q:
        x = x * pow(2, (_Q - 1) // 4, _Q) % _Q
    if y >= _Q or (x * x - square) % _Q or (x == 0 and sign):
        return None
    return (_Q - x if x % 2 != sign else x), y


def _ed_add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, two
    cross = _D * x1 * x2 * y1 * y2 % _Q
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, _Q) % _Q
    return x, (y1 * y2 + x1 * x2) * pow(1 - cross, -1, _Q) % _Q


def _ed_times(point: tuple[int, int], factor: int) -> tuple[int, int]:
    total = (0, 1)
    while factor:
        if factor & 1:
            total = _ed_add(total, point)
        point, factor = _ed_add(point, point), factor >> 1
    return total


def _round_constants() -> list[int]:
    """Keccak's 24, from its shift register (FIPS 202, 3.2.5)."""
    found, register = [], 1
    for _ in range(24):
        value = 0
        for power in range(7):
            value |= (register & 1) << (2**power - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        found.append(value)
    return found


_ROUNDS = _round_constants()
_FULL = 2**64 - 1


def keccak256(data: bytes) -> bytes:
    """Keccak with the padding of Ethereum (not SHA3-256's)."""
    state = [[0] * 5 for _ in range(5)]
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % 136))
    padded[-1] |= 0x80
    for start in range(0, len(padded), 136):
        for lane in range(17):
            word = padded[start + 8 * lane : start + 8 * lane + 8]
            state[lane % 5][lane // 5] ^= int.from_bytes(word, "little")
        for constant in _ROUNDS:
            _keccak_round(state, constant)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


def _keccak_round(state: list[list[int]], constant: int) -> None:
    columns = [row[0] ^ row[1] ^ row[2] ^ row[3] ^ row[4] for row in state]
    for x in range(5):
        mixed = columns[(x - 1) % 5] ^ _turned(columns[(x + 1) % 5], 1)
        for y in range(5):
            state[x][y] ^= mixed
    x, y, moved = 1, 0, state[1][0]
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        moved, state[x][y] = state[x][y], _turned(moved, (step + 1) * (step + 2) // 2 % 64)
    for y in range(5):
        row = [state[x][y] for x in range(5)]
        for x in range(5):
            state[x][y] = row[x] ^ (~row[(x + 1) % 5] & _FULL & row[(x + 2) % 5])
    state[0][0] ^= constant


def _turned(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _FULL


# ---------------------------------------------------------------- the command


@dataclass
class Report:
    """What was found in a journal that holds."""

    guard: str
    links: int
    replay: Replay
    proofs: list[SupplyProof]
    last: Link | None

    def document(self) -> dict[str, Any]:
        """All figures."""
        last = self.last
        return {
            "ok": True,
            "guard": self.guard,
            "links": self.links,
            "head": last.digest.hex() if last else "00" * 32,
            "lines": dict(sorted(self.replay.count.items())),
            "flags": self.replay.flags,
            "halts": sorted(self.replay.halts),
            "assets": {
                name: {**asset.accounts, "exposure": asset.exposure, "cap": asset.cap}
                for name, asset in sorted(self.replay.assets.items())
            },
            "proofs": [
                {"file": one.file, "key_id": one.key_id, "signature_checked": one.signed}
                for one in self.proofs
            ],
        }


def verify(
    journal: Path, proofs: list[Path] | None = None, keys: dict[str, bytes] | None = None
) -> Report:
    """Check everything; raises Wrong naming the first link that is, or Unreadable."""
    header, links = read_links(journal)
    deployment = str(header.get("deployment", ""))
    claims = [read_proof(path, deployment, keys or {}) for path in proofs or []]
    replay, last, count = Replay(), None, 0
    previous, at_ms = bytes(32), 0
    for link in links:
        count += 1
        try:
            _check_link(link, count, previous, at_ms)
            replay.take(link)
            for proof in claims:
                if proof.sequence == link.sequence:
                    meet(proof, link, replay)
        except (Wrong, KeyError, ValueError) as error:
            raise Wrong(f"link {count}: {_words(error)}") from error
        previous, at_ms, last = link.digest, link.at_ms, link
    for proof in claims:
        if not proof.met and (proof.sequence or any(proof.figures.values())):
            raise Wrong(f"{proof.file} speaks of link {proof.sequence}; the journal has {count}")
    return Report(str(header.get("guard", "")), count, replay, claims, last)


def _check_link(link: Link, count: int, previous: bytes, at_ms: int) -> None:
    if link.sequence != count:
        raise Wrong(f"its sequence is {link.sequence}: links are missing or doubled")
    if link.previous != previous:
        raise Wrong("it does not follow the digest of the link before")
    if link_digest(link) != link.digest:
        raise Wrong("its digest is not of what it says: it was changed afterwards")
    if link.at_ms < at_ms:
        raise Wrong("its time lies before the link before")


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"a line has no field {error.args[0]}"
    return str(error)


def keys_of(registry: Path) -> dict[str, bytes]:
    """The guards' paper keys in a registry file, by guard id; raises Unreadable."""
    try:
        guards = json.loads(registry.read_text(encoding="utf-8"))["guards"]
        found = {one["id"]: one.get("paper_key") for one in guards}
        return {name: key_bytes(text) for name, text in found.items() if text}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{registry}: no registry: {error}") from error


def key_bytes(text: str) -> bytes:
    """A public key in hexadecimal; raises ValueError."""
    return bytes.fromhex(text.removeprefix("0x"))


def main(arguments: list[str] | None = None) -> int:
    """Check what the command line names; the exit code."""
    about = (__doc__ or "").split("\n", maxsplit=1)[0]
    parser = argparse.ArgumentParser(prog="verify_journal", description=about)
    parser.add_argument("journal", type=Path, help="a file of `xstock audit export`")
    parser.add_argument("--proof", type=Path, action="append", default=[], help="a supply proof")
    parser.add_argument("--registry", type=Path, help="where the guards' paper keys stand")
    parser.add_argument("--key", action="append", default=[], metavar="ID=HEX", help="a paper key")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    try:
        keys = keys_of(options.registry) if options.registry else {}
        for text in options.key:
            name, _, value = text.partition("=")
            keys[name] = key_bytes(value)
        report = verify(options.journal, options.proof, keys)
    except Wrong as error:
        document, text, code = {"ok": False, "wrong": str(error)}, f"WRONG: {error}", WRONG
    except (Unreadable, ValueError) as error:
        document, text = {"ok": False, "unreadable": str(error)}, f"cannot check: {error}"
        code = USAGE
    else:
        document, text, code = report.document(), _text(report), OK
    sys.stdout.write((json.dumps(document) if options.json else text) + "\n")
    return code


def _text(report: Report) -> str:
    replay, last = report.replay, report.last
    counts = replay.count
    lines = [
        f"OK: guard {report.guard}, {report.links} links unbroken, head "
        f"{last.digest.hex() if last else 'none'}",
        f"  {len(replay.entries)} postings, {counts.get('rule', 0)} verdicts, "
        f"{counts.get('permit', 0)} permits, {counts.get('attest', 0)} attestations, "
        f"{len(replay.halts)} halts standing",
    ]
    for name, asset in sorted(replay.assets.items()):
        held = ", ".join(f"{key} {value}" for key, value in sorted(asset.accounts.items()) if value)
        lines.append(f"  asset {name}: exposure {asset.exposure}, cap {asset.cap}; {held}")
    for proof in report.proofs:
        checked = "signature checked" if proof.signed else "SIGNATURE NOT CHECKED (no key given)"
        lines.append(f"  proof {proof.file} of {proof.key_id}: says the same, {checked}")
    lines.extend(f"  flag: {flag}" for flag in replay.flags)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
