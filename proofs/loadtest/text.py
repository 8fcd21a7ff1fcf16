"""The result of a load test as a table for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

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
