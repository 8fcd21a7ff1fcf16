"""Leads of a test: store one, process it, and look at what it made."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from itertools import cycle
from typing import Any

import httpx
import psycopg

from proofs.incidents.faults import TRIGGER
from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD, numbered_lead

OURS = "source_id = 'ticket_source_pancake'"
Row = dict[str, Any]


class Lock(IntEnum):
    RECORD = 1
    PHONE = 2
    ROSTER = 3
    TURNS = 6


@dataclass(frozen=True)
class Processed:
    """An event that was processed, with its result then; everything else is read anew."""

    harness: HandlerHarness
    id: int
    result: str

    @property
    def event(self) -> Row:
        return self.harness.event(self.id)

    @property
    def evidence(self) -> Row:
        return dict(self.event["evidence"])

    @property
    def account(self) -> str:
        return str(self.event["account_id"])

    @property
    def owner(self) -> str | None:
        owner = self.event["assignee_id"]
        return str(owner) if owner else None

    @property
    def ticket(self) -> Row:
        return self.harness.one("SELECT * FROM ticket WHERE id = %s", self.event["ticket_id"])

    def sent(self, name: str) -> Mapping[str, Any]:
        """Return the event's notification of that name, which must have arrived."""
        return self.harness.hasura.sent[f"{self.id}:{name}"]

    def is_sent(self, name: str) -> bool:
        return f"{self.id}:{name}" in self.harness.hasura.sent


async def stored(harness: HandlerHarness, token: str | None = None, **fields: Any) -> int:
    """Deliver LEAD with these fields changed; return the id of its event."""
    answer = await harness.deliver(LEAD | fields, **({"token": token} if token else {}))
    return int(answer["event_id"])


async def hold(harness: HandlerHarness, *leads: Row) -> list[int]:
    """Deliver these leads while the kill switch is on, then turn it off; return the ids of the events."""
    harness.change_settings(kill_switch=True)
    ids = [await stored(harness, **lead) for lead in leads]
    harness.change_settings(kill_switch=False)
    return ids


async def hold_leads(harness: HandlerHarness, count: int = 3, **fields: Any) -> list[int]:
    return await hold(harness, *(numbered_lead(number, **fields) for number in range(count)))


async def process(harness: HandlerHarness, **fields: Any) -> Processed:
    """Deliver LEAD with these fields changed, and process it."""
    return Processed(harness, *await harness.process_lead(**fields))


async def replay(harness: HandlerHarness, event_id: int, **input_: Any) -> Processed:
    """Replay one event, which must not be refused, and process it."""
    assert (await harness.replay(ids=[event_id], wait=False, **input_))["replayed"] == 1
    return Processed(harness, event_id, await harness.process(event_id, "UPDATE"))


async def process_at_once(ids: Sequence[int], *harnesses: HandlerHarness) -> Counter[str]:
    """Process these events at the same time, in turns by several processes; return the results."""
    turns = zip(ids, cycle(harnesses))
    return Counter(await asyncio.gather(*(harness.process(event_id) for event_id, harness in turns)))


def receive(harness: HandlerHarness, event_id: int) -> None:
    """Set the row to received, as a person does in the console."""
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)


def the_ticket(harness: HandlerHarness) -> Row:
    return harness.one(f"SELECT * FROM ticket WHERE {OURS}")


def close_tickets(harness: HandlerHarness) -> None:
    harness.sql(f"UPDATE ticket SET status = 'done' WHERE {OURS}")


def insert_account(harness: HandlerHarness, **columns: Any) -> str:
    return str(harness.insert("account", **{"display_name": "x"} | columns)["id"])


def insert_connection(harness: HandlerHarness, token: str, **columns: Any) -> str:
    """Insert a connection of another workspace, with the active source -1; return its id."""
    values = {"name": "other", "workspace_id": 456, "token_sha256": sha256(token.encode()).digest()} | columns
    connection_id = harness.insert("pancake_connection", **values)["id"]
    source = {"connection_id": connection_id, "pancake_source_id": "-1", "name": "Facebook"}
    harness.insert("pancake_source", **source, is_active=True)
    return str(connection_id)


@contextmanager
def another_session(
    harness: HandlerHarness, lock: Lock | None = None, key: str = ""
) -> Iterator["psycopg.Connection[Any]"]:
    """Yield a session of another program in a transaction, which holds an advisory lock if one is named."""
    with psycopg.connect(harness.database_url) as session:
        if lock is not None:
            key_of_lock = "0" if lock is Lock.TURNS else "hashtext(%(key)s)"
            query = f"SELECT pg_advisory_xact_lock(%(lock)s, {key_of_lock})"
            session.execute(query, {"lock": lock, "key": key})
        yield session


ADMIN = {"x-hasura-role": "admin"}


@dataclass
class Console:
    """The pages Invocation Logs, Browse Rows and API of the console; the database has the engine's tables."""

    harness: HandlerHarness

    async def deliver(self, hasura_event_id: str) -> httpx.Response:
        """Make one try of an event, and log it. A 503 is tried again, and any other answer ends the event."""
        event = self.harness.one("SELECT * FROM hdb_catalog.event_log WHERE id = %s", hasura_event_id)
        payload = event["payload"]
        event_id, session = payload["data"]["new"]["id"], payload.get("session_variables")
        answer = await self.harness.fire(event_id, payload["op"], event["tries"], hasura_event_id, session)
        self.log(hasura_event_id, answer.status_code)
        return answer

    async def deliver_once(self, hasura_event_id: str) -> dict[str, Any]:
        """Make the only try of an event, and return what it is answered."""
        answer = await self.deliver(hasura_event_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def log(self, hasura_event_id: str, status: int) -> None:
        self.harness.sql(
            "INSERT INTO hdb_catalog.event_invocation_logs (event_id, status, created_at)"
            " VALUES (%s, %s, clock_timestamp())",
            hasura_event_id,
            status,
        )
        self.harness.sql(
            "UPDATE hdb_catalog.event_log SET tries = tries + 1, delivered = %s WHERE id = %s",
            status == 200,
            hasura_event_id,
        )

    async def deliver_all(self) -> list[dict[str, Any]]:
        """Deliver every event that is not delivered yet, and those that this fires; return the answers."""
        answers = []
        while pending := self.pending():
            answers += [await self.deliver_once(hasura_event_id) for hasura_event_id in pending]
        return answers

    def pending(self) -> list[str]:
        found = "SELECT id FROM hdb_catalog.event_log WHERE NOT delivered ORDER BY created_at"
        return [row["id"] for row in self.harness.sql(found)]

    def event_of(self, event_id: int) -> str:
        """The first event that the engine fired for a row."""
        where = "payload #>> '{data,new,id}' = %s ORDER BY created_at LIMIT 1"
        found = self.harness.one(f"SELECT id FROM hdb_catalog.event_log WHERE {where}", str(event_id))
        return str(found["id"])

    def start_again(self, hasura_event_id: str) -> None:
        """Press "Redeliver", without the delivery that follows."""
        self.harness.sql(
            "UPDATE hdb_catalog.event_log SET delivered = false, tries = 0 WHERE id = %s", hasura_event_id
        )

    async def redeliver(self, event_id: int) -> dict[str, Any]:
        """Press "Redeliver" at the first event of a row, which was delivered; return the answer."""
        hasura_event_id = self.event_of(event_id)
        self.start_again(hasura_event_id)
        return await self.deliver_once(hasura_event_id)

    async def invoke(self, event_id: int, session: dict[str, str] | None = None) -> dict[str, Any]:
        """Press "Invoke" at a row; return the answer."""
        data = {"old": None, "new": {"id": event_id}}
        payload = {"op": "MANUAL", "data": data, "session_variables": session or ADMIN}
        row = self.harness.one(
            "INSERT INTO hdb_catalog.event_log (trigger_name, payload) VALUES (%s, %s) RETURNING id",
            TRIGGER,
            json.dumps(payload),
        )
        return await self.deliver_once(row["id"])

    def edit_status(self, event_id: int, session: dict[str, str] | None = None) -> None:
        """Set `status` to received in Browse Rows, which sends a mutation."""
        with self.harness.session.transaction():
            self.harness.sql("SELECT set_config('hasura.user', %s, true)", json.dumps(session or ADMIN))
            self.harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
