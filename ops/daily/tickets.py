"""`leads tickets`: move Pancake's tickets to another ticket source, and back."""

import time
from typing import Annotated

import typer

from leads.adapters.database import Params
from ops.clients.db_session import DbSession, load_row, open_database
from ops.failures import WrongUsage, fail_if
from ops.output import AsJson, examples, print_json, progress_bar, times, verb_group

OUR_SOURCE = "ticket_source_pancake"
MAX_STALLED_SECONDS = 30.0
"""The work ends when no ticket could be moved for this time, because other sessions lock the rest."""

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
    from_source, to_source = (to, OUR_SOURCE) if back else (OUR_SOURCE, to)
    # A moved ticket has its former source in its data: only these go back, not those that were there before.
    sources = {"from_source": from_source, "to_source": to_source, "only_marked": back}
    with open_database("tickets move") as db:
        waiting = left = _count(db, sources)
        if not as_json:
            typer.echo(f"{times(waiting, 'ticket')} to move from {from_source} to {to_source}.")
        if not dry_run:
            left = _move(db, {**sources, "limit": rows_per_batch}, pause_seconds)
    if as_json:
        print_json({"from": from_source, "to": to_source, "waiting": waiting, "left": left})
    elif not dry_run:
        typer.echo(f"{times(left, 'ticket is left', 'tickets are left')}.")
    fail_if(left and not dry_run)


def _count(db: DbSession, params: Params) -> int:
    return int(load_row(db, "tickets/count_tickets", params)["waiting"])


def _move(db: DbSession, params: Params, pause_seconds: float) -> int:
    """Move all tickets in batches; return how many are left after MAX_STALLED_SECONDS without progress."""
    last_moved = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("moving tickets", total=_count(db, params))
        while time.monotonic() - last_moved < MAX_STALLED_SECONDS:
            moved = load_row(db, "tickets/update_tickets", params)["moved"]
            progress.advance(task, moved)
            if moved:
                last_moved = time.monotonic()
            elif _count(db, params) == 0:
                break
            time.sleep(pause_seconds)
    return _count(db, params)
