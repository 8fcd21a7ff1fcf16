"""The stories of the leads that a search found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from leads.domain.trace.advice import next_step
from leads.domain.trace.decisions import decision_steps
from leads.domain.trace.people import notification_steps, ticket_steps
from leads.domain.trace.reasons import arrival_steps, held_by, is_held, state_step
from leads.domain.trace.step import Step
from leads.domain.trace.stored import StoredEvent, text_at


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to one lead, oldest first.

    `tickets` are the codes of those that exist in Diva. `reason` is a code of the newest event: its result,
    its error or what holds it; its status if it waits; `ticket_deleted` if a person deleted its ticket.
    `next` says what to do, `is_at_rest` whether nothing more happens by itself.
    """

    connection: str
    table_name: str
    record_id: str | None
    tickets: tuple[str, ...]
    reason: str
    steps: tuple[Step, ...]
    next: str
    is_at_rest: bool

    def document(self) -> dict[str, object]:
        """Return the story as a JSON object; times are ISO 8601."""
        return {
            "connection": self.connection,
            "table": self.table_name,
            "record_id": self.record_id,
            "tickets": list(self.tickets),
            "reason": self.reason,
            "is_at_rest": self.is_at_rest,
            "steps": [
                {
                    "at": step.at.isoformat() if step.at else None,
                    "kind": step.kind,
                    "event_id": step.event_id,
                    "text": step.text,
                }
                for step in self.steps
            ],
            "next": self.next,
        }


def tell_stories(events: Iterable[StoredEvent], now: datetime) -> list[Story]:
    """Return the stories of leads, in the order of their events. Rows of one lead follow each other."""
    return [_story(list(of_lead), now) for _, of_lead in groupby(events, key=attrgetter("newest_id"))]


def document(text: str, stories: list[Story]) -> dict[str, object]:
    """Return what a search for `text` found, as the command and the action give it."""
    return {
        "text": text,
        "has_ticket": any(story.tickets for story in stories),
        "leads": [story.document() for story in stories],
    }


def _story(events: list[StoredEvent], now: datetime) -> Story:
    newest = events[-1]
    codes = [code for event in events if (code := text_at(event.ticket, "code"))]
    return Story(
        connection=newest.connection,
        table_name=newest.table_name,
        record_id=newest.record_id,
        tickets=tuple(dict.fromkeys(codes)),
        reason=_reason(newest),
        steps=tuple(step for event in events for step in _event_steps(event, now))
        + tuple(ticket_steps(events, now)),
        next=next_step(events),
        is_at_rest=all(event.is_at_rest for event in events),
    )


def _event_steps(event: StoredEvent, now: datetime) -> Iterator[Step]:
    yield from arrival_steps(event)
    if event.status == "processed":
        yield from decision_steps(event)
    else:
        yield state_step(event, now)
    yield from notification_steps(event)


def _reason(event: StoredEvent) -> str:
    if is_held(event):
        return held_by(event)
    if event.status in ("failed", "dead_letter"):
        return event.error_code or event.status
    if event.status != "processed":
        return event.status
    return "ticket_deleted" if event.ticket_id and event.ticket is None else event.result or event.status
