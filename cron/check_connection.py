"""Check each connection's API key and webhook; store its status with the history of its changes.

Also notify the admins of settings that cannot be read, and of connections that operators disabled or enabled.

Called by: cron trigger `pancake_check_connection`, every 5 minutes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256

from leads.adapters.database import Statement
from leads.adapters.logs import LOGGER
from leads.domain.health import ALIVE, REJECTED, UNAVAILABLE, Signs, judge
from leads.domain.reports import ConnectionReport
from leads.runtime import Runtime
from leads.services.connections import Connection, load_connections
from leads.services.cron_work import AdminNotice, CronReport, CronRun, for_each, problems

PROBE_OF_ERROR = {
    "secret_unreadable": REJECTED,
    "host_not_allowed": REJECTED,
    "pancake_key_rejected": REJECTED,
    "pancake_refused": UNAVAILABLE,
    "pancake_unavailable": UNAVAILABLE,
    "breaker_open": UNAVAILABLE,
}
"""What an error of the probe says about key and Pancake. Any other error is internal and says nothing."""


class ProbeReport(ConnectionReport, total=False):
    """How many sources the workspace lists; absent if the probe failed."""

    sources: int


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one connection: status before and after, and the signs that led to it."""

    connection_id: str
    name: str
    before: str
    after: str
    signs: Signs

    def report(self) -> dict[str, object]:
        return {
            "connection_id": self.connection_id,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            **asdict(self.signs),
        }


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """A row of check_connection/list_status_changes: an operator disabled or enabled a connection."""

    key: str
    connection_id: str
    name: str
    before: str
    after: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """The row of check_connection/load_previous; empty without a previous run."""

    failed_probes: Mapping[str, int] = field(default_factory=dict)
    settings_digest: str | None = None
    notified_changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SettingProblems:
    """The row of check_connection/load_settings: a text for each setting that has another value than stored.

    The texts quote stored values, so only the admins get them; logs and answers have the names.
    """

    problems: list[str]

    @property
    def names(self) -> list[str]:
        return [problem.split(" ", 1)[0] for problem in self.problems]

    @property
    def digest(self) -> str | None:
        """A digest that changes when a stored value changes; None without a problem."""
        return sha256("\n".join(self.problems).encode()).hexdigest() if self.problems else None

    def report(self) -> dict[str, object]:
        return {"unreadable": self.names, "digest": self.digest}

    def notices(self, run: CronRun, digest_before: str | None) -> Sequence[AdminNotice]:
        """Return the notice for the admins, and log a line, unless the previous run found the same."""
        if not self.problems or self.digest == digest_before:
            return ()
        LOGGER.warning("settings unreadable", extra={"fields": {"settings": self.names}})
        key = f"settings_unreadable:{run.scheduled_time.isoformat()}"
        return (AdminNotice(key, "settings_unreadable", "; ".join(self.problems)),)


async def check_connection(runtime: Runtime, run: CronRun) -> CronReport:
    """Probe and judge all connections; report the Finding of each.

    Changed statuses are stored in the transaction of the report.
    """
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    probes, is_complete = await for_each(run, connections, partial(probe, runtime))
    if not is_complete:
        return CronReport({"probes": probes}, unfinished=True)
    tick = {"scheduled_time": run.scheduled_time}
    found = await runtime.db.fetch_one("check_connection/load_previous", tick)
    previous = PreviousRun(**(found or {}))
    (settings,) = await runtime.db.fetch_all("check_connection/load_settings", {}, SettingProblems)
    by_operators = await runtime.db.fetch_all(
        "check_connection/list_status_changes", {"now": run.now}, OperatorChange
    )

    findings = [
        await examine(runtime, run, connection, report, previous.failed_probes.get(connection.id, 0))
        for connection, report in zip(connections, probes, strict=True)
        if not _has_internal_error(report)
    ]
    changed = [finding for finding in findings if finding.before != finding.after]
    return CronReport(
        {
            "connections": [finding.report() for finding in findings],
            "settings": settings.report(),
            "notified_changes": [change.key for change in by_operators],
        },
        statements=tuple(_set_status(run, each) for each in changed),
        notices=(
            *(
                _notice(each, each.key, each.reason)
                for each in by_operators
                if each.key not in previous.notified_changes
            ),
            *(_notice(each, run.scheduled_time.isoformat()) for each in changed),
            *settings.notices(run, previous.settings_digest),
        ),
        problem=problems([report for report in probes if _has_internal_error(report)]),
    )


async def probe(runtime: Runtime, connection: Connection) -> ProbeReport:
    """Call the cheapest read that needs a working key. The call also keeps an otherwise unused key alive."""
    sources = await runtime.pancake.sources(connection.access)
    return {"sources": len(sources)}


def _has_internal_error(report: ProbeReport) -> bool:
    """Whether the probe failed with an error that says nothing about key and Pancake."""
    return "error" in report and report["error"] not in PROBE_OF_ERROR


async def examine(
    runtime: Runtime, run: CronRun, connection: Connection, report: ProbeReport, failed_before: int
) -> Finding:
    """Judge one connection by its two channels, webhook and API."""
    params = {"connection_id": connection.id, "now": run.now}
    (webhook,) = await runtime.db.fetch_all("check_connection/load_signs", params)
    probe_word = PROBE_OF_ERROR[report["error"]] if "error" in report else ALIVE
    signs = Signs(
        probe=probe_word,
        failed_probes=failed_before + 1 if probe_word == UNAVAILABLE else 0,
        **webhook,
    )
    after = judge(connection.status, run.now, signs)
    return Finding(connection.id, connection.name, connection.status, after, signs)


def _set_status(run: CronRun, finding: Finding) -> Statement:
    params = {
        "connection_id": finding.connection_id,
        "before": finding.before,
        "after": finding.after,
        "now": run.now,
    }
    return "check_connection/set_status", params


def _notice(change: Finding | OperatorChange, occasion: str, reason: str | None = None) -> AdminNotice:
    """Return the notice of a changed status; `occasion` tells it from those of other changes."""
    return AdminNotice(
        key=f"connection_status:{change.connection_id}:{occasion}",
        reason=f"connection_{change.after}",
        detail=reason or "",
        facts={"connection": change.name},
    )
