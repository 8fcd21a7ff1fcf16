"""The migrations that write rows of Diva: each checks what it wrote, and takes over no row of others."""

import re
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres.database import MIGRATIONS
from tests.support.migrations import execute, run

pytestmark = pytest.mark.own_database

SOURCE, MENU, TEMPLATES, SETTINGS = (
    next(MIGRATIONS.glob(f"{version}_*")) for version in range(1777870069932, 1777870069936)
)
# A trigger that swallows every write of a table, without an error: 0 rows are written.
SWALLOW = """
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER a_swallow BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION swallow();
"""
ROWS = "SELECT to_jsonb(t) FROM {table} AS t ORDER BY t"
SWALLOWED = [
    (SOURCE, "crm_master_data", "up.sql", "expected to write 1 row, wrote 0"),
    (SOURCE, "crm_master_data", "down-soft.sql", "is not disabled after the update"),
    (SOURCE, "crm_master_data", "down.sql", "still exists after its deletion"),
    (MENU, "module_permission_action", "up.sql", "expected 6 actions, found 0"),
    (MENU, "module_permission_action", "down.sql", "still has rows of pancake_crm_integration"),
    (TEMPLATES, "notification_template", "up.sql", "expected 3 templates .* found 0"),
    (
        TEMPLATES,
        "notification_template",
        "down.sql",
        "still exist after their deletion: .*needs_attention, noti_pancake_new_lead",
    ),
    (SETTINGS, "app_setting", "up.sql", "expected to update 1 row, updated 0"),
    (SETTINGS, "app_setting", "down.sql", "still in app_settings after its removal"),
]


@pytest.mark.parametrize(
    ("folder", "table", "script", "message"),
    SWALLOWED,
    ids=[f"{folder.name[10:13]}-{script}" for folder, _, script, _ in SWALLOWED],
)
def test_a_write_that_changes_no_row_is_an_error(
    database: str, folder: Path, table: str, script: str, message: str
) -> None:
    if script == "up.sql":
        run(database, folder / "down.sql")
    before = execute(database, ROWS.format(table=table))
    execute(database, SWALLOW.format(table=table))
    with pytest.raises(psycopg.errors.RaiseException, match=message):
        run(database, folder / script)
    assert execute(database, ROWS.format(table=table)) == before


def test_every_script_that_writes_rows_is_tested_so() -> None:
    function = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION.*?^\$\$;", re.DOTALL | re.MULTILINE)
    writes = re.compile(r"^ *(?:INSERT INTO|UPDATE|DELETE FROM) public\.", re.MULTILINE)
    texts = {path: function.sub("", path.read_text("utf-8")) for path in MIGRATIONS.rglob("*.sql")}
    found = {path for path, text in texts.items() if writes.search(text)}
    assert {path.parent for path in found} == {SOURCE, MENU, TEMPLATES, SETTINGS}
    assert {folder / script for folder, _, script, _ in SWALLOWED} == found


@pytest.mark.parametrize("column", ["title", "body", "channel"])
@pytest.mark.parametrize("script", ["up.sql", "down.sql"])
def test_a_template_of_another_program_under_one_of_our_codes_is_refused(
    database: str, script: str, column: str
) -> None:
    """It is named in the message, and neither taken over nor deleted."""
    execute(
        database,
        f"UPDATE notification_template SET {column} = 'theirs' WHERE code = 'noti_pancake_new_lead'",
    )
    before = execute(database, ROWS.format(table="notification_template"))
    with pytest.raises(psycopg.errors.RaiseException, match=r"not as this migration .*noti_pancake_new_lead"):
        run(database, TEMPLATES / script)
    assert execute(database, ROWS.format(table="notification_template")) == before


def test_the_templates_are_the_same_in_both_scripts() -> None:
    lists = [
        re.findall(r"^ *\{\"code\".*$", (TEMPLATES / script).read_text("utf-8"), re.MULTILINE)
        for script in ("up.sql", "down.sql")
    ]
    assert lists[0] == lists[1]
    assert len(lists[0]) == 3
