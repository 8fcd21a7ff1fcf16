"""Changing the settings through the view: what is stored, and what is refused."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.waiting import eventually


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


def store(db: psycopg.Connection[dict[str, Any]], settings: str) -> None:
    """Replace the settings of the integration, as a direct write does."""
    db.execute(
        "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}', %s)",
        [settings],
    )


def stored(db: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    (row,) = db.execute("SELECT app_settings FROM app_setting").fetchall()
    assert set(row["app_settings"]) == {"company", "stringee", "pancake_integration"}
    settings = row["app_settings"]["pancake_integration"]
    assert isinstance(settings, dict)
    return settings


def shown(db: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    (row,) = db.execute("SELECT * FROM view_pancake_setting").fetchall()
    return row


@pytest.mark.parametrize(
    "settings", ['{"sla_minutes": "soon", "kill_switch": "false"}', "{}", "null", "[]", '"off"']
)
def test_a_change_also_stores_the_shown_values_of_unreadable_settings(
    db: psycopg.Connection[dict[str, Any]], settings: str
) -> None:
    store(db, settings)
    before = shown(db)
    row = db.execute("UPDATE view_pancake_setting SET processing_paused = true RETURNING problems").fetchone()
    assert row == {"problems": []}
    after = shown(db)
    assert {name for name in before if after[name] != before[name]} == {
        "processing_paused", "problems", "changed_at", "changed_by",
    }  # fmt: skip


def test_a_change_leaves_readable_settings_and_unknown_keys_as_they_are(
    db: psycopg.Connection[dict[str, Any]],
) -> None:
    store(db, '{"kill_switch": "false", "unknown": 1}')
    db.execute("UPDATE view_pancake_setting SET processing_paused = true")
    assert (stored(db)["kill_switch"], stored(db)["unknown"]) == ("false", 1)


def test_saving_the_shown_value_mends_an_unreadable_setting(db: psycopg.Connection[dict[str, Any]]) -> None:
    store(db, '{"sla_minutes": "soon"}')
    db.execute("UPDATE view_pancake_setting SET sla_minutes = 30")
    assert (stored(db)["sla_minutes"], shown(db)["problems"]) == (30, [])
    assert shown(db)["changed_at"] is not None


def test_saving_what_is_stored_changes_nothing(db: psycopg.Connection[dict[str, Any]]) -> None:
    before = stored(db)
    db.execute("UPDATE view_pancake_setting SET sla_minutes = 30, kill_switch = true")
    assert stored(db) == before
    assert shown(db)["changed_at"] is None


def test_two_sessions_do_not_undo_each_others_change(
    db: psycopg.Connection[dict[str, Any]], database: str
) -> None:
    store(db, '{"payload_retention_days": "ninety"}')

    def change_the_rate() -> None:
        with psycopg.connect(database) as second:
            second.execute("UPDATE view_pancake_setting SET replay_rate_per_second = 5")

    thread = threading.Thread(target=change_the_rate)
    with psycopg.connect(database) as first:
        first.execute("UPDATE view_pancake_setting SET sla_minutes = 45, payload_retention_days = 30")
        thread.start()
        eventually(lambda: db.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None)
    thread.join()
    names = ("sla_minutes", "payload_retention_days", "replay_rate_per_second")
    assert [stored(db)[name] for name in names] == [45, 30, 5]


def test_both_limits_of_bodies_can_be_raised_together(db: psycopg.Connection[dict[str, Any]]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="must not be less than payload_retention_days"):
        db.execute("UPDATE view_pancake_setting SET payload_retention_days = 400")
    db.execute("UPDATE view_pancake_setting SET payload_retention_days = 400, held_retention_days = 400")
    assert (stored(db)["payload_retention_days"], stored(db)["held_retention_days"]) == (400, 400)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM app_setting", "UPDATE app_setting SET app_settings = '[]'"]
)
def test_without_an_object_to_store_it_in_a_change_is_refused(
    db: psycopg.Connection[dict[str, Any]], statement: str
) -> None:
    db.execute(statement.encode())
    with pytest.raises(psycopg.errors.RaiseException, match="no row 1 with a JSON object"):
        db.execute("UPDATE view_pancake_setting SET kill_switch = false")
