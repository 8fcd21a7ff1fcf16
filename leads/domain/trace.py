"""A trace: what happened to a lead and why, from the stored rows of its events, and what to do next.

`read_search` says what a text can name, `tell_stories` turns the rows that it found into stories.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain, groupby
from operator import attrgetter
from shlex import quote

from leads.domain.digest import PHONE, Digester
from leads.domain.errors import BadRequest
from leads.domain.event_states import KILL_SWITCH, WAITING
from leads.domain.fields import PHONE_KEYS
from leads.domain.lead import OTHER_TABLES
from leads.domain.phone import read_phones
from leads.domain.trace_event import (
    ENGLISH,
    LANGUAGES,
    TEXTS,
    Step,
    StoredEvent,
    Words,
    list_at,
    text_at,
    value_at,
)
from leads.domain.trace_steps import (
    LIMITED,
    arrival_steps,
    decision_steps,
    notification_steps,
    state_step,
    ticket_steps,
)

END_KILL_SWITCH = "leads switch kill off --reason fixed"
END_PAUSE = "leads switch pause off --reason done"
REFUSED_BY_RULE = re.compile(
    r"(?:Check|ForeignKey|Unique|Exclusion)Violation of (?P<table>(?!pancake_)\w+)\.(?P<constraint>\w+),"
)
"""What is stored of a row that a constraint of Diva's table refused; see leads.adapters.logs.summarize."""
MAX_SEARCH_CHARACTERS = 200
_EVENT_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
"""Every such number is within PostgreSQL's bigint."""
_TYPED_PHONE = re.compile(r"[0-9+ ().-]+", re.ASCII)
MIN_TYPED_DIGITS = 3
MIN_TYPED_DIGITS_OF_A_NUMBER = 8
"""A shorter text than this is no mistyped phone. A number may also be the id of an event."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a text can name. Each of these that exists is found.

    `event_id` is None unless the text is one. `phones` are in E.164. `typed` is the text itself if it looks
    like a phone that cannot be read; a lead may have been typed with it.
    """

    text: str
    event_id: int | None
    phones: tuple[str, ...]
    typed: str | None

    def params(self, digester: Digester | None, now: datetime, language: str = ENGLISH) -> dict[str, object]:
        """Return the parameters of trace_lead/load_events. `now` ends the wait for a response.

        Without a digester, a lead whose phone retention emptied is found by its phone only through a ticket.
        """
        digests = (digester.digests(PHONE, phone) if digester else () for phone in self.phones)
        return {
            "text": self.text,
            "event_id": self.event_id,
            "phones": list(self.phones),
            "phone_digests": list(chain.from_iterable(digests)),
            "now": now,
            "language": language,
            "typed_bodies": [json.dumps(body) for body in self.typed_bodies()],
        }

    def typed_bodies(self) -> list[dict[str, object]]:
        """Return what a body contains, as JSON objects, if one of its phones was typed like this."""
        if self.typed is None:
            return []
        values: list[object] = [self.typed]
        if self.event_id is not None:
            values.append(self.event_id)
        records: list[dict[str, object]] = [{key: value} for key in PHONE_KEYS for value in values]
        records += [{"pancake_customer_obj": {"phone_numbers": [value]}} for value in values]
        return records + [{"data": record} for record in records]


def read_search(value: object) -> Search:
    """Read what to search for. Raises BadRequest for anything but a text of 1 to 200 characters."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > MAX_SEARCH_CHARACTERS or "\0" in text:
        raise BadRequest(
            f"Give a phone, a record id, a ticket code or an event id, of at most {MAX_SEARCH_CHARACTERS}"
            " characters."
        )
    phones = read_phones([text]).usable
    digits = sum(character.isdigit() for character in text)
    event_id = int(text) if _EVENT_ID.fullmatch(text) else None
    least = MIN_TYPED_DIGITS if event_id is None else MIN_TYPED_DIGITS_OF_A_NUMBER
    is_typed = not phones and digits >= least and _TYPED_PHONE.fullmatch(text)
    return Search(text, event_id, phones, typed=text if is_typed else None)


def read_language(value: object) -> str:
    """Read in which language to answer; without one, English. Raises BadRequest."""
    if value is not None and value not in LANGUAGES:
        raise BadRequest(f"lang is not one of {', '.join(LANGUAGES)}.")
    return str(value or ENGLISH)


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to one lead, oldest first.

    `tickets` are the codes of those that exist in Diva. `reason` is a code of the newest event: its result,
    its error or what holds it; its status if it waits; `ticket_deleted` if a person deleted its ticket.
    `next` says what to do, `is_at_rest` whether nothing more happens by itself.
    """

    connection: str
    table: str
    record_id: str | None
    tickets: tuple[str, ...]
    reason: str
    is_at_rest: bool
    steps: tuple[Step, ...]
    next: str

    def document(self) -> dict[str, object]:
        """Return the story as a JSON object; times are ISO 8601."""
        steps = [asdict(step) | {"at": step.at.isoformat() if step.at else None} for step in self.steps]
        return asdict(self) | {"steps": steps}


def document(text: str, stories: list[Story]) -> dict[str, object]:
    """Return what a search for `text` found, as the command and the action give it."""
    return {
        "text": text,
        "has_ticket": any(story.tickets for story in stories),
        "leads": [story.document() for story in stories],
    }


def tell_stories(events: Iterable[StoredEvent], now: datetime) -> list[Story]:
    """Return the stories of leads, in the order of their events. Rows of one lead follow each other."""
    return [_story(list(of_lead), now) for _, of_lead in groupby(events, key=attrgetter("newest_id"))]


def _story(events: list[StoredEvent], now: datetime) -> Story:
    newest = events[-1]
    codes = [code for event in events if (code := text_at(event.ticket, "code"))]
    return Story(
        connection=newest.connection,
        table=newest.table_name,
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
    if event.is_held:
        return event.held_by
    if event.status in ("failed", "dead_letter"):
        return event.error_code or event.status
    if event.status != "processed":
        return event.status
    return "ticket_deleted" if event.ticket_id and event.ticket is None else event.result or event.status


def next_step(events: list[StoredEvent]) -> str:
    """Return what to do about a lead; `events` are its own, oldest first.

    The newest event that is not processed decides, unless a later version was applied.
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
    words, replay = event.words, f"leads replay {event.id}"
    cause = of_cause(words, event.error_code, event.error_detail, replay)
    if event.status == "received" and event.processing_paused:
        return words.say("next.unpause", switch=END_PAUSE)
    if event.status in WAITING:
        return words.say("next.follow", id=event.id)
    if event.status == "failed":
        return cause or words.say("next.retried", replay=replay)
    if event.is_emptied:
        return words.say("next.emptied", nothing=words.say("next.nothing"))
    if event.is_held:
        return _of_held(event, replay)
    of_fault = {"lead": "correct_phone", "sender": "save_again", "none": "nothing", "integration": "mend"}
    return cause or words.say(f"next.{of_fault[event.fault]}", replay=replay)


def of_cause(words: Words, code: str | None, detail: str | None, replay: str) -> str:
    """Return what to do about a cause that may stand at the next attempt too; empty if none is known."""
    if refused := REFUSED_BY_RULE.match(detail or ""):
        return words.say("next.relax", replay=replay, **refused.groupdict())
    known = [kind for kind in (code, re.split(r"\W", detail or "")[0]) if kind in TEXTS["cause"]]
    return words.say(f"cause.{known[0]}", replay=replay) if known else ""


def _of_held(event: StoredEvent, replay: str) -> str:
    words = event.words
    if event.kill_switch:
        return words.say("next.kill_switch", switch=END_KILL_SWITCH, replay=replay)
    if event.connection_status == "disabled":
        return words.say("next.connection", name=quote(event.connection), replay=replay)
    if event.has_active_source or event.held_by == KILL_SWITCH:
        return words.say("next.replay", replay=replay)
    key = "next.source_unknown" if event.held_by == "source_unknown" else "next.source"
    return words.say(key, source=_source_on(event), replay=replay)


def _source_on(event: StoredEvent) -> str:
    """Return the command that switches the first source on, and name the others: one suffices."""
    words = event.words
    first, *others = [quote(name) for name in event.sources] or ["NAME"]
    instead = words.say("next.instead", others=words.listed(others)) if others else ""
    return words.say("next.source_on", first=first, instead=instead)


def _of_processed(newest: StoredEvent, with_ticket: StoredEvent | None) -> str:
    """The newest event is processed; `with_ticket` is the newest that names a ticket."""
    words = newest.words
    nothing, forced = words.say("next.nothing"), words.say("next.force", id=newest.id)
    if newest.notify_given_up_at:
        return words.say("next.resend", id=newest.id)
    if not newest.is_at_rest:
        return words.say("next.sent_again")
    if with_ticket is None or newest.table_name in OTHER_TABLES or newest.result == "record_deleted":
        return nothing
    if with_ticket.ticket is None:
        return forced
    is_open = value_at(with_ticket.ticket, "is_open") is True
    if newest.result == "contact_updated" and not is_open:
        return forced
    settled = text_at(with_ticket.evidence, "assignment", "settled")
    if is_open and text_at(with_ticket.ticket, "owner_id") is None and not settled:
        skipped = list_at(with_ticket.evidence, "assignment", "skipped")
        is_limited = any(text_at(item, "reason") in LIMITED for item in skipped)
        return words.say("next.assign", limit=words.say("next.raise_limit") if is_limited else "")
    return nothing
