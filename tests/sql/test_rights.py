"""The rights of handlers and operators: each statement works with its role's, and none is superfluous."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from leads.adapters.queries import QUERIES
from sandbox.postgres.database import run_file
from sandbox.postgres.plans import placeholders, prepare
from sandbox.postgres.roles import GRANTS, HANDLERS, OPERATORS, ROLES
from tests.support.statements import is_refused

BY_OWNER = {
    "backfill_phones/create_index", "backfill_phones/drop_index", "golive/check_migration",
    "golive/check_ticket_sources", "golive/insert_roster", "golive/load_migration_log",
    "golive/load_ticket_source", "golive/update_test_ticket",
}  # fmt: skip
"""An index is built by the owner of its table; checks of Diva's schema and the deployment are the owner's."""

OF_BOTH = ("kpi", "trace_lead")
"""Folders of the statements that the handlers and `leads golive` or `leads trace` run."""

OF_COMMANDS = (
    "backfill_phones", "connection_secrets", "golive", "history", "probes", "report", "status", "switches",
    "tail", "tickets",
)  # fmt: skip
"""Folders of the statements that only `leads` runs with the operators' role."""

BY_OWNER_ALONE = ("erase", "golive")
"""Folders of the statements of commands that the owner of the tables runs."""

OF_RECONCILE = (
    "connections", "cron_runs", "database", "ingest_record", "pancake_lists", "reconcile_daily",
    "run_notices",
)  # fmt: skip
"""Folders of the statements that the handlers and `leads reconcile` run."""

STATEMENTS = {
    HANDLERS: [name for name in QUERIES if name.partition("/")[0] not in (*OF_COMMANDS, *BY_OWNER_ALONE)],
    OPERATORS: [
        name
        for name in QUERIES
        if name.partition("/")[0] in OF_COMMANDS + OF_RECONCILE + OF_BOTH and name not in BY_OWNER
    ],
}
RIGHTS = """
SELECT c.oid::regclass::text AS name, NULL AS column_name, g.privilege_type, g.is_grantable
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS g
WHERE g.grantee = %(role)s::regrole AND c.relkind <> 'S'
UNION ALL
SELECT a.attrelid::regclass::text, a.attname, g.privilege_type, g.is_grantable
FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS g
WHERE g.grantee = %(role)s::regrole
"""
HASURA = "hdb_catalog."
TABLES = {
    HANDLERS: {
        "account", "contact_book", "customer_consent", "staff", "ticket", "view_pancake_stored_setting",
        "pancake_assignee", "pancake_connection", "pancake_cron_run", "pancake_source",
        "pancake_webhook_event", "customer_erasure", f"{HASURA}event_log", f"{HASURA}hdb_cron_events",
        f"{HASURA}hdb_cron_event_invocation_logs",
    },
    OPERATORS: {
        "account", "contact_book", "customer_erasure", "integration_change", "staff", "ticket",
        "view_pancake_connection_status", "view_pancake_setting", "view_pancake_stored_setting",
        "pancake_assignee", "pancake_connection",
        "pancake_cron_run", "pancake_source", "pancake_webhook_event", f"{HASURA}event_log",
    },
}  # fmt: skip
BY_TRIGGERS = {("hdb_catalog.event_log", None, "INSERT")}
"""Needed by Hasura's trigger on pancake_webhook_event, not by a statement."""

Right = tuple[str, str | None, str]
"""Table, column (None: the whole table), privilege."""


@pytest.fixture(scope="module")
def prepared(migrated: psycopg.Connection) -> psycopg.Connection:
    """The migrated database with the engine's catalogue, the grants, and each statement prepared."""
    run_file(migrated, GRANTS)
    migrated.execute("SET plan_cache_mode = force_generic_plan")
    for name in {name for names in STATEMENTS.values() for name in names}:
        prepare(migrated, name)
    return migrated


@pytest.fixture
def db(prepared: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The same; what a test changes is undone."""
    with prepared.transaction(force_rollback=True):
        yield prepared


def rights(db: psycopg.Connection, role: str = HANDLERS) -> list[Right]:
    found = db.execute(RIGHTS.encode(), {"role": role}).fetchall()
    assert not any(is_grantable for *_, is_grantable in found)
    return sorted(((name, column, privilege) for name, column, privilege, _ in found), key=str)


def is_plan_refused(db: psycopg.Connection, role: str, name: str) -> bool:
    """PostgreSQL checks the rights on every table of a statement before it shows the plan."""
    arguments = sql.SQL(", ").join([sql.NULL] * len(placeholders(name)))
    call = sql.SQL("({})").format(arguments) if placeholders(name) else sql.SQL("")
    return is_refused(db, role, sql.SQL("EXPLAIN EXECUTE {}{}").format(sql.Identifier(name), call))


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in ROLES for name in STATEMENTS[role]])
def test_a_role_may_run_each_of_its_statements(db: psycopg.Connection, role: str, name: str) -> None:
    assert not is_plan_refused(db, role, name)


@pytest.mark.parametrize("role", ROLES)
def test_each_right_is_needed_by_a_statement(db: psycopg.Connection, role: str) -> None:
    superfluous = []
    for table, column, privilege in rights(db, role):
        of_columns = sql.SQL("({})").format(sql.Identifier(column)) if column else sql.SQL("")
        revoke = sql.SQL("REVOKE {}{} ON {} FROM {}")
        # The statements that name the table first: others read it through a function.
        names = sorted(STATEMENTS[role], key=lambda name: table.encode() not in QUERIES[name])
        with db.transaction(force_rollback=True):
            db.execute(revoke.format(sql.SQL(privilege), of_columns, sql.SQL(table), sql.Identifier(role)))
            if not any(is_plan_refused(db, role, name) for name in names):
                superfluous.append((table, column, privilege))
    assert set(superfluous) == BY_TRIGGERS


@pytest.mark.parametrize("role", ROLES)
def test_only_these_tables_are_open_and_rows_are_deleted_only_from_logs(
    db: psycopg.Connection, role: str
) -> None:
    found = rights(db, role)
    assert {table for table, _, _ in found} == TABLES[role]
    assert {privilege for _, _, privilege in found} <= {"SELECT", "INSERT", "UPDATE", "DELETE"}
    deleted = {table for table, _, privilege in found if privilege == "DELETE"}
    assert (
        deleted
        == {
            HANDLERS: {
                f"{HASURA}hdb_cron_events",
                f"{HASURA}hdb_cron_event_invocation_logs",
                "pancake_cron_run",
            },
            OPERATORS: set(),
        }[role]
    )


@pytest.mark.parametrize("role", ROLES)
def test_the_role_has_no_attributes_no_roles_and_owns_nothing(db: psycopg.Connection, role: str) -> None:
    attributes = (
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s"
    )
    assert db.execute(attributes.encode(), [role]).fetchall() == [(False,) * 6]
    roles = "SELECT FROM pg_auth_members WHERE member = %s::regrole"
    assert db.execute(roles.encode(), [role]).fetchall() == []
    owned = "SELECT FROM pg_class WHERE relowner = %s::regrole"
    assert db.execute(owned.encode(), [role]).fetchall() == []


def test_the_functions_with_the_rights_of_their_owner_show_and_delete_events_of_our_trigger_only(
    db: psycopg.Connection,
) -> None:
    """Nor may a caller's search_path put other objects in place of those that they name."""
    db.execute(
        "INSERT INTO hdb_catalog.event_log"
        " (schema_name, table_name, trigger_name, payload, delivered, created_at)"
        " SELECT 'public', 'x', t, jsonb_build_object('data', jsonb_build_object('new',"
        " jsonb_build_object('id', 7))), d, now() - interval '9 days'"
        " FROM unnest(ARRAY['pancake_webhook_event_status_update', 'orders_changed']) AS t,"
        " unnest(ARRAY[true, false]) AS d"
    )
    db.execute("SET LOCAL ROLE pancake_handlers")
    assert db.execute("SELECT public.pancake_pending_event_ids('20 seconds')").fetchall() == [(7,)]
    assert db.execute("SELECT public.pancake_delete_event_logs(now(), 10)").fetchall() == [(1,)]
    db.execute("RESET ROLE")
    left = db.execute("SELECT trigger_name, delivered FROM hdb_catalog.event_log ORDER BY 1, 2").fetchall()
    assert left == [
        ("orders_changed", False), ("orders_changed", True), ("pancake_webhook_event_status_update", False),
    ]  # fmt: skip
    pinned = (
        "SELECT DISTINCT proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert db.execute(pinned.encode()).fetchall() == [(["search_path=pg_catalog, pg_temp"],)]


def test_a_second_run_changes_nothing_and_takes_back_other_rights(db: psycopg.Connection) -> None:
    before = rights(db)
    db.execute("GRANT DELETE, TRUNCATE ON ticket TO pancake_handlers")
    db.execute("GRANT UPDATE (phone_number) ON account TO pancake_handlers")
    db.execute("GRANT SELECT ON crm_master_data TO pancake_handlers")
    run_file(db, GRANTS)
    assert rights(db) == before


def test_it_names_an_owner_of_the_functions_who_has_no_rights_in_hasuras_log(db: psycopg.Connection) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    db.execute("CREATE ROLE other_owner_of_the_test; GRANT ALL ON SCHEMA public TO other_owner_of_the_test")
    run_file(db, GRANTS)
    assert notices == []
    db.execute("ALTER FUNCTION pancake_pending_event_ids OWNER TO other_owner_of_the_test")
    run_file(db, GRANTS)
    assert len(notices) == 1
    assert notices[0].startswith("role other_owner_of_the_test owns pancake_pending_event_ids()")


def test_it_may_run_before_the_migrations_and_names_what_is_missing(diva_database: str) -> None:
    notices: list[str] = []
    with psycopg.connect(diva_database, autocommit=True) as db:
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        run_file(db, GRANTS)
        granted = {table for table, _, _ in rights(db)}
    assert granted == {
        table
        for table in TABLES[HANDLERS]
        if not table.startswith(("pancake_", "view_pancake_", "customer_erasure", HASURA))
    }
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
