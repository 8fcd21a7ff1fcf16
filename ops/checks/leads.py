"""What is asked of the way of leads: switches, Pancake, rosters, tickets, queue, crons."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from shlex import quote

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import SecretScope, open_sealed
from leads.domain.errors import IntegrationError, Misconfigured, PancakeKeyRejected
from leads.domain.notifications import REFUSED
from leads.domain.trace import END_KILL_SWITCH, END_PAUSE
from leads.domain.trace_event import Words
from ops.checks.database import MOST_ROWS, ConnectionState, State, Tickets, read_state
from ops.checks.edge import CHECK_POLICY, read_edge
from ops.checks.handlers import read_handlers, read_token
from ops.checks.model import Checks, Facts, Finding, Level, NotRead, Params, When
from ops.checks.services import REQUEST_SECONDS, NotSet, Services, own_metadata
from ops.checks.wording import age, count, times
from ops.clients.db_session import load_rows
from ops.cron_schedule import Schedule
from ops.output import one_line
from ops.settings import OperatorSettings
from ops.switches import Switch

CHECKS = Checks()
TICKETS_OF = timedelta(minutes=10)
"""The tickets of this time are compared with what is usual."""
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
SWITCH_ON_WEBHOOK = (
    "Pancake → Settings → Tools → Webhook: see that it is on, and has the URL of this connection; "
    "then: leads connection test"
)
CHECK_AGAIN = "leads cron run check_connection"
SET_KEY = f"Create a key in Pancake (Settings), then: leads connection set-api-key; then {CHECK_AGAIN}"
CHECK_KEY_AGAIN = (
    "If their ENCRYPTION_KEYS or PANCAKE_API_HOSTS differ from those here, correct them and restart the "
    f"handlers; then: {CHECK_AGAIN}"
)
OF_CONNECTION = re.compile("leads connection (?:set-api-key|test)")
TEST_KEY = "leads connection test"
REPLAY_HELD = f"{END_KILL_SWITCH}; then leads replay --status {HELD} --drain"
SOURCE_ON = f"leads switch source {{}} on --reason TEXT; then leads replay --status {DISABLED_SOURCE} --drain"
CREATE_CONNECTION = "leads connection create --name NAME --workspace ID"
NEVER = "it never succeeded"
MAX_SOURCES = 8
"""So many sources are listed on the one screen."""
BREAKER_OPEN = 2
CHECK_CALLS = (
    "Hasura does not reach the handlers: check its HANDLERS_URL and HANDLER_SECRET; "
    "then: leads metadata verify 9b --probe"
)
MAX_REASON = 90
MANY_TRIES = 2
"""So many tries that failed are no chance."""
DRAINING = timedelta(minutes=1)
"""A backlog of which an event was processed within this time is being processed."""
UNSENT = timedelta(minutes=1)
"""Notifications that were not accepted for longer are yellow."""


@dataclass(frozen=True, slots=True)
class _KeyRow:
    """A row of probes/list_keys."""

    id: str
    name: str
    workspace_id: int
    api_base_url: str
    api_key_encrypted: bytes | None


@dataclass(frozen=True, slots=True)
class KeyLook:
    """How a call with the key of a connection ended; with `is_rejected` no other try helps."""

    name: str
    is_accepted: bool
    is_rejected: bool = False
    reason: str = ""


def read_keys(services: Services) -> dict[str, KeyLook]:
    """Call Pancake for each connection that is not disabled; return the results by its id."""
    if services.settings.key_ring.is_empty:
        raise NotSet("ENCRYPTION_KEYS")
    with services.database() as db:
        rows = load_rows(db, _KeyRow, "probes/list_keys")
    return asyncio.run(_call_all(rows, services.settings))


async def _call_all(rows: list[_KeyRow], settings: OperatorSettings) -> dict[str, KeyLook]:
    pancake = PancakeApi(Clock(), settings.pancake_api_hosts, total_timeout_seconds=REQUEST_SECONDS)
    try:
        looks = await asyncio.gather(*(_call(pancake, row, settings) for row in rows))
    finally:
        await pancake.aclose()
    return {row.id: look for row, look in zip(rows, looks, strict=True)}


async def _call(pancake: PancakeApi, row: _KeyRow, settings: OperatorSettings) -> KeyLook:
    if row.api_key_encrypted is None:
        return KeyLook(row.name, is_accepted=False, is_rejected=True, reason="no API key is set")
    try:
        use = SecretScope("api_key", row.id, row.api_base_url)
        key = open_sealed(settings.key_ring, row.api_key_encrypted, use)
        await pancake.sources(Access(row.id, row.api_base_url, row.workspace_id, key))
    except (PancakeKeyRejected, Misconfigured) as error:
        return KeyLook(row.name, is_accepted=False, is_rejected=True, reason=str(error))
    except IntegrationError as error:
        return KeyLook(row.name, is_accepted=False, reason=str(error))
    return KeyLook(row.name, is_accepted=True)


@CHECKS.add(
    "kill-switch", "Is the kill switch off?", When.STATUS, read_state, needs="tables", cure=REPLAY_HELD,
    runbook="docs/runbook/tickets-and-switches.md#pancakeswitchlefton",
)  # fmt: skip
def ask_kill_switch(facts: Facts, params: Params) -> Iterator[Finding]:
    for switch in _switches(facts, "kill"):
        if switch.is_on:
            yield Finding(Level.RED, f"the kill switch is on {since(switch)}: every lead is held")
        else:
            yield Finding(Level.GREEN, f"off {since(switch)}")


@CHECKS.add(
    "pause", "Is processing not paused?", When.STATUS, read_state, needs="tables", cure=END_PAUSE,
    runbook="docs/runbook/tickets-and-switches.md#pancakeswitchlefton",
)  # fmt: skip
def ask_pause(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say of the pause since when and by whom it is as it is. Leads wait, and none is lost: it is yellow."""
    for switch in _switches(facts, "pause"):
        if switch.is_on:
            yield Finding(Level.YELLOW, f"processing is paused {since(switch)}: leads wait")
        else:
            yield Finding(Level.GREEN, f"off {since(switch)}")


@CHECKS.add(
    "connection", "Is there a connection to Pancake that is enabled?", When.BOTH, read_state, needs="tables",
    cure=CREATE_CONNECTION, runbook="docs/runbook/install.md#7-the-connection-to-pancake",
)  # fmt: skip
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


def _switches(facts: Facts, kind: str) -> list[Switch]:
    return [switch for switch in facts.get(read_state).switches if switch.kind == kind]


def since(switch: Switch) -> str:
    """Say since when and by whom, as far as the history has it."""
    if switch.changed_at is None:
        return "since it was set up"
    reason = f" ({switch.reason})" if switch.reason else ""
    by = one_line(f"{switch.person or switch.changed_by}{reason}")
    return f"since {switch.changed_at:%Y-%m-%d %H:%M} UTC by {by}"


@CHECKS.add(
    "edge-tokens", "Has the edge the tokens of the connections?", When.BOTH, read_edge,
    needs="edge edge-policy connection", cure=CHECK_POLICY,
    runbook="docs/runbook/edge.md#pancakeedgepolicystale",
)  # fmt: skip
def ask_tokens(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if found.connections:
        yield Finding(Level.GREEN, f"it has the tokens of {times(found.connections, 'connection')}")
    else:
        yield Finding(Level.RED, "its policy has no connection: every token is unknown to it")


@CHECKS.add(
    "api-key", "Does Pancake accept the API key of each connection?", When.BOTH, read_keys, read_state,
    needs="tables connection", fine="no connection is in use", cure=TEST_KEY,
    runbook="docs/runbook/webhook-and-pancake.md#pancakeapikeyinvalid",
)  # fmt: skip
def ask_keys(facts: Facts, params: Params) -> Iterator[Finding]:
    for key in facts.get(read_keys).values():
        if key.is_accepted:
            yield Finding(Level.GREEN, f"{key.name}: key accepted", about=key.name)
        elif key.is_rejected:
            text = f"{key.name}: the API key does not work: {key.reason}"
            yield Finding(Level.RED, text, _named(SET_KEY, key.name, facts), key.name)
        else:
            text = f"{key.name}: {key.reason}"
            yield Finding(Level.YELLOW, text, _named(TEST_KEY, key.name, facts), key.name)


def _named(cure: str, connection: str, facts: Facts) -> str:
    """Return a cure whose command names the connection, if there are several."""
    try:
        is_only = len(facts.get(read_state).connections) <= 1
    except NotRead:
        return cure
    option = "" if is_only else f" --connection {quote(connection)}"
    return OF_CONNECTION.sub(lambda call: f"{call[0]}{option}", cure)


@CHECKS.add(
    "webhook", "Does the webhook of each connection bring its leads?", When.STATUS, read_state, read_keys,
    needs="tables connection api-key", fine="no connection is in use", cure=SWITCH_ON_WEBHOOK,
    runbook="docs/runbook/webhook-and-pancake.md#pancakewebhooksuspended",
)  # fmt: skip
def ask_webhook(facts: Facts, params: Params) -> Iterator[Finding]:
    state, keys = facts.get(read_state), _known_keys(facts)
    for each in state.connections:
        if each.status != "disabled":
            found = _judge_webhook(each, keys.get(each.id), state.now)
            yield replace(found, cure=found.cure and _named(found.cure, each.name, facts))


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
        if key.is_accepted:
            text = f"{each.name}: the handlers could not use its API key at the last check; it works here"
            return Finding(Level.YELLOW, text, CHECK_KEY_AGAIN, each.name)
        return Finding(Level.GREEN, f"{each.name}: {came}", about=each.name)
    if problem:
        level = Level.YELLOW if each.status == "silent" else Level.RED
        return Finding(level, f"{each.name}: {problem}, {came}", SWITCH_ON_WEBHOOK, each.name)
    return Finding(Level.GREEN, f"{each.name}: {came}", about=each.name)


@CHECKS.add(
    "breaker", "Do the handlers call Pancake?", When.STATUS, read_handlers, needs="handlers api-key",
    fine="calls to Pancake are not suspended", cure=TEST_KEY,
    runbook="docs/runbook/webhook-and-pancake.md#pancakecircuitbreakeropenlong",
)  # fmt: skip
def ask_breaker(facts: Facts, params: Params) -> Iterator[Finding]:
    breaker = facts.get(read_handlers).breaker
    if breaker is not None and breaker >= BREAKER_OPEN:
        yield Finding(Level.YELLOW, "calls to Pancake are suspended after repeated failures")


@CHECKS.add(
    "sources", "Is a source active?", When.STATUS, read_state, needs="tables connection",
    fine="there is no source yet", cure="leads switch list",
    runbook="docs/runbook/install.md#11-a-source-and-its-roster",
)  # fmt: skip
def ask_sources(facts: Facts, params: Params) -> Iterator[Finding]:
    state, sources = facts.get(read_state), _switches(facts, "source")
    if state.connections and not any(each.active_sources for each in state.connections):
        text = "\n".join(["no source is active: every lead is held", *_list_sources(sources)])
        yield Finding(Level.RED, text, _switch_on_again(sources))
    elif sources:
        yield Finding(Level.GREEN, "\n".join(_list_sources(sources)))


def _switch_on_again(sources: Sequence[Switch]) -> str:
    """Return how the source that was switched off last is switched on; empty if none can be."""
    can_be_on = [each for each in sources if each.can_be_on]
    if not can_be_on:
        return ""
    last = max(can_be_on, key=lambda each: (each.changed_at or datetime.min.replace(tzinfo=UTC), each.row_id))
    return SOURCE_ON.format(quote(last.name or last.row_id))


def _list_sources(sources: Sequence[Switch]) -> list[str]:
    """Return a line for each source, those that are off first; of many the first ones."""
    listed = sorted(sources, key=lambda switch: switch.is_on)
    lines = [
        f"{one_line(f'{each.name or each.pancake_source_id}')}: {'on' if each.is_on else 'off'} {since(each)}"
        for each in listed[:MAX_SOURCES]
    ]
    if len(listed) > MAX_SOURCES:
        lines.append(f"and {len(listed) - MAX_SOURCES} more: leads switch list")
    return lines


@CHECKS.add(
    "rosters", "Is there a member for new tickets?", When.STATUS, read_state,
    needs="tables connection sources",
    cure="Settings → Pancake → Rosters: add members; who took them out: leads history --of roster",
    runbook="docs/runbook/tickets-and-switches.md#pancakeunassignedwaits",
)  # fmt: skip
def ask_rosters(facts: Facts, params: Params) -> Iterator[Finding]:
    rosters = facts.get(read_state).rosters
    empty = [each.source or "default" for each in rosters if not each.members]
    absent = [each.source or "default" for each in rosters if not each.available]
    if not rosters:
        yield Finding(Level.RED, "there is no roster: new tickets get no owner")
    elif empty:
        yield Finding(Level.RED, f"no active member: {', '.join(empty)}; new tickets get no owner")
    elif absent:
        text = f"no member on duty: {', '.join(absent)}; new tickets get no owner"
        yield Finding(Level.YELLOW, text, "Put staff on duty, or add members in Settings")
    else:
        yield Finding(Level.GREEN, f"{times(len(rosters), 'roster')}, each with members on duty")


@CHECKS.add(
    "crons", "Have the crons run in time?", When.STATUS, read_state,
    needs="tables hasura metadata schedule role-rights handlers api-key", cure="leads cron list",
    runbook="docs/runbook/crons-and-engine.md#pancakecronmissed", is_symptom=True,
)  # fmt: skip
def ask_crons(facts: Facts, params: Params) -> Iterator[Finding]:
    state, schedules = facts.get(read_state), read_schedules()
    missed = [each for each in state.crons if each.late_since(schedules[each.name], state.now) is not None]
    ticks = {each.name: each.waits_until(schedules[each.name], state.now) for each in missed}
    late = [each for each in missed if ticks[each.name] is None]
    waiting = sum(each.succeeded_tick is None for each in state.crons)
    if missed and not late:
        recovered_at, tick = missed[0].recovered_at, max(tick for tick in ticks.values() if tick)
        over = f"they are answered again since {recovered_at:%H:%M}, and all are due until {tick:%H:%M} UTC"
        yield Finding(Level.YELLOW, f"{times(len(missed), 'cron')} missed ticks; {over}")
    elif late:
        first = late[0]
        ago = f"it succeeded {age(first.succeeded_at, state.now)} ago" if first.succeeded_at else NEVER
        error = f" ({first.last_error[:80]})" if first.last_error and first.last_outcome == "failed" else ""
        others = len(late) - 1
        more = f"; {others} more {'is' if others == 1 else 'are'} late" if others else ""
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


@cache
def read_schedules() -> Mapping[str, Schedule]:
    """Read the schedules of our crons by name, without `pancake_`. Raises WrongUsage."""
    return {name: Schedule.parse(text) for name, text in read_expressions().items()}


def read_expressions() -> dict[str, str]:
    """Read the cron expressions of our metadata by name, without `pancake_`. Raises WrongUsage."""
    crons = own_metadata()["cron_triggers"]
    return {each["name"].removeprefix("pancake_"): each["schedule"] for each in crons}


@CHECKS.add(
    "queue", "Are stored leads processed?", When.STATUS, read_state,
    needs="tables hasura event-trigger role-rights calls handlers crons", cure="leads cron run retry_failed",
    runbook="docs/runbook/leads-late-or-failed.md#pancakeleadwaits", is_symptom=True,
)  # fmt: skip
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
    if late and _drains(state):
        drains = f"a backlog is being processed, one event at {state.tickets.drained_at:%H:%M:%S} UTC: {text}"
        yield Finding(Level.YELLOW, drains, "Wait until it is done; then: leads status")
    elif late and not _is_stopped(facts):
        yield Finding(Level.RED, f"{count(late, MOST_ROWS)} overdue: {text}")
    elif held and not _is_stopped(facts):
        yield Finding(Level.YELLOW, text, f"leads replay --status {held[0]} --dry-run")
    else:
        yield Finding(Level.GREEN, text)


def _drains(state: State) -> bool:
    drained_at = state.tickets.drained_at
    return drained_at is not None and state.now - drained_at < DRAINING


def _is_stopped(facts: Facts) -> bool:
    """Whether a switch lets all leads wait, or holds them."""
    asked = (ask_kill_switch, ask_pause, ask_connection, ask_sources)
    return any(
        found.level is Level.RED or (ask is ask_pause and found.level is Level.YELLOW)
        for ask in asked
        for found in ask(facts, {})
    )


@CHECKS.add(
    "unassigned", "Has every open ticket an owner?", When.STATUS, read_state, needs="tables rosters",
    fine="every open ticket has an owner",
    cure="Put staff on duty: each gets one within a minute; then: leads status",
    runbook="docs/runbook/tickets-and-switches.md#pancakeunassignedwaits", is_symptom=True,
)  # fmt: skip
def ask_unassigned(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found = state.unassigned
    if found.tickets:
        oldest = age(found.oldest_at, state.now)
        have = "ticket has" if found.tickets == 1 else "tickets have"
        text = f"{count(found.tickets, MOST_ROWS)} open {have} no owner, the oldest for {oldest}"
        yield Finding(Level.YELLOW, text)


@CHECKS.add(
    "unsent", "Was every notification accepted?", When.STATUS, read_state, read_handlers, read_token,
    needs="tables hasura notifications allow-list handlers", fine="every notification was accepted",
    cure="If the call is allowed, ask Diva about its service of notifications: leads doctor",
    runbook="docs/runbook/tickets-and-switches.md#notifications-that-were-given-up", is_symptom=True,
)  # fmt: skip
def ask_unsent(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found = state.unsent
    have = "event has" if found.unsent == 1 else "events have"
    text = f"{count(found.unsent, MOST_ROWS)} {have} unsent notifications"
    if found.oldest_at is not None:
        text += f", the oldest for {age(found.oldest_at, state.now)}"
    if found.reason:
        text += f": {_refused_by(facts) if found.reason == REFUSED else Words().word('unsent', found.reason)}"
    if found.given_up:
        text += f"; {found.given_up} given up in the last day"
    is_old = found.oldest_at is not None and state.now - found.oldest_at > UNSENT
    if is_old or found.given_up:
        yield Finding(Level.YELLOW, text)
    elif found.unsent:
        yield Finding(Level.GREEN, text)


def _refused_by(facts: Facts) -> str:
    """Say who answered a notification with an error: Hasura, or the service behind it."""
    state: Mapping[str, bool | None] = {}
    for read in (lambda: facts.get(read_handlers).ready, lambda: facts.get(read_token).state):
        with suppress(NotRead):
            state = state or read() or {}
    if state.get("allow_list") is False:
        return "the allow list of Hasura stops the call"
    if state.get("notifications") is False:
        return "Hasura does not let pancake_service call sendNotifications"
    if state.get("notifications"):
        return "Hasura passes the call on, and Diva's service of notifications answered with an error"
    return Words().word("unsent", REFUSED)


@CHECKS.add(
    "tickets", "Do leads become tickets, as many as usual?", When.STATUS, read_state,
    needs="tables hasura event-trigger role-rights calls handlers edge edge-tokens kill-switch connection "
    "api-key webhook sources queue",
    cure="leads tail", runbook="docs/runbook/tickets-and-switches.md#tickets-have-stopped", is_symptom=True,
    is_result=True,
)  # fmt: skip
def ask_tickets(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found, usual = state.tickets, state.tickets.usual or 0.0
    parts = [f"{found.tickets} new in 10 min of {times(found.leads, 'lead')}"]
    parts += [
        f"{number} {what}" for number, what in ((found.waiting, "waiting"), (found.held, "held")) if number
    ]
    text = f"{', '.join(parts)}, usual now: {usual:.0f}"
    if found.failing:
        yield _judge_failing(found, text)
    elif usual >= LEAST_USUAL and found.tickets == 0:
        yield _judge_none(state, text)
    elif usual >= 2 * LEAST_USUAL and found.tickets < FEW_SHARE * usual:
        yield Finding(Level.YELLOW, text)
    else:
        yield Finding(Level.GREEN, text)


def _judge_none(state: State, text: str) -> Finding:
    """Judge that there is no new ticket: red, unless an outage that is over was within the ten minutes."""
    recovered_at = state.crons[0].recovered_at if state.crons else None
    if _drains(state):
        return Finding(Level.YELLOW, f"{text}; a backlog is being processed first")
    if recovered_at and state.now - recovered_at < TICKETS_OF:
        return Finding(Level.YELLOW, f"{text}; an outage is over since {recovered_at:%H:%M} UTC")
    return Finding(Level.RED, text)


def _judge_failing(found: Tickets, text: str) -> Finding:
    """Judge leads that failed: red if none was processed after the last of at least two tries."""
    failed_at, processed_at = found.failed_at, found.processed_at
    reason = one_line((found.reason or "no reason")[:MAX_REASON])
    text = f"{times(found.failing, 'lead')} failed ({reason}); {text}"
    cure = f"Read why, and what helps: leads trace {found.failed_id}"
    if failed_at and processed_at and processed_at > failed_at:
        over = f"; the last failed at {failed_at:%H:%M} UTC, others are processed since"
        return Finding(Level.YELLOW, text + over, cure)
    return Finding(Level.RED if found.tries >= MANY_TRIES else Level.YELLOW, text, cure)
