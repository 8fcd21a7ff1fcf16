"""The result of a load test: a table for a terminal, and one HTML file with nothing from elsewhere."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from ops.html import render_page
from proofs.loadtest.run import MAX_P95_MS
from proofs.pictures import Box, Limit, Line, Panel, draw_lines, new_figure, svg

TEMPLATE = Path(__file__).with_name("page.html.j2")


def html_page(result: Mapping[str, Any]) -> str:
    """Return the page. Every text in it is escaped."""
    return render_page(
        TEMPLATE, result=result, headings=HEADINGS, rows=[row(step) for step in result["steps"]],
        legend=LEGEND, effects=json.dumps(result["effects"], indent=1),
        pictures=[_pictures(step) for step in result["steps"]],
    )  # fmt: skip


def _pictures(step: Mapping[str, Any]) -> list[Markup]:
    """Return the answers of the edge, then CPU and memory of each service, over the time of the step."""
    services = step["samples"].items()
    latencies = [
        Line(name, [(_time(each["at"]), each[name] / 1000) for each in step["intervals"]])
        for name in ("p50", "p95", "p99")
    ]
    cores = [Line(name, [(_time(at), each) for at, each, _ in samples]) for name, samples in services]
    memory = [Line(name, [(_time(at), mb * 2**20) for at, _, mb in samples]) for name, samples in services]
    slowest = step["edge_ms"]["max"]
    limit = Limit(MAX_P95_MS / 1000, True, "bar of p95") if slowest and slowest > MAX_P95_MS / 2 else None
    return [
        _picture(
            Panel(title="Answers of the edge", unit="s", limit=limit),
            "Time from when a delivery was due to its answer.", latencies, step, step["interval_seconds"],
        ),
        _picture(
            Panel(title="CPU", unit="percentunit"),
            "CPU of each service, as a share of one core.", cores, step, 2,
        ),
        _picture(
            Panel(title="Memory", unit="bytes"),
            "Memory of each service; what its processes share counts once.", memory, step, 2,
        ),
    ]  # fmt: skip


def _picture(
    panel: Panel, description: str, lines: list[Line], step: Mapping[str, Any], step_seconds: float
) -> Markup:
    figure = new_figure(720, 290)
    since = _time(step["started_at"])
    until = since + timedelta(seconds=step["seconds"])
    draw_lines(Box(figure, 0, 0, 720, 290), panel, lines, since, until, step_seconds)
    return Markup(svg(figure, description))  # noqa: S704 - svg escapes


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


LEGEND = """Offered and achieved: deliveries per second. p50 to p99: answers of the edge, in ms from the time
at which each was due; late: 1 s or more. Ticket: p95 until its commit, in ms. CPU: of edge, handlers
and PostgreSQL for each lead, in ms."""
HEADINGS = ("offered", "achieved", "dropped", "non-2xx", "late", "p50", "p95", "p99", "ticket", "CPU")


def print_result(result: Mapping[str, Any], console: Console) -> None:
    """Print one row for each rate, then what was lost or duplicated."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for step in result["steps"]:
        table.add_row(*row(step))
    console.print(table)
    console.print(LEGEND)
    problems = ", ".join(f"{len(result[name])} {name}" for name in ("lost", "duplicated", "unexpected"))
    leads = sum(step["leads"] for step in result["steps"])
    console.print(f"{leads} leads: {problems}.", style="green" if result["ok"] else "bold red")
    for name in ("lost", "duplicated", "unexpected", "non_2xx"):
        for id_ in result[name][:5]:
            console.print(f"  {name}: {id_}")
    knee = result["knee_per_second"]
    console.print(f"Highest rate that was kept: {knee:g}/s." if knee else "No rate was kept.")


def row(step: Mapping[str, Any]) -> list[str]:
    """Return the figures of one rate under HEADINGS."""
    edge, ticket = step["edge_ms"], step["ticket_ms"]
    return [
        f"{step['offered_per_second']:g}",
        f"{step['achieved_per_second']:g}",
        str(step["dropped"]),
        str(step["non_2xx"]),
        str(step["late"]),
        *(_number(edge[name]) for name in ("p50", "p95", "p99")),
        _number(ticket["p95"]),
        _number(step["cpu_ms_per_lead"]["ours"]),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"
