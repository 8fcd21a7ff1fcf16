"""`scripts/move_tickets`: takes tickets off ticket_source_pancake in batches, and puts the same ones back.

Each moved ticket says so in `data.pancake_moved_from`, so that tickets which were in the other source before
are never taken for ours.
"""

import os
import time
from typing import Annotated

import psycopg
import typer
from psycopg.rows import DictRow, dict_row
from rich.console import Console
from rich.progress import Progress

from leads.adapters.queries import QUERIES

OURS = "ticket_source_pancake"
Db = psycopg.Connection[DictRow]
STALLED_SECONDS = 30.0


def move(
    to: Annotated[str, typer.Option(help="The source that takes the tickets.")] = "ticket_source_8",
    back: Annotated[bool, typer.Option("--back", help="Put back what was moved there.")] = False,
    batch: Annotated[int, typer.Option(help="Tickets per transaction.", min=1, max=10_000)] = 1000,
    pause: Annotated[float, typer.Option(help="Seconds between transactions.", min=0)] = 0.1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
) -> None:
    """Move every ticket of Pancake to another source, or those back. DATABASE_URL names the database.

    May be stopped and run again. Exit codes: 0 nothing is left to move, 1 tickets are left, 2 not started.
    """
    url = os.environ.get("DATABASE_URL", "").strip()
    if not url or to == OURS:
        typer.echo("DATABASE_URL is not set." if not url else f"--to must not be {OURS}.", err=True)
        raise typer.Exit(2)
    params = {"from_source": to, "to_source": OURS} if back else {"from_source": OURS, "to_source": to}
    try:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as db:
            left = _count(db, params, back)
            typer.echo(f"{left} tickets go from {params['from_source']} to {params['to_source']}.")
            if not dry_run:
                left = _move(db, params, back, left, batch, pause)
                typer.echo(f"{left} tickets are left.")
    except psycopg.Error as error:
        typer.echo(f"{type(error).__name__}: {str(error).strip()}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(1 if left else 0)


def _move(db: Db, params: dict[str, str], back: bool, waiting: int, batch: int, pause: float) -> int:
    """Move until nothing is left, or nothing has moved for a while; returns what is left."""
    console = Console(stderr=True)
    progress = Progress(console=console, disable=not console.is_terminal, transient=True)
    last_moved = time.monotonic()
    with progress:
        task = progress.add_task("moving", total=waiting)
        while time.monotonic() - last_moved < STALLED_SECONDS:
            values = {**params, "only_marked": back, "limit": batch}
            row = db.execute(QUERIES["move_tickets/update_tickets"], values).fetchone()
            moved = row["moved"] if row else 0
            progress.advance(task, moved)
            if moved:
                last_moved = time.monotonic()
            elif _count(db, params, back) == 0:
                break
            time.sleep(pause)
    return _count(db, params, back)


def _count(db: Db, params: dict[str, str], back: bool) -> int:
    row = db.execute(QUERIES["move_tickets/count_tickets"], {**params, "only_marked": back}).fetchone()
    return int(row["waiting"]) if row else 0


app = typer.Typer(add_completion=False)
app.command()(move)

if __name__ == "__main__":
    app(prog_name="scripts/move_tickets")
