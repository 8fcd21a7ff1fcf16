"""The kill switch is changed a hundred times under load, then `leads replay` drains."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually_async

STATUSES = "SELECT status, count(*)::integer AS rows FROM pancake_webhook_event GROUP BY status"
ROOT = Path(__file__).parents[2]
TURNS = 100
PHONES = 100


@dataclass
class Load:
    """Posts leads in small bursts and counts the answers."""

    harness: EndToEndHarness
    client: httpx.AsyncClient
    number: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    async def burst(self) -> Counter[str]:
        """Post two new leads and one of them again, concurrently; return the answers."""
        numbers = [self.number + 1, self.number + 2, self.number + 2]
        self.number += 2
        answers = Counter(await asyncio.gather(*(self._post(number) for number in numbers)))
        self.answers += answers
        return answers

    async def _post(self, number: int) -> str:
        content = body(numbered_lead(number, phone=f"0905{number % PHONES:06d}"))
        response = await self.client.post(self.harness.webhook_url, content=content)
        self.codes[response.status_code] += 1
        return str(response.json()["status"])


async def _switch(harness: EndToEndHarness, **settings: Any) -> None:
    await asyncio.to_thread(partial(harness.change_settings, **settings))


def _rows(harness: EndToEndHarness) -> dict[str, int]:
    return {row["status"]: row["rows"] for row in harness.query(STATUSES)}


async def _check(harness: EndToEndHarness, load: Load) -> None:
    """Assert that each delivery was received, skipped, a duplicate or spooled, and that each lead has a row.

    On a busy machine the edge spools a delivery that is not stored within 0.8 s, and delivers it again.
    """
    answers, sent = load.answers, load.codes.total()
    assert set(answers) <= {"received", "skipped_kill_switch", "duplicate", "spooled"}
    assert sent == answers.total()
    await eventually_async(lambda: sum(_rows(harness).values()) == load.number, seconds=60)


async def _drain(harness: EndToEndHarness) -> dict[str, Any]:
    """Run `leads replay --drain` and return its report."""
    environment = {
        **os.environ,
        "HASURA_URL": harness.hasura_url,
        "HASURA_ADMIN_SECRET": harness.admin_secret,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "leads.cli", "replay",
        "--status", "skipped_kill_switch", "--from", "2020-01-01", "--drain", "--json",
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    report: dict[str, Any] = json.loads(output)
    return report


async def test_no_row_stays_held_after_a_hundred_switches_under_load_and_a_drain(
    harness: EndToEndHarness,
) -> None:
    """Half of the deliveries are sent while the switch changes, half right after."""
    await _switch(harness, replay_rate_per_second=1000)
    async with httpx.AsyncClient(timeout=30) as client:
        load = Load(harness, client)
        for turn in range(TURNS):
            on = turn % 2 == 0
            await asyncio.gather(load.burst(), _switch(harness, kill_switch=on))
            took = await load.burst()
            await _check(harness, load)
            if not took["spooled"]:
                assert took == {"skipped_kill_switch" if on else "received": 2, "duplicate": 1}
        held = _rows(harness)["skipped_kill_switch"]
        drained = asyncio.create_task(_drain(harness))
        while not (await asyncio.wait({drained}, timeout=0.2))[0]:
            await load.burst()
        report = await drained
    assert report["matched"] == held
    assert report["matched"] + report["arrived"] + report["returned"] == (
        report["replayed"] + report["changed"] + report["held"]
    )
    assert (report["held"], report["returned"]) == (0, 0)
    results = report["results"]
    assert (sum(results["outcomes"].values()), results["waiting"]) == (report["replayed"], 0)
    assert sum(owner["tickets"] for owner in results["owners"]) == len(
        harness.query("SELECT DISTINCT ticket_id FROM pancake_webhook_event WHERE replay_count > 0")
    )
    await _check(harness, load)
    assert load.answers["spooled"] < load.codes.total() / 10
    await eventually_async(lambda: set(_rows(harness)) == {"processed"}, seconds=60)
    assert set(load.codes) == {200}
    tickets = harness.query("SELECT account_id FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert len(tickets) == len({row["account_id"] for row in tickets}) == PHONES
