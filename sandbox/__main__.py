"""The command line of `scripts/sandbox`; each command is a module of the same name."""

import typer

from sandbox.secrets import secrets
from sandbox.send import send
from sandbox.up import up

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command()(up)
app.command()(secrets)
app.command()(send)


@app.callback()
def main() -> None:
    """The handlers and every service around them, on this machine, without Docker."""


if __name__ == "__main__":
    app(prog_name="scripts/sandbox")
