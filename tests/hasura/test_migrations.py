"""The migrations: up, down and up again; each refuses a database that it does not expect."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.postgres.database import MIGRATIONS, migrate
from tests.support.migrations import execute, run

pytestmark = pytest.mark.own_database

VERSIONS = {
    "1777870069928": "add_account_normalized_phone",
    "1777870069929": "backfill_normalized_phone",
    "1777870069930": "add_contact_book_primary_phone",
    "1777870069931": "create_pancake_tables",
    "1777870069932": "insert_ticket_source_pancake",
    "1777870069933": "insert_pancake_permissions",
    "1777870069934": "insert_notification_templates",
    "1777870069935": "add_pancake_settings",
    "1777870069938": "create_integration_change",
}
TABLES = {
    "pancake_connection",
    "pancake_source",
    "pancake_assignee",
    "pancake_webhook_event",
    "pancake_cron_run",
}
FOLDERS = sorted(MIGRATIONS.iterdir())
FINISHED_BY = {
    "1777870069928": "1777870069929", "1777870069930": "1777870069935", "1777870069931": "1777870069938",
}  # fmt: skip
"""Migrations that a later one finishes: with weaker locks, or with triggers on their tables."""

REWRITING = [folder for folder in FOLDERS if "1777870069932" <= folder.name.split("_")[0] <= "1777870069935"]

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


def folder(version: str) -> Path:
    (found,) = (folder for folder in FOLDERS if folder.name.startswith(version))
    return found


def comparable_schema(url: str) -> tuple[list[Any], list[Any]]:
    """Return the schema and the rows of Diva that we change, in comparable form."""
    with psycopg.connect(url) as connection:
        schema = connection.execute(SCHEMA.encode()).fetchall()
        rows = connection.execute(ROWS.encode()).fetchall()
    return sorted(schema), sorted(rows, key=repr)


def down(url: str, to: str = "") -> None:
    """Revert migrations, the newest first, down to and including the version `to`."""
    run(url, *(found / "down.sql" for found in reversed(FOLDERS) if found.name >= to))


def test_the_versions_are_exactly_these() -> None:
    assert [found.name for found in FOLDERS] == [f"{version}_{name}" for version, name in VERSIONS.items()]
    files = {found.name: sorted(path.name for path in found.iterdir()) for found in FOLDERS}
    soft = f"1777870069932_{VERSIONS['1777870069932']}"
    assert files.pop(soft) == ["down-soft.sql", "down.sql", "up.sql"]
    assert all(names == ["down.sql", "up.sql"] for names in files.values())


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
        if later := FINISHED_BY.get(found.name.split("_")[0]):
            run(database, folder(later) / "up.sql")
        assert comparable_schema(database) == before, found.name


def test_the_script_that_drops_tables_mentions_pg_dump() -> None:
    assert "pg_dump" in (folder("1777870069931") / "down.sql").read_text("utf-8")


def test_migrations_that_write_rows_can_run_twice(database: str) -> None:
    before = comparable_schema(database)
    for found in REWRITING:
        run(database, found / "up.sql")
        assert comparable_schema(database) == before, found.name
    for found in reversed(REWRITING):
        run(database, found / "down.sql", found / "down.sql")


@pytest.mark.parametrize(
    "path", sorted(MIGRATIONS.rglob("*.sql")), ids=lambda path: path.parent.name + path.stem
)
def test_every_script_sets_timeouts_and_starts_with_a_comment(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("-- ")
    statements = re.sub(r"--.*", "", text)
    if re.search(r"\b(ALTER|CREATE|DROP|UPDATE|INSERT|DELETE)\b", statements):
        assert "SET LOCAL lock_timeout" in statements
        assert "SET LOCAL statement_timeout" in statements
    assert "CONCURRENTLY" not in statements
    assert "EXTENSION" not in statements.upper()
    assert not re.search(r"^\s*(BEGIN|COMMIT);", statements, re.M)


@pytest.mark.parametrize("found", REWRITING, ids=[found.name for found in REWRITING])
def test_migrations_that_write_rows_check_their_anchor(found: Path) -> None:
    text = (found / "up.sql").read_text("utf-8")
    assert "Anchor:" in text
    assert "to_regclass" in text
    assert text.count("RAISE EXCEPTION") >= 3


ANCHORS = [
    (
        "1777870069930",
        "INSERT INTO contact_book (account_id) VALUES (gen_random_uuid())",
        "1 rows of contact_book reference an account that does not exist",
    ),
    ("1777870069932", "DELETE FROM crm_master_data WHERE id = 'ticket_source_4'", "found 7"),
    ("1777870069932", "ALTER TABLE crm_master_data RENAME TO moved", "crm_master_data does not exist"),
    (
        "1777870069933",
        "INSERT INTO module_permission_action (module, action, role)"
        " VALUES ('pancake_crm_integration', 'access', 'manager')",
        "already grants 1 actions",
    ),
    (
        "1777870069933",
        "INSERT INTO module_permission_action (module, action, role)"
        " VALUES ('pancake_crm_integration', 'fly', 'admin')",
        "expected 6 actions, found 7",
    ),
    ("1777870069933", "ALTER TABLE module_permission_action RENAME TO moved", "does not exist"),
    (
        "1777870069934",
        "INSERT INTO notification_template (code, title, body, channel)"
        " VALUES ('noti_pancake_x', '', '', '')",
        "not as this migration writes them: noti_pancake_x",
    ),
    ("1777870069934", "ALTER TABLE notification_template RENAME TO moved", "does not exist"),
    ("1777870069935", "DELETE FROM app_setting", "no row 1"),
    ("1777870069935", "UPDATE app_setting SET app_settings = '[]'", "no row 1 with a JSON object"),
    ("1777870069935", "ALTER TABLE app_setting RENAME TO moved", "does not exist"),
]


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
    execute(database, "INSERT INTO ticket (title, source_id) VALUES ('x', 'ticket_source_pancake')")
    source = folder("1777870069932")
    with pytest.raises(psycopg.errors.RaiseException, match="1 tickets"):
        run(database, source / "down.sql")
    run(database, source / "down-soft.sql", source / "down-soft.sql")
    disabled = "SELECT disabled FROM crm_master_data WHERE id = 'ticket_source_pancake'"
    assert execute(database, disabled) == [(True,)]
    run(database, source / "up.sql")
    assert execute(database, disabled) == [(False,)]


def test_existing_settings_are_kept_and_new_ones_start_with_the_kill_switch_on(database: str) -> None:
    setting = "SELECT app_settings -> 'pancake_integration' FROM app_setting WHERE id = 1"
    ((found,),) = execute(database, setting)
    assert (found["kill_switch"], found["processing_paused"]) == (True, False)
    execute(
        database,
        "UPDATE app_setting SET"
        " app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false')",
    )
    run(database, folder("1777870069935") / "up.sql")
    ((found,),) = execute(database, setting)
    assert found["kill_switch"] is False
    run(database, folder("1777870069935") / "down.sql")
    ((rest,),) = execute(database, "SELECT app_settings FROM app_setting WHERE id = 1")
    assert set(rest) == {"company", "stringee"}


@pytest.mark.parametrize("settings", ["null", "[]", '"off"'])
def test_settings_that_are_no_object_are_replaced_by_the_defaults(database: str, settings: str) -> None:
    execute(
        database,
        "UPDATE app_setting SET"
        f" app_settings = jsonb_set(app_settings, '{{pancake_integration}}', '{settings}')",
    )
    run(database, folder("1777870069935") / "up.sql")
    assert execute(database, "SELECT kill_switch, problems FROM view_pancake_setting") == [(True, [])]


def test_without_its_settings_the_view_shows_the_defaults(database: str) -> None:
    run(database, folder("1777870069935") / "down.sql")
    assert execute(database, "SELECT kill_switch, sla_minutes FROM view_pancake_setting") == [(True, 30)]


def test_only_admin_gets_the_six_actions(database: str) -> None:
    rows = execute(
        database,
        "SELECT action, role FROM module_permission_action WHERE module = 'pancake_crm_integration'",
    )
    actions = {"access", "view_events", "replay", "manage_connection", "manage_sources", "kill_switch"}
    assert set(rows) == {(action, "admin") for action in actions}


def test_the_phone_of_an_account_is_cleared_when_another_program_changes_it(database: str) -> None:
    execute(
        database,
        "INSERT INTO account (id, phone_code, phone_number, normalized_phone)"
        " VALUES ('00000000-0000-4000-8000-000000000001', '84', '0905111222', '+84905111222')",
    )
    phone = "SELECT normalized_phone FROM account WHERE id = '00000000-0000-4000-8000-000000000001'"
    where = " WHERE id = '00000000-0000-4000-8000-000000000001'"
    execute(database, "UPDATE account SET display_name = 'x', phone_number = '0905111222'" + where)
    assert execute(database, phone) == [("+84905111222",)]
    execute(
        database,
        "UPDATE account SET phone_number = '0905111333', normalized_phone = '+84905111333'" + where,
    )
    assert execute(database, phone) == [("+84905111333",)]  # a program that sets the column itself
    execute(database, "UPDATE account SET phone_code = '1'" + where)
    assert execute(database, phone) == [(None,)]
