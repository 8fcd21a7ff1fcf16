"""`leads tail`: a line as a lead arrives, and one as it comes to rest."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.tail import EventRow, describe, follow
from sandbox.postgres.roles import operators_url
from tests.support.seeding import seed_connection

PHONE = "+84905111222"
AT = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A session of the database's owner, in which no trigger interferes."""
    seed_connection(database)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SET session_replication_role = replica")
        yield session


def insert(db: psycopg.Connection, record: str) -> None:
    db.execute(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        " normalized_phone, source_ids, arrived_at, created_at)"
        " SELECT c.id, 'webhook', %s, sha256(%s::text::bytea), '{}', 'received', %s, '{-1}', now(), now()"
        " FROM pancake_connection AS c",
        [record, record, PHONE],
    )


def finish(db: psycopg.Connection, record: str) -> None:
    db.execute(
        "UPDATE pancake_webhook_event SET status = 'processed', outcome = 'stale', processed_at = now()"
        " WHERE record_id = %s",
        [record],
    )


def test_arrival_and_rest_are_one_line_each(database: str, db: psycopg.Connection) -> None:
    insert(db, "old")
    steps = [lambda: insert(db, "a"), lambda: None, lambda: finish(db, "a"), lambda: insert(db, "b")]

    def wait(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    seen: list[tuple[int, str]] = []
    with psycopg.connect(operators_url(database), autocommit=True, row_factory=dict_row) as session:
        rows = follow(session, 0, wait)
        with suppress(KeyboardInterrupt):
            seen += ((row.id, row.status) for row in rows)
    assert seen == [(2, "received"), (2, "processed"), (3, "received")]


def test_the_newest_leads_come_first_and_ctrl_c_ends_it(
    database: str, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    for record in ("a", "b", "c"):
        insert(db, record)
    url = operators_url(database)
    result = CliRunner().invoke(app, ["tail", "--last", "2", "--json"], env={"DATABASE_URL": url})
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["id"], row["source"]) for row in rows] == [(2, "Facebook"), (3, "Facebook")]
    assert PHONE not in result.stdout


CREATED = {"status": "processed", "outcome": "ticket_created", "ticket": "TK000002"}
FAILED = {"status": "failed", "error_code": "internal", "next_attempt_at": AT + timedelta(minutes=1)}


@pytest.mark.parametrize(
    ("columns", "result"),
    [
        ({"status": "received"}, "arrived"),
        (CREATED | {"owner": "Đỗ Văn Minh"}, "ticket_created TK000002, Đỗ Văn Minh (2.0 s)"),
        (CREATED, "ticket_created TK000002, no owner (2.0 s)"),
        ({"status": "dead_letter", "error_code": "invalid_phone"}, "dead_letter: invalid_phone"),
        (FAILED, "failed: internal, again at 09:31:00"),
        ({"status": "skipped_kill_switch"}, "skipped_kill_switch"),
    ],
)
def test_a_line_says_how_far_the_lead_came(columns: dict[str, object], result: str) -> None:
    is_processed = columns["status"] == "processed"
    known: dict[str, object] = {
        "id": 17, "created_at": AT, "origin": "webhook", "outcome": None, "error_code": None,
        "next_attempt_at": None, "source": "Facebook", "ticket": None, "owner": None,
        "processed_at": AT + timedelta(seconds=2) if is_processed else None,
    }  # fmt: skip
    line = describe(EventRow(**(known | columns)))  # type: ignore[arg-type]  # columns by name
    second = "02" if is_processed else "00"
    assert line == f"09:30:{second}        17  webhook    Facebook         {result}"
