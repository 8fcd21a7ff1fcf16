"""What to do next about a lead, as a command where one helps."""

from shlex import quote

from leads.domain.event_states import KILL_SWITCH
from leads.domain.lead import OTHER_TABLES
from leads.domain.trace.owners import limits_of
from leads.domain.trace.people import OPEN
from leads.domain.trace.reasons import held_by, is_held
from leads.domain.trace.step import listed
from leads.domain.trace.stored import StoredEvent, text_at

NOTHING = "nothing to do"
END_KILL_SWITCH = "leads switch kill off --reason TEXT"
END_PAUSE = "leads switch pause off --reason TEXT"
REPLAYED_AS_IT_IS = frozenset({"contended", "database_unavailable", "claim_expired"})
"""Error codes whose cause was not the event."""


def next_step(events: list[StoredEvent]) -> str:
    """Return what to do about a lead; `events` are its own, oldest first.

    An event that is not processed comes first: the newest one behind which no later version was applied.
    """
    pending: StoredEvent | None = None
    for event in events:
        if event.status != "processed":
            pending = event
        elif event.result != "stale":
            pending = None
    if pending:
        return _of_pending(pending)
    return _of_processed(events[-1], next((e for e in reversed(events) if e.ticket_id), None))


def _of_pending(event: StoredEvent) -> str:
    replay = f"leads replay {event.id}"
    if event.status == "received" and event.processing_paused:
        return f"{END_PAUSE}: it is processed then"
    if event.status in ("received", "ingested"):
        return f"leads trace {event.id} --follow; if it stays so: leads status"
    if event.status == "failed":
        return f"wait for the next attempt, or: {replay}"
    if event.is_emptied:
        return f"{NOTHING}: the body was emptied, so it cannot be replayed"
    if is_held(event):
        return _of_held(event, replay)
    if event.error_code == "invalid_phone":
        return f"{replay} --corrected-phone PHONE"
    if event.error_code == "internal":
        return f"find that digest in the handlers' log, mend the cause, then: {replay}"
    if event.error_code in REPLAYED_AS_IT_IS:
        return replay
    if event.error_code in ("test_ping", "erased"):
        return NOTHING
    return "save the record in Pancake again: it then sends a new version"


def _of_held(event: StoredEvent, replay: str) -> str:
    if event.kill_switch:
        return f"{END_KILL_SWITCH}, then: {replay}"
    if event.connection_status == "disabled":
        return f"leads connection enable {quote(event.connection)}, then: {replay}"
    if event.has_active_source or held_by(event) == KILL_SWITCH:
        return replay
    if held_by(event) == "source_unknown":
        return f"wait until sync_sources has its name, then: {_source_on(event)}, then: {replay}"
    return f"{_source_on(event)}, then: {replay}"


def _source_on(event: StoredEvent) -> str:
    """Return the command that switches the first source on, and name the others: one suffices."""
    first, *others = [quote(name) for name in event.sources] or ["NAME"]
    instead = f" (or {listed(others)})" if others else ""
    return f"leads switch source {first} on --reason TEXT{instead}"


def _of_processed(newest: StoredEvent, with_ticket: StoredEvent | None) -> str:
    """The newest event is processed; `with_ticket` is the newest that names a ticket."""
    if newest.notify_given_up_at:
        return f"leads replay {newest.id} sends what was given up"
    if not newest.is_at_rest:
        return "wait: retry_failed sends the notification again"
    forced = f"leads replay {newest.id} --force opens a new ticket"
    if with_ticket is None or newest.table_name in OTHER_TABLES or newest.result == "record_deleted":
        return NOTHING
    if with_ticket.ticket is None:
        return forced
    is_open = text_at(with_ticket.ticket, "status") in OPEN
    if newest.result == "contact_updated" and not is_open:
        return forced
    settled = text_at(with_ticket.evidence, "assignment", "settled")
    if is_open and text_at(with_ticket.ticket, "owner_id") is None and not settled:
        limit = "raise a limit, or " if limits_of(with_ticket) else ""
        return f"{limit}put somebody into the roster or on duty: retry_failed assigns it then"
    return NOTHING
