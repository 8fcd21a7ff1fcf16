"""The command line of `scripts/sandbox`."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow
from typing import Annotated, Any
from uuid import uuid4

import httpx
import typer
from rich.console import Console

from ops.failures import connection_reason
from ops.files import write_file
from sandbox.edge import describe_edge, missing_packages, require_edge_packages
from sandbox.monitoring.observation import DEFAULT_FACTOR, Observation, ObservedSandbox
from sandbox.monitoring.servers import Inbox, Notification, require_monitoring
from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from sandbox.payloads import HERE
from sandbox.postgres.server import server_url_from_environment
from sandbox.processes import exit_on_sigterm, wait_until_stopped
from sandbox.serving import env_lines
from sandbox.stack.keys import new_secrets
from sandbox.stack.stack import Sandbox, exit_unless_started

app = typer.Typer(add_completion=False, no_args_is_help=True)
KINDS = {"happy": "01-happy-path", "no-phone": "09-unusable-phone", "duplicate": "01-happy-path"}
"""The samples of sandbox/payloads/ by their short names; each call makes another lead of one."""
TIMEOUT_SECONDS = 10.0


@app.command()
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
    accounts: Annotated[int, typer.Option(help="How many accounts Diva has before.", min=0)] = 0,
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
    with exit_unless_started(console, "The sandbox"), console.status("Starting ..."):
        server_url = server_url_from_environment()
        sandbox = (
            ObservedSandbox(server_url=server_url, factor=factor, accounts=accounts)
            if observe
            else Sandbox(server_url=server_url, accounts=accounts)
        )
        sandbox.__enter__()
    try:
        with exit_unless_started(console, "The monitoring"), _observation(sandbox, console) as more:
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
            console.print(str(notification), highlight=False, markup=False, soft_wrap=True)

    with Observation(sandbox, Inbox(show)) as observation:
        prometheus, alertmanager = observation.prometheus.url, observation.alertmanager.url
        console.print(
            f"Prometheus {prometheus}, Alertmanager {alertmanager};"
            f" rules and routes are {sandbox.factor:g} times faster than in deploy/.",
            highlight=False,
        )
        yield {"PROMETHEUS_URL": prometheus, "ALERTMANAGER_URL": alertmanager}


@app.command()
def secrets() -> None:
    """Print new secrets for compose.yaml: `(umask 077; scripts/sandbox secrets > .env)`."""
    typer.echo("".join(f"{name}='{value}'\n" for name, value in new_secrets().items()), nl=False)


@app.command()
def send(
    what: Annotated[str, typer.Argument(help="happy, no-phone, duplicate, or a file to post as it is.")],
    env_file: Annotated[
        Path | None, typer.Option(help="What `scripts/sandbox up --env-file` wrote; else WEBHOOK_URL.")
    ] = None,
) -> None:
    """Post a lead to the webhook and print each answer; `duplicate` posts the same lead twice.

    happy and no-phone make a new lead at each call. Follow it with: scripts/leads tail
    Exit code 2: there is no such sample or file, or no WEBHOOK_URL. Exit code 3: the edge does not answer.
    """
    url = _webhook_url(env_file)
    body = _body(what)
    for _ in range(2 if what == "duplicate" else 1):
        try:
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            reason = connection_reason(error)
            typer.echo(f"The edge does not answer: {reason}. Start scripts/sandbox up.", err=True)
            raise typer.Exit(3) from error
        typer.echo(f"{answer.status_code} {answer.text}")


def new_lead(sample: str) -> dict[str, Any]:
    """Return a sample with the id, the time and, if it has a usable one, the phone of a new lead."""
    lead: dict[str, Any] = json.loads((HERE / f"{sample}.json").read_text("utf-8"))
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    lead |= {"id": str(uuid4()), "created_on": now, "modified_on": now}
    if sample == KINDS["happy"]:
        lead |= {"phone_number": f"0903{randbelow(10**6):06d}", "email": None}
    return lead


def _body(what: str) -> bytes:
    if what in KINDS:
        return json.dumps(new_lead(KINDS[what]), ensure_ascii=False).encode()
    try:
        return Path(what).read_bytes()
    except OSError as error:
        typer.echo(f"{what} is neither a file nor one of {', '.join(KINDS)}.", err=True)
        raise typer.Exit(2) from error


def _webhook_url(env_file: Path | None) -> str:
    """Read WEBHOOK_URL of the file, else of the environment."""
    url = os.environ.get("WEBHOOK_URL", "")
    if env_file is not None:
        try:
            lines = env_file.read_text("utf-8").splitlines()
        except OSError as error:
            typer.echo(f"{env_file} cannot be read. Is scripts/sandbox up running?", err=True)
            raise typer.Exit(2) from error
        quoted = dict(line.split("=", 1) for line in lines if "=" in line).get("WEBHOOK_URL", "")
        url = "".join(shlex.split(quoted))
    if not url:
        typer.echo("WEBHOOK_URL is not set: give --env-file, as for scripts/sandbox up.", err=True)
        raise typer.Exit(2)
    return url


@app.callback()
def main() -> None:
    """The handlers and every service around them, on this machine, without Docker."""


if __name__ == "__main__":
    app(prog_name="scripts/sandbox")
