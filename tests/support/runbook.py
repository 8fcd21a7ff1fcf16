"""The pages for operators: their sections, and the blocks and words of code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix(): path.read_text("utf-8")
    for path in [*sorted(DOCS.glob("runbook/*.md")), DOCS / "observability.md"]
}
"""Their texts by their paths below docs/, for example `runbook/edge`."""
SITE = "https://docs.diva.com.vn/"
"""Where they are published, by the same paths."""
TABLE = "| what is wrong | `leads status` says | what helps |\n|---|---|---|\n"
"""The head of a table that tests/end_to_end/test_operators.py makes."""
STATEMENT = re.compile(r"```sql\n(?P<statement>.*?)```(?:\n```text\n(?P<output>.*?)```)?", re.S)
_COMMAND = re.compile(r"(?:^|[;&|(\s])(?:scripts/)?leads ([^;&|()>]*)")
_BLOCK = re.compile(r"^ *```(?P<kind>\w*)\n(?P<text>.*?)^ *```", re.S | re.M)
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Statement:
    """A statement of a diagnosis, the output on its page, whether the sentence before it is for the owner."""

    page: str
    section: str
    text: str
    output: str | None
    is_for_owner: bool


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## ", PAGES[page], flags=re.M)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def lines_to_read(text: str) -> Iterator[str]:
    """The lines that are neither of a table nor of a block."""
    lines = _BLOCK.sub("", text).splitlines()
    yield from (line for line in lines if line.strip() and not line.startswith("|"))


def diagnoses() -> Iterator[Statement]:
    """The statements in the sections of alerts."""
    for page in PAGES:
        for section, text in sections(page).items():
            if section.startswith("Pancake"):
                for match in STATEMENT.finditer(text):
                    before = text[: match.start()].rpartition("**Diagnosis**")[2]
                    is_for_owner = "as the owner" in before.lower()
                    yield Statement(page, section, match["statement"], match["output"], is_for_owner)


def queries_of_blocks(page: str) -> Iterator[str]:
    yield from (match["text"] for match in _BLOCK.finditer(PAGES[page]) if match["kind"] == "promql")


def words_of_code(page: str) -> Iterator[str]:
    """The code within sentences, on one line each."""
    for match in _SPAN.finditer(_BLOCK.sub("", PAGES[page])):
        yield " ".join(match[1].split())


def lines_of_code(page: str) -> Iterator[str]:
    """The lines of the blocks for a shell, without prompts, outputs and comments."""
    for match in _BLOCK.finditer(PAGES[page]):
        if match["kind"] not in ("", "bash", "console"):
            continue
        text = match["text"].replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            yield re.sub(r"\s#.*", "", line)


def commands(page: str) -> Iterator[str]:
    """The calls of `leads` on a page, without the word itself."""
    for code in (*words_of_code(page), *lines_of_code(page)):
        plain = code.replace("\\|", "/").replace("[", "").replace("]", "")
        yield from (match[1].strip() for match in _COMMAND.finditer(plain))
