"""Words that a reader with English as a second language would have to puzzle over."""

import re

import pytest

from tests.support import source_tree

# Each has a plain word: no one, anyone who, what happened to, is called, the integration's, a separate …
RIDDLES = re.compile(
    r"\b(?:nobody|whoever|what became of|goes by|ours|of its own|reckon\w*|situations?)\b", re.IGNORECASE
)
NOT_READ = ("tests/", "sandbox/", "CHANGELOG.md")
"""The changelog quotes earlier texts; tests and sandbox name the Unix user `nobody`."""


def riddles(text: str) -> list[str]:
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if RIDDLES.search(line)
    ]


def test_the_product_and_its_pages_use_plain_words() -> None:
    found = {}
    for path in source_tree.tracked():
        name = source_tree.name(path)
        if not name.startswith(NOT_READ):
            found[name] = riddles(path.read_text("utf-8", errors="replace"))
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line", ["-- the table is ours", "Nobody reads it.", "a rule of its own", "The situation was"]
)
def test_a_riddle_is_found(line: str) -> None:
    assert riddles(f"a\n{line}") == [f"2: {line}"]


@pytest.mark.parametrize("line", ["two hours", "yours", "what it became", "Diva's own index"])
def test_other_words_are_left_alone(line: str) -> None:
    assert riddles(line) == []
