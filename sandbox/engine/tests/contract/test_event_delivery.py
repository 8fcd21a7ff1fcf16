"""Delivery of events: success, retries, Retry-After, redelivery, transforms."""

import pytest

from tests.support.event_triggers import RETRY, insert, make_trigger
from tests.support.hasura import Hasura, Json, eventually, unique
from tests.support.receiver import Answer


@pytest.fixture
def path() -> str:
    """A path of the receiver for one test."""
    return f"/{unique('events')}"


def test_any_2xx_is_success_whatever_the_body(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(299, b"not json"))
    insert(engine, "(1)")
    row = eventually(lambda: [e for e in engine.events(name) if e["delivered"]])[0]
    assert (row["tries"], row["error"], row["locked"], row["next_retry_at"]) == (1, False, None, None)


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_other_statuses_are_tried_again_and_then_an_error(
    engine: Hasura, job: Json, path: str, status: int
) -> None:
    name = make_trigger(engine, job, path, retry_conf={**RETRY, "num_retries": 1, "interval_sec": 0})
    engine.receiver.answers(path, Answer(status))
    insert(engine, "(1)")
    row = eventually(lambda: [e for e in engine.events(name) if e["error"]])[0]
    assert (row["tries"], row["delivered"]) == (2, False)
    retries = [r.body["delivery_info"]["current_retry"] for r in engine.receiver.received(path)]
    assert retries == [0, 1]
    assert len({r.body["id"] for r in engine.receiver.received(path)}) == 1


def test_a_timeout_is_a_failed_try(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path, retry_conf={**RETRY, "timeout_sec": 1})
    engine.receiver.answers(path, Answer(200, {}, {}, 2.0))
    insert(engine, "(1)")
    assert eventually(lambda: [e for e in engine.events(name) if e["error"]])[0]["tries"] == 1
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert (log["http_status"], log["request"]["payload"]) == (500, None)
    message = f'"Event Trigger \\"{name}\\" timed out while processing."'
    assert log["response"]["data"] == {"message": message}


def test_a_redirect_gets_cookies_that_are_not_kept(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    moved = Answer(302, {}, {"Location": f"{path}/moved", "Set-Cookie": "a=1"})
    engine.receiver.answers(path, moved)
    insert(engine, "(1)")
    eventually(lambda: [e for e in engine.events(name) if e["delivered"]])
    first, second = engine.receiver.received(path)[0], engine.receiver.received(f"{path}/moved")[0]
    assert (first.method, second.method, second.body) == ("POST", "GET", "")
    assert second.headers["cookie"] == "a=1"
    insert(engine, "(2)")
    assert "cookie" not in engine.receiver.wait_for(path, 2)[1].headers


@pytest.mark.parametrize("webhook", ["http://127.0.0.1:1/", "nonsense", "http://[bad", "ftp://h/"])
def test_a_connection_error_is_a_failed_try(engine: Hasura, job: Json, webhook: str) -> None:
    name = unique("trigger")
    args = {"name": name, "table": job, "webhook": webhook, "retry_conf": RETRY}
    engine.do("pg_create_event_trigger", {**args, "insert": {"columns": "*"}})
    insert(engine, "(1)")
    eventually(lambda: [e for e in engine.events(name) if e["error"]])
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert log["response"]["type"] == "client_error"


def test_retry_after_goes_beyond_the_retry_limit(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    again = Answer(503, {}, {"Retry-After": "1"})
    engine.receiver.answers(path, again, again, Answer(200))
    insert(engine, "(1)")
    row = eventually(lambda: [e for e in engine.events(name) if e["delivered"]])[0]
    assert row["tries"] == 3
    assert engine.receiver.received(path)[2].body["delivery_info"] == {"current_retry": 2, "max_retries": 0}


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2015 07:28:00 GMT", "0", "-5", "1.5"])
def test_a_retry_after_that_is_no_positive_integer_is_ignored(
    engine: Hasura, job: Json, path: str, value: str
) -> None:
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(503, {}, {"Retry-After": value}))
    insert(engine, "(1)")
    assert eventually(lambda: [e for e in engine.events(name) if e["error"]])[0]["tries"] == 1


def test_redelivery_starts_again_from_nothing(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(500), Answer(200))
    insert(engine, "(1)")
    event = eventually(lambda: [e for e in engine.events(name) if e["error"]])[0]
    assert engine.call("pg_redeliver_event", {"event_id": event["id"]}) == (200, {"message": "success"})
    assert engine.receiver.wait_for(path, 2)[1].body["delivery_info"]["current_retry"] == 0
    eventually(lambda: engine.events(name)[0]["delivered"])


def test_redelivery_of_what_is_absent_or_busy_is_refused(engine: Hasura, job: Json, path: str) -> None:
    status, body = engine.call("pg_redeliver_event", {"event_id": "nothing"})
    assert (status, body["code"], body["error"]) == (400, "not-exists", "event not found")
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(200, {}, {}, 1.0))
    insert(engine, "(1)")
    engine.receiver.wait_for(path, 1)
    status, body = engine.call("pg_redeliver_event", {"event_id": engine.events(name)[0]["id"]})
    assert (status, body["code"]) == (400, "busy")
    eventually(lambda: engine.events(name)[0]["delivered"])


def test_events_of_an_idle_engine_arrive_within_two_seconds(engine: Hasura, job: Json, path: str) -> None:
    make_trigger(engine, job, path)
    insert(engine, "(1)")
    engine.receiver.wait_for(path, 1, seconds=2.0)


def test_an_answer_that_no_text_can_hold_is_logged_all_the_same(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(200, b"\x00\xff\xfe"))
    insert(engine, "(1)")
    eventually(lambda: [e for e in engine.events(name) if e["delivered"]])


def test_an_event_of_a_trigger_with_a_transform_fails_by_name(engine: Hasura, job: Json, path: str) -> None:
    if not engine.stand_in:
        pytest.skip("a genuine engine executes it")
    name = make_trigger(engine, job, path, request_transform={"version": 2, "template_engine": "Kriti"})
    insert(engine, "(1)")
    eventually(lambda: engine.events(name)[0]["error"])
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert log["response"]["data"]["message"] == "request_transform is not supported by this stand-in"
    assert engine.receiver.received(path) == []
