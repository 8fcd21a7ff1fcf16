"""`leads doctor`: whether an installation is complete, before and after each of its steps."""

import typer
from rich.console import Console

from leads.adapters.settings import SettingsError
from ops.checks.model import LOOK_SECONDS, Finding, Level, Result, When, exit_code
from ops.checks.screen import document, print_look
from ops.checks.services import NEEDED, HasuraSource, Services
from ops.checks.table import BY_ID, look_at, select
from ops.daily.status import ShowsAll
from ops.failures import ExitCode
from ops.output import AsJson, print_result
from ops.settings import read_operator_settings

MAY_HAVE = ("HASURA_SERVICE_TOKEN", "HANDLERS_URL", "HANDLER_SECRET", "EDGE_STATUS_URL", "ENCRYPTION_KEYS")


def doctor(
    shows_all: ShowsAll = False,
    source: HasuraSource = "default",
    as_json: AsJson = False,
) -> None:
    """Check an installation before and after each step, and name the fix of what is wrong.

    Environment, database and rights, engine with its variables, token, handlers, edge and its policy, API
    keys, clocks, within 3 s. What it stores to check a right is undone. It looks at what the variables of
    .env.example name. Exit codes: 0 green, 1 yellow or red, 2 a variable is not set or not valid, 3 nothing
    could be asked.
    """
    results = examine(source)
    print_result(
        document(results),
        lambda: print_look(results, Console(), fine="nothing is wrong", shows_all=shows_all),
        as_json=as_json,
    )
    raise typer.Exit(_exit_code(results))


def _exit_code(results: list[Result]) -> ExitCode:
    """Return that of `leads status`: USAGE if a variable is not set or not valid, else that of the others."""
    if any(each.check.id == "environment" and each.level is Level.RED for each in results):
        return ExitCode.USAGE
    return exit_code([each for each in results if each.check.id != "environment"])


def examine(source: str, accepted: str = "", seconds: float = LOOK_SECONDS) -> list[Result]:
    """Return what each check finds; with a variable that is not valid only that.

    `accepted` is a version of the engine that a person accepted.
    """
    try:
        settings = read_operator_settings(may_have=(*NEEDED, *MAY_HAVE))
    except SettingsError as error:
        findings = tuple(Finding(Level.RED, *_split(problem)) for problem in error.problems)
        return [Result(BY_ID["environment"], "environment", findings)]
    with Services(settings, "doctor", source) as services:
        params = {"applied": "as far as it is", "accepted": accepted}
        return look_at(select(When.DOCTOR, params), services, seconds=seconds)


def _split(problem: str) -> tuple[str, str]:
    text, _, fix = problem.partition(": ")
    return (text, fix[:1].upper() + fix[1:]) if fix else (problem, "See .env.example")
