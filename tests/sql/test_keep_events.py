"""Events cannot be deleted: a wrong click would make Pancake's next copy of a lead a second ticket."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import RestrictViolation
from psycopg.rows import dict_row

Db = psycopg.Connection[dict[str, Any]]
EVENT = """
    INSERT INTO pancake_webhook_event (connection_id, origin, payload_hash, status, arrived_at, created_at)
    SELECT c.id, 'webhook', sha256(clock_timestamp()::text::bytea), 'received', now(), now()
    FROM pancake_connection AS c
"""
ALLOW = "SET LOCAL pancake.delete_events = 'on'"


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    """A session of the owner, who may do everything, on a database with one event."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        session.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('Diva', 1, sha256('t'))"
        )
        session.execute(EVENT)
        yield session


def events(db: Db) -> int:
    row = db.execute("SELECT count(*) AS n FROM pancake_webhook_event").fetchone()
    assert row is not None
    return int(row["n"])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pancake_webhook_event",
        "TRUNCATE pancake_webhook_event",
        "TRUNCATE pancake_connection CASCADE",
    ],
)
def test_events_are_not_deleted_and_the_error_says_what_to_do(db: Db, statement: str) -> None:
    with pytest.raises(RestrictViolation, match="they detect duplicates") as refused:
        db.execute(statement.encode())
    hint = str(refused.value.diag.message_hint)
    assert "leads erase" in hint
    assert ALLOW in hint
    assert events(db) == 1


def test_a_delete_without_rows_is_no_error(db: Db) -> None:
    db.execute("DELETE FROM pancake_webhook_event WHERE id < 0")
    assert events(db) == 1


def test_a_transaction_that_says_so_may_delete_and_the_next_one_may_not(db: Db) -> None:
    db.execute(EVENT)
    with db.transaction():
        db.execute(ALLOW)
        db.execute("DELETE FROM pancake_webhook_event WHERE id = 1")
    assert events(db) == 1
    with pytest.raises(RestrictViolation):
        db.execute("DELETE FROM pancake_webhook_event")
    with db.transaction():
        db.execute(ALLOW)
        db.execute("TRUNCATE pancake_webhook_event")
    assert events(db) == 0
