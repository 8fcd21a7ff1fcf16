"""How an event arrived, and in which state it is, in words. docs/flow.md explains the codes."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from leads.domain.duration import duration
from leads.domain.event_states import CLAIM_LEASE, KILL_SWITCH, MAX_ATTEMPTS, SOURCE_INACTIVE
from leads.domain.phone import read_phones
from leads.domain.trace.step import Step, clock_time, listed, quoted
from leads.domain.trace.stored import StoredEvent, text_at, typed_phones

ERRORS: Mapping[str, str] = {
    "invalid_json": "the body is not a JSON object",
    "too_deep": "the body is nested too deep",
    "too_large": "the body is too large",
    "unstorable": "the body holds what PostgreSQL cannot store",
    "missing_record_id": "the body has no record id",
    "test_ping": "Pancake's test of the webhook, no lead",
    "invalid_phone": "no usable phone number",
    "erased": "a version of a customer who was erased",
    "invalid_payload": "the row holds no body to process",
    "contended": "it lost against other transactions, or took longer than 20 s",
    "database_unavailable": "the database gave no connection",
    "internal": "an error of the program or of the database",
    "claim_expired": "the handler that worked on it died",
}
HELD: Mapping[str, str] = {
    KILL_SWITCH: "the kill switch was on",
    "connection_disabled": "the connection was disabled",
    "source_unknown": "its source has no name yet",
    SOURCE_INACTIVE: "none of its sources was active",
}
REJECTED: Mapping[str, str] = {
    "too_short": "too short",
    "too_long": "too long",
    "not_a_number": "no number",
    "invalid": "no valid number, or can be read in several ways",
}


def arrival_steps(event: StoredEvent) -> Iterator[Step]:
    """Say how the event came, with the phone as typed; then when it was held and replayed, if it was."""
    sources = f"; {listed(event.sources)}" if event.sources else ""
    is_webhook = event.origin == "webhook"
    yield Step(
        kind=event.origin,
        text=f"event {event.id}: {_phone_text(event)}{sources}",
        at=event.arrived_at if is_webhook else event.created_at,
        event_id=event.id,
    )
    if event.held_at and not is_held(event):
        yield Step("held", "held, and replayed later", event.held_at, event.id)
    if event.replay_count:
        yield Step("replay", _replay_text(event), event.replayed_at, event.id)


def is_held(event: StoredEvent) -> bool:
    """Whether a switch holds the event now."""
    return event.status.startswith("skipped_")


def held_by(event: StoredEvent) -> str:
    """Return which switch holds the event: a key of HELD."""
    if event.status == "skipped_kill_switch":
        return KILL_SWITCH
    return text_at(event.evidence, "held_by") or SOURCE_INACTIVE


def state_step(event: StoredEvent, now: datetime) -> Step:
    """Say in which state an event is that is not processed, and why."""
    if is_held(event):
        return Step("held", f"{event.status}: {HELD[held_by(event)]}", event.held_at, event.id)
    if event.status == "received":
        if event.processing_paused:
            text = "received: processing is paused"
        else:
            text = "received: Hasura has not delivered it yet"
        return Step("waits", text, event.received_at, event.id)
    if event.status == "ingested":
        text = "a handler works on it"
        if event.ingested_at and now - event.ingested_at > CLAIM_LEASE:
            text = f"the handler stopped: its claim of {duration(CLAIM_LEASE)} has ended"
        return Step("waits", f"ingested: {text}", event.ingested_at, event.id)
    reason = f"{event.error_code}: {_error_text(event)}"
    if event.status == "failed":
        tried = f"attempt {event.attempts} of {MAX_ATTEMPTS}"
        text = f"{reason}; {tried}, the next one at {clock_time(event.next_attempt_at)}"
        return Step("failed", text, event.ingested_at, event.id)
    after = f"; {event.attempts} attempts" if event.attempts > 1 else ""
    return Step("dead_letter", reason + after, event.ingested_at or event.arrived_at, event.id)


def _phone_text(event: StoredEvent) -> str:
    """Return the phones as typed, and as they are read if that is not obvious."""
    if event.is_emptied:
        return "its body was emptied"
    if event.body is None:
        return "a body that is no JSON object" if event.has_no_body else "a large body"
    typed = typed_phones(event)
    if not typed:
        return "no phone"
    usable = read_phones(typed).usable
    return quoted(typed) + (f" is {listed(usable)}" if usable else "")


def _replay_text(event: StoredEvent) -> str:
    by = f" by {event.name_of(event.replayed_by)}" if event.replayed_by else ""
    times = f" (replay {event.replay_count})" if event.replay_count > 1 else ""
    corrected = text_at(event.evidence, "corrected_phone")
    phone = f' with the phone "{corrected}"' if corrected else ""
    forced = ", forced" if event.evidence.keys() & {"force", "forced"} else ""
    return f"replayed{by}{phone}{forced}{times}"


def _error_text(event: StoredEvent) -> str:
    reason = ERRORS.get(event.error_code or "", event.error_detail or "no reason is stored")
    if event.error_code == "internal" and event.error_detail:
        return f"{reason} ({event.error_detail})"
    if event.error_code != "invalid_phone" or event.is_emptied:
        return reason
    rejected = read_phones(typed_phones(event)).rejected
    words = [f'"{text}" is {REJECTED.get(why, why)}' for text, why in rejected]
    return listed(words) or "the record has no phone"
