"""Rows in a state that tests want: events and tickets with known figures, and with unsent notifications."""

import base64
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import scalar_row
from psycopg.types.json import Jsonb
from typer.testing import Result

from leads.adapters.database import QUERIES
from leads.adapters.secrets import KeyRing
from tests.support.crons import CronHarness
from tests.support.databases import STATEMENTS
from tests.support.handlers import DatabaseHarness, HandlerHarness
from tests.support.leads import LATER, LEAD
from tests.support.logs import decoded
from tests.support.operators import leads

FROM = datetime(2026, 5, 14, tzinfo=UTC)
TO = FROM + timedelta(days=1)
NOON = FROM + timedelta(hours=12)
HANH, KHOA = "c0000000-0000-4000-8000-000000000001", "c0000000-0000-4000-8000-000000000002"
RECIPIENT = "11111111-1111-4111-8111-111111111111"


class Figures:
    """Inserts events and tickets and reads the figures of a day."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection, self.number, self.at = connection, 0, NOON
        self.insert = DatabaseHarness(connection).insert
        # Insert rows in their final state, not through the steps that lead to it.
        connection.execute("SET session_replication_role = replica")
        of_connection = {"name": "x", "workspace_id": 1, "token_sha256": bytes(32)}
        self.connection_id = self.insert("pancake_connection", **of_connection)["id"]

    def event(self, status: str = "processed", **columns: Any) -> None:
        """Insert an event that arrived at `at`, which is noon unless a test sets it."""
        self.number += 1
        row = {
            "connection_id": self.connection_id,
            "origin": "webhook",
            "record_id": f"record-{self.number}",
            "payload_hash": self.number.to_bytes(32, "big"),
            "status": status,
            "claim_id": HANH,
            "source_ids": [],
        } | dict.fromkeys(("arrived_at", "received_at", "ingested_at", "created_at"), self.at)
        if status == "processed":
            row |= {"processed_at": self.at + timedelta(seconds=1), "outcome": "contact_updated"}
        if status == "failed":
            row |= {"error_code": "internal", "next_attempt_at": self.at}
        self.insert("pancake_webhook_event", **row | columns)

    def ticket(
        self,
        chosen: str | None,
        owner: str | None,
        response: float | None = None,
        status: str = "new",
        **columns: Any,
    ) -> None:
        """Insert a ticket then and its event: the owner we chose, the present one, minutes to respond."""
        answered = self.at + timedelta(minutes=response) if response is not None else None
        ticket = {"title": "x", "source_id": "ticket_source_pancake", "assignee_id": owner, "status": status}
        times = {"created_at": self.at, "first_response_at": answered}
        ticket_id = self.insert("ticket", **ticket, **times)["id"]
        evidence = Jsonb({"assignment": {"chosen": chosen}})
        self.event(outcome="ticket_created", ticket_id=ticket_id, evidence=evidence, **columns)

    def of(self, name: str) -> dict[str, Any]:
        (row,) = self.connection.execute(QUERIES[name], {"from": FROM, "to": TO}).fetchall()
        return row


def insert_unsent(
    harness: DatabaseHarness,
    count: int = 1,
    names: tuple[str, ...] = ("new_source",),
    recipients: tuple[str, ...] = (RECIPIENT,),
    prefix: str = "unsent",
) -> list[int]:
    """Insert events whose notifications no sender has claimed; return their ids."""
    notifications = [
        {"name": name, "template_code": "t", "recipient_ids": recipients, "data": {}} for name in names
    ]
    params = {"count": count, "notifications": Jsonb(notifications), "prefix": prefix}
    return [row["id"] for row in harness.session.execute(STATEMENTS["rows/insert_unsent"], params).fetchall()]


def insert_tickets(
    session: psycopg.Connection[Any],
    record: str,
    count: int,
    owner: str | None = None,
    evidence: str = "{}",
    at: datetime = FROM,
) -> list[int]:
    """Insert tickets, one second after the other, with the events that made them; return the ids of these."""
    params = {"record": record, "count": count, "owner": owner, "evidence": evidence, "at": at}
    session.execute(STATEMENTS["rows/insert_tickets"], params)
    cursor = session.cursor(row_factory=scalar_row)
    return cursor.execute(STATEMENTS["rows/insert_events_of_tickets"], params).fetchall()


NOTIFICATIONS = "pancake_notifications_total"


def keys(ids: list[int], name: str = "new_source") -> set[str]:
    return {f"{id_}:{name}" for id_ in ids}


def taken(harness: HandlerHarness) -> list[str]:
    """The keys of the events' notifications that arrived at the service, repeats too."""
    return [key for key in harness.hasura.taken if key[0].isdigit()]


def sending(harness: DatabaseHarness, event_id: int) -> dict[str, Any]:
    """What the event's row says of the sending of its notifications."""
    return harness.one(STATEMENTS["rows/load_sending"], event_id)


KEYS = "test:" + base64.b64encode(bytes(32)).decode()
EDGE_KEYS = "k1:" + "A" * 43 + "="
PERSON: dict[str, Any] = LEAD | {
    "name": "Trần Thị Bích Hạnh",
    "phone_number": "090.511.1222",
    "secondary_phone_number": "0283 822 9999",
    "email": "hanh.tran@example.com",
    "full_address": "12 Nguyễn Huệ, Quận 1",
    "birthday": "1991-03-04T00:00:00",
    "utm_campaign": "tet-hanh",
    "conversation_id": "104_hanh",
}
BYSTANDER: dict[str, Any] = LEAD | {"id": "bystander", "name": "Bình", "phone_number": "0912345678"}
WRITTEN = (
    "Bích Hạnh", "090.511.1222", "0905111222", "905111222", "0905 111 222", "905 111 222", "2838229999",
    "0283 822 9999", "hanh.tran", "Nguyễn Huệ", "1991-03-04", "04/03/1991", "tet-hanh", "104_hanh",
)  # fmt: skip
"""The customer's values in every written form; `905111222` is in 0…, 84… and +84… too."""

_ANY_NOTATION = re.compile("|".join("[ .()/_+-]{0,3}".join(digits) for digits in ("905111222", "2838229999")))
_BYTEA = re.compile(r"\\\\?x((?:[0-9a-f]{2})+)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")

TABLES = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2
"""


def dump(harness: DatabaseHarness) -> dict[str, str]:
    """All rows of all tables as text, the engine's too."""
    names = [f"{table['schema']}.{table['name']}" for table in harness.sql(TABLES)]
    found = {name: harness.sql(f"SELECT row_to_json(t)::text AS row FROM {name} AS t") for name in names}
    return {name: "\n".join(row["row"] for row in rows) for name, rows in found.items()}


def found_in(texts: Iterable[str]) -> set[str]:
    """The customer's values: as they are, as bytea, base64 or JSON escapes; phones in any notation."""
    together = "\n".join(texts)
    bytea = [bytes.fromhex(digits).decode(errors="replace") for digits in _BYTEA.findall(together)]
    together = "\n".join([together, *bytea, *decoded(together)])
    together += _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), together)
    phones = {phone[0] for phone in _ANY_NOTATION.finditer(together)}
    others = {phone for phone in phones if not any(phone in text for text in WRITTEN)}
    return {text for text in WRITTEN if text in together} | others


def read_files(folder: Path, keys: str = EDGE_KEYS) -> list[str]:
    """All files below a folder; those that the edge sealed are opened."""
    texts: list[str] = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if content.startswith(b"PE1") and path.suffix == ".sealed" and not path.stem.startswith("policy"):
            kept = json.loads(KeyRing.parse(keys).decrypt(content[3:], "delivery"))
            content = base64.b64decode(kept["raw"])
        texts.append(content.decode(errors="replace"))
    return texts


def seal(path: Path, body: str) -> None:
    kept = {
        "arrived_at": "2026-05-14T03:00:00.000Z", "source_ip": "203.0.113.7", "token_sha256": "00",
        "raw": base64.b64encode(body.encode()).decode(),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PE1" + KeyRing.parse(EDGE_KEYS).encrypt(json.dumps(kept), "delivery"))


def write_files(folder: Path) -> None:
    """Deliveries in each folder of the edge, of the customer and of another one; backfill's file."""
    for name in ("spool", "unknown", "quarantine"):
        seal(folder / name / "1778752800000-a-1.sealed", json.dumps(PERSON, ensure_ascii=False))
        seal(folder / name / "1778752800000-b-1.sealed", json.dumps(BYSTANDER, ensure_ascii=False))
    seal(folder / "quarantine" / "1778752800000-c-1.sealed", "not JSON: Bích Hạnh +84 905 111 222")
    rows = "account_id,phone_code,phone_number,reason\na,84,0905 111 222 x,not_a_number\nb,84,1,too_short"
    (folder / "unusable.csv").write_text(rows)


async def store_customer(harness: CronHarness) -> None:
    """Store the customer's leads in each state, with a second record of the same phone, and a bystander."""
    harness.fill_roster(1)
    await harness.process_lead(**BYSTANDER)
    await harness.process_lead(**PERSON)
    await harness.process_lead(**PERSON | {"modified_on": LATER, "interested_product": ["Gói A"]})
    await harness.process_lead(id="second", name="Bích Hạnh", phone_number="+84 905 111 222")
    await harness.process_lead(id="third", name="Bích Hạnh", phone_number=["0977000111", "0905111222"])
    await harness.deliver("not JSON: Bích Hạnh 0905 111 222")
    await harness.deliver(PERSON | {"id": "waiting"})
    harness.change_settings(kill_switch=True)
    await harness.deliver(PERSON | {"id": "held"})
    harness.change_settings(kill_switch=False)
    await harness.run("check_sla")
    harness.sql("UPDATE pancake_cron_run SET report = report || %s::jsonb", '{"detail": "+84905111222"}')
    call = '{"payload": {"phone": "0905111222"}}'
    for name in ("rows/log_calls_of_events", "rows/log_call_of_cron"):
        harness.sql(STATEMENTS[name], call)


def run_erase(harness: CronHarness, folder: Path, *arguments: str, typed: str | None = None) -> Result:
    for name in ("spool", "unknown", "quarantine"):
        (folder / name).mkdir(exist_ok=True)
    environment = {
        "DATABASE_URL": harness.database_url, "ENCRYPTION_KEYS": KEYS,
        "EDGE_STATE_DIR": str(folder), "EDGE_STATE_KEYS": EDGE_KEYS,
    }  # fmt: skip
    files = ["--edge", "--unusable", str(folder / "unusable.csv")]
    return leads("erase", *files, *arguments, typed=typed, **environment)
