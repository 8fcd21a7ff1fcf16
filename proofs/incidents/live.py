"""`scripts/chaos incidents`: which alerts arrive when an incident is made in a sandbox, and mended."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from subprocess import CalledProcessError
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from proofs.bench.environment import AsJson
from proofs.incidents import ALL, LIVE
from proofs.incidents.scenes import SCENES, Stage, require_scenes
from sandbox.edge import require_edge_packages
from sandbox.monitoring.observation import DEFAULT_FACTOR, Observation, ObservedSandbox
from sandbox.monitoring.rules import ALERTMANAGER, WATCHDOG, alerts, rule_files
from sandbox.monitoring.servers import Inbox, Notification, require_monitoring
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, NotReady, exit_on_sigterm
from sandbox.stack.observer import Unfinished

SETTLE_SECONDS = 8.0
"""After the start: the first evaluations, and the heartbeat."""
MAX_SECONDS = 180.0
"""For the alerts to arrive, and again for those that come afterwards."""
MAX_RESOLVE_SECONDS = 900.0
"""The short window of PancakeBurnCreeping has six hours."""
CLEAN, CLEAN_LEADS_PER_SECOND = "clean", 1.0
NOT_MADE = (NotReady, TimeoutError, Unfinished, CalledProcessError, httpx.HTTPError, psycopg.Error)
"""Errors that end one incident, and not the run."""
HEARTBEAT = frozenset({WATCHDOG})
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What arrived.

    `early`: before anything was broken; `again`: once more after it was resolved; `unresolved`: still firing
    at the end. `first_seconds`: from the breakage to the first of its alerts.
    """

    name: str
    seconds: float
    factor: float
    sent: frozenset[str] = NONE
    expected: frozenset[str] = NONE
    early: frozenset[str] = NONE
    again: frozenset[str] = NONE
    unresolved: frozenset[str] = NONE
    has_heartbeat: bool = False
    first_seconds: float = 0.0
    error: str = ""
    """Why the incident could not be made or mended."""

    @property
    def problems(self) -> dict[str, list[str]]:
        """Return the alerts that are not as expected, by what is wrong with them."""
        found = {
            "missing": self.expected - self.sent, "unexpected": self.sent - self.expected,
            "early": self.early, "again": self.again, "unresolved": self.unresolved,
        }  # fmt: skip
        return {kind: sorted(names) for kind, names in found.items()}

    @property
    def is_ok(self) -> bool:
        return self.has_heartbeat and not self.error and not any(self.problems.values())

    def as_json(self) -> dict[str, Any]:
        times = {"first_seconds": round(self.first_seconds, 1), "seconds": round(self.seconds, 1)}
        return {
            "name": self.name, "ok": self.is_ok, "sent": sorted(self.sent), **self.problems,
            "error": self.error, **times, "factor": self.factor,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """Return each problem."""
        lines = [f"{kind}: {name}" for kind, names in self.problems.items() for name in names]
        if self.error:
            lines.append(self.error.partition("\n")[0])
        elif not self.has_heartbeat:
            lines.append("no heartbeat")
        return lines


def run_incident(
    name: str, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Make an incident, wait for its alerts, mend it, and wait until they are resolved."""
    started, incident = time.monotonic(), LIVE[name]
    with _observed(cluster, factor, on_arrival) as (stage, inbox):
        rate = incident.leads_per_second
        with stage.traffic(rate) if rate else nullcontext():
            time.sleep(SETTLE_SECONDS)
            early, broken_at = frozenset(inbox.sent() - HEARTBEAT), time.monotonic()
            with SCENES[name](stage):
                inbox.wait(lambda box: bool(box.sent() & incident.live), MAX_SECONDS)
                first_seconds = time.monotonic() - broken_at
                inbox.wait(lambda box: incident.live - incident.after <= box.sent(), MAX_SECONDS)
                time.sleep(incident.hold_seconds)
            inbox.wait(lambda box: incident.live <= box.sent(), MAX_SECONDS)
            stage.wait_finished()
            stage.age("2 hours")
            inbox.wait(lambda box: box.firing() == HEARTBEAT, MAX_RESOLVE_SECONDS)
        outcome = _outcome(name, inbox, started, factor)
        return replace(outcome, expected=incident.live, early=early, first_seconds=first_seconds)


def run_clean(
    seconds: float, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Let leads come in for a while with nothing broken."""
    started = time.monotonic()
    with _observed(cluster, factor, on_arrival) as (stage, inbox):
        with stage.traffic(CLEAN_LEADS_PER_SECOND):
            time.sleep(seconds)
        return _outcome(CLEAN, inbox, started, factor)


@contextmanager
def _observed(
    cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Iterator[tuple[Stage, Inbox]]:
    inbox = Inbox(on_arrival)
    with ObservedSandbox(cluster, factor=factor) as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        stage.prepare()
        with Observation(sandbox, inbox) as stage.observation:
            yield stage, inbox


def _outcome(name: str, inbox: Inbox, started: float, factor: float) -> Outcome:
    """Return what arrived from `started`, by time.monotonic(), until now."""
    return Outcome(
        name, time.monotonic() - started, factor, sent=frozenset(inbox.sent() - HEARTBEAT),
        again=frozenset(inbox.fired_again()), unresolved=frozenset(inbox.firing() - HEARTBEAT),
        has_heartbeat=inbox.sent() >= HEARTBEAT,
    )  # fmt: skip


def incidents(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run this one, or several: {', '.join([*LIVE, CLEAN])}.")
    ] = None,
    clean_seconds: Annotated[
        float, typer.Option(help="Length of the run in which nothing is broken.", min=10)
    ] = 600,
    factor: Annotated[
        float, typer.Option(help="How many times faster than in deploy/ alerts fire.", min=1, max=60)
    ] = DEFAULT_FACTOR,
    record: Annotated[
        bool, typer.Option("--record", help="Write the rows of docs/proofs.md, each when it has run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the incidents, each in a new sandbox with a real Prometheus and Alertmanager.

    Exactly the alerts of docs/alerts.md have to arrive and to be resolved, and none in a run in which nothing
    is broken. The rules are those of deploy/, with all times divided by --factor. Takes about an hour.
    """
    names = only or [*LIVE, CLEAN]
    if unknown := set(names) - set(LIVE) - {CLEAN}:
        raise typer.BadParameter(
            f"unknown incident {sorted(unknown)[0]}; use one of {', '.join([*LIVE, CLEAN])}",
            param_hint="--only",
        )
    require_edge_packages()
    require_monitoring()
    require_scenes(names)
    exit_on_sigterm()
    outcomes = []
    for outcome in _run(names, clean_seconds, factor, Console(stderr=True)):
        outcomes.append(outcome)
        if record and outcome.name != CLEAN:
            PAGE.write_text(recorded(PAGE.read_text("utf-8"), outcome), "utf-8")
    if as_json:
        typer.echo(json.dumps({"runs": [each.as_json() for each in outcomes]}))
    else:
        _print(outcomes)
    if not all(each.is_ok for each in outcomes):
        raise typer.Exit(1)


def _run(names: list[str], clean_seconds: float, factor: float, console: Console) -> Iterator[Outcome]:
    def show(notification: Notification) -> None:
        if notification.receiver != "heartbeat":
            console.print(
                f"  {notification.status:8} {notification.alert} -> {notification.receiver}", highlight=False
            )

    with Cluster() as cluster:
        for number, name in enumerate(names, 1):
            console.print(f"{number} of {len(names)}: {name} ...", highlight=False)
            started = time.monotonic()
            its_factor = factor if name == CLEAN else min(factor, LIVE[name].factor)
            try:
                if name == CLEAN:
                    yield run_clean(clean_seconds, cluster, its_factor, show)
                else:
                    yield run_incident(name, cluster, its_factor, show)
            except NOT_MADE as error:
                console.print(f"  {error}", style="red", highlight=False, markup=False)
                seconds, reason = time.monotonic() - started, f"{type(error).__name__}: {error}"
                yield Outcome(name, seconds, its_factor, error=reason)


def _print(outcomes: list[Outcome]) -> None:
    table = Table("incident", "sent", "not as expected", "seconds")
    for each in outcomes:
        sent, problems = ("\n".join(lines) for lines in (sorted(each.sent), each.lines()))
        table.add_row(each.name, sent, problems, f"{each.seconds:.0f}")
    Console().print(table)


PAGE = ROOT / "docs" / "proofs.md"
HEAD = (
    "| incident, live | alerts that arrived | pages | not as expected | first after | seconds | on | rules "
    "|\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def recorded(page: str, outcome: Outcome) -> str:
    """Return the page with the row of this outcome in its table, in the order of the catalogue."""
    before, head, after = page.partition(HEAD)
    if not head:
        raise LookupError("docs/proofs.md has no table of live incidents")
    body, end, rest = after.partition("\n\n")
    rows = {re.match(r"\| (.+?) \|", line)[1]: line for line in body.splitlines() if line}  # type: ignore[index]
    rows[ALL[outcome.name].title] = _row(outcome)
    ordered = [rows[each.title] for each in ALL.values() if each.title in rows]
    return before + head + "\n".join(ordered) + end + rest


def rules_digest() -> str:
    """Return by what the present rules and routes are known."""
    return sha256(b"".join(path.read_bytes() for path in (*rule_files(), ALERTMANAGER))).hexdigest()[:8]


def _row(outcome: Outcome) -> str:
    critical = {alert.name for alert in alerts() if alert.severity == "critical"}
    cells = (
        ALL[outcome.name].title, ", ".join(sorted(outcome.sent)) or "none", str(len(outcome.sent & critical)),
        "; ".join(outcome.lines()) or "none", f"{outcome.first_seconds:.0f} s", f"{outcome.seconds:.0f}",
        f"{datetime.now(UTC):%Y-%m-%d}", f"`{rules_digest()}`",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
