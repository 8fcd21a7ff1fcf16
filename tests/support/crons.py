"""The crons on a real database, with the simulator of Pancake and a clock that tests can move."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg

from app import create_app
from leads.adapters.pancake_api import PancakeApi
from leads.adapters.secrets import KeyRing, SecretScope
from leads.adapters.settings import Settings
from leads.domain.body import ICT
from leads.runtime import Runtime
from ops.daily.connection_secrets import seal
from sandbox.pancake.control import create_app as create_simulator
from sandbox.pancake.workspace import Workspace
from sandbox.postgres.database import grant_rights, owner_url
from tests.support.databases import owner_session
from tests.support.fakes import API_KEY, FakeHasura, MovableClock
from tests.support.handlers import HandlerHarness, started

LONG_CALL_SECONDS = 60.0
"""In place of ANSWER_WITHIN_SECONDS, for a machine under load; the tests of that limit set their own."""
HDB_CATALOG = Path(__file__).with_name("hdb_catalog.sql")
API_URL = "http://pancake/api"
SAME_API_URL = "http://pancake:80/api"
"""Another spelling, because a workspace and a base URL have one connection."""


@dataclass
class CronHarness(HandlerHarness):
    """One process of the handlers with Pancake's simulator behind it."""

    pancake: Workspace = field(default_factory=Workspace)
    tick_numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def tick(self, name: str, at: datetime | None = None) -> httpx.Response:
        body = {"id": f"tick-{next(self.tick_numbers)}", "name": f"pancake_{name}", "payload": {}}
        body["scheduled_time"] = (at or self.clock.now()).isoformat()
        return await self.client.post(f"/cron/{name}", json=body, headers=self.headers)

    async def run(self, name: str, **later: float) -> dict[str, Any]:
        """Run a cron, that much later, for example hours=1; it must succeed. Return its stored report."""
        self.move_clock(**later)
        response = await self.tick(name)
        assert response.status_code == 200, response.text
        assert response.json()["result"] == "succeeded", response.text
        return self.last_run(name)["report"]  # type: ignore[no-any-return]

    def last_run(self, name: str) -> dict[str, Any]:
        return self.sql("SELECT * FROM pancake_cron_run WHERE name = %s ORDER BY id DESC LIMIT 1", name)[0]

    def move_clock(self, **by: float) -> None:
        """Move the clock forward, for example hours=1."""
        self.clock.ahead += timedelta(**by)

    def move_to(self, hour: int, minute: int = 0, days: int = 0) -> None:
        """Move the clock forward to that time of day in Vietnam, of today or else of tomorrow."""
        now = self.clock.now().astimezone(ICT)
        then = datetime.combine(now.date() + timedelta(days=days), time(hour, minute), ICT)
        self.clock.ahead += then - now + timedelta(days=1 if then < now else 0)

    async def run_for(self, name: str, *, hours: float, step_minutes: float = 1) -> None:
        """Run a cron again and again, with the clock moved by `step_minutes` after each run."""
        for _ in range(int(hours * 60 / step_minutes)):
            await self.run(name)
            self.move_clock(minutes=step_minutes)

    async def new_leads(self, count: int = 1, drop: int | None = None) -> list[str]:
        """Create leads at Pancake, each with its webhook; from now on it leaves out each `drop`-th one."""
        if drop is not None:
            self.pancake.faults.drop = drop
        ids = [self.pancake.new_lead()["id"] for _ in range(count)]
        await self.pancake.sender.idle()
        return ids

    def connection(self) -> dict[str, Any]:
        return self.one("SELECT * FROM pancake_connection WHERE id = %s", self.connection_id)

    def reasons(self) -> list[str]:
        """The reasons of the notifications sent, in order."""
        return [notification["data"].get("reason", "") for notification in self.hasura.sent.values()]

    def hide_from_list(self, record_id: str) -> None:
        """Make Pancake's list of leads leave out one record, which exists."""
        table = self.pancake.tables["lead"]
        page = table.page

        def without(*args: Any, **named: Any) -> Any:
            entries, last = page(*args, **named)
            return [entry for entry in entries if record_id.encode() not in entry], last

        table.page = without  # type: ignore[method-assign]


def add_engine_tables(url: str) -> None:
    """Create the engine's tables and its trigger in a migrated database, with the rights of our roles."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        db_connection.execute(HDB_CATALOG.read_text())
    grant_rights(url)


def seed_cron_connection(settings: Settings, connection_id: str) -> None:
    """Add an API key and the simulator's sources to a seeded connection."""
    key = seal(settings.key_ring, API_KEY, SecretScope("api_key", connection_id, API_URL))
    with owner_session(settings.database_url) as session:
        session.execute(
            "UPDATE pancake_connection SET api_key_encrypted = %s, api_base_url = %s,"
            " created_at = now() - interval '1 year'",
            (key, API_URL),
        )
        session.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " SELECT %s, s, s, true FROM unnest(ARRAY['-5', '-12', '-9', '24895', '(none)']) AS s",
            (connection_id,),
        )
        session.execute("UPDATE pancake_source SET is_active = true, announced_at = now()")


def add_connection(harness: CronHarness, key_ring: KeyRing, id_: str, url: str, **columns: Any) -> None:
    """Add a connection like the first one, of another workspace if none is given, with an API key."""
    first = harness.connection()
    same = {name: first[name] for name in ("table_names", "created_at")}
    key = seal(key_ring, API_KEY, SecretScope("api_key", id_, url))
    other = {"name": id_, "workspace_id": 1_000 + int(id_[-1]), "token_sha256": sha256(id_.encode()).digest()}
    harness.insert(
        "pancake_connection", id=id_, api_base_url=url, api_key_encrypted=key, **same | other | columns
    )


@asynccontextmanager
async def running_crons(settings: Settings, connection_id: str) -> AsyncIterator[CronHarness]:
    """Start one process of the handlers and a workspace whose webhook delivers to it; see `engine_tables`."""
    hasura, clock = FakeHasura(), MovableClock()
    harnesses: list[CronHarness] = []

    async def deliver(request: httpx.Request) -> httpx.Response:
        await harnesses[0].deliver(request.content)
        return httpx.Response(200)

    workspace = Workspace(now=clock.now, transport=httpx.MockTransport(deliver))
    workspace.sender.settings.url = "http://edge/api/pancake/record/token"
    workspace.sender.settings.retry_seconds = []
    pancake = PancakeApi(
        clock, {"http://pancake"}, transport=httpx.ASGITransport(create_simulator(workspace))
    )
    app = create_app(Runtime.assemble(settings, clock=clock, graphql=hasura, pancake=pancake))
    app.state.runtime.cron_runs.answer_within_seconds = LONG_CALL_SECONDS
    seed_cron_connection(settings, connection_id)
    url = owner_url(settings.database_url)
    async with started(app, url) as (client, session):
        parts = (session, client, hasura, clock, app.state.runtime, url, connection_id)
        harnesses.append(CronHarness(*parts, pancake=workspace))
        yield harnesses[0]
        harnesses[0].stop_disturbing()
        await workspace.aclose()
