"""The migrations on large tables: how long they make the programs of Diva wait."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from leads.adapters.db_session import open_session
from leads.adapters.queries import QUERIES
from leads.cli.backfill_phones.index import build_index
from sandbox.postgres.database import migrate

ROWS = 1_000_000
SCAN = (
    "SELECT count(*) FROM contact_book AS c"
    " WHERE NOT EXISTS (SELECT FROM account AS a WHERE a.id = c.account_id)"
)
"""About what the validation of the foreign key does."""
ID = "('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid"
# Without the secondary indexes, and in the order of the ids, the rows are inserted in a few seconds.
FILL = (
    "DROP INDEX account_phone_number_idx, contact_book_account_id_idx",
    "INSERT INTO account (id, display_name, phone_code, phone_number)"
    f" SELECT {ID}, 'Customer ' || n, '84', '0' || (900000000 + n) FROM generate_series(1, {ROWS}) AS n",
    "INSERT INTO contact_book (account_id, name)"
    f" SELECT {ID}, 'Customer ' || n FROM generate_series(1, {ROWS}) AS n",
)
ACCOUNT = "00000000-0000-4000-8000-000000000001"
WRITE_ACCOUNT = f"UPDATE account SET display_name = 'x' WHERE id = '{ACCOUNT}'"
WRITE_CONTACT = "INSERT INTO contact_book (name) VALUES ('x')"


@contextmanager
def writing(url: str, statement: str) -> Iterator[Callable[[], float]]:
    """Run the statement over and over in another session; the result gives its longest time in seconds."""
    longest, ended = [0.0], threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            while not ended.is_set():
                started = time.monotonic()
                db.execute(statement.encode())
                longest[0] = max(longest[0], time.monotonic() - started)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: longest[0]
    finally:
        ended.set()
        thread.join()


@contextmanager
def writers(url: str) -> Iterator[Callable[[], float]]:
    """Write to both tables; the result gives the longest time of a statement in seconds."""
    with writing(url, WRITE_ACCOUNT) as accounts, writing(url, WRITE_CONTACT) as contacts:
        yield lambda: max(accounts(), contacts())


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


@pytest.fixture
def large_database(diva_database: str) -> str:
    """Diva's tables with a million accounts and as many contacts."""
    with psycopg.connect(diva_database, autocommit=True) as db:
        for statement in FILL:
            db.execute(statement.encode())
    return diva_database


@pytest.mark.full("a million accounts")
def test_no_writer_waits_for_the_scans_of_a_million_rows(large_database: str) -> None:
    """Neither during the migrations, nor while the backfill builds the index that they leave out.

    The times are compared with each other, so that a busy machine makes no difference.
    """
    with open_session(large_database, "test") as db, writers(large_database) as longest_wait:
        scans = [seconds(lambda: db.execute(SCAN))]
        migrate(large_database)
        scans.append(seconds(lambda: db.execute(SCAN)))
        assert longest_wait() < 1.5 * max(scans)
    with open_session(large_database, "test") as db, writers(large_database) as longest_wait:
        assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == []
        index_seconds = seconds(lambda: build_index(db))
        assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == [{"is_valid": True}]
        assert longest_wait() < index_seconds / 2
    with psycopg.connect(large_database) as db:
        unchecked = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
        assert db.execute(unchecked).fetchall() == []
