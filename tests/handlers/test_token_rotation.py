"""Rotating the webhook token while Pancake sends, and the secrets of Hasura and of the edge."""

from datetime import timedelta

import psycopg
from psycopg.rows import dict_row

from leads.services.connection_secrets import rotate_token
from tests.support.handlers import HandlerHarness
from tests.support.settings import (
    EDGE_SECRET,
    HANDLER_SECRET,
    PREVIOUS_EDGE_SECRET,
    PREVIOUS_HANDLER_SECRET,
    PREVIOUS_UNTIL,
    WEBHOOK_TOKEN,
    WEBHOOK_TOKEN_SHA256,
)


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


async def test_a_previous_secret_ends_while_the_process_runs(harness: HandlerHarness) -> None:
    delivery = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "e30="}

    async def statuses(handler_secret: str, edge_secret: str) -> list[int]:
        from_hasura = await harness.call_action(delivery, {"X-Handler-Secret": handler_secret})
        edge = {"X-Edge-Secret": edge_secret}
        from_edge = await harness.call_action(delivery, edge)
        policy = await harness.client.get("/edge/policy", headers=edge)
        return [answer.status_code for answer in (from_hasura, from_edge, policy)]

    assert await statuses(PREVIOUS_HANDLER_SECRET, PREVIOUS_EDGE_SECRET) == [200, 200, 200]
    harness.clock.ahead += PREVIOUS_UNTIL - harness.clock.now()
    assert await statuses(PREVIOUS_HANDLER_SECRET, PREVIOUS_EDGE_SECRET) == [401, 401, 401]
    assert await statuses(HANDLER_SECRET, EDGE_SECRET) == [200, 200, 200]
