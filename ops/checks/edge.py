"""What is asked of the edge, by its internal listener, and of the clocks of all machines."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ops.checks.database import ConnectionState, read_server, run_sql
from ops.checks.engine import read_clock
from ops.checks.handlers import MIN_TOKEN_DAYS, HandlersLook, read_handlers
from ops.checks.model import Checks, Facts, Finding, Level, Params, When, green, red, unknown, yellow
from ops.checks.services import REQUEST_SECONDS, Services, through_restart
from ops.clients.plain_http import NoAnswer, ask
from ops.output import times

CHECKS = Checks()
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""Tokens, ticks and leases compare times of different machines."""
MANY_SPOOLED = 100
"""So many deliveries on disk are more than a short fault of the path behind the edge leaves."""
OLD_POLICY_SECONDS = 300
CHECK_POLICY = (
    "Check EDGE_SECRET, HANDLERS_URL and the resolver of the edge; "
    "on its machine: tail /var/log/pancake-edge/error.log"
)
CHECK_BOTH_PATHS = (
    "Both answer here. On its machine correct HASURA_URL or HANDLERS_URL in edge.env, or the resolver in "
    "http.conf, then: systemctl restart pancake-edge"
)
CHECK_PATH = {
    "hasura": "Hasura answers here. If it reaches the handlers, correct HASURA_URL of the edge and restart "
    "it; whether it does: leads metadata verify 9b --probe",
    "handlers": "Correct HANDLERS_URL of the edge, then on its machine: systemctl restart pancake-edge",
}
CHECK_ANSWERS = "It reaches them, and they take no deliveries; their logs say why, and: leads doctor"
MANY_REFUSED = 2
"""From this number of deliveries on, they are not a single attempt of a stranger who has the URL."""
REFUSALS = {
    "ip_not_allowed": ("their address is not in its allowlist", "allowlist_mode", "its ranges are"),
    "secret_invalid": ("they lack its header secret", "signature_mode", "the header in Pancake is"),
    "hmac_invalid": ("their signature is wrong", "signature_mode", "the secret of the sender is"),
    "timestamp_out_of_window": ("their time is not that of the edge", "signature_mode", "the clocks are"),
}
"""By the outcome with which the edge refuses a delivery: why, by which mode, and what has to be corrected."""
DRAINS_SECONDS = 5.0
"""An edge that handed over a delivery within this time has a path."""
LIST_SPOOL = "leads edge-spool list --folder spool"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Deliveries of a connection that the edge refused in 30 minutes; `outcome` is that of the last one."""

    deliveries: int
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class EdgeLook:
    """What /healthz and /metrics of the edge's internal listener say.

    `skipped` are the paths that it skips now because they fail: `hasura`, `handlers`; `failed_with` the HTTP
    status that each answered, 0 without one. `delivered_seconds` ago one took a delivery. `failures` are the
    errors that it answered Pancake within 30 minutes; `unknown_tokens` the deliveries that it refused in that
    time because no connection has their token, `unknown_token_seconds` the time since the last of them;
    `refused` those with the token of a connection, by its id. `token_ends` is when its token for Hasura ends,
    as Unix time; 0 if that does not say.
    """

    spooled: int
    quarantined: int
    is_writable: bool
    connections: int
    policy_age_seconds: float | None
    skipped: tuple[str, ...]
    seconds: float
    clock_ahead: timedelta | None = None
    failures: int = 0
    unknown_tokens: int = 0
    unknown_token_seconds: float | None = None
    failed_with: Mapping[str, int] = field(default_factory=dict)
    delivered_seconds: float | None = None
    refused: Mapping[str, Refusals] = field(default_factory=dict)
    token_ends: int = 0


def read_edge(services: Services) -> EdgeLook:
    url = services.need("EDGE_STATUS_URL")
    return through_restart(lambda: look_at_edge(url))


def look_at_edge(url: str) -> EdgeLook:
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    found = health.json if isinstance(health.json, dict) else {}
    if "spool_files" not in found or metrics.status != 200:
        raise NoAnswer(f"{url} does not answer as the edge's internal listener does")

    def find(pattern: str) -> list[str]:
        return re.findall(f"^{pattern}", metrics.text, re.MULTILINE)

    return EdgeLook(
        spooled=int(found["spool_files"]),
        quarantined=sum(map(int, find(r'pancake_edge_spool_files\{folder="quarantine"\} (\d+)'))),
        is_writable=found.get("spool_writable") is not False,
        connections=int(found.get("policy_connections") or 0),
        policy_age_seconds=found.get("policy_age_seconds"),
        skipped=tuple(find(r'pancake_edge_upstream_skipped\{upstream="(\w+)"\} 1$')),
        seconds=health.seconds,
        clock_ahead=health.clock_ahead,
        failures=sum(map(int, find(r"pancake_edge_budget_used\{.*\} (\d+)"))),
        unknown_tokens=int(found.get("unknown_tokens") or 0),
        unknown_token_seconds=found.get("unknown_token_seconds"),
        failed_with=found.get("skipped") or {},
        delivered_seconds=found.get("delivered_seconds"),
        refused={
            name: Refusals(each["deliveries"], each["outcome"], each["seconds"])
            for name, each in (found.get("refused") or {}).items()
        },
        token_ends=sum(map(int, find(r"pancake_edge_token_ends_timestamp_seconds (\d+)"))),
    )


@CHECKS.add(
    "edge", "Does the edge answer, and can it write its spool?", When.BOTH, read_edge, away=Level.RED,
    cure="On its machine: systemctl start pancake-edge", runbook="docs/runbook/edge.md#pancakeedgedown",
)  # fmt: skip
def ask_edge(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if found.is_writable:
        yield green(f"it answers, {found.seconds * 1000:.0f} ms")
    else:
        answered = f"; {found.failures} in the last 30 min" if found.failures else ""
        text = f"its spool cannot be written: what it cannot hand over, Pancake is answered 503{answered}"
        yield red(text, "The administrator of its machine makes room there: df -h /var/lib/pancake-edge")


@CHECKS.add(
    "edge-jwt", "Is the token of the edge valid for two weeks?", When.BOTH, read_edge, needs="edge",
    fine="it does not say when it ends",
    cure="Make one, then restart the edge with it: leads token pancake_edge --into edge.env",
    runbook="docs/runbook/crons-and-engine.md#pancaketokenends",
)  # fmt: skip
def ask_token_of_edge(facts: Facts, params: Params) -> Iterator[Finding]:
    ends = facts.get(read_edge).token_ends
    days = (ends - time.time()) / 86_400
    if ends and days < 0:
        yield red("HASURA_EDGE_TOKEN has ended: Hasura refuses what the edge hands over")
    elif ends and days < MIN_TOKEN_DAYS:
        yield yellow(f"HASURA_EDGE_TOKEN ends in {days:.0f} days")
    elif ends:
        yield green(f"valid for {days:.0f} days more")


@CHECKS.add(
    "spool", "Does the edge hand over what it gets?", When.BOTH, read_edge, read_handlers,
    needs="edge edge-jwt database tables hasura allow-list role-rights role-settings handlers calls",
    fine="nothing waits on its disk", cure=LIST_SPOOL,
    runbook="docs/runbook/edge.md#pancakeedgespoolstuck",
)  # fmt: skip
def ask_spool(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if _is_spare_idle(found, facts.known(read_handlers)) or _drains(found):
        found = replace(found, skipped=())
    waiting = times(found.spooled, "delivery waits", "deliveries wait")
    parts = [f"{waiting} on its disk"] * bool(found.spooled)
    parts += [f"{found.quarantined} in quarantine"] * bool(found.quarantined)
    if len(found.skipped) == 1 and not found.spooled:
        # The other path takes them; an edge without deliveries does not try this one.
        parts.append(f"the last deliveries did not get through by {found.skipped[0]}, the next one tries it")
    elif found.skipped:
        parts.append(_describe_skipped(found))
    parts += [f"{found.failures} were answered with an error in 30 min"] * bool(found.failures)
    parts += ["it hands over what waits"] * (found.spooled > 0 and not found.skipped)
    is_red = len(found.skipped) > 1 or (found.spooled >= MANY_SPOOLED and bool(found.skipped))
    cure = LIST_SPOOL if found.spooled else "leads edge-spool list --folder quarantine"
    if found.skipped:
        cure = CHECK_PATH[found.skipped[0]] if len(found.skipped) == 1 else CHECK_BOTH_PATHS
        cure = CHECK_ANSWERS if _answered(found) == len(found.skipped) else cure
    if is_red or found.spooled or found.quarantined or found.skipped:
        yield Finding(Level.RED if is_red else Level.YELLOW, ", ".join(parts), cure)


def _answered(found: EdgeLook) -> int:
    return sum(bool(found.failed_with.get(name)) for name in found.skipped)


def _describe_skipped(found: EdgeLook) -> str:
    if not _answered(found):
        return f"it does not reach {' and '.join(found.skipped)}"
    statuses = ((name, found.failed_with.get(name)) for name in found.skipped)
    told = (
        f"{name} answers HTTP {status}" if status else f"{name} does not answer" for name, status in statuses
    )
    return f"not taken: {', '.join(told)}"


def _drains(found: EdgeLook) -> bool:
    return (
        found.spooled > 0 and found.delivered_seconds is not None and found.delivered_seconds < DRAINS_SECONDS
    )


def _is_spare_idle(found: EdgeLook, handlers: HandlersLook | None) -> bool:
    """Say whether the edge skips its spare path only because nothing has tried it since a fault that is over.

    Deliveries take the path through Hasura. A fresh policy shows that the handlers of the spare path answer.
    """
    has_policy = found.policy_age_seconds is not None and found.policy_age_seconds <= OLD_POLICY_SECONDS
    is_ready = handlers is not None and False not in (handlers.ready or {}).values()
    return found.skipped == ("handlers",) and not found.spooled and has_policy and is_ready


def judge_refusals(each: ConnectionState, edge: EdgeLook, now: datetime) -> Finding | None:
    """Name what the edge refuses of a connection by what that enforces now, if none came since."""
    refused = edge.refused.get(each.id)
    if refused is None or refused.outcome not in REFUSALS or refused.deliveries < MANY_REFUSED:
        return None
    why, mode, what = REFUSALS[refused.outcome]
    refused_at = now - timedelta(seconds=refused.seconds)
    has_come_since = each.last_webhook_at is not None and each.last_webhook_at > refused_at
    if has_come_since or getattr(each, mode) != "enforce":
        return None
    text = (
        f"{each.name}: the edge refuses its deliveries, {why}: {refused.deliveries} in 30 min, the last "
        f"{refused.seconds:.0f} s ago, and none came since"
    )
    let_in = run_sql(
        f"UPDATE pancake_connection SET {mode} = $$monitor$$ WHERE id = $${each.id}$$"  # noqa: S608 - to be read
    )
    return red(text, f"Let them in until {what} right; as the owner: {let_in}", each.name)


@CHECKS.add(
    "clocks", "Do the clocks of the machines agree?", When.BOTH, read_server, read_clock, read_handlers,
    read_edge, cure="Synchronize that machine's clock: timedatectl set-ntp true",
    runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
)  # fmt: skip
def ask_clocks(facts: Facts, params: Params) -> Iterator[Finding]:
    differences = _clock_differences(facts)
    if not differences:
        yield unknown("no other clock could be read", is_read=False)
        return
    wrong = {name: each for name, each in differences.items() if abs(each) > MAX_CLOCK_DIFFERENCE}
    if (
        len(wrong) == len(differences) > 1
        and max(wrong.values()) - min(wrong.values()) <= MAX_CLOCK_DIFFERENCE
    ):
        # The others agree: it is the clock of this machine, which no lead depends on.
        least = -wrong.pop(min(wrong, key=lambda name: abs(wrong[name])))
        text = f"the clock of this machine is {_describe(least)} those of {', '.join(differences)}"
        yield yellow(text, "Synchronize the clock of this machine: timedatectl set-ntp true")
        return
    for name, difference in wrong.items():
        yield red(f"the clock of {name} is {_describe(difference)} this one", about=name)
    if not wrong:
        yield green(f"{', '.join(differences)} and this machine agree within 5 s")


def _describe(difference: timedelta) -> str:
    seconds = difference.total_seconds()
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _clock_differences(facts: Facts) -> dict[str, timedelta]:
    database, handlers = facts.known(read_server), facts.known(read_handlers)
    edge = facts.known(read_edge)
    found = {
        "database": database.now - database.asked_at if database else None,
        "Hasura": facts.known(read_clock),
        "the handlers": handlers.health.clock_ahead if handlers else None,
        "the edge": edge.clock_ahead if edge else None,
    }
    return {name: ahead for name, ahead in found.items() if ahead is not None}


@CHECKS.add(
    "edge-policy", "Has the edge a policy of the handlers?", When.BOTH, read_edge, needs="edge handlers",
    fine="it has one", cure=CHECK_POLICY, runbook="docs/runbook/edge.md#pancakeedgepolicystale",
)  # fmt: skip
def ask_policy(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    age = found.policy_age_seconds
    if found.connections == 0 and age is None:
        yield red("it has no policy of the handlers: every token is unknown to it")
    elif age is not None and age > OLD_POLICY_SECONDS:
        yield yellow(f"its policy is {age:.0f} s old: the handlers do not give it a new one")
