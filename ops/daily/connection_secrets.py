"""Create connections, change their secrets and status; handlers only read them.

Of a token only the SHA-256 is stored. The other secrets are sealed with the key ring."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import uuid4
from zoneinfo import available_timezones

from leads.adapters.secrets import KeyRing, Secret, SecretScope, open_sealed
from ops.clients.db_session import QUERIES, DbSession, DictRow, load_row
from ops.failures import CommandFailed

GRACE = timedelta(hours=24)
"""How long a rotation leaves the former webhook URL or secret valid."""

CIPHERTEXTS: Mapping[str, Secret] = {
    "api_key_encrypted": "api_key",
    "webhook_secret_encrypted": "webhook_secret",
    "previous_webhook_secret_encrypted": "webhook_secret",
    "header_secret_encrypted": "header_secret",
    "previous_header_secret_encrypted": "header_secret",
}
"""The columns of pancake_connection that hold sealed secrets."""
_LOWEST_ID = "00000000-0000-0000-0000-000000000000"
Previous = Literal["token", "webhook_secret", "header_secret"]
"""What a rotation leaves valid."""


class Connected(NamedTuple):
    """A new connection, its webhook token, which is not stored, and its header secret."""

    id: str
    token: str
    header_secret: str


def new_secret() -> str:
    """Return 256 random bits as URL-safe text."""
    return secrets.token_urlsafe(32)


def create_connection(
    db: DbSession, ring: KeyRing, name: str, workspace_id: int, api_base_url: str, api_key: str | None = None,
    *, table_names: Sequence[str] = ("lead",), record_timezone: str = "UTC",
    connection_id: str | None = None, token: str | None = None, header_secret: str | None = None,
) -> Connected:  # fmt: skip
    """Store a connection, with a header secret in mode `monitor`: deliveries without it are counted.

    Without `connection_id`, `token` and `header_secret` new ones are generated. Raises CommandFailed if the
    workspace is connected already.
    """
    check_time_zone(record_timezone)
    new = Connected(connection_id or str(uuid4()), token or new_secret(), header_secret or new_secret())
    params = {
        "id": new.id, "name": name, "workspace_id": workspace_id, "table_names": list(table_names),
        "api_base_url": api_base_url, "record_timezone": record_timezone,
        "api_key": seal(ring, api_key, SecretScope("api_key", new.id, api_base_url)) if api_key else None,
        "header_secret": seal(ring, new.header_secret, SecretScope("header_secret", new.id)),
        "token_sha256": sha256(new.token.encode()).digest(),
    }  # fmt: skip
    if db.execute(QUERIES["connection_secrets/insert_connection"], params).fetchone() is None:
        raise CommandFailed(f"Refused: Workspace {workspace_id} is connected already.")
    return new


def rotate_token(db: DbSession, connection_id: str, now: datetime, grace: timedelta = GRACE) -> str:
    """Replace the token; the previous one works until `now + grace`."""
    token = new_secret()
    params = {"token_sha256": sha256(token.encode()).digest(), "expires_at": now + grace}
    change(db, "connection_secrets/set_token", connection_id, now, **params)
    return token


def store_secret(db: DbSession, ring: KeyRing, scope: SecretScope, value: str, now: datetime) -> None:
    """Set or rotate a secret; the previous webhook or header secret works until `now + GRACE`."""
    params = {"purpose": scope.kind, "encrypted": seal(ring, value, scope), "expires_at": now + GRACE}
    change(db, "connection_secrets/store_secret", scope.connection_id, now, **params)


def change(db: DbSession, statement: str, connection_id: str, now: datetime, **params: object) -> DictRow:
    """Change a connection, which is there: none is ever removed. Return the row of the statement."""
    return load_row(db, statement, {"id": connection_id, "now": now, **params})


def check_ring(ring: KeyRing, rows: Iterable[DictRow]) -> None:
    """Raise SecretUnreadable unless the ring opens every stored secret of these connections."""
    for row in rows:
        for column, scope in stored_uses(row["id"], row["api_base_url"]):
            ciphertext: bytes | None = row[column]
            if ciphertext is not None:
                open_sealed(ring, ciphertext, scope)


def check_time_zone(zone: str) -> None:
    """Raise CommandFailed unless Python and PostgreSQL read the name alike.

    PostgreSQL also accepts abbreviations (`ICT`, `CET` without its summer time), POSIX rules (`UTC+7` is
    seven hours west of Greenwich) and any case.
    """
    if zone != "UTC" and ("/" not in zone or zone not in available_timezones()):
        raise CommandFailed(
            f"Refused: Unknown time zone {zone}. Use a region and city, for example Asia/Ho_Chi_Minh."
        )


def list_connections(db: DbSession, now: datetime) -> list[DictRow]:
    return db.execute(QUERIES["connection_secrets/list_connections"], {"now": now}).fetchall()


def reencrypt(db: DbSession, ring: KeyRing, rows_per_batch: int = 100) -> tuple[int, int]:
    """Seal every secret with the current key, one transaction per batch; return (changed, all).

    Raises SecretUnreadable if the ring does not open a secret; that batch is rolled back.
    """
    changed = seen = 0
    after = _LOWEST_ID
    while True:
        with db.transaction():
            rows = db.execute(
                QUERIES["connection_secrets/lock_ciphertexts"], {"after": after, "limit": rows_per_batch}
            ).fetchall()
            for row in rows:
                fresh = {
                    column: None if row[column] is None else reseal(ring, row[column], scope)
                    for column, scope in stored_uses(row["id"], row["api_base_url"])
                }
                seen += sum(value is not None for value in fresh.values())
                different = sum(fresh[column] != row[column] for column in CIPHERTEXTS)
                if different:
                    db.execute(QUERIES["connection_secrets/store_ciphertexts"], {"id": row["id"], **fresh})
                    changed += different
        if len(rows) < rows_per_batch:
            return changed, seen
        after = rows[-1]["id"]


def stored_uses(connection_id: str, base_url: str) -> list[tuple[str, SecretScope]]:
    """Return every column of CIPHERTEXTS, and what its secret is sealed for."""
    return [(column, SecretScope(secret, connection_id, base_url)) for column, secret in CIPHERTEXTS.items()]


def seal(ring: KeyRing, value: str, scope: SecretScope) -> bytes:
    return ring.encrypt(value, scope.text)


def reseal(ring: KeyRing, ciphertext: bytes, scope: SecretScope) -> bytes:
    """Return the secret sealed with the current key: unchanged if it is. Raises SecretUnreadable."""
    value = open_sealed(ring, ciphertext, scope)
    return ciphertext if ring.key_id(ciphertext) == ring.current else seal(ring, value, scope)
