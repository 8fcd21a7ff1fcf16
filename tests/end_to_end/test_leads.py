"""The results of leads in one system: samples, switches, a pause, replays.

Each test posts leads of its own numbers. The samples come first, while there are no other rows.
"""

import asyncio
import base64
import dataclasses
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from itertools import count
from typing import Any

import httpx
import pytest

from sandbox.demo import Result, run_samples
from sandbox.payloads import load_samples
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually_async

SOURCE = "UPDATE pancake_source SET is_active = %s WHERE pancake_source_id = %s"
PENDING = "trigger_name = 'pancake_webhook_event_status_update' AND NOT delivered"


@pytest.fixture(autouse=True)
def _as_before(harness: EndToEndHarness) -> Iterator[None]:
    yield
    harness.change_settings(kill_switch=False, processing_paused=False, replay_rate_per_second=20)
    harness.sql(SOURCE, True, "-5")


@pytest.fixture(scope="module")
def results(harness: EndToEndHarness) -> list[Result]:
    """Every sample, posted once in order, after it was processed."""
    return run_samples(harness.webhook_url, harness.observer())


@pytest.mark.test_case("TC-001")
def test_every_sample_ends_as_its_file_expects(results: list[Result]) -> None:
    assert {result.sample.name: result.differences for result in results if result.differences} == {}


@pytest.mark.usefixtures("results")
async def test_samples_posted_again_in_any_order_change_nothing(harness: EndToEndHarness) -> None:
    before = harness.snapshot()
    for seed in range(3):
        bodies = [sample.body for sample in load_samples()] * 2
        random.Random(seed).shuffle(bodies)
        answers = await harness.post(bodies, at_once=8)
        assert {answer["status"] for answer in answers} == {"duplicate"}
        assert harness.snapshot() == before, f"seed {seed}"


@pytest.mark.usefixtures("results")
async def test_without_nginx_the_small_edge_takes_the_same_path(
    harness: EndToEndHarness, sandbox: Sandbox
) -> None:
    url = f"{sandbox.add_small_edge().url}/api/pancake/record/{harness.webhook_token}"
    before = harness.snapshot()
    beside = dataclasses.replace(harness, webhook_url=url)
    answers = await beside.post([sample.body for sample in load_samples()])
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert harness.snapshot() == before


@pytest.mark.usefixtures("results")
async def test_only_the_status_received_fires_an_event_also_by_hand(harness: EndToEndHarness) -> None:
    """Each row had two or three states; the engine captured only its insertion."""
    for row in harness.sql("SELECT id, status FROM pancake_webhook_event"):
        assert len(harness.events_of(row["id"])) == 1, row
    (row,) = harness.sql("SELECT max(id) AS id FROM pancake_webhook_event WHERE outcome = 'ticket_created'")
    before = harness.snapshot()
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", row["id"])
    await eventually_async(lambda: all(event["delivered"] for event in harness.events_of(row["id"])))
    assert [event["tries"] for event in harness.events_of(row["id"])] == [1, 1]
    after = harness.snapshot()
    assert status(harness, row["id"]) == "processed"
    assert all(after[name] == before[name] for name in ("account", "ticket", "sent"))


def status(harness: EndToEndHarness, event_id: int) -> str:
    (row,) = harness.sql("SELECT status FROM pancake_webhook_event WHERE id = %s", event_id)
    return str(row["status"])


async def status_after_a_pause(harness: EndToEndHarness, number: int, hold: Callable[[], object]) -> str:
    """Store a row while processing is paused, hold it and resume; return its status."""
    harness.change_settings(processing_paused=True)
    (answer,) = await harness.post([body(numbered_lead(number, source=["-5"]))])
    event_id = int(answer["event_id"])
    await eventually_async(lambda: harness.events_of(event_id)[0]["tries"] > 0)
    assert status(harness, event_id) == "received"
    hold()
    harness.change_settings(processing_paused=False)
    harness.retry_pending()  # instead of waiting for Retry-After
    await eventually_async(lambda: harness.events_of(event_id)[0]["delivered"])
    assert harness.sql(f"SELECT 1 FROM ticket WHERE title LIKE '%%Khách {number}'") == []
    return status(harness, event_id)


@pytest.mark.test_case("TC-011")
async def test_a_waiting_row_is_held_by_the_kill_switch(harness: EndToEndHarness) -> None:
    hold = partial(harness.change_settings, kill_switch=True)
    assert await status_after_a_pause(harness, 2, hold) == "skipped_kill_switch"


@pytest.mark.test_case("TC-012")
async def test_a_waiting_row_is_held_by_its_source(harness: EndToEndHarness) -> None:
    hold = partial(harness.sql, SOURCE, False, "-5")
    assert await status_after_a_pause(harness, 3, hold) == "skipped_source_disabled"


TURNS, KILL_PHONES = 50, 60
KILL_NUMBERS = count(20_001)
KILL_RECORDS = "lead-02%"


async def burst(harness: EndToEndHarness) -> None:
    """Post two new leads and one of them again, concurrently."""
    numbers = [next(KILL_NUMBERS), next(KILL_NUMBERS)]
    bodies = [body(numbered_lead(each, phone=f"0905{each % KILL_PHONES:06d}")) for each in numbers]
    answers = await harness.post([*bodies, bodies[1]])
    # On a busy machine the edge spools a delivery that is not stored in time, and delivers it again.
    assert {each["status"] for each in answers} <= {"received", "skipped_kill_switch", "duplicate", "spooled"}


def rows(harness: EndToEndHarness) -> Counter[str]:
    query = "SELECT status FROM pancake_webhook_event WHERE record_id LIKE %s"
    return Counter(row["status"] for row in harness.sql(query, KILL_RECORDS))


async def test_no_row_stays_held_after_fifty_switches_and_a_drain(harness: EndToEndHarness) -> None:
    """Half of the deliveries are sent while the switch changes, half right after; more during the drain."""
    harness.change_settings(replay_rate_per_second=1000)
    for turn in range(TURNS):
        change = asyncio.to_thread(harness.change_settings, kill_switch=turn % 2 == 0)
        await asyncio.gather(burst(harness), change)
        await burst(harness)
    await eventually_async(lambda: rows(harness).total() == 4 * TURNS, seconds=60)
    assert rows(harness)["skipped_kill_switch"] >= TURNS / 2
    drain = ("replay", "--status", "skipped_kill_switch", "--since", "2020-01-01", "--drain", "--json")
    drained = asyncio.create_task(harness.leads(*drain))
    while not (await asyncio.wait({drained}, timeout=0.2))[0]:
        await burst(harness)
    ended = await drained
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.stdout)
    assert (report["held"], report["returned"], report["results"]["waiting"]) == (0, 0, 0)
    leads = next(KILL_NUMBERS) - 20_001
    await eventually_async(lambda: rows(harness) == {"processed": leads}, seconds=60)
    tickets = harness.sql(
        "SELECT t.account_id FROM ticket AS t JOIN account AS a ON a.id = t.account_id"
        " WHERE t.source_id = 'ticket_source_pancake' AND a.normalized_phone LIKE '+849050000%'"
    )
    assert len(tickets) == len({row["account_id"] for row in tickets}) == KILL_PHONES


RATE = 40
BACKLOG = range(10_000, 10_120)
TRIES = 30
"""More than the retries of the event trigger: without Retry-After the engine gives such an event up."""


async def store(harness: EndToEndHarness, numbers: range) -> None:
    """Store leads without the edge, which spools deliveries when the machine is slow."""
    digest = sha256(harness.webhook_token.encode()).hexdigest()
    limit, header = asyncio.Semaphore(16), {"X-Handler-Secret": harness.handler_secret}
    async with httpx.AsyncClient(base_url=harness.handlers_url, timeout=60, headers=header) as client:

        async def one(number: int) -> str:
            raw = base64.b64encode(body(numbered_lead(number))).decode()
            call = {
                "action": {"name": "pancake_ingest_record"}, "session_variables": {},
                "input": {"token_sha256": digest, "raw": raw},
            }  # fmt: skip
            async with limit:
                answer = await client.post("/actions/ingest_record", json=call)
            return str(answer.raise_for_status().json()["status"])

        assert set(await asyncio.gather(*map(one, numbers))) == {"received"}


def pending(harness: EndToEndHarness, condition: str) -> int:
    """Count Hasura's undelivered events that fulfil a condition."""
    (row,) = harness.sql(f"SELECT count(*) FROM hdb_catalog.event_log WHERE {PENDING} AND {condition}")
    return int(row["count"])


def events(harness: EndToEndHarness, numbers: range) -> list[dict[str, Any]]:
    return harness.sql(
        "SELECT status, outcome, attempts, ingested_at, ticket_id FROM pancake_webhook_event"
        " WHERE record_id = ANY (%s) ORDER BY ingested_at",
        [numbered_lead(number)["id"] for number in numbers],
    )


def are_processed(harness: EndToEndHarness, numbers: range) -> bool:
    return {event["status"] for event in events(harness, numbers)} == {"processed"}


async def pause_for_long(harness: EndToEndHarness, numbers: range) -> None:
    """Store leads during a pause that used up the retries of their events, all of them due now."""
    harness.change_settings(processing_paused=True)
    await store(harness, numbers)
    await eventually_async(lambda: pending(harness, "tries > 0") == len(numbers), seconds=60)
    harness.sql(f"UPDATE hdb_catalog.event_log SET tries = %s, next_retry_at = now() WHERE {PENDING}", TRIES)
    await eventually_async(lambda: pending(harness, f"tries > {TRIES}") == len(numbers))
    assert pending(harness, "error") == 0


async def test_after_a_long_pause_the_backlog_drains_at_the_set_rate(harness: EndToEndHarness) -> None:
    new = range(BACKLOG.stop, BACKLOG.stop + 1)
    harness.change_settings(replay_rate_per_second=RATE)
    await pause_for_long(harness, BACKLOG)
    harness.change_settings(processing_paused=False)
    due_at_once = "UPDATE hdb_catalog.event_log SET next_retry_at = now()"
    harness.sql(f"{due_at_once} WHERE {PENDING} AND locked IS NULL")
    await store(harness, new)
    await eventually_async(lambda: are_processed(harness, new), seconds=10)
    await eventually_async(lambda: are_processed(harness, BACKLOG), seconds=90, poll_seconds=0.2)
    done = events(harness, BACKLOG)
    times = [event["ingested_at"] for event in done]
    assert events(harness, new)[0]["ingested_at"] < times[-1], "the new lead was processed last"
    assert (times[-1] - times[0]).total_seconds() >= (len(BACKLOG) - RATE) / RATE
    second = timedelta(seconds=1)
    assert max(sum(start <= each < start + second for each in times) for start in times) <= 1.5 * RATE
    assert {(event["outcome"], event["attempts"]) for event in done} == {("ticket_created", 1)}
    assert len({event["ticket_id"] for event in done}) == len(BACKLOG)
    assert (pending(harness, "true"), pending(harness, "error")) == (0, 0)


async def test_the_lead_of_a_killed_hasura_comes_before_those_that_wait(
    harness: EndToEndHarness, own_sandbox: Sandbox
) -> None:
    """Hasura takes 100 events at a time, by their age: a new event for its row would be the last."""
    of_killed, waiting = range(13_000, 13_001), range(13_001, 13_151)
    await asyncio.to_thread(own_sandbox.hasura.kill)
    try:
        await store(harness, of_killed)
        await store(harness, waiting)
        # As if Hasura had locked it a minute ago and died. A changed received_at must not fire the event.
        harness.sql(
            "SET session_replication_role = replica;"
            " UPDATE pancake_webhook_event SET received_at = received_at - interval '1 minute'"
            " WHERE status = 'received';"
            " UPDATE hdb_catalog.event_log SET locked = now() - interval '1 minute'"
            f" WHERE {PENDING} AND (payload #>> '{{data,new,id}}')::bigint"
            " = (SELECT min(id) FROM pancake_webhook_event WHERE status = 'received')"
        )
        await eventually_async(lambda: harness.tick("retry_failed") == "succeeded", poll_seconds=1)
    finally:
        await asyncio.to_thread(own_sandbox.hasura.start)
    await eventually_async(lambda: are_processed(harness, range(of_killed.start, waiting.stop)), seconds=60)
    of_first_hundred = events(harness, waiting)[99]["ingested_at"]
    assert events(harness, of_killed)[0]["ingested_at"] < of_first_hundred


async def test_an_event_that_hasura_gave_up_after_a_pause_is_fired_again(
    harness: EndToEndHarness, sandbox: Sandbox
) -> None:
    """No answer at all has no Retry-After: the handlers were restarted during the pause."""
    numbers = range(12_000, 12_010)
    await pause_for_long(harness, numbers)
    await asyncio.to_thread(sandbox.handlers.stop)
    harness.sql(f"UPDATE hdb_catalog.event_log SET next_retry_at = now() WHERE {PENDING}")
    await eventually_async(lambda: pending(harness, "error") == len(numbers))
    sandbox.handlers.start()
    await asyncio.to_thread(sandbox.handlers.wait_ready)
    harness.change_settings(processing_paused=False)
    # As if three minutes had passed. A changed received_at must not fire the event itself.
    harness.sql(
        "SET session_replication_role = replica;"
        " UPDATE pancake_webhook_event SET received_at = received_at - interval '3 minutes'"
        " WHERE status = 'received'"
    )
    # It is skipped while a run that the engine called for is under way.
    await eventually_async(lambda: harness.tick("retry_failed") == "succeeded", poll_seconds=1)
    await eventually_async(lambda: are_processed(harness, numbers))
    assert {event["attempts"] for event in events(harness, numbers)} == {1}
