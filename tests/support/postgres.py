"""PostgreSQL as tests use it: locks, programs, migrations, large tables, rows as psql prints them."""

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sandbox.postgres import binaries
from sandbox.postgres.database import psql_environment
from tests.support.databases import SESSION_NAME, STATEMENTS
from tests.support.handlers import HandlerHarness
from tests.support.programs import run
from tests.support.waiting import eventually_async

LOGIN = ("PGUSER", "PGPASSWORD")


def run_program(url: str, name: str, *arguments: str) -> str:
    return run(binaries.find() / name, *arguments, env=os.environ | psql_environment(url)).stdout


def run_as_owner(url: str, command: str) -> None:
    """Run a call of psql as it is printed: the role of a URL logs in, the call names server and file."""
    login = {name: value for name, value in psql_environment(url).items() if name in LOGIN}
    run("sh", "-c", command, env=os.environ | login)


def need_pg_dump(url: str) -> None:
    """Skip a test if the pg_dump of this machine is older than the server, which it then refuses."""
    with psycopg.connect(url) as db:
        if db.info.server_version // 10000 > binaries.version(binaries.find()):
            pytest.skip("the pg_dump of this machine is older than the server of DATABASE_URL")


TIME, DAY, DURATION = "2026-05-14 09:12:03+07", "2026-05-14", "00:00:41"
OF_THE_SERVER = {"n_live_tup": "8120", "n_dead_tup": "1344", "sessions": "38", "max_connections": "100"}
"""Columns whose numbers depend on the server and the moment, with what stands for them."""


def output(cursor: psycopg.Cursor[Any]) -> str:
    """Return what psql prints of a result: one time, day and duration stand for all."""
    names = [column.name for column in cursor.description or ()]
    rows = [
        [_shown(name, value) for name, value in zip(names, row, strict=True)] for row in cursor.fetchall()
    ]
    if OF_THE_SERVER.keys() & set(names):
        rows.sort()
    widths = [max(len(line[place]) for line in (names, *rows)) for place in range(len(names))]
    rule = "-+-".join("-" * width for width in widths)
    lines = [_line(names, widths), rule, *(_line(row, widths) for row in rows)]
    count = f"({len(rows)} row{'' if len(rows) == 1 else 's'})"
    return "\n".join([*lines, count]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _shown(name: str, value: object) -> str:
    if name in OF_THE_SERVER:
        return OF_THE_SERVER[name]
    match value:
        case None:
            return ""
        case bool():
            return "t" if value else "f"
        case datetime():
            return TIME
        case date():
            return DAY
        case timedelta():
            return DURATION
        case bytes():
            return value.decode()
        case list() | dict():
            return json.dumps(value)
        case _:
            return str(value)


CONNECTION = STATEMENTS["rows/insert_connection"]


def fill_tables(db_connection: psycopg.Connection) -> None:
    """Insert some ten thousand rows of each kind, and analyse the tables."""
    db_connection.execute("SET session_replication_role = replica")
    db_connection.execute(CONNECTION)
    db_connection.execute(STATEMENTS["rows/fill_tables"])


def insert_events(db_connection: psycopg.Connection[Any], status: str, count: int) -> None:
    """Insert events of one status, with a body, without firing triggers or analysing the table."""
    db_connection.execute("SET session_replication_role = replica")
    db_connection.execute(CONNECTION)
    db_connection.execute(STATEMENTS["rows/insert_events"], {"status": status, "count": count})
    db_connection.execute("RESET session_replication_role")


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
    """Close the sessions of the harnesses, which report their deadlocks when they end, and count all."""
    for harness in harnesses:
        await harness.runtime.db.close()
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name <> %s"
    await eventually_async(lambda: not harnesses[0].sql(others, SESSION_NAME), seconds=10)
    found = harnesses[0].one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(found["deadlocks"])
