"""What docs/ lists is what there is."""

import re
from itertools import dropwhile, takewhile
from pathlib import Path

from leads.domain.errors import Contended, DatabaseUnavailable, Final, IntegrationError
from leads.services.cron_runs import CRONS

ROOT = Path(__file__).parents[1]


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of each row of the table whose first heading this is."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    rows = [*dropwhile(lambda line: not line.startswith(f"| {heading} |"), lines)]
    rows = [*takewhile(lambda line: line.startswith("|"), rows)][2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def written_codes() -> set[str]:
    """Every code that an event's `error_code` can hold: an exception's, or one that is spelled out."""
    codes = {Contended.code, DatabaseUnavailable.code, IntegrationError.code}
    codes |= {kind.code for kind in Final.__subclasses__()}
    for path in set((ROOT / "domain").glob("*.py")) - {ROOT / "domain" / "errors.py"}:
        for line in re.findall(r"code ?= ?(\".*)", path.read_text("utf-8")):
            codes |= set(re.findall(r'(?:^|else )"(\w+)"', line))
    for path in (ROOT / "sql").rglob("*.sql"):
        codes |= set(re.findall(r"^ +error_code = .*'(\w+)'", path.read_text("utf-8"), re.M))
    return codes


def test_every_code_of_an_event_is_explained() -> None:
    documented = [code for row in table("flow.md", "error code") for code in sorted(words(row[0]))]
    assert sorted(documented) == sorted(written_codes())


def test_every_cron_is_listed_once_and_has_its_advice() -> None:
    listed = [name for row in table("crons.md", "cron | UTC") for name in words(row[0])]
    assert sorted(listed) == sorted(CRONS)
    assert {name for row in table("crons.md", "cron | you see") for name in words(row[0])} == set(CRONS)
