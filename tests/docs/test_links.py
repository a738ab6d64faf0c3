"""Every link inside the project leads to a file, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_fences import FENCE, PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """The headings of a page, as a browser of repositories names them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(page: Path, link: tuple[str, str]) -> bool:
    path, anchor = link
    target = page.parent / path if path else page
    return not target.exists() or (anchor != "" and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_a_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`(?!\])", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    links = [link for link in LINK.findall(text) if not link[0].startswith(("http:", "https:"))]

    assert [link for link in links if leads_nowhere(page, link)] == []


def test_links_are_found_and_looked_at() -> None:
    readme = ROOT / "README.md"

    assert len(LINK.findall(readme.read_text(encoding="utf-8"))) > 10
    assert leads_nowhere(readme, ("dsl/reference.md", "nowhere"))
    assert leads_nowhere(readme, ("nowhere.md", ""))
    assert not leads_nowhere(readme, ("dsl/reference.md", "steps-a-group"))
