"""A local EVM chain: anvil from npm, with fixed development accounts and a finality lag of its own.

anvil's `finalized` block is `latest - 2 * slots_in_an_epoch`. A frozen chain (`child.freeze`) keeps
its state and answers nothing, as a halted chain does; a killed one forgets everything unless it
was given a `state_file`. The mnemonic is the public one every EVM tool uses for development: its
keys hold nothing anywhere.
"""

import platform
import shutil
import sys
from pathlib import Path

from eth_account import Account

from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, ProcessFailed, tcp_open
from xstock_devnet.settings import PROJECT_ROOT

DEV_MNEMONIC = "test test test test test test test test test test test junk"


def dev_private_key(index: int) -> str:
    """Return the 0x-prefixed private key of funded development account `index`, counted from 0."""
    Account.enable_unaudited_hdwallet_features()
    account = Account.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return "0x" + bytes(account.key).hex()


def anvil_binary(root: Path = PROJECT_ROOT) -> Path:
    """Return the native anvil that npm installed, else the one on the search path.

    npm's package exists for Linux on x86-64; raises ProcessFailed saying what to do elsewhere.
    """
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "amd64"
    package = f"anvil-{sys.platform}-{architecture}"
    binary = root / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if binary.exists():
        return binary
    found = shutil.which("anvil")
    if found is None:
        raise ProcessFailed(
            f"{binary} is missing and no anvil is on the search path; run 'make setup', or where"
            " npm has no anvil for this machine install anvil 1.7 and put it on the path"
        )
    return Path(found)


class AnvilNode(LocalNode):
    """One local chain on one port; `start` after `stop` or `kill9` comes back on the same port.

    `block_seconds` None mines a block per transaction. `state_file` makes the chain survive a
    polite stop (anvil writes it on exit, and every second while it runs).
    """

    label = "anvil"

    def __init__(
        self,
        folder: Path,
        *,
        chain_id: int,
        name: str = "anvil",
        block_seconds: float | None = None,
        slots_in_an_epoch: int = 1,
        accounts: int = 20,
        port: int | None = None,
        state_file: Path | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.chain_id = chain_id
        port = port or free_ports(1)[0]
        child = ChildProcess(
            name,
            (
                *(str(anvil_binary()), "--host", "127.0.0.1", "--port", str(port)),
                *("--chain-id", str(chain_id), "--slots-in-an-epoch", str(slots_in_an_epoch)),
                *("--accounts", str(accounts), "--mnemonic", DEV_MNEMONIC, "--silent"),
                *("--cache-path", str(folder / "cache")),
                *(("--block-time", f"{block_seconds:g}") if block_seconds else ()),
                *(("--state", str(state_file), "--state-interval", "1") if state_file else ()),
                *extra,
            ),
            log_file=folder / f"{name}.log",
        )
        super().__init__(child, folder, port, tcp_open(port))
