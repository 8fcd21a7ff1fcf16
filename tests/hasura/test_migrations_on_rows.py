"""Migrations on tables with rows: reverting them, and how long they make the programs of Diva wait."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from ops.cli import app
from ops.clients.db_session import QUERIES, open_session
from ops.daily.backfill_phones import build_index
from sandbox.postgres.database import MIGRATIONS, migrate, psql_environment, run_file
from tests.support.postgres import need_pg_dump, run_program
from tests.support.waiting import eventually

Db = psycopg.Connection[dict[str, Any]]
HELD = """
SELECT 'event' AS what, to_jsonb(e) AS held FROM pancake_webhook_event AS e
UNION ALL SELECT 'connection', to_jsonb(c) FROM pancake_connection AS c
UNION ALL SELECT 'source', to_jsonb(s) FROM pancake_source AS s
UNION ALL SELECT 'assignee', to_jsonb(a) FROM pancake_assignee AS a
UNION ALL SELECT 'run', to_jsonb(r) FROM pancake_cron_run AS r
UNION ALL SELECT 'erasure', to_jsonb(c) FROM customer_erasure AS c
ORDER BY what, held
"""
FOLDERS = sorted(MIGRATIONS.iterdir())
pytestmark = pytest.mark.own_database
PANCAKE = "ticket_source_pancake"
OTHERS = """
SELECT to_jsonb(t) FROM ticket AS t WHERE source_id <> 'ticket_source_pancake'
UNION ALL SELECT to_jsonb(a) - 'normalized_phone' - 'pancake_metadata' FROM account AS a
UNION ALL SELECT to_jsonb(c) - 'primary_phone' FROM contact_book AS c
UNION ALL SELECT to_jsonb(m) FROM crm_master_data AS m WHERE id <> 'ticket_source_pancake'
UNION ALL SELECT to_jsonb(s) #- '{app_settings,pancake_integration}' FROM app_setting AS s
UNION ALL SELECT to_jsonb(c) FROM customer_consent AS c
"""


def file(version: str, name: str = "down.sql") -> Path:
    (found,) = (folder for folder in FOLDERS if folder.name.startswith(f"1777870069{version}"))
    return found / name


@pytest.fixture
def used_database(database: str) -> Iterator[Db]:
    """A database with a normalised account, a contact, tickets, events, a run and a roster."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as db:
        db.execute("SET session_replication_role = replica")  # a processed row cannot be inserted otherwise
        db.execute(
            """
            WITH connection AS (
                INSERT INTO pancake_connection (name, workspace_id, token_sha256)
                VALUES ('Diva', 1, sha256('t')) RETURNING id
            ), source AS (
                INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
                SELECT id, '-1', 'Facebook', true FROM connection RETURNING id
            ), member AS (
                INSERT INTO pancake_assignee (source_id, staff_id)
                SELECT source.id, staff.id FROM source, staff WHERE role = 'telesale'
            ), customer AS (
                INSERT INTO account
                    (display_name, phone_code, phone_number, normalized_phone, pancake_metadata)
                VALUES ('Lead', '84', '0905111222', '+84905111222', '{"name": "Lead"}') RETURNING id
            ), contact AS (
                INSERT INTO contact_book (account_id, name, primary_phone)
                SELECT id, 'Lead', '+84905111222' FROM customer RETURNING id, account_id
            ), made AS (
                INSERT INTO ticket (title, source_id, account_id, contact_book_id, data)
                SELECT 'Lead ' || n, 'ticket_source_pancake', account_id, id, '{"pancake": true}'
                FROM contact, generate_series(1, 25) AS n RETURNING id, account_id
            )
            INSERT INTO pancake_webhook_event (
                connection_id, origin, record_id, payload_hash, payload, status, outcome, processed_at,
                account_id, ticket_id, arrived_at, created_at
            )
            SELECT connection.id, 'webhook', made.id::text, sha256(made.id::text::bytea), '{}', 'processed',
                'ticket_created', now(), made.account_id, made.id, now(), now()
            FROM connection, made
            """
        )
        db.execute(
            "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)"
            " VALUES ('check_sla', now(), now(), now(), 'succeeded')"
        )
        db.execute("INSERT INTO ticket (title, source_id) VALUES ('Theirs', 'ticket_source_8')")
        db.execute(
            "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, counts)"
            " VALUES ('k1:digest', now(), 'Lan', 'operator', '{}')"
        )
        db.execute("RESET session_replication_role")
        yield db


def down(db: Db, *versions: str) -> None:
    for version in versions:
        run_file(db, file(version))  # type: ignore[arg-type]


def others(db: Db) -> list[str]:
    """Return the rows of Diva without our columns, in comparable form."""
    return sorted(str(row) for row in db.execute(OTHERS.encode()).fetchall())


def move_tickets(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tickets", "move", *arguments, "--pause-seconds", "0"])
    return result.exit_code, result.output


def count(db: Db, source: str) -> int:
    row = db.execute("SELECT count(*) AS n FROM ticket WHERE source_id = %s", [source]).fetchone()
    return int(row["n"]) if row else -1


def test_all_migrations_can_be_reverted_with_data_and_applied_again(
    used_database: Db, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tickets moved, eight migrations down, Diva's rows unchanged, eight up, tickets moved back."""
    monkeypatch.setenv("DATABASE_URL", database)
    before, theirs = others(used_database), count(used_database, "ticket_source_8")
    assert move_tickets("--rows-per-batch", "10")[0] == 0
    down(used_database, "935", "934", "933", "932", "931", "930", "929", "928")
    ours = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'pancake%'"
    assert used_database.execute(ours).fetchall() == []
    assert count(used_database, "ticket_source_8") == theirs + 25
    migrate(database)
    assert move_tickets("--back")[0] == 0
    assert count(used_database, PANCAKE) == 25
    data = "SELECT DISTINCT data FROM ticket WHERE source_id = 'ticket_source_pancake'"
    assert used_database.execute(data).fetchall() == [{"data": {"pancake": True}}], "without our mark"
    assert others(used_database) == before


def test_a_locked_ticket_is_moved_once_it_is_unlocked(
    used_database: Db, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM ticket WHERE title = 'Lead 7' FOR UPDATE")
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(move_tickets()[0]))
        thread.start()
        eventually(lambda: count(used_database, PANCAKE) == 1)
        other.rollback()
    thread.join(20)
    assert done == [0]
    assert count(used_database, PANCAKE) == 0


def test_reverting_930_reports_contacts_without_an_account(used_database: Db) -> None:
    """A contact without an account, inserted while the key was off, stops it; the message counts them."""
    used_database.execute("ALTER TABLE contact_book DISABLE TRIGGER ALL")
    used_database.execute("INSERT INTO contact_book (account_id, name) VALUES (gen_random_uuid(), 'orphan')")
    used_database.execute("ALTER TABLE contact_book ENABLE TRIGGER ALL")
    with pytest.raises(psycopg.errors.RaiseException, match="1 rows of contact_book reference an account"):
        down(used_database, "930")


def test_931_is_restored_from_its_dump(used_database: Db, database: str, tmp_path: Path) -> None:
    """Run the commands of the runbook; new rows then get new ids."""
    need_pg_dump(database)
    dump = str(tmp_path / "pancake_tables.dump")
    before = used_database.execute(HELD).fetchall()

    tables = ("--table", "public.pancake_*", "--table", "public.customer_erasure")
    run_program(database, "pg_dump", *tables, "--format", "custom", "--file", dump)
    assert run_program(database, "pg_restore", "--list", dump).count("TABLE DATA") == 6
    down(used_database, "935", "931")
    for version in ("931", "935", "938", "939", "945", "953", "960", "961", "979", "982", "986"):
        run_file(used_database, file(version, "up.sql"))  # type: ignore[arg-type]
    name = psql_environment(database)["PGDATABASE"]
    run_program(database, "pg_restore", "--data-only", "--disable-triggers", "--dbname", name, dump)

    assert used_database.execute(HELD).fetchall() == before
    added = used_database.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at)"
        " VALUES ('check_sla', now() - interval '1 hour', now()) RETURNING id > (SELECT max(id)"
        " FROM pancake_cron_run) AS later"
    ).fetchone()
    assert added == {"later": True}


# On a million rows

ROWS = 1_000_000
SCAN = (
    "SELECT count(*) FROM contact_book AS c"
    " WHERE NOT EXISTS (SELECT FROM account AS a WHERE a.id = c.account_id)"
)
"""About what the validation of the foreign key does."""
ID = "('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid"
# Without the secondary indexes, and in the order of the ids, the rows are inserted in a few seconds.
FILL = (
    "DROP INDEX account_phone_number_idx, contact_book_account_id_idx",
    "INSERT INTO account (id, display_name, phone_code, phone_number)"
    f" SELECT {ID}, 'Customer ' || n, '84', '0' || (900000000 + n) FROM generate_series(1, {ROWS}) AS n",
    "INSERT INTO contact_book (account_id, name)"
    f" SELECT {ID}, 'Customer ' || n FROM generate_series(1, {ROWS}) AS n",
)
WRITES = (
    b"UPDATE account SET display_name = 'x' WHERE id = '00000000-0000-4000-8000-000000000001'",
    b"INSERT INTO contact_book (name) VALUES ('x')",
)


@contextmanager
def writers(url: str) -> Iterator[Callable[[], float]]:
    """Run each of WRITES over and over; the result gives the longest time of a statement in seconds."""
    times, ended = [0.0], threading.Event()

    def write(statement: bytes) -> None:
        with psycopg.connect(url, autocommit=True) as db:
            while not ended.is_set():
                times.append(seconds(lambda: db.execute(statement)))

    threads = [threading.Thread(target=write, args=[statement]) for statement in WRITES]
    for thread in threads:
        thread.start()
    try:
        yield lambda: max(times)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


@pytest.fixture
def large_database(diva_database: str) -> str:
    with psycopg.connect(diva_database, autocommit=True) as db:
        for statement in FILL:
            db.execute(statement.encode())
    return diva_database


@pytest.mark.full("a million accounts")
def test_no_writer_waits_for_the_scans_of_a_million_rows(large_database: str) -> None:
    """Neither during the migrations, nor while the backfill builds the index that they leave out.

    The times are compared with each other, so that a busy machine makes no difference.
    """
    with open_session(large_database, "test") as db, writers(large_database) as longest_wait:
        scans = [seconds(lambda: db.execute(SCAN))]
        migrate(large_database)
        scans.append(seconds(lambda: db.execute(SCAN)))
        assert longest_wait() < 1.5 * max(scans)
    with open_session(large_database, "test") as db, writers(large_database) as longest_wait:
        assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == []
        index_seconds = seconds(lambda: build_index(db))
        assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == [{"is_valid": True}]
        assert longest_wait() < index_seconds / 2
    with psycopg.connect(large_database) as db:
        unchecked = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
        assert db.execute(unchecked).fetchall() == []
