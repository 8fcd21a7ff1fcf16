"""`scripts/loadtest`: leads at a constant rate through the real edge, every one counted at the end."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from proofs.bench.environment import AsJson
from proofs.loadtest.report import html_page, print_result
from proofs.loadtest.run import SETTINGS, Plan, run, write_histograms
from sandbox.edge import require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

app = typer.Typer(add_completion=False)
MAX_PER_SECOND = 900.0
"""The edge refuses an address above 1,000 requests per second."""
MAX_SECONDS = 24 * 3600.0


@app.command()
def loadtest(
    rate: Annotated[float, typer.Option(help="Deliveries per second.", min=1, max=MAX_PER_SECOND)] = 100,
    minutes: Annotated[float, typer.Option(help="How long they are posted.", min=0.05)] = 10,
    steps: Annotated[
        str, typer.Option(help="Rates to try one after another instead, for example 50,100,200,400,800.")
    ] = "",
    step_seconds: Annotated[float, typer.Option(help="How long each of the steps lasts.", min=3)] = 60,
    connections: Annotated[int, typer.Option(help="Open connections to the edge.", min=1, max=500)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the generated leads.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    histograms: Annotated[
        Path | None, typer.Option(help="Write the latencies as an HdrHistogram log.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Post leads at a constant rate through edge, engine, handlers and a durable PostgreSQL.

    Each delivery has a due time, from which its latency counts. The time to the ticket ends with its commit,
    as PostgreSQL states it. At the end every lead is looked for in four effects: event, customer, ticket and
    notification. Exit codes: 0 all is well; 1 a lead was lost or duplicated, an answer was not 2xx, a
    delivery was dropped, or p95 at the edge was 1 s or more (with --steps: a lead was lost or duplicated);
    2 it could not run.
    """
    plan = Plan(
        rates=_rates(steps) or [rate],
        seconds=step_seconds if steps else minutes * 60,
        connections=connections,
        seed=seed,
        is_search=bool(steps),
    )
    if len(plan.rates) * plan.seconds > MAX_SECONDS:
        raise typer.BadParameter("the whole test is limited to 24 hours")
    for path in filter(None, (html, histograms)):
        if not path.parent.is_dir():
            raise typer.BadParameter(f"the folder {path.parent} does not exist")
    require_edge_packages()
    exit_on_sigterm()
    with (
        Cluster(durable=True, settings=SETTINGS) as cluster,
        Sandbox(cluster, edge_environment={}) as sandbox,
    ):
        result, legs = asyncio.run(run(sandbox, plan, Console(stderr=True)))
    if histograms is not None:
        write_histograms(histograms, legs)
    if html is not None:
        html.write_text(html_page(result), "utf-8")
    if as_json:
        typer.echo(json.dumps(result))
    else:
        print_result(result, Console())
    if not result["ok"]:
        raise typer.Exit(1)


def _rates(steps: str) -> list[float]:
    """Read the rates of --steps. Raises typer.BadParameter."""
    try:
        rates = [float(part) for part in steps.split(",") if steps]
    except ValueError:
        raise typer.BadParameter(f"--steps is not a list of numbers: {steps!r}") from None
    if len(rates) > 20 or not all(1 <= each <= MAX_PER_SECOND for each in rates):
        raise typer.BadParameter(f"--steps takes at most 20 rates from 1 to {MAX_PER_SECOND:g}")
    return rates


if __name__ == "__main__":
    app(prog_name="scripts/loadtest")
