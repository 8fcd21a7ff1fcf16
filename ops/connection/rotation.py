"""Commands that set, rotate and end the secrets of a connection."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from leads.adapters.secrets import HEADER_NAME, MIN_SECRET_CHARACTERS, Secret, SecretScope
from ops.connection import connection_secrets as connections
from ops.connection.connection_secrets import ConnectionRow
from ops.connection.inputs import (
    Generate,
    InFile,
    OutFile,
    ReplaceUnreadable,
    Variable,
    check_free,
    read_secret,
    show_once,
)
from ops.connection.session import Session, Which, open_session
from ops.connection.urls import PublicUrl, read_settings, webhook_url
from ops.failures import CommandFailed
from ops.output import AsJson, examples, print_json, say


class Previous(StrEnum):
    """What a rotation leaves valid."""

    TOKEN = "token"  # noqa: S105 - a kind of secret, not a secret
    WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - a kind of secret, not a secret
    HEADER_SECRET = "header_secret"  # noqa: S105 - a kind of secret, not a secret


def add_commands(app: typer.Typer) -> None:
    """Add these commands to `leads connection`."""
    app.command(epilog=examples("connection rotate-token --out url.txt"))(rotate_token)
    app.command(epilog=examples("connection set-webhook-secret --generate --out secret.txt"))(
        set_webhook_secret
    )
    app.command(epilog=examples("connection set-header-secret --generate --out secret.txt"))(
        set_header_secret
    )
    app.command(epilog=examples("connection set-api-key --file api-key.txt"))(set_api_key)
    app.command(epilog=examples("connection forget webhook_secret"))(forget)


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
        if not (again or revoke):
            _check_previous_token(session, row)
        grace = timedelta(0) if revoke else connections.GRACE
        token = connections.rotate_token(session.db, row.id, session.now, grace)
        url = webhook_url(settings.public_url, token)
        show_once("New webhook URL", url, out, printed=not as_json)
    expires_at = session.now + grace
    if as_json:
        shown = {"webhook_url": url} if out is None else {"file": str(out)}
        print_json({"id": row.id, "previous_token_expires_at": expires_at.isoformat()} | shown)
    say(f"The old URL works until {expires_at:%Y-%m-%d %H:%M} UTC.")


def set_webhook_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Generate = False, replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the secret that signs webhooks; the former one works for 24 more hours."""
    _store("webhook_secret", connection, file, variable, generate, out, replace_unreadable, as_json)


def set_header_secret(
    connection: Which = None, file: InFile = None, variable: Variable = None, out: OutFile = None,
    generate: Generate = False, replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the secret of Pancake's custom header; the former one works for 24 more hours."""
    _store("header_secret", connection, file, variable, generate, out, replace_unreadable, as_json)
    say(f"Enter it in Pancake under Request Headers with the key {HEADER_NAME}.")


def set_api_key(
    connection: Which = None, file: InFile = None, variable: Variable = None,
    replace_unreadable: ReplaceUnreadable = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set or rotate the key of Pancake's API, for the base URL; try it with `leads connection test`."""
    _store("api_key", connection, file, variable, False, None, replace_unreadable, as_json)


def forget(
    what: Annotated[Previous, typer.Argument(help="token, webhook_secret or header_secret")],
    connection: Which = None,
    as_json: AsJson = False,
) -> None:
    """End at once what a rotation left valid."""
    with open_session() as session:
        row = session.find(connection)
        connections.forget_previous(session.db, row.id, what.value, session.now)
    if as_json:
        print_json({"id": row.id, "forgotten": what.value})
    say(f"{row.name}: the former {what.value.replace('_', ' ')} is no longer valid.")


def _check_previous_token(session: Session, row: ConnectionRow) -> None:
    """Raise CommandFailed if the rotation would end a URL that is still valid."""
    expires = row.previous_token_expires_at
    if expires is not None and expires > session.now:
        raise CommandFailed(
            f"Refused: the URL before the present one works until {expires:%Y-%m-%d %H:%M} UTC and would end "
            "now. Give --again if Pancake no longer uses it."
        )


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
        had_one = getattr(row, f"{purpose}_encrypted") is not None
        use = SecretScope(purpose, row.id, row.api_base_url)
        connections.store_secret(session.db, session.ring, use, value, session.now)
        if replace_unreadable and purpose != "api_key":
            connections.forget_previous(session.db, row.id, purpose, session.now)
        if generate:
            show_once(label, value, out, printed=not as_json)
    if as_json:
        shown = {"secret": value} if generate and out is None else {"file": str(out)} if generate else {}
        print_json({"id": row.id, "stored": purpose} | shown)
    say(f"{row.name}: the {label} is set.")
    if had_one and purpose != "api_key" and not replace_unreadable:
        say(f"The former one works until {session.now + connections.GRACE:%Y-%m-%d %H:%M} UTC.")
