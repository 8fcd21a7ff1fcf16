"""The action that stores a delivery before it answers: one row each, once, never a 500.

And what holds a lead: the kill switch, its sources, a disabled connection; at delivery, claim and work. Which
sources a delivery may create: those of proved ones, up to a cap.
"""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.domain.canonical_json import MAX_BODY_BYTES
from leads.services import ingest_record
from leads.services.process_record import Claim, DeliveryResult, claim_event, process_claim
from ops.daily.connection_secrets import rotate_token
from sandbox.postgres.database import operators_url
from sandbox.serving import find_value, read_samples
from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD, PHONE
from tests.support.operators import leads
from tests.support.postgres import count_deadlocks
from tests.support.processing import insert_connection, process, replay, stored
from tests.support.serving import COMPLETE
from tests.support.settings import EDGE_SECRET, WEBHOOK_TOKEN, WEBHOOK_TOKEN_SHA256

MINUTE = timedelta(minutes=1)
OTHER_TOKEN = "token-of-another-workspace"


async def deliver(harness: HandlerHarness, *bodies: Any, **input_: Any) -> list[str]:
    """Deliver one body after the other; return the statuses."""
    return [(await harness.deliver(body, **input_))["status"] for body in bodies]


@pytest.mark.test_case("TC-001")
async def test_a_delivery_is_stored_as_received_before_the_answer(harness: HandlerHarness) -> None:
    arrived_at = harness.clock.now() - timedelta(days=6)
    found = await harness.deliver(LEAD, source_ip="192.0.2.7", arrived_at=arrived_at.isoformat())
    event = harness.event(found["event_id"])
    assert found == ingest_answer("received", event["id"])
    assert (event["status"], event["origin"], event["record_id"]) == ("received", "webhook", LEAD["id"])
    assert event["payload"] == LEAD
    assert (event["table_name"], event["source_ids"]) == ("lead", ["-1"])
    assert event["modified_on"] == datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
    assert event["arrived_at"] == arrived_at
    assert str(event["source_ip"]) == "192.0.2.7"
    assert event["received_at"] is not None
    assert (event["raw"], event["error_code"], event["attempts"]) == (None, None, 0)


async def test_numbers_keep_their_value(harness: HandlerHarness) -> None:
    found = await harness.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64}, 1e40, 0.1]}}')
    event = harness.one(
        "SELECT record_id, (payload -> 'n' -> 0)::text AS big, length((payload -> 'n' -> 1)::text) AS digits"
        " FROM pancake_webhook_event WHERE id = %s",
        found["event_id"],
    )
    assert event == {"record_id": str(2**64 + 1), "big": str(2**64), "digits": 41}
    other = f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64 + 1}, 1e40, 0.1]}}'
    assert await deliver(harness, other) == ["received"]
    payload = LEAD | {"n": 2**64 + 1}
    response = await harness.call_action({"token_sha256": WEBHOOK_TOKEN_SHA256, "payload": payload})
    assert response.json()["status"] == "received", "a payload is accepted instead of raw bytes"
    assert harness.event(response.json()["event_id"])["payload"] == payload
    assert await deliver(harness, payload) == ["duplicate"]


async def test_metrics_count_deliveries_by_status(harness: HandlerHarness) -> None:
    await deliver(harness, LEAD, LEAD)
    await deliver(harness, LEAD, token="unknown")
    shown = read_samples((await harness.client.get("/metrics")).text)
    for status in ("received", "duplicate", "unknown_token"):
        assert find_value(shown, f'pancake_webhook_requests_total{{status="{status}"}}') == 1
    assert find_value(shown, 'pancake_webhook_latency_seconds_count{hop="handler"}') == 3


# Tokens


@pytest.mark.test_case("TC-002")
async def test_an_unknown_token_stores_nothing(harness: HandlerHarness) -> None:
    for token in ("unknown", "' OR 1=1 --", "\ud800", "x" * 200, WEBHOOK_TOKEN + " ", WEBHOOK_TOKEN.upper()):
        assert await harness.deliver(LEAD, token=token) == ingest_answer("unknown_token")
    assert harness.count("pancake_webhook_event") == 0


async def test_after_a_rotation_both_tokens_work_for_24_hours(harness: HandlerHarness) -> None:
    """The grace period starts at the rotation; a spooled delivery counts by its time of arrival."""
    rotated_at = harness.clock.now()
    with psycopg.connect(harness.database_url, autocommit=True, row_factory=dict_row) as db:
        fresh = rotate_token(db, harness.connection_id, rotated_at)

    async def statuses(hours: int, **input_: str) -> list[str]:
        bodies = [LEAD | {"id": f"{hours} {len(input_)} {n}"} for n in range(2)]
        old = await deliver(harness, bodies[0], token=WEBHOOK_TOKEN, **input_)
        return old + await deliver(harness, bodies[1], token=fresh)

    assert await statuses(0) == ["received", "received"]
    harness.clock.ahead += timedelta(hours=23, minutes=59)
    assert await statuses(23) == ["received", "received"]
    harness.clock.ahead += timedelta(minutes=2)
    assert await statuses(24) == ["unknown_token", "received"]
    arrived = (rotated_at + timedelta(hours=23)).isoformat()
    assert await statuses(24, arrived_at=arrived) == ["received", "received"]
    assert harness.count("pancake_webhook_event") == 7


async def test_after_a_revocation_no_former_token_works(harness: HandlerHarness) -> None:
    """The leaked token is refused, and so is the earlier one within its grace period."""
    tokens = [WEBHOOK_TOKEN]

    async def statuses(step: str) -> list[str]:
        return [
            status
            for n, token in enumerate(tokens)
            for status in await deliver(harness, LEAD | {"id": f"{step} {n}"}, token=token)
        ]

    for options in ((), ("--revoke",)):
        assert await statuses(f"before {options}") == ["received"] * len(tokens)
        done = leads(
            "connection", "rotate-token", *options, "--public-url", "https://edge.example.com",
            DATABASE_URL=operators_url(harness.database_url), ENCRYPTION_KEYS=COMPLETE["ENCRYPTION_KEYS"],
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        tokens.append(done.stdout.partition("\n")[0].rpartition("/")[2])
    assert await statuses("after") == ["unknown_token", "unknown_token", "received"]


# Times


async def test_a_time_without_a_zone_uses_the_time_zone_of_the_connection(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    naive, aware = (
        await stored(harness),
        await stored(harness, id="b", modified_on="2026-05-14T02:35:56+15:59"),
    )
    assert harness.event(naive)["modified_on"] == datetime(2026, 5, 13, 19, 35, 56, tzinfo=UTC)
    assert harness.event(aware)["modified_on"] == datetime(2026, 5, 13, 10, 36, 56, tzinfo=UTC)
    for zone in ("Nowhere/Land", ""):
        with pytest.raises(psycopg.errors.DataError):
            harness.sql("UPDATE pancake_connection SET record_timezone = %s", zone)


async def test_an_arrival_is_at_most_a_week_back_and_an_invalid_one_is_now(harness: HandlerHarness) -> None:
    """A caller that names the time of arrival cannot use a token that expired long ago."""
    now = harness.clock.now()
    times: list[object] = ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]
    times += [None, "", "yesterday", 5, [], f"{now:%Y-%m-%dT%H:%M:%S}+16:00"]
    for n, arrived_at in enumerate(times):
        found = await harness.deliver(LEAD | {"id": f"r-{n}"}, arrived_at=arrived_at)
        expected = now if n else now - timedelta(days=7)
        assert timedelta() <= harness.event(found["event_id"])["arrived_at"] - expected < MINUTE, arrived_at
    harness.sql(
        "UPDATE pancake_connection SET token_sha256 = %s, previous_token_sha256 = token_sha256,"
        " previous_token_expires_at = %s",
        sha256(b"the new token").digest(),
        now - timedelta(days=8),
    )
    long_ago = (now - timedelta(days=9)).isoformat()
    assert await deliver(harness, LEAD | {"id": "b"}, arrived_at=long_ago) == ["unknown_token"]


# Duplicates: a body is stored once for each connection and table


@pytest.mark.test_case("TC-003")
async def test_a_repeat_with_other_key_order_or_white_space_adds_no_row(harness: HandlerHarness) -> None:
    """Also after the first one was processed and replayed."""
    lead = await process(harness)
    for body in (LEAD, dict(reversed(LEAD.items())), json.dumps(LEAD, indent=3), "\ufeff" + json.dumps(LEAD)):
        assert await harness.deliver(body) == ingest_answer("duplicate")
    await replay(harness, lead.id)
    assert await deliver(harness, LEAD) == ["duplicate"]
    assert harness.count("pancake_webhook_event") == 1
    changes: list[dict[str, Any]] = [{"name": "B"}, {"modified_on": "2026-05-15T00:00:00"}, {"id": "b"}]
    assert await deliver(harness, *(LEAD | change for change in changes)) == ["received"] * 3
    assert harness.count("pancake_webhook_event") == 4


async def test_duplicates_within_one_batch_are_one_row(harness: HandlerHarness) -> None:
    answers = await asyncio.gather(*(harness.deliver(LEAD) for _ in range(60)))
    assert Counter(a["status"] for a in answers) == {"received": 1, "duplicate": 59}
    assert [a["event_id"] for a in answers if a["status"] == "duplicate"] == [None] * 59
    assert harness.count("pancake_webhook_event") == 1


async def test_a_body_is_stored_for_each_table_of_the_connection(harness: HandlerHarness) -> None:
    """A body may name no table; then that of a connection with one table counts."""
    for tables, status in (("{lead}", "received"), ("{contact}", "received"), ("{contact}", "duplicate")):
        harness.sql("UPDATE pancake_connection SET table_names = %s", tables)
        assert await deliver(harness, LEAD) == [status]
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert await deliver(harness, LEAD) == ["duplicate"], "without a table it counts as a lead"
    await stored(harness, id="b", table_id="contact")
    await stored(harness, id="c")
    rows = harness.sql("SELECT table_name FROM pancake_webhook_event ORDER BY id")
    assert [row["table_name"] for row in rows] == ["lead", "contact", "contact", None]


@pytest.mark.own_database
@pytest.mark.parametrize("sources", [0, 7], ids=["known sources", "new sources"])
async def test_two_processes_with_every_delivery_in_opposite_order_store_each_once(
    harness: HandlerHarness, second_harness: HandlerHarness, sources: int
) -> None:
    """Of two workspaces that post the same bodies."""
    insert_connection(harness, OTHER_TOKEN)
    harness.enforce_header()
    harness.slow_down("pancake_webhook_event", 0.001)
    harness.slow_down("pancake_source", 0.01)
    new = [[f"new-{n % sources}"] if sources else [] for n in range(75)]
    deliveries = [
        (LEAD | {"id": f"r-{n}", "source": [*new[n], "-1"]}, token)
        for n in range(75)
        for token in (WEBHOOK_TOKEN, OTHER_TOKEN)
    ]
    async with asyncio.timeout(30):
        there = [harness.deliver(body, token=token) for body, token in deliveries]
        back = [second_harness.deliver(body, token=token) for body, token in reversed(deliveries)]
        answers = await asyncio.gather(*there, *back)
    assert Counter(a["status"] for a in answers) == {"received": 150, "duplicate": 150}
    assert harness.count("pancake_webhook_event") == 150
    assert harness.count("pancake_source", "name IS NULL") == 2 * sources
    assert await count_deadlocks(harness, second_harness) == 0


# Dead letters: kept with their reason

INVALID = (
    (b"", "invalid_json"),
    (b"\xff\xfe\x00", "invalid_json"),
    (b"[" * 5000 + b"]" * 5000, "too_deep"),
    (b'{"id": "' + b"x" * MAX_BODY_BYTES + b'"}', "too_large"),
    (b'{"id": "a", "n": 1e100}', "unstorable"),
    (b'{"name": "no id"}', "missing_record_id"),
    (b'{"test": true}', "test_ping"),
)


@pytest.mark.test_case("TC-018")
async def test_a_body_that_cannot_be_processed_is_stored_with_its_reason(harness: HandlerHarness) -> None:
    """Also while the kill switch is on."""
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
    harness.change_settings(kill_switch=True)
    assert await deliver(harness, b"nope") == ["dead_letter"]


async def test_a_row_that_the_database_refuses_fails_alone(harness: HandlerHarness) -> None:
    bad = '{"id": "bad", "source": ["-1"], "n": ' + "9" * 140_000 + "}"
    bodies: list[Any] = [LEAD | {"id": f"r-{n}"} for n in range(40)]
    bodies[20:20] = [bad, b"not json"]
    answers = await asyncio.gather(*(harness.deliver(body) for body in bodies))
    assert Counter(a["status"] for a in answers) == {"received": 40, "dead_letter": 2}
    assert answers[20]["error_code"] == "unstorable"
    assert bytes(harness.event(answers[20]["event_id"])["raw"]).startswith(b'{"id":"bad"')
    assert await deliver(harness, bad) == ["duplicate"]


# The phone of a body


@pytest.mark.test_case("TC-010")
async def test_the_first_usable_phone_is_stored_before_processing(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    """Also of what is held, enveloped or a dead letter."""
    bodies: list[tuple[object, str, str | None]] = [
        (LEAD | {"phone_number": ["0123", "Zalo 0905111222 / 0912345678"]}, "received", PHONE),
        (LEAD | {"phone_number": "0123"}, "received", None),
        (LEAD | {"source": ["-3"]}, "skipped_source_disabled", PHONE),
        ({"event": "record", "action": "created", "data": LEAD}, "received", PHONE),
        (LEAD | {"id": None}, "dead_letter", PHONE),
        (json.dumps(LEAD | {"size": "HUGE"}).replace('"HUGE"', "9" * 140_000), "dead_letter", PHONE),
        (LEAD | {"id": "switch"}, "skipped_kill_switch", PHONE),
    ]
    for number, (body, status, phone) in enumerate(bodies, 1):
        with subtests.test(number=number, body=body):
            harness.change_settings(kill_switch=number == len(bodies))
            assert await deliver(harness, body) == [status]
            newest = harness.one(
                "SELECT normalized_phone FROM pancake_webhook_event ORDER BY id DESC LIMIT 1"
            )
            assert newest["normalized_phone"] == phone


async def test_a_body_is_stored_though_its_phone_cannot_be_read(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch, capture_logs: list[str]
) -> None:
    error = ZeroDivisionError("0905111222 cannot be read")
    monkeypatch.setattr(ingest_record, "first_phone", Mock(side_effect=error))
    event_id = await stored(harness)
    assert harness.event(event_id)["normalized_phone"] is None
    (line,) = [line for line in capture_logs if "phone not read" in line]
    assert "ZeroDivisionError" in line
    assert "0905111222" not in line


CAP = 20
"""Sources that deliveries may create per connection and hour."""
HELD = "skipped_source_disabled"


async def status(harness: HandlerHarness, token: str | None = None, **fields: Any) -> str:
    """Deliver LEAD with these fields changed; return the status."""
    return str(harness.event(await stored(harness, token, **fields))["status"])


def set_connection(harness: HandlerHarness, status: str) -> None:
    harness.sql("UPDATE pancake_connection SET status = %s", status)


def held_by(harness: HandlerHarness, event_id: int) -> str | None:
    by: str | None = harness.event(event_id)["evidence"].get("held_by")
    return by


# The kill switch


@pytest.mark.test_case("TC-011")
async def test_the_kill_switch_holds_new_deliveries(harness: HandlerHarness) -> None:
    """A lead of an unknown source too, under its own name."""
    harness.change_settings(kill_switch=True)
    found = await harness.deliver(LEAD | {"source": ["777"]})
    event = harness.event(found["event_id"])
    assert found == ingest_answer("skipped_kill_switch", event["id"])
    assert (event["status"], event["held_at"] is not None) == ("skipped_kill_switch", True)
    assert "held_by" not in event["evidence"]
    harness.change_settings(kill_switch=False)
    assert await status(harness, id="b") == "received"


# After the delivery


async def test_the_switches_are_read_again_at_the_claim(harness: HandlerHarness) -> None:
    first, second, third = [await stored(harness, id=id_) for id_ in "abc"]
    harness.change_settings(kill_switch=True)
    assert await harness.process(first) == "skipped_kill_switch"
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_source SET is_active = false")
    assert await harness.process(second) == HELD
    harness.sql("UPDATE pancake_source SET is_active = true")
    set_connection(harness, "disabled")
    assert await harness.process(third) == HELD
    for event_id in (first, second, third):
        event = harness.event(event_id)
        assert (event["attempts"], event["ingested_at"], event["claim_id"]) == (0, None, None)
        assert event["held_at"] is not None
    assert held_by(harness, third) == "connection_disabled"
    assert harness.count_tickets() == 0


async def test_a_switch_turned_between_claim_and_work_holds_the_row(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    for statement, expected, held in (
        ("UPDATE pancake_source SET is_active = false", HELD, None),
        ("UPDATE pancake_connection SET status = 'disabled'", HELD, "connection_disabled"),
        ("DELETE FROM app_setting", "skipped_kill_switch", None),
    ):
        with subtests.test(statement=statement, expected=expected):
            event_id = await stored(harness, id=statement)
            runtime = harness.runtime
            claim = await claim_event(runtime.db, event_id)
            assert isinstance(claim, Claim)
            harness.sql(statement)
            result = await process_claim(runtime.db, runtime.clock, runtime.digester, claim)
            assert result == DeliveryResult(expected)
            assert (harness.event(event_id)["status"], harness.count_tickets()) == (expected, 0)
            assert held_by(harness, event_id) == held
            harness.sql("UPDATE pancake_source SET is_active = true")
            set_connection(harness, "active")


# A disabled connection


async def test_a_disabled_connection_holds_and_the_evidence_says_why(harness: HandlerHarness) -> None:
    """A dead letter and the kill switch go before; the edge goes on accepting its token."""
    insert_connection(harness, OTHER_TOKEN)
    harness.sql("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'other'")
    disabled, inactive = await stored(harness, OTHER_TOKEN), await stored(harness, source=["-3"])
    assert (held_by(harness, disabled), held_by(harness, inactive)) == ("connection_disabled", None)
    event = harness.event(disabled)
    assert (event["status"], event["held_at"] is not None) == (HELD, True)
    for other_status in ("active", "silent", "suspended", "outage", "key_invalid"):
        harness.sql("UPDATE pancake_connection SET status = %s WHERE name <> 'other'", other_status)
        assert await status(harness, id=other_status) == "received", "another connection goes on"
    assert (await harness.deliver("no JSON", token=OTHER_TOKEN))["status"] == "dead_letter"
    harness.change_settings(kill_switch=True)
    assert await status(harness, OTHER_TOKEN, id="b") == "skipped_kill_switch"
    answer = await harness.client.get("/edge/policy", headers={"X-Edge-Secret": EDGE_SECRET})
    assert len(answer.json()["connections"]) == 2


async def test_held_leads_are_replayed_once_connection_and_source_are_active(harness: HandlerHarness) -> None:
    unknown = await stored(harness, id="unknown", source=["777"])
    assert await harness.process(unknown) == "already_held"
    set_connection(harness, "disabled")
    ids = [unknown, *[await stored(harness, id=f"r{n}") for n in range(3)]]
    report = await harness.replay(filter={"status": HELD})
    assert (report["replayed"], {item["reason"] for item in report["refused"]}) == (0, {"source_disabled"})
    set_connection(harness, "active")
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '777', 'Fair', true)",
        harness.connection_id,
    )
    assert (await harness.replay(filter={"status": HELD}, wait=False))["replayed"] == 4
    results = await harness.process_received()
    assert results == dict.fromkeys(ids, "ticket_updated") | {unknown: "ticket_created"}
    assert [held_by(harness, event_id) for event_id in ids] == [None] * 4


# Sources


@pytest.mark.test_case("TC-012")
async def test_a_record_is_active_if_any_of_its_sources_is(harness: HandlerHarness) -> None:
    insert_connection(harness, OTHER_TOKEN)
    harness.sql(
        "UPDATE pancake_source SET pancake_source_id = '-9' WHERE connection_id <> %s", harness.connection_id
    )
    assert await status(harness, OTHER_TOKEN) == HELD, "sources are looked up per connection"
    assert await status(harness, source=["-3"]) == HELD
    assert await status(harness, source=["-3", "-1"]) == "received"
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-3'")
    assert await status(harness, id="b", source=[-3]) == "received"


async def test_a_record_without_a_source_belongs_to_the_pseudo_source(harness: HandlerHarness) -> None:
    """It is created without a proof, and over the cap."""
    nothing: list[object] = [None, [], "", {}]
    for n, source in enumerate(nothing):
        assert await status(harness, id=f"before-{n}", source=source) == HELD
    assert created(harness) == ["(none)"]
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '(none)'")
    for n, source in enumerate(nothing):
        assert await status(harness, id=f"after-{n}", source=source) == "received"


def invented(number: int, start: int = 0) -> list[str]:
    return [f"9{n:04}" for n in range(start, start + number)]


def created(harness: HandlerHarness) -> list[str]:
    """Return the sources that deliveries created."""
    rows = harness.sql("SELECT pancake_source_id AS id FROM pancake_source WHERE name IS NULL ORDER BY 1")
    return [row["id"] for row in rows]


async def test_a_proved_delivery_creates_its_source_inactive(harness: HandlerHarness) -> None:
    harness.enforce_header()
    ids = await asyncio.gather(*(stored(harness, id=f"r-{n}", source=["777"]) for n in range(20)))
    events = [harness.event(event_id) for event_id in ids]
    assert {event["status"] for event in events} == {HELD}
    source = harness.one("SELECT * FROM pancake_source WHERE name IS NULL")
    assert (source["pancake_source_id"], source["is_active"], source["is_removed"]) == ("777", False, False)
    assert [event["notifications"] for event in events] == [[]] * 20
    assert "held_by" not in events[0]["evidence"]


async def test_an_unproved_delivery_creates_no_source_and_its_lead_is_stored(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    harness.enforce_header()
    for mode in ("off", "monitor"):
        with subtests.test(mode=mode):
            harness.sql("UPDATE pancake_connection SET signature_mode = %s", mode)
            event = harness.event(await stored(harness, id=mode, source=invented(50)))
            assert (event["status"], created(harness), event["notifications"]) == (HELD, [], [])
            assert (event["evidence"]["held_by"], event["source_ids"]) == ("source_unknown", invented(50))


async def test_a_connection_gets_at_most_twenty_sources_an_hour(harness: HandlerHarness) -> None:
    insert_connection(harness, OTHER_TOKEN)
    harness.enforce_header()
    ids = [await stored(harness, id=f"r-{n}", source=invented(50, 50 * n)) for n in range(3)]
    assert created(harness) == invented(CAP)
    assert [held_by(harness, event_id) for event_id in ids] == [None, "source_unknown", "source_unknown"]
    await stored(harness, OTHER_TOKEN, source=invented(50))
    assert len(created(harness)) == 2 * CAP
    harness.clock.ahead += timedelta(minutes=61)
    assert await status(harness, id="later", source=["95000"]) == HELD
    assert created(harness)[-1] == "95000"


async def test_a_source_that_pancake_named_leaves_its_place(harness: HandlerHarness) -> None:
    harness.enforce_header()
    await stored(harness, source=invented(CAP))
    harness.sql("UPDATE pancake_source SET is_removed = true, synced_at = now() WHERE name IS NULL")
    await stored(harness, id="b", source=["95000"])
    assert len(created(harness)) == CAP
    harness.sql("UPDATE pancake_source SET name = 'Fair' WHERE pancake_source_id = %s", invented(1)[0])
    await stored(harness, id="c", source=["95000"])
    assert created(harness)[-1] == "95000"


async def test_a_body_without_table_and_source_has_those_of_its_record(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    await stored(harness, table_id="lead")
    later = {key: value for key, value in LEAD.items() if key != "source"} | {"full_name": "Later"}
    answer = await harness.deliver(later)
    event = harness.event(answer["event_id"])
    assert (answer["status"], event["table_name"], event["source_ids"]) == ("received", None, ["-1"])
    of_a_contact = await harness.deliver(later | {"table_id": "contact"})
    assert harness.event(of_a_contact["event_id"])["source_ids"] == ["(none)"]
