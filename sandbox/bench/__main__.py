"""The command line of `scripts/bench`."""

import typer

from sandbox.bench.backfill import backfill
from sandbox.bench.compare import compare
from sandbox.bench.crons import crons
from sandbox.bench.edge import edge
from sandbox.bench.ingest import ingest
from sandbox.bench.latency import latency
from sandbox.bench.poll import poll
from sandbox.bench.process import process
from sandbox.bench.reconcile import reconcile
from sandbox.bench.scale import scale
from sandbox.bench.scrape import scrape
from sandbox.bench.status import status
from sandbox.bench.trace import trace

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run a benchmark. Each prints the machine; compare ratios, not rates, between machines. "
    "Exit code 1: a figure is above its bar (`bars` in the result), or the run was not valid.",
)
app.command()(ingest)
app.command()(process)
app.command()(backfill)
app.command()(reconcile)
app.command()(poll)
app.command()(crons)
app.command()(edge)
app.command()(latency)
app.command()(status)
app.command()(scrape)
app.command()(trace)
app.command()(scale)
app.command()(compare)

if __name__ == "__main__":
    app(prog_name="scripts/bench")
