"""Our metadata is wiped while leads come in, and the engine loses its environment: seen, and mended."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine
from leads.cli.metadata.pieces import Json
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.stack.services import Service
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.monitoring import needs_monitoring
from tests.support.seen_alerts import alerts, fires, read_checks
from tests.support.waiting import eventually_async

RATE = 20
"""Leads a second."""
BEFORE_THE_WIPE = 60
MAX_LEADS = 1200
MAX_PROCESSING_SECONDS = 60
MAX_SEEN_SECONDS = 30
"""A handler looks at the engine at most every 15 s."""
SQL_TRIGGERS = "SELECT count(*) AS n FROM pg_trigger WHERE starts_with(tgname, 'notify_hasura_pancake')"
EVENTS = """
    SELECT id, status, outcome, ticket_id, notified_at
    FROM pancake_webhook_event
    WHERE record_id LIKE %s
"""
RECORDS = "lead-07%"
FIRST = 70_000
LOST_VARIABLES = ("HANDLERS_URL", "HANDLER_SECRET")

pytestmark = needs_monitoring


@pytest.fixture
def engine(harness: EndToEndHarness) -> Service:
    """The engine's process."""
    if harness.sandbox is None:
        pytest.skip("changes the metadata of the engine, which only our own sandbox may lose")
    return harness.sandbox.hasura


async def test_a_wipe_under_load_is_seen_and_nothing_is_lost_or_doubled(
    harness: EndToEndHarness, engine: Service, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    loading = asyncio.create_task(_load(harness, stop))
    await eventually_async(lambda: len(_events(harness)) >= BEFORE_THE_WIPE, poll_seconds=0.2)
    well = await _checks(harness, event_trigger="1.0")

    harness.metadata_api("replace_metadata", _project_without_ours())
    wiped = await _checks(harness, event_trigger="0.0")

    recovering = asyncio.create_task(_leads(harness, "metadata", "recover", "--backups", str(tmp_path)))
    await eventually_async(partial(_is_ours_back, harness), poll_seconds=0.2)
    back = asyncio.get_running_loop().time()
    stop.set()
    leads = await loading
    await eventually_async(
        lambda: Counter(event["status"] for event in _events(harness)) == {"processed": leads},
        MAX_PROCESSING_SECONDS - (asyncio.get_running_loop().time() - back),
        poll_seconds=0.2,
    )
    recovered = await recovering
    assert recovered.exit_code == 0, recovered.output
    _assert_each_once(harness, leads)
    assert {alert for alert in alerts() if fires(alert, tmp_path, [well, wiped])} == {
        "PancakeEventTriggerMissing",
        "PancakeAllowListStopsUs",
    }
    mended = await _checks(harness, event_trigger="1.0", allow_list="1.0")
    assert [alert for alert in alerts() if fires(alert, tmp_path, [wiped, mended])] == []


async def test_a_lost_environment_is_seen(
    harness: EndToEndHarness, engine: Service, without_environment: Service, tmp_path: Path
) -> None:
    """A genuine engine starts with the metadata of its database, and calls inconsistent what it lacks."""
    lost = await _checks(harness, consistent="0.0")
    async with httpx.AsyncClient(timeout=30) as client:
        ready = await client.get(f"{harness.handlers_url}/readyz")
    said = await _leads(harness, "status")

    assert (ready.status_code, ready.json()["consistent"], ready.json()["hasura"]) == (200, False, True)
    assert said.exit_code != 0
    text = " ".join(said.output.split())
    assert "inconsistent:" in text
    assert "environment variables not found: HANDLERS_URL" in text
    assert "PancakeMetadataInconsistent" in [a for a in alerts() if fires(a, tmp_path, [lost])]

    without_environment.stop()
    engine.start()
    engine.wait_ready()
    mended = await _checks(harness, consistent="1.0")
    assert [alert for alert in alerts() if fires(alert, tmp_path, [lost, mended])] == []
    said = await _leads(harness, "status")
    assert "nothing is inconsistent" in said.output


@pytest.fixture
def without_environment(harness: EndToEndHarness, engine: Service) -> Iterator[Service]:
    """The engine, started again without two variables, with the same metadata."""
    with HasuraAdmin(harness.hasura_url, harness.admin_secret) as hasura:
        metadata, _ = Engine(hasura).export()
        engine.stop()
        place = list(engine.arguments).index("--metadata") + 1
        arguments = [*engine.arguments[:place], str(DIVA_METADATA), *engine.arguments[place + 1 :]]
        kept = {name: value for name, value in engine.environment.items() if name not in LOST_VARIABLES}
        poor = replace(engine, arguments=arguments, environment=kept)
        poor.start()
        poor.wait_ready()
        Engine(hasura).replace(metadata, Engine(hasura).export()[1], allow_inconsistent=True)
        yield poor
    poor.stop()
    if engine.process is None:
        engine.start()
        engine.wait_ready()


async def _load(harness: EndToEndHarness, stop: asyncio.Event) -> int:
    """Post leads at the rate until `stop`, each until it is taken, as Pancake does; return how many."""
    async with httpx.AsyncClient(timeout=60) as client:

        async def is_taken(raw: bytes) -> bool:
            return (await client.post(harness.webhook_url, content=raw)).status_code == 200

        started = asyncio.get_running_loop().time()
        posting: list[asyncio.Task[None]] = []
        while len(posting) < MAX_LEADS and not stop.is_set():
            raw = body(numbered_lead(FIRST + len(posting)))
            posting.append(
                asyncio.create_task(eventually_async(partial(is_taken, raw), 60, poll_seconds=0.2))
            )
            due = started + len(posting) / RATE
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        await asyncio.gather(*posting)
    return len(posting)


def _project_without_ours() -> Json:
    """Diva's own project, in which our role has no permission."""
    project = read_directory(DIVA_METADATA)
    for action in project["actions"]:
        action["permissions"] = []
    return project


def _events(harness: EndToEndHarness) -> list[Json]:
    return harness.query(EVENTS, [RECORDS])


def _is_ours_back(harness: EndToEndHarness) -> bool:
    return bool(harness.query(SQL_TRIGGERS)[0]["n"] == 2)


async def _checks(harness: EndToEndHarness, **wanted: str) -> dict[str, str]:
    """Return the metric of the checks as soon as it has these values."""
    seen: dict[str, str] = {}

    async def has_them() -> bool:
        seen.update(await asyncio.to_thread(read_checks, harness.handlers_url))
        return wanted.items() <= seen.items()

    await eventually_async(has_them, MAX_SEEN_SECONDS, poll_seconds=0.5)
    return seen


async def _leads(harness: EndToEndHarness, *arguments: str) -> Result:
    environment = {
        "DATABASE_URL": harness.database_url,
        "HASURA_URL": harness.hasura_url,
        "HASURA_ADMIN_SECRET": harness.admin_secret,
    }
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)


def _assert_each_once(harness: EndToEndHarness, leads: int) -> None:
    events = _events(harness)
    assert Counter(event["outcome"] for event in events) == {"ticket_created": leads}
    assert len({event["ticket_id"] for event in events}) == leads
    (tickets,) = harness.query(
        "SELECT count(*) AS n FROM ticket WHERE data -> 'pancake' ->> 'record_id' LIKE %s", [RECORDS]
    )
    assert tickets["n"] == leads
    sent = harness.observer().sent()
    told = Counter(sent[event["id"]]["noti_pancake_new_lead"] for event in events)
    assert set(told) <= {0, 1}
    waiting = [event["id"] for event in events if event["notified_at"] is None]
    assert told[0] == len(waiting)
