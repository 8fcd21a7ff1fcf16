"""Look at the handlers and at the edge, by what they answer without a secret."""

import re
from dataclasses import dataclass
from datetime import datetime

from ops.clients.plain_http import HttpAnswer, NoAnswer, ask
from ops.probes.lines import Level, Line
from ops.probes.running import REQUEST_SECONDS, Failure

HANDLERS, EDGE = "handlers", "edge"
MANY_SPOOLED = 100
"""So many deliveries on disk are more than a short fault of the path behind the edge leaves."""
OLD_POLICY_SECONDS = 300
START_HANDLERS = "Look at their log, and start them again: pancake-handlers"
CHECK_HANDLERS = "Check DATABASE_URL in the environment of the handlers: leads config show"
CHECK_POLICY = (
    "Check EDGE_SECRET and HANDLERS_URL of the edge; on its machine: tail /var/log/pancake-edge/error.log"
)
CHECK_DISK = "docs/runbook/edge.md, PancakeEdgeSpoolUnwritable; on its machine: df -h /var/lib/pancake-edge"
START_EDGE = "On its machine: systemctl status pancake-edge"
BREAKER = re.compile(r"^pancake_circuit_breaker_state\{[^}]*\} ([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HandlersLook:
    """What the handlers answer. `ready` and `breaker` (2: open) are None if they are at another address."""

    health: HttpAnswer
    ready: dict[str, bool | None] | None
    breaker: float | None


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


def look_at_handlers(url: str) -> HandlersLook:
    """Ask a process of the handlers. Raises NoAnswer."""
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    if health.status != 200:
        raise NoAnswer(f"{url}/healthz answers {health.status}")
    ready = ask(f"{url}/readyz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    breaker = BREAKER.search(metrics.text) if metrics.status == 200 else None
    return HandlersLook(
        health=health,
        ready=ready.json if isinstance(ready.json, dict) and "database" in ready.json else None,
        breaker=float(breaker[1]) if breaker else None,
    )


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
    )


def judge_handlers(look: HandlersLook | Failure | None) -> Line:
    """Say whether the handlers answer, and what they say of database and token."""
    if look is None:
        return Line(HANDLERS, Level.UNKNOWN, "not looked at: HANDLERS_URL is not set")
    if isinstance(look, Failure):
        return Line(HANDLERS, Level.RED, look.reason, START_HANDLERS)
    ready = look.ready or {}
    if ready.get("database") is False:
        text = "they answer, but do not reach the database"
        return Line(HANDLERS, Level.RED, text, CHECK_HANDLERS)
    if ready.get("notifications") is False:
        text = "they may not call sendNotifications: their token has ended, or the permission is missing"
        return Line(HANDLERS, Level.RED, text, "leads token pancake_service")
    version = look.health.json.get("version", "unknown") if isinstance(look.health.json, dict) else "unknown"
    return Line(HANDLERS, Level.GREEN, f"version {version}, {look.health.seconds * 1000:.0f} ms")


def judge_edge(look: EdgeLook | Failure | None) -> Line:
    """Say whether the edge takes deliveries and hands them over."""
    if look is None:
        return Line(EDGE, Level.UNKNOWN, "not looked at: EDGE_STATUS_URL is not set")
    if isinstance(look, Failure):
        return Line(EDGE, Level.RED, look.reason, START_EDGE)
    if not look.is_writable:
        return Line(EDGE, Level.RED, "its spool cannot be written", CHECK_DISK)
    if look.connections == 0:
        text = "it has no policy of the handlers: every token is unknown to it"
        return Line(EDGE, Level.RED, text, CHECK_POLICY)
    skipped = f"; it skips the path to {', '.join(look.skipped)}" if look.skipped else ""
    if look.spooled >= MANY_SPOOLED or len(look.skipped) > 1:
        text = f"{look.spooled} deliveries wait on its disk{skipped}"
        return Line(EDGE, Level.RED, text, "leads edge-spool list")
    if look.policy_age_seconds is not None and look.policy_age_seconds > OLD_POLICY_SECONDS:
        text = f"its policy is {look.policy_age_seconds:.0f} s old: the handlers do not give it a new one"
        return Line(EDGE, Level.YELLOW, text, CHECK_POLICY)
    if look.spooled or look.quarantined or look.skipped:
        text = f"{look.spooled} deliveries wait on its disk, {look.quarantined} in quarantine{skipped}"
        return Line(EDGE, Level.YELLOW, text, "leads edge-spool list")
    return Line(EDGE, Level.GREEN, f"nothing waits on its disk, {look.seconds * 1000:.0f} ms")
