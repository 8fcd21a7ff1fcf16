"""What the gate makes of a delivery that the database cannot hold."""

import json
from datetime import UTC, datetime
from typing import Any

from leads.domain.body import read_delivery
from leads.domain.canonical_json import payload_hash
from leads.domain.delivery import Arrival, unstorable

NOW = datetime(2026, 5, 14, tzinfo=UTC)


def arrival(body: dict[str, Any] | bytes) -> Arrival:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Arrival(read_delivery(raw), NOW, token_sha256=bytes(32), source_ip="192.0.2.1")


def test_what_the_database_cannot_hold_is_kept_as_bytes_under_the_same_hash() -> None:
    refused = arrival({"id": 1, "n": int("9" * 4000)})
    kept = unstorable(refused)
    assert kept.delivery.payload is None
    assert kept.delivery.record_id is None
    assert kept.delivery.raw == (refused.delivery.payload or "").encode()
    assert kept.delivery.payload_hash == refused.delivery.payload_hash == payload_hash(kept.delivery.raw)
    assert kept.delivery.error_code == "unstorable"
    assert (kept.token_sha256, kept.arrived_at, kept.source_ip) == (bytes(32), NOW, "192.0.2.1")


def test_bytes_that_were_no_json_stay_those_bytes() -> None:
    kept = unstorable(arrival(b"\xff\x00"))
    assert kept.delivery.raw == b"\xff\x00"
