"""docs/diva-contract.md and the columns that `leads golive precheck` looks for are the same."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "diva-contract.md"
STATEMENT = ROOT / "sql" / "golive" / "check_diva_columns.sql"
NOT_OF_PUBLIC = {"controller.migration_log.timestamp"}
"""golive/load_migration_log reads it, and fails without it."""


def columns_of_page() -> set[str]:
    """Read the first table of the page: names in code, of which some have their type behind them."""
    table = PAGE.read_text("utf-8").partition("| table | columns (type) |")[2].partition("\n\n")[0]
    found, name = set(), ""
    for line in table.splitlines()[2:]:
        first, columns, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        name = first.strip("`") or name
        columns = columns.partition(";")[0]
        if not columns.startswith("index"):
            found |= {f"{name}.{code.split()[0]}" for code in re.findall("`([^`]+)`", columns)}
    return found - NOT_OF_PUBLIC


def columns_of_statement() -> set[str]:
    rows = re.findall(r"\('(\w+)', '([\w ]+)'\)", STATEMENT.read_text("utf-8"))
    return {f"{table}.{column}" for table, columns in rows for column in columns.split()}


def test_the_precheck_looks_for_the_columns_of_the_page() -> None:
    assert columns_of_statement() == columns_of_page() != set()
