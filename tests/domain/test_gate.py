"""What passes the gate, as parameters of one statement."""

import json
from datetime import UTC, datetime
from typing import Any

from domain.gate import Arrival, columns, unstorable
from domain.identity import payload_hash
from domain.record import read_delivery
from runtime.queries import QUERIES

NOW = datetime(2026, 5, 14, tzinfo=UTC)


def arrival(body: dict[str, Any] | bytes) -> Arrival:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Arrival(read_delivery(raw), NOW, token_sha256=bytes(32), source_ip="192.0.2.1")


def test_every_list_has_one_value_for_each_arrival() -> None:
    params = columns(
        [arrival({"id": 1}), arrival(b"nope"), arrival({"id": 2, "source": [5]})], "webhook", NOW
    )
    lists = {name: value for name, value in params.items() if isinstance(value, list)}
    assert {len(value) for value in lists.values()} == {3}
    assert params["ordinal"] == [0, 1, 2]
    assert set(params) - set(lists) == {"origin", "now"}


def test_the_parameters_are_those_of_the_statement() -> None:
    text = QUERIES["ingest_record/store_deliveries"].decode()
    assert all(f"%({name})s" in text for name in columns([], "webhook", NOW))


def test_aware_and_naive_times_go_into_columns_of_their_own() -> None:
    params = columns(
        [
            arrival({"id": 1, "modified_on": "2026-05-14T02:35:56"}),
            arrival({"id": 2, "modified_on": "2026-05-14T02:35:56Z"}),
            arrival({"id": 3}),
        ],
        "webhook",
        NOW,
    )
    assert [time is not None for time in params["modified_local"]] == [True, False, False]
    assert [time is not None for time in params["modified_at"]] == [False, True, False]


def test_sources_travel_as_json_so_that_no_text_can_break_out() -> None:
    (sources,) = columns([arrival({"id": 1, "source": ['"},x', "{a,b}"]})], "webhook", NOW)["sources"]
    assert json.loads(sources) == ['"},x', "{a,b}"]


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
