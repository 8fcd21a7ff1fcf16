"""`leads erase`: erase a customer from everything that the integration wrote, and keep the customer out."""

import csv
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from leads.adapters.database import Params, translated
from leads.domain.canonical_json import JsonValue
from leads.domain.decide import Ticket
from leads.domain.digest import ERASED_PHONE, ERASED_RECORD, PHONE, Digester, erasure_digests
from leads.domain.errors import Contended, DatabaseUnavailable
from leads.domain.fields import FIELDS
from leads.domain.phone import read_phones, stored_digits
from leads.domain.ticket_text import (
    REQUESTS,
    find_block,
    is_our_title,
    request_key,
    requests_of,
    ticket_content,
)
from leads.services.load_facts import RecordKey, lock_phones_statement, lock_records_statement
from ops.clients.db_session import QUERIES, DbSession, DictRow, load_row, login_name
from ops.daily.backfill_phones import UNUSABLE
from ops.daily.connection import NEEDS, Session, open_session
from ops.daily.edge_spool import Folder, Spool, erase_deliveries
from ops.daily.erase_target import Phone, Record, Target, pattern_of, read_target
from ops.failures import CommandFailed, WrongUsage, fail_if
from ops.files import replacing
from ops.output import AsJson, print_result, render_page, say, show_activity
from ops.settings import OperatorSettings, read_operator_settings

TEMPLATE = Path(__file__).with_suffix(".txt.j2")
MAX_BODIES = 100_000
KEPT_FIELDS = ("name", "phones")
OF_RECORD = ("record_id", "table_name", "modified_on", "name")
"""What else data.pancake of a ticket holds of the record that was applied last."""
ERASED_TITLE = "Lead Pancake: (đã xóa)"
MAX_TRIES = 3


def erase_unusable(path: Path, target: Target, account_ids: Collection[str], *, dry_run: bool) -> int:
    """Remove a customer's rows from the file of `leads backfill-phones`; return how many."""
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    # Without the apostrophes of cells that would be formulas.
    phones = (" ".join(row[1:3]).replace("'", "") for row in rows)
    kept = [
        row for row, phone in zip(rows, phones, strict=True)
        if not (row and (row[0] in account_ids or target.is_in(phone)))
    ]  # fmt: skip
    if len(kept) < len(rows) and not dry_run:
        with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(kept)
    return len(rows) - len(kept)


@dataclass(frozen=True, slots=True)
class Customer:
    """What was found. `phones` are those that only this customer's events name.

    `events` are rows of erase/find_events; `mentions` are events of other records that name the phone
    somewhere in their body.
    """

    events: list[DictRow]
    phones: list[str]
    mentions: list[int]

    def ids(self, name: str = "id") -> list[Any]:
        return sorted({event[name] for event in self.events if event[name] is not None})

    @property
    def records(self) -> list[RecordKey]:
        names = ("connection_id", "table_name", "record_id")
        named = (event for event in self.events if event["record_id"] is not None)
        return list(dict.fromkeys(RecordKey(*(event[name] for name in names)) for event in named))


def find_and_lock(db: DbSession, target: Target, digester: Digester) -> Customer:
    """Lock the customer's events, records and phones until the transaction ends.

    The rows come first, as in processing: it locks its event before the record and the phones. Raises
    Contended if another event of the customer came meanwhile.
    """
    db.execute(QUERIES["erase/set_limits"])
    customer = find(db, target, digester)
    db.execute(QUERIES["erase/lock_events"], {"ids": customer.ids()})
    phones = sorted({*customer.phones, *(phone for event in customer.events for phone in event["phones"])})
    records = lock_records_statement(customer.ids("record_id"))
    for name, params in (records, lock_phones_statement(customer.records, phones)):
        db.execute(QUERIES[name], params)
    found = find(db, target, digester)
    if not set(found.ids()) <= set(customer.ids()):
        raise Contended("Another event of the customer was stored meanwhile.")
    return found


def find(db: DbSession, target: Target, digester: Digester) -> Customer:
    """Find the customer's events, with those whose body alone shows it."""
    named = _find_bodies(db, target) if target.phone else []
    params = {
        "phone": target.phone,
        "phone_digests": digester.digests(PHONE, target.phone) if target.phone else [],
        "ids": [event_id for event_id, is_of in named if is_of],
        "connection_id": target.connection_id,
        "table_name": target.table_name,
        "record_id": target.record_id,
    }
    events = db.execute(QUERIES["erase/find_events"], params).fetchall()
    ids = [event["id"] for event in events]
    phones = sorted(_phones_of(db, events, digester) - {target.phone or ""})
    own = db.execute(QUERIES["erase/find_phones"], {"phones": phones, "ids": ids})
    found = [*([target.phone] if target.phone else []), *(row["phone"] for row in own)]
    mentions = [event_id for event_id, is_of in named if not is_of and event_id not in ids]
    return Customer(events, found, mentions)


def _phones_of(db: DbSession, events: list[DictRow], digester: Digester) -> set[str]:
    """Return the phones of events; those that retention emptied are found among the customer's contacts."""
    accounts = [event["account_id"] for event in events if event["account_id"]]
    contacts = db.execute(QUERIES["erase/list_contacts"], {"account_ids": accounts})
    listed = [row["phone"] for row in contacts]
    digests = {digest for event in events for digest in event["phone_digests"]}
    found = {digester.find_phone(digest, listed) for digest in digests}
    return {phone for event in events for phone in event["phones"]} | {phone for phone in found if phone}


def _find_bodies(db: DbSession, target: Target) -> list[tuple[int, bool]]:
    """Return the events whose body names the phone, and whether it is the customer's body.

    Raises CommandFailed if there are too many bodies to look at.
    """
    params = {"pattern": target.pattern, "limit": MAX_BODIES + 1}
    bodies = [
        (row["id"], row["raw"] if row["payload"] is None else row["payload"].encode())
        for row in db.execute(QUERIES["erase/find_mentions"], params)
    ]
    if len(bodies) > MAX_BODIES:
        raise CommandFailed(
            f"More than {MAX_BODIES} stored bodies may name the phone: nothing was erased. "
            "Wait for retention, or shorten held_retention_days."
        )
    return [
        (event_id, target.is_of(raw))
        for event_id, raw in bodies
        if target.is_in(raw.decode(errors="replace"))
    ]


@dataclass(frozen=True, slots=True)
class Request:
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
    shared_tickets: list[str] = field(default_factory=list)
    """Those of them that hold requests of other records, which stay."""
    has_engine_logs: bool = True
    unset_log_settings: list[str] = field(default_factory=list)
    """Settings that keep the phone out of PostgreSQL's log and that the role may not set."""


@dataclass
class Work:
    """The erasure of one customer, inside the caller's transaction."""

    db: DbSession
    digester: Digester
    target: Target
    customer: Customer
    request: Request
    erasure: Erasure

    def erase_rows(self) -> None:
        """Empty every row of the customer that the integration wrote."""
        customer, erasure, counts = self.customer, self.erasure, self.erasure.counts
        known = erasure_digests(self.digester, customer.phones, self.target.record_id)
        earlier = load_row(self.db, "erase/find_erasures", {"digests": known})
        params = {
            "ids": customer.ids(),
            "phones": customer.phones,
            "account_ids": customer.ids("account_id"),
            "record_ids": customer.ids("record_id"),
            "ticket_ids": customer.ids("ticket_id"),
            "stored_digits": [digits for phone in customer.phones for digits in stored_digits(phone)],
            "pattern": pattern_of(customer.phones),
            "now": self.request.now,
        }
        sources = self._rows("erase/delete_sources", params)
        # The same events have both to erase, or had it erased.
        cleared = [load_row(self.db, name, params) for name in ("erase/clear_events", "erase/clear_ids")]
        counts["events"] = max(row["erased"] for row in cleared)
        counts["sources"] = len(sources)
        counts["accounts"] = len(self._rows("erase/empty_accounts", params))
        counts["contacts"] = len(self._rows("erase/empty_contacts", params))
        counts["tickets"] = sum(map(self._empty_ticket, self._rows("erase/load_tickets", params)))
        counts["cron_runs"] = len(self._rows("erase/empty_runs", params))
        counts["engine_logs"] = self._delete_engine_logs(params)
        params["account_ids"] = [*customer.ids("account_id"), *earlier["left_accounts"]]
        left = self._rows("erase/list_left", params)
        erasure.diva_accounts = [row["id"] for row in left]
        erasure.diva_consents = [row["id"] for row in left if row["has_consent"]]
        if not earlier["count"] or any(counts.values()):
            self._leave_digests()

    def _rows(self, name: str, params: Params) -> list[DictRow]:
        return self.db.execute(QUERIES[name], params).fetchall()

    def _empty_ticket(self, row: DictRow) -> bool:
        """Empty our part of a ticket; return whether it had any. Texts that people changed are Diva's."""
        fields = row["fields"] if isinstance(row["fields"], dict) else {}
        ticket = Ticket(row["id"], None, None, None, False, row["title"], row["description"], fields)
        is_last = fields.get("record_id") in self.customer.ids("record_id")
        if row["is_shared"] and (not is_last or self._requests_of_others(ticket)):
            self.erasure.diva_tickets.append(row["code"])
            self.erasure.shared_tickets.append(row["code"])
            return self._empty_requests(ticket, is_last=is_last)
        text = ticket.description or ""
        block = find_block(text, fields, self.digester)
        others = (text[: block[0]].rstrip("\n") + text[block[1] :]) if block else text
        is_ours = is_our_title(ticket, self.digester)
        if others.strip() or not (is_ours or ticket.title == ERASED_TITLE):
            self.erasure.diva_tickets.append(row["code"])
        if row["fields"] is None:
            return False
        texts = {"title": ERASED_TITLE if is_ours else None, "description": others if block else None}
        return self._store_ticket(ticket, fields=None, **texts)

    def _store_ticket(self, ticket: Ticket, **values: str | None) -> bool:
        params = {"id": ticket.id, "now": self.request.now, **values}
        self.db.execute(QUERIES["erase/empty_ticket"], params)
        return True

    def _requests_of_others(self, ticket: Ticket) -> dict[str, Mapping[str, JsonValue]]:
        """Return the requests of other records."""
        keys = {request_key(record.connection_id, record.record_id) for record in self.customer.records}
        return {key: request for key, request in requests_of(ticket.fields).items() if key not in keys}

    def _empty_requests(self, ticket: Ticket, *, is_last: bool) -> bool:
        """Remove the customer's requests from a ticket that is another record's too; return if it had any.

        Its other fields are those of the record that was applied last. If that is the customer's, nothing of
        it stays but phones that another record names too; else name and phones stay: each version names them.
        """
        kept = self._requests_of_others(ticket)
        if len(kept) == len(requests_of(ticket.fields)) and not is_last:
            return False
        fields = {key: each for key, each in ticket.fields.items() if key not in FIELDS or key in KEPT_FIELDS}
        if is_last:
            held = fields.get("phones")
            shared = [text for text in held if self._is_shared(str(text))] if isinstance(held, list) else []
            fields = {key: each for key, each in fields.items() if key not in OF_RECORD} | {"phones": shared}
        content = ticket_content(ticket, {**fields, REQUESTS: kept}, {}, self.digester)
        texts = {"title": content.title, "description": content.description}
        return self._store_ticket(ticket, fields=json.dumps(content.fields), **texts)

    def _is_shared(self, text: str) -> bool:
        usable = read_phones([text]).usable
        return bool(usable) and not set(usable) & set(self.customer.phones)

    def _delete_engine_logs(self, params: Params) -> int:
        """Delete Hasura's logs of our trigger and crons, as far as they are in this database."""
        engine = load_row(self.db, "erase/find_engine")
        self.erasure.has_engine_logs = engine["has_events"] and engine["has_crons"]
        parts = {"erase/delete_event_logs": "has_events", "erase/delete_cron_logs": "has_crons"}
        return sum(load_row(self.db, name, params)["deleted"] for name, has in parts.items() if engine[has])

    def _leave_digests(self) -> None:
        """Leave the digests that keep the customer's old versions out, with the accounts left to Diva."""
        target, counts = self.target, self.erasure.counts
        common = asdict(self.request) | {"connection_id": None, "table_name": None}
        common["counts"] = json.dumps({**counts, "left_accounts": self.erasure.diva_accounts})
        records = set(self.customer.records)
        if target.connection_id and target.record_id:
            records.add(RecordKey(target.connection_id, target.table_name, target.record_id))
        rows: list[dict[str, object]] = [
            {"digest": self.digester.digest(ERASED_RECORD, record.record_id),
             "connection_id": record.connection_id, "table_name": record.table_name}
            for record in records
        ]  # fmt: skip
        rows += [{"digest": self.digester.digest(ERASED_PHONE, phone)} for phone in self.customer.phones]
        for digest in rows:
            self.db.execute(QUERIES["erase/insert_erasure"], common | digest)
        counts["digests"] = len(rows)


def erase(
    phone: Phone = None,
    record: Record = None,
    by: Annotated[str | None, typer.Option(help="Who asked for it; default: your login name.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, without personal data: a case number.")] = None,
    edge: Annotated[bool, typer.Option("--edge", help="The edge's folders are on this machine.")] = False,
    unusable: Annotated[Path, typer.Option(help="CSV file that backfill-phones wrote.")] = UNUSABLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a customer from everything that the integration wrote.

    Prints a receipt: what was removed where, ids and counts, and what Diva has
    to erase itself, what an earlier run left to it too. What is left keeps the
    customer's old versions out; a later request is a new customer.

    Needs DATABASE_URL (the owner's) and ENCRYPTION_KEYS; --edge needs
    EDGE_STATE_KEYS too. Exit code 1: a file could not be read, or the
    customer's leads were being processed. Run it again.
    """
    target = read_target(phone, record)
    run_by = login_name()
    if any(text and target.is_in(text) for text in (by, reason)):
        raise WrongUsage("--by and --reason are kept: do not put the customer's phone into them.")
    if not (yes or dry_run):
        if as_json:
            raise WrongUsage("--json needs --yes or --dry-run.")
        typer.confirm("Erase this customer? It cannot be undone", abort=True)
    settings = read_operator_settings(*NEEDS, *(["EDGE_STATE_KEYS"] if edge else []))
    spool: Spool | None = None
    if edge:
        spool = Spool(settings.edge_state_dir, settings.edge_state_keys)
        for folder in Folder:
            spool.names(folder)  # what cannot be read ends it before anything is erased
    with show_activity("erasing"):
        request = Request(by or run_by, run_by, reason, datetime.now(UTC))
        erasure = _erase_in_database(settings, target, request, dry_run=dry_run)
    unreadable: list[str] = []
    if spool:
        erasure.counts["deliveries"], unreadable = erase_deliveries(spool, target, dry_run=dry_run)
    of_file = erase_unusable(unusable, target, erasure.diva_accounts, dry_run=dry_run)
    erasure.counts["unusable_phones"] = of_file
    receipt = {"dry_run": dry_run, "erased_at": None if dry_run else request.now}
    who = {"requested_by": request.requested_by, "run_by": request.run_by, "reason": request.reason}
    shown = {**receipt, **who, **asdict(erasure), "unreadable": unreadable}
    text = {"erasure": erasure, "request": request, "dry_run": dry_run, "edge": edge}
    print_result(shown, lambda: typer.echo(render_page(TEMPLATE, **text), nl=False), as_json=as_json)
    if erasure.unset_log_settings:
        names = ", ".join(erasure.unset_log_settings)
        say(f"PostgreSQL's log may hold the phone: the role of DATABASE_URL may not set {names}.")
        say(f"Search the log. A superuser allows it with: GRANT SET ON PARAMETER {names} TO the role.")
    for name in unreadable:
        say(f"{name} is unreadable: it may be the customer's. Remove it.")
    fail_if(unreadable)


def _erase_in_database(
    settings: OperatorSettings, target: Target, request: Request, *, dry_run: bool
) -> Erasure:
    """Erase in one transaction, which a dry run rolls back. Raises CommandFailed."""
    for _ in range(MAX_TRIES):
        try:
            with translated(DatabaseUnavailable), open_session(settings, "erase") as session:
                erasure = _erase(session, target, request)
                if dry_run:
                    session.db.rollback()
                return erasure
        except Contended:
            continue
    raise CommandFailed("The customer's leads are being processed. Try again in a minute.")


def _erase(session: Session, target: Target, request: Request) -> Erasure:
    settings = session.db.execute(QUERIES["erase/set_log"]).fetchall()
    unset = [setting["name"] for setting in settings if not setting["is_set"]]
    digester = session.ring.digester()
    if target.connection:
        target = replace(target, connection_id=UUID(session.find(target.connection, "Name one of")["id"]))
    customer = find_and_lock(session.db, target, digester)
    erasure = Erasure(event_ids=customer.ids(), mentions=customer.mentions, unset_log_settings=unset)
    Work(session.db, digester, target, customer, request, erasure).erase_rows()
    return erasure
