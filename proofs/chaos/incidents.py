"""`scripts/chaos incidents`: break a sandbox in twelve ways, and compare the alerts that are sent."""

import json
import time
from collections.abc import Iterator
from typing import Annotated

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from proofs.incidents.catalogue import INCIDENTS
from proofs.incidents.live.incident_run import CLEAN, Outcome, failed, run_clean, run_incident
from sandbox.edge.packages import require_edge_packages
from sandbox.monitoring.observation import DEFAULT_FACTOR
from sandbox.monitoring.prometheus import require_monitoring
from sandbox.monitoring.receiver import Notification
from sandbox.postgres.server import Cluster
from sandbox.stack.observer import Unfinished
from sandbox.stack.services import NotReady
from sandbox.stack.signals import exit_on_sigterm


def incidents(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run this one, or several: {', '.join([*INCIDENTS, CLEAN])}.")
    ] = None,
    clean_seconds: Annotated[
        float, typer.Option(help="Length of the run in which nothing is broken.", min=10)
    ] = 600,
    factor: Annotated[
        float, typer.Option(help="How many times faster than in deploy/ alerts fire.", min=1, max=60)
    ] = DEFAULT_FACTOR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make twelve incidents, each in a new sandbox with a real Prometheus and Alertmanager.

    Exactly the alerts of docs/alerts.md have to arrive and to be resolved, and none in a run in which nothing
    is broken. The rules are those of deploy/, with all times divided by --factor. Takes about 40 minutes.
    """
    names = only or [*INCIDENTS, CLEAN]
    if unknown := set(names) - set(INCIDENTS) - {CLEAN}:
        raise typer.BadParameter(
            f"unknown incident {sorted(unknown)[0]}; use one of {', '.join([*INCIDENTS, CLEAN])}",
            param_hint="--only",
        )
    require_edge_packages()
    require_monitoring()
    exit_on_sigterm()
    outcomes = list(_run(names, clean_seconds, factor, Console(stderr=True)))
    if as_json:
        typer.echo(json.dumps({"factor": factor, "runs": [each.as_json() for each in outcomes]}))
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
            try:
                if name == CLEAN:
                    yield run_clean(clean_seconds, cluster, factor, show)
                else:
                    yield run_incident(name, cluster, factor, show)
            except (NotReady, TimeoutError, Unfinished, httpx.HTTPError, psycopg.Error) as error:
                console.print(f"  {error}", style="red", highlight=False, markup=False)
                yield failed(name, f"{type(error).__name__}: {error}", time.monotonic() - started)


def _print(outcomes: list[Outcome]) -> None:
    table = Table("incident", "sent", "not as expected", "seconds")
    for each in outcomes:
        problems = [
            f"{kind}: {name}"
            for kind in ("missing", "unexpected", "early", "unresolved")
            for name in sorted(getattr(each, kind))
        ]
        if each.error:
            problems.append(each.error)
        elif not each.has_heartbeat:
            problems.append("no heartbeat")
        table.add_row(each.name, "\n".join(sorted(each.sent)), "\n".join(problems), f"{each.seconds:.0f}")
    Console().print(table)
