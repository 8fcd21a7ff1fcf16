"""Two operators at the same time: what the second command says and writes is true after the first one."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.db_session import DbSession
from leads.adapters.secrets import KeyRing
from leads.services.connection_secrets import (
    Workspace,
    change_status,
    create_connection,
    reencrypt,
    store_secret,
)
from leads.services.sealed_secrets import Use, open_sealed
from leads.services.switches import set_source
from tests.support.waiting import eventually

NOW = datetime(2026, 5, 14, tzinfo=UTC)
API_URL = "https://x/api"
OLD, NEW = KeyRing({"old": bytes(32)}), KeyRing({"new": b"n" * 32, "old": bytes(32)})

Answer = TypeVar("Answer")


@pytest.fixture
def db(database: str) -> Iterator[DbSession]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


@pytest.fixture
def first(database: str) -> Iterator[DbSession]:
    """A session whose transaction is open until the test commits it."""
    with psycopg.connect(database, row_factory=dict_row) as session:
        yield session
        session.rollback()


@pytest.fixture
def second(database: str) -> Iterator[DbSession]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


@pytest.fixture
def connection_id(db: DbSession) -> str:
    return create_connection(db, OLD, Workspace("Diva", 1, API_URL, "first key")).id


def run_after(db: DbSession, first: DbSession, work: Callable[[], Answer]) -> Answer:
    """Start `work` in a thread, commit the first session once it waits for that, and return the result."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Answer] = pool.submit(work)
        query = b"SELECT 1 FROM pg_locks WHERE NOT granted"
        eventually(lambda: waiting.done() or db.execute(query).fetchone(), seconds=5)
        assert not waiting.done()
        first.commit()
        return waiting.result(timeout=5)


def test_a_source_that_both_switch_on_was_on_for_the_second(
    db: DbSession, first: DbSession, second: DbSession, connection_id: str
) -> None:
    statement = (
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name) VALUES (%s, '-1', 'Facebook')"
        " RETURNING id::text AS id"
    )
    (source,) = db.execute(statement, [connection_id]).fetchall()
    assert set_source(first, source["id"], is_on=True, reason="W1") is False
    was_on = run_after(db, first, lambda: set_source(second, source["id"], is_on=True, reason="W1"))
    assert was_on is True


def test_a_connection_that_both_disable_is_disabled_once(
    db: DbSession, first: DbSession, second: DbSession, connection_id: str
) -> None:
    assert change_status(first, connection_id, "disabled", "r", "a", NOW).is_changed
    change = run_after(
        db, first, lambda: change_status(second, connection_id, "disabled", "r", "b", NOW.replace(hour=1))
    )
    assert (change.before, change.is_changed) == ("disabled", False)
    runs = db.execute("SELECT count(*) AS n FROM pancake_cron_run WHERE name = 'connection_status'")
    assert runs.fetchall() == [{"n": 1}]


def test_a_secret_that_is_replaced_while_the_keys_rotate_stays_the_new_one(
    db: DbSession, first: DbSession, second: DbSession, connection_id: str
) -> None:
    use = Use("api_key", connection_id, API_URL)
    store_secret(first, OLD, use, "second key", NOW)
    changed, _ = run_after(db, first, lambda: reencrypt(second, NEW))
    assert changed == 2
    (row,) = db.execute("SELECT api_key_encrypted AS key FROM pancake_connection").fetchall()
    assert open_sealed(NEW, row["key"], use) == "second key"
