"""After a pause the backlog drains at a bounded rate, new leads are not behind it, nothing is given up."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.stack.services import ROOT
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually_async

COUNT = 300
RATE = 40
TRIES = 30
"""More than the retries of the event trigger: without Retry-After the engine gives such an event up."""
PENDING = "trigger_name = 'pancake_webhook_event_status_update' AND NOT delivered"


@pytest.fixture(autouse=True)
def _as_before(harness: EndToEndHarness) -> Iterator[None]:
    yield
    harness.change_settings(kill_switch=False, processing_paused=False, replay_rate_per_second=20)


async def _store(harness: EndToEndHarness, numbers: range, status: str = "received") -> None:
    """Store leads without the edge, which spools deliveries when the machine is slow."""
    limit = asyncio.Semaphore(16)
    digest = sha256(harness.webhook_token.encode()).hexdigest()
    headers = {"X-Handler-Secret": harness.handler_secret}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:

        async def store(number: int) -> str:
            raw = base64.b64encode(body(numbered_lead(number))).decode()
            call = {
                "action": {"name": "pancake_ingest_record"},
                "input": {"token_sha256": digest, "raw": raw},
                "session_variables": {},
            }
            async with limit:
                answer = await client.post(f"{harness.handlers_url}/actions/ingest_record", json=call)
            return str(answer.raise_for_status().json()["status"])

        assert set(await asyncio.gather(*map(store, numbers))) == {status}


def _pending(harness: EndToEndHarness, condition: str) -> int:
    """Count Hasura's undelivered events that fulfil a condition."""
    (row,) = harness.query(f"SELECT count(*) FROM hdb_catalog.event_log WHERE {PENDING} AND {condition}")
    return int(row["count"])


def _events(harness: EndToEndHarness, numbers: range) -> list[dict[str, Any]]:
    return harness.query(
        "SELECT status, outcome, attempts, ingested_at, ticket_id FROM pancake_webhook_event"
        " WHERE record_id = ANY (%s) ORDER BY ingested_at",
        [[numbered_lead(number)["id"] for number in numbers]],
    )


def _are_processed(harness: EndToEndHarness, numbers: range) -> bool:
    return {event["status"] for event in _events(harness, numbers)} == {"processed"}


async def _pause_for_long(harness: EndToEndHarness, numbers: range) -> None:
    """Store leads during a pause that used up the retries of their events, all of them due now."""
    harness.change_settings(processing_paused=True)
    await _store(harness, numbers)
    await eventually_async(lambda: _pending(harness, "tries > 0") == len(numbers), seconds=60)
    harness.query(
        f"UPDATE hdb_catalog.event_log SET tries = %s, next_retry_at = now() WHERE {PENDING}", [TRIES]
    )
    await eventually_async(lambda: _pending(harness, f"tries > {TRIES}") == len(numbers))
    assert _pending(harness, "error") == 0


def _resume(harness: EndToEndHarness) -> None:
    """Resume, and make every event due at once: the worst case."""
    harness.change_settings(processing_paused=False)
    harness.query(
        f"UPDATE hdb_catalog.event_log SET next_retry_at = now() WHERE {PENDING} AND locked IS NULL"
    )


def _most_within(times: list[datetime], span: timedelta) -> int:
    """Return the largest number of times within a span."""
    return max(sum(start <= each < start + span for each in times) for start in times)


async def test_after_a_long_pause_the_backlog_drains_at_the_set_rate_and_no_event_is_given_up(
    harness: EndToEndHarness,
) -> None:
    backlog, new = range(COUNT), range(COUNT, COUNT + 1)
    harness.change_settings(replay_rate_per_second=RATE)
    await _pause_for_long(harness, backlog)
    _resume(harness)
    started = time.monotonic()
    await _store(harness, new)
    await eventually_async(lambda: _are_processed(harness, new), seconds=10)
    waited = time.monotonic() - started
    assert not _are_processed(harness, backlog), f"the new lead was processed last, after {waited:.1f} s"
    await eventually_async(lambda: _are_processed(harness, backlog), seconds=90, poll_seconds=0.2)
    events = _events(harness, backlog)
    times = [event["ingested_at"] for event in events]
    took = (times[-1] - times[0]).total_seconds()
    print(f"{COUNT} events in {took:.1f} s, at most {_most_within(times, timedelta(seconds=1))} in a second")
    assert took >= (COUNT - RATE) / RATE
    assert _most_within(times, timedelta(seconds=1)) <= 1.5 * RATE
    assert {(event["outcome"], event["attempts"]) for event in events} == {("ticket_created", 1)}
    assert len({event["ticket_id"] for event in events}) == COUNT
    assert (_pending(harness, "true"), _pending(harness, "error")) == (0, 0)


async def test_an_event_that_hasura_gave_up_after_a_pause_is_fired_again(harness: EndToEndHarness) -> None:
    """No answer at all has no Retry-After: the handlers were restarted during the pause."""
    if harness.sandbox is None:
        pytest.skip("stops the handlers, which only our own sandbox can start again")
    numbers = range(2000, 2010)
    await _pause_for_long(harness, numbers)
    await asyncio.to_thread(harness.sandbox.handlers.stop)
    harness.query(f"UPDATE hdb_catalog.event_log SET next_retry_at = now() WHERE {PENDING}")
    await eventually_async(lambda: _pending(harness, "error") == len(numbers))
    await asyncio.to_thread(_start_handlers, harness)
    harness.change_settings(processing_paused=False)
    await _retry_failed(harness)
    await eventually_async(lambda: _are_processed(harness, numbers))
    assert {event["attempts"] for event in _events(harness, numbers)} == {1}


async def test_a_replay_says_that_its_rows_wait_for_the_end_of_the_pause(harness: EndToEndHarness) -> None:
    harness.change_settings(kill_switch=True)
    await _store(harness, range(3000, 3002), status="skipped_kill_switch")
    harness.change_settings(kill_switch=False, processing_paused=True)
    code, output, errors = await _replay(harness, "--status", "skipped_kill_switch")
    assert (code, json.loads(output)["results"]["waiting"]) == (1, 2), errors
    assert "2 rows wait because processing is paused" in errors
    _resume(harness)
    await eventually_async(lambda: _are_processed(harness, range(3000, 3002)))


async def test_a_replay_reports_what_its_rows_became(harness: EndToEndHarness) -> None:
    harness.change_settings(kill_switch=True)
    await _store(harness, range(3100, 3104), status="skipped_kill_switch")
    harness.change_settings(kill_switch=False)
    code, output, errors = await _replay(harness, "--status", "skipped_kill_switch")
    results = json.loads(output)["results"]
    assert (code, results["outcomes"], results["waiting"]) == (0, {"ticket_created": 4}, 0), errors
    owners = harness.query(
        "SELECT t.assignee_id::text AS id, count(*)::integer AS tickets FROM ticket AS t"
        " JOIN pancake_webhook_event AS e ON e.ticket_id = t.id"
        " WHERE e.record_id = ANY (%s) AND t.assignee_id IS NOT NULL GROUP BY 1",
        [[numbered_lead(number)["id"] for number in range(3100, 3104)]],
    )
    assert sorted(results["owners"], key=lambda owner: str(owner["id"])) == sorted(
        owners, key=lambda owner: str(owner["id"])
    )
    assert sum(owner["tickets"] for owner in owners) + results["unassigned"] == 4


async def _replay(harness: EndToEndHarness, *arguments: str) -> tuple[int | None, str, str]:
    """Run `leads replay --json`; return its exit code, stdout and stderr."""
    environment = {
        **os.environ,
        "HASURA_URL": harness.hasura_url,
        "HASURA_ADMIN_SECRET": harness.admin_secret,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "leads.cli", "replay", "--json", *arguments,
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def _start_handlers(harness: EndToEndHarness) -> None:
    assert harness.sandbox is not None
    harness.sandbox.handlers.start()
    harness.sandbox.handlers.wait_ready()


async def _retry_failed(harness: EndToEndHarness) -> None:
    """Run the cron as it is due three minutes later. A changed received_at must not fire the event itself."""
    harness.query(
        "SET session_replication_role = replica;"
        " UPDATE pancake_webhook_event SET received_at = received_at - interval '3 minutes'"
        " WHERE status = 'received'"
    )
    headers = {"X-Handler-Secret": harness.handler_secret}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:

        async def has_run() -> bool:
            tick = {
                "id": str(uuid4()),
                "name": "pancake_retry_failed",
                "scheduled_time": datetime.now(UTC).isoformat(),
                "payload": {},
            }
            answer = await client.post(f"{harness.handlers_url}/cron/retry_failed", json=tick)
            # Without a report it was skipped, because a run that the engine called for is under way.
            return "report" in answer.json()

        await eventually_async(has_run, poll_seconds=1)
