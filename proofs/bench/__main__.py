"""The command line of `scripts/bench`."""

import typer

from proofs.bench.compare import compare
from proofs.bench.edge import edge
from proofs.bench.million import backfill, crons
from proofs.bench.scale import scale
from proofs.bench.throughput import ingest, process, requests

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run a benchmark. Each prints the machine; compare ratios, not rates, between machines. "
    "Exit code 1: a figure is above its bar (`bars` in the result), or the run was not valid.",
)
app.command()(ingest)
app.command()(process)
app.command()(requests)
app.command()(backfill)
app.command()(crons)
app.command()(edge)
app.command()(scale)
app.command()(compare)

if __name__ == "__main__":
    app(prog_name="scripts/bench")
