"""`leads connection disable` and `enable`: the status, its history, and what is said."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.connection_command import made, run, status

HISTORY = b"""
SELECT h.status_before, h.status_after, h.reason
FROM view_pancake_connection_status AS h ORDER BY h.scheduled_time
"""


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    made(database)
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


def history(db: psycopg.Connection[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in db.execute(HISTORY).fetchall()]


def test_a_connection_is_disabled_and_enabled_with_a_history(
    database: str, db: psycopg.Connection[dict[str, Any]]
) -> None:
    disabled = run(database, "disable", "Diva", "--reason", "moving to another workspace")
    assert disabled.returncode == 0, disabled.stderr
    assert disabled.stdout == ""
    assert disabled.stderr.startswith("Diva: disabled (before: active).")
    assert "skipped_source_disabled" in disabled.stderr
    assert status(database)["status"] == "disabled"

    enabled = run(database, "enable", "Diva")
    assert enabled.returncode == 0, enabled.stderr
    assert enabled.stderr.startswith("Diva: active (before: disabled).")
    assert "leads replay --status skipped_source_disabled --drain" in enabled.stderr
    assert status(database)["status"] == "active"

    assert history(db) == [
        ("active", "disabled", "moving to another workspace"),
        ("disabled", "active", None),
    ]
    changes = db.execute(
        "SELECT reason FROM integration_change WHERE after ? 'status' ORDER BY id"
    ).fetchall()
    assert [row["reason"] for row in changes] == [None, "moving to another workspace", None]
    runs = db.execute("SELECT report -> 'connections' -> 0 ->> 'by' AS by FROM pancake_cron_run").fetchall()
    assert all(run["by"].startswith("script:") for run in runs)


def test_the_same_again_changes_nothing_and_succeeds(
    database: str, db: psycopg.Connection[dict[str, Any]]
) -> None:
    connection_id = status(database)["id"]
    outputs = []
    for command in (["disable", connection_id, "--reason", "x"], ["enable", connection_id, "--reason", "y"]):
        for _ in range(2):
            done = run(database, *command, "--json")
            assert done.returncode == 0, done.stderr
            outputs.append(json.loads(done.stdout))
    assert outputs == [
        {"id": connection_id, "status": after, "before": before, "changed": before != after}
        for before, after in [
            ("active", "disabled"), ("disabled", "disabled"), ("disabled", "active"), ("active", "active"),
        ]
    ]  # fmt: skip
    assert history(db) == [("active", "disabled", "x"), ("disabled", "active", "y")]


@pytest.mark.parametrize("before", ["silent", "suspended", "outage", "key_invalid"])
def test_enabling_what_is_not_disabled_keeps_its_status(
    database: str, db: psycopg.Connection[dict[str, Any]], before: str
) -> None:
    db.execute("UPDATE pancake_connection SET status = %s", [before])
    done = run(database, "enable", "Diva")
    assert (done.returncode, done.stderr) == (0, f"Diva: not disabled, its status is {before}.\n")
    assert status(database)["status"] == before
    assert history(db) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["disable", "Diva"], "--reason"),
        (["disable", "Diva", "--reason", "  "], "--reason"),
        (["disable", "Diva", "--reason", "x" * 201], "--reason"),
        (["disable", "--reason", "x"], "NAME"),
        (["disable", "Other", "--reason", "x"], "There is no connection 'Other'. Choose one of: Diva"),
        (["enable", "Other"], "There is no connection 'Other'. Choose one of: Diva"),
    ],
)
def test_a_wrong_use_ends_with_2_and_changes_nothing(
    database: str, db: psycopg.Connection[dict[str, Any]], arguments: list[str], words: str
) -> None:
    done = run(database, *arguments)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert status(database)["status"] == "active"
    assert history(db) == []
