"""One measured figure, and how the whole run is shown and written."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path("build/bench/results.json")


@dataclass(frozen=True, slots=True)
class Result:
    """A figure beside its baseline and target; `met` is None where there is nothing to meet."""

    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    target: str
    met: bool | None
    how: str


def at_most(value: float, unit: str, limit: float, how: str) -> Result:
    """A figure that should be small."""
    return Result(value, unit, None, None, f"<= {limit}", value <= limit, how)


def at_least(value: float, unit: str, limit: float, how: str) -> Result:
    """A figure that should be large."""
    return Result(value, unit, None, None, f">= {limit}", value >= limit, how)


def against(value: float, baseline: float, unit: str, ratio_min: float, how: str) -> Result:
    """A rate against a baseline measured in the same run."""
    ratio = value / baseline if baseline else 0.0
    target = f">= {ratio_min:g} x baseline"
    return Result(value, unit, baseline, round(ratio, 3), target, ratio >= ratio_min, how)


def at_most_of(value: float, baseline: float, unit: str, ratio_max: float, how: str) -> Result:
    """A cost against a larger one measured in the same run."""
    ratio = value / baseline
    target = f"<= {ratio_max:g} x baseline"
    return Result(value, unit, baseline, round(ratio, 3), target, ratio <= ratio_max, how)


def write(results: dict[str, Result]) -> None:
    """Write build/bench/results.json, keeping keys of earlier partial runs."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known.update({key: asdict(result) for key, result in results.items()})
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def show(results: dict[str, Result]) -> None:
    """Print a table."""
    table = Table("key", "value", "unit", "baseline", "ratio", "target", "met")
    for key, result in sorted(results.items()):
        met = "" if result.met is None else ("yes" if result.met else "no")
        baseline = "" if result.baseline is None else f"{result.baseline:,.1f}"
        ratio = "" if result.ratio is None else f"{result.ratio:g}"
        value = f"{result.value:,.0f}" if abs(result.value) >= 100 else f"{result.value:.3g}"
        table.add_row(key, value, result.unit, baseline, ratio, result.target, met)
    Console(width=140).print(table)
