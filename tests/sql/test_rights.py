"""The rights of handlers and operators: what their statements need, and nothing else."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from ops.clients.db_session import QUERIES
from sandbox.postgres.database import GRANTS, HANDLERS, OPERATORS, ROLES, run_file
from sandbox.postgres.plans import placeholders, prepare
from sandbox.postgres.server import Cluster
from tests.support.leads import PHONE

Db = psycopg.Connection[Any]
BY_OWNER = {
    "backfill_phones/create_index", "backfill_phones/drop_index", "golive/list_migrations",
    "golive/check_ticket_sources", "golive/insert_roster", "golive/check_migration_log",
    "golive/load_ticket_source", "golive/update_test_ticket", "golive/empty_own_tables",
    "golive/load_settings", "golive/update_settings",
}  # fmt: skip
"""An index is built by the owner of its table; checks of Diva's schema and the deployment are the owner's."""
OF_BOTH = ("kpi", "trace_lead")
"""Folders of the statements that the handlers and `leads golive` or `leads trace` run."""
OF_COMMANDS = (
    "backfill_phones", "connection_secrets", "golive", "history", "probes", "reconcile", "report", "status",
    "switches", "tail", "tickets",
)  # fmt: skip
"""Folders of the statements that only `leads` runs with the operators' role."""
BY_OWNER_ALONE = ("erase", "golive", "setup")
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
RIGHTS = b"""
    SELECT c.oid::regclass::text AS name, NULL AS column_name, g.privilege_type, g.is_grantable
    FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS g
    WHERE g.grantee = %(role)s::regrole AND c.relkind <> 'S'
    UNION ALL
    SELECT a.attrelid::regclass::text, a.attname, g.privilege_type, g.is_grantable
    FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS g
    WHERE g.grantee = %(role)s::regrole
"""
LOGS = {
    "hdb_catalog.hdb_cron_events", "hdb_catalog.hdb_cron_event_invocation_logs", "public.pancake_cron_run",
}  # fmt: skip
"""The tables from which the handlers delete rows. The operators delete none."""
BY_TRIGGERS = {("hdb_catalog.event_log", None, "INSERT")}
"""Needed by Hasura's trigger on pancake_webhook_event, not by a statement."""
COLUMNS = """
SELECT n.nspname AS schema, c.relname AS table, c.relkind = 'v' AS is_view, a.attname AS column
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2, a.attnum
"""
OF_COLUMNS = {
    "SELECT": "EXPLAIN SELECT {column} FROM {table}",
    "INSERT": "EXPLAIN INSERT INTO {table} ({column}) VALUES (DEFAULT)",
    "UPDATE": "EXPLAIN UPDATE {table} SET {column} = DEFAULT",
}
"""PostgreSQL checks the rights before it shows the plan. DEFAULT may be given to every column."""
OF_TABLES = {
    "DELETE": "EXPLAIN DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "TRIGGER": "CREATE TRIGGER more BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION more()",
    "INDEX": "CREATE INDEX ON {table} ({column})",
    "ALTER": "ALTER TABLE {table} ADD COLUMN more text",
    "RENAME": "ALTER {kind} {table} RENAME TO more",
    "OWNER": "ALTER {kind} {table} OWNER TO CURRENT_USER",
    "COMMENT": "COMMENT ON {kind} {table} IS 'more'",
    "DROP": "DROP {kind} {table}",
}
LINE = re.compile(r"^ +\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?$", re.MULTILINE)
IS_VIEW = (psycopg.errors.WrongObjectType, psycopg.errors.ObjectNotInPrerequisiteState)
"""What no role may do with a view."""
Case = tuple[str, str, str, str]
"""Role, table, operation, column ('' for an operation on the table)."""
OF_ATTACKERS = (
    "SELECT passwd FROM pg_shadow", "CREATE TABLE public.pancake_more (id integer)", "CREATE SCHEMA more",
    "CREATE ROLE more", "COPY account (id) TO PROGRAM 'true'", "COPY account (id) FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
)  # fmt: skip
OF_HANDLERS = (
    "SELECT public.pancake_pending_event_ids('20 seconds')",
    "SELECT public.pancake_delete_event_logs(now(), 1)",
    "SELECT public.pancake_unlock_events('20 seconds', 1)",
    "SELECT public.pancake_delivery_history('0', 0)",
    "SELECT public.pancake_fired_event_id(1)",
)
INSTALL = Path(__file__).parents[2] / "docs" / "runbook" / "install.md"


@pytest.fixture(scope="module")
def prepared(migrated: Db) -> Db:
    """The migrated database with the engine's catalogue, the grants, and each statement prepared."""
    run_file(migrated, GRANTS)
    migrated.execute("SET plan_cache_mode = force_generic_plan")
    for name in {name for names in STATEMENTS.values() for name in names}:
        prepare(migrated, name)
    return migrated


@pytest.fixture
def db(prepared: Db) -> Iterator[Db]:
    """The same; what a test changes is undone."""
    with prepared.transaction(force_rollback=True):
        yield prepared


def rights(db: Db, role: str = HANDLERS) -> list[tuple[str, str | None, str]]:
    """Return table, column (None: the whole table) and privilege."""
    found = db.execute(RIGHTS, {"role": role}).fetchall()
    assert not any(is_grantable for *_, is_grantable in found)
    return sorted(((name, column, privilege) for name, column, privilege, _ in found), key=str)


def may(db: Db, role: str, statement: bytes | sql.Composed) -> bool:
    """Whether the role may run the statement, which is undone."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            db.execute(statement)
    except (psycopg.errors.InsufficientPrivilege, *IS_VIEW):
        return False
    return True


def may_plan(db: Db, role: str, name: str) -> bool:
    """PostgreSQL checks the rights on every table of a statement before it shows the plan."""
    arguments = sql.SQL(", ").join([sql.NULL] * len(placeholders(name)))
    call = sql.SQL("({})").format(arguments) if placeholders(name) else sql.SQL("")
    return may(db, role, sql.SQL("EXPLAIN EXECUTE {}{}").format(sql.Identifier(name), call))


def noted(db: Db) -> list[str]:
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    return notices


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_run_each_of_its_statements(db: Db, subtests: pytest.Subtests, role: str) -> None:
    for name in STATEMENTS[role]:
        with subtests.test(name):
            assert may_plan(db, role, name)


@pytest.mark.parametrize("role", ROLES)
def test_each_right_is_needed_by_a_statement(db: Db, role: str) -> None:
    superfluous = []
    for table, column, privilege in rights(db, role):
        of_columns = sql.SQL("({})").format(sql.Identifier(column)) if column else sql.SQL("")
        revoke = sql.SQL("REVOKE {}{} ON {} FROM {}")
        # The statements that name the table first: others read it through a function.
        names = sorted(STATEMENTS[role], key=lambda name: table.encode() not in QUERIES[name])
        with db.transaction(force_rollback=True):
            db.execute(revoke.format(sql.SQL(privilege), of_columns, sql.SQL(table), sql.Identifier(role)))
            if all(may_plan(db, role, name) for name in names):
                superfluous.append((table, column, privilege))
    assert set(superfluous) == BY_TRIGGERS


@pytest.mark.parametrize("role", ROLES)
def test_the_role_has_no_attributes_no_roles_and_owns_nothing(db: Db, role: str) -> None:
    attributes = (
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s"
    )
    assert db.execute(attributes, [role]).fetchall() == [(False,) * 6]
    assert db.execute("SELECT FROM pg_auth_members WHERE member = %s::regrole", [role]).fetchall() == []
    assert db.execute("SELECT FROM pg_class WHERE relowner = %s::regrole", [role]).fetchall() == []


def test_functions_with_the_rights_of_their_owner_show_and_delete_events_of_our_trigger_only(db: Db) -> None:
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
    ours, theirs = "pancake_webhook_event_status_update", "orders_changed"
    assert left == [(theirs, False), (theirs, True), (ours, False)]
    pinned = db.execute(
        "SELECT DISTINCT proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert pinned.fetchall() == [(["search_path=pg_catalog, pg_temp"],)]


OURS = "pancake_webhook_event_status_update"
LOGGING = """
CREATE FUNCTION hdb_catalog.log_of_the_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hdb_catalog.insert_event_log('public', TG_ARGV[0], TG_ARGV[1], 'UPDATE', '{}');
    RETURN NULL;
END $$;
INSERT INTO account (id, normalized_phone) VALUES (gen_random_uuid(), '+84905111222');
"""
WRITE = "UPDATE account SET normalized_phone = normalized_phone"
IN_A_TRIGGER = """
CREATE TEMP TABLE mine (i integer);
CREATE FUNCTION pg_temp.forge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hdb_catalog.insert_event_log('public', {!r}, {!r}, 'UPDATE', '{{}}');
    RETURN NULL;
END $$;
CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pg_temp.forge();
INSERT INTO mine VALUES (1)
"""
FORGED = {
    "by hand": ("pancake_webhook_event", OURS, "MANUAL"),
    "another trigger": ("orders", "orders_changed", "INSERT"),
    "another trigger, with our table": ("pancake_webhook_event", "orders_changed", "INSERT"),
    "a trigger of a written table, without a write": ("account", "account_changed", "UPDATE"),
}
AS_CEO = """SET LOCAL "hasura.user" = '{"x-hasura-role": "admin", "x-hasura-user-id": "ceo"}'; """


@pytest.mark.parametrize("role", ROLES)
def test_a_role_logs_only_events_that_its_own_writes_fire(
    db: Db, role: str, subtests: pytest.Subtests
) -> None:
    db.execute(LOGGING)
    for table in ("account", "staff"):
        trigger = sql.SQL("CREATE TRIGGER {} AFTER UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION")
        name = sql.Identifier(f"notify_hasura_{table}_changed_UPDATE")
        arguments = f" hdb_catalog.log_of_the_test('{table}', '{table}_changed')"
        db.execute(trigger.format(name, sql.Identifier(table)) + sql.SQL(arguments))
    call = "SELECT hdb_catalog.insert_event_log('public', '{}', '{}', '{}', '{{}}')"
    allowed = [WRITE, call.format("pancake_webhook_event", OURS, "INSERT")]
    forged = {name: call.format(*arguments) for name, arguments in FORGED.items()}
    forged |= {f"as the CEO: {each}": AS_CEO + each for each in allowed}
    forged["a trigger of a table that is not written"] = IN_A_TRIGGER.format("staff", "staff_changed")
    forged["another trigger, in a trigger"] = IN_A_TRIGGER.format("account", "orders_changed")
    own_table = IN_A_TRIGGER.replace("'public'", "'pg_temp'").replace(
        "forge AFTER", '"notify_hasura_x_INSERT" AFTER'
    )
    forged["the trigger of a table of its own"] = own_table.format("mine", "x")
    for statement in allowed:
        assert may(db, role, statement.encode()), statement
    for attack, statement in forged.items():
        with subtests.test(attack):
            assert not may(db, role, statement.encode())
            with db.transaction(force_rollback=True):
                db.execute(statement.encode())  # as the owner


def test_the_log_is_as_before_once_the_rights_are_taken_back(db: Db) -> None:
    row_security = (
        "SELECT c.relrowsecurity, (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid)"
        " FROM pg_class AS c WHERE c.oid = 'hdb_catalog.event_log'::regclass"
    )
    assert db.execute(row_security).fetchone() == (True, 2)
    run_file(db, GRANTS.with_name("revoke_roles.sql"))
    assert db.execute(row_security).fetchone() == (False, 0)


def test_the_rights_are_taken_back_also_where_another_role_owns_hasuras_log(db: Db) -> None:
    db.execute("CREATE ROLE owner_of_the_test; ALTER SCHEMA public OWNER TO owner_of_the_test")
    for table, kind in db.execute(
        "SELECT oid::regclass::text, relkind FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
    ).fetchall():
        alter = sql.SQL("ALTER {} {} OWNER TO owner_of_the_test")
        db.execute(alter.format(sql.SQL("VIEW" if kind == "v" else "TABLE"), sql.SQL(table)))
    notices = noted(db)
    with db.transaction():
        db.execute("SET LOCAL ROLE owner_of_the_test")
        run_file(db, GRANTS.with_name("revoke_roles.sql"))
        db.execute("RESET ROLE")
    (notice,) = [notice for notice in notices if "not taken back" in notice]
    assert "hdb_catalog.event_log" in notice
    left = {table for table, _, _ in rights(db)}
    assert left
    assert not any(table.startswith("pancake_") or table == "ticket" for table in left)


def test_it_names_the_roles_that_can_no_longer_dump_hasuras_log(db: Db) -> None:
    db.execute("CREATE ROLE reader_of_the_test LOGIN; GRANT pg_read_all_data TO reader_of_the_test")
    db.execute("CREATE ROLE backup_of_the_test LOGIN BYPASSRLS; GRANT pg_read_all_data TO backup_of_the_test")
    notices = noted(db)
    run_file(db, GRANTS)
    (notice,) = notices
    assert ": reader_of_the_test. If one makes backups: ALTER ROLE … BYPASSRLS" in notice
    for role, is_dumped in {"reader_of_the_test": False, "backup_of_the_test": True}.items():
        dump = b"SET LOCAL row_security = off; SELECT * FROM hdb_catalog.event_log"
        assert may(db, role, dump) == is_dumped


def test_a_second_run_takes_back_other_rights_and_another_policy_and_changes_nothing_else(db: Db) -> None:
    def granted() -> tuple[object, object]:
        policy = (
            "SELECT polname, polroles, pg_get_expr(polwithcheck, polrelid) FROM pg_policy"
            " WHERE polrelid = 'hdb_catalog.event_log'::regclass ORDER BY polname"
        )
        return rights(db), db.execute(policy).fetchall()

    before = granted()
    db.execute("GRANT DELETE, TRUNCATE ON ticket TO pancake_handlers")
    db.execute("GRANT UPDATE (phone_number) ON account TO pancake_handlers")
    db.execute("GRANT SELECT ON crm_master_data TO pancake_handlers")
    db.execute("ALTER POLICY pancake_events_of_their_writes ON hdb_catalog.event_log WITH CHECK (true)")
    run_file(db, GRANTS)
    assert granted() == before


def test_it_names_an_owner_of_the_functions_who_has_no_rights_in_hasuras_log(db: Db) -> None:
    notices = noted(db)
    db.execute("CREATE ROLE other_owner_of_the_test; GRANT ALL ON SCHEMA public TO other_owner_of_the_test")
    run_file(db, GRANTS)
    assert notices == []
    db.execute("ALTER FUNCTION pancake_unlock_events OWNER TO other_owner_of_the_test")
    for granted, lacking in (("TRIGGER", "DELETE, SELECT, UPDATE"), ("SELECT, DELETE", "UPDATE")):
        db.execute(f"GRANT {granted} ON hdb_catalog.event_log TO other_owner_of_the_test".encode())
        notices.clear()
        run_file(db, GRANTS)
        (notice,) = notices
        assert notice.startswith("role other_owner_of_the_test owns functions that read and change")
        assert f"and lacks {lacking} on hdb_catalog.event_log" in notice
        assert notice.endswith("The functions: pancake_unlock_events(interval,bigint)")
    db.execute("GRANT UPDATE ON hdb_catalog.event_log TO other_owner_of_the_test")
    notices.clear()
    run_file(db, GRANTS)
    assert notices == []


def test_it_may_run_before_the_migrations_and_names_what_is_missing(diva_database: str) -> None:
    with psycopg.connect(diva_database, autocommit=True) as db:
        notices = noted(db)
        run_file(db, GRANTS)
        granted = {table for table, _, _ in rights(db)}
    assert granted == {"account", "contact_book", "customer_consent", "staff", "ticket"}
    (notice,) = notices
    for missing in ("account.normalized_phone", "pancake_webhook_event"):
        assert f"public.{missing}" in notice
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


@dataclass(frozen=True)
class Table:
    name: str
    is_view: bool
    columns: tuple[str, ...]

    def statement(self, template: str, column: str) -> sql.Composed:
        parts = {
            "table": sql.Identifier(*self.name.split(".")),
            "column": sql.Identifier(column),
            "kind": sql.SQL("VIEW" if self.is_view else "TABLE"),
        }
        used = {name: part for name, part in parts.items() if f"{{{name}}}" in template}
        return sql.SQL(template).format(**used)


def tables(db: Db) -> list[Table]:
    found: dict[str, Table] = {}
    for schema, name, is_view, column in db.execute(COLUMNS.encode()).fetchall():
        before = found.get(f"{schema}.{name}")
        columns = (*before.columns, column) if before else (column,)
        found[f"{schema}.{name}"] = Table(f"{schema}.{name}", is_view, columns)
    return list(found.values())


def listed(all_tables: list[Table]) -> set[Case]:
    """What grant_roles.sql lists; its part for the operators begins after UNION ALL."""
    columns = {table.name: table.columns for table in all_tables}
    cases: set[Case] = set()
    for role, part in zip(ROLES, GRANTS.read_text().split("UNION ALL"), strict=True):
        for table, privilege, named in LINE.findall(part):
            of_columns = named.split(", ") if named else columns[table]
            cases |= {(role, table, privilege, column) for column in of_columns if privilege in OF_COLUMNS}
            if privilege not in OF_COLUMNS:
                cases.add((role, table, privilege, ""))
    return cases


def test_what_is_not_listed_is_refused_and_rows_are_deleted_only_from_logs(
    db: Db, record_property: Callable[[str, object], None]
) -> None:
    """Each operation on each table and column, tried with both roles. What is listed is allowed."""
    all_tables = tables(db)
    tried: dict[Case, bool] = {}
    for role, table in product(ROLES, all_tables):
        for (operation, template), column in product(OF_COLUMNS.items(), table.columns):
            statement = table.statement(template, column)
            tried[role, table.name, operation, column] = may(db, role, statement)
        for operation, template in OF_TABLES.items():
            statement = table.statement(template, table.columns[0])
            tried[role, table.name, operation, ""] = may(db, role, statement)
    allowed = {case for case, is_allowed in tried.items() if is_allowed}
    assert allowed == listed(all_tables)
    assert {case for case in allowed if case[2] not in OF_COLUMNS} == {
        (HANDLERS, table, "DELETE", "") for table in LOGS
    }
    assert {table.name.partition(".")[0] for table in all_tables} == {"public", "hdb_catalog", "controller"}
    assert len(tried) > 1500
    record_property("tries", len(tried) - len(allowed))


def test_nothing_beside_the_tables_is_open_to_an_attacker(
    db: Db, record_property: Callable[[str, object], None]
) -> None:
    tried = [(role, statement) for role in ROLES for statement in OF_ATTACKERS]
    tried += [(OPERATORS, statement) for statement in OF_HANDLERS]
    record_property("tries", len(tried))
    assert [(role, statement) for role, statement in tried if may(db, role, statement.encode())] == []


def refused_and_slow_statements(cluster: Cluster, url: str) -> str:
    """Run a statement that counts as slow and one that is refused; return what was logged."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    before = len(cluster.log.read_text())
    of_role = urlunsplit(parts._replace(netloc=f"role_of_the_log_test:secret@{host}"))
    with psycopg.connect(of_role, autocommit=True) as session:
        session.execute("SELECT %s::text", [PHONE])
        with suppress(psycopg.errors.CheckViolation):
            session.execute("INSERT INTO t VALUES (%s)", [PHONE])
    return cluster.log.read_text()[before:]


@pytest.mark.own_database
def test_slow_and_refused_statements_are_logged_without_their_values(cluster: Cluster, database: str) -> None:
    """With the settings that docs/runbook/install.md gives the handlers' role."""
    if not cluster.is_embedded:
        pytest.skip("reads the server's log, which only an embedded server has here")
    settings = re.findall(r"ALTER ROLE diva_handlers SET (\w+) = (\w+)", INSTALL.read_text())
    role = sql.Identifier("role_of_the_log_test")
    table = sql.SQL("CREATE TABLE t (phone text CHECK (phone <> {})); GRANT ALL ON t TO {}")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
        try:
            owner.execute(table.format(sql.Literal(PHONE), role))
            owner.execute(sql.SQL("ALTER ROLE {} SET log_min_duration_statement = 0").format(role))
            logged = refused_and_slow_statements(cluster, database)
            assert logged.count(PHONE) >= 3, logged
            for name, value in settings:
                setting = sql.SQL("ALTER ROLE {} SET {} = {}")
                owner.execute(setting.format(role, sql.Identifier(name), sql.Literal(value)))
            logged = refused_and_slow_statements(cluster, database)
            assert PHONE not in logged
            assert "violates check constraint" in logged
            assert "SELECT $1::text" in logged
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
