"""The states of a pancake_webhook_event, and what a delivery of its event trigger is answered.

The database refuses a change of state that is not allowed (trigger pancake_webhook_event_guard_status). An
answer has a result for programs, and a sentence for people, which the Hasura console shows. The sentence
holds no customer's data.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from leads.domain.visible_text import read_texts

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
CLAIM_LEASE = timedelta(seconds=25)
"""How long an event is left to its handler, which ends within 24 s; the database refuses a release before."""
KILL_SWITCH = "kill_switch"
SOURCE_INACTIVE = "source_inactive"
"""What holds an event. The event itself names the others: a disabled connection, an unknown source."""

MAX_ATTEMPTS = 5
CLAIM_LIMITS: Final = {"lease": CLAIM_LEASE, "max_attempts": MAX_ATTEMPTS}
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
_SENTENCES = read_texts("delivery_answers.toml")["sentences"]
RESULTS = tuple(_SENTENCES)
"""Every result of a delivery."""


@dataclass(frozen=True, slots=True)
class UnclaimedEvent:
    """The row of process_record/load_unclaimed: an event that a delivery finds not `received`.

    `status` is None if there is no such event. `claimed_for`: how long another delivery may still work on it;
    None unless it can be claimed afterwards. `is_redelivered`: Hasura had finished this delivery before, and
    a person asked for it again. `is_answered`: a try since then got an answer other than 503, or none.
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
    claimed_for: timedelta | None
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
