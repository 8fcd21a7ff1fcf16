"""`leads tickets`: move Pancake's tickets to another ticket source, and back."""

import time
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.progress import Progress

from ops.clients.db_session import QUERIES, DbSession, open_session
from ops.failures import ExitCode, WrongUsage
from ops.output import AsJson, examples, print_json, progress_bar, verb_group
from ops.settings import read_operator_settings

OUR_SOURCE = "ticket_source_pancake"
MAX_STALLED_SECONDS = 30.0
"""The work ends when no ticket could be moved for this time, because other sessions lock the rest."""


@dataclass(frozen=True, slots=True)
class Move:
    """The two ticket sources of a move, and its pace."""

    from_source: str
    to_source: str
    only_marked: bool
    rows_per_batch: int = 1000
    pause_seconds: float = 0.1

    @classmethod
    def between(cls, other: str, *, back: bool, rows_per_batch: int, pause_seconds: float) -> "Move":
        """Make a move from our source to another one, or back from there."""
        if back:
            return cls(other, OUR_SOURCE, True, rows_per_batch, pause_seconds)
        return cls(OUR_SOURCE, other, False, rows_per_batch, pause_seconds)


def count_tickets(db: DbSession, move: Move) -> int:
    params = {"from_source": move.from_source, "only_marked": move.only_marked}
    row = db.execute(QUERIES["tickets/count_tickets"], params).fetchone()
    return int(row["waiting"]) if row else 0


def move_tickets(db: DbSession, move: Move, progress: Progress) -> int:
    """Move all tickets; return how many are left after MAX_STALLED_SECONDS without progress."""
    params = {
        "from_source": move.from_source,
        "to_source": move.to_source,
        "only_marked": move.only_marked,
        "limit": move.rows_per_batch,
    }
    last_moved = time.monotonic()
    with progress:
        task = progress.add_task("moving tickets", total=count_tickets(db, move))
        while time.monotonic() - last_moved < MAX_STALLED_SECONDS:
            row = db.execute(QUERIES["tickets/update_tickets"], params).fetchone()
            moved = row["moved"] if row else 0
            progress.advance(task, moved)
            if moved:
                last_moved = time.monotonic()
            elif count_tickets(db, move) == 0:
                break
            time.sleep(move.pause_seconds)
    return count_tickets(db, move)


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
