"""What is asked of the tables of the integration: switches, Pancake, rosters, tickets, queue, crons."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from shlex import quote

from leads.domain.trace import END_KILL_SWITCH
from leads.domain.visible_text import duration
from ops.checks.model import Facts, Finding, Level, NotRead, Params
from ops.checks.read_database import MOST_ROWS, ConnectionState, read_state
from ops.checks.read_services import KeyLook, read_handlers, read_keys
from ops.checks.services import own_metadata
from ops.cron_schedule import Schedule
from ops.switches import Switch

LEAST_USUAL = 5.0
"""With fewer usual tickets in ten minutes, none in ten minutes may be chance."""
FEW_SHARE = 0.3
"""Less than this share of the usual tickets is few."""
HELD, DISABLED_SOURCE = "skipped_kill_switch", "skipped_source_disabled"
WEBHOOK_PROBLEMS = {
    "silent": "polling finds leads that its webhook did not bring",
    "suspended": "Pancake has suspended its webhook; polling brings the leads meanwhile",
    "outage": "Pancake answers neither by webhook nor by API",
    "key_invalid": "its API key was not accepted at the last check",
}
SWITCH_ON_WEBHOOK = "Pancake → Settings → Tools → Webhook: switch it on again; then: leads connection test"
SET_KEY, TEST_KEY = "leads connection set-api-key", "leads connection test"
REPLAY_HELD = f"{END_KILL_SWITCH}; then leads replay --status {HELD} --drain"
SOURCE_ON = f"leads switch source NAME on --reason TEXT; then leads replay --status {DISABLED_SOURCE} --drain"
CREATE_CONNECTION = "leads connection create"
NEVER = "it never succeeded"
MAX_SOURCES = 8
"""So many sources are listed on the one screen."""
BREAKER_OPEN = 2
CHECK_CALLS = (
    "Hasura does not reach the handlers: check its HANDLERS_URL and HANDLER_SECRET; "
    "then: leads metadata verify 9b --probe"
)
UNSENT = timedelta(minutes=10)
"""Notifications that were not accepted for longer are yellow."""


def ask_tickets(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_state).tickets
    usual = found.usual or 0.0
    text = f"{found.tickets} new in 10 min of {times(found.leads, 'lead')}, usual now: {usual:.0f}"
    if usual >= LEAST_USUAL and found.tickets == 0:
        yield Finding(Level.RED, text)
    elif usual >= 2 * LEAST_USUAL and found.tickets < FEW_SHARE * usual:
        yield Finding(Level.YELLOW, text)
    else:
        yield Finding(Level.GREEN, text)


def ask_kill_switch(facts: Facts, params: Params) -> Iterator[Finding]:
    for switch in _switches(facts, "kill"):
        if switch.is_on:
            yield Finding(Level.RED, f"the kill switch is on {since(switch)}: every lead is held")
        else:
            yield Finding(Level.GREEN, f"off {since(switch)}")


def ask_pause(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say of the pause since when and by whom it is as it is. Leads wait, and none is lost: it is yellow."""
    for switch in _switches(facts, "pause"):
        if switch.is_on:
            yield Finding(Level.YELLOW, f"processing is paused {since(switch)}: leads wait")
        else:
            yield Finding(Level.GREEN, f"off {since(switch)}")


def ask_connection(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    if not state.connections:
        text = "there is no connection to Pancake: no leads come"
        yield Finding(Level.RED, text, CREATE_CONNECTION, is_present=False)
    is_only = all(each.status == "disabled" for each in state.connections)
    for switch in _switches(facts, "connection"):
        name = switch.name or switch.row_id
        if switch.is_on:
            yield Finding(Level.GREEN, f"{name} is enabled {since(switch)}", about=name)
        else:
            yield Finding(
                Level.RED if is_only else Level.YELLOW,
                f"connection {name} is disabled {since(switch)}: its leads are held",
                f"leads connection enable {quote(name)}",
                name,
            )


def ask_sources(facts: Facts, params: Params) -> Iterator[Finding]:
    state, sources = facts.get(read_state), _switches(facts, "source")
    if state.connections and not any(each.active_sources for each in state.connections):
        text = "\n".join(["no source is active: every lead is held", *_list_sources(sources)])
        yield Finding(Level.RED, text, SOURCE_ON)
    elif sources:
        yield Finding(Level.GREEN, "\n".join(_list_sources(sources)))


def _switches(facts: Facts, kind: str) -> list[Switch]:
    return [switch for switch in facts.get(read_state).switches if switch.kind == kind]


def _list_sources(sources: Sequence[Switch]) -> list[str]:
    """Return a line for each source, those that are off first; of many the first ones."""
    listed = sorted(sources, key=lambda switch: switch.is_on)
    lines = [
        f"{each.name or each.pancake_source_id}: {'on' if each.is_on else 'off'} {since(each)}"
        for each in listed[:MAX_SOURCES]
    ]
    if len(listed) > MAX_SOURCES:
        lines.append(f"and {len(listed) - MAX_SOURCES} more: leads switch list")
    return lines


def since(switch: Switch) -> str:
    """Say since when and by whom, as far as the history has it."""
    if switch.changed_at is None:
        return "since it was set up"
    reason = f" ({switch.reason})" if switch.reason else ""
    return f"since {switch.changed_at:%Y-%m-%d %H:%M} UTC by {switch.person or switch.changed_by}{reason}"


def ask_keys(facts: Facts, params: Params) -> Iterator[Finding]:
    for key in facts.get(read_keys).values():
        if key.is_accepted:
            yield Finding(Level.GREEN, f"{key.name}: key accepted", about=key.name)
        elif key.is_rejected:
            text = f"{key.name}: the API key does not work: {key.reason}"
            yield Finding(Level.RED, text, SET_KEY, key.name)
        else:
            yield Finding(Level.YELLOW, f"{key.name}: {key.reason}", TEST_KEY, key.name)


def ask_webhook(facts: Facts, params: Params) -> Iterator[Finding]:
    state, keys = facts.get(read_state), _known_keys(facts)
    for each in state.connections:
        if each.status != "disabled":
            yield _judge_webhook(each, keys.get(each.id), state.now)


def _known_keys(facts: Facts) -> Mapping[str, KeyLook]:
    try:
        return facts.get(read_keys)
    except NotRead:
        return {}


def _judge_webhook(each: ConnectionState, key: KeyLook | None, now: datetime) -> Finding:
    came = f"webhook {age(each.last_webhook_at, now)} ago" if each.last_webhook_at else "no webhook for a day"
    problem = WEBHOOK_PROBLEMS.get(each.status, "")
    if each.status == "key_invalid":
        # What Pancake answers now counts more than the last check.
        if key is None:
            return Finding(Level.RED, f"{each.name}: {problem}", SET_KEY, each.name)
        return Finding(Level.GREEN, f"{each.name}: {came}", about=each.name)
    if problem:
        level = Level.YELLOW if each.status == "silent" else Level.RED
        return Finding(level, f"{each.name}: {problem}, {came}", SWITCH_ON_WEBHOOK, each.name)
    return Finding(Level.GREEN, f"{each.name}: {came}", about=each.name)


def ask_breaker(facts: Facts, params: Params) -> Iterator[Finding]:
    breaker = facts.get(read_handlers).breaker
    if breaker is not None and breaker >= BREAKER_OPEN:
        yield Finding(Level.YELLOW, "calls to Pancake are suspended after repeated failures")


def ask_rosters(facts: Facts, params: Params) -> Iterator[Finding]:
    rosters = facts.get(read_state).rosters
    empty = [each.source or "default" for each in rosters if not each.members]
    absent = [each.source or "default" for each in rosters if not each.available]
    if not rosters:
        yield Finding(Level.RED, "there is no roster: new tickets get no owner")
    elif empty:
        yield Finding(Level.RED, f"no active member: {', '.join(empty)}; new tickets get no owner")
    elif absent:
        text = f"no one on duty: {', '.join(absent)}; new tickets get no owner"
        yield Finding(Level.YELLOW, text, "Put staff on duty, or add members in Settings")
    else:
        yield Finding(Level.GREEN, f"{times(len(rosters), 'roster')}, each with members on duty")


def ask_queue(facts: Facts, params: Params) -> Iterator[Finding]:
    """Count what is not processed. What waits too long is overdue, unless a switch lets it wait."""
    state = facts.get(read_state)
    by_status = {each.status: each for each in state.queue}
    parts = [
        f"{each.status} {count(each.events, MOST_ROWS)} (oldest {age(each.oldest_at, state.now)})"
        for each in sorted(state.queue, key=lambda each: each.status)
    ]
    text = ", ".join(parts) or "nothing waits"
    late = sum(each.late for each in state.queue)
    held = [status for status in (HELD, DISABLED_SOURCE) if status in by_status]
    if late and not _is_stopped(facts):
        yield Finding(Level.RED, f"{count(late, MOST_ROWS)} overdue: {text}")
    elif held and not _is_stopped(facts):
        yield Finding(Level.YELLOW, text, f"leads replay --status {held[0]} --dry-run")
    else:
        yield Finding(Level.GREEN, text)


def _is_stopped(facts: Facts) -> bool:
    """Whether a switch lets all leads wait, or holds them."""
    asked = (ask_kill_switch, ask_pause, ask_connection, ask_sources)
    return any(
        found.level is Level.RED or (ask is ask_pause and found.level is Level.YELLOW)
        for ask in asked
        for found in ask(facts, {})
    )


def ask_crons(facts: Facts, params: Params) -> Iterator[Finding]:
    state, schedules = facts.get(read_state), read_schedules()
    late = [each for each in state.crons if each.late_since(schedules[each.name], state.now) is not None]
    waiting = sum(each.succeeded_tick is None for each in state.crons)
    if late:
        first = late[0]
        ago = f"it succeeded {age(first.succeeded_at, state.now)} ago" if first.succeeded_at else NEVER
        error = f" ({first.last_error[:80]})" if first.last_error and first.last_outcome == "failed" else ""
        more = f"; {len(late) - 1} more are late" if len(late) > 1 else ""
        cure = "leads cron list" if more else f"leads cron run {first.name}"
        text = f"{first.name} is late: {ago}{error}{more}"
        yield Finding(Level.RED, text, CHECK_CALLS if len(late) == len(state.crons) else cure)
    elif waiting:
        done = len(state.crons) - waiting
        yield Finding(
            Level.GREEN, f"{done} succeeded in time, the first ticks of {waiting} are still to come"
        )
    else:
        yield Finding(Level.GREEN, f"all {len(state.crons)} succeeded in time")


def ask_unassigned(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found = state.unassigned
    if found.tickets:
        oldest = age(found.oldest_at, state.now)
        text = f"{count(found.tickets, MOST_ROWS)} open tickets have no owner, the oldest for {oldest}"
        yield Finding(Level.YELLOW, text)


def ask_unsent(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found = state.unsent
    text = f"{count(found.unsent, MOST_ROWS)} events have unsent notifications"
    if found.oldest_at is not None:
        text += f", the oldest for {age(found.oldest_at, state.now)}"
    if found.given_up:
        text += f"; {found.given_up} given up in the last day"
    is_old = found.oldest_at is not None and state.now - found.oldest_at > UNSENT
    if is_old or found.given_up:
        yield Finding(Level.YELLOW, text)
    elif found.unsent:
        yield Finding(Level.GREEN, text)


@cache
def read_schedules() -> Mapping[str, Schedule]:
    """Read the schedules of our crons by name, without `pancake_`. Raises WrongUsage."""
    return {name: Schedule.parse(text) for name, text in read_expressions().items()}


def read_expressions() -> dict[str, str]:
    """Read the cron expressions of our metadata by name, without `pancake_`. Raises WrongUsage."""
    crons = own_metadata()["cron_triggers"]
    return {each["name"].removeprefix("pancake_"): each["schedule"] for each in crons}


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago a time is, for example `4 min`."""
    return duration(now - then) if then else "an unknown time"


def count(number: int, most: int) -> str:
    """Return a number that was counted up to `most`."""
    return f"{number}" if number < most else f"{most} or more"


def times(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
