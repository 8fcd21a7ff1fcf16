"""PostgreSQL's locks: wait for a waiter, count deadlocks, hold a row."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.databases import SESSION_NAME
from tests.support.handlers import HandlerHarness
from tests.support.waiting import eventually_async

RECORD_LOCK = "locktype = 'advisory' AND classid = 1"
PHONE_LOCK = "locktype = 'advisory' AND classid = 2"
ROSTER_LOCK = "locktype = 'advisory' AND classid = 3"
ROW_LOCK = "locktype = 'transactionid'"
"""Conditions on pg_locks: the lock of a record, a phone, a roster, and of a row of another transaction."""


async def wait_for_lock_waiter(
    harness: HandlerHarness, work: "asyncio.Task[Any]", lock: str = ROW_LOCK
) -> None:
    """Return once a session waits for such a lock; `work` must not have ended before."""

    def is_waiting() -> bool:
        found = bool(harness.sql(f"SELECT 1 FROM pg_locks WHERE NOT granted AND {lock}"))
        assert found or not work.done()
        return found

    await eventually_async(is_waiting, seconds=4)


async def count_deadlocks(*harnesses: HandlerHarness) -> int:
    """Count the deadlocks since the database was created.

    Closes the harnesses' database connections: a session reports its deadlocks when it ends.
    """
    for harness in harnesses:
        await harness.runtime.db.close()
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name <> %s"
    await eventually_async(lambda: not harnesses[0].sql(others, SESSION_NAME), seconds=10)
    found = harnesses[0].one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(found["deadlocks"])


def is_locked(database: str, account_id: str) -> bool:
    """Return whether another session holds the account's row."""
    with psycopg.connect(database) as db_connection:
        query = "SELECT id FROM account WHERE id = %s FOR UPDATE SKIP LOCKED"
        return db_connection.execute(query, [account_id]).fetchone() is None


@contextmanager
def held_row(database: str, free: threading.Event) -> Iterator[None]:
    """Hold the row of the account 'Lý Thị Sen' until `free` is set."""
    holding = threading.Event()

    def hold() -> None:
        with psycopg.connect(database) as db_connection:
            db_connection.execute("SELECT FROM account WHERE display_name = 'Lý Thị Sen' FOR UPDATE")
            holding.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    yield
    free.set()
    thread.join()
