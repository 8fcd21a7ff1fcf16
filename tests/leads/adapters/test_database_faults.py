"""Answers never mix while statements fail, callers give up and sessions are terminated."""

import asyncio
import random
import time
from contextlib import suppress

import psycopg
import pytest

from leads.adapters.database import Database, Statement
from leads.adapters.queries import QUERIES
from leads.domain.errors import Contended, DatabaseUnavailable

SECONDS = 3.0
EXPECTED = (TimeoutError, psycopg.errors.DivisionByZero, Contended, DatabaseUnavailable)
NUMBERS = (1, 300, 70_000, 2**40)


@pytest.fixture(autouse=True)
def statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "test/echo", b"SELECT %(number)s::bigint AS number")
    monkeypatch.setitem(QUERIES, "test/sleep", b"SELECT pg_sleep(0.005)::text AS slept")
    monkeypatch.setitem(QUERIES, "test/fail", b"SELECT 1 / %(zero)s::integer AS quotient")


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


async def test_answers_never_mix(database: str) -> None:
    db = Database(database, ingest_connections=1, work_connections=4)
    await db.open()
    until = time.monotonic() + SECONDS
    done = 0

    async def ask(seed: int) -> None:
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

    await asyncio.gather(terminate(), *(ask(seed) for seed in range(8)))
    await db.close()
    assert done > 20
