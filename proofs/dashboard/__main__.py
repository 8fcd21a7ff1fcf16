"""`scripts/dashboard`: pictures of the dashboard of deploy/grafana, from a sandbox."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.output import render_page
from proofs.dashboard.live import observed
from proofs.dashboard.panels import (
    PAPER,
    SCREEN,
    Section,
    View,
    draw_rows,
    draw_sections,
    read_dashboard,
    rows,
)
from sandbox.monitoring.servers import require_monitoring
from sandbox.processes import exit_on_sigterm
from sandbox.stack.stack import exit_unless_started

app = typer.Typer(add_completion=False, no_args_is_help=True)
TEMPLATE = Path(__file__).with_name("paper.html.j2")


@app.callback()
def main() -> None:
    """The dashboard of deploy/grafana, drawn without Grafana."""


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
    with exit_unless_started(console, "The sandbox"), observed(minutes, console) as view:
        _draw(folder, view)


def _draw(folder: Path, view: View) -> None:
    """Draw each section, the key figures together, and all on one page, which ends between two rows."""
    title, sections = read_dashboard()
    files: dict[str, list[Section]] = {}
    for section in sections:
        name = "kpi" if section.title.startswith("KPI") else section.title.lower().replace(" ", "-")
        files.setdefault(name, []).append(section)
    for name, together in files.items():
        _write(folder / f"{name}.svg", draw_sections(together, view, SCREEN))
    on_paper = [
        (section.title, [draw_rows([row], view, PAPER) for row in rows(section, PAPER)])
        for section in sections
    ]
    _write(folder / "paper.html", render_page(TEMPLATE, title=title, sections=on_paper))


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    typer.echo(path)


if __name__ == "__main__":
    app(prog_name="scripts/dashboard")
