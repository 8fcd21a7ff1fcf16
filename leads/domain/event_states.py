"""The states of a pancake_webhook_event, and what a delivery of its event trigger is answered.

The database refuses a change of state that is not allowed (trigger pancake_webhook_event_guard_status). An
answer has a result for programs, and a sentence for people, which the Hasura console shows. The sentence
holds no customer's data.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

RECEIVED: Final = "received"
INGESTED: Final = "ingested"
PROCESSED: Final = "processed"
FAILED: Final = "failed"
DEAD_LETTER: Final = "dead_letter"
SKIPPED_KILL_SWITCH: Final = "skipped_kill_switch"
SKIPPED_SOURCE_DISABLED: Final = "skipped_source_disabled"

WAITING = frozenset({RECEIVED, INGESTED})
HELD = frozenset({SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED})
AT_REST = HELD | {PROCESSED, DEAD_LETTER}
"""States in which nothing more happens to an event by itself."""
REPLAYED_BY_MANUAL_INVOCATION = HELD | {FAILED, DEAD_LETTER}
"""States in which "Invoke" in the Hasura console replays the event."""
CLAIM_LEASE = timedelta(seconds=60)
"""How long an ingested event is left to its handler; the database refuses to release it earlier."""
KILL_SWITCH = "kill_switch"
SOURCE_INACTIVE = "source_inactive"
"""What holds an event. The event itself names the others: a disabled connection, an unknown source."""

MAX_ATTEMPTS = 5
DELAYS = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
"""The wait after attempt 1, 2, 3 and 4."""
MAX_JITTER_FRACTION = 0.2


def delay_after(attempts: int, jitter: float) -> timedelta | None:
    """Return the wait after that many attempts, or None after the last one.

    `jitter` is a random number in [-1, 1]; it changes the wait by up to 20 %.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    return DELAYS[max(attempts, 1) - 1] * (1 + MAX_JITTER_FRACTION * jitter)


REPLAYED = "replayed"
KILL_SWITCH_ON = "kill_switch_on"
ALREADY_PROCESSED = "already_processed"
UNDER_WAY = "under_way"
UNKNOWN_ID = "unknown_id"

_ALREADY = {
    PROCESSED: ALREADY_PROCESSED,
    FAILED: "already_failed",
    DEAD_LETTER: "already_dead_letter",
    SKIPPED_KILL_SWITCH: "already_held",
    SKIPPED_SOURCE_DISABLED: "already_held",
}
_WITH_ERROR = (FAILED, DEAD_LETTER)
_REPEATED = (
    " Nothing was done: Hasura repeated a delivery."
    " To process the event again: Redeliver, or leads replay {id}."
)
_SENTENCES = {
    UNKNOWN_ID: "There is no event {id}.",
    UNDER_WAY: "Event {id} waits to be processed or is being processed. Look at its row in a moment.",
    ALREADY_PROCESSED: (
        "Event {id} was processed before: {outcome}, {ticket}. Nothing was done."
        " To process it again: leads replay {id}."
    ),
    "already_failed": "Event {id} failed ({error_code}) and is tried again at {next_attempt_at}." + _REPEATED,
    "already_dead_letter": "Event {id} is a dead letter ({error_code})." + _REPEATED,
    "already_held": "Event {id} is held ({held_by})." + _REPEATED,
    "no_record_id": "Event {id} holds no record that could be processed ({error_code}). Nothing was done.",
    "payload_purged": (
        "The body of event {id} was emptied by retention or by an erasure: there is nothing to process."
        " Nothing was done."
    ),
    KILL_SWITCH_ON: "The kill switch is on. Event {id} stays {status}. Turn the switch off, then try again.",
    "source_disabled": (
        "Event {id} stays held ({held_by}): none of its sources is active, or its connection is disabled."
        " Enable one, then try again."
    ),
    REPLAYED: (
        "Event {id} was {status} and is processed again."
        " {where} shows what becomes of it, and so does its row."
    ),
    "ticket_created": "Event {id} was processed: a ticket was created.",
    "ticket_updated": "Event {id} was processed: the customer's open ticket was updated.",
    "contact_updated": "Event {id} was processed: account and contact were updated, no ticket.",
    "record_deleted": "Event {id} was processed: the record was deleted in Pancake, nothing was changed.",
    "no_change": "Event {id} was processed: no mapped field differs from what was applied last.",
    "stale": "Event {id} was processed: a newer version was applied before, nothing was changed.",
    FAILED: "Event {id} failed ({error_code}). The cron pancake_retry_failed tries it again.",
    DEAD_LETTER: "Event {id} is a dead letter ({error_code}). A person has to look at it.",
    SKIPPED_KILL_SWITCH: "Event {id} is held: the kill switch is on.",
    SKIPPED_SOURCE_DISABLED: (
        "Event {id} is held: none of its sources is active, or its connection is disabled."
    ),
    "claim_lost": "Another handler took over event {id}. Its row shows what becomes of it.",
}
RESULTS = tuple(_SENTENCES)
"""Every result of a delivery."""


@dataclass(frozen=True, slots=True)
class UnclaimedEvent:
    """The row of process_record/load_unclaimed: an event that a delivery finds not `received`.

    `status` is None if there is no such event. `is_redelivered`: Hasura had finished this delivery before,
    and a person asked for it again. `is_answered`: a try since then got an answer other than 503, or none.
    """

    status: str | None
    outcome: str | None
    error_code: str | None
    next_attempt_at: datetime | None
    held_by: str | None
    ticket_code: str | None
    has_record: bool
    has_payload: bool
    has_active_source: bool
    switched_on: bool
    is_redelivered: bool
    is_answered: bool


def what_holds(status: str | None, named: str | None) -> str:
    """Return what holds an event; `named` is what the event names."""
    return KILL_SWITCH if status == SKIPPED_KILL_SWITCH else named or SOURCE_INACTIVE


def refusal(event: UnclaimedEvent, *, by_hand: bool) -> str | None:
    """Return why the event stays as it is; None if it is to be replayed.

    It is replayed for a person who invoked the trigger (`by_hand`) or redelivered, once each time.
    """
    if event.status is None:
        return UNKNOWN_ID
    if event.status in WAITING:
        return UNDER_WAY
    is_asked = (by_hand or event.is_redelivered) and not event.is_answered
    if event.status == PROCESSED or not is_asked:
        return _ALREADY[event.status]
    if not event.has_record:
        return "no_record_id"
    if not event.has_payload:
        return "payload_purged"
    if not event.switched_on:
        return KILL_SWITCH_ON
    is_inactive = event.status == SKIPPED_SOURCE_DISABLED and not event.has_active_source
    return "source_disabled" if is_inactive else None


def unclaimed_answer(
    event_id: int, result: str, event: UnclaimedEvent, fired_event_id: str | None = None
) -> dict[str, object]:
    """Return the answer for an event that was not claimed.

    `fired_event_id`: Hasura's event that a replay fired, whose invocation log has the outcome.
    """
    facts: dict[str, object] = {
        "outcome": event.outcome,
        "ticket_code": event.ticket_code,
        "error_code": None if result == REPLAYED or event.status not in _WITH_ERROR else event.error_code,
        "next_attempt_at": event.next_attempt_at and event.next_attempt_at.isoformat(timespec="seconds"),
        "hasura_event_id": fired_event_id,
    }
    sentence = _SENTENCES[result].format(
        **facts,
        id=event_id,
        status=event.status,
        held_by=what_holds(event.status, event.held_by),
        ticket=f"ticket {event.ticket_code}" if event.ticket_code else "no ticket",
        where=f"Hasura's event {fired_event_id}" if fired_event_id else "The next event of this trigger",
    )
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {"event_id": event_id, "result": result, "message": sentence, **known}


def claimed_answer(event_id: int, result: str, error_code: str | None) -> dict[str, object]:
    """Return the answer for an event that was claimed; `error_code` is why it failed or is a dead letter."""
    sentence = _SENTENCES[result].format(id=event_id, error_code=error_code)
    answer: dict[str, object] = {"event_id": event_id, "result": result, "message": sentence}
    return answer | {"error_code": error_code} if error_code else answer
