"""PostgreSQL's errors as errors of leads.domain: contended, unavailable or internal."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from leads.adapters.database import Database
from leads.adapters.pools import SESSION_OPTIONS
from leads.domain.errors import Contended, DatabaseUnavailable
from sandbox.postgres.server import Cluster

PING = ("database/ping", dict[str, Any]())
TURN = ("database/try_lock", {"name": "a test"})


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    opened = Database(database, ingest_connections=1, work_connections=2)
    await opened.open()
    yield opened
    await opened.close()


def kill(url: str) -> None:
    """Terminate all other connections to the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def until_healthy(db: Database) -> None:
    """Ping until it succeeds twice: each lost connection fails once before it is replaced."""
    for _ in range(10):
        if await db.is_healthy() and await db.is_healthy():
            return
    pytest.fail("the connections do not come back")


def raising(url: str, sqlstate: str) -> None:
    """Make every insert of a consent fail with this SQLSTATE."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$"
        )
        connection.execute(
            "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON customer_consent"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )


CONSENT = ("process_record/insert_consent", {"account_id": "d0000000-0000-4000-8000-000000000002"})


async def test_statements_of_one_round_trip_give_their_rows_in_order(db: Database) -> None:
    async with db.transaction() as transaction:
        rows = await transaction.run(PING, TURN, PING)
    assert rows == [[{"one": 1}], [{"locked": True}], [{"one": 1}]]


async def test_a_transaction_commits_with_its_last_statements_at_its_end_or_never(
    db: Database, database: str
) -> None:
    async def consents() -> int:
        with psycopg.connect(database) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM customer_consent").fetchall()
        return int(count)

    async def broken_off() -> None:
        async with db.transaction() as transaction:
            await transaction.run(CONSENT)
            raise KeyError

    before = await consents()
    with pytest.raises(KeyError):
        await broken_off()
    assert await consents() == before
    async with db.transaction() as transaction:
        await transaction.run(CONSENT, commit=True)
        assert await consents() == before + 1


@pytest.mark.own_database
@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [
        ("40001", Contended),
        ("40P01", Contended),
        ("55P03", Contended),
        ("57014", Contended),
        ("57P01", Contended),
        ("53200", Contended),
        ("23514", psycopg.errors.CheckViolation),
        ("22P02", psycopg.errors.InvalidTextRepresentation),
        ("P0001", psycopg.errors.RaiseException),
    ],
)
async def test_an_error_in_the_middle_of_a_round_trip_keeps_its_type(
    db: Database, database: str, sqlstate: str, error: type[Exception]
) -> None:
    """The first error of a pipeline counts, not the errors that it causes in later statements."""
    raising(database, sqlstate)
    with pytest.raises(error):
        async with db.transaction() as transaction:
            await transaction.run(PING, CONSENT, PING, commit=True)
    async with db.transaction() as transaction:
        assert await transaction.run(PING) == [[{"one": 1}]]


async def test_a_round_trip_that_cannot_be_sent_whole_leaves_the_connection_usable(db: Database) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        async with db.transaction() as transaction:
            await transaction.run(PING, ("database/try_lock", {"name": object()}), PING)
    async with db.transaction() as transaction:
        assert await transaction.run(PING) == [[{"one": 1}]]


async def test_a_round_trip_larger_than_the_buffers_of_the_socket_arrives(db: Database) -> None:
    long = ("database/try_lock", {"name": "x" * 8_000_000})
    async with db.transaction() as transaction:
        assert await transaction.run(long, PING, long, PING, commit=True) == [
            [{"locked": True}], [{"one": 1}], [{"locked": True}], [{"one": 1}],
        ]  # fmt: skip


async def test_a_cancelled_round_trip_leaves_the_connection_usable(db: Database, database: str) -> None:
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(3, hashtext('default'))")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), db.transaction() as transaction:
                await transaction.run(PING, ("process_record/lock_roster", {"roster_source_id": None}), PING)
    async with db.transaction() as transaction:
        assert await transaction.run(PING, commit=True) == [[{"one": 1}]]


async def test_prepared_statements_give_the_same_rows_under_any_plan(db: Database) -> None:
    """PostgreSQL decides at the sixth execution whether it keeps a plan."""
    for _ in range(8):
        async with db.transaction() as transaction:
            assert await transaction.run(PING, PING, commit=True) == [[{"one": 1}], [{"one": 1}]]


async def test_a_lost_connection_is_unavailable_for_a_statement_and_contended_in_a_transaction(
    db: Database, database: str
) -> None:
    await db.fetch_all(*PING)
    kill(database)
    with pytest.raises(DatabaseUnavailable):
        await db.fetch_all(*PING)
    await until_healthy(db)
    async with db.transaction() as transaction:
        await transaction.run(PING)
        kill(database)
        with pytest.raises(Contended):
            await transaction.run(PING)
        transaction._is_open = False  # nothing is left to commit


async def test_lost_connections_are_replaced_automatically(db: Database, database: str) -> None:
    kill(database)
    await until_healthy(db)
    assert await db.fetch_one(*PING) == {"one": 1}


async def test_ingest_does_not_wait_behind_processing(db: Database) -> None:
    async with db.transaction() as one, db.transaction() as two:
        await one.run(PING)
        await two.run(PING)
        async with asyncio.timeout(2):
            assert await db.ingest(*PING, dict) == [{"one": 1}]


async def test_a_pool_without_a_free_connection_is_unavailable(db: Database) -> None:
    db._work.timeout = 0.05
    async with db.transaction(), db.transaction():
        with pytest.raises(DatabaseUnavailable):
            await db.fetch_all(*PING)
    assert await db.fetch_one(*PING) == {"one": 1}


async def test_an_unreachable_database_is_not_healthy(cluster: Cluster) -> None:
    away = Database("postgresql://127.0.0.1:1/none", ingest_connections=1, work_connections=1)
    away._work.timeout = 0.05
    await away.open()
    assert not await away.is_healthy()
    with pytest.raises(DatabaseUnavailable):
        await away.fetch_all(*PING)
    await away.close()
    with pytest.raises(DatabaseUnavailable):
        await away.fetch_all(*PING)


async def test_a_named_lock_has_one_holder_at_a_time(db: Database, database: str) -> None:
    other = Database(database, ingest_connections=1, work_connections=1)
    await other.open()
    async with db.exclusive("x") as (first, _), other.exclusive("x") as (second, _):
        assert (first, second) == (True, False)
    async with db.exclusive("x") as (first, _), other.exclusive("y") as (second, _):
        assert (first, second) == (True, True)
    async with other.exclusive("x") as (again, _):
        assert again
    await other.close()


async def test_a_lock_does_not_use_a_connection_of_the_pools(database: str) -> None:
    """Several crons may hold a lock for a minute while leads are processed."""
    small = Database(database, ingest_connections=1, work_connections=1, wait_seconds=0.2)
    await small.open()
    async with small.exclusive("x") as (one, _), small.exclusive("y") as (two, _):
        assert (one, two, await small.is_healthy()) == (True, True, True)
    await small.close()


@pytest.mark.own_database
async def test_a_statement_that_fails_under_a_lock_keeps_its_error_and_releases_the_lock(
    db: Database, database: str
) -> None:
    raising(database, "55P03")
    other = Database(database, ingest_connections=1, work_connections=1)
    await other.open()
    with pytest.raises(Contended, match="LockNotAvailable"):
        async with db.exclusive("x") as (_, session):
            await session.run(CONSENT, commit=True)
    async with other.exclusive("x") as (free, _):
        assert free
    await other.close()


async def test_a_connection_lost_under_a_lock_does_not_hide_the_original_error(
    db: Database, database: str
) -> None:
    async def cut_off() -> None:
        async with db.exclusive("x"):
            kill(database)
            raise KeyError

    with pytest.raises(KeyError):
        await cut_off()
    await until_healthy(db)
    async with db.exclusive("x") as (free, _):
        assert free


async def test_a_task_cancelled_under_a_lock_releases_it(db: Database, database: str) -> None:
    other = Database(database, ingest_connections=1, work_connections=1)
    await other.open()
    with psycopg.connect(database) as blocking:
        blocking.execute("LOCK TABLE customer_consent IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), db.exclusive("x") as (_, session):
                await session.run(CONSENT, commit=True)
    async with other.exclusive("x") as (free, _):
        assert free
    await other.close()


async def test_sessions_use_utc_and_have_timeouts(database: str) -> None:
    with psycopg.connect(database, options=SESSION_OPTIONS) as connection:
        for name, value in (("timezone", "UTC"), ("lock_timeout", "5s"), ("statement_timeout", "10s")):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)
