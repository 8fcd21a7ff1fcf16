"""Database and round trips: what comes back, what fails and how, and that answers never mix."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import psycopg
import pytest
from psycopg import pq

from leads.adapters import round_trip
from leads.adapters.database import CONNECTION_SETTINGS, QUERIES, SESSION_OPTIONS, Database, Statement
from leads.adapters.round_trip import PreparingConnection, Text, run_together
from leads.domain.errors import Busy, Contended, DatabaseUnavailable
from ops.clients.db_session import login_name
from ops.clients.pg_programs import PgProgramFailed, dump_tables, list_dumped_tables, restore_rows
from sandbox.postgres import binaries
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from tests.support.postgres import need_pg_dump
from tests.support.waiting import eventually_async

ROOT = Path(__file__).parents[3]
PING = ("test/ping", dict[str, Any]())


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """One process on the database."""
    db = Database(url, **{"ingest_connections": 1, "work_connections": 2} | options)
    await db.open()
    yield db
    await db.close()


@pytest.fixture(autouse=True)
def ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "test/ping", b"SELECT 1 AS one")
    monkeypatch.setitem(QUERIES, "test/forget_consents", b"DELETE FROM customer_consent")


async def is_healthy(db: Database) -> bool:
    try:
        return await db.fetch_one(*PING) == {"one": 1}
    except (DatabaseUnavailable, Contended):
        return False


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with opened(database) as process:
        yield process


@pytest.fixture
async def other(database: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    async with opened(database) as process:
        yield process


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
        if await is_healthy(db) and await is_healthy(db):
            return
    pytest.fail("the connections do not come back")


@contextmanager
def refusing(url: str, sqlstate: str) -> Iterator[None]:
    """Make every insert of a consent fail with this SQLSTATE, as long as the block lasts."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON customer_consent FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        yield
        connection.execute("DROP FUNCTION refuse CASCADE")


CONSENT = ("process_record/insert_consent", {"account_id": "d0000000-0000-4000-8000-000000000002"})


async def test_a_transaction_commits_with_its_last_statements_or_never(db: Database, database: str) -> None:
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
        await transaction.commit()
    async with db.transaction() as transaction:
        await transaction.run(("test/forget_consents", {}))
        await transaction.commit()
    assert await consents() == 0


ERRORS: dict[str, type[Exception]] = {
    **dict.fromkeys(("40001", "40P01", "55P03", "57014", "57P01", "53200"), Contended),
    "23514": psycopg.errors.CheckViolation,
    "22P02": psycopg.errors.InvalidTextRepresentation,
    "P0001": psycopg.errors.RaiseException,
}


async def test_an_error_in_the_middle_of_a_round_trip_keeps_its_type(
    db: Database, database: str, subtests: pytest.Subtests
) -> None:
    """The first error of a pipeline counts, not the errors that it causes in later statements."""
    for sqlstate, error in ERRORS.items():
        with subtests.test(sqlstate):
            with refusing(database, sqlstate), pytest.raises(error):
                async with db.transaction() as transaction:
                    await transaction.run(PING, CONSENT, PING, commit=True)
            await assert_usable(db)


async def assert_usable(db: Database) -> None:
    async with db.transaction() as transaction:
        assert await transaction.run(PING, commit=True) == [[{"one": 1}]]


async def test_a_round_trip_that_cannot_be_sent_whole_leaves_the_connection_usable(db: Database) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        async with db.transaction() as transaction:
            await transaction.run(PING, ("database/try_lock", {"name": object()}), PING)
    await assert_usable(db)


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
    await assert_usable(db)


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


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Sessions that begin within the block may not write, and keep that."""
    change = "ALTER DATABASE {} {} default_transaction_read_only"
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(change.format(name, "SET").encode() + b" = on")
        try:
            yield
        finally:
            connection.execute(change.format(name, "RESET").encode())


async def test_a_session_that_may_not_write_is_unavailable_and_replaced(database: str) -> None:
    """PostgreSQL was read-only when it began: as a standby, or by a setting."""
    forget: Statement = ("test/forget_consents", {})
    async with opened(database, work_connections=1) as db:
        with read_only(database):
            assert await is_healthy(db)
            with pytest.raises(DatabaseUnavailable):
                await db.fetch_all(*forget)
            assert await is_healthy(db), "its session is a new one, and still may not write"
        with pytest.raises(Contended):
            async with db.transaction() as transaction:
                await transaction.run(forget)
        assert await db.fetch_all(*forget) == []


async def test_ingest_does_not_wait_behind_processing(db: Database) -> None:
    async with db.transaction() as one, db.transaction() as two:
        await one.run(PING)
        await two.run(PING)
        async with asyncio.timeout(2):
            assert await db.ingest(*PING, dict) == [{"one": 1}]


async def test_ingest_plans_its_statement_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "test/echo", b"SELECT %(number)s::bigint AS number")
    plans = b"SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE '%%AS number'"
    monkeypatch.setitem(QUERIES, "test/plans", plans)
    for number in range(3):
        await db.ingest("test/echo", {"number": number}, dict)
    assert await db.ingest("test/plans", {}, dict) == [{"custom_plans": 0}]


async def test_a_pool_without_a_free_connection_is_unavailable(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with db.transaction(), db.transaction():
        with monkeypatch.context() as patched:
            patched.setattr(db._work, "timeout", 0.05)
            with pytest.raises(DatabaseUnavailable):
                await db.fetch_all(*PING)
    assert await db.fetch_one(*PING) == {"one": 1}


async def test_an_unreachable_database_is_unavailable(cluster: Cluster) -> None:
    async with opened("postgresql://127.0.0.1:1/none") as away:
        away._work.timeout = 0.05
        with pytest.raises(DatabaseUnavailable):
            await away.fetch_all(*PING)
    with pytest.raises(DatabaseUnavailable):
        await away.fetch_all(*PING)


async def test_a_named_lock_has_one_holder_at_a_time(db: Database, other: Database) -> None:
    async with db.exclusive("x") as (first, _), other.exclusive("x") as (second, _):
        assert (first, second) == (True, False)
    async with db.exclusive("x") as (first, _), other.exclusive("y") as (second, _):
        assert (first, second) == (True, True)
    async with other.exclusive("x") as (again, _):
        assert again


async def test_a_lock_does_not_use_a_connection_of_the_pools(database: str) -> None:
    """Several crons may hold a lock for a minute while leads are processed."""
    async with (
        opened(database, work_connections=1, wait_seconds=0.2) as small,
        small.exclusive("x") as (one, _),
        small.exclusive("y") as (two, _),
    ):
        assert (one, two, await is_healthy(small)) == (True, True, True)


async def test_a_statement_that_fails_or_is_cancelled_under_a_lock_releases_it(
    db: Database, other: Database, database: str
) -> None:
    with refusing(database, "55P03"):
        with pytest.raises(Contended, match="LockNotAvailable"):
            async with db.exclusive("x") as (_, session):
                await session.run(CONSENT, commit=True)
        with pytest.raises(Busy):  # a dry run is not tried again
            async with db.dry_run() as transaction:
                await transaction.run(CONSENT)
    async with other.exclusive("x") as (free, _):
        assert free
    with psycopg.connect(database) as blocking:
        blocking.execute("LOCK TABLE customer_consent IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), db.exclusive("x") as (_, session):
                await session.run(CONSENT, commit=True)
    async with other.exclusive("x") as (free, _):
        assert free


async def test_a_connection_lost_under_a_lock_does_not_hide_the_error(db: Database, database: str) -> None:
    async def cut_off() -> None:
        async with db.exclusive("x"):
            kill(database)
            raise KeyError

    with pytest.raises(KeyError):
        await cut_off()
    await until_healthy(db)
    async with db.exclusive("x") as (free, _):
        assert free


async def test_sessions_use_utc_and_have_timeouts(database: str) -> None:
    with psycopg.connect(database, options=SESSION_OPTIONS) as connection:
        for name, value in (("timezone", "UTC"), ("lock_timeout", "5s"), ("statement_timeout", "10s")):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)


MAX_PARAMETERS = 65_535
"""Of libpq for one statement."""
ONE: Text = (b"SELECT 1 AS one", {})
DIVIDE: Text = (b"SELECT 1 / %(by)s::integer AS quotient", {"by": 0})
NO_TABLE: Text = (b"SELECT * FROM no_such_table", {})
PREPARED: Text = (b"SELECT count(*) AS count FROM pg_prepared_statements WHERE name LIKE 'leads%%'", {})


@pytest.fixture
async def session(database: str) -> AsyncIterator[PreparingConnection]:
    opened = await PreparingConnection.connect(database, **CONNECTION_SETTINGS)
    yield opened
    await opened.close()


async def prepared(session: PreparingConnection) -> int:
    """The statements that the server holds, this question included."""
    ((row,),) = await run_together(session, [PREPARED])
    return int(row["count"])


async def test_a_statement_is_prepared_once_also_after_a_rollback(session: PreparingConnection) -> None:
    for _ in range(3):
        await run_together(session, [(b"BEGIN", {}), ONE, ONE, (b"ROLLBACK", {})])
    assert await prepared(session) == 4  # BEGIN, ONE, ROLLBACK and the question
    assert await prepared(session) == 4


VALUES: list[tuple[str, Any]] = [
    ("text", None), ("boolean", True), ("bigint", 5), ("bigint", 70_000), ("bigint", 2**40), ("bigint", None),
    ("integer", -1), ("float8", 1.5), ("text", ""), ("text", "Nguyễn 'x' %s \\"), ("bytea", b"\x00\xff"),
    ("bigint[]", [1, 2**40]), ("text[]", []), ("text[]", ["a", None]), ("date", date(2026, 5, 1)),
    ("uuid", UUID("d0000000-0000-4000-8000-000000000002")), ("interval", timedelta(days=3, seconds=5)),
    ("timestamptz", datetime(2026, 5, 1, 2, 3, 4, 5, UTC)), ("jsonb", '{"a": [1, null]}'),
    ("timestamptz[]", [datetime(2026, 5, 1, tzinfo=UTC)]), ("bigint", 1),
]  # fmt: skip


async def test_values_are_converted_as_psycopg_converts_them(
    session: PreparingConnection, subtests: pytest.Subtests
) -> None:
    """Also those of several types for one statement, which is a `bigint` of any size here."""
    for kind, value in VALUES:
        with subtests.test(f"{kind} {value!r}"):
            text, params = f"SELECT %(value)s::{kind} AS value".encode(), {"value": value}
            expected = await (await session.execute(text, params)).fetchall()
            for _ in range(2):  # prepared now, and before
                assert await run_together(session, [(text, params)]) == [expected]


def test_a_text_that_is_no_time_is_not_taken_for_a_far_one() -> None:
    loader = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, pq.Format.TEXT)
    assert loader is not None
    load = loader(psycopg.adapters.types["timestamptz"].oid).load
    assert load(b"infinity") == datetime(9999, 1, 1, tzinfo=UTC)
    for text in (b"x", b"", b"2026-13-01 00:00:00+00"):
        with pytest.raises(psycopg.DataError, match="can't parse"):
            load(text)


async def test_what_was_not_prepared_after_an_error_is_prepared_later(session: PreparingConnection) -> None:
    for refused, error in (
        (DIVIDE, psycopg.errors.DivisionByZero),
        (NO_TABLE, psycopg.errors.UndefinedTable),
    ):
        for _ in range(2):
            with pytest.raises(error):
                await run_together(session, [refused, ONE, refused])
    assert await run_together(session, [ONE]) == [[{"one": 1}]]


async def test_a_statement_whose_result_has_other_columns_fails_once(session: PreparingConnection) -> None:
    everything: Text = (b"SELECT * FROM changed", {})
    await run_together(session, [(b"CREATE TEMP TABLE changed AS SELECT 1 AS a", {})])
    assert await run_together(session, [everything]) == [[{"a": 1}]]
    await run_together(session, [(b"ALTER TABLE changed ADD COLUMN b integer", {})])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        await run_together(session, [everything])
    assert await run_together(session, [everything]) == [[{"a": 1, "b": None}]]


async def test_statements_beyond_the_limit_are_not_prepared(
    session: PreparingConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip, "MAX_PREPARED", 1)
    other: Text = (b"SELECT %(value)s::text AS value", {"value": "x"})
    for _ in range(2):
        assert await run_together(session, [ONE, other]) == [[{"one": 1}], [{"value": "x"}]]
    assert len(session.prepared) == 1


async def test_a_session_is_closed_if_a_statement_is_refused_while_others_are_in_the_buffer(
    session: PreparingConnection,
) -> None:
    """Else the next answers would be taken for those of other statements."""
    names = [f"p{number}" for number in range(MAX_PARAMETERS + 1)]
    text = "SELECT " + ", ".join(f"%({name})s::text" for name in names)
    with pytest.raises(psycopg.OperationalError):
        await run_together(session, [ONE, (text.encode(), dict.fromkeys(names))])
    assert session.closed


async def test_a_percent_sign_is_doubled(session: PreparingConnection) -> None:
    assert await run_together(session, [(b"SELECT 7 %% 4 AS rest", {})]) == [[{"rest": 3}]]
    for wrong in (b"SELECT 7 % 4", b"SELECT %(a)d", b"SELECT %s"):
        with pytest.raises(ValueError, match="neither"):
            await run_together(session, [(wrong, {"a": 1})])
    assert await run_together(session, [ONE]) == [[{"one": 1}]]


SECONDS = 3.0
EXPECTED = (TimeoutError, psycopg.errors.DivisionByZero, Contended, DatabaseUnavailable)
NUMBERS = (1, 300, 70_000, 2**40)


def echo(number: int) -> Statement:
    return "test/echo", {"number": number}


async def work(db: Database, chance: random.Random) -> None:
    """Ask for numbers in several round trips, and check that each answer is that of its question."""
    number = chance.choice(NUMBERS) + chance.randrange(100)
    async with db.transaction() as transaction:
        first, _, second = await transaction.run(echo(number), ("test/sleep", {}), echo(number + 1))
        assert [first, second] == [[{"number": number}], [{"number": number + 1}]]
        if chance.random() < 0.1:
            await transaction.run(("test/fail", {"zero": 0}), echo(number))
        assert await transaction.run(echo(number + 2), commit=True) == [[{"number": number + 2}]]
    assert await db.fetch_all(*echo(number + 3)) == [{"number": number + 3}]


async def test_answers_never_mix(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "test/echo", b"SELECT %(number)s::bigint AS number")
    monkeypatch.setitem(QUERIES, "test/sleep", b"SELECT pg_sleep(0.005)::text AS slept")
    monkeypatch.setitem(QUERIES, "test/fail", b"SELECT 1 / %(zero)s::integer AS quotient")
    until = time.monotonic() + SECONDS
    done = 0

    async def ask(db: Database, seed: int) -> None:
        nonlocal done
        chance = random.Random(seed)
        while time.monotonic() < until:
            seconds = chance.random() * 0.03 if chance.random() < 0.3 else 10
            with suppress(*EXPECTED):
                async with asyncio.timeout(seconds):
                    await work(db, chance)
                done += 1

    async def terminate() -> None:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
            while time.monotonic() < until:
                await asyncio.sleep(0.1)
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'pancake handlers'"
                    " ORDER BY random() LIMIT 1"
                )

    async with opened(database, work_connections=4) as db:
        await asyncio.gather(terminate(), *(ask(db, seed) for seed in range(8)))
    assert done > 20


@pytest.mark.usefixtures("cluster")  # left out where no servers are started
async def test_calls_succeed_again_after_the_server_restarts() -> None:
    with Cluster(durable=False) as own:
        url = own.create_database("restarted")
        async with opened(url, wait_seconds=0.3) as db:
            assert await is_healthy(db)
            own.stop(crash=True)
            for ask in (db.fetch_all, db.ingest, db.fetch_all):
                with pytest.raises(DatabaseUnavailable):
                    await ask("test/ping", {}, dict)
            assert not await is_healthy(db)
            own.start()
            await eventually_async(lambda: is_healthy(db))
            assert await db.ingest("test/ping", {}, dict) == [{"one": 1}]


FAKE = """#!/bin/sh
for each in "$@"; do echo "$each"; done > {out}
for each in "$@"; do
    case "$each" in
        *passfile=*) cat "$(echo "$each" | sed "s/.*passfile=\\([^ ]*\\).*/\\1/")" >> {out} ;;
    esac
done
echo "error: connection of $0 refused" >&2
exit 1
"""


def test_rows_go_out_and_come_back_into_empty_tables(database: str, tmp_path: Path) -> None:
    need_pg_dump(database)
    programs = binaries.find()
    path = tmp_path / "a.dump"
    dump_tables(database, ("public.staff", "public.pancake_*"), path, programs)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {"public.staff", "public.pancake_webhook_event"} <= list_dumped_tables(path, programs)
    own = tmp_path / "own.dump"
    dump_tables(database, ("public.staff",), own, programs)
    with psycopg.connect(database, autocommit=True) as db:
        before = db.execute("SELECT * FROM staff ORDER BY id").fetchall()
        db.execute("SET session_replication_role = replica")
        db.execute("DELETE FROM staff")
        restore_rows(database, own, programs)
        assert db.execute("SELECT * FROM staff ORDER BY id").fetchall() == before != []
        with pytest.raises(PgProgramFailed, match="pg_restore failed"):
            restore_rows(database, own, programs)
        assert db.execute("SELECT * FROM staff ORDER BY id").fetchall() == before


def test_the_password_is_in_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    """A program that is not there is named."""
    with pytest.raises(PgProgramFailed, match="pg_dump did not run: FileNotFoundError"):
        dump_tables("postgresql://db/diva", ("public.staff",), tmp_path / "a.dump", tmp_path)
    out = tmp_path / "out"
    program = tmp_path / "pg_dump"
    program.write_text(FAKE.format(out=out))
    program.chmod(0o700)
    with pytest.raises(PgProgramFailed, match=r"pg_dump failed: error: connection of .* refused"):
        dump_tables("postgresql://lan:a%3Ab%5Cc@db/diva", ("public.staff",), tmp_path / "a.dump", tmp_path)
    *arguments, line = out.read_text().splitlines()
    assert line == r"*:*:*:*:a\:b\\c"
    assert not any("a:b" in each for each in arguments)
    (connection,) = [each for each in arguments if "passfile=" in each]
    assert not Path(connection.partition("passfile=")[2].split()[0]).exists()
    assert not (tmp_path / "a.dump").exists()


KILLED = """
import sys, time
from pathlib import Path
from ops.files import replacing

with replacing(Path(sys.argv[1])) as fresh:
    fresh.write_text("customers")
    print(fresh.name, flush=True)
    time.sleep(60)
"""


def test_no_part_of_a_dump_stays_after_a_failure_and_after_a_kill_until_the_next(tmp_path: Path) -> None:
    """That of a process that is still at work is left alone."""
    program = tmp_path / "pg_dump"
    program.write_text('#!/bin/sh\necho rows >"$5"\nexit 1\n')  # --format custom --no-password --file FILE
    program.chmod(0o700)

    def parts() -> set[str]:
        return {each.name for each in tmp_path.glob("*.partial")}

    def fail_to_dump() -> None:
        with pytest.raises(PgProgramFailed, match="pg_dump failed: exit code 1"):
            dump_tables("postgresql://db/diva", ("public.staff",), tmp_path / "b.dump", tmp_path)

    other, pipe = tmp_path / "notes.dump.old.partial", tmp_path / "c.dump.1.partial"
    other.touch()
    os.mkfifo(pipe)  # it is not waited for
    with Processes() as processes:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "a.dump")]
        started = processes.start(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert started.stdout is not None
        with started.stdout as output:
            name = output.readline().strip()
        fail_to_dump()
        assert parts() == {name, other.name}
        started.kill()
        started.wait()
        assert parts() == {name, other.name}
        fail_to_dump()
        assert parts() == {other.name}


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
def test_a_user_without_a_name_is_a_number(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=error))
    assert login_name() == f"uid {os.getuid()}"
