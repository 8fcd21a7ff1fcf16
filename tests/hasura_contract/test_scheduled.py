"""Cron triggers and one-off events. Contract section 2. Some need a clock that only the stand-in has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.hasura_contract.place import Json, Place, eventually, unique
from tests.hasura_contract.receiver import Answer

YEARLY = "0 0 1 1 *"
RETRY = {"num_retries": 0, "retry_interval_seconds": 1, "timeout_seconds": 5, "tolerance_seconds": 21600}


@pytest.fixture
def path() -> str:
    """A path of the receiver of one's own."""
    return f"/{unique('cron')}"


@pytest.fixture
def clock(place: Place) -> Iterator[Json]:
    """Moves the engine's clock; back to real time afterwards."""
    if not place.stand_in:
        pytest.skip("only the stand-in's clock can be moved")

    def move(order: Json) -> datetime:
        status, body = place.post("/sandbox/clock", order)
        assert status == 200, body
        return datetime.fromisoformat(body["now"])

    yield move
    move({"reset": True})


def make_cron(place: Place, path: str, schedule: str = YEARLY, **more: Json) -> str:
    """A cron trigger that is taken away at the end."""
    name = unique("cron")
    args = {"name": name, "webhook": place.receiver.url + path, "schedule": schedule}
    place.do("create_cron_trigger", {**args, "include_in_metadata": True, "retry_conf": RETRY, **more})
    place.later("delete_cron_trigger", {"name": name})
    return name


def cron_events(place: Place, name: str, *status: str) -> list[Json]:
    args = {"type": "cron", "trigger_name": name, "status": list(status)}
    return list(place.do("get_scheduled_events", args)["events"])


def test_a_hundred_events_are_generated_at_once_in_utc(place: Place, path: str) -> None:
    name = make_cron(place, path, "15 2 * * *")
    events = cron_events(place, name)
    assert len(events) == 100
    times = [datetime.fromisoformat(event["scheduled_time"]).astimezone(UTC) for event in events]
    assert all((time.hour, time.minute) == (2, 15) for time in times)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=1)}
    assert {event["status"] for event in events} == {"scheduled"}


def test_a_tick_is_delivered_with_the_documented_body(place: Place, path: str, clock: Json) -> None:
    name = make_cron(place, path, "15 2 * * *", payload={"kind": "nightly"}, comment="a note")
    due = datetime.fromisoformat(cron_events(place, name)[0]["scheduled_time"]).astimezone(UTC)
    clock({"set": (due + timedelta(seconds=1)).isoformat()})
    got = place.receiver.wait_for(path, 1)[0]
    assert set(got.body) == {"id", "name", "scheduled_time", "payload", "comment"}
    assert got.body["scheduled_time"] == due.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (got.body["name"], got.body["payload"], got.body["comment"]) == (
        name,
        {"kind": "nightly"},
        "a note",
    )
    assert got.headers["content-type"] == "application/json"
    event = eventually(lambda: cron_events(place, name, "delivered"))[0]
    assert (event["id"], event["tries"]) == (got.body["id"], 1)
    args = {"type": "cron", "trigger_name": name, "get_rows_count": True}
    log = place.do("get_scheduled_event_invocations", args)
    assert (log["count"], log["invocations"][0]["status"]) == (1, 200)
    assert log["invocations"][0]["request"]["payload"]["id"] == event["id"]


def test_an_absent_payload_is_null_and_an_absent_comment_no_key(place: Place, path: str, clock: Json) -> None:
    make_cron(place, path, "* * * * *")
    clock({"advance": 61})
    body = place.receiver.wait_for(path, 1)[0].body
    assert body["payload"] is None
    assert "comment" not in body


def test_ticks_missed_while_down_come_one_by_one_and_too_old_ones_die(
    place: Place, path: str, clock: Json
) -> None:
    name = make_cron(place, path, "* * * * *", retry_conf={**RETRY, "tolerance_seconds": 600})
    clock({"advance": 3600})
    eventually(lambda: len(cron_events(place, name, "dead")) >= 45)
    eventually(lambda: len(cron_events(place, name, "delivered")) >= 9)
    dead = cron_events(place, name, "dead")
    assert {event["tries"] for event in dead} == {0}
    times = {request.body["scheduled_time"] for request in place.receiver.received(path)}
    assert len(times) == len(place.receiver.received(path)) <= 11


def test_events_are_generated_again_when_they_run_out(place: Place, path: str, clock: Json) -> None:
    name = make_cron(place, path, "0 * * * *", retry_conf={**RETRY, "tolerance_seconds": 0})
    clock({"advance": 50 * 3600})
    eventually(lambda: len(cron_events(place, name, "scheduled")) >= 100)


def test_failures_are_retried_and_end_as_errors(place: Place, path: str, clock: Json) -> None:
    name = make_cron(place, path, "* * * * *", retry_conf={**RETRY, "num_retries": 1})
    place.receiver.answers(path, Answer(500))
    clock({"advance": 61})
    place.receiver.wait_for(path, 1)
    eventually(lambda: [e for e in cron_events(place, name, "scheduled") if e["tries"] == 1])
    clock({"advance": 2})
    assert eventually(lambda: cron_events(place, name, "error"))[0]["tries"] == 2
    assert len({request.body["id"] for request in place.receiver.received(path)}) == 1


def test_retry_after_bypasses_the_retry_limit(place: Place, path: str, clock: Json) -> None:
    name = make_cron(place, path, "* * * * *")
    place.receiver.answers(path, Answer(503, {}, {"Retry-After": "1"}), Answer(200))
    clock({"advance": 61})
    place.receiver.wait_for(path, 1)
    eventually(lambda: [e for e in cron_events(place, name, "scheduled") if e["tries"] == 1])
    clock({"advance": 2})
    assert eventually(lambda: cron_events(place, name, "delivered"))[0]["tries"] == 2


def test_a_second_trigger_of_a_name_is_refused_unless_it_replaces(place: Place, path: str) -> None:
    name = make_cron(place, path)
    args = {
        "name": name,
        "webhook": "http://127.0.0.1:1/",
        "schedule": "0 0 * * *",
        "include_in_metadata": True,
    }
    status, body = place.call("create_cron_trigger", args)
    error = f"cron trigger with name: {name} already exists"
    assert (status, body) == (400, {"path": "$.args", "error": error, "code": "already-exists"})
    place.do("create_cron_trigger", {**args, "replace": True})
    events = cron_events(place, name)
    assert len(events) == 100
    first, second = (datetime.fromisoformat(event["scheduled_time"]) for event in events[:2])
    assert second - first == timedelta(days=1)


def test_a_bad_schedule_is_refused(place: Place) -> None:
    args = {"name": unique("cron"), "webhook": "http://127.0.0.1:1/", "include_in_metadata": True}
    for schedule in ("61 * * * *", "* * * *", "@daily", "nonsense"):
        status, body = place.call("create_cron_trigger", {**args, "schedule": schedule})
        assert (status, body["code"]) == (400, "parse-failed"), schedule


def test_deleting_a_trigger_drops_its_future_events(place: Place, path: str) -> None:
    name = unique("cron")
    args = {
        "name": name,
        "webhook": place.receiver.url + path,
        "schedule": YEARLY,
        "include_in_metadata": True,
    }
    place.do("create_cron_trigger", args)
    place.do("delete_cron_trigger", {"name": name})
    rows = place.sql(f"SELECT count(*) FROM hdb_catalog.hdb_cron_events WHERE trigger_name = '{name}'")
    assert rows == [["0"]]
    status, body = place.call("delete_cron_trigger", {"name": name})
    assert (status, body["code"]) == (400, "not-exists")


def test_exports_leave_out_defaults_and_private_triggers(place: Place, path: str) -> None:
    default = {**RETRY, "retry_interval_seconds": 10, "timeout_seconds": 60}
    shown = make_cron(place, path, retry_conf=default)
    private = make_cron(place, path, include_in_metadata=False)
    exported = {t["name"]: t for t in place.do("export_metadata", {})["cron_triggers"]}
    assert "retry_conf" not in exported[shown]
    assert private not in exported
    listed = {t["name"]: t for t in place.do("get_cron_triggers", {})["cron_triggers"]}
    assert listed[shown]["retry_conf"] == default
    assert private in listed


def test_replace_metadata_regenerates_only_what_changed(place: Place, path: str) -> None:
    kept, changed, private = make_cron(place, path), make_cron(place, path), make_cron(place, path)
    place.do(
        "create_cron_trigger", _as_args(place, private) | {"include_in_metadata": False, "replace": True}
    )
    before = {name: [e["id"] for e in cron_events(place, name)] for name in (kept, changed, private)}
    metadata = place.do("export_metadata", {})
    for trigger in metadata["cron_triggers"]:
        if trigger["name"] == changed:
            trigger["payload"] = {"new": True}
    place.do("replace_metadata", metadata)
    after = {name: [e["id"] for e in cron_events(place, name)] for name in (kept, changed, private)}
    assert after[kept] == before[kept]
    assert after[private] == before[private]
    assert len(after[changed]) == 100
    assert not set(after[changed]) & set(before[changed])


def _as_args(place: Place, name: str) -> Json:
    return next(t for t in place.do("get_cron_triggers", {})["cron_triggers"] if t["name"] == name)


def test_a_one_off_event_is_delivered_with_created_at_and_no_name(place: Place, path: str) -> None:
    args = {
        "webhook": place.receiver.url + path,
        "schedule_at": datetime.now(UTC).isoformat(),
        "payload": {"a": 1},
        "headers": [{"name": "X-One", "value": "1"}],
        "comment": "once",
    }
    answer = place.do("create_scheduled_event", args)
    assert set(answer) == {"message", "event_id"}
    got = place.receiver.wait_for(path, 1, seconds=20)[0]
    assert set(got.body) == {"id", "created_at", "scheduled_time", "payload", "comment"}
    assert got.body["id"] == answer["event_id"]
    assert got.body["created_at"].endswith("Z")
    assert got.headers["x-one"] == "1"
    eventually(lambda: _one_off(place, answer["event_id"])["status"] == "delivered")


def test_an_old_one_off_event_is_dead_without_a_call(place: Place, path: str) -> None:
    args = {"webhook": place.receiver.url + path, "schedule_at": "2020-01-01T00:00:00Z", "payload": None}
    event_id = place.do("create_scheduled_event", args)["event_id"]
    eventually(lambda: _one_off(place, event_id)["status"] == "dead", seconds=20)
    assert place.receiver.received(path) == []


def test_a_one_off_event_can_be_deleted(place: Place, path: str) -> None:
    args = {"webhook": place.receiver.url + path, "schedule_at": "2090-01-01T00:00:00Z"}
    event_id = place.do("create_scheduled_event", args)["event_id"]
    assert _one_off(place, event_id)["status"] == "scheduled"
    order = {"type": "one_off", "event_id": event_id}
    assert place.do("delete_scheduled_event", order) == {"message": "success"}
    status, body = place.call("delete_scheduled_event", order)
    assert (status, body["code"]) == (400, "not-exists")


def _one_off(place: Place, event_id: str) -> Json:
    events = place.do("get_scheduled_events", {"type": "one_off"})["events"]
    return next(event for event in events if event["id"] == event_id)
