"""The output of `leads connection status`: which secrets are set and their keys' ids, never the secrets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from leads.adapters.secrets import KeyRing
from leads.services.connection_secrets import CIPHERTEXTS


def describe(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A connection without its ciphertexts; times as ISO text."""
    shown = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in CIPHERTEXTS
    }
    expires = row["previous_token_expires_at"]
    shown["previous_token_valid"] = expires is not None and expires > now
    shown["secrets"] = {
        column.removesuffix("_encrypted"): KeyRing.key_id(row[column]) if row[column] is not None else None
        for column in CIPHERTEXTS
    }
    return shown


def print_status(shown: list[dict[str, Any]], current_key: str, console: Console) -> None:
    """Print a table for each connection, and the keys that are still in use."""
    if not shown:
        console.print("There is no connection yet. Create one with: leads connection create")
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
