"""Who got the ticket and why, in words: the turns, the former owner, the limits and the recalls."""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from leads.domain.assign import CHOSEN, HAD_IT, NOT_IN_ROSTER, TOO_FAR_AHEAD
from leads.domain.canonical_json import JsonObject, JsonValue
from leads.domain.trace.step import Step, clock_time, listed
from leads.domain.trace.stored import StoredEvent, list_at, text_at, time_at, value_at

LIMITED: Mapping[str, str] = {
    "outside_shift": "outside the shift",
    "daily_cap": "daily cap reached",
    "open_cap": "cap of open tickets reached",
}
"""The limits of a member, by the codes of the SQL function pancake_member_limit."""
UNAVAILABLE: Mapping[str, str] = {
    "roster_row_inactive": "switched off in the roster",
    "staff_inactive": "account disabled",
    "off_duty": "off duty",
    **LIMITED,
    TOO_FAR_AHEAD: "too many tickets ahead of the others",
    HAD_IT: "had the ticket before",
    NOT_IN_ROSTER: "not in the roster",
}
SETTLED: Mapping[str, str] = {
    "assigned_in_diva": "a person assigned it",
    "ticket_closed": "a person closed it",
    "ticket_deleted": "a person deleted it",
}
RECALLED: Mapping[str, str] = {"no_first_response": "no response in time"}


def owner_steps(event: StoredEvent) -> Iterator[Step]:
    """Say who got the ticket that the event created and why, who lost it by a recall, and who was skipped."""
    assignment = value_at(event.evidence, "assignment")
    if not isinstance(assignment, Mapping):
        return
    chosen, settled = text_at(assignment, "chosen"), text_at(assignment, "settled")
    assigned_at, recalls = time_at(assignment, "assigned_at"), list_at(assignment, "recalls")
    if recalls:
        yield from _recall_steps(event, assignment, recalls)
    elif chosen:
        late = f"found at {clock_time(assigned_at)}: " if assigned_at else ""
        yield Step("owner", f"{event.name_of(chosen)}: {late}{_why(event, assignment)}", event_id=event.id)
    elif settled:
        yield Step("owner", f"left alone: {SETTLED.get(settled, settled)}", event_id=event.id)
    elif list_at(assignment, "roster"):
        yield Step("owner", "none: no one in the roster is available", event_id=event.id)
    else:
        yield Step("owner", "none: the roster is empty", event_id=event.id)
    skipped = _skipped(event, list_at(assignment, "skipped"))
    before = _skipped(event, list_at(assignment, "skipped_before"))
    if assigned_at and before and not recalls:
        skipped = f"when the ticket was created: {before}"
    if skipped:
        yield Step("skipped", skipped, event_id=event.id)


def limits_of(event: StoredEvent) -> set[str]:
    """Return the limits, keys of LIMITED, that kept members from the ticket of the event."""
    reasons = {text_at(item, "reason") for item in list_at(event.evidence, "assignment", "skipped")}
    return {limit for limit in LIMITED if limit in reasons}


def _recall_steps(event: StoredEvent, assignment: JsonObject, recalls: list[JsonValue]) -> Iterator[Step]:
    """Name the first owner and each recall; why is known of the last, whose counters are kept."""
    first = event.name_of(text_at(recalls[0], "from"))
    yield Step("owner", f"{first}: until the ticket was recalled", event_id=event.id)
    for number, recall in enumerate(recalls, 1):
        from_whom, to_whom = event.name_of(text_at(recall, "from")), event.name_of(text_at(recall, "to"))
        code = text_at(recall, "reason") or ""
        why = f": {_why(event, assignment)}" if number == len(recalls) else ""
        text = f"from {from_whom} ({RECALLED.get(code, code)}) to {to_whom}{why}"
        yield Step("recall", text, time_at(recall, "at"), event.id)


def _skipped(event: StoredEvent, items: list[JsonValue]) -> str:
    reasons = [
        f"{event.name_of(text_at(item, 'staff_id'))} ({UNAVAILABLE.get(why, why)})"
        for item in items
        if (why := text_at(item, "reason"))
    ]
    return listed(reasons)


def _why(event: StoredEvent, assignment: JsonObject) -> str:
    """Say why the chosen member got it: as the customer's former owner, else by the turns."""
    former, result = (
        text_at(assignment, "former_owner", "staff_id"),
        text_at(assignment, "former_owner", "result"),
    )
    if former is None or result is None:
        return _turn(assignment)
    if result == CHOSEN:
        return "the customer's former owner"
    reason = UNAVAILABLE.get(result, result)
    return f"{_turn(assignment)}; former owner {event.name_of(former)} not taken: {reason}"


def _turn(assignment: JsonObject) -> str:
    """Say why the chosen member was next: the fewest tickets for the weight, else the longest wait."""
    skipped = {text_at(item, "staff_id") for item in list_at(assignment, "skipped")}
    available = [item for item in list_at(assignment, "roster") if text_at(item, "staff_id") not in skipped]
    chosen = next(
        (item for item in available if text_at(item, "staff_id") == text_at(assignment, "chosen")), None
    )
    if chosen is None:
        return "chosen by round robin"
    if len(available) == 1:
        return "the only one available"
    ratio = _ratio(chosen)
    equal = sum(_ratio(item) == ratio for item in available) - 1
    count, weight = _number(chosen, "assigned_count"), _number(chosen, "weight")
    counted = f"{count} {'ticket' if count == 1 else 'tickets'}"
    if weight != 1:
        counted += f" at weight {weight}"
    if equal:
        return f"{counted} like {equal} {'other' if equal == 1 else 'others'}, waited longest"
    return f"{counted}, fewest of {len(available)}"


def _ratio(member: JsonValue) -> Fraction:
    return Fraction(_number(member, "assigned_count"), max(_number(member, "weight"), 1))


def _number(member: JsonValue, key: str) -> int:
    found: object = value_at(member, key)
    return found if isinstance(found, int) else 0
