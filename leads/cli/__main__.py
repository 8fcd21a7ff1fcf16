"""The table of verbs: `leads <verb>`."""

import signal

import typer

from leads.cli.alert.command import app as alert
from leads.cli.backfill_phones.command import backfill_phones
from leads.cli.config.command import app as config
from leads.cli.connection.command import app as connection
from leads.cli.cron.command import app as cron
from leads.cli.doctor.command import doctor
from leads.cli.edge_spool.command import app as edge_spool
from leads.cli.erase.command import erase
from leads.cli.failures import VerbGroup
from leads.cli.golive.command import app as golive
from leads.cli.history import history
from leads.cli.metadata.command import app as metadata
from leads.cli.metadata.project.commands import add_project_verbs
from leads.cli.output import examples, exit_code_table
from leads.cli.reconcile.command import reconcile
from leads.cli.replay.command import replay
from leads.cli.report.command import report
from leads.cli.serve import serve
from leads.cli.status.command import status
from leads.cli.switch import app as switch
from leads.cli.tail import tail
from leads.cli.tickets.command import app as tickets
from leads.cli.token import token
from leads.cli.trace import trace

app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Operate the integration of Pancake with Diva's CRM.\n\nVariables come from the environment. In a "
    "clone, scripts/leads also reads .env. The file .env.example explains each variable.",
    epilog=exit_code_table(),
)
app.command("serve", epilog=examples("serve"))(serve)
app.add_typer(connection, name="connection")
app.add_typer(switch, name="switch")
app.command("token", epilog=examples("token pancake_service"))(token)
app.command(
    "replay", epilog=examples("replay 17 18 --dry-run", "replay --status skipped_kill_switch --drain")
)(replay)
app.command("trace", epilog=examples("trace 0905111222", "trace TK000017 --json", "trace 17 --follow"))(trace)
app.command("reconcile", epilog=examples("reconcile --day 2026-05-14 --dry-run"))(reconcile)
app.command("backfill-phones", epilog=examples("backfill-phones --dry-run", "backfill-phones"))(
    backfill_phones
)
app.command("history", epilog=examples("history", "history --of connection --of setting --since 2026-05-01"))(
    history
)
app.command(
    "erase", epilog=examples("erase --phone 0905111222 --dry-run", "erase --record Diva/lead/8f0c… --yes")
)(erase)
app.command("report", epilog=examples("report", "report --from 2026-05-01 --html > may.html"))(report)
add_project_verbs(metadata)
app.add_typer(metadata, name="metadata")
app.command("status", epilog=examples("status", "status --watch", "status --json"))(status)
app.command("doctor", epilog=examples("doctor", "doctor --json"))(doctor)
app.command("tail", epilog=examples("tail", "tail --last 50"))(tail)
app.add_typer(alert, name="alert")
app.add_typer(cron, name="cron")
app.add_typer(config, name="config")
app.add_typer(edge_spool, name="edge-spool")
app.add_typer(tickets, name="tickets")
app.add_typer(golive, name="golive")


def main() -> None:
    """Run the command. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="leads")


if __name__ == "__main__":
    main()
