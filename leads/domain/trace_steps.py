"""The steps of an event, in the order of time, in the words of trace_texts.toml.

How it arrived, in which state it is, what was decided and why, who got the ticket, who was told of it, and
what people did with the ticket since.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from leads.domain.assign import CHOSEN
from leads.domain.canonical_json import JsonObject, JsonValue
from leads.domain.event_states import CLAIM_LEASE, MAX_ATTEMPTS
from leads.domain.lead import OTHER_TABLES
from leads.domain.phone import read_phones
from leads.domain.trace_event import TEXTS, Step, StoredEvent, Words, list_at, text_at, time_at, value_at

LIMITED = ("outside_shift", "daily_cap", "open_cap")
"""The limits of a member, by the codes of the SQL function pancake_member_limit."""


def arrival_steps(event: StoredEvent) -> Iterator[Step]:
    """Say how the event came, with the phone as typed; then when it was held and replayed, if it was."""
    words = event.words
    sources = f"; {words.listed(event.sources)}" if event.sources else ""
    at = event.arrived_at if event.origin == "webhook" else event.created_at
    text = words.say("arrival.event", id=event.id, phone=_phone_text(event), sources=sources)
    yield Step(event.origin, text, at, event.id)
    if event.held_at and not event.is_held:
        yield Step("held", words.say("arrival.held"), event.held_at, event.id)
    if event.replay_count:
        yield Step("replay", _replay_text(event), event.replayed_at, event.id)


def _phone_text(event: StoredEvent) -> str:
    """Return the phones as typed, and as they are read if that is not obvious."""
    words = event.words
    if event.is_emptied:
        return words.say("arrival.emptied")
    if event.body is None:
        return words.say("arrival.no_json" if event.has_no_body else "arrival.large")
    typed = event.phones_as_typed()
    if not typed:
        return words.say("arrival.no_phone")
    usable = tuple(words.phone(number) for number in read_phones(typed).usable)
    is_obvious = usable in ((), typed)
    read_as = "" if is_obvious else words.say("arrival.read_as", phones=words.listed(usable))
    return words.listed([f'"{text}"' for text in typed]) + read_as


def _replay_text(event: StoredEvent) -> str:
    words, corrected = event.words, text_at(event.evidence, "corrected_phone")
    return words.say(
        "arrival.replayed",
        by=words.say("arrival.by", name=event.name_of(event.replayed_by)) if event.replayed_by else "",
        phone=words.say("arrival.with_phone", phone=words.phone(corrected)) if corrected else "",
        forced=words.say("arrival.forced") if event.evidence.keys() & {"force", "forced"} else "",
        times=words.say("arrival.times", count=event.replay_count) if event.replay_count > 1 else "",
    )


def state_step(event: StoredEvent, now: datetime) -> Step:
    """Say in which state an event is that is not processed, and why."""
    words = event.words
    if event.is_held:
        text = words.say("state.held", status=event.status, why=words.word("held", event.held_by))
        return Step("held", text, event.held_at, event.id)
    if event.status == "received":
        text = words.say("state.paused" if event.processing_paused else "state.not_delivered")
        return Step("waits", text, event.received_at, event.id)
    if event.status == "ingested":
        has_stopped = event.ingested_at and now - event.ingested_at > CLAIM_LEASE
        key = "state.stopped" if has_stopped else "state.at_work"
        text = words.say(key, time=words.duration(CLAIM_LEASE))
        return Step("waits", text, event.ingested_at, event.id)
    reason = words.say("state.reason", code=event.error_code, text=_error_text(event))
    if event.status == "failed":
        retry = {"attempt": event.attempts, "most": MAX_ATTEMPTS, "next": words.time(event.next_attempt_at)}
        text = words.say("state.failed", reason=reason, **retry)
        return Step("failed", text, event.ingested_at, event.id)
    after = words.say("state.attempts", count=event.attempts) if event.attempts > 1 else ""
    return Step("dead_letter", reason + after, event.ingested_at or event.arrived_at, event.id)


def _error_text(event: StoredEvent) -> str:
    words, code = event.words, event.error_code or ""
    reason = event.error_detail or words.say("lead.nothing_stored")
    if code in TEXTS["error"]:
        reason = words.say(f"error.{code}")
    if code == "internal" and event.error_detail:
        return words.say("state.internal", text=reason, detail=event.error_detail)
    if code != "invalid_phone" or event.is_emptied:
        return reason
    rejected = read_phones(event.phones_as_typed()).rejected
    said = [
        words.say("state.rejected", typed=text, why=words.word("rejected", why)) for text, why in rejected
    ]
    return words.listed(said) or words.say("state.no_phone")


def decision_steps(event: StoredEvent) -> Iterator[Step]:
    """Say what was decided for a processed event, and why."""
    yield Step("result", _result_text(event), event.processed_at, event.id)
    if event.result in ("no_change", "stale"):
        return
    if event.ticket_id or event.account:
        yield from _customer_steps(event)
    if event.outcome == "ticket_created":
        yield from owner_steps(event)
    yield from (Step("note", text, event_id=event.id) for text in _notes(event))


def _result_text(event: StoredEvent) -> str:
    words, result = event.words, event.result or ""
    reason = words.word("result", result) if result in TEXTS["result"] else ""
    if event.table_name in OTHER_TABLES and result == "contact_updated":
        reason = words.say("result.other_table", table=words.word("table", event.table_name))
    was = ""
    if event.outcome not in (result, None):
        was = words.say("result.before", result=words.word("result_name", event.outcome))
    code = text_at(event.ticket, "code")
    named = f" {code}" if code and result.startswith("ticket_") else ""
    return f"{words.word('result_name', result)}{named}: {reason}{was}"


def _customer_steps(event: StoredEvent) -> Iterator[Step]:
    """Name the customer; of an erased one nothing is left that says by which rule it was found."""
    words, rule = event.words, _customer_rule(event)
    if not rule and event.is_emptied:
        return
    name, state = text_at(event.account, "name") or words.say("customer.deleted_account"), ""
    if value_at(event.account, "is_deleted") is True:
        state = words.say("customer.deleted")
    elif value_at(event.account, "is_enabled") is False:
        state = words.say("customer.disabled")
    yield Step("customer", f"{name}{state}{rule}", event_id=event.id)


def _customer_rule(event: StoredEvent) -> str:
    """Return by which rule the account was found. An emptied event has digests in place of the phones."""
    words, phone = event.words, value_at(event.evidence, "phone")
    winner, candidates = text_at(phone, "winner"), list_at(phone, "candidates")
    if winner is None:
        return ""
    number = text_at(phone, "matched")
    matched = number or text_at(phone, "digests", "matched")
    shown = words.phone(number) if number else words.say("customer.the_phone")
    if winner not in candidates:
        return words.say("customer.new", phone=shown) if matched else words.say("customer.of_record")
    of_several = words.say("customer.of_several", count=len(candidates)) if len(candidates) > 1 else ""
    key = "customer.own_phone" if matched else "customer.contact_phone"
    return words.say(key, phone=shown, of_several=of_several)


def owner_steps(event: StoredEvent) -> Iterator[Step]:
    """Say who got the ticket that the event created and why, who lost it by a recall, and why not others."""
    assignment = value_at(event.evidence, "assignment")
    if not isinstance(assignment, Mapping):
        return
    words = event.words
    chosen, settled = text_at(assignment, "chosen"), text_at(assignment, "settled")
    assigned_at, recalls = time_at(assignment, "assigned_at"), list_at(assignment, "recalls")
    if recalls:
        yield from _recall_steps(event, assignment, recalls)
    elif chosen:
        late = words.say("owner.late", time=words.time(assigned_at)) if assigned_at else ""
        yield Step("owner", f"{event.name_of(chosen)}: {late}{_why(event, assignment)}", event_id=event.id)
    elif settled:
        text = words.say("owner.settled", why=words.word("settled", settled))
        yield Step("owner", text, event_id=event.id)
    else:
        key = "owner.none_available" if list_at(assignment, "roster") else "owner.empty_roster"
        yield Step("owner", words.say(key), event_id=event.id)
    before = _skipped(event, list_at(assignment, "skipped_before"))
    if assigned_at and before and not recalls:
        yield Step("skipped", words.say("owner.at_creation", names=before), event_id=event.id)
    if roster := _roster_text(event, assignment):
        yield Step("roster", roster, event_id=event.id)


def _recall_steps(event: StoredEvent, assignment: JsonObject, recalls: list[JsonValue]) -> Iterator[Step]:
    """Name the first owner and each recall; why is known of the last, whose counters are kept."""
    words, first = event.words, event.name_of(text_at(recalls[0], "from"))
    yield Step("owner", words.say("owner.until_recall", name=first), event_id=event.id)
    for number, recall in enumerate(recalls, 1):
        text = words.say(
            "owner.recall",
            giver=event.name_of(text_at(recall, "from")),
            taker=event.name_of(text_at(recall, "to")),
            reason=words.word("recalled", text_at(recall, "reason")),
            why=f": {_why(event, assignment)}" if number == len(recalls) else "",
        )
        yield Step("recall", text, time_at(recall, "at"), event.id)


def _why(event: StoredEvent, assignment: JsonObject) -> str:
    """Say why the chosen member got it: as the customer's former owner, else by the turns."""
    words, former_owner = event.words, value_at(assignment, "former_owner")
    former, result = text_at(former_owner, "staff_id"), text_at(former_owner, "result")
    turn = _turn(event, assignment)
    if former is None or result is None:
        return turn
    if result == CHOSEN:
        return words.say("owner.former")
    reason = words.word("unavailable", result)
    return words.say("owner.former_not", turn=turn, name=event.name_of(former), reason=reason)


def _turn(event: StoredEvent, assignment: JsonObject) -> str:
    """Say why the chosen member was next: the fewest tickets for the weight, the longest wait, the id."""
    words = event.words
    skipped = {text_at(item, "staff_id") for item in list_at(assignment, "skipped")}
    available = [item for item in list_at(assignment, "roster") if text_at(item, "staff_id") not in skipped]
    winner = text_at(assignment, "chosen")
    chosen = next((item for item in available if text_at(item, "staff_id") == winner), None)
    if chosen is None:
        return words.say("owner.round_robin")
    if len(available) == 1:
        return words.say("owner.only_one")
    equal = [item for item in available if _ratio(item) == _ratio(chosen) and item is not chosen]
    count, weight = _number(chosen, "assigned_count"), _number(chosen, "weight")
    counted = words.say("owner.ticket" if count == 1 else "owner.tickets", count=count)
    if weight != 1:
        counted = words.say("owner.at_weight", counted=counted, weight=weight)
    if not equal:
        return words.say("owner.fewest", counted=counted, count=len(available))
    turn = _number(chosen, "last_assigned_seq")
    has_tie = any(_number(item, "last_assigned_seq") == turn for item in equal)
    why = words.say("owner.first_by_id" if has_tie else "owner.waited_longest")
    key = "owner.tie_of_two" if len(equal) == 1 else "owner.tie"
    return words.say(key, counted=counted, count=len(equal), why=why)


def _ratio(member: JsonValue) -> Fraction:
    return Fraction(_number(member, "assigned_count"), max(_number(member, "weight"), 1))


def _number(member: JsonValue, key: str) -> int:
    found: object = value_at(member, key)
    return found if isinstance(found, int) else 0


def _skipped(event: StoredEvent, items: list[JsonValue]) -> str:
    reasons = [(text_at(item, "staff_id"), text_at(item, "reason")) for item in items]
    words = event.words
    return words.listed(
        [f"{event.name_of(id_)} ({words.word('unavailable', why)})" for id_, why in reasons if why]
    )


def _roster_text(event: StoredEvent, assignment: JsonObject) -> str:
    """Name every member with the tickets counted before the choice, and why it was chosen or not."""
    words = event.words
    reasons = {text_at(assignment, "chosen"): words.say("owner.is_chosen")}
    for item in list_at(assignment, "skipped"):
        reasons[text_at(item, "staff_id")] = words.word("unavailable", text_at(item, "reason"))
    said = []
    for item in list_at(assignment, "roster"):
        staff_id, weight = text_at(item, "staff_id"), _number(item, "weight")
        of_weight = words.say("owner.member_weight", weight=weight) if weight != 1 else ""
        why = f" ({reasons[staff_id]})" if staff_id in reasons else ""
        said.append(f"{event.name_of(staff_id)} {_number(item, 'assigned_count')}{of_weight}{why}")
    return words.say("owner.roster", names=", ".join(said)) if said else ""


def _notes(event: StoredEvent) -> Iterator[str]:
    words, evidence = event.words, event.evidence
    if "table_unknown" in list_at(evidence, "notes"):
        yield words.say("note.table_unknown")
    if evidence.get("future_time"):
        yield words.say("note.future_time")
    if fields := list_at(evidence, "cut_fields"):
        yield words.say("note.cut", fields=words.listed([words.field(name) for name in fields]))
    changed = value_at(evidence, "phone_changed")
    if isinstance(changed, Mapping):
        stays = text_at(changed, "ticket_stays")
        ticket = words.say("note.stays", why=words.word("stays", stays)) if stays else words.say("note.moved")
        yield words.say("note.phone_changed", ticket=ticket)
    for name in ("ticket_account", "applied_account"):
        if state := text_at(evidence, name, "state"):
            yield words.say(f"note.{name}", state=words.word("account_state", state))


def notification_steps(event: StoredEvent) -> Iterator[Step]:
    """Say for each notification who gets it, and when it was accepted, or why it was not."""
    words = event.words
    for notification in event.notifications:
        name = text_at(notification, "name") or ""
        recipients = [event.name_of(each) for each in list_at(notification, "recipient_ids")]
        names = words.listed(recipients) or words.say("told.no_one")
        text = words.say("told.told", names=names, name=name, state=_sending(event, name))
        yield Step("told", text, event.notified_at or event.notify_given_up_at, event.id)
    if event.notifications:
        return
    if event.is_emptied and event.notified_at:
        yield Step("told", words.say("told.emptied"), event.notified_at, event.id)
    elif event.result == "ticket_created" and not event.is_emptied:
        yield Step("told", words.say(f"told.{_why_unsent(event)}"), event_id=event.id)


def _why_unsent(event: StoredEvent) -> str:
    """The name of the text that says why nothing was sent of a new ticket."""
    if event.evidence.get("dropped"):
        return "no_admin"
    return "old_lead" if event.evidence.get("told_later") else "others_wait"


def _sending(event: StoredEvent, name: str) -> str:
    words = event.words
    if event.notified_at or name in (event.notify_sent or ()):
        return words.say("told.accepted")
    why = words.word("unsent", event.notify_error)
    if event.notify_given_up_at:
        return words.say("told.given_up", why=why)
    if not why:
        return words.say("told.being_sent")
    key = "told.one_try" if event.notify_attempts == 1 else "told.tries"
    tried = words.say(key, count=event.notify_attempts)
    return words.say("told.not_accepted", why=why, tried=tried, next=words.time(event.notify_next_at))


def ticket_steps(events: list[StoredEvent], now: datetime) -> Iterator[Step]:
    """Say of each ticket of a lead what it is now: status, owner, first response against the SLA."""
    newest = {event.ticket_id: event for event in events if event.ticket_id}
    for event in newest.values():
        if event.ticket is None:
            yield Step("ticket", event.words.say("ticket.deleted"), event_id=event.id)
            continue
        told = [time for each in events if (time := time_at(each.evidence, "sla_notified_at"))]
        yield Step("ticket", _ticket_text(event, event.ticket, max(told, default=None), now))


def _ticket_text(event: StoredEvent, ticket: JsonObject, told: datetime | None, now: datetime) -> str:
    words, owner_id = event.words, text_at(ticket, "owner_id")
    status = words.word("status", text_at(ticket, "status"))
    owner = event.name_of(owner_id) if owner_id else words.say("ticket.no_owner")
    changed = words.say("ticket.changed") if event.owner_id and owner_id != event.owner_id else ""
    response = _response(words, ticket, event.sla_minutes, told, now)
    return f"{text_at(ticket, 'code')}: {status}, {owner}{changed}; {response}"


def _response(
    words: Words, ticket: JsonObject, sla_minutes: int, told: datetime | None, now: datetime
) -> str:
    created, responded = time_at(ticket, "created_at"), time_at(ticket, "first_response_at")
    if created is None:
        return words.say("ticket.no_time")
    taken = (responded or now) - created
    in_hours = _business_time(ticket, taken)
    sla = timedelta(minutes=sla_minutes)
    if responded:
        return _answered(words, taken, in_hours, sla)
    if value_at(ticket, "is_open") is not True:
        return words.say("ticket.never_answered")
    known = words.say("ticket.managers_told", time=words.time(told)) if told and taken > sla else ""
    due = _due(words, sla - taken)
    if in_hours is None:
        return words.say("ticket.unanswered", due=due, known=known)
    return words.say("ticket.unanswered_both", due=due, due_in_hours=_due(words, sla - in_hours), known=known)


def _business_time(ticket: JsonObject, taken: timedelta) -> timedelta | None:
    """Return how much of the time was business hours; None if all of it, to the minute."""
    minutes: object = value_at(ticket, "business_minutes")
    if not isinstance(minutes, (int, float)):
        return None
    found = timedelta(minutes=minutes)
    return found if taken - found >= timedelta(minutes=1) else None


def _answered(words: Words, taken: timedelta, in_hours: timedelta | None, sla: timedelta) -> str:
    late, after = "", words.duration(taken)
    if taken > sla:
        is_in_time = in_hours is not None and in_hours <= sla
        late = words.say("ticket.late_by_clock" if is_in_time else "ticket.late")
    if in_hours is not None:
        after = words.say("ticket.both", time=after, in_hours=words.duration(in_hours))
    return words.say("ticket.answered", time=after, sla=sla // timedelta(minutes=1), late=late)


def _due(words: Words, left: timedelta) -> str:
    is_late = left < timedelta()
    return words.say("ticket.overdue" if is_late else "ticket.due_in", time=words.duration(abs(left)))
