"""Pages that people act on agree with what runs: privacy, the contract with Diva, the series of runbooks."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from app import HASURA_ROUTES
from leads.cli.backfill_phones.unusable import MAX_AGE
from leads.cli.edge_spool.command import DEFAULT_MAX_DAYS
from tests.support.promql import lint
from tests.support.runbook import PAGES, queries_of_blocks, words_of_code

ROOT = Path(__file__).parents[1]
PRIVACY = (ROOT / "docs" / "privacy.md").read_text("utf-8")
CONTRACT = (ROOT / "docs" / "diva-contract.md").read_text("utf-8")
CRON_LINE = re.compile(r"^15 3 \* \* \* root (/\S.*|find .*)$", re.MULTILINE)
CLONE = "/srv/leads"
DAY_SECONDS = 24 * 60 * 60


def test_each_retention_is_on_the_page_with_its_default_and_its_queries_run(database: str) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PRIVACY, re.S)
    assert len(queries) == 3
    with psycopg.connect(database) as db:
        (rules,) = db.execute("SELECT pancake_setting_rules()").fetchone() or ({},)
        for query in queries:
            db.execute(query.encode())
    defaults = {name: rule["default"] for name, rule in rules.items() if name.endswith("_retention_days")}
    written = {name: int(days) for name, days in re.findall(r"`(\w+_retention_days)` \((\d+)\)", PRIVACY)}
    assert written == defaults != {}
    assert f"--days {DEFAULT_MAX_DAYS}" in PRIVACY
    assert f"more than {MAX_AGE.days} days" in PRIVACY


def test_each_table_with_data_of_customers_is_on_the_page_and_no_role_of_hasura_reads_erasures() -> None:
    for table in ("pancake_webhook_event", "pancake_cron_run", "customer_erasure", "event_invocation_logs"):
        assert f"`{table}`" in PRIVACY
    metadata = [path.read_text("utf-8") for path in (ROOT / "hasura" / "metadata").rglob("*.yaml")]
    assert metadata
    assert not any("customer_erasure" in text for text in metadata)


def test_the_lines_for_cron_remove_what_is_too_old_with_nothing_in_the_environment(tmp_path: Path) -> None:
    """Only EDGE_STATE_DIR is set, to another folder; `scripts/leads` is the program with this Python."""
    clone, quarantine = tmp_path / "clone", tmp_path / "edge" / "quarantine"
    quarantine.mkdir(parents=True)
    clone.mkdir()
    kept: list[Path] = []
    removed: list[Path] = []
    for days, paths in ((29, kept), (32, removed)):
        arrived = time.time() - days * DAY_SECONDS
        paths.append(quarantine / f"{int(arrived * 1000)}-a-1.sealed")
        paths += [clone / f"{days}.unusable.csv", clone / f"{days}.dump"]
        for path in paths:
            path.touch()
            os.utime(path, (arrived, arrived))
    lines = CRON_LINE.findall(PRIVACY)
    assert len(lines) == PRIVACY.count("15 3 * * *") == 3
    for line in lines:
        command = line.replace(f"{CLONE}/scripts/leads ", f"{sys.executable} -m leads.cli ")
        run = subprocess.run(
            ["/bin/sh", "-c", command.replace(CLONE, str(clone))],
            env={"PATH": "/usr/bin:/bin", "EDGE_STATE_DIR": str(tmp_path / "edge")},
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, ""), line
    assert [path.exists() for path in (*kept, *removed)] == [True] * len(kept) + [False] * len(removed)


def columns_of_contract() -> set[str]:
    """Read the first table of the page: names in code, of which some have their type behind them."""
    table = CONTRACT.partition("| table | columns (type) |")[2].partition("\n\n")[0]
    found, name = set(), ""
    for line in table.splitlines()[2:]:
        first, columns, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        name = first.strip("`") or name
        columns = columns.partition(";")[0]
        if not columns.startswith("index"):
            found |= {f"{name}.{code.split()[0]}" for code in re.findall("`([^`]+)`", columns)}
    return found


def test_the_precheck_looks_for_the_columns_of_the_contract() -> None:
    """All but the one that is not of the schema public: golive/load_migration_log reads it."""
    statement = (ROOT / "sql" / "golive" / "check_diva_columns.sql").read_text("utf-8")
    rows = re.findall(r"\('(\w+)', '([\w ]+)'\)", statement)
    asked = {f"{table}.{column}" for table, columns in rows for column in columns.split()}
    assert asked | {"controller.migration_log.timestamp"} == columns_of_contract()


SERIES = re.compile(r"\bpancake_\w+")
# Roles of Hasura and PostgreSQL, jobs of Prometheus, tables and functions of the database.
NO_SERIES = re.compile(
    r"pancake_((service|edge|handlers|operators)$|(webhook_event|cron_run|connection|source|assignee|switch"
    r"|integration|metadata|crm_integration)\w*)"
)
MISSING = ("does not exist", "has no such label or value")


def queries(page: str) -> Iterator[str]:
    """The words of code that name a series of handlers or edge, and nothing of Hasura or SQL."""
    routes = {route.name for route in HASURA_ROUTES}
    for code in words_of_code(page):
        if any(name not in routes and not NO_SERIES.match(name) for name in SERIES.findall(code)):
            yield code


def missing(query: str) -> list[str]:
    """What a query names that does not exist. `name{label}` has any value, a histogram is its count."""

    def count_of(name: str) -> str:
        return f"{name}_count" if f"{name}_count" in lint().metrics else name

    def any_value(labels: str) -> str:
        return "{" + ",".join(f'{label}=~".*"' for label in labels.split(",")) + "}"

    written = SERIES.sub(lambda match: count_of(match[0]), query)
    written = re.sub(r"\{(\w+(?:,\w+)*)\}", lambda match: any_value(match[1]), written)
    return [fault for fault in lint().faults(written) if fault.endswith(MISSING)]


def test_the_series_that_runbooks_name_exist_with_these_labels() -> None:
    named = [(page, query) for page in PAGES for query in queries(page)]
    blocks = [(page, query) for page in PAGES for query in queries_of_blocks(page)]
    assert len(named) + len(blocks) > 50
    assert [(*each, faults) for each in named if (faults := missing(each[1]))] == []
    assert [(*each, faults) for each in blocks if (faults := lint().faults(each[1]))] == []
    assert missing("pancake_edge_spool_file") == ["pancake_edge_spool_file does not exist"]
    assert missing("pancake_edge_quarantined_total{raison}") != []
    assert missing('pancake_events_total{result="faild"}') != []
