"""What passes the gate into pancake_webhook_event, from whichever layer, as parameters of one statement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from leads.domain.body import Delivery
from leads.domain.canonical_json import payload_hash


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery with how it came: by a token (webhook) or for a connection (polling, reconciliation)."""

    delivery: Delivery
    arrived_at: datetime
    token_sha256: bytes | None = None
    connection_id: str | None = None
    source_ip: str | None = None


def columns(arrivals: Sequence[Arrival], origin: str, now: datetime) -> dict[str, Any]:
    """Parameters of sql/ingest_record/store_deliveries.sql, for arrivals of one origin.

    The deliveries travel as one JSON array, `ordinal` counting from 0: sixteen PostgreSQL arrays cost psycopg
    twenty times as much to write.
    """
    deliveries = [_item(ordinal, arrival) for ordinal, arrival in enumerate(arrivals)]
    return {"origin": origin, "now": now, "deliveries": json.dumps(deliveries, ensure_ascii=False)}


def _item(ordinal: int, arrival: Arrival) -> dict[str, Any]:
    delivery = arrival.delivery
    time = delivery.modified_on
    return {
        "ordinal": ordinal,
        "connection_id": arrival.connection_id,
        "token_sha256": arrival.token_sha256.hex() if arrival.token_sha256 else None,
        "arrived_at": arrival.arrived_at.isoformat(),
        "source_ip": arrival.source_ip,
        "record_id": delivery.record_id,
        "table_id": delivery.table_name,
        "modified_at": time.isoformat() if time and time.tzinfo else None,
        "modified_local": time.isoformat() if time and not time.tzinfo else None,
        "payload_hash": delivery.payload_hash.hex(),
        "payload": delivery.payload,
        "raw": delivery.raw.hex() if delivery.raw is not None else None,
        "source_ids": delivery.source_ids,
        "error_code": delivery.error_code,
        "error_detail": delivery.error_detail,
        "notes": delivery.notes or None,
    }


def unstorable(arrival: Arrival) -> Arrival:
    """The same arrival kept as raw bytes, for JSON that PostgreSQL cannot hold (a huge number)."""
    delivery = arrival.delivery
    raw = (delivery.payload or "").encode() or delivery.raw or b""
    kept = Delivery(
        payload_hash=payload_hash(raw),
        raw=raw,
        error_code="unstorable",
        error_detail="The body is JSON that the database cannot hold.",
    )
    return replace(arrival, delivery=kept)
