"""The migrations: up, down and up again; each refuses a database that it does not expect."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.clients.db_session import QUERIES
from sandbox.postgres.database import MIGRATIONS, migrate, run_file
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
    ],
    "1777870069953": ["1777870069961"],
}  # fmt: skip
"""Migrations that later ones finish: with weaker locks, triggers on their tables, or newer functions."""
REWRITING = [folder for folder in FOLDERS if "1777870069932" <= folder.name.split("_")[0] <= "1777870069935"]
SOURCE, MENU, TEMPLATES, SETTING = REWRITING
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
GRANT = "INSERT INTO module_permission_action (module, action, role) VALUES ('pancake_crm_integration', {})"
ANCHORS = [
    ("1777870069930", "INSERT INTO contact_book (account_id) VALUES (gen_random_uuid())",
     "1 rows of contact_book reference an account that does not exist"),
    ("1777870069932", "DELETE FROM crm_master_data WHERE id = 'ticket_source_4'", "found 7"),
    ("1777870069932", "ALTER TABLE crm_master_data RENAME TO moved", "crm_master_data does not exist"),
    ("1777870069933", GRANT.format("'access', 'manager'"), "already grants 1 actions"),
    ("1777870069933", GRANT.format("'fly', 'admin'"), "expected 6 actions, found 7"),
    ("1777870069933", "ALTER TABLE module_permission_action RENAME TO moved", "does not exist"),
    ("1777870069934", "INSERT INTO notification_template (code, title, body, channel)"
     " VALUES ('noti_pancake_x', '', '', '')", "not as this migration writes them: noti_pancake_x"),
    ("1777870069934", "ALTER TABLE notification_template RENAME TO moved", "does not exist"),
    ("1777870069935", "DELETE FROM app_setting", "no row 1"),
    ("1777870069935", "UPDATE app_setting SET app_settings = '[]'", "no row 1 with a JSON object"),
    ("1777870069935", "ALTER TABLE app_setting RENAME TO moved", "does not exist"),
]  # fmt: skip
SWALLOW = """
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER a_swallow BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION swallow();
"""
"""A trigger that swallows every write of a table, without an error: 0 rows are written."""
ALL_ROWS = "SELECT to_jsonb(t) FROM {table} AS t ORDER BY t"
SWALLOWED = [
    (SOURCE, "crm_master_data", "up.sql", "expected to write 1 row, wrote 0"),
    (SOURCE, "crm_master_data", "down-soft.sql", "is not disabled after the update"),
    (SOURCE, "crm_master_data", "down.sql", "still exists after its deletion"),
    (MENU, "module_permission_action", "up.sql", "expected 6 actions, found 0"),
    (MENU, "module_permission_action", "down.sql", "still has rows of pancake_crm_integration"),
    (TEMPLATES, "notification_template", "up.sql", "expected 3 templates .* found 0"),
    (TEMPLATES, "notification_template", "down.sql",
     "still exist after their deletion: .*needs_attention, noti_pancake_new_lead"),
    (SETTING, "app_setting", "up.sql", "expected to update 1 row, updated 0"),
    (SETTING, "app_setting", "down.sql", "still in app_settings after its removal"),
]  # fmt: skip


def folder(version: str) -> Path:
    (found,) = (folder for folder in FOLDERS if folder.name.startswith(version))
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


def test_migrations_that_write_rows_can_run_twice(database: str) -> None:
    before = comparable_schema(database)
    for found in REWRITING:
        run(database, found / "up.sql")
        assert comparable_schema(database) == before, found.name
    for found in reversed(REWRITING):
        run(database, found / "down.sql", found / "down.sql")


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


@pytest.mark.parametrize(("version", "surprise", "message"), ANCHORS, ids=range(len(ANCHORS)))
def test_an_anchor_refuses_unexpected_rows_and_changes_nothing(
    database: str, version: str, surprise: str, message: str
) -> None:
    down(database, version)
    execute(database, surprise)
    schema = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public'"
    before = execute(database, schema)
    with pytest.raises(psycopg.errors.RaiseException, match=message):
        run(database, folder(version) / "up.sql")
    assert execute(database, schema) == before


def test_the_ticket_source_is_kept_while_tickets_refer_to_it_and_can_be_disabled(database: str) -> None:
    """The message has the number of tickets and names down-soft.sql, which only disables the source."""
    execute(database, "INSERT INTO ticket (title, source_id) VALUES ('x', 'ticket_source_pancake')")
    with pytest.raises(psycopg.errors.RaiseException, match=r"1 tickets .* down-soft\.sql"):
        run(database, SOURCE / "down.sql")
    run(database, SOURCE / "down-soft.sql", SOURCE / "down-soft.sql")
    disabled = "SELECT disabled FROM crm_master_data WHERE id = 'ticket_source_pancake'"
    assert execute(database, disabled) == [(True,)]
    assert execute(database, "SELECT source_id FROM ticket WHERE title = 'x'") == [("ticket_source_pancake",)]
    run(database, SOURCE / "up.sql")
    assert execute(database, disabled) == [(False,)]


def test_existing_settings_are_kept_and_new_ones_start_with_the_kill_switch_on(database: str) -> None:
    look = "SELECT kill_switch, processing_paused, sla_minutes FROM view_pancake_setting"
    assert execute(database, look) == [(True, False, 30)]
    execute(database, "UPDATE view_pancake_setting SET kill_switch = false")
    run(database, SETTING / "up.sql")
    assert execute(database, look) == [(False, False, 30)]
    run(database, SETTING / "down.sql")
    ((rest,),) = execute(database, "SELECT app_settings FROM app_setting")
    assert set(rest) == {"company", "stringee"}
    assert execute(database, look) == [(True, False, 30)], "without its settings the view shows the defaults"


def test_settings_that_are_no_object_are_replaced_by_the_defaults(
    database: str, subtests: pytest.Subtests
) -> None:
    change = "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{{pancake_integration}}', '{}')"
    for settings in ("null", "[]", '"off"'):
        with subtests.test(settings=settings):
            execute(database, change.format(settings))
            run(database, SETTING / "up.sql")
            look = "SELECT kill_switch, problems FROM view_pancake_setting"
            assert execute(database, look) == [(True, [])]


def test_only_admin_gets_the_six_actions(database: str) -> None:
    look = "SELECT action, role FROM module_permission_action WHERE module = 'pancake_crm_integration'"
    actions = {"access", "view_events", "replay", "manage_connection", "manage_sources", "kill_switch"}
    assert set(execute(database, look)) == {(action, "admin") for action in actions}


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


@pytest.mark.parametrize(("migration", "table", "script", "message"), SWALLOWED, ids=range(len(SWALLOWED)))
def test_a_write_that_changes_no_row_is_an_error(
    database: str, migration: Path, table: str, script: str, message: str
) -> None:
    if script == "up.sql":
        run(database, migration / "down.sql")
    before = execute(database, ALL_ROWS.format(table=table))
    execute(database, SWALLOW.format(table=table))
    with pytest.raises(psycopg.errors.RaiseException, match=message):
        run(database, migration / script)
    assert execute(database, ALL_ROWS.format(table=table)) == before


@pytest.mark.parametrize("column", ["title", "body", "channel"])
def test_a_template_of_another_program_under_one_of_our_codes_is_refused(
    database: str, column: str, subtests: pytest.Subtests
) -> None:
    """It is named in the message, and neither taken over nor deleted."""
    change = f"UPDATE notification_template SET {column} = 'theirs' WHERE code = 'noti_pancake_new_lead'"
    execute(database, change)
    before = execute(database, ALL_ROWS.format(table="notification_template"))
    for script in ("up.sql", "down.sql"):
        with subtests.test(script=script):
            message = r"not as this migration .*noti_pancake_new_lead"
            with pytest.raises(psycopg.errors.RaiseException, match=message):
                run(database, TEMPLATES / script)
            assert execute(database, ALL_ROWS.format(table="notification_template")) == before


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
