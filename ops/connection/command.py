"""The command line of `leads connection`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import HEADER_NAME, SecretScope, open_sealed
from leads.domain.errors import PancakeKeyRejected
from ops.connection import connection_secrets as connections
from ops.connection import disabling, rotation
from ops.connection.connection_secrets import Workspace
from ops.connection.inputs import OutFile, check_free, read_secret, show_once
from ops.connection.session import NEEDS, Which, open_session
from ops.connection.status import describe, print_status
from ops.connection.urls import PublicUrl, check_api_url, read_settings, webhook_url
from ops.failures import CommandFailed
from ops.output import AsJson, ForeignTextConsole, examples, print_json, say, show_activity, verb_group
from ops.settings import OperatorSettings, read_operator_settings

TIME_ZONE_WARNING = """{name}: times without a zone will be read in {after} instead of {before}.
Stored versions keep the time that they have. Where the new reading is earlier (UTC to Asia/Ho_Chi_Minh:
by 7 hours), a change may look older than the version before it for that long, and its event ends as
`stale`. Replay those events with `leads replay --force`. Polling reads the last day again."""

app = verb_group(
    "Manage connections to Pancake and their secrets.",
    "Secrets are never arguments: they come from a file, a variable or a prompt. Needs DATABASE_URL and "
    "ENCRYPTION_KEYS.",
    examples("connection status", "connection rotate-token --out url.txt"),
)


@app.command(epilog=examples("connection create --name Diva --workspace 607 --out url.txt"))
def create(
    name: Annotated[str, typer.Option(help="Name of the connection.")],
    workspace: Annotated[int, typer.Option(help="Pancake's workspace id.")],
    public_url: PublicUrl = None,
    table: Annotated[list[str] | None, typer.Option(help="lead, account, contact; may be repeated.")] = None,
    api_url: Annotated[str, typer.Option(help="Base URL of Pancake's API.")] = "https://crm.pancake.vn/api",
    timezone: Annotated[str, typer.Option(help="Zone of Pancake's times without a zone.")] = "UTC",
    key_file: Annotated[Path | None, typer.Option(help="File with the API key; - is stdin.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Variable with the API key.")] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Set the API key later.")] = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Connect a workspace, and show its webhook URL and its header secret once.

    The API key is read from a file, a variable or a prompt. Deliveries without the header are counted, and
    refused after signature_mode is set to enforce.
    """
    check_free(out)
    settings = read_settings(public_url)
    check_api_url(api_url, settings)
    key = None if no_key else read_secret("API key", key_file, key_variable)
    details = Workspace(name, workspace, api_url, key, tuple(table or ["lead"]), timezone)
    with open_session(settings) as session:
        connections.check_ring(session.ring, connections.list_connections(session.db, session.now))
        created = connections.create_connection(session.db, session.ring, details)
        url = webhook_url(settings.public_url, created.token)
        lines = f"{url}\n{HEADER_NAME}: {created.header_secret}"
        show_once("Webhook URL and request header", lines, out, printed=not as_json)
    if as_json:
        header = {"header_name": HEADER_NAME, "header_secret": created.header_secret}
        shown = {"webhook_url": url} | header if out is None else {"file": str(out)}
        print_json({"id": created.id, "name": name} | shown)
    say(f'Created connection "{name}" ({created.id}).')


@app.command(epilog=examples("connection set-time-zone Asia/Ho_Chi_Minh"))
def set_time_zone(
    zone: Annotated[str, typer.Argument(help="Region and city, for example Asia/Ho_Chi_Minh, or UTC.")],
    connection: Which = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change the zone of Pancake's times without a zone, if they were read wrongly."""
    with open_session() as session:
        row = session.find(connection)
        say(TIME_ZONE_WARNING.format(name=row.name, before=row.record_timezone, after=zone))
        if not yes:
            typer.confirm("Change it?", abort=True, err=True)
        connections.set_time_zone(session.db, row.id, zone, session.now)
    if as_json:
        print_json({"id": row.id, "record_timezone": zone})
    say(f"{row.name}: the time zone is {zone}.")


@app.command("test", epilog=examples("connection test --connection Diva"))
def check_key(connection: Which = None, as_json: AsJson = False) -> None:
    """Read the workspace's sources from Pancake with the stored API key.

    Exit code 1: no key is set, or Pancake rejects it. Exit code 3: Pancake does not answer.
    """
    settings = read_operator_settings(*NEEDS)
    with open_session(settings) as session:
        row = session.find(connection)
        if row.api_key_encrypted is None:
            raise CommandFailed("No API key is set. Set it with: leads connection set-api-key")
        key = open_sealed(
            session.ring, row.api_key_encrypted, SecretScope("api_key", row.id, row.api_base_url)
        )
    access = Access(row.id, row.api_base_url, row.workspace_id, key)
    try:
        sources = asyncio.run(_count_sources(access, settings))
    except PancakeKeyRejected as error:
        raise CommandFailed(
            f"Pancake rejected the API key: {error} Set another with: leads connection set-api-key"
        ) from error
    if as_json:
        print_json({"id": row.id, "sources": sources})
    else:
        typer.echo(f"The API key works: {sources} sources.")


@app.command(epilog=examples("connection status", "connection status --json"))
def status(as_json: AsJson = False) -> None:
    """Show every connection: its health and modes, which secrets are set, and their keys' ids."""
    with open_session() as session:
        rows = connections.list_connections(session.db, session.now)
        shown = [describe(row, session.now) for row in rows]
    if as_json:
        print_json(shown)
    else:
        print_status(shown, session.ring.current, ForeignTextConsole())


@app.command(epilog=examples("connection rotate-keys"))
def rotate_keys(
    rows_per_batch: Annotated[int, typer.Option(help="Connections per transaction.", min=1, max=1000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Seal every secret with the first key of ENCRYPTION_KEYS, for its connection and base URL.

    Afterwards the other keys may be removed from ENCRYPTION_KEYS, except those
    that the output says to keep. What was stored with a removed key counts as
    changed when a lead is compared.
    """
    with open_session() as session, show_activity("sealing secrets"):
        changed, seen = connections.reencrypt(session.db, session.ring, rows_per_batch)
        kept = [key for key in connections.list_erasure_keys(session.db) if key != session.ring.current]
    if as_json:
        print_json({"sealed": changed, "secrets": seen, "key": session.ring.current, "keep": kept})
        return
    typer.echo(f"Sealed {changed} of {seen} secrets with key {session.ring.current}.")
    if kept:
        typer.echo(f"Keep these keys, which erasures of customers name: {', '.join(kept)}")


async def _count_sources(access: Access, settings: OperatorSettings) -> int:
    pancake = PancakeApi(Clock(), settings.pancake_api_hosts)
    try:
        return len(await pancake.sources(access))
    finally:
        await pancake.aclose()


rotation.add_commands(app)
disabling.add_commands(app)
