"""`leads status`: whether leads become tickets; `leads doctor`: whether an installation is complete."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from leads.adapters.settings import SettingsError
from ops.checks.leads import read_keys
from ops.checks.model import LOOK_SECONDS, Facts, Finding, Level, NotRead, Result, When, exit_code
from ops.checks.screen import document, print_look
from ops.checks.services import NEEDED, HasuraSource, Services
from ops.checks.table import BY_ID, look_at, select
from ops.failures import ExitCode, WrongUsage
from ops.output import AsJson, print_result
from ops.settings import OperatorSettings, read_operator_settings

WATCH_SECONDS = 5.0
KEYS_MAX_AGE_SECONDS = 60.0
"""How often a watching look calls Pancake with its keys, at most."""
OF_STATUS = (
    "HANDLERS_URL", "EDGE_STATUS_URL", "ENCRYPTION_KEYS", "HASURA_SERVICE_TOKEN", "PUBLIC_URL",
    "PROMETHEUS_URL",
)  # fmt: skip
OF_DOCTOR = ("HASURA_SERVICE_TOKEN", "HANDLERS_URL", "HANDLER_SECRET", "EDGE_STATUS_URL", "ENCRYPTION_KEYS")
ShowsAll = Annotated[
    bool, typer.Option("--all", help="Show every check, also what is green; without it what fits in 24 rows.")
]


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 5 s, until Ctrl-C.")] = False,
    shows_all: ShowsAll = False,
    source: HasuraSource = "default",
    as_json: AsJson = False,
) -> None:
    """Show on one screen whether leads become tickets; if not, the cause and what helps.

    It looks at all parts at once, within 3 s, and changes nothing. Needs DATABASE_URL, HASURA_URL and
    HASURA_ADMIN_SECRET; with HANDLERS_URL, EDGE_STATUS_URL and ENCRYPTION_KEYS it also asks the handlers, the
    edge and Pancake, with HASURA_SERVICE_TOKEN, PUBLIC_URL and PROMETHEUS_URL also token, certificate and
    restarts. Exit codes: 0 green, 1 yellow or red, 2 wrong usage or configuration, 3 nothing could be
    asked.
    """
    if watch and as_json:
        raise WrongUsage("--watch and --json do not go together: call --json as often as you need it.")
    if watch and shows_all:
        raise WrongUsage("--watch and --all do not go together: the cause would scroll away.")
    looks = keep_looking(read_operator_settings(*NEEDED, may_have=OF_STATUS), source)
    console = Console()
    results = next(looks)
    print_result(document(results), lambda: show(results, console, shows_all=shows_all), as_json=as_json)
    while watch:
        time.sleep(WATCH_SECONDS)
        results = next(looks)
        if console.is_terminal:
            console.clear()
        else:
            console.print()
        show(results, console, shows_all=shows_all)
    raise typer.Exit(exit_code(results))


def show(results: list[Result], console: Console, *, shows_all: bool) -> None:
    print_look(results, console, fine="leads become tickets", shows_all=shows_all)


def keep_looking(settings: OperatorSettings, source: str) -> Iterator[list[Result]]:
    """Yield what each check finds within 3 s, with the answers of Pancake for a minute each.

    A part that does not answer is red.
    """
    keys: Any = None
    keys_end_at = 0.0
    while True:
        now = time.monotonic()
        is_known = now < keys_end_at
        facts = Facts({read_keys: keys} if is_known else {})
        with Services(settings, "status", source) as services:
            results = look_at(select(When.STATUS), services, facts)
        if not is_known:
            keys_end_at = now + KEYS_MAX_AGE_SECONDS
            try:
                keys = facts.get(read_keys)
            except NotRead as error:
                keys = error
        yield results


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
        settings = read_operator_settings(may_have=(*NEEDED, *OF_DOCTOR))
    except SettingsError as error:
        findings = tuple(Finding(Level.RED, *_split(problem)) for problem in error.problems)
        return [Result(BY_ID["environment"], "environment", findings)]
    with Services(settings, "doctor", source) as services:
        params = {"applied": "as far as it is", "accepted": accepted}
        return look_at(select(When.DOCTOR, params), services, seconds=seconds)


def _split(problem: str) -> tuple[str, str]:
    text, _, fix = problem.partition(": ")
    return (text, fix[:1].upper() + fix[1:]) if fix else (problem, "See .env.example")
