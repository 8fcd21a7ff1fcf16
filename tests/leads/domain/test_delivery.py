"""Storing a delivery that the database cannot hold as JSON."""

import json
from datetime import UTC, datetime
from typing import Any

from leads.domain.body import read_body
from leads.domain.canonical_json import payload_hash
from leads.domain.delivery import Delivery

NOW = datetime(2026, 5, 14, tzinfo=UTC)


def delivery(body: dict[str, Any] | bytes) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(read_body(raw), NOW, token_sha256=bytes(32), source_ip="192.0.2.1")


def test_a_body_that_the_database_cannot_hold_is_stored_as_bytes_with_the_same_hash() -> None:
    refused = delivery({"id": 1, "n": int("9" * 4000)})
    kept = refused.as_raw()
    assert kept.body.payload is None
    assert kept.body.record_id is None
    assert kept.body.raw == (refused.body.payload or "").encode()
    assert kept.body.payload_hash == refused.body.payload_hash == payload_hash(kept.body.raw)
    assert kept.body.error_code == "unstorable"
    assert (kept.token_sha256, kept.arrived_at, kept.source_ip) == (bytes(32), NOW, "192.0.2.1")


def test_bytes_that_are_no_json_are_stored_unchanged() -> None:
    kept = delivery(b"\xff\x00").as_raw()
    assert kept.body.raw == b"\xff\x00"
