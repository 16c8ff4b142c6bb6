"""Every link in every page leads to a file, and every anchor to a heading."""

import re
from pathlib import Path

from tests.house import sources

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"```.*?```", re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in headings}


def dead_links(path: Path, page: str) -> list[str]:
    """Return the links of a page that lead nowhere; addresses of the world are not visited."""
    dead = []
    for match in LINK.finditer(FENCE.sub("", page)):
        link = match.group(1) or match.group(2)
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = path if not name else (path.parent / name)
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            dead.append(link)
    return dead


def test_markdown_links__alive() -> None:
    pages = [path for path in sources.files(".md") if "node_modules" not in path]
    dead = {
        path: found
        for path in pages
        if (found := dead_links(sources.ROOT / path, sources.text(path)))
    }
    assert pages != []
    assert dead == {}


def test_rule__dead_file_and_dead_anchor__are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Where it burns\n[a](#where-it-burns) [b](gone.md) [c](page.md#nowhere)")
    assert dead_links(page, page.read_text()) == ["gone.md", "page.md#nowhere"]
