"""How the settings are read: a function for the handlers and a view for the screens, with the same values."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

DEFAULTS: dict[str, Any] = {
    "kill_switch": True,
    "processing_paused": False,
    "consent_mode": "off",
    "sla_minutes": 30,
    "replay_rate_per_second": 20,
    "payload_retention_days": 90,
    "held_retention_days": 365,
    "cron_run_retention_days": 180,
    "engine_log_retention_days": 7,
    "former_owner": "off",
    "recall_after_minutes": 0,
    "recall_max_times": 1,
    "max_tickets_ahead": 5,
    "business_hours": "always",
    "holidays": "none",
}
BOUNDS = {
    "sla_minutes": (1, 1440),
    "replay_rate_per_second": (1, 1000),
    "payload_retention_days": (7, 3650),
    "held_retention_days": (90, 3650),
    "cron_run_retention_days": (30, 3650),
    "engine_log_retention_days": (1, 365),
    "recall_after_minutes": (0, 1440),
    "recall_max_times": (1, 10),
    "max_tickets_ahead": (1, 100),
}
"""With the default of payload_retention_days, which is the lower bound of held_retention_days."""
ABOVE_ZERO = {name for name, (lowest, _) in BOUNDS.items() if lowest > 0}
LONGEST = {name: highest for name, (_, highest) in BOUNDS.items() if name.endswith("_retention_days")}
NO_NUMBER: list[Any] = [
    "ninety", "30 phút", "  90 ", "90\n", "٩٠", "", "NaN", "1e2", 1.5, 90.5, 5_000_000, 2**31, 10**30,
    True, False, None, {"days": 90}, {}, [90], [],
]  # fmt: skip
ZERO_OR_LESS: list[Any] = [0, -1, 0.0, -0.5, "0", "000", "-1", " -7 days", -(10**30)]
NO_SETTINGS = [
    "{}",
    "[]",
    '"text"',
    "null",
    '{"pancake_integration": null}',
    '{"pancake_integration": "off"}',
    '{"pancake_integration": [{"sla_minutes": 5}]}',
    '{"pancake_integration": {}}',
]


@pytest.fixture
def db(migrated: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The migrated database; what a test changes is undone."""
    with migrated.transaction(force_rollback=True):
        yield migrated


def store(db: psycopg.Connection, **settings: Any) -> None:
    """Replace the settings of the integration, as a direct write does: the defaults with these changes."""
    db.execute(
        "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}', %s)",
        [json.dumps(DEFAULTS | settings)],
    )


def row_of(db: psycopg.Connection, source: str) -> dict[str, Any]:
    (row,) = db.cursor(row_factory=dict_row).execute(f"SELECT * FROM {source}".encode()).fetchall()
    return row


def used(db: psycopg.Connection) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that the handlers use, and the problems; the view must show the same."""
    row = row_of(db, "pancake_setting()")
    shown = row_of(db, "view_pancake_setting")
    assert {name: shown[name] for name in row} == row
    assert shown["id"] == 1
    return row, row.pop("problems")


def named(problems: list[str]) -> set[str]:
    return {problem.split(" ")[0] for problem in problems}


def test_the_settings_of_the_migration_are_the_defaults(db: psycopg.Connection) -> None:
    assert used(db) == (DEFAULTS, [])


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_within_its_bounds_is_used(db: psycopg.Connection, name: str) -> None:
    for bound in BOUNDS[name]:
        for stored in (bound, str(bound)):
            store(db, **{"held_retention_days": 3650, name: stored})
            row, problems = used(db)
            assert (row[name], problems) == (bound, [])


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_beyond_its_bounds_is_replaced_by_the_default(db: psycopg.Connection, name: str) -> None:
    lowest, highest = BOUNDS[name]
    for beyond in {max(lowest - 1, 0), highest + 1} - {0}:
        store(db, **{name: beyond})
        row, problems = used(db)
        assert (row, named(problems)) == (DEFAULTS, {name})


@pytest.mark.parametrize("value", NO_NUMBER, ids=json.dumps)
def test_what_is_no_number_is_replaced_by_the_default(db: psycopg.Connection, value: Any) -> None:
    store(db, **dict.fromkeys(BOUNDS, value))
    row, problems = used(db)
    assert (row, named(problems)) == (DEFAULTS, set(BOUNDS))


@pytest.mark.parametrize("value", ZERO_OR_LESS, ids=json.dumps)
def test_a_retention_of_zero_or_less_is_replaced_by_the_longest(db: psycopg.Connection, value: Any) -> None:
    store(db, **dict.fromkeys(ABOVE_ZERO, value))
    row, problems = used(db)
    assert (row, named(problems)) == (DEFAULTS | LONGEST, ABOVE_ZERO)


@pytest.mark.parametrize("value", ["on", "Off", "OFF ", True, 0, None, {}, ["record"]], ids=json.dumps)
def test_an_unreadable_consent_mode_is_off(db: psycopg.Connection, value: Any) -> None:
    store(db, consent_mode=value)
    assert used(db)[0]["consent_mode"] == "off"
    assert named(used(db)[1]) == {"consent_mode"}
    store(db, consent_mode="record")
    assert used(db)[0]["consent_mode"] == "record"


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_missing_setting_is_the_default_and_a_problem(db: psycopg.Connection, name: str) -> None:
    db.execute(
        "UPDATE app_setting SET app_settings = app_settings #- ARRAY['pancake_integration', %s]", [name]
    )
    row, (problem,) = used(db)
    assert row == DEFAULTS
    assert problem.startswith(f"{name} must be ")
    assert problem.endswith(", but is missing")


@pytest.mark.parametrize("settings", [*NO_SETTINGS, None])
def test_without_settings_all_defaults_are_used(db: psycopg.Connection, settings: str | None) -> None:
    if settings is None:
        db.execute("DELETE FROM app_setting")
    else:
        db.execute("UPDATE app_setting SET app_settings = %s", [settings])
    row, problems = used(db)
    assert (row, named(problems)) == (DEFAULTS, set(DEFAULTS))


@pytest.mark.parametrize(
    ("payload", "held", "used_for_held"),
    [(90, 90, 90), (90, 89, 365), (400, 365, 400), (400, None, 400), ("x", 89, 365), (-1, 365, 3650)],
)
def test_held_bodies_are_never_kept_shorter_than_others(
    db: psycopg.Connection, payload: Any, held: Any, used_for_held: int
) -> None:
    store(db, payload_retention_days=payload, held_retention_days=held)
    row, _ = used(db)
    assert row["held_retention_days"] == used_for_held
    assert row["held_retention_days"] >= row["payload_retention_days"]


def test_a_problem_quotes_the_beginning_of_the_stored_value(db: psycopg.Connection) -> None:
    store(db, sla_minutes="thirty minutes and a little more", kill_switch=None, consent_mode=1)
    assert used(db)[1] == [
        "consent_mode must be off or record, not 1",
        "kill_switch must be true or false, not null",
        'sla_minutes must be 1 to 1440, not "thirty minutes and ',
    ]


@pytest.mark.parametrize("changed_at", ["ninety", "2026-02-30T00:00:00", "25:00:00", "10:00:00", 5, None, {}])
def test_an_unreadable_time_of_the_last_change_is_null(db: psycopg.Connection, changed_at: Any) -> None:
    store(db, changed_at=changed_at)
    assert row_of(db, "view_pancake_setting")["changed_at"] is None


def test_the_view_needs_no_privilege_on_the_table(db: psycopg.Connection) -> None:
    db.execute("CREATE ROLE screens_of_the_test")
    db.execute("GRANT SELECT ON view_pancake_setting TO screens_of_the_test")
    db.execute("SET LOCAL ROLE screens_of_the_test")
    assert row_of(db, "view_pancake_setting")["sla_minutes"] == 30
