"""The documentation: what it lists exists, its links work, and code uses the words of the glossary."""

import ast
import importlib
import re
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest

from leads.domain.errors import Contended, DatabaseUnavailable, Final, IntegrationError
from leads.services.cron_runs import CRONS
from tests.support.pages import anchors, text_lines

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENGINE = ROOT / "sandbox" / "engine"
MAX_COLUMNS = 100
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".hypothesis", "node_modules"} & set(path.relative_to(ROOT).parts)
    and not path.is_relative_to(ENGINE)
)
"""Every page but those of sandbox/engine, which is a separate project."""
IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]
# A link of Markdown without an address of the web: its text, then the path and the heading.
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")

OLD_NAMES = {
    "Arrival", "RecordVersion", "Situation", "Reckoning", "Order", "Intent", "Unsent", "Register", "Listed",
    "Notice", "Layer", "House", "Ward", "Desk",
}  # fmt: skip
"""Names of types that the glossary replaced."""
# Parts of names that the glossary replaced, for example rehearse, rehearsal, reckon, reckoning.
OLD_WORDS = re.compile(r"rehears|reckon|catch_up|situation|patience|whoever|nobody", re.IGNORECASE)


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of each row of the table whose first heading this is."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    rows = [*dropwhile(lambda line: not line.startswith(f"| {heading} |"), lines)]
    rows = [*takewhile(lambda line: line.startswith("|"), rows)][2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def written_codes() -> set[str]:
    """Every code that an event's `error_code` can hold: an exception's, or one that is spelled out."""
    codes = {Contended.code, DatabaseUnavailable.code, IntegrationError.code}
    codes |= {kind.code for kind in Final.__subclasses__()}
    domain = ROOT / "leads" / "domain"
    services = ROOT / "leads" / "services" / "process_record"
    for path in {*domain.glob("*.py"), *services.glob("*.py")} - {domain / "errors.py"}:
        for line in re.findall(r"\bcode ?= ?(\".*)", path.read_text("utf-8")):
            codes |= set(re.findall(r'(?:^|else )"(\w+)"', line))
        codes |= set(re.findall(r'error_code="(\w+)"', path.read_text("utf-8")))
    for path in (*(ROOT / "sql").rglob("*.sql"), *(ROOT / "hasura").rglob("up.sql")):
        codes |= set(re.findall(r"^ +error_code = .*'(\w+)'", path.read_text("utf-8"), re.M))
    return codes


def test_every_code_of_an_event_is_explained() -> None:
    documented = [code for row in table("flow.md", "error code") for code in sorted(words(row[0]))]
    assert sorted(documented) == sorted(written_codes())


def test_every_cron_is_listed_once_and_has_its_advice() -> None:
    listed = [name for row in table("crons.md", "cron | UTC") for name in words(row[0])]
    assert sorted(listed) == sorted(CRONS)
    assert {name for row in table("crons.md", "cron | you see") for name in words(row[0])} == set(CRONS)


# --- pages


def links(page: Path) -> set[tuple[str, str]]:
    """(path, heading) of every relative link of a page; the path is empty for a link within the page."""
    text = "\n".join(line for _, line in text_lines(page))
    return {(path, heading or "") for path, heading in LINK.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for path, heading in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(f"{path}#{heading}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_link_to_a_decision_has_its_number(page: Path) -> None:
    numbers = re.findall(r"\[(?:decision )?(\d{4})\]\([^)\s]*?(\d{4})-", page.read_text("utf-8"))
    assert [pair for pair in numbers if pair[0] != pair[1]] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_line_has_at_most_100_columns(page: Path) -> None:
    """Rows of tables, lines with a link, and code outside the README may be longer."""
    lines = text_lines(page)
    if page == ROOT / "README.md":
        lines = iter(enumerate(page.read_text("utf-8").splitlines(), 1))
    long = [
        f"{number}: {line}"
        for number, line in lines
        if len(line) > MAX_COLUMNS and not line.lstrip(" ").startswith("|") and "](" not in line
    ]
    assert long == []


def test_the_index_links_every_page() -> None:
    """A page of docs/decisions is linked from the index there."""
    linked = {(DOCS / path).resolve() for path, _ in links(DOCS / "README.md") if path}
    decisions = DOCS / "decisions" / "README.md"
    linked |= {(decisions.parent / path).resolve() for path, _ in links(decisions) if path}
    pages = {page for page in PAGES if page.is_relative_to(DOCS)} - {DOCS / "README.md"}
    assert sorted(page.relative_to(ROOT).as_posix() for page in pages - linked) == []


def test_every_decision_has_context_decision_and_consequences() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        headings = [line for _, line in text_lines(page) if line.startswith("#")]
        assert headings[0].startswith(f"# {page.name[:4]} "), page.name
        assert headings[1:] == ["## Context", "## Decision", "## Consequences"], page.name


# --- names of modules, files and tests

GUIDES = [
    page for page in PAGES if page.is_relative_to(DOCS) or page.name in ("README.md", "CONTRIBUTING.md")
]
"""docs/**, every README and CONTRIBUTING; the changelog also names what was removed."""

FOLDERS = "app|cron|deploy|docs|handlers|hasura|leads|sandbox|scripts|sql|tests"
# A dotted name of code, not the end of a path or of a file name (`adding-a-cron.md`).
MODULE = re.compile(r"(?<![\w/.-])(?:leads|handlers|cron|sandbox)(?:\.(?!py\b|md\b|yaml\b)[a-z_]+)+\b")
IMPORT = re.compile(
    r"^ *from ((?:leads|handlers|cron|sandbox|tests)[\w.]*) import (\w+(?:, \w+)*)$", re.MULTILINE
)
# A path from the root: a folder at the top, then names; not the end of a longer path or of an address. The
# unit `leads/s` and the image `hasura/graphql-engine` are not paths.
PATH = re.compile(rf"(?<![\w./@-])(?:{FOLDERS})(?!/s\b|/graphql-engine\b)(?:/[\w*.-]+)+")
# A file without its folder, for example `apply.py`: not the end of a path.
FILE = re.compile(r"(?<![\w./*…-])[\w-]+\.(?:py|lua|sql|md|yaml|yml|toml)\b")
TEST = re.compile(r"\btest_\w+")
EXAMPLES = {
    "adding-a-command.md": {
        "leads/cli/events.py", "leads/cli/events", "sql/events/count_statuses.sql", "test_events",
        "test_it_counts_events_by_status", "tests/leads/cli/test_events.py",
    },
    "adding-a-cron.md": {
        "cron/count_leads.py", "cron/count_leads", "sql/count_leads/count_events.sql", "test_count_leads",
        "test_it_counts_the_events_of_a_day", "tests/cron/test_count_leads.py",
    },
    "adding-a-field.md": {"test_another_gender_is_a_change", "test_the_gender_is_mapped"},
    "adding-an-action.md": {
        "handlers/count_events.py", "leads/services/count_events.py", "sql/count_events/count_status.sql",
        "test_count_events", "test_it_counts_the_events_of_a_status", "tests/handlers/test_count_events.py",
    },
    "flow.md": {"test_ping"},
    "go-live.md": {"test_case"},
    "test-cases.md": {"test_case"},
    "why-no-ticket.md": {"test_ping"},
}  # fmt: skip
"""Names that a recipe creates, by page, the console's test of an event trigger, and a mark of pytest."""


def files() -> set[Path]:
    """Every file of the clone that documentation may name, relative to the root."""
    found = {path for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*")}
    found |= set(ROOT.iterdir())
    return {path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts}


FILES = files()
FILE_NAMES = {path.name for path in FILES}
TESTS = {path.stem for path in FILES if path.suffix == ".py"}
TESTS |= {
    name
    for path in FILES
    if path.suffix == ".py" and path.stem.startswith("test_")
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", (ROOT / path).read_text("utf-8"), re.MULTILINE)
}


def is_module(name: str) -> bool:
    """Whether it is a module, a package, or a name that a module defines."""
    path = name.replace(".", "/")
    if (ROOT / f"{path}.py").is_file() or (ROOT / path).is_dir():
        return True
    module, _, attribute = name.rpartition(".")
    return (ROOT / f"{module.replace('.', '/')}.py").is_file() and hasattr(
        importlib.import_module(module), attribute
    )


def exists(path: str) -> bool:
    """Whether a path from the root, or a pattern, leads to a file or folder."""
    return any(ROOT.glob(path.rstrip("./")))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_module_a_file_and_a_test_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    known = EXAMPLES.get(page.name, set())
    unknown = {name for name in MODULE.findall(text) if not is_module(name)}
    unknown |= {path for path in PATH.findall(text) if path.rstrip("./") not in known and not exists(path)}
    unknown |= {name for name in FILE.findall(text) if name not in FILE_NAMES}
    unknown |= {name for name in TEST.findall(text) if name not in TESTS | known}
    assert sorted(unknown) == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_an_import_in_an_example_works(page: Path) -> None:
    for module, names in IMPORT.findall(page.read_text("utf-8")):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_every_example_of_a_recipe_is_used_and_new() -> None:
    """So that the list above cannot hide a file that was removed."""
    for name, examples in EXAMPLES.items():
        text = next(DOCS.rglob(name)).read_text("utf-8")
        assert [example for example in examples if example not in text] == []
        assert [example for example in examples if "/" in example and exists(example)] == []


# --- the glossary


def glossary() -> list[list[str]]:
    """The rows of every table of the glossary: word, meaning, place."""
    rows = (line for _, line in text_lines(DOCS / "glossary.md") if line.startswith("| "))
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [row for row in cells if row != ["word", "what it is", "where"]]


@pytest.mark.parametrize("row", glossary(), ids=lambda row: row[0])
def test_a_word_of_the_glossary_is_found_at_its_place(row: list[str]) -> None:
    _, meaning, where = row
    place = ROOT / where.strip("`")
    assert place.exists()
    types = re.findall(r"`([A-Z]\w+)`", meaning)
    if place.suffix == ".py":
        for name in types:
            assert re.search(rf"^(class {name}\b|{name}\b)", place.read_text("utf-8"), re.M), name


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Every name in a Python file: modules, classes, functions, arguments, variables, attributes."""
    yield 0, path.stem
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for field in ("name", "id", "attr", "arg"):
            if isinstance(found := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), found


def test_code_uses_no_name_that_the_glossary_replaced() -> None:
    folders = ("leads", "handlers", "cron", "sandbox", "scripts", "tests")
    paths = [ROOT / "app.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    found = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        if not path.is_relative_to(ENGINE)
        for line, name in identifiers(path)
        if name in OLD_NAMES or OLD_WORDS.search(name)
    }
    assert sorted(found) == []
