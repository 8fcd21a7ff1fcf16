"""`scripts/sandbox up`: run the sandbox until Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.files import write_file
from sandbox.edge.packages import describe_edge, missing_packages, require_edge_packages
from sandbox.env_file import env_lines
from sandbox.monitoring.observation import DEFAULT_FACTOR, Observation, ObservedSandbox
from sandbox.monitoring.prometheus import require_monitoring
from sandbox.monitoring.receiver import Inbox, Notification
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
    observe: Annotated[
        bool, typer.Option("--observe", help="Start Prometheus and Alertmanager too, and show the alerts.")
    ] = False,
    factor: Annotated[
        float,
        typer.Option(
            help="With --observe: how many times faster than in deploy/ alerts fire.", min=1, max=60
        ),
    ] = DEFAULT_FACTOR,
) -> None:
    """Start the sandbox and run it until Ctrl-C or SIGTERM.

    Prints the addresses and secrets as KEY=value lines, or writes them to --env-file: the file is created
    when every service is ready, only you can read it, and it is removed at the end. It has what the commands
    of leads need: `--env-file .env` in the clone is read by scripts/leads.
    --observe runs the rules of deploy/prometheus and the routes of deploy/alertmanager, with all times
    divided by --factor; notifications go to a receiver of the sandbox and are printed.
    Exit code 2: PostgreSQL, or what --observe needs, is not installed. Exit code 3: a service does not start.
    """
    if observe:
        require_edge_packages()
        require_monitoring()
    exit_on_sigterm()
    console = Console(stderr=True)
    try:
        with console.status("Starting ..."):
            server_url = server_url_from_environment()
            sandbox = (
                ObservedSandbox(server_url=server_url, factor=factor)
                if observe
                else Sandbox(server_url=server_url)
            )
            sandbox.__enter__()
    except (ClusterError, PostgresNotFound, NotReady) as error:
        console.print(f"[red]The sandbox did not start:[/] {error}", highlight=False)
        raise typer.Exit(2 if isinstance(error, PostgresNotFound) else 3) from error
    try:
        with _observation(sandbox, console) as more:
            lines = "".join(f"{line}\n" for line in env_lines({**sandbox.environment(), **more}))
            if env_file is None:
                typer.echo(lines, nl=False)
            else:
                write_file(env_file, lines)
            console.print(f"Ready. {describe_edge(missing_packages())}", highlight=False)
            console.print(f"Logs are in {sandbox.home}. Stop everything with Ctrl-C.", highlight=False)
            with Page(Buttons(sandbox)) as page:
                console.print(f"Page: {page.url}", highlight=False)
                wait_until_stopped()
    except NotReady as error:
        console.print(f"[red]The monitoring did not start:[/] {error}", highlight=False)
        raise typer.Exit(3) from error
    finally:
        sandbox.close()
        if env_file is not None:
            env_file.unlink(missing_ok=True)


@contextmanager
def _observation(sandbox: Sandbox, console: Console) -> Iterator[dict[str, str]]:
    """Observe a sandbox that was started for it; return the variables with the addresses."""
    if not isinstance(sandbox, ObservedSandbox):
        yield {}
        return

    def show(notification: Notification) -> None:
        if notification.receiver != "heartbeat":
            state = notification.status.upper()
            console.print(f"{state} {notification.alert} -> {notification.receiver}", highlight=False)

    with Observation(sandbox, Inbox(show)) as observation:
        urls = {
            "PROMETHEUS_URL": observation.prometheus.url,
            "ALERTMANAGER_URL": observation.alertmanager.url,
        }
        console.print(
            f"Prometheus {urls['PROMETHEUS_URL']}, Alertmanager {urls['ALERTMANAGER_URL']};"
            f" rules and routes are {sandbox.factor:g} times faster than in deploy/.",
            highlight=False,
        )
        yield urls
