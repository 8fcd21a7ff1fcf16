"""Claims of one event by two sessions, with the first claim not yet committed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.queries import QUERIES
from tests.support.large_tables import insert_events
from tests.support.seeding import DatabaseHarness
from tests.support.waiting import eventually

Session = psycopg.Connection[dict[str, Any]]
CLAIM = QUERIES["process_record/claim_event"]
FENCE = QUERIES["process_record/fence_claim"]


@pytest.fixture
def observer(database: str, connection_id: str) -> Iterator[DatabaseHarness]:
    """A session that commits each statement, on a database with one received event without source."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        insert_events(session, "received", 1)
        harness = DatabaseHarness(session)
        harness.sql("UPDATE pancake_webhook_event SET source_ids = '{}', claim_id = NULL")
        yield harness


@pytest.fixture
def first(database: str) -> Iterator[Session]:
    """A session with an open transaction."""
    with psycopg.connect(database, row_factory=dict_row) as session:
        yield session
        session.rollback()


@pytest.fixture
def second(database: str) -> Iterator[Session]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


def claim(session: Session, event_id: int) -> dict[str, Any]:
    row = session.execute(CLAIM, {"id": event_id}).fetchone()
    assert row
    return row


def claim_waiting(
    pool: ThreadPoolExecutor, observer: DatabaseHarness, session: Session, event_id: int
) -> Future[dict[str, Any]]:
    """Start a claim in a thread, and return once it waits for the row lock."""
    claimed = pool.submit(claim, session, event_id)
    eventually(lambda: observer.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), seconds=5)
    return claimed


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_two_claims_at_once_give_the_event_to_one(
    observer: DatabaseHarness, first: Session, second: Session, ending: str
) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(first, event_id)
    with ThreadPoolExecutor(1) as pool:
        waiting = claim_waiting(pool, observer, second, event_id)
        first.commit() if ending == "commit" else first.rollback()
        late = waiting.result(timeout=5)
    event = observer.event(event_id)
    assert (event["status"], event["attempts"]) == ("ingested", 1)
    assert (late["id"], late["claim_id"]) == (
        (None, None) if ending == "commit" else (event_id, event["claim_id"])
    )
    assert (event["claim_id"] == held["claim_id"]) is (ending == "commit")


def test_a_claim_and_a_lost_fence_do_not_wait_for_the_work_on_the_event(
    observer: DatabaseHarness, first: Session, second: Session
) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(second, event_id)
    assert first.execute(FENCE, {"id": event_id, "claim_id": held["claim_id"]}).fetchone()
    second.execute("SET lock_timeout = '100ms'")
    assert claim(second, event_id)["id"] is None
    lost = {"id": event_id, "claim_id": "00000000-0000-4000-8000-000000000009"}
    assert second.execute(FENCE, lost).fetchone() is None


def test_a_lost_claim_stores_no_table(observer: DatabaseHarness, second: Session) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(second, event_id)
    lost = "00000000-0000-4000-8000-000000000009"
    for claim_id, stored in ((lost, None), (held["claim_id"], "contact")):
        params = {"id": event_id, "claim_id": claim_id, "table_name": "contact"}
        second.execute(QUERIES["process_record/set_table"], params)
        assert observer.event(event_id)["table_name"] == stored
