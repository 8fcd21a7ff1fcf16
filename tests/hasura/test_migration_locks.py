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
LONGEST_WAIT_SECONDS = 1.0
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


@pytest.fixture
def large_database(diva_database: str) -> str:
    """Diva's tables with a million accounts and as many contacts."""
    with psycopg.connect(diva_database, autocommit=True) as db:
        for statement in FILL:
            db.execute(statement.encode())
    return diva_database


def test_no_writer_waits_for_the_scans_of_a_million_rows(large_database: str) -> None:
    """Neither during the migrations, nor while the backfill builds the index that they leave out."""
    with (
        writing(large_database, WRITE_ACCOUNT) as accounts,
        writing(large_database, WRITE_CONTACT) as contacts,
    ):
        migrate(large_database)
        with open_session(large_database) as db:
            assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == []
            build_index(db)
            assert db.execute(QUERIES["backfill_phones/find_index"]).fetchall() == [{"is_valid": True}]
    assert max(accounts(), contacts()) < LONGEST_WAIT_SECONDS
    with psycopg.connect(large_database) as db:
        unchecked = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
        assert db.execute(unchecked).fetchall() == []
