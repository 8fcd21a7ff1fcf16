"""The rights of the role pancake_handlers: each statement works with them, and none is superfluous."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from leads.adapters.queries import QUERIES
from sandbox.postgres.database import run_file
from sandbox.postgres.handlers_role import GRANTS
from tests.support.statements import placeholders, prepare

OF_COMMANDS = {"backfill_phones", "connection_secrets", "history", "tickets"}
"""Folders of the statements of `leads`, which operators run with the rights of the owner."""

STATEMENTS = [name for name in QUERIES if name.partition("/")[0] not in OF_COMMANDS]
RIGHTS = """
SELECT c.oid::regclass::text AS name, NULL AS column_name, g.privilege_type, g.is_grantable
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS g
WHERE g.grantee = 'pancake_handlers'::regrole AND c.relkind <> 'S'
UNION ALL
SELECT a.attrelid::regclass::text, a.attname, g.privilege_type, g.is_grantable
FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS g
WHERE g.grantee = 'pancake_handlers'::regrole
"""
HASURA = "hdb_catalog."
TABLES = {
    "account", "app_setting", "contact_book", "customer_consent", "staff", "ticket",
    "pancake_assignee", "pancake_connection", "pancake_cron_run", "pancake_source", "pancake_webhook_event",
    f"{HASURA}event_log", f"{HASURA}event_invocation_logs",
    f"{HASURA}hdb_cron_events", f"{HASURA}hdb_cron_event_invocation_logs",
}  # fmt: skip
BY_TRIGGERS = {("hdb_catalog.event_log", None, "INSERT")}
"""Needed by Hasura's trigger on pancake_webhook_event, not by a statement."""


@pytest.fixture(scope="module")
def prepared(migrated: psycopg.Connection) -> psycopg.Connection:
    """The migrated database with the engine's catalogue, the grants, and each statement prepared."""
    run_file(migrated, GRANTS)
    migrated.execute("SET plan_cache_mode = force_generic_plan")
    for name in STATEMENTS:
        prepare(migrated, name)
    return migrated


@pytest.fixture
def db(prepared: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The same; what a test changes is undone."""
    with prepared.transaction(force_rollback=True):
        yield prepared


def rights(db: psycopg.Connection) -> list[tuple[str, str | None, str]]:
    found = db.execute(RIGHTS.encode()).fetchall()
    assert not any(is_grantable for *_, is_grantable in found)
    return sorted(((name, column, privilege) for name, column, privilege, _ in found), key=str)


def is_refused(db: psycopg.Connection, statement: bytes | sql.Composed) -> bool:
    """Whether the role may not run the statement, which is undone."""
    try:
        with db.transaction(force_rollback=True):
            db.execute("SET LOCAL ROLE pancake_handlers")
            db.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def is_plan_refused(db: psycopg.Connection, name: str) -> bool:
    """PostgreSQL checks the rights on every table of a statement before it shows the plan."""
    arguments = sql.SQL(", ").join([sql.NULL] * len(placeholders(name)))
    call = sql.SQL("({})").format(arguments) if placeholders(name) else sql.SQL("")
    return is_refused(db, sql.SQL("EXPLAIN EXECUTE {}{}").format(sql.Identifier(name), call))


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_handlers_may_run_each_of_their_statements(db: psycopg.Connection, name: str) -> None:
    assert not is_plan_refused(db, name)


def test_each_right_is_needed_by_a_statement(db: psycopg.Connection) -> None:
    superfluous = []
    for table, column, privilege in rights(db):
        of_columns = sql.SQL("({})").format(sql.Identifier(column)) if column else sql.SQL("")
        revoke = sql.SQL("REVOKE {}{} ON {} FROM pancake_handlers")
        # The statements that name the table first: others read it through a function.
        names = sorted(STATEMENTS, key=lambda name: table.encode() not in QUERIES[name])
        with db.transaction(force_rollback=True):
            db.execute(revoke.format(sql.SQL(privilege), of_columns, sql.SQL(table)))
            if not any(is_plan_refused(db, name) for name in names):
                superfluous.append((table, column, privilege))
    assert set(superfluous) == BY_TRIGGERS


def test_only_these_tables_are_open_and_rows_are_deleted_only_from_logs(db: psycopg.Connection) -> None:
    found = rights(db)
    assert {table for table, _, _ in found} == TABLES
    assert {privilege for _, _, privilege in found} == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert {table for table, _, privilege in found if privilege == "DELETE"} == {
        table for table in TABLES if table.startswith(HASURA)
    } | {"pancake_cron_run"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT full_name FROM staff",
        "SELECT id FROM crm_master_data",
        "SELECT id FROM notification_template",
        "SELECT id FROM module_permission_action",
        'SELECT "timestamp" FROM controller.migration_log',
        "SELECT id FROM hdb_catalog.hdb_scheduled_events",
        "SELECT request FROM hdb_catalog.event_invocation_logs",
        "SELECT passwd FROM pg_shadow",
        "UPDATE account SET phone_number = '1'",
        "UPDATE staff SET is_active = true",
        "UPDATE app_setting SET app_settings = '{}'",
        "UPDATE view_pancake_setting SET kill_switch = false",
        "UPDATE pancake_connection SET token_sha256 = sha256('x')",
        "UPDATE pancake_source SET is_active = true",
        "UPDATE pancake_assignee SET weight = 2",
        "UPDATE hdb_catalog.event_log SET delivered = true",
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('x', 1, sha256('x'))",
        "INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff",
        "DELETE FROM account",
        "DELETE FROM ticket",
        "DELETE FROM pancake_webhook_event",
        "TRUNCATE pancake_cron_run",
        "CREATE TABLE public.pancake_more (id integer)",
        "CREATE SCHEMA more",
        "ALTER TABLE pancake_cron_run ADD COLUMN more text",
        "DROP TABLE pancake_cron_run",
        "CREATE ROLE more",
    ],
)
def test_the_handlers_may_not(db: psycopg.Connection, statement: str) -> None:
    assert is_refused(db, statement.encode())


def test_the_role_has_no_attributes_no_roles_and_owns_nothing(db: psycopg.Connection) -> None:
    attributes = (
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = 'pancake_handlers'"
    )
    assert db.execute(attributes.encode()).fetchall() == [(False,) * 6]
    roles = "SELECT FROM pg_auth_members WHERE member = 'pancake_handlers'::regrole"
    assert db.execute(roles.encode()).fetchall() == []
    owned = "SELECT FROM pg_class WHERE relowner = 'pancake_handlers'::regrole"
    assert db.execute(owned.encode()).fetchall() == []


def test_a_second_run_changes_nothing_and_takes_back_other_rights(db: psycopg.Connection) -> None:
    before = rights(db)
    db.execute("GRANT DELETE, TRUNCATE ON ticket TO pancake_handlers")
    db.execute("GRANT UPDATE (phone_number) ON account TO pancake_handlers")
    db.execute("GRANT SELECT ON crm_master_data TO pancake_handlers")
    run_file(db, GRANTS)
    assert rights(db) == before


def test_it_may_run_before_the_migrations_and_names_what_is_missing(diva_database: str) -> None:
    notices: list[str] = []
    with psycopg.connect(diva_database, autocommit=True) as db:
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        run_file(db, GRANTS)
        granted = {table for table, _, _ in rights(db)}
    assert granted == {table for table in TABLES if not table.startswith(("pancake_", HASURA))}
    (notice,) = notices
    assert "public.account.normalized_phone" in notice
    assert "public.pancake_webhook_event" in notice
    assert "hdb_catalog.event_log" in notice


def test_it_needs_neither_a_superuser_nor_the_owner_of_tables_it_does_not_name(diva_database: str) -> None:
    """The owner of the named tables is enough, once the role exists."""
    with psycopg.connect(diva_database, autocommit=True) as db, db.transaction(force_rollback=True):
        run_file(db, GRANTS)
        db.execute("CREATE ROLE owner_of_the_test")
        for table in ("account", "contact_book", "ticket", "staff", "app_setting", "customer_consent"):
            db.execute(sql.SQL("ALTER TABLE {} OWNER TO owner_of_the_test").format(sql.Identifier(table)))
        db.execute("ALTER SEQUENCE ticket_code_seq OWNER TO owner_of_the_test")
        db.execute("ALTER SCHEMA public OWNER TO owner_of_the_test")
        before = rights(db)
        db.execute("SET LOCAL ROLE owner_of_the_test")
        run_file(db, GRANTS)
        assert rights(db) == before
