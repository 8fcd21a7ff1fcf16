"""Every statement under sql/: it fits the migrated schema, documents itself and stays small."""

import re
from pathlib import Path

import psycopg
import pytest

from leads.adapters.queries import QUERIES, SQL_FOLDER, load_queries
from leads.domain.lifecycle import CLAIM_LEASE
from leads.domain.notifications import NEEDS_ATTENTION
from sandbox.postgres.plans import prepare

FILES = sorted(SQL_FOLDER.rglob("*.sql"))
IDS = [path.relative_to(SQL_FOLDER).with_suffix("").as_posix() for path in FILES]
VERBS = {
    "check", "claim", "clear", "compare", "count", "create", "delete", "drop", "empty", "end", "fail",
    "fence", "fill", "find", "finish", "flag", "hold", "insert", "list", "load", "lock", "mark", "ping",
    "refire", "release", "replay", "set", "skip", "start", "store", "take", "touch", "try", "unlock",
    "update", "upsert",
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_can_be_prepared_on_the_migrated_schema(migrated: psycopg.Connection, name: str) -> None:
    prepare(migrated, name)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_statement_starts_with_purpose_and_result(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    header = [line for line in lines[:5] if line.startswith("--")]
    assert lines[0].startswith("-- ")
    assert re.search(r"[.:;]", lines[0]), "the first line is a sentence"
    assert "Returns" in " ".join(header)
    changes = re.search(r"\b(JOIN|WHERE|UPDATE|DELETE)\b", path.read_text("utf-8"))
    if changes and re.search(r"\bpublic\.(pancake_webhook_event|account|ticket)\b", path.read_text("utf-8")):
        named = re.search("elies on|Reads the whole table", " ".join(header))
        assert named, "it names the index that it relies on"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_statement_stays_within_its_limits(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = text.splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 180
    assert path.stem.split("_")[0] in VERBS
    assert text.endswith("\n")
    assert not text.rstrip().endswith(";")
    assert "%" not in re.sub(r"%\(\w+\)s|%%", "", text), "psycopg reads a lone % even in a comment"
    assert "\t" not in text
    assert "SELECT *" not in text.replace("count(*)", "").replace("SELECT *, row_number()", "")
    for line in lines:
        assert not re.search(r"\S.*--", line) or line.lstrip().startswith("--"), "a comment ends its line"


def test_the_loader_names_every_file() -> None:
    assert set(QUERIES) == set(IDS)
    assert all(b"--" not in text and text.strip() for text in QUERIES.values())


def test_a_statement_that_psycopg_would_parse_again_each_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.sql").write_text("-- Long.\nSELECT '" + "x" * 5000 + "'\n")
    with pytest.raises(ValueError, match="bytes"):
        load_queries(tmp_path)


def test_the_lease_of_a_claim_equals_the_lease_checked_by_the_database(migrated: psycopg.Connection) -> None:
    guard = "SELECT pg_get_functiondef('public.pancake_webhook_event_guard_status'::regproc)"
    leases = re.findall(
        r"OLD\.ingested_at > clock_timestamp\(\) - interval '([^']+)'",
        str(migrated.execute(guard).fetchone()),
    )
    assert leases == [f"{CLAIM_LEASE.total_seconds():g} seconds"]


def test_statements_name_the_templates_of_the_decision() -> None:
    named = {code for text in QUERIES.values() for code in re.findall(r"'(noti_\w+)'", text.decode())}
    assert named == {NEEDS_ATTENTION}


def test_no_statement_ever_deletes_from_the_tables_of_events_and_of_diva() -> None:
    for name, text in QUERIES.items():
        deleted = re.findall(rb"DELETE FROM ([\w.]+)", text)
        assert set(deleted) <= {
            b"public.pancake_cron_run",
            b"hdb_catalog.event_log",
            b"hdb_catalog.event_invocation_logs",
            b"hdb_catalog.hdb_cron_events",
            b"hdb_catalog.hdb_cron_event_invocation_logs",
        }, name
