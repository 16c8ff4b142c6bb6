"""Openings: an asset that is live already enters the books, once, with what it has.

Its holders' first burns would otherwise look like money from nowhere. A guard signs an opening only
if its own books say the same: every chain booked and believed at the named block or later, the
supply read there exactly what the paper says less what the bridge has moved since, and all of it
covered by the attestation in force. M guards' signatures book it, for all chains in one
transaction; one guard's lie reaches no M. Until then the asset is not open and everything of it
waits; an asset whose chains all show nothing needs no opening. That the bridge is the only minter
is what each chain's self-test says before a guard books its first page.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from xstock_core.amount import Shares, rescaled
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import (
    CUSTODY,
    Balances,
    chain_supply,
    entry_of_opening,
    exposure,
)
from xstock_runtime.errors import Transient, invalid_field
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.inventory import limits_now
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import (
    BelievedSupply,
    Opening,
    OpeningPaper,
    OpeningRecord,
    Posted,
    Scan,
    SignedStatement,
    SupplyStep,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

_invalid = partial(invalid_field, "OPENING_INVALID")

UNCOVERED = "an attestation in force must cover it first"


def openness(
    places: Iterable[Domain], balances: Balances, readings: Iterable[BelievedSupply], asset: AssetId
) -> bool | None:
    """Whether an asset may move: its books have begun, or no chain shows anything of it.

    None while some chain of `places` has not been read yet.
    """
    if has_begun(balances, asset):
        return True
    units = {one.chain: one.units for one in readings if one.supply.asset == asset}
    if any(units.values()):
        return False
    return True if all(place in units for place in places) else None


async def not_open(desk: Desk, books: GuardReads, assets: Collection[AssetId]) -> set[AssetId]:
    """Those of `assets` that nobody may take for open: live before the bridge, or not read yet."""
    balances = await books.balances(assets)
    readings = await books.readings(assets)
    configs = desk.config.assets
    return {
        asset
        for asset in assets
        if asset in configs
        and openness(configs[asset].decimals, balances, readings, asset) is not True
    }


def has_begun(balances: Balances, asset: AssetId) -> bool:
    """Whether an issuance or an opening was booked: both leave custody's account in debt.

    SECURITY: what custody pays out before either leaves it in credit and begins nothing. Taken for
    a beginning, the first redemption would keep an asset from ever being opened.
    """
    return balances.get((asset, CUSTODY), 1) <= 0


def _not_yet(text: str) -> Transient:
    return Transient("OPENING_NOT_YET", text)


async def check_opening(desk: Desk, paper: OpeningPaper) -> None:
    """Whether this guard's own books say the same, so that it may sign.

    Raises InvalidMessage for a paper that is wrong, Transient OPENING_NOT_YET while this guard
    has not seen enough.
    """
    _check_places(desk, paper)
    async with desk.store.read() as books:
        if await _known(books, paper) is not None:
            return
        await _check_state(desk, books, paper)
        readings = {one.chain: one for one in await books.readings([paper.asset])}
        scans = await books.scans()
    for chain, said in paper.chains.items():
        _check_reading(desk, chain, said, readings.get(chain), scans.get(chain))


def _check_places(desk: Desk, paper: OpeningPaper) -> None:
    config = desk.config.assets.get(paper.asset)
    if config is None:
        raise _invalid("asset", paper.asset.hex(), "this asset is not registered")
    if set(paper.chains) != set(config.decimals):
        named = sorted(int(chain) for chain in paper.chains)
        wanted = sorted(int(chain) for chain in config.decimals)
        raise _invalid("chains", named, f"name every chain of the asset: {wanted}")


async def _known(books: GuardReads, paper: OpeningPaper) -> OpeningRecord | None:
    """The opening on record if it is this one. Raises InvalidMessage if it is another."""
    known = (await books.opened([paper.asset])).get(paper.asset)
    if known is not None and known.digest != paper.digest:
        raise _invalid("asset", paper.asset.hex(), "another opening of it is booked already")
    return known


async def _check_state(desk: Desk, books: GuardReads, paper: OpeningPaper) -> None:
    """Nothing is booked against custody yet, nothing is halted, and custody covers all of it."""
    asset = paper.asset
    balances = await books.balances([asset])
    if has_begun(balances, asset):
        raise _invalid("asset", asset.hex(), "its books have begun; an opening comes first")
    if desk.missing():
        raise _not_yet(f"not booked up to the final head yet: {', '.join(desk.missing())}")
    for halt in await books.halts():
        if halt.asset in (None, asset):
            raise _not_yet(f"halted: {halt.reason}")
    record = (await books.attestations([asset])).get(asset)
    if record is None:
        raise _not_yet(f"no attestation is known; {UNCOVERED}")
    age = desk.now - record.attestation.as_of
    if age > desk.config.policy.attestation_age_seconds_max:
        raise _not_yet(f"the attestation is {age} s old; {UNCOVERED}")
    # Before it the exposure is what was paid out already, below zero.
    total = sum(one.shares for one in paper.chains.values()) + exposure(balances, asset)
    limit = (await limits_now(desk, books, {asset: record}))[asset]
    # SECURITY: INV-04, an opening is an issuance by another name.
    if total > limit:
        raise _invalid("shares", total, f"the cap is {limit}; {UNCOVERED}")


def _check_reading(
    desk: Desk, chain: Domain, said: Opening, reading: BelievedSupply | None, scan: Scan | None
) -> None:
    """SECURITY: what a chain shows is the only proof; a guard that lies about units ends here."""
    name = desk.config.chains[chain].name
    booked = scan.through.number if scan is not None and scan.through is not None else -1
    if reading is None or min(reading.block.number, booked) < said.block:
        raise _not_yet(f"{name}: no believed reading at block {said.block} or later yet")
    whole, residue = split_units(reading)
    shares = whole - reading.ledger
    if (said.shares, said.residue_units) != (shares, residue):
        remedy = f"{name} shows {shares} and {residue} at block {reading.block.number}"
        raise _invalid(f"chains.{name}", (said.shares, said.residue_units), remedy)


def split_units(reading: BelievedSupply) -> tuple[int, int]:
    """(whole units of 10^-8 share, what is left over in the token's units) of a reading."""
    units = reading.supply.token_units - reading.supply.bridge_inventory_units
    return rescaled(units, reading.supply.decimals)


async def submit_opening(
    desk: Desk,
    paper: OpeningPaper,
    statements: Sequence[SignedStatement],
    *,
    restoring: bool = False,
) -> int:
    """Book an opening that M guards have signed; the asset's exposure after it.

    The same opening again changes nothing. One that is restored from a lost guard's journal was
    compared with the chains when M guards signed it; then nobody looks again, and it is booked
    before any block, because what follows on every chain stands on it.

    Raises InvalidMessage naming what is wrong, Transient
    OPENING_NOT_YET while this guard cannot book it.
    """
    _check_places(desk, paper)
    _check_signatures(desk, paper, statements)
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        if await _known(unit, paper) is None:
            if not restoring:
                await _check_state(desk, unit, paper)
            await _book(desk, unit, paper, restoring=restoring)
            await unit.journal([_line(paper, statements)], now_ms)
        balances = await unit.balances([paper.asset])
    return exposure(balances, paper.asset)


def _check_signatures(
    desk: Desk, paper: OpeningPaper, statements: Sequence[SignedStatement]
) -> None:
    signed: set[bytes] = set()
    for one in statements:
        key = desk.config.guard_papers.get(one.key_id)
        same = one.digest == paper.digest
        # SECURITY: without this check anybody could write supply into the books.
        if key is None or not same or not desk.check_signature(key, one.digest, one.signature):
            raise _invalid("signatures", one.key_id, "every guard signs this very paper")
        signed.add(key)
    # SECURITY: counted by public key, so that one guard never makes two voices.
    if len(signed) < desk.config.threshold:
        remedy = f"{desk.config.threshold} different guards must sign"
        raise _invalid("signatures", len(signed), remedy)


async def _book(desk: Desk, unit: GuardUnit, paper: OpeningPaper, *, restoring: bool) -> None:
    """One entry per chain with supply, as of the last block booked there.

    Earlier blocks were judged without it: `booked` lets their readings be compared all the same.
    Restored into empty books it stands before the first block, and nothing was judged without it.
    """
    balances = await unit.balances([paper.asset])
    scans = await unit.scans()
    chains: dict[Domain, Opening] = {}
    posted, steps = [], []
    for chain, said in paper.chains.items():
        scan = scans.get(chain)
        at = scan.through if scan is not None else None
        if at is None and not restoring:
            raise _not_yet(f"{desk.config.chains[chain].name} is not booked yet")
        number = at.number if at is not None else 0
        after = chain_supply(balances, paper.asset, chain) + said.shares
        if after < 0:
            raise _invalid("shares", said.shares, f"more was burned there since: {after}")
        chains[chain] = replace(said, booked=number)
        if said.shares:
            entry = entry_of_opening(paper.asset, chain, Shares(said.shares))
            posted.append(Posted(entry, at))
            steps.append(SupplyStep(chain, paper.asset, number, after))
    await unit.post(posted, steps)
    await unit.add_opening(OpeningRecord(paper.asset, paper.digest, chains))
    await _restate(unit, paper.asset, chains)


async def _restate(unit: GuardUnit, asset: AssetId, chains: Mapping[Domain, Opening]) -> None:
    """The latest readings, compared with the books as they stand now."""
    stated = [
        replace(
            one,
            ledger=one.ledger + chains[one.chain].shares,
            residue_units=chains[one.chain].residue_units,
        )
        for one in await unit.readings([asset])
        if one.chain in chains
    ]
    if stated:
        await unit.save_readings(stated)


def _line(paper: OpeningPaper, statements: Sequence[SignedStatement]) -> str:
    return line(
        "open",
        asset=paper.asset,
        digest=paper.digest,
        paper=statements[0].paper,
        keys=",".join(one.key_id for one in statements),
        signatures=",".join(one.signature.hex() for one in statements),
    )
