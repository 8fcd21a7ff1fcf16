"""The table of verbs: `leads <verb>`."""

import signal
from typing import Any

import typer

from leads.cli.failures import VerbGroup
from leads.cli.loading import Verb, Verbs
from leads.cli.output import exit_code_table

VERBS = {
    "serve": Verb("leads.cli.serve:serve", ("serve",)),
    "token": Verb("leads.cli.token:token", ("token pancake_service",)),
    "replay": Verb(
        "leads.cli.replay.command:replay",
        ("replay 17 18 --dry-run", "replay --status skipped_kill_switch --drain"),
    ),
    "trace": Verb(
        "leads.cli.trace:trace", ("trace 0905111222", "trace TK000017 --json", "trace 17 --follow")
    ),
    "reconcile": Verb("leads.cli.reconcile.command:reconcile", ("reconcile --day 2026-05-14 --dry-run",)),
    "backfill-phones": Verb(
        "leads.cli.backfill_phones.command:backfill_phones", ("backfill-phones --dry-run", "backfill-phones")
    ),
    "history": Verb(
        "leads.cli.history:history", ("history", "history --of connection --of setting --since 2026-05-01")
    ),
    "erase": Verb(
        "leads.cli.erase.command:erase",
        ("erase --phone 0905111222 --dry-run", "erase --record Diva/lead/8f0c… --yes"),
    ),
    "report": Verb(
        "leads.cli.report.command:report", ("report", "report --from 2026-05-01 --html > may.html")
    ),
    "status": Verb("leads.cli.status.command:status", ("status", "status --watch", "status --json")),
    "doctor": Verb("leads.cli.doctor.command:doctor", ("doctor", "doctor --json")),
    "tail": Verb("leads.cli.tail:tail", ("tail", "tail --last 50")),
    "connection": Verb("leads.cli.connection.command:app"),
    "switch": Verb("leads.cli.switch:app"),
    "metadata": Verb("leads.cli.metadata.command:app"),
    "alert": Verb("leads.cli.alert.command:app"),
    "cron": Verb("leads.cli.cron.command:app"),
    "config": Verb("leads.cli.config.command:app"),
    "edge-spool": Verb("leads.cli.edge_spool.command:app"),
    "tickets": Verb("leads.cli.tickets.command:app"),
    "golive": Verb("leads.cli.golive.command:app"),
}


ELSEWHERE = {
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
            ctx.fail(ELSEWHERE[cmd_name])
        return super().get_command(ctx, cmd_name)


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


def main() -> None:
    """Run the command. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="leads")


if __name__ == "__main__":
    main()
