"""Tell the edge which tokens are valid and what a delivery of each connection must prove.

Called by: the edge, `GET /edge/policy`, every 30 seconds and at once on a token it does not know. The answer
carries decrypted secrets: app.py lets it out over loopback or TLS alone, and no log line quotes it.
"""

import base64
import hmac
import json
from collections.abc import Sequence
from typing import Any

from leads.adapters.database import Row
from leads.services.connection_secrets import HEADER_NAME
from leads.services.runtime import Answer, Runtime


async def edge_policy(on: Runtime) -> Answer:
    """Answers `{version, generated_at, connections}`; the version changes whenever a connection does.

    Logs tell the version; it is keyed, so that nobody can try out by it what a secret might be.

    Raises DatabaseUnavailable, and DecryptionError rather than a policy with a secret missing: the edge keeps
    the last one it got.
    """
    rows = await on.db.fetch_all("edge_policy/list_connections", {})
    connections = [_connection(on, row) for row in rows]
    stated = json.dumps(connections, sort_keys=True).encode()
    version = hmac.digest(on.settings.edge_secrets[0].encode(), stated, "sha256").hex()
    return {"version": version, "generated_at": on.clock.now().isoformat(), "connections": connections}


def _connection(on: Runtime, row: Row) -> dict[str, Any]:
    tokens: list[dict[str, str | None]] = [{"sha256": row["token_sha256"], "expires_at": None}]
    if row["previous_token_sha256"] is not None:
        expires = row["previous_token_expires_at"].isoformat()
        tokens.append({"sha256": row["previous_token_sha256"], "expires_at": expires})
    return {
        "id": row["id"],
        "token_sha256": tokens,
        "signature_mode": row["signature_mode"],
        "allowlist_mode": row["allowlist_mode"],
        "allowed_ip_ranges": row["allowed_ip_ranges"],
        "webhook_secrets": _secrets(on, row, "webhook_secret"),
        "header_secrets": _secrets(on, row, "header_secret"),
        "header_name": HEADER_NAME,
    }


def _secrets(on: Runtime, row: Row, name: str) -> Sequence[str]:
    """The current and the previous secret in base64, as far as they are set."""
    encrypted = (row[f"{name}_encrypted"], row[f"previous_{name}_encrypted"])
    return [
        base64.b64encode(on.settings.key_ring.decrypt(bytes(each), name).encode()).decode()
        for each in encrypted
        if each is not None
    ]
