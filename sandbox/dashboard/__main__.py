"""The command line of `scripts/dashboard`."""

from pathlib import Path
from shutil import which
from typing import Annotated

import typer
from rich.console import Console

from sandbox.dashboard.grafana import TARGET, json_model
from sandbox.dashboard.live import observed
from sandbox.dashboard.pictures import draw_section
from sandbox.dashboard.prometheus import PROGRAM
from sandbox.dashboard.source import read_dashboard
from sandbox.stack.signals import exit_on_sigterm

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The dashboard of deploy/grafana: its JSON, its pictures.",
)


@app.command()
def json() -> None:
    """Write deploy/grafana/dashboards/pancake-diva.json from deploy/grafana/panels.yaml."""
    TARGET.write_text(json_model(read_dashboard()), "utf-8")
    typer.echo(f"Wrote {TARGET.relative_to(TARGET.parents[3])}.")


@app.command()
def pictures(
    folder: Annotated[Path, typer.Argument(help="Where the SVG files are written; created if missing.")],
    minutes: Annotated[float, typer.Option(help="How long leads are sent.", min=0.5, max=120)] = 12,
) -> None:
    """Draw every section from a sandbox that runs for some minutes, with a few disturbances.

    Exit code 2: Prometheus is not installed. Exit code 3: a service does not start.
    """
    if which(PROGRAM) is None:
        typer.echo("Prometheus is not installed. Install it with: apt-get install prometheus", err=True)
        raise typer.Exit(2)
    exit_on_sigterm()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    with observed(minutes, console) as view:
        for number, section in enumerate(read_dashboard().sections, 1):
            path = folder / f"{number:02}.svg"
            path.write_text(draw_section(section, view), "utf-8")
            typer.echo(f"{path}  {section.title}")


if __name__ == "__main__":
    app(prog_name="scripts/dashboard")
