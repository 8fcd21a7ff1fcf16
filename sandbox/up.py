"""`scripts/sandbox up`: run the sandbox until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sandbox.edge.packages import describe_edge, missing_packages
from sandbox.env_file import env_lines
from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from sandbox.postgres.binaries import PostgresNotFound
from sandbox.postgres.server import ClusterError, server_url_from_environment
from sandbox.stack.services import NotReady
from sandbox.stack.signals import exit_on_sigterm, wait_until_stopped
from sandbox.stack.stack import Sandbox


def up(
    env_file: Annotated[
        Path | None, typer.Option(help="Write the addresses and secrets to this file as KEY=value lines.")
    ] = None,
) -> None:
    """Start the sandbox and run it until Ctrl-C or SIGTERM.

    Prints the addresses and secrets as KEY=value lines, or writes them to --env-file: the file is created
    when every service is ready, only you can read it, and it is removed at the end. It has what the commands
    of leads need: `--env-file .env` in the clone is read by scripts/leads.
    Exit code 2: PostgreSQL is not installed. Exit code 3: a service does not start.
    """
    exit_on_sigterm()
    console = Console(stderr=True)
    try:
        with console.status("Starting ..."):
            sandbox = Sandbox(server_url=server_url_from_environment())
            sandbox.__enter__()
    except (ClusterError, PostgresNotFound, NotReady) as error:
        console.print(f"[red]The sandbox did not start:[/] {error}", highlight=False)
        raise typer.Exit(2 if isinstance(error, PostgresNotFound) else 3) from error
    try:
        lines = "".join(f"{line}\n" for line in env_lines(sandbox.environment()))
        if env_file is None:
            typer.echo(lines, nl=False)
        else:
            _write_private(env_file, lines)
        console.print(f"Ready. {describe_edge(missing_packages())}", highlight=False)
        console.print(f"Logs are in {sandbox.home}. Stop everything with Ctrl-C.", highlight=False)
        with Page(Buttons(sandbox)) as page:
            console.print(f"Page: {page.url}", highlight=False)
            wait_until_stopped()
    finally:
        sandbox.close()
        if env_file is not None:
            env_file.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file atomically, with mode 0600."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
