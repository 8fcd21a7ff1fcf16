"""Two processes get every delivery in opposite order: no deadlock, no duplicate."""

import asyncio
import base64
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest

from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead

COUNT = 300
PHONES = 60
AT_ONCE = 48


async def _send(sandbox: Sandbox, url: str, bodies: list[bytes]) -> list[str]:
    """Send to one process of the handlers, as the edge does while Hasura is down; return the statuses."""
    limit = asyncio.Semaphore(AT_ONCE)
    headers = {"X-Edge-Secret": sandbox.keys.edge_secret}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:

        async def one(raw: bytes) -> str:
            given: dict[str, Any] = {
                "token_sha256": sha256(sandbox.keys.webhook_token.encode()).hexdigest(),
                "raw": base64.b64encode(raw).decode(),
                "arrived_at": datetime.now(UTC).isoformat(),
            }
            call = {"action": {"name": "pancake_ingest_record"}, "input": given, "session_variables": {}}
            async with limit:
                answer = await client.post(f"{url}/actions/ingest_record", json=call)
            return str(answer.raise_for_status().json()["status"])

        return list(await asyncio.gather(*(one(raw) for raw in bodies)))


def _deadlocks(harness: EndToEndHarness) -> int:
    (row,) = harness.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(row["deadlocks"])


async def test_two_processes_in_opposite_order(harness: EndToEndHarness) -> None:
    if harness.sandbox is None:
        pytest.skip("needs a second process of the handlers, which only our own sandbox can start")
    second = harness.sandbox.add_handlers("handlers-2")
    bodies = [body(numbered_lead(number, phone=f"097{number % PHONES:07d}")) for number in range(COUNT)]
    deadlocks, observer = _deadlocks(harness), harness.observer()
    forward, backward = await asyncio.gather(
        _send(harness.sandbox, harness.handlers_url, bodies), _send(harness.sandbox, second.url, bodies[::-1])
    )
    assert sorted(forward + backward) == ["duplicate"] * COUNT + ["received"] * COUNT
    await asyncio.to_thread(observer.wait_final, 60)
    assert _deadlocks(harness) == deadlocks
    (counted,) = harness.query(
        """
        SELECT
            (SELECT count(*) FROM pancake_webhook_event WHERE status = 'processed') AS processed,
            (SELECT count(*) FROM ticket WHERE source_id = 'ticket_source_pancake') AS tickets,
            (SELECT count(*) FROM account WHERE normalized_phone LIKE '+8497%%') AS accounts,
            (SELECT count(DISTINCT primary_phone) FROM contact_book) AS contacts
        """
    )
    assert counted == {"processed": COUNT, "tickets": PHONES, "accounts": PHONES, "contacts": PHONES}
    shares = harness.query(
        "SELECT count(*) AS owned FROM ticket WHERE source_id = 'ticket_source_pancake' GROUP BY assignee_id"
    )
    assert max(row["owned"] for row in shares) - min(row["owned"] for row in shares) <= 1
