"""`leads connection`: the connections to Pancake workspaces, and their secrets."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import (
    HEADER_NAME,
    MIN_SECRET_CHARACTERS,
    KeyRing,
    Secret,
    SecretScope,
    open_sealed,
)
from leads.domain.errors import PancakeKeyRejected
from leads.domain.hosts import host_of
from ops.clients import db_session
from ops.clients.db_session import QUERIES, DbSession, DictRow
from ops.daily import TEXTS
from ops.daily import connection_secrets as connections
from ops.daily.connection_secrets import CIPHERTEXTS, Previous
from ops.daily.switch import Until, open_alertmanager, silence
from ops.failures import CommandFailed, WrongUsage, file_reason, only_one
from ops.files import private
from ops.output import (
    AsJson,
    ForeignTextConsole,
    examples,
    print_outcome,
    print_result,
    say,
    show_activity,
    times,
    verb_group,
)
from ops.settings import OperatorSettings, check_url, read_operator_settings, read_variable
from ops.switches import check_reason

Which = Annotated[
    str | None, typer.Option("--connection", help="Id or name; needed if there are several connections.")
]
NEEDS = ("DATABASE_URL", "ENCRYPTION_KEYS")
CREATE_FIRST = "Create one with: leads connection create --name NAME --workspace ID"
EXAMPLE = "https://crm.pancake.vn/api"
PublicUrl = Annotated[
    str | None,
    typer.Option(
        help="Where Pancake reaches the edge, for example https://crm.example.com; else PUBLIC_URL."
    ),
]
OutFile = Annotated[Path | None, typer.Option("--out", help="Write the secret to this new file (mode 0600).")]
InFile = Annotated[Path | None, typer.Option("--file", help="Read the secret from this file; - is stdin.")]
Variable = Annotated[str | None, typer.Option(help="Read the secret from this environment variable.")]
ReplaceUnreadable = Annotated[
    bool,
    typer.Option(
        "--replace-unreadable",
        help="Even if a stored secret cannot be opened: its key is lost, or the base URL was changed.",
    ),
]
Generate = Annotated[bool, typer.Option("--generate", help="Generate one and show it once.")]
SAID = TEXTS["connection"]
REASON_HELP = "Why; the admins get it, and the status history keeps it."
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the connection.")]


@dataclass(frozen=True)
class Session:
    """An open transaction and the key ring of the environment."""

    db: DbSession
    ring: KeyRing
    now: datetime

    def find(self, which: str | None, choose: str = "Choose one with --connection") -> DictRow:
        """Return the connection of that id or name, or the only one.

        Raises WrongUsage; `choose` says in its message how to name another one.
        """
        rows = connections.list_connections(self.db, self.now)
        if not rows:
            raise WrongUsage(f"There is no connection yet. {CREATE_FIRST}")
        names = ", ".join(row["name"] for row in rows)
        if which is None and len(rows) > 1:
            raise WrongUsage(f"Ambiguous connection. {choose}: {names}")
        found = {row["id"]: row for row in rows if which in (None, row["id"], row["name"])}
        return only_one(found, "connection", which or "", f"{choose}: {names}")

    def change(self, statement: str, row: DictRow, **params: object) -> DictRow:
        return connections.change(self.db, statement, row["id"], self.now, **params)


@contextmanager
def open_session(settings: OperatorSettings | None = None, command: str = "connection") -> Iterator[Session]:
    """Open one transaction of a command; it is rolled back if the command fails."""
    settings = settings or read_operator_settings(*NEEDS)
    with db_session.open_session(settings.database_url, command, autocommit=False) as db:
        yield Session(db, settings.key_ring, datetime.now(UTC))


def read_settings(public_url: str | None) -> OperatorSettings:
    """Read the variables of a command that prints a webhook URL; the option replaces PUBLIC_URL."""
    if not public_url:
        return read_operator_settings(*NEEDS, "PUBLIC_URL")
    check_url("--public-url", "edge", public_url)
    return replace(read_operator_settings(*NEEDS), public_url=public_url)


def webhook_url(public_url: str, token: str) -> str:
    return f"{public_url.rstrip('/')}/api/pancake/record/{token}"


def check_api_url(url: str, settings: OperatorSettings) -> None:
    """Raise WrongUsage unless it is a base URL to which the API key may be sent."""
    host = host_of(url)
    if host is None:
        raise WrongUsage(f"{url!r} is not a base URL. Give scheme, host and path, for example {EXAMPLE}")
    if host not in settings.pancake_api_hosts:
        raise WrongUsage(
            f"{host} is not in PANCAKE_API_HOSTS. Add it there, in the environment of the handlers too."
        )


def read_secret(
    label: str, file: Path | None, variable: str | None, generate: bool = False, min_characters: int = 1
) -> str:
    """Read a secret from a file (`-` is stdin), a variable or a hidden prompt, or generate one.

    Raises typer.BadParameter if no secret is given, or a shorter one.
    """
    if generate:
        return connections.new_secret()
    if file is not None:
        try:
            value = sys.stdin.read() if str(file) == "-" else file.read_text()
        except (OSError, UnicodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {file_reason(error)}") from error
    elif variable is not None:
        value = read_variable(variable)
    elif sys.stdin.isatty():
        value = typer.prompt(label, hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise typer.BadParameter(f"{label}: give --file or --variable, or run this in a terminal to be asked")
    value = value.strip()
    if not value or any(character.isspace() for character in value):
        raise typer.BadParameter(f"{label}: empty, or with white space inside")
    if len(value) < min_characters:
        raise typer.BadParameter(f"{label}: give at least {min_characters} characters, or --generate")
    return value


def show_once(
    label: str, text: str, document: dict[str, str], file: Path | None, *, as_json: bool
) -> dict[str, str]:
    """Print a secret, or write it to a new file that only its owner may read.

    It is stored only as a hash or encrypted, so it cannot be shown again. Return what the JSON document,
    which the caller prints, says of it.
    """
    if file is None:
        if not as_json:
            say(f"{label}, shown only once:")
            typer.echo(text)
        return document
    try:
        with open(file, "x", opener=private) as out:
            out.write(text + "\n")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be created: {error.strerror}") from error
    say(f"{label} is in {file}.")
    return {"file": str(file)}


def check_free(file: Path | None) -> None:
    """Raise typer.BadParameter if the file for a new secret exists, before anything is changed."""
    if file is not None and (file.exists() or not file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{file} exists already, or its folder does not")


def describe(row: DictRow, now: datetime) -> dict[str, Any]:
    """Return a connection without its ciphertexts; times as ISO text."""
    shown = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in CIPHERTEXTS
    }
    expires = row["previous_token_expires_at"]
    shown["previous_token_valid"] = expires is not None and expires > now
    shown["secrets"] = {
        column.removesuffix("_encrypted"): row[column] and KeyRing.key_id(row[column])
        for column in CIPHERTEXTS
    }
    return shown


def print_status(shown: list[dict[str, Any]], current_key: str, console: Console) -> None:
    if not shown:
        console.print(f"There is no connection yet. {CREATE_FIRST}")
    for connection in shown:
        table = Table(title=f"{connection['name']} ({connection['id']})", show_header=False)
        for name, value in connection.items():
            if name in ("id", "name", "secrets"):
                continue
            table.add_row(name, _as_text(value))
        for name, key_id in connection["secrets"].items():
            table.add_row(name, "not set" if key_id is None else f"set, key {key_id}")
        console.print(table)
    stale = {key for connection in shown for key in connection["secrets"].values() if key is not None}
    stale.discard(current_key)
    if stale:
        console.print(
            f"Keys still in use besides {current_key}: {', '.join(sorted(stale))}. "
            "Before you remove them from ENCRYPTION_KEYS, run: leads connection rotate-keys"
        )


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    return "-" if value is None else str(value)


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
    with open_session(settings) as session:
        connections.check_ring(session.ring, connections.list_connections(session.db, session.now))
        created = connections.create_connection(
            session.db, session.ring, name, workspace, api_url, key,
            table_names=table or ["lead"], record_timezone=timezone,
        )  # fmt: skip
        url = webhook_url(settings.public_url, created.token)
        lines = f"{url}\n{HEADER_NAME}: {created.header_secret}"
        new = {"webhook_url": url, "header_name": HEADER_NAME, "header_secret": created.header_secret}
        shown = show_once("Webhook URL and request header", lines, new, out, as_json=as_json)
    message = f'Created connection "{name}" ({created.id}).'
    print_outcome({"id": created.id, "name": name} | shown, message, as_json=as_json)


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
        say(SAID["time_zone_warning"].format(name=row["name"], before=row["record_timezone"], after=zone))
        if not yes:
            typer.confirm("Change it?", abort=True, err=True)
        connections.check_time_zone(zone)
        session.change("connection_secrets/set_time_zone", row, zone=zone)
    message = f"{row['name']}: the time zone is {zone}."
    print_outcome({"id": row["id"], "record_timezone": zone}, message, as_json=as_json)


@app.command("test", epilog=examples("connection test --connection Diva"))
def check_key(connection: Which = None, as_json: AsJson = False) -> None:
    """Read the workspace's sources from Pancake with the stored API key.

    Exit code 1: no key is set, or Pancake rejects it. Exit code 3: Pancake does not answer.
    """
    settings = read_operator_settings(*NEEDS)
    with open_session(settings) as session:
        row = session.find(connection)
        if row["api_key_encrypted"] is None:
            raise CommandFailed("No API key is set. Set it with: leads connection set-api-key")
        key = open_sealed(
            session.ring, row["api_key_encrypted"], SecretScope("api_key", row["id"], row["api_base_url"])
        )
    access = Access(row["id"], row["api_base_url"], row["workspace_id"], key)
    try:
        sources = asyncio.run(_count_sources(access, settings))
    except PancakeKeyRejected as error:
        raise CommandFailed(
            f"Pancake rejected the API key: {error} Set another with: leads connection set-api-key"
        ) from error
    works = f"The API key works: {times(sources, 'source')}."
    print_result({"id": row["id"], "sources": sources}, works, as_json=as_json)


@app.command(epilog=examples("connection status", "connection status --json"))
def status(as_json: AsJson = False) -> None:
    """Show every connection: its health and modes, which secrets are set, and their keys' ids."""
    with open_session() as session:
        rows = connections.list_connections(session.db, session.now)
        shown = [describe(row, session.now) for row in rows]
    print_result(
        shown, lambda: print_status(shown, session.ring.current, ForeignTextConsole()), as_json=as_json
    )


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
        named = session.db.execute(QUERIES["connection_secrets/list_erasure_keys"]).fetchall()
        kept = [row["key_id"] for row in named if row["key_id"] != session.ring.current]
    text = f"Sealed {changed} of {seen} secrets with key {session.ring.current}."
    if kept:
        text += f"\nKeep these keys, which erasures of customers name: {', '.join(kept)}"
    document = {"sealed": changed, "secrets": seen, "key": session.ring.current, "keep": kept}
    print_result(document, text, as_json=as_json)


async def _count_sources(access: Access, settings: OperatorSettings) -> int:
    pancake = PancakeApi(Clock(), settings.pancake_api_hosts)
    try:
        return len(await pancake.sources(access))
    finally:
        await pancake.aclose()


@app.command(epilog=examples("connection rotate-token --out url.txt"))
def rotate_token(
    connection: Which = None,
    public_url: PublicUrl = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="End the old URL at once (it leaked).")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Even if the URL before the present one is still valid.")
    ] = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a new webhook URL and show it once; the old one works for 24 more hours."""
    check_free(out)
    settings = read_settings(public_url)
    with open_session(settings) as session:
        row = session.find(connection)
        expires = row["previous_token_expires_at"]
        if expires is not None and expires > session.now and not (again or revoke):
            raise CommandFailed(
                f"Refused: the URL before the present one works until {expires:%Y-%m-%d %H:%M} UTC and would"
                " end now. Give --again if Pancake no longer uses it."
            )
        grace = timedelta(0) if revoke else connections.GRACE
        token = connections.rotate_token(session.db, row["id"], session.now, grace)
        url = webhook_url(settings.public_url, token)
        shown = show_once("New webhook URL", url, {"webhook_url": url}, out, as_json=as_json)
    expires_at = session.now + grace
    document = {"id": row["id"], "previous_token_expires_at": expires_at.isoformat()} | shown
    print_outcome(document, f"The old URL works until {expires_at:%Y-%m-%d %H:%M} UTC.", as_json=as_json)


@app.command(epilog=examples("connection set-webhook-secret --generate --out secret.txt"))
def set_webhook_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Generate = False, replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the secret that signs webhooks; the former one works for 24 more hours."""
    _store("webhook_secret", connection, file, variable, generate, out, replace_unreadable, as_json)


@app.command(epilog=examples("connection set-header-secret --generate --out secret.txt"))
def set_header_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Generate = False, replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the secret of Pancake's custom header; the former one works for 24 more hours."""
    _store("header_secret", connection, file, variable, generate, out, replace_unreadable, as_json)
    say(f"Enter it in Pancake under Request Headers with the key {HEADER_NAME}.")


@app.command(epilog=examples("connection set-api-key --file api-key.txt"))
def set_api_key(
    connection: Which = None, file: InFile = None, variable: Variable = None,
    replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the key of Pancake's API, for the base URL; try it with `leads connection test`."""
    _store("api_key", connection, file, variable, False, None, replace_unreadable, as_json)


@app.command(epilog=examples("connection forget webhook_secret"))
def forget(
    what: Annotated[Previous, typer.Argument(help="token, webhook_secret or header_secret")],
    connection: Which = None,
    as_json: AsJson = False,
) -> None:
    """End at once what a rotation left valid."""
    with open_session() as session:
        row = session.find(connection)
        session.change("connection_secrets/clear_previous", row, purpose=what)
    message = f"{row['name']}: the former {what.replace('_', ' ')} is no longer valid."
    print_outcome({"id": row["id"], "forgotten": what}, message, as_json=as_json)


def _store(
    purpose: Secret, which: str | None, file: Path | None, variable: str | None, generate: bool,
    out: Path | None, replace_unreadable: bool, as_json: bool,
) -> None:  # fmt: skip
    """Store a secret. Raises SecretUnreadable if the keys do not open what the connection has."""
    check_free(out)
    label = purpose.replace("_", " ")
    # Pancake alone decides how long an API key is.
    min_characters = 1 if purpose == "api_key" else MIN_SECRET_CHARACTERS
    value = read_secret(label, file, variable, generate, min_characters)
    with open_session() as session:
        row = session.find(which)
        if not replace_unreadable:
            connections.check_ring(session.ring, [row])
        had_one = row[f"{purpose}_encrypted"] is not None
        use = SecretScope(purpose, row["id"], row["api_base_url"])
        connections.store_secret(session.db, session.ring, use, value, session.now)
        if replace_unreadable and purpose != "api_key":
            session.change("connection_secrets/clear_previous", row, purpose=purpose)
        shown = show_once(label, value, {"secret": value}, out, as_json=as_json) if generate else {}
    message = f"{row['name']}: the {label} is set."
    print_outcome({"id": row["id"], "stored": purpose} | shown, message, as_json=as_json)
    if had_one and purpose != "api_key" and not replace_unreadable:
        say(f"The former one works until {session.now + connections.GRACE:%Y-%m-%d %H:%M} UTC.")


@app.command(epilog=examples('connection disable Diva --reason "new workspace"'))
def disable(
    name: Name,
    reason: Annotated[str, typer.Option(help=REASON_HELP)],
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Hold every lead of a connection until it is enabled; its URL stays valid.

    A connection that is disabled already stays as it is.
    """
    _change("disabled", name, reason, until, as_json)


@app.command(epilog=examples("connection enable Diva"))
def enable(
    name: Name, reason: Annotated[str | None, typer.Option(help=REASON_HELP)] = None, as_json: AsJson = False
) -> None:
    """Process the leads of a disabled connection again; held ones need `leads replay`.

    A connection that is not disabled stays as it is.
    """
    _change("active", name, reason, None, as_json)


def _change(
    status: Literal["active", "disabled"],
    which: str,
    reason: str | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    reason = check_reason(reason) if reason is not None else None
    alertmanager = open_alertmanager(until, is_holding=status == "disabled")
    with open_session() as session:
        row = session.find(which, choose="Choose one of")
        change = session.change("connection_secrets/set_status", row, after=status, reason=reason)
    labels = {"alertname": "PancakeConnectionOff", "connection": row["id"]}
    silence(alertmanager, labels, until, reason or "", f"{row['name']} is {status}")
    before, is_changed = change["before"], change["is_changed"]
    now = {"id": row["id"], "status": status if is_changed else before}
    named = {"name": row["name"], "argument": quote(row["name"]), "before": before}
    message = SAID[status if is_changed else f"still_{status}"].format_map(named)
    print_outcome(now | {"before": before, "changed": is_changed}, message, as_json=as_json)
