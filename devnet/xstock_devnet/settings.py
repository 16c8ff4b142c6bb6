"""What the devnet reads from its surroundings: the one place that looks at the environment.

Child processes get a short allow-list of variables rather than everything the shell had, so a
service's behaviour follows from what the devnet passes it and from nothing else.
"""

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The checkout this package is installed from; `build/` and `node_modules/` are in it."""

INHERITED_NAMES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DOCKER_HOST",
)


def inherited_environment() -> dict[str, str]:
    """Return what every child may see: search path, locale, temp folder, certificates."""
    return {name: os.environ[name] for name in INHERITED_NAMES if name in os.environ}


def environment_with_path(folder: Path) -> dict[str, str]:
    """Return the whole environment with `folder` first on the search path, for npm."""
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}


def search_path_outside(folder: Path) -> str:
    """Return the search path without what lies in `folder`."""
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    inside = folder.resolve()
    return os.pathsep.join(p for p in parts if not Path(p).resolve().is_relative_to(inside))


def kafka_jar_folder() -> Path:
    """Return the project's own folder of broker jars, filled by `make setup`."""
    return PROJECT_ROOT / "build" / "engines" / "kafka"
