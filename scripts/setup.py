"""Make this checkout ready to run: virtual environment, Node tools, Kafka jars; silent when it is.

Standard library only, because it runs before anything is installed. Each step leaves a stamp named
after the hash of what it was made from, inside the folder it made: change a lock and the step runs
again, delete the folder and the step runs again, otherwise it costs a few milliseconds. Every file
lands under the checkout; full output goes to build/setup.log.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"
LOG_FILE = ROOT / "build" / "setup.log"
PYTHON_MIN = (3, 11)
HEARTBEAT_SECONDS = 10


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


def run(command: Sequence[str], *, count_of: int = 0) -> None:
    """Run a command into the log, showing every tenth package and a heartbeat; exit if it fails."""
    LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    finished = threading.Event()

    def heartbeat() -> None:
        waited = 0
        while not finished.wait(HEARTBEAT_SECONDS):
            waited += HEARTBEAT_SECONDS
            say(f"  … still working, {waited} s (full output: {LOG_FILE.relative_to(ROOT)})")

    seen = 0
    with LOG_FILE.open("a") as log, _started(heartbeat, finished):
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout or ():
            log.write(line)
            if line.startswith(("Collecting", "Requirement already")):
                seen += 1
                if seen % 20 == 0:
                    say(f"  {seen} of about {count_of} packages")
            elif line.startswith("Installing collected"):
                say("  all packages fetched, unpacking them")
        code = process.wait()
    if code != 0:
        tail = "\n".join(LOG_FILE.read_text(errors="replace").splitlines()[-25:])
        sys.exit(f"setup failed ({code}): {' '.join(command)}\n{tail}\nFull output: {LOG_FILE}")


@contextmanager
def _started(work: Callable[[], None], finished: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def stamp(folder: Path, *sources: str) -> Path:
    """Return the mark that `folder` bears once it was made from the sources as they are now."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(install_part(source))
    return folder / f".made-from-{digest.hexdigest()[:16]}"


def install_part(source: str) -> bytes:
    """Return what of a file decides on what gets installed: of pyproject.toml not the linters."""
    data = (ROOT / source).read_bytes()
    if source != "pyproject.toml":
        return data
    import tomllib  # only after main() has checked the version: Python 3.10 has none

    project = tomllib.loads(data.decode())
    parts = (project.get("build-system"), project.get("project"), project["tool"]["hatch"])
    return json.dumps(parts, sort_keys=True).encode()


def finish(mark: Path) -> None:
    """Leave `mark` as its folder's only stamp."""
    for old in mark.parent.glob(".made-from-*"):
        old.unlink()
    mark.touch()


def make_python() -> None:
    """Create .venv and install the locked packages, each checked against its hash."""
    mark = stamp(ROOT / ".venv", "requirements-dev.lock", "pyproject.toml")
    if mark.exists():
        return
    packages = (ROOT / "requirements-dev.lock").read_text().count("==")
    say(f"setup: {packages} Python packages into .venv (1 to 3 minutes the first time)")
    run((sys.executable, "-m", "venv", "--clear", ".venv"))
    pip = (
        *(str(VENV_PYTHON), "-m", "pip", "install", "--disable-pip-version-check"),
        *("--no-input", "--progress-bar", "off"),
    )
    run((*pip, "--require-hashes", "-r", "requirements-dev.lock"), count_of=packages)
    run((*pip, "--no-deps", "--no-build-isolation", "-e", "."))
    finish(mark)


def make_node() -> None:
    """Install anvil, solc and the contract library as package-lock.json names them."""
    mark = stamp(ROOT / "node_modules", "package-lock.json", "package.json")
    if mark.exists():
        return
    say("setup: anvil and solc into node_modules (about 10 seconds)")
    npm = (str(VENV_PYTHON), "-m", "xstock_devnet.engines.node", "npm")
    run((*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"))
    finish(mark)


def make_kafka() -> None:
    """Fetch the broker's jars, each checked against its hash in kafka.lock."""
    lock = "devnet/xstock_devnet/engines/kafka.lock"
    mark = stamp(ROOT / "build" / "engines" / "kafka", lock)
    if mark.exists():
        return
    say("setup: 45 jars of Apache Kafka into build/engines/kafka (about 15 seconds)")
    run((str(VENV_PYTHON), "-m", "xstock_devnet.engines"))
    finish(mark)


def main() -> None:
    """Run every step that is due, one set-up at a time in this checkout."""
    if sys.version_info < PYTHON_MIN:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(f"Python 3.11 or newer is needed, {sys.executable} is {found}")
    if not sys.platform.startswith(("linux", "darwin")):
        sys.exit(f"{sys.platform} is not supported: use Linux, macOS or WSL")
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_python()
        make_node()
        make_kafka()


if __name__ == "__main__":
    main()
