"""What is asked of the way of leads: switches, Pancake, rosters, tickets, queue, crons."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from shlex import quote

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import SecretScope, open_sealed
from leads.domain.errors import HostNotAllowed, IntegrationError, Misconfigured, PancakeKeyRejected
from leads.domain.notifications import REFUSED
from leads.domain.trace import END_KILL_SWITCH, END_PAUSE, of_cause
from leads.domain.trace_event import Words
from ops.checks.database import MOST_ROWS, ConnectionState, State, Tickets, read_state
from ops.checks.edge import CHECK_POLICY, judge_refusals, read_edge
from ops.checks.handlers import read_handlers, read_token
from ops.checks.model import Checks, Facts, Finding, Level, Params, When, green, red, yellow
from ops.checks.services import REQUEST_SECONDS, NotSet, Services, own_metadata
from ops.clients.db_session import QUERIES, DictRow
from ops.cron_schedule import Schedule
from ops.output import age, count, first, one_line, times
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
MAY_HAVE_ANOTHER_URL = ("active", "silent", "suspended")
MANY_UNKNOWN = 2
"""From this number of deliveries with an unknown token on, they are not a single attempt of a stranger."""
ENTER_URL = (
    "If Pancake has another URL than that of the connection, enter it in Pancake (Settings → Tools → "
    "Webhook; `rotate-token` makes a new one if it is not known any more); then: leads connection status"
)
CHECK_AGAIN = "leads cron run check_connection"
SET_KEY = f"Create a key in Pancake (Settings), then: leads connection set-api-key; then {CHECK_AGAIN}"
ALLOW_HOST = f"Add it there, in the environment of the handlers too, and restart them; then: {CHECK_AGAIN}"
CHECK_KEY_AGAIN = (
    "If their ENCRYPTION_KEYS or PANCAKE_API_HOSTS differ from those here, correct them and restart the "
    f"handlers; then: {CHECK_AGAIN}"
)
OF_CONNECTION = re.compile("leads connection (?:set-api-key|test)")
TEST_KEY = "leads connection test"
SOURCE_ON = (
    f"leads switch source {{}} on --reason fixed; then leads replay --status {DISABLED_SOURCE} --drain"
)
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
"""Notifications that were not accepted for longer are yellow; refused ones are at once."""


def read_keys(services: Services) -> dict[str, Finding]:
    """Call Pancake for each connection that is not disabled; return what its key is worth, by its id."""
    if services.settings.key_ring.is_empty:
        raise NotSet("ENCRYPTION_KEYS")
    with services.database() as db:
        rows = db.execute(QUERIES["connections/load_connections"]).fetchall()
    return asyncio.run(_call_all(rows, services.settings))


async def _call_all(rows: list[DictRow], settings: OperatorSettings) -> dict[str, Finding]:
    api = PancakeApi(Clock(), settings.pancake_api_hosts, total_timeout_seconds=REQUEST_SECONDS)
    async with aclosing(api) as pancake:
        found = await asyncio.gather(*(_call(pancake, row, settings) for row in rows))
    return {row["id"]: finding for row, finding in zip(rows, found, strict=True)}


async def _call(pancake: PancakeApi, row: DictRow, settings: OperatorSettings) -> Finding:
    """Call it with the key of a connection; red if no other try helps."""
    name, sealed = row["name"], row["api_key_encrypted"]
    does_not_work = f"{name}: the API key does not work"
    if sealed is None:
        return red(f"{does_not_work}: no API key is set", SET_KEY, name)
    scope = SecretScope("api_key", row["id"], row["api_base_url"])
    try:
        key = open_sealed(settings.key_ring, sealed, scope)
        await pancake.sources(Access(row["id"], row["api_base_url"], row["workspace_id"], key))
    except HostNotAllowed as error:
        return red(f"{does_not_work}: {error}", ALLOW_HOST, name)
    except (PancakeKeyRejected, Misconfigured) as error:
        return red(f"{does_not_work}: {error}", SET_KEY, name)
    except IntegrationError as error:
        return yellow(f"{name}: {error}", TEST_KEY, name)
    return green(f"{name}: key accepted", about=name)


@CHECKS.add(
    "settings", "Can all settings be read?", When.STATUS, read_state, needs="tables",
    fine="all can be read",
    cure="Restore them by the statement of the page; what they were: leads history --of setting",
    runbook="docs/runbook/leads-and-tickets.md#settings-that-were-lost",
)  # fmt: skip
def ask_settings(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name the settings of which the defaults are used; by default the kill switch is on."""
    found = facts.get(read_state).settings
    when, what = "", f"settings were lost or made invalid: {first(found.names)}"
    if found.changed_at:
        when = f" at {found.changed_at:%Y-%m-%d %H:%M} UTC (by {one_line(str(found.changed_by))})"
    if found.are_lost:
        what = "all settings were lost"
    if "kill_switch" in found.names:
        yield red(f"{what}{when}: every lead is held")
    elif found.problems:
        yield yellow(f"{what}{when}; their defaults are used")


@CHECKS.add(
    "kill-switch", "Is the kill switch off?", When.STATUS, read_state, needs="tables settings",
    cure=f"{END_KILL_SWITCH}; then leads replay --status {HELD} --drain",
    runbook="docs/runbook/leads-and-tickets.md#pancakekillswitchon",
)  # fmt: skip
def ask_kill_switch(facts: Facts, params: Params) -> Iterator[Finding]:
    for switch in _switches(facts, "kill"):
        if switch.is_on:
            yield red(f"the kill switch is on {since(switch)}: every lead is held")
        else:
            yield green(f"off {since(switch)}")


@CHECKS.add(
    "pause", "Is processing not paused?", When.STATUS, read_state, needs="tables", cure=END_PAUSE,
    runbook="docs/runbook/leads-and-tickets.md#pancakeswitchlefton",
)  # fmt: skip
def ask_pause(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say of the pause since when and by whom it is as it is. Leads wait, and none is lost: it is yellow."""
    for switch in _switches(facts, "pause"):
        if switch.is_on:
            yield yellow(f"processing is paused {since(switch)}: leads wait")
        else:
            yield green(f"off {since(switch)}")


@CHECKS.add(
    "connection", "Is there a connection to Pancake that is enabled?", When.BOTH, read_state, needs="tables",
    cure="leads connection create --name NAME --workspace ID",
    runbook="docs/runbook/install.md#7-the-connection-to-pancake",
)  # fmt: skip
def ask_connection(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    if not state.connections:
        yield red("there is no connection to Pancake: no leads come", is_present=False)
    is_only = all(each.status == "disabled" for each in state.connections)
    for switch in _switches(facts, "connection"):
        name = switch.name or switch.row_id
        if switch.is_on:
            yield green(f"{name} is enabled {since(switch)}", about=name)
        else:
            text = f"connection {name} is disabled {since(switch)}: its leads are held"
            level = Level.RED if is_only else Level.YELLOW
            yield Finding(level, text, f"leads connection enable {quote(name)}", name)


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
    "api-key", "Does Pancake accept the API key of each connection?", When.BOTH, read_keys, read_state,
    needs="tables connection", fine="no connection is in use", cure=TEST_KEY,
    runbook="docs/runbook/webhook-and-pancake.md#pancakeapikeyinvalid",
)  # fmt: skip
def ask_keys(facts: Facts, params: Params) -> Iterator[Finding]:
    for found in facts.get(read_keys).values():
        yield _named(found, facts)


def _named(found: Finding, facts: Facts) -> Finding:
    """Let the command of the cure name the connection, if there are several."""
    state = facts.known(read_state)
    option = f" --connection {quote(found.about)}" if state and len(state.connections) > 1 else ""
    return replace(found, cure=OF_CONNECTION.sub(lambda call: f"{call[0]}{option}", found.cure))


@CHECKS.add(
    "edge-tokens", "Has the edge the tokens of the connections?", When.BOTH, read_edge, read_state,
    needs="edge edge-policy connection", cure=CHECK_POLICY,
    runbook="docs/runbook/edge.md#pancakeedgepolicystale",
)  # fmt: skip
def ask_tokens(facts: Facts, params: Params) -> Iterator[Finding]:
    found, silent = facts.get(read_edge), _silent_since_unknown(facts)
    if not found.connections:
        yield red("its policy has no connection: every token is unknown to it")
    elif silent:
        text = (
            f"it refused {found.unknown_tokens} deliveries in 30 min whose token no connection has, and none "
            f"of {first([each.name for each in silent])} came since"
        )
        is_missed = any(each.status == "silent" for each in silent)
        yield Finding(Level.RED if is_missed else Level.YELLOW, text, ENTER_URL)
    else:
        yield green(f"it has the tokens of {times(found.connections, 'connection')}")


def _silent_since_unknown(facts: Facts) -> list[ConnectionState]:
    """Return the connections whose webhook brought nothing since the edge last refused an unknown token.

    Without a key or an answer of Pancake they bring nothing for another reason.
    """
    edge, state = facts.get(read_edge), facts.known(read_state)
    if edge.unknown_tokens < MANY_UNKNOWN or edge.unknown_token_seconds is None or state is None:
        return []
    refused_at = state.now - timedelta(seconds=edge.unknown_token_seconds)
    return [
        each
        for each in state.connections
        if each.status in MAY_HAVE_ANOTHER_URL
        and (each.last_webhook_at is None or each.last_webhook_at < refused_at)
    ]


@CHECKS.add(
    "webhook", "Does the webhook of each connection bring its leads?", When.STATUS, read_state, read_keys,
    read_edge, needs="tables connection edge-tokens api-key", fine="no connection is in use",
    cure=SWITCH_ON_WEBHOOK,
    runbook="docs/runbook/webhook-and-pancake.md#pancakewebhooksuspended",
)  # fmt: skip
def ask_webhook(facts: Facts, params: Params) -> Iterator[Finding]:
    state, keys, edge = facts.get(read_state), facts.known(read_keys) or {}, facts.known(read_edge)
    for each in state.connections:
        if each.status != "disabled":
            refused = edge and judge_refusals(each, edge, state.now)
            yield refused or _named(_judge_webhook(each, keys.get(each.id), state.now), facts)


def _judge_webhook(each: ConnectionState, key: Finding | None, now: datetime) -> Finding:
    came = f"webhook {age(each.last_webhook_at, now)} ago" if each.last_webhook_at else "no webhook for a day"
    problem = WEBHOOK_PROBLEMS.get(each.status, "")
    if each.status == "key_invalid":
        # What Pancake answers now counts more than the last check.
        if key is None:
            return red(f"{each.name}: {problem}", SET_KEY, each.name)
        if key.level is Level.GREEN:
            text = f"{each.name}: the handlers could not use its API key at the last check; it works here"
            return yellow(text, CHECK_KEY_AGAIN, each.name)
    elif problem:
        level = Level.YELLOW if each.status == "silent" else Level.RED
        cure = SWITCH_ON_WEBHOOK
        if each.status == "outage" and key is not None and key.level is Level.GREEN:
            text = f"{each.name}: Pancake answers again; the next check_connection ends the outage, {came}"
            return yellow(text, CHECK_AGAIN, each.name)
        if each.status == "outage":
            cure = f"Pancake, or the network to it, does not answer; tell marketing; then: {TEST_KEY}"
        return Finding(level, f"{each.name}: {problem}, {came}", cure, each.name)
    return green(f"{each.name}: {came}", about=each.name)


@CHECKS.add(
    "breaker", "Do the handlers call Pancake?", When.STATUS, read_handlers, needs="handlers api-key",
    fine="calls to Pancake are not suspended", cure=TEST_KEY,
    runbook="docs/runbook/webhook-and-pancake.md#pancakecircuitbreakeropenlong",
)  # fmt: skip
def ask_breaker(facts: Facts, params: Params) -> Iterator[Finding]:
    breaker = facts.get(read_handlers).breaker
    if breaker is not None and breaker >= BREAKER_OPEN:
        yield yellow("calls to Pancake are suspended after repeated failures")


@CHECKS.add(
    "sources", "Is a source active?", When.STATUS, read_state, needs="tables connection",
    fine="there is no source yet", cure="leads switch list",
    runbook="docs/runbook/leads-and-tickets.md#pancakesourceoff",
)  # fmt: skip
def ask_sources(facts: Facts, params: Params) -> Iterator[Finding]:
    state, sources = facts.get(read_state), _switches(facts, "source")
    held, listed = state.held, _list_sources(sources, state.held)
    if state.connections and not any(each.active_sources for each in state.connections):
        text = "\n".join(["no source is active: every lead is held", *listed])
        yield red(text, _switch_on_again(sources, sources))
        return
    off = [each for each in sources if each.row_id in held and each.changed_at and not each.is_on]
    for each in off:
        text = f"source {each.name or each.pancake_source_id} is off {since(each)}"
        leads = f"leads held: {count(held[each.row_id], MOST_ROWS)}"
        yield yellow(f"{one_line(text)}; {leads}", _switch_on_again([each], sources))
    if sources and not off:
        yield green("\n".join(listed))


def _switch_on_again(off: Sequence[Switch], sources: Sequence[Switch]) -> str:
    """Return how the source that was switched off last is switched on; empty if none can be."""
    can_be_on = [each for each in off if each.can_be_on]
    if not can_be_on:
        return ""
    never = datetime.min.replace(tzinfo=UTC)
    last = max(can_be_on, key=lambda each: (each.changed_at or never, each.name or each.row_id))
    words = quote(last.name or last.row_id)
    if len({each.connection for each in sources}) > 1:
        words += f" --connection {quote(str(last.connection))}"
    return SOURCE_ON.format(words)


def _list_sources(sources: Sequence[Switch], held: Mapping[str, int]) -> list[str]:
    """Return a line for each source, those that are off first; of many the first ones."""
    listed = sorted(sources, key=lambda switch: switch.is_on)
    lines = []
    for each in listed[:MAX_SOURCES]:
        text = f"{each.name or each.pancake_source_id}: {'on' if each.is_on else 'off'} {since(each)}"
        leads = held.get(each.row_id)
        lines.append(one_line(text) + (f"; leads held: {count(leads, MOST_ROWS)}" if leads else ""))
    if len(listed) > MAX_SOURCES:
        lines.append(f"and {len(listed) - MAX_SOURCES} more: leads switch list")
    return lines


LIMITS = {
    "daily_cap": "reached their daily cap",
    "open_cap": "reached their cap of open tickets",
    "outside_shift": "are outside their shift",
}
RAISE_CAPS = (
    "Settings → Pancake → Rosters: raise the caps, change the shifts, or add members; who set them: "
    "leads history --of roster"
)


@CHECKS.add(
    "rosters", "Is there a member for new tickets?", When.STATUS, read_state,
    needs="tables connection sources",
    cure="Settings → Pancake → Rosters: add members; who took them out: leads history --of roster",
    runbook="docs/runbook/leads-and-tickets.md#pancakeunassignedwaits",
)  # fmt: skip
def ask_rosters(facts: Facts, params: Params) -> Iterator[Finding]:
    rosters = facts.get(read_state).rosters
    empty = [each.source or "default" for each in rosters if not each.members]
    absent = [each.source or "default" for each in rosters if not each.available]
    limited = [each for each in rosters if each.limits]
    if not rosters:
        yield red("there is no roster: new tickets get no owner")
    elif empty:
        yield red(f"no active member: {', '.join(empty)}; new tickets get no owner")
    elif absent:
        text = f"no member on duty: {', '.join(absent)}; new tickets get no owner"
        yield yellow(text, "Put staff on duty, or add members in Settings")
    elif limited:
        named = " or ".join(
            LIMITS[limit] for limit in sorted({limit for each in limited for limit in each.limits or ()})
        )
        text = f"all members on duty {named}: {', '.join(each.source or 'default' for each in limited)}"
        yield yellow(f"{text}; new tickets get no owner", RAISE_CAPS)
    else:
        yield green(f"{times(len(rosters), 'roster')}, each with members who may get tickets")


@CHECKS.add(
    "crons", "Have the crons run in time?", When.STATUS, read_state, read_handlers,
    needs="database tables hasura metadata schedule role-rights role-settings handlers calls api-key webhook",
    cure="leads cron list", runbook="docs/runbook/crons-and-engine.md#pancakecronmissed", is_symptom=True,
)  # fmt: skip
def ask_crons(facts: Facts, params: Params) -> Iterator[Finding]:
    state, handlers = facts.get(read_state), facts.known(read_handlers)
    schedules = {name: Schedule.parse(text) for name, text in read_expressions().items()}
    missed = [each for each in state.crons if each.late_since(schedules[each.name], state.now) is not None]
    if handlers and (started_at := handlers.started_at):
        # The first ticks after that are still to come.
        since = [max(started_at, each.recovered_at or started_at) for each in missed]
        missed = [replace(each, recovered_at=at) for each, at in zip(missed, since, strict=True)]
    ticks = {each.name: each.waits_until(schedules[each.name], state.now) for each in missed}
    late = [each for each in missed if ticks[each.name] is None]
    waiting = sum(each.succeeded_tick is None for each in state.crons)
    if missed and not late:
        recovered_at, tick = missed[0].recovered_at, max(tick for tick in ticks.values() if tick)
        over = f"they are answered again since {recovered_at:%H:%M}, and all are due until {tick:%H:%M} UTC"
        yield yellow(f"{times(len(missed), 'cron')} missed ticks; {over}")
    elif late:
        first = late[0]
        ago = f"it succeeded {age(first.succeeded_at, state.now)} ago" if first.succeeded_at else NEVER
        error = f" ({first.last_error[:80]})" if first.last_error and first.last_outcome == "failed" else ""
        others = len(late) - 1
        more = f"; {others} more {'is' if others == 1 else 'are'} late" if others else ""
        cure = "leads cron list" if more else f"leads cron run {first.name}"
        text = f"{first.name} is late: {ago}{error}{more}"
        yield red(text, CHECK_CALLS if len(late) == len(state.crons) else cure)
    elif waiting:
        done = len(state.crons) - waiting
        yield green(f"{done} succeeded in time, the first ticks of {waiting} are still to come")
    else:
        yield green(f"all {len(state.crons)} succeeded in time")


def read_expressions() -> dict[str, str]:
    """Read the cron expressions of our metadata by name, without `pancake_`. Raises WrongUsage."""
    crons = own_metadata()["cron_triggers"]
    return {each["name"].removeprefix("pancake_"): each["schedule"] for each in crons}


@CHECKS.add(
    "queue", "Are stored leads processed?", When.STATUS, read_state,
    needs="database tables hasura event-trigger role-rights role-settings calls handlers crons",
    cure="leads cron run retry_failed", is_symptom=True,
    runbook="docs/runbook/leads-and-tickets.md#pancakeleadwaits",
)  # fmt: skip
def ask_queue(facts: Facts, params: Params) -> Iterator[Finding]:
    """Count what is not processed. What waits too long is overdue, unless a switch lets it wait.

    A source that was never on holds its leads by rule.
    """
    state = facts.get(read_state)
    by_status = {each.status: each for each in state.queue}
    parts = [
        f"{each.status} {count(each.events, MOST_ROWS)} (oldest {age(each.oldest_at, state.now)})"
        for each in sorted(state.queue, key=lambda each: each.status)
    ]
    text = ", ".join(parts) or "nothing waits"
    late = sum(each.late for each in state.queue)
    never_on = {each.row_id for each in _switches(facts, "source") if each.changed_at is None}
    waits = {HELD: True, DISABLED_SOURCE: bool(state.held.keys() - never_on)}
    held = [status for status, is_to_do in waits.items() if is_to_do and status in by_status]
    if late and _drains(state):
        drains = f"a backlog is being processed, one event at {state.tickets.drained_at:%H:%M:%S} UTC: {text}"
        yield yellow(drains, "Wait until it is done; then: leads status")
    elif late and not _is_stopped(facts):
        yield red(f"{count(late, MOST_ROWS)} overdue: {text}")
    elif held and not _is_stopped(facts):
        yield yellow(text, f"leads replay --status {held[0]} --dry-run")
    else:
        yield green(text)


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
    runbook="docs/runbook/leads-and-tickets.md#pancakeunassignedwaits", is_symptom=True,
)  # fmt: skip
def ask_unassigned(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found = state.unassigned
    if found.tickets:
        oldest = age(found.oldest_at, state.now)
        have = "ticket has" if found.tickets == 1 else "tickets have"
        yield yellow(f"{count(found.tickets, MOST_ROWS)} open {have} no owner, the oldest for {oldest}")


@CHECKS.add(
    "unsent", "Was every notification accepted?", When.STATUS, read_state, read_handlers, read_token,
    needs="database tables hasura notifications allow-list handlers", fine="every notification was accepted",
    cure="If the call is allowed, ask Diva about its service of notifications: leads doctor",
    runbook="docs/runbook/leads-and-tickets.md#notifications-that-were-given-up", is_symptom=True,
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
    if found.given_up_at:
        text += f"; {found.given_up} given up in the last day, the last at {found.given_up_at:%H:%M} UTC"
    is_old = found.oldest_at is not None and state.now - found.oldest_at > UNSENT
    if is_old or found.given_up or found.reason == REFUSED:
        yield yellow(text)
    elif found.unsent:
        yield green(text)


def _refused_by(facts: Facts) -> str:
    """Say who answered a notification with an error: Hasura, or the service behind it."""
    handlers, token = facts.known(read_handlers), facts.known(read_token)
    state = (handlers and handlers.ready) or (token and token.state) or {}
    if state.get("allow_list") is False:
        return "the allow list of Hasura stops the call"
    if state.get("notifications") is False:
        return "Hasura does not let pancake_service call sendNotifications"
    if state.get("notifications"):
        return "Hasura passes the call on, and Diva's service of notifications answered with an error"
    return Words().word("unsent", REFUSED)


@CHECKS.add(
    "tickets", "Do leads become tickets, as many as usual?", When.STATUS, read_state,
    needs="database tables hasura event-trigger role-rights role-settings calls handlers edge edge-tokens "
    "kill-switch connection api-key webhook sources queue locks",
    cure="leads tail", runbook="docs/runbook/leads-and-tickets.md#tickets-have-stopped", is_symptom=True,
    is_result=True,
)  # fmt: skip
def ask_tickets(facts: Facts, params: Params) -> Iterator[Finding]:
    state = facts.get(read_state)
    found, usual = state.tickets, state.tickets.usual or 0.0
    parts = [f"{found.tickets} new in 10 min of {times(found.leads, 'lead')}"]
    parts += [f"{found.waiting} waiting"] * bool(found.waiting)
    parts += [f"{found.held} held"] * bool(found.held)
    text = f"{', '.join(parts)}, usual now: {usual:.0f}"
    if found.failing:
        yield _judge_failing(found, text)
    elif usual >= LEAST_USUAL and found.tickets == 0:
        yield _judge_none(state, text)
    elif usual >= 2 * LEAST_USUAL and found.tickets < FEW_SHARE * usual:
        yield yellow(text)
    else:
        yield green(text)


def _judge_none(state: State, text: str) -> Finding:
    """Judge that there is no new ticket: red, unless an outage was within the ten minutes, or no lead came.

    A Sunday or holiday has fewer leads than is usual; of a path that fails other checks are red.
    """
    recovered_at = state.crons[0].recovered_at if state.crons else None
    if _drains(state):
        return yellow(f"{text}; a backlog is being processed first")
    if recovered_at and state.now - recovered_at < TICKETS_OF:
        return yellow(f"{text}; an outage is over since {recovered_at:%H:%M} UTC")
    if not state.tickets.leads:
        return yellow(f"no lead came: {text}")
    return red(text)


def _judge_failing(found: Tickets, text: str) -> Finding:
    """Judge leads that failed: red if none was processed after the last of at least two tries."""
    failed_at, processed_at = found.failed_at, found.processed_at
    reason = one_line((found.reason or "no reason")[:MAX_REASON])
    dead = f", {found.dead} for the last time" if found.dead else ""
    text = f"{times(found.failing, 'lead')} failed{dead} ({reason}); {text}"
    if failed_at and processed_at and processed_at > failed_at:
        over = f"; the last failed at {failed_at:%H:%M} UTC, others are processed since"
        return yellow(text + over, "Each is tried again by itself; at once: leads replay --status failed")
    code, _, detail = (found.reason or "").partition(": ")
    replay = f"leads replay --status {f'dead_letter --error-code {code}' if found.dead else 'failed'}"
    cure = (
        of_cause(Words(), code, detail, replay) or f"read why, and what helps: leads trace {found.failed_id}"
    )
    cure = cure[0].upper() + cure[1:]
    return Finding(Level.RED if found.tries >= MANY_TRIES else Level.YELLOW, text, cure)
