"""Processing: attempts, turns of repeats, corrected phones.

And what is loaded and read to compare the lists of Pancake with the stored events.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.pancake_api import Access, PancakeApi
from leads.domain.errors import (
    Contended,
    DatabaseUnavailable,
    Deferred,
    InvalidBody,
    InvalidPhone,
    ProcessingPaused,
)
from leads.domain.lead import read_stored_lead
from leads.domain.listing import Event, ListedLead, LookUps, TableRecord, covering
from leads.domain.phone import PhoneReading
from leads.services import process_record
from leads.services.connections import Connection
from leads.services.missing_leads import load_events_params, look_up_times, read_stored_event
from leads.services.process_record import DeliveryResult
from leads.services.redelivery import MAX_RETRY_AFTER_SECONDS, MAX_WAITING, RepeatLimit
from tests.support.builders import CLAIM, DIGESTER
from tests.support.fakes import FakeDatabase, MovableClock, SteadyClock
from tests.support.handlers import DatabaseHarness
from tests.support.leads import PHONE
from tests.support.postgres import insert_events
from tests.support.waiting import eventually_async

CLOCK = SteadyClock()
CONTENDED = DeliveryResult("failed", "contended")


class Work:
    """Raises these errors one after the other, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def attempt(
    db: FakeDatabase, work: Callable[[], Any], attempts: int = 1, timeout_seconds: float = 20.0
) -> Any:
    claim = AsyncMock(return_value=replace(CLAIM, table_name="lead", attempts=attempts))
    db.rows = [{"result": "failed", "is_invalid": False}]
    parts: Any = {"claim_event": claim, "process_claim": lambda *_: work()}
    with patch.multiple(process_record, WORK_TIMEOUT_SECONDS=timeout_seconds, **parts):
        return await process_record.process_event(db, CLOCK, Mock(), Mock(), DIGESTER, CLAIM.id)


async def test_contention_is_retried_twice_and_successful_work_marks_nothing() -> None:
    for contentions in range(3):
        db, work = FakeDatabase(), Work(*[Contended()] * contentions)
        assert await attempt(db, work) == "done"
        assert (work.calls, db.ran) == (1 + contentions, [])


@pytest.mark.parametrize("attempts", [5, 6])
async def test_after_the_last_attempt_there_is_no_next_one(attempts: int) -> None:
    db = FakeDatabase()
    assert await attempt(db, Work(*[Contended()] * 3), attempts) == CONTENDED
    assert db.ran[0][1]["next_attempt_at"] is None


async def test_work_that_exceeds_its_time_is_cancelled_and_retried_later() -> None:
    db, cut = FakeDatabase(), asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    async with asyncio.timeout(5):
        assert await attempt(db, endless, timeout_seconds=0.05) == CONTENDED
    assert cut.is_set()
    params = db.ran[0][1]
    assert params["error_code"] == "contended"
    assert params["error_detail"] == "The work took longer than 0.05 s."
    assert params["next_attempt_at"] is not None


async def test_an_error_while_storing_the_failure_leaves_the_event_to_its_lease() -> None:
    db = FakeDatabase()
    db.error = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await attempt(db, Work(InvalidPhone()))


async def test_a_cancelled_request_marks_nothing() -> None:
    db = FakeDatabase()
    task = asyncio.create_task(attempt(db, asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert db.ran == []


@pytest.fixture
def backlog(database: str) -> Iterator[DatabaseHarness]:
    """A database with one received event."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        insert_events(session, "received", 1)
        yield DatabaseHarness(session)


@asynccontextmanager
async def process(database: str, clock: Clock | None = None) -> AsyncIterator[RepeatLimit]:
    """The limit of one process of the handlers."""
    db = Database(database, ingest_connections=1, work_connections=4)
    await db.open()
    yield RepeatLimit(db, clock or Clock())
    await db.close()


@pytest.fixture
async def limit(database: str) -> AsyncIterator[RepeatLimit]:
    async with process(database) as started:
        yield started


@pytest.fixture
def event(backlog: DatabaseHarness) -> int:
    return int(backlog.one("SELECT id FROM pancake_webhook_event")["id"])


async def results_of(taking: Iterable[Awaitable[object]]) -> list[Any]:
    return await asyncio.gather(*taking, return_exceptions=True)


async def test_two_processes_keep_the_rate(database: str, backlog: DatabaseHarness, event: int) -> None:
    rate, each = 40, 30
    backlog.change_settings(replay_rate_per_second=rate)
    times: list[float] = []

    async def take(limit: RepeatLimit) -> None:
        await limit.take(event)
        times.append(time.monotonic())

    async with process(database) as first, process(database) as second:
        await asyncio.gather(*(take(limit) for limit in (first, second) for _ in range(each)))
    assert len(times) == 2 * each
    assert times[-1] - times[0] >= (2 * each - 1 - 4) / rate


async def test_beyond_the_line_each_gets_a_time(
    limit: RepeatLimit, backlog: DatabaseHarness, event: int
) -> None:
    rate = 10
    backlog.change_settings(replay_rate_per_second=rate)
    started = time.monotonic()
    results = await results_of(limit.take(event) for _ in range(60))
    passed = time.monotonic() - started  # a slow machine asks for some of them later
    waits = Counter(result.retry_after_seconds for result in results if isinstance(result, Deferred))
    assert results.count(None) == rate
    assert waits.total() == 60 - rate
    assert max(waits.values()) <= rate * (1 + passed)
    assert (min(waits), max(waits)) == (2, 6)


async def test_the_line_is_no_longer_than_half_of_what_hasura_delivers_at_a_time(
    database: str, limit: RepeatLimit, backlog: DatabaseHarness, event: int
) -> None:
    """And an event that is not received any more takes no turn."""
    backlog.change_settings(replay_rate_per_second=1000)
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(6, 0)")
        async with asyncio.timeout(3):
            await limit.take(event + 1)
        taking = [asyncio.create_task(limit.take(event)) for _ in range(120)]
        await eventually_async(lambda: sum(task.done() for task in taking) == 120 - MAX_WAITING)
        other.rollback()
    assert (await results_of(taking)).count(None) == MAX_WAITING == 50


async def test_no_event_waits_over_five_minutes(database: str, backlog: DatabaseHarness, event: int) -> None:
    """So that a higher rate takes effect."""
    backlog.change_settings(replay_rate_per_second=1)
    async with process(database, MovableClock()) as limit:
        results = await results_of(limit.take(event) for _ in range(400))
    waits = [result.retry_after_seconds for result in results if isinstance(result, Deferred)]
    assert max(waits) == MAX_RETRY_AFTER_SECONDS == 300


async def test_a_pause_is_answered_before_the_line(
    limit: RepeatLimit, backlog: DatabaseHarness, event: int
) -> None:
    backlog.change_settings(processing_paused=True, replay_rate_per_second=1)
    results = await results_of(limit.take(event) for _ in range(20))
    assert {type(result) for result in results} == {ProcessingPaused}


def read(payload: str | None) -> PhoneReading:
    return read_stored_lead(payload, corrected_phone=PHONE, modified_on=None, table_name=None)[1]


def test_a_corrected_phone_replaces_all_of_a_body_as_its_main_one_but_no_body_that_is_missing() -> None:
    phones = read('{"id": "r", "phone_number": "x", "secondary_phone_number": "0912345678"}')
    assert (phones.usable, phones.typed) == ((PHONE,), {"phone_number": (PHONE,)})
    with pytest.raises(InvalidBody) as caught:
        read(None)
    assert caught.value.code == "invalid_payload"


# What is loaded and read to compare Pancake's lists


T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)
ACCESS = Access("c1", "https://crm.pancake.test/api", 123, "key")
CONNECTION = Connection("c1", "test", "active", ("lead", "contact"), "UTC", None, ACCESS)


class FakePancake(PancakeApi):
    """Holds some records by table and id, and notes what is asked for."""

    def __init__(self, *held: tuple[str, str]) -> None:
        self.held = held
        self.asked: list[tuple[str, str]] = []

    async def record(self, access: Access, table: str, record_id: str) -> dict[str, Any] | None:
        self.asked.append((table, record_id))
        return {"id": record_id} if (table, record_id) in self.held else None

    async def look_up(self, *keys: TableRecord) -> LookUps:
        look_ups = LookUps()
        assert await look_up_times(self, CONNECTION, keys, look_ups, seconds_left=lambda: 1)
        return look_ups


async def test_a_record_is_looked_for_in_its_table_or_in_each_until_it_is_found() -> None:
    pancake = FakePancake(("contact", "a"), ("lead", "b"))
    a, b = TableRecord("contact", "a"), TableRecord("contact", "b")
    assert await pancake.look_up(a, b) == LookUps({a: None}, {b})
    assert pancake.asked == [("contact", "a"), ("contact", "b")]
    pancake = FakePancake(("lead", "a"), ("contact", "b"))
    a, b, gone = (TableRecord(None, name) for name in ("a", "b", "gone"))
    assert await pancake.look_up(a, b, gone) == LookUps({a: None, b: None}, {gone})
    assert [name for table, name in pancake.asked if table == "lead"] == ["a", "b", "gone"]
    assert [name for table, name in pancake.asked if table == "contact"] == ["b", "gone"]


def listed(record_id: str, modified_on: datetime | None) -> ListedLead:
    return ListedLead("lead", record_id, modified_on, {"id": record_id, "name": "Lan"})


def test_the_bodies_loaded_are_those_of_records_listed_without_a_time() -> None:
    assert load_events_params(CONNECTION, [listed("b", T0), listed("a", None), listed("b", T0)]) == {
        "connection_id": "c1",
        "record_ids": ["a", "b"],
        "whole": ["a"],
    }


STORED: dict[str, Any] = {
    "table_name": "lead", "record_id": "a", "modified_on": T0, "arrived_at": T0, "status": "processed",
    "error_code": None, "payload": None,
}  # fmt: skip


def test_a_body_that_postgresql_wrote_out_beyond_the_limit_of_ingest_is_read() -> None:
    """jsonb writes a space after every colon and comma, so what just fitted does not any more.

    An event loaded without its body has no fields.
    """
    payload = json.dumps({"id": "a", "name": "Lan", **{f"k{n}": "" for n in range(25_000)}})
    assert len(payload) > 256 * 1024
    event = read_stored_event(STORED | {"modified_on": None, "payload": payload})
    assert covering(listed("a", T0), {"a": [event]}) == [event]
    event = read_stored_event(STORED | {"status": "dead_letter", "error_code": "invalid_phone"})
    assert event == Event("lead", "a", T0, {}, "dead_letter", "invalid_phone")


@pytest.mark.parametrize(
    ("days_ahead", "of_arrival"), [(0, False), (2, False), (2.001, True), (20_000, True)]
)
def test_an_event_too_far_in_the_future_is_as_old_as_its_arrival(days_ahead: float, of_arrival: bool) -> None:
    modified_on = T0 + timedelta(days=days_ahead)
    event = read_stored_event(STORED | {"modified_on": modified_on})
    assert event.modified_on == (T0 if of_arrival else modified_on)
