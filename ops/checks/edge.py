"""What is asked of the edge, by its internal listener, and of the clocks of all machines."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops.checks.database import read_server
from ops.checks.engine import read_clock
from ops.checks.handlers import read_handlers
from ops.checks.model import Checks, Facts, Finding, Level, NotRead, Params, When
from ops.checks.services import REQUEST_SECONDS, Services, through_restart
from ops.clients.plain_http import NoAnswer, ask

CHECKS = Checks()
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""Tokens, ticks and leases compare times of different machines."""
MANY_SPOOLED = 100
"""So many deliveries on disk are more than a short fault of the path behind the edge leaves."""
OLD_POLICY_SECONDS = 300
START_EDGE = "On its machine: systemctl start pancake-edge"
CHECK_POLICY = (
    "Check EDGE_SECRET, HANDLERS_URL and the resolver of the edge; "
    "on its machine: tail /var/log/pancake-edge/error.log"
)
CHECK_PATHS = (
    "Both answer here. On its machine correct HASURA_URL or HANDLERS_URL in edge.env, or the resolver in "
    "http.conf, then: systemctl restart pancake-edge"
)
CHECK_HASURA_PATH = (
    "Hasura answers here. If it reaches the handlers, correct HASURA_URL of the edge and restart it; "
    "whether it does: leads metadata verify 9b --probe"
)
CHECK_DIRECT_PATH = "Correct HANDLERS_URL of the edge, then on its machine: systemctl restart pancake-edge"
LIST_SPOOL = "leads edge-spool list --folder spool"
LIST_QUARANTINE = "leads edge-spool list --folder quarantine"
CHECK_DISK = "The administrator of its machine makes room there: df -h /var/lib/pancake-edge"


@dataclass(frozen=True, slots=True)
class EdgeLook:
    """What /healthz and /metrics of the edge's internal listener say."""

    spooled: int
    quarantined: int
    is_writable: bool
    connections: int
    policy_age_seconds: float | None
    skipped: tuple[str, ...]
    """The paths that the edge skips now because they fail: `hasura`, `handlers`."""
    seconds: float
    date: datetime | None = None
    """The clock of its machine."""
    failures: int = 0
    """The errors that it answered Pancake within 30 minutes."""


def read_edge(services: Services) -> EdgeLook:
    """Ask the internal listener of the edge at EDGE_STATUS_URL."""
    url = services.need("EDGE_STATUS_URL", services.settings.edge_status_url)
    return through_restart(lambda: look_at_edge(url))


def look_at_edge(url: str) -> EdgeLook:
    """Ask the edge. Raises NoAnswer."""
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    found = health.json if isinstance(health.json, dict) else {}
    if "spool_files" not in found or metrics.status != 200:
        raise NoAnswer(f"{url} does not answer as the edge's internal listener does")
    skipped = re.findall(r'^pancake_edge_upstream_skipped\{upstream="(\w+)"\} 1$', metrics.text, re.MULTILINE)
    quarantined = re.search(
        r'^pancake_edge_spool_files\{folder="quarantine"\} (\d+)', metrics.text, re.MULTILINE
    )
    return EdgeLook(
        spooled=int(found["spool_files"]),
        quarantined=int(quarantined[1]) if quarantined else 0,
        is_writable=found.get("spool_writable") is not False,
        connections=int(found.get("policy_connections") or 0),
        policy_age_seconds=found.get("policy_age_seconds"),
        skipped=tuple(skipped),
        seconds=health.seconds,
        date=health.date,
        failures=sum(
            map(int, re.findall(r"^pancake_edge_budget_used\{.*\} (\d+)", metrics.text, re.MULTILINE))
        ),
    )


@CHECKS.add(
    "edge", "Does the edge answer, and can it write its spool?", When.BOTH, read_edge, cure=START_EDGE,
    runbook="docs/runbook/edge.md#pancakeedgedown", away=Level.RED,
)  # fmt: skip
def ask_edge(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if found.is_writable:
        yield Finding(Level.GREEN, f"it answers, {found.seconds * 1000:.0f} ms")
    else:
        answered = f"; {found.failures} in the last 30 min" if found.failures else ""
        text = f"its spool cannot be written: what it cannot hand over, Pancake is answered 503{answered}"
        yield Finding(Level.RED, text, CHECK_DISK)


@CHECKS.add(
    "spool", "Does the edge hand over what it gets?", When.BOTH, read_edge,
    needs="edge hasura handlers calls", fine="nothing waits on its disk", cure=LIST_SPOOL,
    runbook="docs/runbook/edge.md#pancakeedgespoolstuck",
)  # fmt: skip
def ask_spool(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    waits = "delivery waits" if found.spooled == 1 else "deliveries wait"
    parts = [f"{found.spooled} {waits} on its disk"] * bool(found.spooled)
    parts += [f"{found.quarantined} in quarantine"] * bool(found.quarantined)
    if len(found.skipped) == 1 and not found.spooled:
        # The other path takes them; an edge without deliveries does not try this one.
        parts.append(f"the last deliveries did not get through by {found.skipped[0]}, the next one tries it")
    elif found.skipped:
        parts.append(f"it does not reach {' and '.join(found.skipped)}")
    parts += [f"{found.failures} were answered with an error in 30 min"] * bool(found.failures)
    parts += ["it hands over what waits"] * (found.spooled > 0 and not found.skipped)
    is_red = len(found.skipped) > 1 or (found.spooled >= MANY_SPOOLED and bool(found.skipped))
    cure = _check_paths(found.skipped) or (LIST_SPOOL if found.spooled else LIST_QUARANTINE)
    if is_red or found.spooled or found.quarantined or found.skipped:
        yield Finding(Level.RED if is_red else Level.YELLOW, ", ".join(parts), cure)


def _check_paths(skipped: tuple[str, ...]) -> str:
    if len(skipped) > 1:
        return CHECK_PATHS
    return {(): "", ("hasura",): CHECK_HASURA_PATH, ("handlers",): CHECK_DIRECT_PATH}[skipped]


@CHECKS.add(
    "clocks", "Do the clocks of the machines agree?", When.BOTH, read_server, read_clock, read_handlers,
    read_edge, cure="Synchronize that machine's clock: timedatectl set-ntp true",
    runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
)  # fmt: skip
def ask_clocks(facts: Facts, params: Params) -> Iterator[Finding]:
    differences = _clock_differences(facts)
    if not differences:
        yield Finding(Level.UNKNOWN, "no other clock could be read", is_read=False)
        return
    wrong = {name: each for name, each in differences.items() if abs(each) > MAX_CLOCK_DIFFERENCE}
    if (
        len(wrong) == len(differences) > 1
        and max(wrong.values()) - min(wrong.values()) <= MAX_CLOCK_DIFFERENCE
    ):
        # The others agree: it is the clock of this machine, which no lead depends on.
        seconds = -wrong.pop(min(wrong, key=lambda name: abs(wrong[name]))).total_seconds()
        where = "ahead of" if seconds > 0 else "behind"
        text = f"the clock of this machine is {abs(seconds):.0f} s {where} those of {', '.join(differences)}"
        yield Finding(Level.YELLOW, text, "Synchronize the clock of this machine: timedatectl set-ntp true")
        return
    for name, difference in wrong.items():
        seconds = difference.total_seconds()
        where = "ahead of" if seconds > 0 else "behind"
        yield Finding(Level.RED, f"the clock of {name} is {abs(seconds):.0f} s {where} this one", about=name)
    if not wrong:
        yield Finding(Level.GREEN, f"{', '.join(differences)} and this machine agree within 5 s")


def _clock_differences(facts: Facts) -> dict[str, timedelta]:
    found: dict[str, timedelta] = {}
    try:
        database = facts.get(read_server)
        found["database"] = database.server.now - database.asked_at
    except NotRead:
        pass
    others: dict[str, Callable[[], datetime | None]] = {
        "Hasura": lambda: facts.get(read_clock),
        "the handlers": lambda: facts.get(read_handlers).health.date,
        "the edge": lambda: facts.get(read_edge).date,
    }
    for name, read in others.items():
        try:
            time = read()
        except NotRead:
            continue
        if time is not None:
            found[name] = time - datetime.now(UTC)
    return found


@CHECKS.add(
    "edge-policy", "Has the edge a policy of the handlers?", When.BOTH, read_edge, needs="edge handlers",
    fine="it has one", cure=CHECK_POLICY, runbook="docs/runbook/edge.md#pancakeedgepolicystale",
)  # fmt: skip
def ask_policy(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    age = found.policy_age_seconds
    if found.connections == 0 and age is None:
        yield Finding(Level.RED, "it has no policy of the handlers: every token is unknown to it")
    elif age is not None and age > OLD_POLICY_SECONDS:
        text = f"its policy is {age:.0f} s old: the handlers do not give it a new one"
        yield Finding(Level.YELLOW, text)
