"""ingest_record keeps what cannot be processed, with its reason."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from leads.domain.canonical_json import MAX_BODY_BYTES
from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD

INVALID = (
    (b"", "invalid_json"),
    (b"not json", "invalid_json"),
    (b"\xff\xfe\x00", "invalid_json"),
    (b"[]", "invalid_json"),
    (b'{"id": "a", "n": NaN}', "invalid_json"),
    (b'{"id": "a\\ud800"}', "invalid_json"),
    (b"[" * 5000 + b"]" * 5000, "too_deep"),
    (b'{"id": "' + b"x" * MAX_BODY_BYTES + b'"}', "too_large"),
    (b'{"id": "a", "n": 1e100}', "unstorable"),
    (b'{"name": "no id"}', "missing_record_id"),
    (b'{"id": null}', "missing_record_id"),
    (b"{}", "test_ping"),
    (b'{"test": true}', "test_ping"),
)


@pytest.mark.test_case("TC-018")
async def test_a_body_that_cannot_be_processed_is_stored_with_its_reason(harness: HandlerHarness) -> None:
    for body, error_code in INVALID:
        found = await harness.deliver(body)
        event = harness.event(found["event_id"])
        assert found == ingest_answer("dead_letter", event["id"], error_code)
        assert (event["status"], event["error_code"]) == ("dead_letter", error_code)
        assert event["error_detail"]
        if event["raw"] is None:
            assert event["payload"] == json.loads(body)
        else:
            assert bytes(event["raw"]) == body


async def test_a_row_that_the_database_refuses_does_not_fail_the_rest_of_its_batch(
    harness: HandlerHarness,
) -> None:
    bad = '{"id": "bad", "source": ["-1"], "n": ' + "9" * 140_000 + "}"
    bodies: list[Any] = [LEAD | {"id": f"r-{n}"} for n in range(40)]
    bodies[20:20] = [bad, b"not json"]
    answers = await asyncio.gather(*(harness.deliver(body) for body in bodies))
    assert Counter(a["status"] for a in answers) == {"received": 40, "dead_letter": 2}
    assert answers[20]["error_code"] == "unstorable"
    assert bytes(harness.event(answers[20]["event_id"])["raw"]).startswith(b'{"id":"bad"')
    assert (await harness.deliver(bad))["status"] == "duplicate"


async def test_numbers_keep_their_value(harness: HandlerHarness) -> None:
    found = await harness.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64}, 1e40, 0.1]}}')
    event = harness.one(
        "SELECT record_id, (payload -> 'n' -> 0)::text AS big, length((payload -> 'n' -> 1)::text) AS digits"
        " FROM pancake_webhook_event WHERE id = %s",
        found["event_id"],
    )
    assert event == {"record_id": str(2**64 + 1), "big": str(2**64), "digits": 41}
    other = await harness.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64 + 1}, 1e40, 0.1]}}')
    assert other["status"] == "received"


async def test_nul_is_removed_and_recorded(harness: HandlerHarness) -> None:
    found = await harness.deliver(
        '{"id": "a\\u0000b", "name": "\\u0000", "k\\u0000": 1, "source": ["-1\\u0000"]}'
    )
    event = harness.event(found["event_id"])
    assert event["status"] == "received"
    assert (event["record_id"], event["source_ids"]) == ("ab", ["-1"])
    assert "nul_removed" in str(event["evidence"]["notes"])


async def test_invalid_bodies_stay_dead_letters_while_the_kill_switch_is_on(harness: HandlerHarness) -> None:
    harness.change_settings(kill_switch=True)
    assert (await harness.deliver(b"nope"))["status"] == "dead_letter"
