"""The command line of `scripts/dashboard`."""

from html import escape
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from yaml import YAMLError

from proofs.dashboard.grafana import TARGET, json_model
from proofs.dashboard.live import observed
from proofs.dashboard.pictures import PAPER, View, draw_row, draw_sections, rows
from proofs.dashboard.source import SOURCE, Dashboard, Section, read_dashboard
from sandbox.monitoring.servers import require_monitoring
from sandbox.postgres.binaries import PostgresNotFound
from sandbox.postgres.server import ClusterError
from sandbox.processes import ROOT, NotReady
from sandbox.stack.signals import exit_on_sigterm

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The dashboard of deploy/grafana: its JSON, its pictures.",
)
PAGE = """<!doctype html>
<html lang="vi">
<meta charset="utf-8">
<title>{title}</title>
<style>@page {{ size: A4; margin: 10mm }} body {{ margin: 0 }}
h2 {{ font: 700 17px system-ui, "DejaVu Sans", sans-serif; margin: 12px; break-after: avoid }}
body > svg {{ display: block; width: 100%; height: auto; break-inside: avoid }}</style>
{sections}</html>
"""


@app.command()
def json() -> None:
    """Write deploy/grafana/dashboards/pancake-diva.json from deploy/grafana/panels.yaml.

    Exit code 2: a panel has a field that is unknown, missing or of a wrong value.
    """
    try:
        model = json_model(read_dashboard())
    except (KeyError, ValueError, YAMLError) as error:
        typer.echo(f"{SOURCE.relative_to(ROOT)} cannot be used: {error}", err=True)
        raise typer.Exit(2) from error
    TARGET.write_text(model, "utf-8")
    typer.echo(f"Wrote {TARGET.relative_to(ROOT)}.")


@app.command()
def pictures(
    folder: Annotated[Path, typer.Argument(help="Where the files are written; created if missing.")],
    minutes: Annotated[float, typer.Option(help="How long leads are sent.", min=0.5, max=120)] = 12,
) -> None:
    """Draw every section from a sandbox that runs for some minutes, with a few disturbances.

    paper.html has them all in a width that prints well on A4.

    Exit code 2: Prometheus or PostgreSQL is not installed. Exit code 3: a service does not start.
    """
    require_monitoring()
    exit_on_sigterm()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    try:
        with observed(minutes, console) as view:
            _draw(read_dashboard(), view, folder)
    except (ClusterError, PostgresNotFound, NotReady) as error:
        console.print(f"[red]The sandbox did not start:[/] {error}", highlight=False)
        raise typer.Exit(2 if isinstance(error, PostgresNotFound) else 3) from error


def _draw(dashboard: Dashboard, view: View, folder: Path) -> None:
    for name, sections in _files(dashboard).items():
        _write(folder / f"{name}.svg", draw_sections(sections, view))
    drawn = "".join(_on_paper(section, view) for section in dashboard.sections)
    _write(folder / "paper.html", PAGE.format(title=escape(dashboard.title), sections=drawn))


def _files(dashboard: Dashboard) -> dict[str, list[Section]]:
    """Return the sections of each picture: the key figures are one."""
    files: dict[str, list[Section]] = {}
    for section in dashboard.sections:
        name = "kpi" if section.title.startswith("KPI") else section.title.lower().replace(" ", "-")
        files.setdefault(name, []).append(section)
    return files


def _on_paper(section: Section, view: View) -> str:
    """Return a section in HTML, with an SVG for each row: a page ends between two rows."""
    drawn = "".join(draw_row(row, view, PAPER) for row in rows(section, PAPER))
    return f"<h2>{escape(section.title)}</h2>\n{drawn}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    typer.echo(path)


if __name__ == "__main__":
    app(prog_name="scripts/dashboard")
