"""Faults of a running system that take a while: each lead still has one ticket and one notification.

The handlers are killed; our metadata is wiped while leads come in.
scripts/test --full runs the scenario four_layers, and a day, in full.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from proofs.incidents.breakages import project_without_ours
from proofs.sender import Stream
from sandbox.processes import ROOT
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.monitoring import engine_alerts, fires, needs_monitoring, read_engine_checks
from tests.support.waiting import eventually_async

MAX_SECONDS = 120
PRODUCTION = "postgresql://postgres@127.0.0.1:9/production"
"""The scenario must ignore DATABASE_URL."""


@pytest.mark.slow("half a minute")
@pytest.mark.test_case("TC-014-015")
def test_four_layers_lose_no_record_and_make_no_customer_two_tickets() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "proofs.chaos", "four_layers", "--json", "--speed=120", "--leads=60"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": PRODUCTION},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert run.returncode == 0, result
    assert result["sent"] == result["processed"] == 60
    assert result["by_layer"].keys() == {"webhook", "poll", "reconcile", "replay"}


@pytest.fixture
def sandbox(harness: EndToEndHarness) -> Sandbox:
    if harness.sandbox is None:
        pytest.skip("breaks parts of the system, which only our own sandbox can start again")
    return harness.sandbox


async def deliver(harness: EndToEndHarness, client: httpx.AsyncClient, number: int) -> None:
    """Post a lead until it is answered with 200, as Pancake does."""

    async def is_taken() -> bool:
        answer = await client.post(harness.webhook_url, content=body(numbered_lead(number)))
        return answer.status_code == 200

    await eventually_async(is_taken, MAX_SECONDS, poll_seconds=0.2)


def events(harness: EndToEndHarness, records: str) -> list[dict[str, Any]]:
    return harness.sql(
        "SELECT id, status, outcome, ticket_id, account_id, notified_at FROM pancake_webhook_event"
        " WHERE record_id LIKE %s",
        records,
    )


async def check_each_once(harness: EndToEndHarness, records: str, leads: int) -> None:
    """Wait until each lead is processed and notified, with a cron that runs at once; compare all effects."""

    async def is_done() -> bool:
        found = events(harness, records)
        if len(found) == leads and all(
            event["status"] == "processed" and event["notified_at"] is not None for event in found
        ):
            return True
        harness.sql(
            "UPDATE pancake_webhook_event SET notify_next_at = now() WHERE notify_next_at > now()"
            " AND record_id LIKE %s",
            records,
        )
        harness.retry_pending()
        await asyncio.to_thread(harness.tick, "retry_failed")
        return False

    await eventually_async(is_done, MAX_SECONDS, poll_seconds=0.5)
    found = events(harness, records)
    assert Counter(event["outcome"] for event in found) == {"ticket_created": leads}
    for column in ("ticket_id", "account_id"):
        assert len({event[column] for event in found}) == leads, column
    assert harness.count("ticket", f"data -> 'pancake' ->> 'record_id' LIKE '{records}'") == leads
    sent = harness.observer().sent()
    assert {event["id"]: dict(sent[event["id"]]) for event in found} == {
        event["id"]: {"noti_pancake_new_lead": 1} for event in found
    }


CRASH_COUNT = 200
KILL_WHEN = {
    "while ingesting": "SELECT count(*) >= 50 AS now FROM pancake_webhook_event WHERE record_id LIKE %s",
    "while processing": "SELECT count(*) >= 40 AS now FROM pancake_webhook_event"
    " WHERE record_id LIKE %s AND status = 'processed'",
}
LEASES_RUN_OUT = """
    UPDATE pancake_webhook_event
    SET
        ingested_at = ingested_at - interval '5 minutes',
        received_at = received_at - interval '5 minutes',
        notify_claimed_at = notify_claimed_at - interval '5 minutes'
    WHERE status IN ('received', 'ingested') OR (notified_at IS NULL AND notify_claimed_at IS NOT NULL)
"""


@pytest.mark.slow("25 seconds each")
@pytest.mark.parametrize("moment", KILL_WHEN)
async def test_killed_handlers_lose_no_lead(harness: EndToEndHarness, sandbox: Sandbox, moment: str) -> None:
    first = 1000 * (1 + list(KILL_WHEN).index(moment))
    records, limit = f"lead-{first // 1000:03d}%", asyncio.Semaphore(16)
    async with httpx.AsyncClient(timeout=60) as client:

        async def deliver_in_turn(number: int) -> None:
            async with limit:
                await deliver(harness, client, number)

        delivering = asyncio.gather(*map(deliver_in_turn, range(first, first + CRASH_COUNT)))
        await eventually_async(lambda: bool(harness.sql(KILL_WHEN[moment], records)[0]["now"]))
        sandbox.handlers.kill()
        harness.sql(LEASES_RUN_OUT)
        sandbox.handlers.start()
        await asyncio.to_thread(sandbox.handlers.wait_ready)
        await delivering
    await check_each_once(harness, records, CRASH_COUNT)


RATE = 20
"""Leads a second."""
BEFORE_THE_WIPE = 60
MAX_PROCESSING_SECONDS = 60
MAX_SEEN_SECONDS = 30
"""A handler looks at the engine at most every 15 s."""
SQL_TRIGGERS = "SELECT count(*) AS n FROM pg_trigger WHERE starts_with(tgname, 'notify_hasura_pancake')"
WIPE_RECORDS = "chaos-%"


@needs_monitoring
@pytest.mark.slow("more than half a minute")
@pytest.mark.usefixtures("sandbox")
async def test_wiped_metadata_lose_and_double_no_lead(harness: EndToEndHarness, tmp_path: Path) -> None:
    clock, stream = asyncio.get_running_loop().time, Stream(harness.webhook_url, RATE, seed=1, new_share=1.0)
    loading = asyncio.create_task(stream.run())
    await eventually_async(lambda: len(events(harness, WIPE_RECORDS)) >= BEFORE_THE_WIPE, poll_seconds=0.2)
    well = await checks(harness, event_trigger="1.0")

    harness.metadata_api("replace_metadata", project_without_ours())
    wiped = await checks(harness, event_trigger="0.0")

    recovering = asyncio.create_task(harness.leads("metadata", "recover", "--backups", str(tmp_path)))
    await eventually_async(lambda: harness.sql(SQL_TRIGGERS)[0]["n"] == 2, poll_seconds=0.2)
    back = clock()
    stream.stop()
    await loading
    leads = len(stream.sent.versions)
    assert stream.sent.non_2xx == []
    await eventually_async(
        lambda: Counter(event["status"] for event in events(harness, WIPE_RECORDS)) == {"processed": leads},
        MAX_PROCESSING_SECONDS - (clock() - back),
        poll_seconds=0.2,
    )
    recovered = await recovering
    assert recovered.exit_code == 0, recovered.output
    assert {alert for alert in engine_alerts() if fires(alert, tmp_path, [well, wiped])} == {
        "PancakeEventTriggerMissing",
        "PancakeAllowListStopsUs",
    }
    mended = await checks(harness, event_trigger="1.0", allow_list="1.0")
    assert [alert for alert in engine_alerts() if fires(alert, tmp_path, [wiped, mended])] == []
    await check_each_once(harness, WIPE_RECORDS, leads)


async def checks(harness: EndToEndHarness, **wanted: str) -> dict[str, str]:
    """Return the metric of the checks as soon as it has these values."""
    seen: dict[str, str] = {}

    async def has_them() -> bool:
        seen.update(await asyncio.to_thread(read_engine_checks, harness.handlers_url))
        return wanted.items() <= seen.items()

    await eventually_async(has_them, MAX_SEEN_SECONDS, poll_seconds=0.5)
    return seen
