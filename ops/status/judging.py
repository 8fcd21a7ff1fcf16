"""Say what the state of the database means: one line per part, pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from shlex import quote

from leads.domain.trace import END_KILL_SWITCH, END_PAUSE
from ops.cron_schedule import Schedule
from ops.probes.lines import Level, Line
from ops.probes.pancake import KeyLook
from ops.probes.running import Failure
from ops.status.state import MOST_ROWS, ConnectionState, Queue, Roster, State, UnsentCount
from ops.status.words import age, count, times
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
NEVER = "it never succeeded"
SWITCH_NAMES = {"kill": "kill switch", "pause": "pause", "connection": "connection"}
MAX_SOURCES = 8
"""So many sources are listed on the one screen."""
BREAKER_OPEN = 2
ADD_MEMBERS = "Settings → Pancake → Rosters: add members; who took them out: leads history --of roster"
CHECK_CALLS = (
    "Hasura does not reach the handlers: check its HANDLERS_URL and HANDLER_SECRET; "
    "then: leads metadata verify 9b --probe"
)
UNSENT_MINUTES = 10


def judge_tickets(state: State) -> Line:
    """Compare the new tickets of the last ten minutes with what is usual."""
    found, usual = state.tickets, state.tickets.usual or 0.0
    text = f"{found.tickets} new in 10 min of {times(found.leads, 'lead')}, usual now: {usual:.0f}"
    if usual >= LEAST_USUAL and found.tickets == 0:
        return Line("tickets", Level.RED, text, "leads tail", is_symptom=True)
    if usual >= 2 * LEAST_USUAL and found.tickets < FEW_SHARE * usual:
        return Line("tickets", Level.YELLOW, text, "leads tail", is_symptom=True)
    return Line("tickets", Level.GREEN, text, is_symptom=True)


def judge_switches(state: State) -> list[Line]:
    """Say of every switch since when and by whom it is as it is; first of those that keep leads waiting."""
    sources = [switch for switch in state.switches if switch.kind == "source"]
    stopping = [switch for switch in state.switches if _stops(switch)]
    others = [switch for switch in state.switches if switch not in (*stopping, *sources)]
    lines = [_judge_switch(state, switch) for switch in stopping]
    if not state.connections:
        text = "there is no connection to Pancake"
        lines.append(Line("switches", Level.RED, text, "leads connection create"))
    lines += [Line(SWITCH_NAMES[switch.kind], Level.GREEN, _as_it_is(switch)) for switch in others]
    return [*lines, *_judge_sources(state, sources)]


def _judge_sources(state: State, sources: Sequence[Switch]) -> list[Line]:
    if state.connections and not any(each.active_sources for each in state.connections):
        text = "\n".join(["no source is active: every lead is held", *_list_sources(sources)])
        return [Line("sources", Level.RED, text, SOURCE_ON)]
    return [Line("sources", Level.GREEN, "\n".join(_list_sources(sources)))] if sources else []


def _as_it_is(switch: Switch) -> str:
    """Return the state of a switch that keeps nothing waiting."""
    if switch.kind == "connection":
        return f"{switch.name} is enabled {_since(switch)}"
    name = switch.name or switch.pancake_source_id
    return f"{f'{name}: ' if name else ''}{'on' if switch.is_on else 'off'} {_since(switch)}"


def _list_sources(sources: Sequence[Switch]) -> list[str]:
    """Return a line for each source, those that are off first; of many the first ones."""
    listed = sorted(sources, key=lambda switch: switch.is_on)
    lines = [_as_it_is(switch) for switch in listed[:MAX_SOURCES]]
    if len(listed) > MAX_SOURCES:
        lines.append(f"and {len(listed) - MAX_SOURCES} more: leads switch list")
    return lines


def _stops(switch: Switch) -> bool:
    """Whether it keeps leads from being processed; one source alone does not."""
    return not switch.is_on if switch.kind == "connection" else switch.is_on and switch.kind != "source"


def _judge_switch(state: State, switch: Switch) -> Line:
    since = _since(switch)
    if switch.kind == "connection":
        is_only = all(each.status == "disabled" for each in state.connections)
        text = f"connection {switch.name} is disabled {since}: its leads are held"
        level = Level.RED if is_only else Level.YELLOW
        return Line(
            "connection", level, text, f"leads connection enable {quote(switch.name or switch.row_id)}"
        )
    if switch.kind == "kill":
        text = f"the kill switch is on {since}: every lead is held"
        return Line("kill switch", Level.RED, text, REPLAY_HELD)
    text = f"processing is paused {since}: leads wait"
    return Line("pause", Level.RED, text, END_PAUSE)


def _since(switch: Switch) -> str:
    """Say since when and by whom, as far as the history has it."""
    if switch.changed_at is None:
        return "since it was set up"
    reason = f" ({switch.reason})" if switch.reason else ""
    return f"since {switch.changed_at:%Y-%m-%d %H:%M} UTC by {switch.person or switch.changed_by}{reason}"


def judge_pancake(
    state: State, keys: Mapping[str, KeyLook] | Failure | None, breaker: float | None
) -> list[Line]:
    """Say for each connection in use what Pancake answers, and when its webhook came last."""
    lines = []
    for each in state.connections:
        if each.status != "disabled":
            key = keys.get(each.id) if isinstance(keys, Mapping) else None
            lines.append(_judge_connection(each, key, state.now))
    if breaker is not None and breaker >= BREAKER_OPEN:
        text = "calls to Pancake are suspended after repeated failures"
        lines.append(Line("breaker", Level.YELLOW, text, TEST_KEY))
    return lines


def _judge_connection(each: ConnectionState, key: KeyLook | None, now: datetime) -> Line:
    came = f"webhook {age(each.last_webhook_at, now)} ago" if each.last_webhook_at else "no webhook for a day"
    name, problem = "Pancake", WEBHOOK_PROBLEMS.get(each.status, "")
    if key is not None and key.is_rejected:
        return Line(name, Level.RED, f"{each.name}: the API key does not work: {key.reason}", SET_KEY)
    if each.status == "key_invalid" and key is None:
        return Line(name, Level.RED, f"{each.name}: {problem}", SET_KEY)
    if each.status in ("suspended", "outage"):
        return Line(name, Level.RED, f"{each.name}: {problem}, {came}", SWITCH_ON_WEBHOOK)
    if key is not None and not key.is_accepted:
        return Line(name, Level.YELLOW, f"{each.name}: {key.reason} {came}", TEST_KEY)
    if each.status == "silent":
        return Line(name, Level.YELLOW, f"{each.name}: {problem}, {came}", SWITCH_ON_WEBHOOK)
    accepted = ", key accepted" if key is not None else ""
    return Line(name, Level.GREEN, f"{each.name}: {came}{accepted}")


def judge_rosters(rosters: Sequence[Roster]) -> Line:
    """Name the rosters that give no ticket an owner now."""
    if not rosters:
        return Line("rosters", Level.RED, "there is no roster: new tickets get no owner", ADD_MEMBERS)
    empty = [each.source or "default" for each in rosters if not each.members]
    if empty:
        text = f"no active member: {', '.join(empty)}; new tickets get no owner"
        return Line("rosters", Level.RED, text, ADD_MEMBERS)
    absent = [each.source or "default" for each in rosters if not each.available]
    if absent:
        text = f"no one on duty: {', '.join(absent)}; new tickets get no owner"
        return Line("rosters", Level.YELLOW, text, "Put staff on duty, or add members in Settings")
    return Line("rosters", Level.GREEN, f"{times(len(rosters), 'roster')}, each with members on duty")


def judge_queue(queue: Sequence[Queue], now: datetime, *, is_stopped: bool) -> Line:
    """Count what is not processed; what waits too long is a symptom. `is_stopped`: a switch lets it wait."""
    by_status = {each.status: each for each in queue}
    parts = [
        f"{each.status} {count(each.events, MOST_ROWS)} (oldest {age(each.oldest_at, now)})"
        for each in sorted(queue, key=lambda each: each.status)
    ]
    text = ", ".join(parts) or "nothing waits"
    late = sum(each.late for each in queue)
    if late and not is_stopped:
        text = f"{count(late, MOST_ROWS)} overdue: {text}"
        return Line("queue", Level.RED, text, "leads cron run retry_failed", is_symptom=True)
    held = [status for status in (HELD, DISABLED_SOURCE) if status in by_status]
    if held and not is_stopped:
        helps = f"leads replay --status {held[0]} --dry-run"
        return Line("queue", Level.YELLOW, text, helps, is_symptom=True)
    return Line("queue", Level.GREEN, text, is_symptom=True)


def judge_crons(state: State, schedules: Mapping[str, Schedule]) -> Line:
    """Name the crons whose work is overdue, with the last error."""
    late = [each for each in state.crons if each.late_since(schedules[each.name], state.now) is not None]
    if not late:
        waiting = sum(each.succeeded_tick is None for each in state.crons)
        text = (
            f"{len(state.crons) - waiting} succeeded in time, the first ticks of {waiting} are still to come"
        )
        if not waiting:
            text = f"all {len(state.crons)} succeeded in time"
        return Line("crons", Level.GREEN, text, is_symptom=True)
    first = late[0]
    ago = f"it succeeded {age(first.succeeded_at, state.now)} ago" if first.succeeded_at else ""
    error = f" ({first.last_error[:80]})" if first.last_error and first.last_outcome == "failed" else ""
    more = f"; {len(late) - 1} more are late" if len(late) > 1 else ""
    text = f"{first.name} is late: {ago or NEVER}{error}{more}"
    helps = "leads cron list" if more else f"leads cron run {first.name}"
    if len(late) == len(state.crons):
        helps = CHECK_CALLS
    return Line("crons", Level.RED, text, helps, is_symptom=True)


def judge_unassigned(state: State) -> Line:
    """Count the open tickets without an owner."""
    found = state.unassigned
    if not found.tickets:
        return Line("unassigned", Level.GREEN, "every open ticket has an owner", is_symptom=True)
    oldest = age(found.oldest_at, state.now)
    text = f"{count(found.tickets, MOST_ROWS)} open tickets have no owner, the oldest for {oldest}"
    helps = "Put staff on duty: each gets one within a minute"
    return Line("unassigned", Level.YELLOW, text, helps, is_symptom=True)


def judge_unsent(found: UnsentCount, now: datetime) -> Line:
    """Count the notifications that were not accepted."""
    text = f"{count(found.unsent, MOST_ROWS)} events have unsent notifications"
    if found.oldest_at is not None:
        text += f", the oldest for {age(found.oldest_at, now)}"
    if found.given_up:
        text += f"; {found.given_up} given up in the last day"
    is_old = found.oldest_at is not None and (now - found.oldest_at).total_seconds() > UNSENT_MINUTES * 60
    if is_old or found.given_up:
        return Line("unsent", Level.YELLOW, text, "docs/runbook/notifications.md", is_symptom=True)
    return Line(
        "unsent", Level.GREEN, text if found.unsent else "every notification was accepted", is_symptom=True
    )
