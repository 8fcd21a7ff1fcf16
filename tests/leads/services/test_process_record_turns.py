"""Turns of repeated deliveries: at most so many a second over all processes, others come back later."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.domain.errors import Deferred, ProcessingPaused
from leads.services.process_record.turns import MAX_RETRY_AFTER_SECONDS, MAX_WAITING, Turns
from tests.support.fakes import MovableClock
from tests.support.handlers import DatabaseHarness
from tests.support.postgres import insert_events
from tests.support.waiting import eventually_async


@pytest.fixture
def backlog(database: str) -> Iterator[DatabaseHarness]:
    """A database with one received event."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        insert_events(session, "received", 1)
        yield DatabaseHarness(session)


@asynccontextmanager
async def process(database: str, clock: Clock | None = None) -> AsyncIterator[Turns]:
    """The turns of one process of the handlers."""
    db = Database(database, ingest_connections=1, work_connections=4)
    await db.open()
    yield Turns(db, clock or Clock())
    await db.close()


def event_id(backlog: DatabaseHarness) -> int:
    return int(backlog.one("SELECT id FROM pancake_webhook_event")["id"])


async def test_two_processes_together_keep_the_rate(database: str, backlog: DatabaseHarness) -> None:
    rate, each = 40, 30
    backlog.change_settings(replay_rate_per_second=rate)
    event, times = event_id(backlog), list[float]()

    async def take(turns: Turns) -> None:
        await turns.take(event)
        times.append(time.monotonic())

    async with process(database) as first, process(database) as second:
        await asyncio.gather(*(take(turns) for turns in (first, second) for _ in range(each)))
    assert len(times) == 2 * each
    assert times[-1] - times[0] >= (2 * each - 1 - 4) / rate


async def test_beyond_the_line_each_is_told_when_its_turn_will_be(
    database: str, backlog: DatabaseHarness
) -> None:
    rate = 10
    backlog.change_settings(replay_rate_per_second=rate)
    event = event_id(backlog)
    async with process(database) as turns:
        results = await asyncio.gather(*(turns.take(event) for _ in range(60)), return_exceptions=True)
    waits = Counter(result.retry_after_seconds for result in results if isinstance(result, Deferred))
    assert results.count(None) == rate
    assert waits.total() == 60 - rate
    assert max(waits.values()) <= rate
    assert (min(waits), max(waits)) == (2, 6)


async def test_the_line_is_no_longer_than_half_of_what_hasura_delivers_at_a_time(
    database: str, backlog: DatabaseHarness
) -> None:
    backlog.change_settings(replay_rate_per_second=1000)
    event = event_id(backlog)
    async with process(database) as turns:
        with psycopg.connect(database) as other:
            other.execute("SELECT pg_advisory_xact_lock(6, 0)")
            taking = [asyncio.create_task(turns.take(event)) for _ in range(120)]
            await eventually_async(lambda: sum(task.done() for task in taking) == 120 - MAX_WAITING)
            other.rollback()
        results = await asyncio.gather(*taking, return_exceptions=True)
    assert results.count(None) == MAX_WAITING == 50


async def test_no_event_is_told_to_wait_longer_than_five_minutes(
    database: str, backlog: DatabaseHarness
) -> None:
    """So that a higher rate takes effect."""
    backlog.change_settings(replay_rate_per_second=1)
    event = event_id(backlog)
    async with process(database, MovableClock()) as turns:
        results = await asyncio.gather(*(turns.take(event) for _ in range(400)), return_exceptions=True)
    waits = [result.retry_after_seconds for result in results if isinstance(result, Deferred)]
    assert max(waits) == MAX_RETRY_AFTER_SECONDS == 300


async def test_an_event_that_is_not_received_any_more_takes_no_turn(
    database: str, backlog: DatabaseHarness
) -> None:
    event = event_id(backlog)
    async with process(database) as turns:
        with psycopg.connect(database) as other:
            other.execute("SELECT pg_advisory_xact_lock(6, 0)")
            async with asyncio.timeout(3):
                await turns.take(event + 1)


async def test_a_pause_is_answered_before_the_line(database: str, backlog: DatabaseHarness) -> None:
    backlog.change_settings(processing_paused=True, replay_rate_per_second=1)
    event = event_id(backlog)
    async with process(database) as turns:
        results = await asyncio.gather(*(turns.take(event) for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {ProcessingPaused}


@pytest.mark.parametrize("setting", ["soon", 0, -5, 2.5, None, 10**9])
async def test_an_unreadable_rate_is_the_safe_one(
    database: str, backlog: DatabaseHarness, setting: object
) -> None:
    backlog.change_settings(replay_rate_per_second=setting)
    async with process(database) as turns:
        started = time.monotonic()
        await turns.take(event_id(backlog))
        assert time.monotonic() - started < 3
