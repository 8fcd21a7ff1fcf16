"""The pages of the documentation as text: their lines, and the anchors of their headings."""

import re
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^ *```")


def text_lines(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page with their numbers, without the blocks between fences."""
    is_fenced = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if FENCE.match(line):
            is_fenced = not is_fenced
        elif not is_fenced:
            yield number, line


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = (line.lstrip("#").strip() for _, line in text_lines(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
