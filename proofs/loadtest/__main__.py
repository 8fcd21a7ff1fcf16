"""The command line of `scripts/loadtest`."""

import typer

from proofs.loadtest.command import loadtest

app = typer.Typer(add_completion=False)
app.command()(loadtest)

if __name__ == "__main__":
    app(prog_name="scripts/loadtest")
