"""The table of verbs: `leads <verb>`. A verb's module is imported when the verb is used."""

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ops.failures import EXIT_CODES, VerbGroup, WrongUsage
from ops.output import examples


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: `module:name` of a function or of a typer.Typer, and of a function the examples of its help."""

    target: str
    examples: tuple[str, ...] = ()


class Verbs(Mapping[str, TyperCommand | TyperGroup]):
    """The commands of the verbs by their names. The order is that of the help."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self._verbs = verbs

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return _load(name, self._verbs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._verbs)

    def __len__(self) -> int:
        return len(self._verbs)


@cache
def _load(name: str, verb: Verb) -> TyperCommand | TyperGroup:
    module, _, attribute = verb.target.partition(":")
    target = getattr(import_module(module), attribute)
    parent = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name, epilog=examples(*verb.examples))(target)
    command = typer.main.get_group(parent).commands[name]
    assert isinstance(command, (TyperCommand, TyperGroup))
    return command


VERBS = {
    "setup": Verb(
        "ops.setup.command:setup",
        ("setup --dry-run --answers answers.yaml", "setup --project ../hasura"),
    ),
    "token": Verb("ops.daily.token:token", ("token pancake_service",)),
    "replay": Verb(
        "ops.daily.replay:replay", ("replay 17 18 --dry-run", "replay --status skipped_kill_switch --drain")
    ),
    "trace": Verb(
        "ops.daily.trace:trace", ("trace 0905111222", "trace TK000017 --json", "trace 17 --follow")
    ),
    "reconcile": Verb("ops.daily.reconcile:reconcile", ("reconcile --day 2026-05-14 --dry-run",)),
    "backfill-phones": Verb(
        "ops.daily.backfill_phones:backfill_phones", ("backfill-phones --dry-run", "backfill-phones")
    ),
    "history": Verb(
        "ops.daily.history:history", ("history", "history --of connection --of setting --since 2026-05-01")
    ),
    "erase": Verb(
        "ops.daily.erase:erase",
        ("erase --phone 0905111222 --dry-run", "erase --record Diva/lead/8f0c… --yes"),
    ),
    "report": Verb("ops.daily.report:report", ("report", "report --from 2026-05-01 --html > may.html")),
    "status": Verb("ops.daily.status:status", ("status", "status --watch", "status --json")),
    "doctor": Verb("ops.daily.doctor:doctor", ("doctor", "doctor --json")),
    "tail": Verb("ops.daily.tail:tail", ("tail", "tail --last 50")),
    "connection": Verb("ops.daily.connection:app"),
    "switch": Verb("ops.daily.switch:app"),
    "metadata": Verb("ops.metadata.command:app"),
    "alert": Verb("ops.daily.alert:app"),
    "cron": Verb("ops.daily.cron:app"),
    "config": Verb("ops.daily.config:app"),
    "edge-spool": Verb("ops.daily.edge_spool:app"),
    "tickets": Verb("ops.daily.tickets:app"),
    "golive": Verb("ops.golive.command:app"),
}


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
        # A mapping that is only read is enough: nothing adds a command later.
        self.commands = Verbs(VERBS)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in ELSEWHERE and not ctx.resilient_parsing:
            raise WrongUsage(ELSEWHERE[cmd_name])
        return super().get_command(ctx, cmd_name)


def exit_code_table() -> str:
    """Format the end of the first help page."""
    rows = [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["\b", "Exit codes:", *rows])


app = typer.Typer(
    cls=Leads,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=exit_code_table(),
)


@app.callback()
def leads() -> None:
    """Operate the integration of Pancake with Diva's CRM.

    Variables come from the environment. In a clone, scripts/leads also reads .env. The file .env.example
    explains each variable.
    """


def run() -> None:
    """Run the command. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="leads")
