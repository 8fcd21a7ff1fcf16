"""Cron triggers. Contract section 2. Some tests need the clock of the stand-in."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.support.hasura import Hasura, Json, eventually, unique
from tests.support.receiver import Answer

YEARLY = "0 0 1 1 *"
RETRY = {"num_retries": 0, "retry_interval_seconds": 1, "timeout_seconds": 5, "tolerance_seconds": 21600}


def make_cron(engine: Hasura, path: str, schedule: str = YEARLY, **more: Json) -> str:
    """Create a cron trigger that is deleted after the test."""
    name = unique("cron")
    args = {"name": name, "webhook": engine.receiver.url + path, "schedule": schedule}
    engine.do("create_cron_trigger", {**args, "include_in_metadata": True, "retry_conf": RETRY, **more})
    engine.crons.append(name)
    return name


def cron_events(engine: Hasura, name: str, *status: str) -> list[Json]:
    args = {"type": "cron", "trigger_name": name, "status": list(status)}
    return list(engine.do("get_scheduled_events", args)["events"])


def trigger_args(engine: Hasura, name: str) -> Json:
    return next(t for t in engine.do("get_cron_triggers", {})["cron_triggers"] if t["name"] == name)


@pytest.fixture
def path() -> str:
    return f"/{unique('cron')}"


@pytest.fixture
def clock(engine: Hasura) -> Iterator[Json]:
    """Moves the engine's clock; the real time returns after the test.

    It begins 10 s after a full minute, so that a minute later exactly one tick of each minute is due.
    """
    if not engine.stand_in:
        pytest.skip("only the stand-in's clock can be moved")

    def move(order: Json) -> datetime:
        status, body = engine.post("/sandbox/clock", order)
        assert status == 200, body
        return datetime.fromisoformat(body["now"])

    start = datetime.now(UTC).replace(second=10, microsecond=0) + timedelta(minutes=1)
    move({"set": start.isoformat()})
    yield move
    move({"reset": True})


def test_a_hundred_events_are_generated_at_once_in_utc(engine: Hasura, path: str) -> None:
    name = make_cron(engine, path, "15 2 * * *")
    events = cron_events(engine, name)
    assert len(events) == 100
    times = [datetime.fromisoformat(event["scheduled_time"]).astimezone(UTC) for event in events]
    assert all((time.hour, time.minute) == (2, 15) for time in times)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=1)}
    assert {event["status"] for event in events} == {"scheduled"}


@pytest.mark.usefixtures("traced")
def test_a_tick_is_delivered_with_the_documented_body(engine: Hasura, path: str, clock: Json) -> None:
    name = make_cron(engine, path, "15 2 * * *", payload={"kind": "nightly"}, comment="a note")
    due = datetime.fromisoformat(cron_events(engine, name)[0]["scheduled_time"]).astimezone(UTC)
    clock({"set": (due + timedelta(seconds=1)).isoformat()})
    got = engine.receiver.wait_for(path, 1)[0]
    assert set(got.body) == {"id", "name", "scheduled_time", "payload", "comment"}
    assert got.body["scheduled_time"] == due.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (got.body["name"], got.body["payload"], got.body["comment"]) == (
        name,
        {"kind": "nightly"},
        "a note",
    )
    assert got.headers["content-type"] == "application/json"
    assert (len(got.headers["x-b3-traceid"]), len(got.headers["x-b3-spanid"])) == (32, 16)
    event = eventually(lambda: cron_events(engine, name, "delivered"))[0]
    assert (event["id"], event["tries"]) == (got.body["id"], 1)
    args = {"type": "cron", "trigger_name": name, "get_rows_count": True}
    log = engine.do("get_scheduled_event_invocations", args)
    assert (log["count"], log["invocations"][0]["status"]) == (1, 200)
    assert log["invocations"][0]["request"]["payload"]["id"] == event["id"]


def test_an_absent_payload_is_null_and_an_absent_comment_no_key(
    engine: Hasura, path: str, clock: Json
) -> None:
    make_cron(engine, path, "* * * * *")
    clock({"advance": 61})
    body = engine.receiver.wait_for(path, 1)[0].body
    assert body["payload"] is None
    assert "comment" not in body


def test_ticks_missed_while_down_come_one_by_one_and_too_old_ones_die(
    engine: Hasura, path: str, clock: Json
) -> None:
    name = make_cron(engine, path, "* * * * *", retry_conf={**RETRY, "tolerance_seconds": 600})
    clock({"advance": 3600})
    eventually(lambda: len(cron_events(engine, name, "dead")) >= 45)
    eventually(lambda: len(cron_events(engine, name, "delivered")) >= 9)
    dead = cron_events(engine, name, "dead")
    assert {event["tries"] for event in dead} == {0}
    times = {request.body["scheduled_time"] for request in engine.receiver.received(path)}
    assert len(times) == len(engine.receiver.received(path)) <= 11


def test_events_are_generated_again_when_they_run_out(engine: Hasura, path: str, clock: Json) -> None:
    name = make_cron(engine, path, "0 * * * *", retry_conf={**RETRY, "tolerance_seconds": 0})
    clock({"advance": 50 * 3600})
    eventually(lambda: len(cron_events(engine, name, "scheduled")) >= 100)


def test_failures_are_retried_and_end_as_errors(engine: Hasura, path: str, clock: Json) -> None:
    name = make_cron(engine, path, "* * * * *", retry_conf={**RETRY, "num_retries": 1})
    engine.receiver.answers(path, Answer(500))
    clock({"advance": 61})
    engine.receiver.wait_for(path, 1)
    eventually(lambda: [e for e in cron_events(engine, name, "scheduled") if e["tries"] == 1])
    clock({"advance": 2})
    assert eventually(lambda: cron_events(engine, name, "error"))[0]["tries"] == 2
    assert len({request.body["id"] for request in engine.receiver.received(path)}) == 1


def test_retry_after_bypasses_the_retry_limit(engine: Hasura, path: str, clock: Json) -> None:
    name = make_cron(engine, path, "* * * * *")
    engine.receiver.answers(path, Answer(503, {}, {"Retry-After": "1"}), Answer(200))
    clock({"advance": 61})
    engine.receiver.wait_for(path, 1)
    eventually(lambda: [e for e in cron_events(engine, name, "scheduled") if e["tries"] == 1])
    clock({"advance": 2})
    assert eventually(lambda: cron_events(engine, name, "delivered"))[0]["tries"] == 2


def test_a_second_trigger_of_a_name_is_refused_unless_it_replaces(engine: Hasura, path: str) -> None:
    name = make_cron(engine, path)
    args = {
        "name": name,
        "webhook": "http://127.0.0.1:1/",
        "schedule": "0 0 * * *",
        "include_in_metadata": True,
    }
    status, body = engine.call("create_cron_trigger", args)
    error = f"cron trigger with name: {name} already exists"
    assert (status, body) == (400, {"path": "$.args", "error": error, "code": "already-exists"})
    engine.do("create_cron_trigger", {**args, "replace": True})
    events = cron_events(engine, name)
    assert len(events) == 100
    first, second = (datetime.fromisoformat(event["scheduled_time"]) for event in events[:2])
    assert second - first == timedelta(days=1)


def test_one_loop_waits_for_the_slowest_webhook(engine: Hasura, path: str, clock: Json) -> None:
    """The second tick of the quick cron comes after the slow one has answered, 3 s later."""
    make_cron(engine, f"{path}/slow", "* * * * *")
    make_cron(engine, f"{path}/quick", "* * * * *")
    engine.receiver.answers(f"{path}/slow", Answer(200, {}, {}, 3.0), Answer(200))
    clock({"advance": 61})
    engine.receiver.wait_for(f"{path}/slow", 1)
    engine.receiver.wait_for(f"{path}/quick", 1)
    start = time.monotonic()
    clock({"advance": 61})
    engine.receiver.wait_for(f"{path}/quick", 2)
    assert time.monotonic() - start > 2.0


def test_deleting_a_trigger_drops_its_future_events(engine: Hasura, path: str) -> None:
    name = unique("cron")
    args = {
        "name": name,
        "webhook": engine.receiver.url + path,
        "schedule": YEARLY,
        "include_in_metadata": True,
    }
    engine.do("create_cron_trigger", args)
    engine.do("delete_cron_trigger", {"name": name})
    rows = engine.sql(f"SELECT count(*) FROM hdb_catalog.hdb_cron_events WHERE trigger_name = '{name}'")
    assert rows == [["0"]]
    status, body = engine.call("delete_cron_trigger", {"name": name})
    assert (status, body["code"]) == (400, "not-exists")


def test_exports_leave_out_defaults_and_private_triggers(engine: Hasura, path: str) -> None:
    default = {**RETRY, "retry_interval_seconds": 10, "timeout_seconds": 60}
    shown = make_cron(engine, path, retry_conf=default)
    private = make_cron(engine, path, include_in_metadata=False)
    exported = {t["name"]: t for t in engine.do("export_metadata", {})["cron_triggers"]}
    assert "retry_conf" not in exported[shown]
    assert private not in exported
    listed = {t["name"]: t for t in engine.do("get_cron_triggers", {})["cron_triggers"]}
    assert listed[shown]["retry_conf"] == default
    assert private in listed


def test_replace_metadata_regenerates_only_what_changed(engine: Hasura, path: str) -> None:
    kept, changed, private = make_cron(engine, path), make_cron(engine, path), make_cron(engine, path)
    engine.do(
        "create_cron_trigger", trigger_args(engine, private) | {"include_in_metadata": False, "replace": True}
    )
    before = {name: [e["id"] for e in cron_events(engine, name)] for name in (kept, changed, private)}
    metadata = engine.do("export_metadata", {})
    for trigger in metadata["cron_triggers"]:
        if trigger["name"] == changed:
            trigger["payload"] = {"new": True}
    engine.do("replace_metadata", metadata)
    after = {name: [e["id"] for e in cron_events(engine, name)] for name in (kept, changed, private)}
    assert after[kept] == before[kept]
    assert after[private] == before[private]
    assert len(after[changed]) == 100
    assert not set(after[changed]) & set(before[changed])


def test_a_bad_schedule_is_refused(engine: Hasura) -> None:
    args = {"name": unique("cron"), "webhook": "http://127.0.0.1:1/", "include_in_metadata": True}
    for schedule in ("61 * * * *", "* * * *", "5-1 * * * *", " 0 0 1 1 *", "nonsense"):
        status, body = engine.call("create_cron_trigger", {**args, "schedule": schedule})
        assert (status, body["code"]) == (400, "parse-failed"), schedule


def test_a_schedule_by_name_becomes_five_fields(engine: Hasura, path: str) -> None:
    name = make_cron(engine, path, "@daily")
    assert trigger_args(engine, name)["schedule"] == "0 0 * * *"


@pytest.mark.parametrize(
    ("change", "place"),
    [({"name": ""}, "name"), ({"include_in_metadata": None}, "include_in_metadata")],
)
def test_a_malformed_trigger_is_refused(engine: Hasura, change: Json, place: str) -> None:
    args = {"name": unique("cron"), "webhook": "http://127.0.0.1:1/", "schedule": YEARLY}
    status, body = engine.call("create_cron_trigger", {**args, "include_in_metadata": True, **change})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", f"$.args.{place}")


def test_a_webhook_names_the_variables_that_are_not_set_and_reads_the_engines_own(engine: Hasura) -> None:
    """`leads setup` asks so which settings the engine has."""
    webhook = "/".join("{{" + name + "}}" for name in ("HASURA_GRAPHQL_ADMIN_SECRET", "NOT_SET", "NOR_THIS"))
    args = {"name": unique("cron"), "webhook": webhook, "schedule": YEARLY, "include_in_metadata": True}
    status, body = engine.call("create_cron_trigger", args)
    assert (status, body["error"].rpartition(": ")[2]) == (400, "NOT_SET, NOR_THIS")


def test_events_of_an_absent_trigger_are_refused(engine: Hasura) -> None:
    status, body = engine.call("get_scheduled_events", {"type": "cron", "trigger_name": "absent"})
    assert (status, body["code"]) == (400, "not-exists")
