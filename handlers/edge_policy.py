"""Answer which tokens are valid and what a delivery of each connection must prove.

Called by: the edge, `GET /edge/policy`, every 30 seconds and at once on a token that it does not know. The
answer holds decrypted secrets: app.py serves it over loopback or TLS only, and logs only a summary.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import datetime

from leads.adapters.database import Row
from leads.adapters.hasura_calls import Answer
from leads.adapters.secrets import HEADER_NAME, KeyRing, SecretScope, open_sealed
from leads.runtime import Runtime


async def edge_policy(runtime: Runtime) -> Answer:
    """Answer `{version, generated_at, connections}`; the version changes whenever a connection does.

    The version is an HMAC: it is logged, and a plain hash would allow testing guesses of a secret.
    Raises DatabaseUnavailable, and SecretUnreadable rather than leave out a secret: the edge then keeps its
    last policy.
    """
    now = runtime.clock.now()
    rows = await runtime.db.fetch_all("edge_policy/list_connections", {})
    connections = [_connection(row, runtime.settings.key_ring, now) for row in rows]
    text = json.dumps(connections, sort_keys=True).encode()
    version = hmac.digest(runtime.settings.edge_secret.current.encode(), text, "sha256").hex()
    return {"version": version, "generated_at": now.isoformat(), "connections": connections}


def summarize_policy(policy: Answer) -> Mapping[str, object]:
    """Return what the log may show of a policy."""
    return {"version": policy["version"], "connections": len(policy["connections"])}


def _connection(row: Row, key_ring: KeyRing, now: datetime) -> dict[str, object]:
    tokens: list[dict[str, str | None]] = [{"sha256": row["token_sha256"], "expires_at": None}]
    if ends_at := row["previous_token_expires_at"]:
        tokens.append({"sha256": row["previous_token_sha256"], "expires_at": ends_at.isoformat()})
    secrets: dict[str, object] = {}
    for kind in ("webhook_secret", "header_secret"):
        current, ends_at = row[f"{kind}_encrypted"], row[f"previous_{kind}_expires_at"]
        previous = _valid(row[f"previous_{kind}_encrypted"], ends_at, now)
        secrets |= _open(key_ring, SecretScope(kind, row["id"]), current, previous, ends_at)
    return {
        "id": row["id"],
        "token_sha256": tokens,
        "signature_mode": row["signature_mode"],
        "allowlist_mode": row["allowlist_mode"],
        "allowed_ip_ranges": row["allowed_ip_ranges"],
        **secrets,
        "header_name": HEADER_NAME,
    }


def _valid(previous: bytes | None, expires_at: datetime | None, now: datetime) -> bytes | None:
    """Return the previous secret until it ends. The edge compares the time too: it may keep a policy long."""
    return previous if expires_at is not None and expires_at > now else None


def _open(
    key_ring: KeyRing,
    scope: SecretScope,
    current: bytes | None,
    previous: bytes | None,
    expires_at: datetime | None,
) -> dict[str, list[str | None]]:
    """Return current and previous secret in base64, as far as they are set, and when each ends."""
    given = [(current, None), (previous, expires_at.isoformat() if expires_at else None)]
    opened = [
        (base64.b64encode(open_sealed(key_ring, ciphertext, scope).encode()).decode(), end)
        for ciphertext, end in given
        if ciphertext is not None
    ]
    return {
        f"{scope.kind}s": [secret for secret, _ in opened],
        f"{scope.kind}s_expire_at": [end for _, end in opened],
    }
