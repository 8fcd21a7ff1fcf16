"""The command line of `scripts/bench`."""

import typer

from scripts.benchmarks.backfill import backfill
from scripts.benchmarks.edge import edge
from scripts.benchmarks.ingest import ingest
from scripts.benchmarks.latency import latency
from scripts.benchmarks.poll import poll
from scripts.benchmarks.process import process
from scripts.benchmarks.reconcile import reconcile

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Benchmarks. Each prints its machine and settings; compare ratios, not rates, between machines.",
)
app.command()(ingest)
app.command()(process)
app.command()(backfill)
app.command()(reconcile)
app.command()(poll)
app.command()(edge)
app.command()(latency)

if __name__ == "__main__":
    app(prog_name="scripts/bench")
