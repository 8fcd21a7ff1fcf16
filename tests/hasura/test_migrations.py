"""The migrations: up, down and up again, with rows too; and what the schema that they make refuses."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ops.clients.db_session import QUERIES
from sandbox.postgres.database import MIGRATIONS, migrate, psql_environment, run_file
from tests.support.postgres import need_pg_dump, run_program
from tests.support.settings import BASE_URLS, NOT_BASE_URLS

pytestmark = pytest.mark.own_database
REFUSED = {
    "pancake_webhook_event": (
        "status = 'processed'", "status = 'nonsense'", "payload_hash = '\\x00'", "origin = 'elsewhere'",
        "notifications = '{}'", "notify_refusals = 1", "notify_error = 'tired'", "notify_given_up_at = now()",
        "notify_given_up_at = now(), notified_at = now(), notify_error = 'refused'",
    ),
    "pancake_connection": (
        "signature_mode = 'enforce'", "allowlist_mode = 'enforce'", "table_names = '{}'",
        "table_names = '{deal}'", "chat_link = 'http://a.vn'", "record_link = 'https://a.vn/{name}'",
        "record_link = 'https://a.vn/ b'", r"name = E'Diva\nforged'",
        "previous_token_sha256 = sha256('x')", "status = 'unknown'",
    ),
    "account": ("normalized_phone = '0905111222'",),
    "contact_book": ("primary_phone = '0905111222'",),
}  # fmt: skip
TABLES = {f"pancake_{name}" for name in ("connection", "source", "assignee", "webhook_event", "cron_run")}
FOLDERS = sorted(MIGRATIONS.iterdir())
FINISHED_BY = {
    "1777870069928": ["1777870069929"], "1777870069930": ["1777870069935"],
    "1777870069931": [
        "1777870069938", "1777870069939", "1777870069945", "1777870069953", "1777870069960", "1777870069961",
        "1777870069979", "1777870069980", "1777870069982", "1777870069986",
        "1777870069989", "1777870069999", "1777870070029", "1777870070045", "1777870070050",
    ],
    "1777870069938": ["1777870069989"],
    "1777870069953": ["1777870069961", "1777870070045"], "1777870069960": ["1777870070029", "1777870070045"],
}  # fmt: skip
"""Migrations that later ones finish: with weaker locks, triggers on their tables, or newer functions."""
RELEASED_UP_TO = "1777870069986"
RELEASED = "fc1bb21dc197d899cc4a00a867b26b777306dfccb1d6aea3250f6e5fe6402633"
"""SHA-256 of the files of these migrations. What they refuse was tested when they were written."""
SCHEMA = """
SELECT 'column', table_name || '.' || column_name,
    data_type || ' ' || is_nullable || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
"""
ROWS = """
SELECT 'master', to_jsonb(t) - 'updated_at' FROM crm_master_data AS t
UNION ALL SELECT 'permission', to_jsonb(t) - 'id' FROM module_permission_action AS t
UNION ALL SELECT 'template', to_jsonb(t) - 'id' FROM notification_template AS t
UNION ALL SELECT 'setting', to_jsonb(t) FROM app_setting AS t
UNION ALL SELECT 'account', to_jsonb(t) FROM account AS t
UNION ALL SELECT 'contact', to_jsonb(t) FROM contact_book AS t
"""


def test_a_released_migration_is_never_changed() -> None:
    """A change is a new migration: an installation has run these, and never runs them again."""
    files = [path for path in sorted(MIGRATIONS.rglob("*.sql")) if path.parent.name[:13] <= RELEASED_UP_TO]
    assert hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() == RELEASED


def folder(version: str) -> Path:
    """The folder of a version, or of its last digits."""
    (found,) = (path for path in FOLDERS if path.name.partition("_")[0].endswith(version))
    return found


def comparable_schema(url: str) -> tuple[list[Any], list[Any]]:
    """Return the schema and the rows of Diva that we change, in comparable form."""
    with psycopg.connect(url) as connection:
        schema = connection.execute(SCHEMA.encode()).fetchall()
        rows = connection.execute(ROWS.encode()).fetchall()
    return sorted(schema), sorted(rows, key=repr)


@pytest.fixture(scope="module")
def constrained(module_database: str) -> Iterator[psycopg.Connection]:
    """A migrated database with one connection and one received event."""
    with psycopg.connect(module_database, autocommit=True) as db:
        db.execute(
            "WITH c AS (INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('x', 1, sha256('t')) RETURNING id)"
            " INSERT INTO pancake_webhook_event"
            " (connection_id, origin, payload_hash, status, arrived_at, created_at)"
            " SELECT id, 'webhook', sha256('p'), 'received', now(), now() FROM c"
        )
        yield db


def down(url: str, to: str = "") -> None:
    """Revert migrations, the newest first, down to and including the version `to`."""
    run(url, *(found / "down.sql" for found in reversed(FOLDERS) if found.name >= to))


def test_down_restores_the_schema_and_up_again_equals_the_first_up(diva_database: str) -> None:
    before = comparable_schema(diva_database)
    migrate(diva_database)
    after = comparable_schema(diva_database)
    down(diva_database)
    assert comparable_schema(diva_database) == before
    migrate(diva_database)
    assert comparable_schema(diva_database) == after
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'pancake%'"
    assert {name for (name,) in execute(diva_database, tables)} == TABLES


def test_each_migration_can_be_reverted_and_applied_again(database: str) -> None:
    before = comparable_schema(database)
    for found in FOLDERS:
        run(database, found / "down.sql", found / "up.sql")
        for later in FINISHED_BY.get(found.name.split("_")[0], ()):
            run(database, folder(later) / "up.sql")
        assert comparable_schema(database) == before, found.name


def test_the_installation_sees_of_each_migration_whether_it_is_applied(database: str) -> None:
    """golive/list_migrations has a row for each, also for those that are still to come."""

    def missing() -> dict[str, list[str]]:
        with psycopg.connect(database) as db:
            rows = db.execute(QUERIES["golive/list_migrations"]).fetchall()
        return {version: names for version, _, names in rows}

    assert missing() == {found.name.split("_")[0][-3:]: [] for found in FOLDERS}
    for found in reversed(FOLDERS):
        run(database, found / "down.sql")
        assert missing()[found.name.split("_")[0][-3:]], found.name


def test_every_script_sets_timeouts_and_runs_in_one_transaction(subtests: pytest.Subtests) -> None:
    for path in sorted(MIGRATIONS.rglob("*.sql")):
        statements = re.sub(r"--.*", "", path.read_text("utf-8"))
        with subtests.test(f"{path.parent.name}/{path.name}"):
            if re.search(r"\b(ALTER|CREATE|DROP|UPDATE|INSERT|DELETE)\b", statements):
                assert "SET LOCAL lock_timeout" in statements
                assert "SET LOCAL statement_timeout" in statements
            assert "CONCURRENTLY" not in statements
            assert "EXTENSION" not in statements.upper()
            assert not re.search(r"^\s*(BEGIN|COMMIT);", statements, re.M)


def test_a_report_that_was_changed_stays_and_one_of_another_form_is_refused(
    database: str, subtests: pytest.Subtests
) -> None:
    before = comparable_schema(database)
    ((report,),) = execute(database, "SELECT pg_get_functiondef('pancake_report_row'::regproc)")
    for version, former, other in (
        ("029", "NOT IN ('none', 'lead')", "= 'integration'"),
        ("045", "FULL JOIN", "RIGHT JOIN"),
    ):
        with subtests.test(version=version):
            changing = folder(version) / "up.sql"
            run(database, changing)
            assert comparable_schema(database) == before
            execute(database, report.replace(former, other))
            with pytest.raises(psycopg.errors.RaiseException, match="another form"):
                run(database, changing)
            execute(database, report)


def test_the_phone_of_an_account_is_cleared_when_another_program_changes_it(database: str) -> None:
    execute(
        database,
        "INSERT INTO account (display_name, phone_code, phone_number, normalized_phone)"
        " VALUES ('theirs', '84', '0905111222', '+84905111222')",
    )
    of_program = "phone_number = '0905111333', normalized_phone = '+84905111333'"
    for change, phone in (
        ("phone_number = '0905111222'", "+84905111222"),
        (of_program, "+84905111333"),  # a program that sets the column itself
        ("phone_code = '1'", None),
    ):
        execute(database, f"UPDATE account SET {change} WHERE display_name = 'theirs'")
        found = execute(database, "SELECT normalized_phone FROM account WHERE display_name = 'theirs'")
        assert found == [(phone,)], change


def refuses(db: psycopg.Connection, statement: str, message: str = "", *params: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=message or None), db.transaction():
        db.execute(statement.encode(), params)


def test_the_database_refuses_wrong_rows(constrained: psycopg.Connection, subtests: pytest.Subtests) -> None:
    for table, changes in REFUSED.items():
        for change in changes:
            with subtests.test(table, change=change):
                refuses(constrained, f"UPDATE {table} SET {change}")
    refuses(
        constrained,
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, outcome)"
        " VALUES ('x', now(), now(), 'succeeded')",
    )
    refuses(constrained, "UPDATE pancake_webhook_event SET status = 'failed'", "from received to failed")


def test_received_at_changes_only_when_received_is_set(constrained: psycopg.Connection) -> None:
    def received_at(change: str = "origin = origin") -> Any:
        constrained.execute(f"UPDATE pancake_webhook_event SET {change}".encode())
        return constrained.execute("SELECT received_at FROM pancake_webhook_event").fetchall()

    first = received_at()
    assert received_at("source_ids = '{5}'") == first
    second = received_at("status = 'received'")
    assert second > first
    assert received_at("status = 'skipped_kill_switch'") == second


def test_a_base_url_is_scheme_host_port_and_path(
    constrained: psycopg.Connection, subtests: pytest.Subtests
) -> None:
    change = "UPDATE pancake_connection SET api_base_url = %s"
    for url in NOT_BASE_URLS:
        with subtests.test(repr(url)):
            refuses(constrained, change, "ck_pancake_connection_api_base_url", url)
    for url in BASE_URLS:
        with subtests.test(url):
            constrained.execute(change, (url,))


def run(url: str, *files: Path) -> None:
    """Run SQL files, each in one transaction."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        for file in files:
            run_file(db_connection, file)


def execute(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as db_connection:
        cursor = db_connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# On tables with rows: reverting them, and restoring what they drop

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


def test_931_is_restored_from_its_dump(used_database: Db, database: str, tmp_path: Path) -> None:
    """Run the commands of the runbook; new rows then get new ids."""
    need_pg_dump(database)
    dump = str(tmp_path / "pancake_tables.dump")
    before = used_database.execute(HELD).fetchall()

    tables = ("--table", "public.pancake_*", "--table", "public.customer_erasure")
    run_program(database, "pg_dump", *tables, "--format", "custom", "--file", dump)
    assert run_program(database, "pg_restore", "--list", dump).count("TABLE DATA") == 6
    run(database, folder("935") / "down.sql", folder("931") / "down.sql")
    later = ["931", "935", "938", "939", "945", "953", "960", "961", "979", "982", "986", "989", "999"]
    run(database, *(folder(version) / "up.sql" for version in later))
    name = psql_environment(database)["PGDATABASE"]
    run_program(database, "pg_restore", "--data-only", "--disable-triggers", "--dbname", name, dump)

    assert used_database.execute(HELD).fetchall() == before
    added = used_database.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at)"
        " VALUES ('check_sla', now() - interval '1 hour', now()) RETURNING id > (SELECT max(id)"
        " FROM pancake_cron_run) AS later"
    ).fetchone()
    assert added == {"later": True}
