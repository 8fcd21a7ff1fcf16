"""Read the rows of the database as the state of the model."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from tests.support.histories.product import Rows
from tests.support.histories.state import (
    Account,
    Contact,
    Event,
    Fields,
    Requested,
    SourceKey,
    Staff,
    State,
    Ticket,
)
from tests.support.histories.vocabulary import KEYS, OF_REQUEST


def read_state(rows: Rows, pancake_tickets: Collection[str]) -> State:
    """Return the state; `pancake_tickets` are the tickets that processing made."""
    contacts = rows["contact_book"]
    connections = {key: row["name"] for key, row in rows["pancake_connection"].items()}
    sources = {
        key: (connections[row["connection_id"]], row["pancake_source_id"])
        for key, row in rows["pancake_source"].items()
    }
    members: dict[SourceKey | None, set[str]] = {}
    for row in rows["pancake_assignee"].values():
        if row["is_active"]:
            members.setdefault(sources.get(row["source_id"]), set()).add(row["staff_id"])
    return State(
        accounts={key: _account(row) for key, row in rows["account"].items()},
        contacts={
            row["primary_phone"]: Contact(row["account_id"], row["name"], row["email"], row["address"])
            for row in contacts.values()
        },
        tickets={
            key: _ticket(row, contacts, connections, key in pancake_tickets)
            for key, row in rows["ticket"].items()
        },
        events={key: _event(row, connections) for key, row in rows["pancake_webhook_event"].items()},
        staff={
            key: Staff(row["role"], row["is_active"], row["on_duty"]) for key, row in rows["staff"].items()
        },
        active_sources=frozenset(
            sources[key] for key, row in rows["pancake_source"].items() if row["is_active"]
        ),
        rosters={key: frozenset(staff) for key, staff in members.items()},
    )


def own_number(row: dict[str, Any]) -> str | None:
    """Return the E.164 number of an account's phone code and number; the histories use Vietnam's only."""
    number = row["phone_number"]
    return f"+84{number.lstrip('0')}" if number else None


def read_fields(data: dict[str, Any]) -> Fields:
    """Return the mapped fields that have a value."""
    values = {key: data.get(key) for key in KEYS}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if value}


def read_requests(
    requests: dict[str, dict[str, Any]], connections: dict[str, str]
) -> dict[tuple[str, str], Requested]:
    """Return the requests of a ticket; the texts of tags are their ids in the histories."""
    found = {}
    for key, values in requests.items():
        connection, _, record_id = key.partition("/")
        listed = {name: list(each) if isinstance(each, dict) else each for name, each in values.items()}
        fields = {name: value for name, value in read_fields(listed).items() if name in OF_REQUEST}
        found[connections[connection], record_id] = Requested(fields, datetime.fromisoformat(values["at"]))
    return found


def _account(row: dict[str, Any]) -> Account:
    return Account(
        phone=own_number(row),
        created_at=datetime.fromisoformat(row["created_at"]),
        name=row["display_name"],
        enabled=row["phone_enabled"],
        deleted=row["deleted_at"] is not None,
        is_normalized=row["normalized_phone"] is not None,
    )


def _ticket(
    row: dict[str, Any],
    contacts: dict[str, dict[str, Any]],
    connections: dict[str, str],
    is_from_pancake: bool,
) -> Ticket:
    contact = contacts.get(row["contact_book_id"])
    return Ticket(
        account=row["account_id"],
        contact_phone=contact["primary_phone"] if contact else None,
        owner=row["assignee_id"],
        status=row["status"],
        source=row["source_id"],
        title=row["title"],
        description=row["description"],
        fields=read_fields(row["data"].get("pancake") or {}),
        requests=read_requests((row["data"].get("pancake") or {}).get("requests") or {}, connections),
        created_at=datetime.fromisoformat(row["created_at"]),
        is_from_pancake=is_from_pancake,
    )


def _event(row: dict[str, Any], connections: dict[str, str]) -> Event:
    return Event(
        record=(connections[row["connection_id"]], row["table_name"] or "lead", row["record_id"]),
        status=row["status"],
        outcome=row["outcome"],
        error_code=row["error_code"],
        phone=row["normalized_phone"],
        account=row["account_id"],
        ticket=row["ticket_id"],
    )
