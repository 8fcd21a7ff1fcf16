"""The table of verbs: `leads <verb>`. A verb's module is imported when the verb is used."""

import signal
from collections import UserDict
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer

from ops.failures import EXIT_CODES, VerbGroup, WrongUsage
from ops.output import examples, print_line
from ops.settings import read_version

VERBS: Mapping[str, tuple[str, ...]] = {
    "setup": (
        "ops.setup.command:setup", "setup --dry-run --answers answers.yaml", "setup --project ../hasura"
    ),
    "token": ("ops.daily.token:token", "token pancake_service"),
    "replay": (
        "ops.daily.replay:replay", "replay 17 18 --dry-run", "replay --status skipped_kill_switch --drain"
    ),
    "trace": ("ops.daily.trace:trace", "trace -", "trace TK000017 --json", "trace 17 --follow"),
    "reconcile": ("ops.daily.reconcile:reconcile", "reconcile --day 2026-05-14 --dry-run"),
    "backfill-phones": (
        "ops.daily.backfill_phones:backfill_phones", "backfill-phones --dry-run", "backfill-phones"
    ),
    "history": (
        "ops.daily.switch:history", "history", "history --of connection --of setting --since 2026-05-01"
    ),
    "erase": (
        "ops.daily.erase:erase", "erase --phone - --dry-run", "erase --record Diva/lead/8f0c… --yes"
    ),
    "report": ("ops.daily.report:report", "report", "report --since 2026-05-01 --html > may.html"),
    "list": (
        "ops.daily.report:list_leads", "list unassigned", "list held --since 2026-05-01 --csv > held.csv"
    ),
    "status": ("ops.daily.status:status", "status", "status --watch", "status --json"),
    "doctor": ("ops.daily.status:doctor", "doctor", "doctor --json"),
    "tail": ("ops.daily.trace:tail", "tail", "tail --last 50"),
    "connection": ("ops.daily.connection:app",),
    "switch": ("ops.daily.switch:app",),
    "metadata": ("ops.metadata.command:app",),
    "alert": ("ops.daily.alert:app",),
    "cron": ("ops.daily.cron:app",),
    "config": ("ops.daily.config:app",),
    "edge-spool": ("ops.daily.edge_spool:app",),
    "tickets": ("ops.daily.tickets:app",),
    "golive": ("ops.golive.command:app",),
}  # fmt: skip
"""As the help lists them: `module:name` of a typer.Typer, or of a function with the examples of its help."""

ELSEWHERE = {
    "serve": "The handlers have a command of their own: pancake-handlers",
    "send": "leads posts no samples into an installation. Into a sandbox:\n"
    "  scripts/sandbox send happy|no-phone|duplicate|FILE",
}
"""What people look for here, and where it is."""


class Leads(VerbGroup):
    """The group of the verbs in the table."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Verbs(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in ELSEWHERE and not ctx.resilient_parsing:
            raise WrongUsage(ELSEWHERE[cmd_name])
        return super().get_command(ctx, cmd_name)


class Verbs(UserDict[str, Any]):
    """The commands of the table by their names; each is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _load(name)


@cache
def _load(name: str) -> Any:
    target, *shown = VERBS[name]
    module, _, attribute = target.partition(":")
    verb = getattr(import_module(module), attribute)
    parent = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    if isinstance(verb, typer.Typer):
        parent.add_typer(verb, name=name)
    else:
        parent.command(name, epilog=examples(*shown))(verb)
    return typer.main.get_group(parent).commands[name]


def exit_code_table() -> str:
    rows = [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["\b", "Exit codes:", *rows])


app = typer.Typer(
    cls=Leads,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=exit_code_table(),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print_line(f"leads {read_version()}")
        raise typer.Exit


@app.callback()
def leads(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Operate the integration of Pancake with Diva's CRM.

    Variables come from the environment. In a clone, scripts/leads also reads .env. The file .env.example
    explains each variable.
    """


def run() -> None:
    """Run the command. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="leads")
