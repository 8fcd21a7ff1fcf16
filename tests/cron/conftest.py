"""The crons on a real database, with the simulator of Pancake next door and a clock that tests move."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from app import create_app
from leads.adapters.pancake_api import Pancake
from leads.adapters.secrets import KeyRing
from leads.adapters.settings import Settings
from leads.domain.listing import read_answer
from sandbox.pancake.app import create_app as create_simulator
from sandbox.pancake.workspace import Workspace
from tests.handlers.conftest import (
    EDGE_SECRET,
    PREVIOUS_SECRET,
    SECRET,
    FakeHasura,
    House,
    MovableClock,
    connection_id,
    key_ring,
)

__all__ = ["connection_id", "key_ring"]
HDB_CATALOG = Path(__file__).with_name("hdb_catalog.sql")
KEY = "0123456789abcdef0123456789abcdef"


class WholeClock(MovableClock):
    """Moves what measures durations as well, so that a breaker recovers when a test says so."""

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()


@dataclass
class Ward(House):
    """A house with Pancake next door."""

    pancake: Workspace = field(default_factory=Workspace)
    ticks: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def tick(self, name: str, at: datetime | None = None) -> httpx.Response:
        """Deliver a tick as Hasura does; each one is due now unless `at` says otherwise."""
        due = at or self.clock.now()
        body = {"id": f"tick-{next(self.ticks)}", "name": f"pancake_{name}", "payload": {}}
        return await self.client.post(
            f"/cron/{name}", json={**body, "scheduled_time": due.isoformat()}, headers=self.headers
        )

    async def run(self, name: str) -> dict[str, Any]:
        """Run a cron to success and return its stored report."""
        response = await self.tick(name)
        assert response.status_code == 200, response.text
        assert response.json()["result"] == "succeeded", response.text
        return self.last_run(name)["report"]  # type: ignore[no-any-return]

    def last_run(self, name: str) -> dict[str, Any]:
        return self.sql("SELECT * FROM pancake_cron_run WHERE name = %s ORDER BY id DESC LIMIT 1", name)[0]

    def move(self, **by: float) -> None:
        """Move the clock forward."""
        self.clock.ahead += timedelta(**by)

    def connection(self) -> dict[str, Any]:
        return self.one("SELECT * FROM pancake_connection WHERE id = %s", self.connection_id)

    def reasons(self) -> list[str]:
        """Why people were told something, in order."""
        return [notification["data"].get("reason", "") for notification in self.hasura.sent.values()]

    async def drain(self) -> None:
        """Deliver the events of all received rows."""
        for row in self.sql("SELECT id FROM pancake_webhook_event WHERE status = 'received' ORDER BY id"):
            await self.process(row["id"])

    async def webhook(self, request: httpx.Request) -> httpx.Response:
        await self.deliver(request.content)
        return httpx.Response(200)


def hide(ward: Ward, record_id: str) -> None:
    """Let the list leave out one record, which exists."""
    table = ward.pancake.tables["lead"]
    page = table.page

    def without(*args: Any, **named: Any) -> Any:
        entries, last = page(*args, **named)
        return [entry for entry in entries if record_id.encode() not in entry], last

    table.page = without  # type: ignore[method-assign]


@pytest.fixture
async def ward(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[Ward]:
    settings = Settings(
        database_url=database,
        metadata_database_url=database,
        hasura_url="http://127.0.0.1:9",
        hasura_service_token="unused",
        handler_secrets=(SECRET, PREVIOUS_SECRET),
        edge_secrets=(EDGE_SECRET,),
        key_ring=key_ring,
    )
    hasura, clock = FakeHasura(), WholeClock()
    house: list[Ward] = []
    workspace = Workspace(
        now=clock.now, transport=httpx.MockTransport(lambda request: house[0].webhook(request))
    )
    workspace.sender.settings.url = "http://edge/api/pancake/record/token"
    workspace.sender.settings.retry_seconds = []
    pancake = Pancake(clock, decode=read_answer, transport=httpx.ASGITransport(create_simulator(workspace)))
    app = create_app(settings, clock, hasura, pancake)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(HDB_CATALOG.read_text())
        connection.execute(
            "UPDATE pancake_connection SET api_key_encrypted = %s, api_base_url = 'http://pancake/api',"
            " created_at = now() - interval '1 year'",
            (key_ring.encrypt(KEY, "api_key"),),
        )
        connection.execute("UPDATE pancake_source SET is_active = true")
        connection.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " SELECT %s, s, s, true FROM unnest(ARRAY['-5', '-12', '-9', '24895', '(none)']) AS s",
            (connection_id,),
        )
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://handlers") as client,
    ):
        with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
            house.append(
                Ward(
                    client,
                    hasura,
                    clock,
                    session,
                    app.state.runtime,
                    database,
                    connection_id,
                    pancake=workspace,
                )
            )
            yield house[0]
        await workspace.aclose()
