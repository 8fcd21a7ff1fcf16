"""`leads status`: say in words whether Hasura still has what the integration needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import fill
from typing import Annotated

import typer

from leads.cli.exit_codes import ExitCode
from leads.cli.failures import LINE_LENGTH, WrongUsage
from leads.cli.metadata.checks import (
    find_differences,
    find_idle_crons,
    find_inconsistencies,
    find_stopped_calls,
)
from leads.cli.metadata.deploy import Deployment
from leads.cli.metadata.opening import open_deployment
from leads.cli.metadata.permission import find_missing_permission
from leads.cli.metadata.pieces import CRON
from leads.cli.metadata.source import count_waiting, find_missing_triggers
from leads.cli.output import AsJson, print_json, print_line

RECOVER = "Put them back with: leads metadata recover"
INDENTATION = " " * 10


@dataclass(frozen=True)
class Check:
    """The result of one check: what was found, and the problems in words."""

    name: str
    found: str = ""
    problems: tuple[str, ...] = ()


def status(
    source: Annotated[str, typer.Option(help="Name of the engine's source that has our tables.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Show what is wrong with Hasura's part of the integration, and what to do.

    A wipe of the metadata, the allow list, a lost environment variable, crons that do not run, and how many
    rows wait. Changes nothing. Needs HASURA_URL and HASURA_ADMIN_SECRET. Exit code 1: there is a problem.
    """
    with open_deployment(source=source) as deployment:
        checks = list(_look(deployment))
    if as_json:
        print_json({"checks": [{"name": c.name, "found": c.found, "problems": c.problems} for c in checks]})
    else:
        for check in checks:
            _print(check)
    raise typer.Exit(ExitCode.FAILED if any(check.problems for check in checks) else ExitCode.OK)


def _look(deployment: Deployment) -> Iterator[Check]:
    engine, wanted = deployment.engine, deployment.wanted("9b")
    yield Check("engine", f"{engine.version()} at {engine.url}")
    try:
        _, _, held = deployment.held()
    except WrongUsage as error:
        yield Check("metadata", problems=(str(error),))
        return
    present = {key: held[key] for key in wanted if key in held}
    missing = [f"{kind} {name}" for kind, name in wanted if (kind, name) not in held]
    problems = tuple(find_differences({key: wanted[key] for key in present}, held))
    if missing:
        problems += (f"{len(missing)} of {len(wanted)} pieces are missing, {missing[0]} first. {RECOVER}",)
    yield Check("metadata", f"{len(present)} pieces", problems)
    yield Check("consistent", problems=tuple(find_inconsistencies(engine)))
    stopped = tuple(find_stopped_calls(engine, wanted, held))
    yield Check("allow list", "on" if engine.has_allow_list() else "off", stopped)
    yield Check("notifications", problems=tuple(find_missing_permission(held)))
    yield Check("triggers", problems=tuple(find_missing_triggers(engine, deployment.source, present)))
    crons = [name for kind, name in present if kind == CRON]
    yield Check("crons", f"{len(crons)} crons", tuple(find_idle_crons(engine, crons, 0)))
    yield Check("waiting", f"{count_waiting(engine, deployment.source)} rows wait to be processed")


def _print(check: Check) -> None:
    word = "problem" if check.problems else "ok"
    print_line(f"{word:<10}{check.name:<15}{check.found}".rstrip())
    for problem in check.problems:
        text = f"{INDENTATION}{problem}"
        print_line(fill(text, LINE_LENGTH, subsequent_indent=f"{INDENTATION}  ", break_on_hyphens=False))
