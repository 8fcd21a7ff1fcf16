"""Leads of a test: store one, process it, and look at what it made."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from itertools import cycle
from typing import Any

import psycopg

from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD, numbered_lead

OURS = "source_id = 'ticket_source_pancake'"
Row = dict[str, Any]


class Lock(IntEnum):
    """The classes of the advisory locks."""

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
        found: Row = self.event["evidence"]
        return found

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
    """Hold leads of different customers."""
    return await hold(harness, *(numbered_lead(number, **fields) for number in range(count)))


async def process(harness: HandlerHarness, **fields: Any) -> Processed:
    """Deliver LEAD with these fields changed, and process it."""
    return Processed(harness, *await harness.process_lead(**fields))


async def process_named(harness: HandlerHarness, **fields: Any) -> Processed:
    """Deliver a body of LEAD's record that names only these fields and its source, and process it."""
    event_id = (await harness.deliver({"id": LEAD["id"], "source": ["-1"]} | fields))["event_id"]
    return Processed(harness, event_id, await harness.process(event_id))


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
    """Return the only ticket of the integration."""
    return harness.one(f"SELECT * FROM ticket WHERE {OURS}")


def close_tickets(harness: HandlerHarness) -> None:
    harness.sql(f"UPDATE ticket SET status = 'done' WHERE {OURS}")


def insert_account(harness: HandlerHarness, **columns: Any) -> str:
    """Insert a customer who comes by another way; return the id."""
    values = {"display_name": "x"} | columns
    row = harness.one(
        f"INSERT INTO account ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})"
        " RETURNING id::text",
        *values.values(),
    )
    return str(row["id"])


def insert_connection(harness: HandlerHarness, token: str, **columns: Any) -> str:
    """Insert a connection of another workspace, with the active source -1; return its id."""
    values = {"name": "other", "workspace_id": 456, "token_sha256": sha256(token.encode()).digest()} | columns
    row = harness.one(
        f"WITH other AS (INSERT INTO pancake_connection ({', '.join(values)})"
        f" VALUES ({', '.join(['%s'] * len(values))}) RETURNING id)"
        " INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " SELECT id, '-1', 'Facebook', true FROM other RETURNING connection_id::text AS id",
        *values.values(),
    )
    return str(row["id"])


@contextmanager
def another_session(
    harness: HandlerHarness, lock: Lock | None = None, key: str = ""
) -> Iterator["psycopg.Connection[Any]"]:
    """Yield a session of another program in a transaction, which holds an advisory lock if one is named."""
    with psycopg.connect(harness.database_url) as session:
        if lock is not None:
            key_of_lock = "0" if lock is Lock.TURNS else "hashtext(%(key)s)"
            session.execute(
                f"SELECT pg_advisory_xact_lock(%(lock)s, {key_of_lock})", {"lock": lock, "key": key}
            )
        yield session
