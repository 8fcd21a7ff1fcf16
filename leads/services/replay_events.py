"""Replay events: find those of a request, set them to received at a bounded rate, or try it in a dry run.

An event that is set to received is processed by its event trigger.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import cast

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Statement, Transaction
from leads.adapters.logs import summarize
from leads.domain.digest import Digester
from leads.domain.errors import Busy, Contended, Final, ProcessingPaused, code_of
from leads.domain.event_states import DEAD_LETTER, FAILED, UNDER_WAY
from leads.domain.lead import read_stored_lead
from leads.domain.lead_list import ids_named
from leads.domain.replay import (
    Refusal,
    ReplayedEvent,
    ReplayRequest,
    ReplayResults,
    TouchedRows,
    changed_parts,
    count_results,
)
from leads.services.load_facts import RecordKey, lock_phones_statement, lock_records_statement
from leads.services.process_record import (
    Claim,
    DeliveryResult,
    PlannedEvent,
    claim_statement,
    load_and_decide,
    log_internal_error,
    plan_statements,
    read_claim,
)
from leads.services.redelivery import replay_statement

MAX_EVENTS_PER_SEARCH = 100_000
"""The oldest first."""
MAX_REPLAY_SECONDS = 20.0
MAX_WAIT_SECONDS = 10.0
"""Hasura waits 60 s for the action, and the replay itself takes up to 20 s."""
POLL_SECONDS = 0.1
MIN_UNPROCESSED = 20
"""That many replayed events may wait to be processed, also at a rate below."""

FoundTables = Mapping[int, str | None]
"""The tables of events whose bodies named none; None where Pancake cannot tell."""


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """The events that a request names: those that can be replayed, and refusals of others with the reason."""

    ids: list[int]
    refused: list[Refusal]
    switched_on: bool
    events_per_second: int


async def find_events(db: Database, request: ReplayRequest) -> FoundEvents:
    """Find the events of a request, at most MAX_EVENTS_PER_SEARCH. Raises DatabaseUnavailable."""
    names = await db.fetch_all("list_leads/list_names", {}) if request.source_id else []
    (found,) = await db.fetch_all(
        "replay_events/find_rows",
        {
            "ids": list(request.ids) if request.ids is not None else None,
            "states": sorted(request.states),
            "error_code": request.error_code,
            "sources": ids_named("source", request.source_id, names) if request.source_id else None,
            "created_from": request.created_from,
            "created_to": request.created_to,
            "corrected": request.corrected_phone is not None,
            "most": MAX_EVENTS_PER_SEARCH,
        },
        FoundEvents,
    )
    known = {refusal["event_id"] for refusal in found.refused} | set(found.ids)
    unknown = [Refusal(event_id=id_, reason="unknown_id") for id_ in request.ids or () if id_ not in known]
    return replace(found, refused=found.refused + unknown)


async def dry_run(
    db: Database,
    clock: Clock,
    request: ReplayRequest,
    ids: Sequence[int],
    tables: FoundTables,
    digester: Digester,
) -> list[dict[str, object]]:
    """Process the events one after the other and roll everything back; return what each would change.

    `tables` holds what Pancake says of the events without a table. Raises Busy if other transactions hold the
    leads.
    """
    async with db.dry_run() as transaction:
        await _lock_leads(transaction, request, ids, tables)
        changes: list[dict[str, object]] = []
        for event_id in ids:
            work = partial(_process_in_dry_run, transaction, clock, request, event_id, tables, digester)
            changes.append({"event_id": event_id} | await _attempt(transaction, work))
        return changes


async def _attempt(
    transaction: Transaction, work: Callable[[], Awaitable[dict[str, object]]]
) -> dict[str, object]:
    """Return the result of `work`, or what the event would say had it failed.

    Raises Contended, which depends on other transactions and not on the event.
    """
    try:
        async with transaction.savepoint():
            return await work()
    except Contended:
        raise
    except Exception as error:  # noqa: BLE001 - reported to the caller of the dry run, the trace is logged
        log_internal_error(error, None)
        result = DEAD_LETTER if isinstance(error, Final) else FAILED
        return {"result": result, "error_code": code_of(error), "error_detail": summarize(error)}


async def _lock_leads(
    transaction: Transaction, request: ReplayRequest, ids: Sequence[int], tables: FoundTables
) -> None:
    """Take the locks of all leads first, in the order in which processing takes them."""
    _, rows = await transaction.run(
        ("replay_events/lock_dry_run", {}), ("replay_events/load_leads", {"ids": list(ids)})
    )
    table_names = [row["table_name"] or tables.get(row["id"]) for row in rows]
    leads = [
        read_stored_lead(
            row["payload"],
            corrected_phone=request.corrected_phone or row["corrected_phone"],
            modified_on=row["modified_on"],
            table_name=table_name,
        )
        for row, table_name in zip(rows, table_names, strict=True)
    ]
    records = [
        RecordKey(row["connection_id"], table_name, row["record_id"] or lead.record_id)
        for row, table_name, (lead, _) in zip(rows, table_names, leads, strict=True)
    ]
    phones = [phone for _, phones in leads for phone in phones.usable]
    await transaction.run(
        lock_records_statement([record.record_id for record in records]),
        lock_phones_statement(records, phones),
    )


async def _process_in_dry_run(
    transaction: Transaction,
    clock: Clock,
    request: ReplayRequest,
    event_id: int,
    tables: FoundTables,
    digester: Digester,
) -> dict[str, object]:
    """Process one event as process_event does: claim, load, decide, apply."""
    now = clock.now()
    _, (row,) = await transaction.run(statement_of(request, [event_id], now), claim_statement(event_id))
    try:
        claim = read_claim(row)
    except ProcessingPaused as error:
        return {"result": error.code}
    if not isinstance(claim, Claim):
        return {"result": claim.result if claim else UNDER_WAY}
    claim = replace(claim, table_name=claim.table_name or tables.get(event_id))
    planned = await load_and_decide(transaction, claim, digester, now)
    if isinstance(planned, DeliveryResult):
        code = {"error_code": planned.error_code} if planned.error_code else {}
        return {"result": planned.result, **code}
    # One round trip, as when it is processed: the locks of all leads are held meanwhile.
    touched = _load_touched_statement(planned)
    rows = await transaction.run(touched, *plan_statements(planned, now), touched)
    (before,), (after,) = cast(list[list[TouchedRows]], [rows[0], rows[-1]])
    changes = changed_parts(before, after)
    return {"result": planned.plan.outcome, **changes, "notifications": planned.notifications}


def _load_touched_statement(planned: PlannedEvent) -> Statement:
    """Return the statement that loads the rows that a plan writes."""
    plan = planned.plan
    return (
        "replay_events/load_touched",
        {
            "account_id": plan.account_id,
            "phone": plan.phone,
            "other_phones": list(plan.other_phones),
            "ticket_id": plan.ticket.id if plan.ticket else None,
            "left_ticket_id": plan.left_ticket.id if plan.left_ticket else None,
            "choosing": planned.choice is not None,
            "roster_source_id": planned.facts.roster_source_id,
        },
    )


async def replay(
    db: Database, clock: Clock, request: ReplayRequest, ids: Sequence[int], events_per_second: int
) -> list[int]:
    """Set events to received, at most so many a second over all callers; return those that were set.

    Hasura delivers by age, so a new lead is behind all that wait: while those of a second wait, no more are
    set. Stops when the time is up or the kill switch goes on. Raises Busy while another replay runs.
    """
    replayed: list[int] = []
    async with db.exclusive("replay_events") as (is_free, session):
        if not is_free:
            raise Busy("Another replay is running: try again in a few seconds.")
        deadline = clock.monotonic() + MAX_REPLAY_SECONDS
        step = max(1, events_per_second // 10)
        most = max(events_per_second, MIN_UNPROCESSED)
        for start in range(0, len(ids), step):
            batch = ids[start : start + step]
            ((row,),) = await session.run(statement_of(request, batch, clock.now()), commit=True)
            replayed += row["ids"]
            await clock.sleep(len(batch) / events_per_second)
            await _wait_until_processed(db, clock, replayed[-2 * most :], deadline, most=most)
            if not row["switched_on"] or clock.monotonic() >= deadline:
                break
    return replayed


def statement_of(request: ReplayRequest, ids: Sequence[int], now: datetime) -> Statement:
    """Return the statement of a request that sets events to received."""
    by, phone = request.requested_by, request.corrected_phone
    return replay_statement(ids, request.states, by, now, corrected_phone=phone, force=request.force)


async def wait_for_results(db: Database, clock: Clock, ids: Sequence[int], *, wait: bool) -> bool:
    """Wait until no event waits, a pause is found or the time is up; return whether processing is paused."""
    deadline = clock.monotonic() + (MAX_WAIT_SECONDS if wait else 0)
    return await _wait_until_processed(db, clock, ids, deadline)


async def _wait_until_processed(
    db: Database, clock: Clock, ids: Sequence[int], deadline: float, *, most: int = 0
) -> bool:
    """Wait until at most so many of the events wait; otherwise as wait_for_results."""
    while True:
        (found,) = await db.fetch_all("replay_events/count_waiting", {"ids": list(ids)})
        is_paused: bool = found["processing_paused"]
        if found["events"] <= most or is_paused or clock.monotonic() >= deadline:
            return is_paused
        await clock.sleep(POLL_SECONDS)


async def load_results(db: Database, ids: Sequence[int]) -> ReplayResults:
    """Load and count the results of replayed events."""
    return count_results(await db.fetch_all("replay_events/load_results", {"ids": list(ids)}, ReplayedEvent))
