"""The command line of `scripts/connection`."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, Pancake
from leads.adapters.secrets import DecryptionError, KeyRing
from leads.domain.errors import IntegrationError
from leads.services import connection_secrets as connections
from leads.services.connection_secrets import ChangeRefused, Db, Secret, Workspace
from scripts.connections.inputs import check_free, read_secret, show_once
from scripts.connections.status import describe, print_status

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Connections to Pancake workspaces. Reads DATABASE_URL and ENCRYPTION_KEYS from the environment. "
    "Exit codes: 0 done, 1 refused or not working, 2 wrong use.",
)
Which = Annotated[str | None, typer.Option("--connection", help="Id or name; needed if there are several.")]
OutFile = Annotated[Path | None, typer.Option("--out", help="Write the secret to this new file (mode 0600).")]
InFile = Annotated[Path | None, typer.Option("--file", help="Read the secret from this file; - is stdin.")]
Variable = Annotated[str | None, typer.Option(help="Read the secret from this environment variable.")]
PublicUrl = Annotated[
    str,
    typer.Option(envvar="PUBLIC_URL", help="Where Pancake reaches the edge, say https://crm.example.com."),
]

TIME_ZONE_WARNING = """{name}: times without a zone will be read in {after} instead of {before}.
Stored versions keep the time that they were given. Where the new reading is earlier (UTC to
Asia/Ho_Chi_Minh: by 7 hours), a change may look older than the version before it for that long, and its
event ends as `stale`: replay those with `scripts/replay --force`. Polling reads the last day again."""


@dataclass(frozen=True)
class Place:
    """The database and the key ring that the environment names."""

    db: Db
    ring: KeyRing
    now: datetime

    def pick(self, which: str | None) -> dict[str, Any]:
        """The connection of that id or name, or the only one. Raises ChangeRefused."""
        rows = connections.list_connections(self.db, self.now)
        found = [row for row in rows if which is None or which in (row["id"], row["name"])]
        if len(found) != 1:
            names = ", ".join(row["name"] for row in rows) or "none"
            raise ChangeRefused(f"{len(found)} connections fit; there are: {names}")
        return found[0]


@contextmanager
def place() -> Iterator[Place]:
    """Open it in one transaction; what goes wrong is told in a line and ends with exit code 1 or 2."""
    for name in ("DATABASE_URL", "ENCRYPTION_KEYS"):
        if not os.environ.get(name, "").strip():
            typer.echo(f"{name} is not set.", err=True)
            raise typer.Exit(2)
    try:
        ring = KeyRing.parse(os.environ["ENCRYPTION_KEYS"])
        with psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row) as db:
            yield Place(db, ring, datetime.now(UTC))
    except ChangeRefused as error:
        typer.echo(f"Refused: {error}.", err=True)
        raise typer.Exit(1) from error
    except (DecryptionError, psycopg.Error, IntegrationError, ValueError) as error:
        typer.echo(f"{type(error).__name__}: {str(error).strip()}", err=True)
        raise typer.Exit(1) from error


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What people call it.")],
    workspace: Annotated[int, typer.Option(help="Pancake's workspace id.")],
    public_url: PublicUrl,
    table: Annotated[list[str] | None, typer.Option(help="lead, account, contact; may be repeated.")] = None,
    api_url: Annotated[str, typer.Option(help="Base of Pancake's API.")] = "https://crm.pancake.vn/api",
    timezone: Annotated[str, typer.Option(help="How Pancake's naive times are read.")] = "UTC",
    key_file: Annotated[Path | None, typer.Option(help="File with the API key; - is stdin.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Variable with the API key.")] = None,
    no_key: Annotated[bool, typer.Option(help="Set the API key later.")] = False,
    out: OutFile = None,
) -> None:
    """Connect a workspace; shows the webhook URL once."""
    check_free(out)
    key = None if no_key else read_secret("API key", key_file, key_variable)
    with place() as at:
        asked = Workspace(name, workspace, api_url, key, tuple(table or ["lead"]), timezone)
        made = connections.create_connection(at.db, at.ring, asked)
        show_once("Webhook URL", _webhook_url(public_url, made.token), out)
    typer.echo(f"Connection {made.id} is made.", err=True)


@app.command()
def rotate_token(
    public_url: PublicUrl,
    connection: Which = None,
    revoke: Annotated[bool, typer.Option(help="End the old URL at once (it leaked).")] = False,
    again: Annotated[bool, typer.Option(help="Even if the token before is still in its 24 h.")] = False,
    out: OutFile = None,
) -> None:
    """A new webhook URL, shown once; the old one works 24 hours more."""
    check_free(out)
    with place() as at:
        row = at.pick(connection)
        expires = row["previous_token_expires_at"]
        if expires is not None and expires > at.now and not (again or revoke):
            raise ChangeRefused(
                f"the URL before the present one works until {expires:%Y-%m-%d %H:%M} UTC and would end now: "
                "give --again if Pancake no longer uses it"
            )
        grace = timedelta(0) if revoke else connections.TOKEN_GRACE
        token = connections.rotate_token(at.db, row["id"], at.now, grace)
        show_once("New webhook URL", _webhook_url(public_url, token), out)
    typer.echo(f"The old URL works until {at.now + grace:%Y-%m-%d %H:%M} UTC.", err=True)


@app.command()
def set_webhook_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Annotated[bool, typer.Option(help="Make one and show it once.")] = False,
) -> None:  # fmt: skip
    """Set or rotate the secret of signed webhooks; the former one stays valid until `forget`."""
    _store("webhook_secret", connection, file, variable, generate, out)


@app.command()
def set_header_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Annotated[bool, typer.Option(help="Make one and show it once.")] = False,
) -> None:  # fmt: skip
    """Set or rotate the secret that Pancake sends as a custom header; the former one stays valid."""
    _store("header_secret", connection, file, variable, generate, out)
    typer.echo(f"In Pancake's form Request Headers its key is {connections.HEADER_NAME}.", err=True)


@app.command()
def set_api_key(connection: Which = None, file: InFile = None, variable: Variable = None) -> None:
    """Set or rotate the key of Pancake's API; `test` proves it."""
    _store("api_key", connection, file, variable, False, None)


@app.command()
def set_time_zone(
    zone: Annotated[str, typer.Argument(help="Region and city, say Asia/Ho_Chi_Minh, or UTC.")],
    connection: Which = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Change how Pancake's naive times are read, if they were read wrongly."""
    with place() as at:
        row = at.pick(connection)
        typer.echo(
            TIME_ZONE_WARNING.format(name=row["name"], before=row["record_timezone"], after=zone), err=True
        )
        if not yes:
            typer.confirm("Change it?", abort=True, err=True)
        connections.set_time_zone(at.db, row["id"], zone, at.now)


@app.command()
def forget(
    what: Annotated[str, typer.Argument(help="token, webhook_secret or header_secret")],
    connection: Which = None,
) -> None:
    """End what a rotation left valid, at once."""
    if what not in ("token", "webhook_secret", "header_secret"):
        raise typer.BadParameter("token, webhook_secret or header_secret")
    with place() as at:
        connections.forget_previous(at.db, at.pick(connection)["id"], what, at.now)  # type: ignore[arg-type]


@app.command("test")
def prove(connection: Which = None) -> None:
    """Read the workspace's sources with the stored API key; says what is wrong if that fails."""
    with place() as at:
        row = at.pick(connection)
        if row["api_key_encrypted"] is None:
            raise ChangeRefused("no API key is set: scripts/connection set-api-key")
        key = at.ring.decrypt(row["api_key_encrypted"], "api_key")
        access = Access(row["id"], row["api_base_url"], row["workspace_id"], key)
        sources = asyncio.run(_sources(access))
    typer.echo(f"The API key works: {len(sources)} sources.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """Every connection: health, modes, which secrets exist and under which key."""
    with place() as at:
        shown = [describe(row, at.now) for row in connections.list_connections(at.db, at.now)]
        if as_json:
            typer.echo(json.dumps(shown))
        else:
            print_status(shown, at.ring.current, Console())


@app.command()
def rotate_keys(
    batch: Annotated[int, typer.Option(help="Connections per transaction.", min=1, max=1000)] = 100,
) -> None:
    """Seal every secret with the first key of ENCRYPTION_KEYS; afterwards the other keys may leave it."""
    with place() as at:
        changed, seen = connections.reencrypt(at.db, at.ring, batch)
    typer.echo(f"{changed} of {seen} secrets sealed anew with key {at.ring.current}.")


def _store(
    purpose: Secret, which: str | None, file: Path | None, variable: str | None, generate: bool,
    out: Path | None,
) -> None:  # fmt: skip
    check_free(out)
    value = read_secret(purpose.replace("_", " "), file, variable, generate)
    with place() as at:
        connections.store_secret(at.db, at.ring, at.pick(which)["id"], purpose, value, at.now)
        if generate:
            show_once(purpose.replace("_", " "), value, out)
    typer.echo(f"{purpose} is set.", err=True)


def _webhook_url(public_url: str, token: str) -> str:
    return f"{public_url.rstrip('/')}/api/pancake/record/{token}"


async def _sources(access: Access) -> list[dict[str, Any]]:
    pancake = Pancake(Clock())
    try:
        return await pancake.sources(access)
    finally:
        await pancake.aclose()


if __name__ == "__main__":
    app(prog_name="scripts/connection")
