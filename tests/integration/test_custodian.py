"""The local custodian: what it signs, what it pays, what it rejects; guards are stand-ins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.builders import a_message, an_address, id_of
from xstock_chains.registry import Registry
from xstock_core.ids import Address32, AssetId, Domain, asset_id
from xstock_core.message import Kind, TransferMessage
from xstock_devnet.custodian import AGENT_KEY_ID, KEY_FILES, KEY_ID, Custodian
from xstock_runtime.clock import VirtualClock
from xstock_runtime.hashing import keccak256
from xstock_wire.v1 import papers_pb2, supply_guard_pb2

SHARE = 10**8
HELD = 1000 * SHARE


@dataclass
class Guard:
    """Takes what it is told; shows these redemptions as open."""

    shown: dict[bytes, TransferMessage] = field(default_factory=dict)
    attested: list[papers_pb2.Attestation] = field(default_factory=list)
    signers: list[list[str]] = field(default_factory=list)
    rejected: list[papers_pb2.RedemptionRejection] = field(default_factory=list)

    async def ListRedemptions(self, request: Any, **_: Any) -> Any:  # noqa: N802 - gRPC's name
        """Everything on one page."""
        del request
        return supply_guard_pb2.ListRedemptionsResponse(
            redemptions=[
                supply_guard_pb2.OpenRedemption(transfer_id=key, message=message.pack())
                for key, message in self.shown.items()
            ]
        )

    async def SubmitAttestation(self, request: Any, **_: Any) -> Any:  # noqa: N802 - gRPC's name
        """Keep the paper; close what it lists as paid."""
        paper = papers_pb2.Attestation.FromString(request.attestation.paper)
        self.attested.append(paper)
        signed = (request.attestation, *request.cosignatures)
        assert {one.paper for one in signed} == {request.attestation.paper}
        self.signers.append([one.key_id for one in signed])
        for key in paper.paid:
            self.shown.pop(key, None)

    async def SubmitRejection(self, request: Any, **_: Any) -> Any:  # noqa: N802 - gRPC's name
        """Keep the paper; close what it rejects."""
        paper = papers_pb2.RedemptionRejection.FromString(request.rejection.paper)
        self.rejected.append(paper)
        self.shown.pop(paper.transfer_id, None)


@dataclass
class Scene:
    """A custodian over a folder, and three guards."""

    folder: Path
    registry: Registry
    auto_pay: float | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    guards: list[Guard] = field(default_factory=lambda: [Guard(), Guard(), Guard()])

    def __post_init__(self) -> None:
        (self.folder / "keys").mkdir()
        for name in KEY_FILES.values():
            (self.folder / name).write_text(keccak256(name.encode()).hex(), encoding="ascii")
        self.say(multiplier=2 * 10**18)
        self.custodian = Custodian(self.folder, self.registry, self.clock, self.auto_pay)

    @property
    def held(self) -> dict[str, Any]:
        """TSLAx in the custody file."""
        text = (self.folder / "custody.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["TSLAx"])

    def say(self, **changes: Any) -> None:
        """Edit the custody file by hand."""
        base = {"held_units": HELD, "multiplier": 10**18, "multiplier_epoch": 0}
        path = self.folder / "custody.json"
        if path.exists():
            base = self.held
        path.write_text(json.dumps({"TSLAx": {**base, **changes}}), encoding="utf-8")

    def redeem(self, *guards: int, counter: int = 1) -> bytes:
        """These guards show a redemption of ten shares."""
        message = a_message(
            kind=Kind.REDEEM,
            destination=Domain.CUSTODY,
            counter=counter,
            amount=10 * SHARE,
            recipient=bytes(an_address(5)),
            asset=asset_id("TSLAx", keccak256),
        )
        for index in guards or (0, 1, 2):
            self.guards[index].shown[id_of(message)] = message
        return id_of(message)

    async def round(self, count: int = 1) -> None:
        """The custodian's rounds."""
        for _ in range(count):
            await self.custodian.round(self.guards)  # type: ignore[arg-type]
            await self.clock.advance(5)


class _Registry:
    """What the custodian asks a registry for."""

    deployment_id = "test"
    threshold = 2

    @dataclass
    class Asset:
        """An asset."""

        symbol: str = "TSLAx"
        id: bytes = asset_id("TSLAx", keccak256)

    assets = (Asset(),)
    inventory: Mapping[Domain, frozenset[Address32]] = MappingProxyType({})

    def issuer_inventory(self) -> dict[AssetId, Mapping[Domain, frozenset[Address32]]]:
        """As a registry gives it: absent where none is named."""
        return {AssetId(self.assets[0].id): self.inventory} if self.inventory else {}

    def asset(self, symbol: str) -> Asset:
        """The only one."""
        assert symbol == "TSLAx"
        return self.assets[0]


def a_scene(tmp_path: Path, auto_pay: float | None = None) -> Scene:
    """A custodian that has told nothing yet."""
    return Scene(tmp_path, _Registry(), auto_pay)  # type: ignore[arg-type]


async def test_custodian__every_round__one_paper_of_two_keys_for_every_guard(
    tmp_path: Path,
) -> None:
    scene = a_scene(tmp_path)
    await scene.round(2)
    first, second, third = scene.guards
    assert first.attested == second.attested == third.attested
    assert first.signers == [[KEY_ID, AGENT_KEY_ID]] * 2
    assert [one.held_units for one in first.attested] == [HELD, HELD]
    assert [list(one.inventory) for one in first.attested] == [[], []]
    assert first.attested[0].sequence < first.attested[1].sequence


async def test_custodian__registry_names_issuer_inventory__every_paper_names_it_in_one_order(
    tmp_path: Path,
) -> None:
    registry = _Registry()
    one, two = an_address(1), an_address(2)
    registry.inventory = {Domain.BNB: frozenset({one}), Domain.ETHEREUM: frozenset({two, one})}
    scene = Scene(tmp_path, registry)  # type: ignore[arg-type]
    await scene.round()
    (paper,) = scene.guards[0].attested
    named = [(account.chain, account.owner) for account in paper.inventory]
    assert named == [(1, min(one, two)), (1, max(one, two)), (2, one)]


async def test_custodian__id_written_under_paid__listed_once_and_the_stock_handed_over(
    tmp_path: Path,
) -> None:
    """Ten shares at a multiplier of two are twenty real shares."""
    scene = a_scene(tmp_path)
    one = scene.redeem()
    await scene.round()
    assert list(scene.guards[0].attested[-1].paid) == []
    scene.say(paid=[one.hex()])
    await scene.round(2)
    papers = scene.guards[0].attested[-2:]
    assert [list(paper.paid) for paper in papers] == [[one], []]
    assert [paper.held_units for paper in papers] == [HELD - 20 * SHARE] * 2
    assert scene.held["settled"] == [one.hex()]


async def test_custodian__a_guard_was_away__the_redemption_is_listed_again_for_it(
    tmp_path: Path,
) -> None:
    scene = a_scene(tmp_path)
    one = scene.redeem(0, 1)
    scene.say(paid=[one.hex()])
    await scene.round()
    assert scene.redeem(2) == one
    await scene.round()
    assert list(scene.guards[2].attested[-1].paid) == [one]
    assert scene.held["held_units"] == HELD - 20 * SHARE


@pytest.mark.parametrize(("shown", "paid"), [((0,), False), ((0, 1), True)])
async def test_custodian__paying_by_itself__believes_m_guards_for_long_enough(
    tmp_path: Path, shown: tuple[int, ...], paid: bool
) -> None:
    scene = a_scene(tmp_path, auto_pay=10)
    one = scene.redeem(*shown)
    await scene.round(2)
    assert scene.held.get("paid", []) == []
    await scene.round()
    assert (scene.held.get("paid", []) == [one.hex()]) is paid


async def test_custodian__id_written_under_rejected__a_paper_of_custody_and_never_paid(
    tmp_path: Path,
) -> None:
    scene = a_scene(tmp_path, auto_pay=0)
    one = scene.redeem()
    scene.say(rejected={one.hex(): "unknown account"})
    await scene.round(2)
    assert [paper.reason for paper in scene.guards[0].rejected] == ["unknown account"]
    assert all(not paper.paid for paper in scene.guards[0].attested)
    assert scene.held["held_units"] == HELD
