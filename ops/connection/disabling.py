"""Commands that disable a connection and enable it again."""

from typing import Annotated, Literal

import typer

from ops.connection import connection_secrets as connections
from ops.connection.session import open_session
from ops.output import AsJson, examples, print_json, say

MAX_REASON_CHARACTERS = 200
REASON_HELP = "Why; the admins get it, and the status history keeps it."
DISABLED = """{name}: disabled (before: {before}).
Its webhook still answers 200. Its leads are stored as skipped_source_disabled and make no tickets; polling,
reconciliation and checks leave it out. Undo it with: leads connection enable {name}"""
ENABLED = """{name}: active (before: disabled).
Process what was held meanwhile: leads replay --status skipped_source_disabled --drain"""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the connection.")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to `leads connection`."""
    app.command(epilog=examples('connection disable Diva --reason "new workspace"'))(disable)
    app.command(epilog=examples("connection enable Diva"))(enable)


def disable(
    name: Name,
    reason: Annotated[str, typer.Option(help=REASON_HELP)],
    as_json: AsJson = False,
) -> None:
    """Hold every lead of a connection until it is enabled; its URL stays valid.

    A connection that is disabled already stays as it is.
    """
    _change("disabled", name, reason, as_json)


def enable(
    name: Name,
    reason: Annotated[str | None, typer.Option(help=REASON_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Process the leads of a disabled connection again; held ones need `leads replay`.

    A connection that is not disabled stays as it is.
    """
    _change("active", name, reason, as_json)


def _change(status: Literal["active", "disabled"], which: str, reason: str | None, as_json: bool) -> None:
    if reason is not None and not 0 < len(reason.strip()) <= MAX_REASON_CHARACTERS:
        raise typer.BadParameter(f"--reason has 1 to {MAX_REASON_CHARACTERS} characters")
    with open_session() as session:
        row = session.find(which, choose="Choose one of")
        change = connections.change_status(session.db, row.id, status, reason, session.now)
    if as_json:
        after = status if change.is_changed else change.before
        print_json({"id": row.id, "status": after, "before": change.before, "changed": change.is_changed})
    if change.is_changed:
        say((DISABLED if status == "disabled" else ENABLED).format(name=row.name, before=change.before))
    elif status == "disabled":
        say(f"{row.name}: disabled already.")
    else:
        say(f"{row.name}: not disabled, its status is {change.before}.")
