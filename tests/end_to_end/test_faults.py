"""Faults of a running system that take a while: each lead still has one ticket and one notification.

The handlers are killed; our metadata is wiped while leads come in.
scripts/test --full runs the scenario four_layers, and a day, in full.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proofs.chaos.effects import check_stream, count_unfinished
from proofs.incidents.faults import project_without_ours
from proofs.sender import Stream
from sandbox.processes import ROOT
from sandbox.serving import scrape
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.programs import run
from tests.support.waiting import eventually_async

RATE = 40
"""Leads a second."""
MAX_SECONDS = 120
MAX_PROCESSING_SECONDS = 60
MAX_SEEN_SECONDS = 30
"""A handler looks at the engine at most every 15 s."""
SQL_TRIGGERS = "SELECT count(*) AS n FROM pg_trigger WHERE starts_with(tgname, 'notify_hasura_pancake')"
PRODUCTION = "postgresql://postgres@127.0.0.1:9/production"
"""The scenario must ignore DATABASE_URL."""


@pytest.mark.slow("half a minute")
@pytest.mark.test_case("TC-014-015")
def test_four_layers_lose_no_record_and_make_no_customer_two_tickets() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": PRODUCTION}
    words = ("proofs.chaos", "four_layers", "--json", "--speed=120", "--leads=60")
    result = json.loads(run(sys.executable, "-m", *words, cwd=ROOT, env=environment, timeout=240).stdout)
    assert result["sent"] == result["processed"] == 60
    assert result["by_layer"].keys() == {"webhook", "poll", "reconcile", "replay"}


class Leads(Stream):
    """The leads of all tests here, each with another phone, posted one test after the other."""

    def __init__(self, harness: EndToEndHarness) -> None:
        super().__init__(harness.webhook_url, RATE, seed=1, new_share=1.0)
        self._harness = harness

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        """Post as long as the block lasts."""
        loading = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self.stop()
            await loading

    async def check_each_once(self) -> None:
        """Wait until each is processed and notified, with a cron that runs at once; compare all effects."""
        assert self.sent.non_2xx == []

        async def is_done() -> bool:
            if self.stored() == len(self.sent.versions) and not count_unfinished(self._harness.database_url):
                return True
            self._harness.sql(
                "UPDATE pancake_webhook_event SET notify_next_at = now() WHERE notify_next_at > now()"
            )
            self._harness.retry_pending()
            await asyncio.to_thread(self._harness.tick, "retry_failed")
            return False

        await eventually_async(is_done, MAX_SECONDS, poll_seconds=0.5)
        verdicts = check_stream(self._harness.database_url, self._harness.notifications_url, self.sent)
        assert verdicts.is_valid, verdicts.as_json()

    def stored(self, where: str = "true") -> int:
        return self._harness.count("pancake_webhook_event", where)


@pytest.fixture(scope="module")
def leads(harness: EndToEndHarness) -> Leads:
    return Leads(harness)


PROCESSED = "status = 'processed'"
KILL_WHEN = {"while ingesting": "true", "while processing": PROCESSED}
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
async def test_killed_handlers_lose_no_lead(
    harness: EndToEndHarness, sandbox: Sandbox, leads: Leads, moment: str
) -> None:
    """Killed when so many are stored, or processed; others are on the way then and come later."""
    before = leads.stored(KILL_WHEN[moment])
    async with leads.posting():
        await eventually_async(lambda: leads.stored(KILL_WHEN[moment]) >= before + 50)
        sandbox.handlers.kill()
        harness.sql(LEASES_RUN_OUT)
        sandbox.handlers.start()
        await asyncio.to_thread(sandbox.handlers.wait_ready)
        await eventually_async(lambda: leads.stored() >= before + 100)
    await leads.check_each_once()


@pytest.mark.slow("more than half a minute")
@pytest.mark.usefixtures("own_sandbox")
async def test_wiped_metadata_lose_and_double_no_lead(
    harness: EndToEndHarness, leads: Leads, tmp_path: Path
) -> None:
    before = leads.stored()
    async with leads.posting():
        await eventually_async(lambda: leads.stored() >= before + 60, poll_seconds=0.2)
        await checks(harness, event_trigger=1)
        harness.metadata_api("replace_metadata", project_without_ours())
        wiped = await checks(harness, event_trigger=0)
        recovering = asyncio.create_task(harness.leads("metadata", "recover", "--backups", str(tmp_path)))
        await eventually_async(lambda: harness.sql(SQL_TRIGGERS)[0]["n"] == 2, poll_seconds=0.2)
    await eventually_async(
        lambda: leads.stored(PROCESSED) == len(leads.sent.versions), MAX_PROCESSING_SECONDS, poll_seconds=0.2
    )
    recovered = await recovering
    assert recovered.exit_code == 0, recovered.output
    assert {check for check, value in wiped.items() if value == 0} == {"event_trigger", "allow_list"}
    mended = await checks(harness, event_trigger=1, allow_list=1)
    assert 0 not in mended.values()
    await leads.check_each_once()


async def checks(harness: EndToEndHarness, **wanted: float) -> dict[str, float]:
    """Return what the checks of the engine show, as soon as they have these values."""
    seen: dict[str, float] = {}

    async def has_them() -> bool:
        found = await asyncio.to_thread(scrape, harness.handlers_url)
        shown = [each for each in found if each.name == "pancake_engine_check"]
        seen.update((each.labels["check"], each.value) for each in shown)
        return wanted.items() <= seen.items()

    await eventually_async(has_them, MAX_SEEN_SECONDS, poll_seconds=0.5)
    return seen
