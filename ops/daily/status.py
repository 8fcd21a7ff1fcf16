"""`leads status`: whether leads become tickets; if not, the cause and what helps."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.checks.leads import read_keys
from ops.checks.model import Facts, NotRead, Result, When, exit_code
from ops.checks.screen import document, print_look
from ops.checks.services import NEEDED, HasuraSource, Services
from ops.checks.table import look_at, select
from ops.failures import WrongUsage
from ops.output import AsJson, print_result
from ops.settings import OperatorSettings, read_operator_settings

WATCH_SECONDS = 5.0
KEYS_MAX_AGE_SECONDS = 60.0
"""How often a watching look calls Pancake with its keys, at most."""
MAY_HAVE = (
    "HANDLERS_URL", "EDGE_STATUS_URL", "ENCRYPTION_KEYS", "HASURA_SERVICE_TOKEN", "PUBLIC_URL",
    "PROMETHEUS_URL",
)  # fmt: skip


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
    watcher = Watcher(read_operator_settings(*NEEDED, may_have=MAY_HAVE), source)
    console = Console()
    results = watcher.look()
    print_result(document(results), lambda: show(results, console, shows_all=shows_all), as_json=as_json)
    while watch:
        time.sleep(WATCH_SECONDS)
        results = watcher.look()
        if console.is_terminal:
            console.clear()
        else:
            console.print()
        show(results, console, shows_all=shows_all)
    raise typer.Exit(exit_code(results))


def show(results: list[Result], console: Console, *, shows_all: bool) -> None:
    print_look(results, console, fine="leads become tickets", shows_all=shows_all)


@dataclass
class Watcher:
    """Looks again and again, with the answers of Pancake for a minute each."""

    settings: OperatorSettings
    source: str
    _keys: Any = None
    _keys_at: float = 0.0

    def look(self) -> list[Result]:
        """Return what each check finds within 3 s; a part that does not answer is red."""
        now = time.monotonic()
        is_known = self._keys is not None and now - self._keys_at < KEYS_MAX_AGE_SECONDS
        facts = Facts({read_keys: self._keys} if is_known else {})
        with Services(self.settings, "status", self.source) as services:
            results = look_at(select(When.STATUS), services, facts)
        if not is_known:
            self._keys_at = now
            try:
                self._keys = facts.get(read_keys)
            except NotRead as error:
                self._keys = error
        return results
