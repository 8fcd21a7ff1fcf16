"""Rotating the webhook token while Pancake sends."""

from datetime import timedelta

import psycopg
from psycopg.rows import dict_row

from leads.services.connection_secrets import rotate_token
from tests.support.handlers import HandlerHarness
from tests.support.settings import WEBHOOK_TOKEN


async def test_both_urls_work_for_24_hours_then_only_the_new_one(
    harness: HandlerHarness, database: str
) -> None:
    """The grace period starts at the rotation; a spooled delivery counts by its time of arrival."""
    rotated_at = harness.clock.now()
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as db:
        fresh = rotate_token(db, harness.connection_id, rotated_at)

    async def status(token: str, number: int, **input_: str) -> str:
        body = {"id": f"record-{number}", "source": ["-1"], "modified_on": "2026-05-14T02:35:56"}
        return str((await harness.deliver(body, token=token, **input_))["status"])

    assert [await status(WEBHOOK_TOKEN, 1), await status(fresh, 2)] == ["received", "received"]

    harness.clock.ahead += timedelta(hours=23, minutes=59)
    assert [await status(WEBHOOK_TOKEN, 3), await status(fresh, 4)] == ["received", "received"]

    harness.clock.ahead += timedelta(minutes=2)
    assert [await status(WEBHOOK_TOKEN, 5), await status(fresh, 6)] == ["unknown_token", "received"]
    arrived = (rotated_at + timedelta(hours=23)).isoformat()
    assert await status(WEBHOOK_TOKEN, 7, arrived_at=arrived) == "received"
    assert harness.one("SELECT count(*) AS n FROM pancake_webhook_event")["n"] == 6
