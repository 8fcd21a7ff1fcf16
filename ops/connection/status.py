"""The output of `leads connection status`: which secrets are set and their keys' ids, never the secrets."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from leads.adapters.secrets import KeyRing
from ops.connection.connection_secrets import CIPHERTEXTS, ConnectionRow


def describe(row: ConnectionRow, now: datetime) -> dict[str, Any]:
    """Return a connection without its ciphertexts; times as ISO text."""
    columns = asdict(row)
    shown = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in columns.items()
        if name not in CIPHERTEXTS
    }
    expires = row.previous_token_expires_at
    shown["previous_token_valid"] = expires is not None and expires > now
    shown["secrets"] = {column.removesuffix("_encrypted"): _key_id(columns[column]) for column in CIPHERTEXTS}
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


def _key_id(ciphertext: bytes | None) -> str | None:
    return None if ciphertext is None else KeyRing.key_id(ciphertext)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    return "-" if value is None else str(value)
