"""A replay: what was asked for, what a dry run would change, its balance, what the events became."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import TypedDict

from leads.domain.body import ICT, MAX_TIME_CHARACTERS, read_time
from leads.domain.errors import BadRequest
from leads.domain.event_states import (
    DEAD_LETTER,
    FAILED,
    PROCESSED,
    REPLAYED_BY_MANUAL_INVOCATION,
    WAITING,
    what_holds,
)
from leads.domain.phone import MAX_PHONE_CHARACTERS, read_phones

REPLAYABLE = REPLAYED_BY_MANUAL_INVOCATION | {PROCESSED}
MAX_EVENTS_PER_REPLAY = 1000
MAX_ID_DIGITS = 19  # of 2^63
MAX_TEXT_CHARACTERS = 200
MAX_QUOTED_CHARACTERS = 200
MAX_EVENTS_PER_DRY_RUN = 100
"""A dry run holds the locks of all its leads at the same time."""

_INPUTS = frozenset({"ids", "filter", "corrected_phone", "force", "dry_run", "wait"})
_CRITERIA = frozenset({"status", "error_code", "source_id", "from", "to", "limit"})
WITH_TICKET = frozenset({"ticket_created", "ticket_updated"})
PARTS = ("account", "contact", "ticket", "left_ticket", "consent")


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Which events are to be replayed, by whom, and how. `ids` excludes the other criteria.

    `waits`: the answer waits a while for the results.
    """

    requested_by: str
    states: frozenset[str]
    ids: tuple[int, ...] | None = None
    error_code: str | None = None
    source_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    max_events: int = MAX_EVENTS_PER_REPLAY
    corrected_phone: str | None = None
    force: bool = False
    dry_run: bool = False
    waits: bool = True


def read_request(given: Mapping[str, object], session: Mapping[str, str]) -> ReplayRequest:
    """Read the request in an action's input. Raises BadRequest that says what to give instead."""
    _refuse_unknown(given, _INPUTS, "the replay")
    dry_run = _flag(given, "dry_run")
    request = ReplayRequest(
        requested_by=session.get("x-hasura-user-id") or f"role {session.get('x-hasura-role', 'unknown')}",
        states=REPLAYABLE,
        max_events=MAX_EVENTS_PER_DRY_RUN if dry_run else MAX_EVENTS_PER_REPLAY,
        force=_flag(given, "force"),
        dry_run=dry_run,
        waits=given.get("wait") is None or _flag(given, "wait"),
    )
    ids, criteria, phone = given.get("ids"), given.get("filter"), given.get("corrected_phone")
    if (ids is None) == (criteria is None):
        raise BadRequest("Give either ids or filter.")
    if criteria is not None:
        request = _filtered(request, criteria)
    else:
        request = replace(request, ids=_event_ids(ids, request.max_events))
    if phone is None:
        return request
    if request.ids is None or len(request.ids) != 1:
        raise BadRequest("corrected_phone belongs to one event: give exactly one id with it.")
    return replace(request, corrected_phone=_corrected_phone(phone))


def _refuse_unknown(given: Mapping[str, object], known: Collection[str], where: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadRequest(f"{where} does not know {', '.join(unknown)[:MAX_QUOTED_CHARACTERS]}.")


def _flag(given: Mapping[str, object], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} is neither true nor false.")
    return bool(value)


def _filtered(request: ReplayRequest, criteria: object) -> ReplayRequest:
    if not isinstance(criteria, Mapping):
        raise BadRequest("filter is not an object.")
    _refuse_unknown(criteria, _CRITERIA, "filter")
    status, limit = criteria.get("status"), criteria.get("limit")
    if not any(criteria.get(name) for name in ("status", "error_code", "source_id", "from")):
        raise BadRequest("filter names neither status, error_code, source_id nor from.")
    if status is not None and (not isinstance(status, str) or status not in REPLAYABLE):
        raise BadRequest(f"filter.status is not one of {', '.join(sorted(REPLAYABLE))}.")
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= request.max_events
    ):
        raise BadRequest(f"filter.limit is a number from 1 to {request.max_events}.")
    return replace(
        request,
        states=frozenset({status}) if status else REPLAYED_BY_MANUAL_INVOCATION,
        error_code=text_in(criteria, "error_code", "filter."),
        source_id=text_in(criteria, "source_id", "filter."),
        created_from=time_in(criteria, "from", "filter."),
        created_to=time_in(criteria, "to", "filter."),
        max_events=limit or request.max_events,
    )


def text_in(given: Mapping[str, object], name: str, where: str = "") -> str | None:
    """Read an optional text. Raises BadRequest."""
    value = given.get(name)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise BadRequest(f"{where}{name} is not text.")
    if value is not None and len(value) > MAX_TEXT_CHARACTERS:
        raise BadRequest(f"{where}{name} is longer than {MAX_TEXT_CHARACTERS} characters.")
    return value


def time_in(given: Mapping[str, object], name: str, where: str = "") -> datetime | None:
    """Read an optional ISO 8601 date (its midnight in ICT) or time (naive: UTC). Raises BadRequest."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= MAX_TIME_CHARACTERS:
        if moment := read_time(value):
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        with suppress(ValueError):
            return datetime.combine(date.fromisoformat(value), time(), ICT)
    raise BadRequest(f"{where}{name} is neither a date nor a time of ISO 8601.")


def _event_ids(ids: object, max_events: int) -> tuple[int, ...]:
    items = ids if isinstance(ids, list) else []
    if not 0 < len(items) <= max_events:
        raise BadRequest(f"ids is a list of 1 to {max_events} event ids.")
    if not all(_is_event_id(item) for item in items):
        raise BadRequest("ids are whole numbers.")
    return tuple(sorted({int(item) for item in items}))


def _is_event_id(item: object) -> bool:
    text = str(item) if isinstance(item, (int, str)) else ""
    return len(text) <= MAX_ID_DIGITS and text.isascii() and text.isdigit() and int(text) < 2**63


def _corrected_phone(phone: object) -> str:
    if isinstance(phone, str) and len(phone) > MAX_PHONE_CHARACTERS:
        raise BadRequest(
            f"corrected_phone has {len(phone)} characters: give one phone number"
            f" of at most {MAX_PHONE_CHARACTERS} characters."
        )
    phones = read_phones([phone] if isinstance(phone, str) else [])
    if phones.primary is None:
        reasons = ", ".join(reason for _, reason in phones.rejected) or "no phone given"
        raise BadRequest(f"corrected_phone is not a usable phone number ({reasons}).")
    return phones.primary


class TouchedRows(TypedDict):
    """The rows that a plan writes, as JSON objects; `roster` and `other_contacts` map an id to its row."""

    account: dict[str, object] | None
    contact: dict[str, object] | None
    ticket: dict[str, object] | None
    left_ticket: dict[str, object] | None
    consent: dict[str, object] | None
    roster: dict[str, dict[str, object]]
    other_contacts: dict[str, dict[str, object]]


def changed_parts(before: TouchedRows, after: TouchedRows) -> dict[str, object]:
    """Return what applying a plan changed: each part that differs, before and after, and the owner."""
    pairs = {part: (before.get(part), after.get(part)) for part in PARTS}
    parts = {part: {"before": a, "after": b} if a != b else None for part, (a, b) in pairs.items()}
    owner = after["ticket"]["assignee_id"] if after["ticket"] else None
    return {
        **parts,
        "other_contacts": _changed_rows(before["other_contacts"], after["other_contacts"]),
        "roster": _changed_rows(before["roster"], after["roster"]),
        "owner": owner,
    }


def _changed_rows(
    before: Mapping[str, dict[str, object]], after: Mapping[str, dict[str, object]]
) -> list[dict[str, object]]:
    """Return before and after of each row that differs; `before` is None for a new one."""
    return [{"before": before.get(key), "after": row} for key, row in after.items() if before.get(key) != row]


class Refusal(TypedDict):
    """An event that cannot be replayed, with the reason."""

    event_id: int
    reason: str


def balance(
    request: ReplayRequest,
    before: Collection[int],
    replayed: Collection[int],
    after: Collection[int],
    refused: Sequence[Refusal],
) -> dict[str, object]:
    """Return the balance of a replay. `before` and `after` are the ids that the request finds.

    matched = replayed + remaining + changed, and held = remaining + returned + arrived. `changed` events were
    moved by others meanwhile, `returned` ones were replayed and are back, `arrived` ones are new.
    """
    found, done, now = set(before), set(replayed), set(after)
    return {
        "dry_run": request.dry_run,
        "matched": len(found),
        "replayed": len(done),
        "remaining": len((found - done) & now),
        "changed": len(found - done - now),
        "returned": len(done & now),
        "arrived": len(now - found),
        "held": len(now),
        "refused": list(refused),
        "changes": [],
    }


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """An event after its replay.

    `result`: the outcome of its last processing, also if it changed nothing. `held_by`: connection_disabled
    or source_unknown, if that is what holds it.
    """

    id: int
    status: str
    result: str | None
    error_code: str | None
    held_by: str | None
    ticket_id: str | None
    owner_id: str | None

    @property
    def is_waiting(self) -> bool:
        return self.status in WAITING


class OwnedTickets(TypedDict):
    """How many of the tickets belong to a member of staff."""

    id: str
    tickets: int


class ReplayResults(TypedDict):
    """Numbers of events: by outcome, by what holds them, by error code; and of tickets, by owner."""

    outcomes: dict[str, int]
    held: dict[str, int]
    failed: dict[str, int]
    dead_letter: dict[str, int]
    waiting: int
    owners: list[OwnedTickets]
    unassigned: int


def count_results(events: Iterable[ReplayedEvent]) -> ReplayResults:
    """Count the results. A ticket of several events counts once for its owner."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    tickets: dict[str, str | None] = {}
    for event in events:
        group, reason = _group_and_reason(event)
        counts[group][reason] += 1
        if event.ticket_id and event.status == PROCESSED and event.result in WITH_TICKET:
            tickets[event.ticket_id] = event.owner_id
    owners = sorted(
        Counter(owner for owner in tickets.values() if owner).items(), key=lambda item: (-item[1], item[0])
    )
    return ReplayResults(
        outcomes=dict(sorted(counts["outcomes"].items())),
        held=dict(sorted(counts["held"].items())),
        failed=dict(sorted(counts[FAILED].items())),
        dead_letter=dict(sorted(counts[DEAD_LETTER].items())),
        waiting=counts["waiting"].total(),
        owners=[OwnedTickets(id=owner, tickets=number) for owner, number in owners],
        unassigned=sum(owner is None for owner in tickets.values()),
    )


def _group_and_reason(event: ReplayedEvent) -> tuple[str, str]:
    """Return under which of ReplayResults an event counts, and under which key there."""
    if event.is_waiting:
        return "waiting", ""
    if event.status == PROCESSED:
        return "outcomes", event.result or ""
    if event.status in {FAILED, DEAD_LETTER}:
        return event.status, event.error_code or ""
    return "held", what_holds(event.status, event.held_by)
