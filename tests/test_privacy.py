"""docs/privacy.md agrees with the settings, the tables and the commands."""

import re
from pathlib import Path

import psycopg

from leads.cli.backfill_phones.unusable import MAX_AGE
from leads.cli.edge_spool.command import DEFAULT_MAX_DAYS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "privacy.md").read_text("utf-8")


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
