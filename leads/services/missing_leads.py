"""Read Pancake's lists and store what is missing: what polling and reconciliation share."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial

from leads.adapters.database import Database, Params, Row, UnstorableData, retry_contended
from leads.adapters.pancake_api import COMPLETE, PancakeApi
from leads.domain.canonical_json import JsonObject, read_json
from leads.domain.digest import Digester
from leads.domain.lead import read_lead
from leads.domain.listing import (
    Event,
    EventsByRecord,
    ListedLead,
    ListPosition,
    LookUps,
    TableRecord,
    Window,
    group_by_record,
    modified_in_utc,
    not_covered,
    read_listed_leads,
)
from leads.domain.versions import cap_future_time
from leads.services.connections import Connection
from leads.services.cron_work import OUT_OF_TIME
from leads.services.ingest_record import Origin, StoredDelivery, store_deliveries_statement
from leads.services.load_facts import lock_records_statement

PAGE_LIMIT = "page_limit"
LEADS_PER_GROUP = 300
"""How many leads are compared and stored together, about ten pages."""

_Stored = list[tuple[ListedLead, StoredDelivery]]


async def read_pages(
    pancake: PancakeApi,
    connection: Connection,
    window: Window,
    position: ListPosition,
    on_leads: Callable[[list[ListedLead]], Awaitable[None]],
    *,
    seconds_left: Callable[[], float],
    max_pages: int,
) -> str:
    """Read the window's records of every table, from `position`, which advances after each group of pages.

    `on_leads` gets some leads of one table at a time. Returns COMPLETE, or why reading stopped: OUT_OF_TIME,
    REPEATED_CURSOR or PAGE_LIMIT. If it is cut off, it continues after the last whole group.
    """
    while position.ending is None and position.table < len(connection.tables):
        table, has_answered = connection.tables[position.table], False
        entries: list[JsonObject] = []
        pages = short_pages = 0
        ending: str | None = COMPLETE
        listed = pancake.pages(connection.access, table, window.record_filter(), cursor=position.cursor)
        try:
            async for page in listed:
                has_answered = True
                entries += page.entries
                pages += 1
                short_pages += page.after_short
                ending = page.ending or (PAGE_LIMIT if position.pages + pages >= max_pages else None)
                ending = ending or (OUT_OF_TIME if seconds_left() <= 0 else None)
                if ending or len(entries) >= LEADS_PER_GROUP:
                    await on_leads(read_listed_leads(entries, table, connection.zone))
                    position.advance(page.cursor, pages, short_pages)
                    entries, pages, short_pages = [], 0, 0
                if ending == OUT_OF_TIME:
                    return OUT_OF_TIME
                if ending:
                    break
        except Exception:
            # A saved cursor is used once: if Pancake refuses it, the next attempt reads the table again.
            if not has_answered:
                position.cursor = None
            raise
        if ending == COMPLETE:
            position.cursor = None
            position.table += 1
        else:
            position.ending = ending
    return position.ending or COMPLETE


async def look_up_times(
    pancake: PancakeApi,
    connection: Connection,
    keys: Iterable[TableRecord],
    look_ups: LookUps,
    *,
    seconds_left: Callable[[], float],
) -> bool:
    """Add to `look_ups` when each record was modified; return whether there was time for all of them."""
    for key in keys:
        if key in look_ups:
            continue
        if seconds_left() <= 0:
            return False
        if (entry := await _look_up(pancake, connection, key)) is None:
            look_ups.absent.add(key)
        else:
            look_ups.present[key] = modified_in_utc(entry, connection.zone)
    return True


async def _look_up(pancake: PancakeApi, connection: Connection, key: TableRecord) -> JsonObject | None:
    """Read one record; None if it does not exist.

    If its table is not known, it is read from the first of the connection's tables that holds its id.
    """
    for table in (key.table_name,) if key.table_name else connection.tables:
        record = await pancake.record(connection.access, table, key.record_id)
        if record is not None:
            return record
    return None


async def load_recent(db: Database, connection: Connection, leads: Sequence[ListedLead]) -> EventsByRecord:
    """Load the events that were stored when the leads were modified, or soon after: they cover most leads."""
    since = min((lead.modified_on for lead in leads if lead.modified_on), default=None)
    params = {**load_events_params(connection, leads), "since": since}
    return _by_record(await db.fetch_all("pancake_lists/load_recent", params))


async def load_events(db: Database, connection: Connection, leads: Sequence[ListedLead]) -> EventsByRecord:
    if not leads:
        return {}
    params = load_events_params(connection, leads)
    return _by_record(await db.fetch_all("pancake_lists/load_events", params))


def load_events_params(connection: Connection, leads: Sequence[ListedLead]) -> Params:
    """Request the body only of records listed without a time: the others are compared by time."""
    return {
        "connection_id": connection.id,
        "record_ids": sorted({lead.record_id for lead in leads}),
        "whole": sorted({lead.record_id for lead in leads if lead.modified_on is None}),
    }


def _by_record(rows: Iterable[Row]) -> EventsByRecord:
    return group_by_record(map(read_stored_event, rows))


def read_stored_event(row: Row) -> Event:
    """Read a row of pancake_lists/load_events; `payload` is JSON text, only where times cannot decide."""
    # Without a size limit: PostgreSQL writes jsonb with more white space than ingest received.
    body = read_json(row["payload"].encode(), max_bytes=None) if row["payload"] else None
    fields = read_lead(body).fields() if isinstance(body, dict) and body else {}
    modified_on = cap_future_time(row["modified_on"], row["arrived_at"])
    return Event(row["table_name"], row["record_id"], modified_on, fields, row["status"], row["error_code"])


async def store_missing(
    db: Database,
    connection: Connection,
    missing: Sequence[ListedLead],
    origin: Origin,
    now: datetime,
    digester: Digester,
) -> _Stored:
    """Store leads that no event covered; return those that were added, as they were stored.

    They are compared again under the records' locks, so that polling and reconciliation do not both store a
    version. Raises Contended and DatabaseUnavailable.
    """
    stored = await _store_in_parts(partial(_store_locked, db, connection, origin, now, digester), missing)
    return [(lead, row) for lead, row in stored if row.status != "duplicate"]


async def _store_in_parts(
    store: Callable[[Sequence[ListedLead], bool], Awaitable[_Stored]],
    leads: Sequence[ListedLead],
    as_raw: bool = False,
) -> _Stored:
    """Store leads together; if PostgreSQL cannot hold them, each alone; if it cannot hold that, its bytes."""
    try:
        return await retry_contended(partial(store, leads, as_raw))
    except UnstorableData:
        if as_raw:
            raise
    if len(leads) == 1:
        return await _store_in_parts(store, leads, as_raw=True)
    return [stored for lead in leads for stored in await _store_in_parts(store, [lead])]


async def _store_locked(
    db: Database,
    connection: Connection,
    origin: Origin,
    now: datetime,
    digester: Digester,
    listed: Sequence[ListedLead],
    as_raw: bool,
) -> _Stored:
    async with db.transaction() as transaction:
        _, found = await transaction.run(
            lock_records_statement([lead.record_id for lead in listed]),
            ("pancake_lists/load_events", load_events_params(connection, listed)),
        )
        leads = not_covered(listed, _by_record(found))
        if not leads:
            return []
        deliveries = [lead.delivery(connection.id, now) for lead in leads]
        if as_raw:  # bytes can always be stored
            deliveries = [delivery.as_raw() for delivery in deliveries]
        insert = store_deliveries_statement(deliveries, origin, now, digester)
        refill = ("pancake_lists/restore_emptied_held", insert[1])
        refilled, inserted = await transaction.run(refill, insert, commit=True)
    # A held event that got its body back is a duplicate to the insert that follows: the refilled row counts.
    stored = [StoredDelivery(**row) for row in [*inserted, *refilled]]
    by_ordinal = {delivery.ordinal: delivery for delivery in stored}
    return [(leads[ordinal], delivery) for ordinal, delivery in by_ordinal.items()]
