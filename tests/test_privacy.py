"""docs/privacy.md agrees with the settings, the tables and the commands."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from leads.cli.backfill_phones.unusable import MAX_AGE
from leads.cli.edge_spool.command import DEFAULT_MAX_DAYS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "privacy.md").read_text("utf-8")
CRON_LINE = re.compile(r"^15 3 \* \* \* root (/\S.*|find .*)$", re.MULTILINE)
CLONE = "/srv/leads"
DAY_SECONDS = 24 * 60 * 60


def test_each_retention_is_on_the_page_with_its_default(database: str) -> None:
    with psycopg.connect(database) as db:
        row = db.execute("SELECT pancake_setting_rules()").fetchone()
    assert row is not None
    rules = row[0]
    defaults = {name: rule["default"] for name, rule in rules.items() if name.endswith("_retention_days")}
    written = {name: int(days) for name, days in re.findall(r"`(\w+_retention_days)` \((\d+)\)", PAGE)}
    assert written == defaults


def test_each_table_that_holds_data_of_customers_is_on_the_page() -> None:
    for table in ("pancake_webhook_event", "pancake_cron_run", "customer_erasure", "event_invocation_logs"):
        assert f"`{table}`" in PAGE


def test_the_age_limits_of_files_are_on_the_page() -> None:
    assert f"--days {DEFAULT_MAX_DAYS}" in PAGE
    assert f"more than {MAX_AGE.days} days" in PAGE


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
    lines = CRON_LINE.findall(PAGE)
    assert len(lines) == PAGE.count("15 3 * * *") == 3
    for line in lines:
        command = line.replace(f"{CLONE}/scripts/leads ", f"{sys.executable} -m leads.cli ")
        run = subprocess.run(
            ["/bin/sh", "-c", command.replace(CLONE, str(clone))],
            env={"PATH": "/usr/bin:/bin", "EDGE_STATE_DIR": str(tmp_path / "edge")},
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, ""), line
    assert [path.exists() for path in (*kept, *removed)] == [True] * len(kept) + [False] * len(removed)


def test_the_law_is_named() -> None:
    assert "91/2025/QH15" in PAGE
    assert "Decree 356/2025" in PAGE


def test_the_queries_of_the_page_run(database: str) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PAGE, re.S)
    assert len(queries) == 3
    with psycopg.connect(database) as db:
        for query in queries:
            db.execute(query.encode())


def test_no_role_of_hasura_reads_the_erasures() -> None:
    metadata = [path.read_text("utf-8") for path in (ROOT / "hasura" / "metadata").rglob("*.yaml")]
    assert metadata
    assert not any("customer_erasure" in text for text in metadata)
