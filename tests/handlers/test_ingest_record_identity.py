"""A body is stored once for each connection and table: records of one id do not take each other's rows."""

import asyncio
from collections import Counter
from hashlib import sha256

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD
from tests.support.locks import count_deadlocks

OTHER_TOKEN = "token-of-another-workspace"


@pytest.fixture
def other_connection(harness: HandlerHarness) -> str:
    """The id of a second connection, of another workspace, created before the first one."""
    row = harness.one(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256, created_at)"
        " VALUES ('other', 124, %s, '2020-01-01Z') RETURNING id::text",
        sha256(OTHER_TOKEN.encode()).digest(),
    )
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '-1', 'Facebook', true)",
        row["id"],
    )
    return str(row["id"])


async def test_one_body_from_two_workspaces_is_stored_for_each(
    harness: HandlerHarness, other_connection: str
) -> None:
    tokens = [{}, {"token": OTHER_TOKEN}]
    answers = await asyncio.gather(*(harness.deliver(LEAD, **token) for token in tokens * 2))
    assert Counter(answer["status"] for answer in answers) == {"received": 2, "duplicate": 2}
    stored = harness.sql("SELECT connection_id::text AS id FROM pancake_webhook_event")
    assert {row["id"] for row in stored} == {harness.connection_id, other_connection}


async def test_bytes_that_are_no_json_are_stored_for_each_workspace(
    harness: HandlerHarness, other_connection: str
) -> None:
    for token in ({}, {"token": OTHER_TOKEN}):
        assert (await harness.deliver(b"not json", **token))["status"] == "dead_letter"
        assert (await harness.deliver(b"not json", **token))["status"] == "duplicate"


async def test_a_second_connection_makes_no_stored_body_new(harness: HandlerHarness) -> None:
    """Whichever connection was created first, what is stored stays a duplicate."""
    assert (await harness.deliver(LEAD))["status"] == "received"
    harness.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256, created_at)"
        " VALUES ('other', 124, sha256('x'), '2020-01-01Z')"
    )
    assert (await harness.deliver(LEAD))["status"] == "duplicate"


async def test_a_body_is_stored_for_each_table_that_the_connection_says_it_is_of(
    harness: HandlerHarness,
) -> None:
    """A body may name no table; then that of a connection with one table counts."""
    for tables, status in (("{lead}", "received"), ("{contact}", "received"), ("{contact}", "duplicate")):
        harness.sql("UPDATE pancake_connection SET table_names = %s", tables)
        assert (await harness.deliver(LEAD))["status"] == status
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert (await harness.deliver(LEAD))["status"] == "duplicate", "without a table it counts as a lead"


async def test_a_repeat_stays_a_duplicate_after_processing_and_replay(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead()
    assert (await harness.deliver(LEAD))["status"] == "duplicate"
    await harness.replay(ids=[event_id])
    await harness.process_received()
    assert (await harness.deliver(LEAD))["status"] == "duplicate"
    assert harness.count("pancake_webhook_event") == 1


async def test_two_processes_with_two_workspaces_in_opposite_order_store_each_body_once_for_each(
    harness: HandlerHarness, second_harness: HandlerHarness, other_connection: str
) -> None:
    harness.slow_down("pancake_webhook_event", 0.001)
    deliveries = [
        (LEAD | {"id": f"r-{n}"}, token) for n in range(60) for token in ({}, {"token": OTHER_TOKEN})
    ]
    async with asyncio.timeout(30):
        there = [harness.deliver(body, **token) for body, token in deliveries]
        back = [second_harness.deliver(body, **token) for body, token in reversed(deliveries)]
        answers = await asyncio.gather(*there, *back)
    assert Counter(answer["status"] for answer in answers) == {"received": 120, "duplicate": 120}
    assert await count_deadlocks(harness, second_harness) == 0
