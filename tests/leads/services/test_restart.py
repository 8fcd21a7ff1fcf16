"""PostgreSQL crashes and returns: calls in between fail at once, and no process needs a restart."""

import pytest

from leads.adapters.database import Database
from leads.domain.errors import DatabaseUnavailable
from sandbox.postgres.server import Cluster
from tests.support.waiting import eventually_async


async def test_calls_succeed_again_after_the_server_restarts() -> None:
    with Cluster(durable=False) as own:
        url = own.create_database("restarted")
        db = Database(url, ingest_connections=1, work_connections=2, wait_seconds=0.3)
        await db.open()
        assert await db.is_healthy()
        own.stop(crash=True)
        for ask in (db.fetch_all, db.ingest, db.fetch_all):
            with pytest.raises(DatabaseUnavailable):
                await ask("database/ping", {}, dict)
        assert not await db.is_healthy()
        own.start()
        await eventually_async(db.is_healthy)
        assert await db.ingest("database/ping", {}, dict) == [{"one": 1}]
        await db.close()
