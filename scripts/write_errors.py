"""Write docs/errors.md from the one table of reasons; `make protos` runs it."""

from pathlib import Path

from xstock_wire.reasons import markdown


def main() -> None:
    """Write the page beside this repository's other documents."""
    page = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
    page.write_text("\n".join(markdown()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
