"""What passes the gate into pancake_webhook_event, from whichever layer, as parameters of one statement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.identity import payload_hash
from domain.record import Delivery


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery with how it came: by a token (webhook) or for a connection (polling, reconciliation)."""

    delivery: Delivery
    arrived_at: datetime
    token_sha256: bytes | None = None
    connection_id: str | None = None
    source_ip: str | None = None


def columns(arrivals: Sequence[Arrival], origin: str, now: datetime) -> dict[str, Any]:
    """Parameters of sql/ingest_record/store_deliveries.sql, for arrivals of one origin."""
    deliveries = [arrival.delivery for arrival in arrivals]
    times = [delivery.modified_on for delivery in deliveries]
    return {
        "origin": origin,
        "now": now,
        "ordinal": list(range(len(arrivals))),
        "connection_id": [arrival.connection_id for arrival in arrivals],
        "token_sha256": [arrival.token_sha256 for arrival in arrivals],
        "arrived_at": [arrival.arrived_at for arrival in arrivals],
        "source_ip": [arrival.source_ip for arrival in arrivals],
        "record_id": [delivery.record_id for delivery in deliveries],
        "table_id": [delivery.table_name for delivery in deliveries],
        "modified_at": [time if time and time.tzinfo else None for time in times],
        "modified_local": [time if time and not time.tzinfo else None for time in times],
        "payload_hash": [delivery.payload_hash for delivery in deliveries],
        "payload": [delivery.payload for delivery in deliveries],
        "raw": [delivery.raw for delivery in deliveries],
        "sources": [json.dumps(delivery.source_ids) for delivery in deliveries],
        "error_code": [delivery.error_code for delivery in deliveries],
        "error_detail": [delivery.error_detail for delivery in deliveries],
        "notes": [",".join(delivery.notes) or None for delivery in deliveries],
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
