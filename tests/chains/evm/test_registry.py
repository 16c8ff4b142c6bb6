"""The registry refuses what would make a bridge weak, and says field, value and remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.world import registry_document
from xstock_chains.profiles import PROFILES, open_codec, open_reader, open_signer, open_writer
from xstock_chains.registry import InvalidRegistry, load_registry, parse_registry
from xstock_core.ids import Address32, Domain
from xstock_runtime.errors import Fatal

Change = Callable[[dict[str, Any]], None]


def chain(name: str, domain: int, network_id: int) -> dict[str, Any]:
    return {
        "name": name,
        "domain": domain,
        "family": "evm",
        "network_id": network_id,
        "genesis_hash": "0x" + f"{domain:02x}" * 32,
        "finality": "finalized",
        "block_time_ms": 1000,
        "batch_items_max": 50,
        "bridges": [
            {
                "address": "0x" + f"{domain:02x}" * 20,
                "deployed_block": 1,
                "code_hash": "0x" + "aa" * 32,
            }
        ],
    }


def asset(chain_name: str, byte: str) -> dict[str, Any]:
    return {
        "chain": chain_name,
        "token": "0x" + byte * 20,
        "decimals": 18,
        "kind": "evm_shares",
        "minimum_shares": 1000,
    }


def document() -> dict[str, Any]:
    return registry_document(
        [chain("ethereum", 1, 1), chain("bnb", 2, 56)],
        {"TSLAx": [asset("ethereum", "a1"), asset("bnb", "a2")]},
    )


def changed(change: Change) -> str:
    fresh = document()
    change(fresh)
    return json.dumps(fresh)


def test_registry__a_valid_file__is_read_and_found_by_name_and_id(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(document()))
    registry = load_registry(path)
    assert registry.chain("bnb").domain is Domain.BNB
    assert registry.chain(Domain.ETHEREUM).caip2 == "eip155:1"
    tesla = registry.asset("TSLAx")
    assert registry.asset(tesla.id) is tesla
    on_bnb = tesla.on("bnb")
    assert on_bnb is not None
    assert on_bnb.caip19_kind == "erc20"
    assert tesla.on("mantle") is None
    assert len(registry.guard_identities("evm")) == 3
    assert parse_registry(registry.model_dump_json()) == registry


def _guards_twice(doc: dict[str, Any]) -> None:
    doc["guards"][1]["keys"] = doc["guards"][0]["keys"]


def _two_bridges_in_use(doc: dict[str, Any]) -> None:
    other = dict(doc["chains"][0]["bridges"][0], address="0x" + "77" * 20)
    doc["chains"][0]["bridges"].append(other)


REFUSED: dict[str, tuple[Change, str]] = {
    "threshold 0": (lambda d: d.update(threshold=0), "threshold 0 of 3"),
    "threshold 1 of 3": (lambda d: d.update(threshold=1), "use 2 to 3"),
    "threshold above n": (lambda d: d.update(threshold=4), "threshold 4 of 3"),
    "threshold missing": (lambda d: d.pop("threshold"), "threshold"),
    "threshold as float": (lambda d: d.update(threshold=2.0), "threshold"),
    "threshold as bool": (lambda d: d.update(threshold=True), "threshold"),
    "threshold as text": (lambda d: d.update(threshold="2"), "threshold"),
    "too weak for f": (lambda d: d["policy"].update(faulty_guards_max=1), "does not survive 1"),
    "no guards": (lambda d: d.update(guards=[]), "guards"),
    "guard twice": (_guards_twice, "given 2 times"),
    "guard zero": (
        lambda d: d["guards"][0]["keys"].update(evm="0x" + "00" * 20),
        "zero address is never valid",
    ),
    "guard without evm key": (lambda d: d["guards"][0].update(keys={"ton": "x"}), "keys.evm"),
    "finality safe": (lambda d: d["chains"][0].update(finality="safe"), 'only "finalized"'),
    "finality latest": (lambda d: d["chains"][0].update(finality="latest"), 'only "finalized"'),
    "domain 0": (lambda d: d["chains"][0].update(domain=0), "use one of"),
    "domain twice": (lambda d: d["chains"][1].update(domain=1), "given 2 times"),
    "network id twice": (lambda d: d["chains"][1].update(network_id=1), "given 2 times"),
    "genesis zero": (
        lambda d: d["chains"][0].update(genesis_hash="0x" + "00" * 32),
        "all zeros",
    ),
    "bridge zero": (
        lambda d: d["chains"][0]["bridges"][0].update(address="0x" + "00" * 20),
        "zero address is never valid",
    ),
    "bridge checksum": (
        lambda d: d["chains"][0]["bridges"][0].update(
            address="0x5FbDB2315678afecb367f032d93F642f64180aa4"
        ),
        "checksum is wrong",
    ),
    "two bridges in use": (_two_bridges_in_use, "exactly one is in use"),
    "token twice": (
        lambda d: d["assets"].append({"symbol": "SPYx", "deployments": [asset("bnb", "a2")]}),
        "given 2 times",
    ),
    "asset twice": (lambda d: d["assets"].append(d["assets"][0]), "given 2 times"),
    "asset on no chain": (
        lambda d: d["assets"][0]["deployments"][0].update(chain="base"),
        "no chain here",
    ),
    "8 decimals on evm": (
        lambda d: d["assets"][0]["deployments"][0].update(decimals=8),
        "18 decimals",
    ),
    "permit too long": (lambda d: d["policy"].update(permit_seconds=3601), "3600"),
    "epoch 0": (lambda d: d.update(guard_epoch=0), "guard_epoch"),
    "unknown field": (lambda d: d.update(treshold=2), "treshold"),
    "amount as float": (
        lambda d: d["assets"][0]["deployments"][0].update(minimum_shares=1e3),
        "minimum_shares",
    ),
    "amount 2^64": (
        lambda d: d["assets"][0]["deployments"][0].update(minimum_shares=2**64),
        "minimum_shares",
    ),
    "amount negative": (
        lambda d: d["assets"][0]["deployments"][0].update(minimum_shares=-1),
        "minimum_shares",
    ),
}


def _inventory(*owners: str) -> Change:
    return lambda d: d["assets"][0]["deployments"][0].update(issuer_inventory=list(owners))


OWNER = "0x" + "b1" * 20
OTHER_OWNER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
REFUSED |= {
    "inventory no address": (_inventory("treasury"), "TSLAx.ethereum.issuer_inventory"),
    "inventory zero": (_inventory("0x" + "00" * 20), "zero address is never valid"),
    "inventory checksum": (_inventory(OTHER_OWNER[:-1] + "4"), "checksum is wrong"),
    "inventory twice": (_inventory(OWNER, OWNER), "given 2 times"),
    "inventory twice in two texts": (
        _inventory(OTHER_OWNER, OTHER_OWNER.lower()),
        "given 2 times",
    ),
    "inventory is the bridge": (_inventory("0x" + "01" * 20), "give accounts of the issuer"),
    "inventory is the token": (_inventory("0x" + "a1" * 20), "give accounts of the issuer"),
    "inventory of 17": (_inventory(*("0x" + f"{n:040x}" for n in range(1, 18))), "16"),
    "inventory no list": (
        lambda d: d["assets"][0]["deployments"][0].update(issuer_inventory=OWNER),
        "issuer_inventory",
    ),
}


def test_registry__issuer_inventory__is_told_per_asset_and_chain_in_wire_form() -> None:
    """Whoever compares it with what was attested needs the form of messages."""
    fresh = document()
    _inventory(OWNER, OTHER_OWNER)(fresh)
    fresh["assets"].append({"symbol": "SPYx", "deployments": [asset("bnb", "c2")]})
    registry = parse_registry(json.dumps(fresh))
    owners = frozenset(
        Address32(bytes.fromhex(text[2:]).rjust(32, b"\0")) for text in (OWNER, OTHER_OWNER)
    )
    tesla = registry.asset("TSLAx").id
    assert registry.issuer_inventory() == {tesla: {Domain.ETHEREUM: owners}}
    assert parse_registry(registry.model_dump_json()) == registry


def test_registry__no_issuer_inventory__says_nothing_of_any_asset() -> None:
    assert parse_registry(json.dumps(document())).issuer_inventory() == {}


def test_registry__one_owner_for_two_assets_and_chains__is_accepted() -> None:
    """A treasury is one account; only a second time for one asset on one chain counts twice."""
    fresh = document()
    fresh["assets"].append({"symbol": "SPYx", "deployments": [asset("ethereum", "c1")]})
    for entry in fresh["assets"]:
        for deployment in entry["deployments"]:
            deployment["issuer_inventory"] = [OWNER]
    told = parse_registry(json.dumps(fresh)).issuer_inventory()
    assert [sorted(chains) for chains in told.values()] == [
        [Domain.ETHEREUM, Domain.BNB],
        [Domain.ETHEREUM],
    ]


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_registry__a_weak_or_wrong_value__refuses_the_start_and_says_why(case: str) -> None:
    """F83, F57, F10, INV-12: zero, missing, too low, too high, doubled, or of the wrong type."""
    change, said = REFUSED[case]
    with pytest.raises(InvalidRegistry) as refusal:
        parse_registry(changed(change))
    assert said in refusal.value.message
    assert refusal.value.code == "REGISTRY_INVALID"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"threshold":NaN}'])
def test_registry__not_a_registry__is_refused(text: str) -> None:
    with pytest.raises(InvalidRegistry):
        parse_registry(text)


def test_registry__a_field_given_twice__is_refused() -> None:
    """The last of two thresholds would win silently."""
    text = json.dumps(document()).replace('"threshold": 2', '"threshold": 2, "threshold": 3')
    with pytest.raises(InvalidRegistry, match="given 2 times"):
        parse_registry(text)


def test_registry__missing_file_or_unknown_names__name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidRegistry, match="check the path"):
        load_registry(tmp_path / "none.json")
    registry = parse_registry(json.dumps(document()))
    with pytest.raises(InvalidRegistry, match="configured are: ethereum, bnb"):
        registry.chain("solana")
    with pytest.raises(InvalidRegistry, match="register the asset"):
        registry.asset("NOPEx")


def test_profiles__all_six_domains__have_a_row_that_says_finalized_or_its_own_rule() -> None:
    assert set(PROFILES) == set(Domain) - {Domain.CUSTODY}
    for domain, row in PROFILES.items():
        assert row.domain is domain
        assert row.finality
        assert "latest" not in row.finality


async def test_doors__nodes_and_quorum__are_checked_before_anything_opens(tmp_path: Path) -> None:
    """F83: no node, one node twice, or a quorum that half of the nodes could make, is refused."""
    registry = parse_registry(json.dumps(document()))
    urls = [f"http://127.0.0.1:{port}" for port in (1, 2, 3)]
    with pytest.raises(InvalidRegistry, match="at least one node"):
        open_reader(registry, "bnb", [])
    with pytest.raises(InvalidRegistry, match="give every node once"):
        open_reader(registry, "bnb", [urls[0], urls[0]])
    with pytest.raises(Fatal):
        open_reader(registry, "bnb", urls, needed=1)
    for opened in (open_reader(registry, "bnb", urls), open_writer(registry, "bnb", urls[0])):
        await opened.aclose()
    assert open_codec(registry, "bnb") is not None
    key = tmp_path / "key"
    key.write_text("0x" + "11" * 32)
    widths = {"evm": 20, "tron": 20, "solana": 32, "ton": 32}
    for family, width in widths.items():
        assert len(open_signer(family, key).identity) == width  # type: ignore[arg-type]
    key.write_text("0x" + "00" * 32)
    with pytest.raises(Fatal, match="KEY_INVALID"):
        open_signer("evm", key)
