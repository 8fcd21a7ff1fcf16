"""The settings: the view that handlers and screens read, and changes through it."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.waiting import eventually

Db = psycopg.Connection[Any]
DEFAULTS: dict[str, Any] = {
    "kill_switch": True, "processing_paused": False, "consent_mode": "off", "sla_minutes": 30,
    "replay_rate_per_second": 20, "payload_retention_days": 90, "held_retention_days": 365,
    "cron_run_retention_days": 180, "engine_log_retention_days": 7, "former_owner": "off",
    "recall_after_minutes": 0, "recall_max_times": 1, "max_tickets_ahead": 5, "business_hours": "always",
    "holidays": "none", "waiting_share_minutes": 30, "sla_hours": "all", "morning_message": "off",
    "morning_message_at": "07:30",
}  # fmt: skip
BOUNDS = {
    "sla_minutes": (1, 1440), "replay_rate_per_second": (1, 1000), "payload_retention_days": (7, 3650),
    "held_retention_days": (90, 3650), "cron_run_retention_days": (30, 3650),
    "engine_log_retention_days": (1, 365), "recall_after_minutes": (0, 1440), "recall_max_times": (1, 10),
    "max_tickets_ahead": (1, 100), "waiting_share_minutes": (0, 240),
}  # fmt: skip
"""With the default of payload_retention_days, which is the lower bound of held_retention_days."""
ABOVE_ZERO = {name for name, (lowest, _) in BOUNDS.items() if lowest > 0}
LONGEST = {name: highest for name, (_, highest) in BOUNDS.items() if name.endswith("_retention_days")}
NO_NUMBER: list[Any] = [
    "ninety", "30 phút", "  90 ", "90\n", "٩٠", "", "NaN", "1e2", 1.5, 90.5, 5_000_000, 2**31, 10**30,
    True, False, None, {"days": 90}, {}, [90], [],
]  # fmt: skip
ZERO_OR_LESS: list[Any] = [0, -1, 0.0, -0.5, "0", "000", "-1", " -7 days", -(10**30)]
NO_SWITCH: list[Any] = ["no", "", 0, 1, None, [False], {"on": False}]
NO_MODE: list[Any] = ["on", "Off", "OFF ", True, 0, None, {}, ["record"]]
NO_SETTINGS = (
    "{}", "[]", '"text"', "null", '{"pancake_integration": null}', '{"pancake_integration": "off"}',
    '{"pancake_integration": [{"sla_minutes": 5}]}', '{"pancake_integration": {}}',
)  # fmt: skip


@pytest.fixture
def db(migrated: Db) -> Iterator[Db]:
    """The migrated database; what a test changes is undone."""
    with migrated.transaction(force_rollback=True):
        yield migrated


def write(db: Db, text: str) -> None:
    """Replace the settings of the integration, as a direct write does."""
    db.execute(
        "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}', %s)", [text]
    )


def store(db: Db, **settings: Any) -> None:
    write(db, json.dumps(DEFAULTS | settings))


def row_of(db: Db, source: str) -> dict[str, Any]:
    (row,) = db.cursor(row_factory=dict_row).execute(f"SELECT * FROM {source}".encode()).fetchall()
    return row


def used(db: Db) -> tuple[dict[str, Any], list[str]]:
    """Return the settings as they are used, and the problems."""
    row = row_of(db, "view_pancake_setting")
    assert row["id"] == 1
    return {name: row[name] for name in DEFAULTS}, row["problems"]


def named(problems: list[str]) -> set[str]:
    return {problem.split(" ")[0] for problem in problems}


def test_the_settings_of_the_migration_are_the_defaults(db: Db) -> None:
    assert used(db) == (DEFAULTS, [])


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_within_its_bounds_is_used_and_another_is_replaced_by_the_default(db: Db, name: str) -> None:
    lowest, highest = BOUNDS[name]
    for stored in (lowest, highest, str(lowest), str(highest)):
        store(db, **{"held_retention_days": 3650, name: stored})
        row, problems = used(db)
        assert (row[name], problems) == (int(stored), [])
    for beyond in {max(lowest - 1, 0), highest + 1} - {0}:
        store(db, **{name: beyond})
        row, problems = used(db)
        assert (row, named(problems)) == (DEFAULTS, {name})


def test_an_unreadable_value_is_replaced_by_the_default_and_a_retention_of_zero_or_less_by_the_longest(
    db: Db, subtests: pytest.Subtests
) -> None:
    for settings, values, safe in (
        (set(BOUNDS), NO_NUMBER, {}),
        (ABOVE_ZERO, ZERO_OR_LESS, LONGEST),
        ({"consent_mode"}, NO_MODE, {}),
        ({"kill_switch", "processing_paused"}, NO_SWITCH, {}),
    ):
        for value in values:
            with subtests.test(str(sorted(settings)), value=value):
                store(db, **dict.fromkeys(settings, value))
                row, problems = used(db)
                assert (row, named(problems)) == (DEFAULTS | safe, settings)
    store(db, consent_mode="record", kill_switch="false", processing_paused="true")
    readable = {"consent_mode": "record", "kill_switch": False, "processing_paused": True}
    assert used(db) == (DEFAULTS | readable, [])


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_missing_setting_is_the_default_and_a_problem(db: Db, name: str) -> None:
    missing = "UPDATE app_setting SET app_settings = app_settings #- ARRAY['pancake_integration', %s]"
    db.execute(missing, [name])
    row, (problem,) = used(db)
    assert row == DEFAULTS
    assert problem.startswith(f"{name} must be ")
    assert problem.endswith(", but is missing")


def test_without_settings_all_defaults_are_used(db: Db, subtests: pytest.Subtests) -> None:
    """The view always has one row: a statement that found none would read null."""
    changes = [f"UPDATE app_setting SET app_settings = '{settings}'" for settings in NO_SETTINGS]
    for change in (*changes, "DELETE FROM app_setting"):
        with subtests.test(change=change):
            db.execute(change.encode())
            row, problems = used(db)
            assert (row, named(problems)) == (DEFAULTS, set(DEFAULTS))


@pytest.mark.parametrize(
    ("payload", "held", "used_for_held"),
    [(90, 90, 90), (90, 89, 365), (400, 365, 400), (400, None, 400), ("x", 89, 365), (-1, 365, 3650)],
)
def test_held_bodies_are_kept_as_long_as_others(db: Db, payload: Any, held: Any, used_for_held: int) -> None:
    store(db, payload_retention_days=payload, held_retention_days=held)
    row, _ = used(db)
    assert row["held_retention_days"] == used_for_held >= row["payload_retention_days"]


def test_a_problem_quotes_the_beginning_of_the_stored_value(db: Db) -> None:
    store(db, sla_minutes="thirty minutes and a little more", kill_switch=None, consent_mode=1)
    assert used(db)[1] == [
        "consent_mode must be off or record, not 1",
        "kill_switch must be true or false, not null",
        'sla_minutes must be 1 to 1440, not "thirty minutes and ',
    ]


def test_an_unreadable_time_of_the_last_change_is_null(db: Db, subtests: pytest.Subtests) -> None:
    times: list[Any] = ["ninety", "2026-02-30T00:00:00", "25:00:00", "10:00:00", 5, None, {}]
    for changed_at in times:
        with subtests.test(changed_at=changed_at):
            store(db, changed_at=changed_at)
            assert shown(db)["changed_at"] is None


def stored(db: Db) -> dict[str, Any]:
    ((found,),) = db.execute("SELECT app_settings FROM app_setting").fetchall()
    assert set(found) == {"company", "stringee", "pancake_integration"}
    settings: dict[str, Any] = found["pancake_integration"]
    return settings


def shown(db: Db) -> dict[str, Any]:
    return row_of(db, "view_pancake_setting")


def change(db: Db, changes: str) -> None:
    db.execute(f"UPDATE view_pancake_setting SET {changes}".encode())


@pytest.mark.parametrize(
    "settings", ['{"sla_minutes": "soon", "kill_switch": "false"}', "{}", "null", "[]", '"off"']
)
def test_a_change_also_stores_the_shown_values_of_unreadable_settings(db: Db, settings: str) -> None:
    write(db, settings)
    before = shown(db)
    row = db.execute("UPDATE view_pancake_setting SET processing_paused = true RETURNING problems").fetchone()
    assert row == ([],)
    after = shown(db)
    changed = {"processing_paused", "problems", "changed_at", "changed_by"}
    assert {name for name in before if after[name] != before[name]} == changed


def test_a_change_leaves_readable_settings_and_unknown_keys_as_they_are(db: Db) -> None:
    write(db, '{"kill_switch": "false", "unknown": 1}')
    change(db, "processing_paused = true")
    assert (stored(db)["kill_switch"], stored(db)["unknown"]) == ("false", 1)


def test_saving_the_shown_values_mends_an_unreadable_setting_and_changes_nothing_else(db: Db) -> None:
    before = stored(db)
    change(db, "sla_minutes = 30, kill_switch = true")
    assert (stored(db), shown(db)["changed_at"]) == (before, None)
    write(db, '{"sla_minutes": "soon"}')
    change(db, "sla_minutes = 30")
    assert (stored(db)["sla_minutes"], shown(db)["problems"]) == (30, [])
    assert shown(db)["changed_at"] is not None


def test_two_sessions_do_not_undo_each_others_change(database: str) -> None:
    def change_the_rate() -> None:
        with psycopg.connect(database) as second:
            change(second, "replay_rate_per_second = 5")

    thread = threading.Thread(target=change_the_rate)
    with psycopg.connect(database, autocommit=True) as observer:
        write(observer, '{"payload_retention_days": "ninety"}')
        with psycopg.connect(database) as first:
            change(first, "sla_minutes = 45, payload_retention_days = 30")
            thread.start()
            eventually(
                lambda: observer.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None
            )
        thread.join()
        names = ("sla_minutes", "payload_retention_days", "replay_rate_per_second")
        assert [stored(observer)[name] for name in names] == [45, 30, 5]


def test_both_limits_of_bodies_can_be_raised_together(db: Db) -> None:
    message = "must not be less than payload_retention_days"
    with pytest.raises(psycopg.errors.CheckViolation, match=message), db.transaction():
        change(db, "payload_retention_days = 400")
    change(db, "payload_retention_days = 400, held_retention_days = 400")
    assert (stored(db)["payload_retention_days"], stored(db)["held_retention_days"]) == (400, 400)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM app_setting", "UPDATE app_setting SET app_settings = '[]'"]
)
def test_without_an_object_to_store_it_in_a_change_is_refused(db: Db, statement: str) -> None:
    db.execute(statement.encode())
    with pytest.raises(psycopg.errors.RaiseException, match="no row 1 with a JSON object"):
        change(db, "kill_switch = false")
