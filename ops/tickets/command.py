"""The command line of `leads tickets`."""

from typing import Annotated

import typer

from ops.clients.db_session import open_session
from ops.failures import ExitCode, WrongUsage
from ops.output import AsJson, examples, print_json, progress_bar, verb_group
from ops.settings import read_operator_settings
from ops.tickets.moving import OUR_SOURCE, Move, count_tickets, move_tickets

app = verb_group(
    "Move Pancake's tickets between ticket sources.",
    "Needs DATABASE_URL.",
    examples("tickets move --dry-run", "tickets move --back"),
)


@app.command(epilog=examples("tickets move --dry-run", "tickets move", "tickets move --back"))
def move(
    to: Annotated[str, typer.Option(help="The source that gets the tickets.")] = "ticket_source_8",
    back: Annotated[bool, typer.Option("--back", help="Move the moved tickets back.")] = False,
    rows_per_batch: Annotated[int, typer.Option(help="Tickets per transaction.", min=1, max=10_000)] = 1000,
    pause_seconds: Annotated[float, typer.Option(help="Seconds between transactions.", min=0)] = 0.1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move every ticket of ticket_source_pancake to another source, or the moved ones back.

    You may stop it (Ctrl-C, SIGTERM) and run it again. Exit code 1: tickets are left after a move.
    """
    if to == OUR_SOURCE:
        raise WrongUsage(f"--to must not be {OUR_SOURCE}. Give another ticket source.")
    database_url = read_operator_settings("DATABASE_URL").database_url
    moving = Move.between(to, back=back, rows_per_batch=rows_per_batch, pause_seconds=pause_seconds)
    with open_session(database_url, "tickets move") as db:
        waiting = left = count_tickets(db, moving)
        if not as_json:
            typer.echo(f"{waiting} tickets to move from {moving.from_source} to {moving.to_source}.")
        if not dry_run:
            left = move_tickets(db, moving, progress_bar())
    if as_json:
        print_json({"from": moving.from_source, "to": moving.to_source, "waiting": waiting, "left": left})
    elif not dry_run:
        typer.echo(f"{left} tickets are left.")
    raise typer.Exit(ExitCode.FAILED if left and not dry_run else ExitCode.OK)
