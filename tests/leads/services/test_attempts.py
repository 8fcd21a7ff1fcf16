"""One attempt at a claimed event: done, retried at once, failed until later, or dead."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from leads.domain.errors import Contended, DatabaseUnavailable, InvalidPhone
from leads.services.process_record import attempts as process_record
from leads.services.process_record.attempts import FailedAttempt
from leads.services.process_record.claim import Claim
from tests.support.fakes import FakeDatabase, SteadyClock

CLOCK = SteadyClock()
CONTENDED = FailedAttempt("failed", "contended")


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


CLAIM = Claim(
    id=7,
    claim_id=UUID(int=12),
    connection_id=UUID(int=1),
    status="ingested",
    record_id="r",
    table_name=None,
    modified_on=None,
    payload=None,
    arrived_at=CLOCK.now(),
    attempts=1,
    replay_count=0,
    created_at=CLOCK.now(),
    is_apart=False,
    unsent=[],
    corrected_phone=None,
    force=False,
)


async def attempt(
    db: FakeDatabase, work: Callable[[], Any], attempts: int = 1, timeout_seconds: float = 20.0
) -> Any:
    claim = replace(CLAIM, attempts=attempts)
    return await process_record.attempt(db, CLOCK, claim, work, timeout_seconds=timeout_seconds)


async def test_successful_work_marks_nothing() -> None:
    db = FakeDatabase()
    assert await attempt(db, Work()) == "done"
    assert db.ran == []


async def test_contention_is_retried_twice() -> None:
    db, work = FakeDatabase(), Work(Contended(), Contended())
    assert await attempt(db, work) == "done"
    assert (work.calls, db.ran) == (3, [])


async def test_the_third_contention_fails_the_event_until_later() -> None:
    db, work = FakeDatabase(), Work(*[Contended("lost")] * 3)
    assert await attempt(db, work) == CONTENDED
    ((name, params),) = db.ran
    assert (work.calls, name) == (3, "process_record/fail_event")
    assert (params["id"], params["claim_id"], params["error_code"]) == (7, CLAIM.claim_id, "contended")
    wait = params["next_attempt_at"] - CLOCK.now()
    assert timedelta(seconds=28) < wait <= timedelta(seconds=30)


@pytest.mark.parametrize("attempts", [5, 6])
async def test_after_the_last_attempt_the_event_is_a_dead_letter(attempts: int) -> None:
    db = FakeDatabase()
    assert await attempt(db, Work(*[Contended()] * 3), attempts) == FailedAttempt("dead_letter", "contended")
    assert db.ran[0][1]["next_attempt_at"] is None


async def test_a_permanent_error_is_a_dead_letter_at_once() -> None:
    db, work = FakeDatabase(), Work(InvalidPhone("no phone"))
    assert await attempt(db, work) == FailedAttempt("dead_letter", "invalid_phone", is_invalid=True)
    params = db.ran[0][1]
    assert (work.calls, params["next_attempt_at"]) == (1, None)
    assert (params["error_code"], params["error_detail"]) == ("invalid_phone", "no phone")


async def test_an_internal_error_is_retried_later_and_stored_as_a_digest() -> None:
    db = FakeDatabase()
    assert await attempt(db, Work(KeyError("0905111222"))) == FailedAttempt("failed", "internal")
    params = db.ran[0][1]
    assert params["error_code"] == "internal"
    assert params["next_attempt_at"] is not None
    about = json.loads(params["evidence"])["error"]
    assert params["error_detail"] == f"KeyError, digest {about['digest']}"
    assert "0905111222" not in str(params)


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
    assert (params["error_code"], params["error_detail"]) == (
        "contended",
        "The work took longer than 0.05 s.",
    )
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
