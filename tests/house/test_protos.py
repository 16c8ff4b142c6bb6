"""The committed code of the wire is exactly what the committed protos generate."""

import subprocess
import sys
from pathlib import Path

from tests.house import sources

BIN = Path(sys.executable).parent
OUTPUTS = ("--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out")


def generate(into: Path) -> dict[str, str]:
    protos = sorted((sources.ROOT / "protos/xstock_wire/v1").glob("*.proto"))
    subprocess.run(
        (
            *(sys.executable, "-m", "grpc_tools.protoc", "-I", "protos"),
            *(f"{output}={into}" for output in OUTPUTS),
            *(str(path.relative_to(sources.ROOT)) for path in protos),
        ),
        cwd=sources.ROOT,
        env={"PATH": str(BIN)},
        check=True,
        timeout=120,
    )
    folder = into / "xstock_wire" / "v1"
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_generated_code__fresh(tmp_path: Path) -> None:
    committed = {
        Path(path).name: sources.text(path)
        for path in sources.files(".py", ".pyi")
        if path.startswith(sources.GENERATED) and not path.endswith("/__init__.py")
    }
    generated = generate(tmp_path)
    stale = {name for name in generated | committed if generated.get(name) != committed.get(name)}
    assert stale == set(), "run 'make protos'"
    assert generated != {}
