"""`scripts/sandbox`: the sandbox as a place to work against, until it is stopped."""

from pathlib import Path
from secrets import token_hex
from typing import Annotated

import typer
from rich.console import Console

from sandbox.cluster import ClusterError, named_server
from sandbox.edge.nginx import describe_edge, missing_packages, state_key
from sandbox.postgres_binaries import NoPostgres
from sandbox.stack.keys import Keys
from sandbox.stack.services import NotReady
from sandbox.stack.stack import Sandbox
from sandbox.stack.waiting import exit_on_sigterm, until_stopped

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Everything around the handlers, on this machine, without Docker."""


@app.command()
def up(
    env_file: Annotated[
        Path | None, typer.Option(help="Write the addresses and secrets to this file as KEY=value lines.")
    ] = None,
) -> None:
    """Start the sandbox and keep it until Ctrl-C or SIGTERM.

    The lines KEY=value go to the file (made once everything is ready, readable by you alone, removed at
    the end) or else to stdout. Exit code 2 if a part does not start.
    """
    exit_on_sigterm()
    console = Console(stderr=True)
    try:
        with console.status("Starting ..."):
            sandbox = Sandbox(server_url=named_server())
            sandbox.__enter__()
    except (ClusterError, NoPostgres, NotReady) as error:
        console.print(f"[red]The sandbox does not start:[/] {error}", highlight=False)
        raise typer.Exit(2) from error
    try:
        lines = "".join(f"{name}={value}\n" for name, value in sandbox.environment().items())
        if env_file is None:
            typer.echo(lines, nl=False)
        else:
            _write_private(env_file, lines)
        console.print(f"Ready. {describe_edge(missing_packages())}", highlight=False)
        console.print(f"Logs are in {sandbox.home}. Ctrl-C stops everything.", highlight=False)
        until_stopped()
    finally:
        sandbox.close()
        if env_file is not None:
            env_file.unlink(missing_ok=True)


@app.command()
def secrets() -> None:
    """Print fresh secrets for compose.yaml: `scripts/sandbox secrets > .env`."""
    keys = Keys.generate()
    values = {
        "POSTGRES_PASSWORD": token_hex(16),
        "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": f"'{keys.jwt_secret}'",
        "HASURA_SERVICE_TOKEN": keys.token("pancake_service"),
        "HASURA_EDGE_TOKEN": keys.token("pancake_edge"),
        "HANDLER_SECRET": keys.handler_secret,
        "EDGE_SECRET": keys.edge_secret,
        "ENCRYPTION_KEYS": keys.encryption_keys,
        "EDGE_STATE_KEYS": state_key(),
        "WEBHOOK_TOKEN": keys.webhook_token,
        "PANCAKE_API_KEY": keys.pancake_api_key,
    }
    typer.echo("".join(f"{name}={value}\n" for name, value in values.items()), nl=False)


def _write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, for our eyes only."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    app(prog_name="scripts/sandbox")
