"""`xstock key`: what a key file is on each chain: who signs with it, and from where it sends.

Asks nobody and shows nothing secret. `xstock deploy` and the registry want these texts, and so does
whoever sends to this key.
"""

from typing import Annotated

import typer

from xstock_chains.addresses import show_identity, show_wire
from xstock_chains.profiles import PROFILES, Profile, open_account, open_signer
from xstock_cli.exits import UsageProblem
from xstock_cli.options import JsonOption, WorldOption
from xstock_cli.screen import Screen
from xstock_cli.settings import find_place


def show_key(
    key: Annotated[str, typer.Argument(help="A key file, or a name in XSTOCK_KEYS.")],
    chain: Annotated[
        str, typer.Option("--chain", help="Print only the account on this chain.")
    ] = "",
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a key's public identity and accounts on each chain; asks nobody."""
    file = find_place(world=world).key_file(key)
    screen = Screen(as_json=as_json)
    rows = []
    for profile in _profiles(chain):
        signer = open_signer(profile.family, file)
        identity = show_identity(profile.family, signer.identity)
        account, relayer = (
            show_wire(profile.family, open_account(profile.family, signer, purpose))
            for purpose in ("holder", "relayer")
        )
        rows.append((profile.name, identity, account, relayer))
    names = ("chain", "identity", "account", "relayer_account")
    screen.document({"keys": [dict(zip(names, row, strict=True)) for row in rows]})
    if chain:
        screen.line(rows[0][2])
        return
    screen.table("", ("chain", "signs as (guards)", "account", "account as relayer"), rows)


def _profiles(chain: str) -> list[Profile]:
    found = [one for one in PROFILES.values() if chain in ("", one.name)]
    if not found:
        known = ", ".join(one.name for one in PROFILES.values())
        raise UsageProblem("--chain", chain, f"use one of {known}")
    return found
