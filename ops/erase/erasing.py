"""Empty what was found of a customer, and leave what keeps the customer out."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime

from leads.domain.digest import ERASED_PHONE, ERASED_RECORD, Digester, erasure_digests
from leads.domain.ticket_text import written_by_us
from leads.services.load_facts import RecordKey
from ops.clients.db_session import QUERIES, DbSession, DictRow
from ops.erase.finding import Customer
from ops.erase.target import Target, pattern_of

ERASED_TITLE = "Lead Pancake: (đã xoá)"


@dataclass(frozen=True, slots=True)
class Request:
    """Who asked for the erasure, who runs it, why."""

    requested_by: str
    run_by: str
    reason: str | None
    now: datetime


@dataclass(slots=True)
class Erasure:
    """What was erased, by kind, and what is left to Diva. Ids and counts only."""

    counts: dict[str, int] = field(default_factory=dict)
    event_ids: list[int] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)
    diva_accounts: list[str] = field(default_factory=list)
    diva_consents: list[str] = field(default_factory=list)
    diva_tickets: list[str] = field(default_factory=list)
    has_engine_logs: bool = True
    unset_log_settings: list[str] = field(default_factory=list)
    """Settings that keep the phone out of PostgreSQL's log and that the role may not set."""

    def as_document(self) -> dict[str, object]:
        return asdict(self)


def erase_rows(
    db: DbSession, target: Target, customer: Customer, digester: Digester, request: Request
) -> Erasure:
    """Empty every row of the customer that the integration wrote, inside the caller's transaction."""
    erasure = Erasure(event_ids=customer.event_ids, mentions=customer.mentions)
    counts, ids = erasure.counts, customer.event_ids
    params = {
        "ids": ids,
        "phones": customer.phones,
        "account_ids": customer.account_ids,
        "record_ids": customer.record_ids,
        "stored_digits": customer.stored_digits,
        "pattern": pattern_of(customer.phones),
        "now": request.now,
    }
    (row,) = db.execute(QUERIES["erase/clear_events"], {"ids": ids}).fetchall()
    counts["events"] = row["erased"]
    counts["accounts"] = len(db.execute(QUERIES["erase/empty_accounts"], params).fetchall())
    contacts = db.execute(QUERIES["erase/empty_contacts"], params).fetchall()
    counts["contacts"] = len(contacts)
    counts["tickets"] = _empty_tickets(db, customer, digester, request.now, erasure)
    counts["cron_runs"] = len(db.execute(QUERIES["erase/empty_runs"], params).fetchall())
    counts["engine_logs"] = _delete_engine_logs(db, params, erasure)
    for left in db.execute(QUERIES["erase/list_left"], params).fetchall():
        erasure.diva_accounts.append(left["id"])
        if left["has_consent"]:
            erasure.diva_consents.append(left["id"])
    _leave_digests(db, target, customer, digester, request, erasure)
    return erasure


def _empty_tickets(
    db: DbSession, customer: Customer, digester: Digester, now: datetime, erasure: Erasure
) -> int:
    """Empty our part of the customer's tickets. Texts that people changed, and shared tickets, are Diva's."""
    params = {"ids": customer.event_ids, "ticket_ids": customer.ticket_ids}
    emptied = 0
    for ticket in db.execute(QUERIES["erase/load_tickets"], params).fetchall():
        fields = ticket["fields"] if isinstance(ticket["fields"], dict) else {}
        if ticket["is_shared"] and fields.get("record_id") not in customer.record_ids:
            erasure.diva_tickets.append(ticket["code"])
            continue
        present = {"title": ticket["title"], "description": ticket["description"] or ""}
        written = written_by_us(fields, present, digester)
        changed = {name for name, text in present.items() if text and text != ERASED_TITLE} - written
        if changed:
            erasure.diva_tickets.append(ticket["code"])
        if ticket["fields"] is None:
            continue
        texts = {
            "title": ERASED_TITLE if "title" in written else None,
            "description": "" if "description" in written else None,
        }
        db.execute(QUERIES["erase/empty_ticket"], {"id": ticket["id"], "now": now, **texts})
        emptied += 1
    return emptied


def _delete_engine_logs(db: DbSession, params: dict[str, object], erasure: Erasure) -> int:
    """Delete Hasura's logs of our trigger and crons, as far as they are in this database."""
    (engine,) = db.execute(QUERIES["erase/find_engine"]).fetchall()
    erasure.has_engine_logs = engine["has_events"] and engine["has_crons"]
    rows: list[DictRow] = []
    if engine["has_events"]:
        rows += db.execute(QUERIES["erase/delete_event_logs"], params).fetchall()
    if engine["has_crons"]:
        rows += db.execute(QUERIES["erase/delete_cron_logs"], params).fetchall()
    return sum(row["deleted"] for row in rows)


def _leave_digests(
    db: DbSession,
    target: Target,
    customer: Customer,
    digester: Digester,
    request: Request,
    erasure: Erasure,
) -> None:
    """Leave the digests that keep the customer's old versions out, unless nothing was left to erase."""
    known = erasure_digests(digester, [target.phone] if target.phone else [], target.record_id)
    (row,) = db.execute(QUERIES["erase/find_erasures"], {"digests": known}).fetchall()
    if row["count"] and not any(erasure.counts.values()):
        return
    common = {
        "now": request.now,
        "requested_by": request.requested_by,
        "run_by": request.run_by,
        "reason": request.reason,
        "counts": json.dumps(erasure.counts),
    }
    records = set(customer.records)
    if target.connection_id and target.record_id:
        records.add(RecordKey(target.connection_id, target.table_name, target.record_id))
    rows: list[dict[str, object]] = [
        {"digest": digester.digest(ERASED_RECORD, record.record_id),
         "connection_id": record.connection_id, "table_name": record.table_name}
        for record in records
    ]  # fmt: skip
    if target.phone:
        phone = digester.digest(ERASED_PHONE, target.phone)
        rows.append({"digest": phone, "connection_id": None, "table_name": None})
    for digest in rows:
        db.execute(QUERIES["erase/insert_erasure"], {**common, **digest})
    erasure.counts["digests"] = len(rows)
