"""A sandbox with leads and a few disturbances, while Prometheus scrapes it."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
from rich.console import Console
from rich.progress import Progress

from proofs.dashboard.pictures import View
from proofs.dashboard.prometheus import scraping_prometheus
from sandbox.edge import NginxEdge
from sandbox.monitoring.servers import Queries
from sandbox.page.buttons import Buttons
from sandbox.processes import Processes
from sandbox.stack.stack import Sandbox

SCRAPE_SECONDS = 5
LEADS_PER_SECOND = 1.0
TIMEOUT_SECONDS = 30
CALLS_UNTIL_OPEN = 6
"""More failures than the circuit breaker accepts in a minute."""
PEOPLE = (
    "UPDATE ticket SET first_response_at = now()"
    " WHERE first_response_at IS NULL AND created_at < now() - interval '20 s' AND random() < 0.2",
    "UPDATE ticket SET assignee_id = (SELECT id FROM staff WHERE role = 'telesale' ORDER BY random() LIMIT 1)"
    " WHERE id IN (SELECT id FROM ticket WHERE source_id = 'ticket_source_pancake'"
    " AND created_at > now() - interval '15 s' ORDER BY random() LIMIT 1) AND random() < 0.06",
)
"""What people do in Diva: they answer customers, and managers change some owners."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that is wrong from one share of the time to another."""

    begins: float
    ends: float
    begin: Callable[[], object]
    end: Callable[[], object]


@contextmanager
def observed(minutes: float, console: Console) -> Iterator[View]:
    """Run it for some minutes and give a view of all of it; everything stops at the end of the block."""
    with Processes() as processes, Sandbox() as sandbox:
        second = sandbox.add_handlers("second")
        targets = {"pancake_handlers": [sandbox.handlers_url, second.url]}
        if isinstance(sandbox.edge, NginxEdge):
            targets["pancake_edge"] = [sandbox.edge.ops_url]
        server = scraping_prometheus(processes, targets, SCRAPE_SECONDS)
        server.start()
        server.wait_ready()
        since = datetime.now(UTC)
        _run(sandbox, timedelta(minutes=minutes), console)
        with Queries(server.url) as queries:
            yield View(queries, since, datetime.now(UTC))


def _run(sandbox: Sandbox, length: timedelta, console: Console) -> None:
    buttons = Buttons(sandbox)
    waiting = disturbances(sandbox, buttons)
    running: list[Disturbance] = []
    begun = time.monotonic()
    chance = random.Random(1)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("leads", total=length.total_seconds())
        while (share := (time.monotonic() - begun) / length.total_seconds()) < 1:
            progress.update(task, completed=time.monotonic() - begun)
            for each in [each for each in waiting if each.begins <= share]:
                waiting.remove(each)
                running.append(each)
                each.begin()
            for each in [each for each in running if each.ends <= share]:
                running.remove(each)
                each.end()
            buttons.send_leads(1)
            _let_people_work(sandbox.database_url)
            time.sleep(chance.expovariate(LEADS_PER_SECOND))


def disturbances(sandbox: Sandbox, buttons: Buttons) -> list[Disturbance]:
    """Return what goes wrong: each ends before the time does."""

    def faults(**values: object) -> Callable[[], object]:
        return lambda: _post(f"{sandbox.pancake_url}/control/faults", values)

    return [
        Disturbance(0.1, 0.6, faults(drop=0.3), faults(drop=0)),
        Disturbance(0.2, 0.28, lambda: buttons.turn("kill", "on"), lambda: buttons.turn("kill", "off")),
        Disturbance(0.3, 0.32, lambda: None, buttons.process_held),
        Disturbance(
            0.4, 0.48, lambda: buttons.run_part("hasura", "stop"), lambda: buttons.run_part("hasura", "start")
        ),
        Disturbance(
            0.6,
            0.68,
            lambda: buttons.turn("pause", "on"),
            lambda: buttons.turn("pause", "off"),
        ),
        Disturbance(0.7, 0.85, lambda: _stop_api(sandbox), lambda: _start_api(sandbox)),
        Disturbance(0.02, 0.9, lambda: None, lambda: _reconcile(sandbox)),
    ]


def _stop_api(sandbox: Sandbox) -> None:
    """Let Pancake's API be down, and poll until the circuit breaker opens."""
    _post(f"{sandbox.pancake_url}/control/faults", {"down": True})
    for _ in range(CALLS_UNTIL_OPEN):
        _tick(sandbox, "poll_records")


def _start_api(sandbox: Sandbox) -> None:
    _post(f"{sandbox.pancake_url}/control/faults", {"down": False})
    _tick(sandbox, "poll_records")


def _reconcile(sandbox: Sandbox) -> None:
    """Reconcile yesterday, as if the connection were older."""
    with psycopg.connect(sandbox.database_url, autocommit=True) as db_connection:
        db_connection.execute("UPDATE pancake_connection SET created_at = created_at - interval '3 days'")
    _tick(sandbox, "reconcile_daily")


def _tick(sandbox: Sandbox, cron: str) -> None:
    """Deliver a tick between those of the engine; the cron may fail."""
    tick = {"id": f"dashboard-{time.time_ns()}", "name": f"pancake_{cron}", "payload": {}}
    httpx.post(
        f"{sandbox.handlers_url}/cron/{cron}",
        json={**tick, "scheduled_time": datetime.now(UTC).isoformat()},
        headers={"X-Handler-Secret": sandbox.keys.handler_secret},
        timeout=TIMEOUT_SECONDS,
    )


def _post(url: str, body: Mapping[str, object]) -> None:
    httpx.post(url, json=body, timeout=TIMEOUT_SECONDS).raise_for_status()


def _let_people_work(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        for statement in PEOPLE:
            db_connection.execute(statement)
