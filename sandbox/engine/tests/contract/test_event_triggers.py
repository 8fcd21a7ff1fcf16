"""Event triggers: capture, headers, manual invocation, and the delivery of events. Contract section 1."""

import pytest

from tests.support.hasura import Hasura, Json, eventually, unique
from tests.support.receiver import Answer, Received

RETRY = {"num_retries": 0, "interval_sec": 1, "timeout_sec": 5}


def make_trigger(engine: Hasura, table: Json, path: str, **more: Json) -> str:
    """Create a trigger, on inserts by default; its webhook is the receiver."""
    name = unique("trigger")
    definition = {"insert": {"columns": "*"}} if not {"insert", "update", "delete"} & set(more) else {}
    args = {"name": name, "table": table, "webhook": engine.receiver.url + path, "retry_conf": RETRY}
    engine.do("pg_create_event_trigger", {**args, **definition, **more})
    return name


def insert(engine: Hasura, values: str) -> None:
    engine.sql(f'INSERT INTO "{engine.schema}".job VALUES {values}')


@pytest.fixture
def path() -> str:
    return f"/{unique('events')}"


def test_only_a_change_of_a_listened_column_makes_an_event(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path, update={"columns": ["state"]})
    insert(engine, "(1, 'a', NULL, 1), (2, NULL, NULL, 1)")
    engine.sql(f'UPDATE "{engine.schema}".job SET amount = 2')
    engine.sql(f'UPDATE "{engine.schema}".job SET state = state')
    assert engine.events(name) == []
    engine.sql(f"UPDATE \"{engine.schema}\".job SET state = 'b'")
    assert len(engine.events(name)) == 2, "NULL on one side counts as different"


def test_columns_without_equality_are_compared_by_their_image(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path, update={"columns": ["note"]})
    insert(engine, "(1, 'a', '{}', 1)")
    engine.sql(f"UPDATE \"{engine.schema}\".job SET note = '{{}}'")
    assert engine.events(name) == []
    engine.sql(f"UPDATE \"{engine.schema}\".job SET note = '[]'")
    assert len(engine.events(name)) == 1


def test_a_write_outside_hasura_has_null_session_variables(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    engine.sql(
        f"DO $$ BEGIN PERFORM set_config('hasura.user', '', true); INSERT INTO \"{engine.schema}\".job VALUES"
        " (1); END $$"
    )
    assert engine.receiver.wait_for(path, 1)[0].body["event"]["session_variables"] is None
    assert engine.events(name)[0]["payload"]["session_variables"] is None


def test_the_engine_sets_content_type_and_user_agent(engine: Hasura, job: Json, path: str) -> None:
    headers = [
        {"name": "X-Secret", "value": "s3"},
        {"name": "User-Agent", "value": "mine"},
        {"name": "Content-Type", "value": "text/plain"},
    ]
    make_trigger(engine, job, path, headers=headers)
    insert(engine, "(1)")
    got = engine.receiver.wait_for(path, 1)[0].headers
    assert got["x-secret"] == "s3"
    assert got["content-type"] == "application/json"
    assert got["user-agent"].startswith("hasura-graphql-engine/")


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def insert_traced(engine: Hasura, path: str) -> Received:
    """Insert a job with the headers of a trace; return what its trigger delivers."""
    headers = engine.admin | {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"}
    root = f"insert_{engine.schema}_job"
    engine.graphql(f"mutation {{ {root}(objects: {{id: 1}}) {{ affected_rows }} }}", headers)
    return engine.receiver.wait_for(path, 1)[0]


def test_no_trace_is_read_or_sent_while_opentelemetry_is_off(engine: Hasura, job: Json, path: str) -> None:
    make_trigger(engine, job, path)
    got = insert_traced(engine, path)
    assert got.body["event"]["trace_context"]["trace_id"] != TRACE
    assert [name for name in got.headers if name.startswith("x-b3-")] == []


@pytest.mark.usefixtures("traced")
def test_the_trace_of_the_writer_goes_on_to_the_event(engine: Hasura, job: Json, path: str) -> None:
    trace_id, span_id = TRACE, SPAN
    make_trigger(engine, job, path)
    got = insert_traced(engine, path)
    assert got.body["event"]["trace_context"]["trace_id"] == trace_id
    assert got.headers["x-b3-traceid"] == trace_id
    assert got.headers["x-b3-spanid"] not in (span_id, got.headers["x-b3-parentspanid"])
    assert got.headers["x-b3-sampled"] == "1"


def test_headers_and_webhooks_come_from_the_environment(engine: Hasura, job: Json, path: str) -> None:
    if engine.contract_secret is None:
        pytest.skip("CONTRACT_WEBHOOK and CONTRACT_SECRET of the engine are not known")
    headers = [{"name": "X-Secret", "value_from_env": "CONTRACT_SECRET"}]
    webhook = "{{CONTRACT_WEBHOOK}}" + f":{engine.receiver.port}{path}"
    name = make_trigger(engine, job, path, headers=headers, webhook=webhook)
    insert(engine, "(1)")
    assert engine.receiver.wait_for(path, 1)[0].headers["x-secret"] == engine.contract_secret
    eventually(lambda: engine.events(name)[0]["delivered"])
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert {"name": "X-Secret", "value_from_env": "CONTRACT_SECRET"} in log["request"]["headers"]


def test_a_manual_invocation_needs_enable_manual(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path)
    args = {"name": name, "source": "default", "payload": {"old": None, "new": {"id": 3}}}
    status, body = engine.call("pg_invoke_event_trigger", args)
    assert (status, body["code"]) == (400, "not-supported")
    assert body["error"] == "manual mode is not enabled for event trigger"


def test_a_deleted_trigger_archives_its_events_and_a_new_one_does_not_revive_them(
    engine: Hasura, job: Json, path: str
) -> None:
    name = make_trigger(engine, job, path, retry_conf={**RETRY, "num_retries": 9, "interval_sec": 600})
    engine.receiver.answers(path, Answer(500), Answer(200))
    insert(engine, "(1)")
    eventually(lambda: engine.events(name)[0]["tries"] == 1)
    engine.do("pg_delete_event_trigger", {"name": name, "source": "default"})
    assert engine.events(name)[0]["archived"] is True
    args = {"name": name, "table": job, "webhook": engine.receiver.url + path, "insert": {"columns": "*"}}
    engine.do("pg_create_event_trigger", args)
    insert(engine, "(2)")
    eventually(lambda: [e for e in engine.events(name) if e["delivered"]])
    assert [r.body["event"]["data"]["new"]["id"] for r in engine.receiver.received(path)] == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "no spaces"}, "only alphanumeric and underscore and hyphens allowed for name"),
        ({"name": "a" * 43}, "event trigger name can be at most 42 characters"),
        ({"insert": None}, "atleast one amongst insert/update/delete/enable_manual spec must be provided"),
        ({"webhook": None}, "must provide webhook or webhook_from_env"),
        ({"webhook_from_env": "X"}, "only one of webhook or webhook_from_env should be given"),
    ],
)
def test_a_malformed_trigger_is_refused(engine: Hasura, job: Json, change: Json, message: str) -> None:
    args = {"name": "fine", "table": job, "webhook": "http://127.0.0.1:1/", "insert": {"columns": "*"}}
    status, body = engine.call("pg_create_event_trigger", {**args, **change})
    assert (status, body["code"], message in body["error"]) == (400, "parse-failed", True)


def test_a_reload_creates_a_dropped_sql_trigger_again_only_if_asked_to(
    engine: Hasura, job: Json, path: str
) -> None:
    name = make_trigger(engine, job, path)
    drop = f'DROP TRIGGER "notify_hasura_{name}_INSERT" ON "{engine.schema}".job'
    assert engine.query("run_sql", {"sql": drop, "check_metadata_consistency": False})[0] == 200
    for args, count in (({}, 0), ({"recreate_event_triggers": True}, 1)):
        assert engine.do("reload_metadata", args) == {"message": "success", "is_consistent": True}
        insert(engine, f"({count}, 'new', NULL, NULL)")
        assert len(engine.events(name)) == count


def test_a_listened_column_cannot_be_dropped(engine: Hasura, job: Json, path: str) -> None:
    make_trigger(engine, job, path, update={"columns": ["state"]})
    args = {"sql": f'ALTER TABLE "{engine.schema}".job DROP COLUMN state'}
    status, body = engine.query("run_sql", args)
    assert (status, body["code"]) == (400, "dependency-error")
    assert "event-trigger" in body["error"]


def test_the_trigger_functions_run_with_the_rights_of_the_session_that_writes(
    engine: Hasura, job: Json, path: str
) -> None:
    """A role with rights on the table alone cannot write a row."""
    make_trigger(engine, job, path)
    role, schema = unique("writer"), engine.schema
    create = f'CREATE ROLE {role}; GRANT USAGE ON SCHEMA "{schema}" TO {role}'
    table = f'GRANT ALL ON "{schema}".job TO {role}'
    log = f"GRANT USAGE ON SCHEMA hdb_catalog TO {role}; GRANT INSERT ON hdb_catalog.event_log TO {role}"
    write = f'SET LOCAL ROLE {role}; INSERT INTO "{schema}".job VALUES (1); RESET ROLE'
    drop = f"DROP OWNED BY {role}; DROP ROLE {role}"

    def run(*statements: str) -> tuple[int, Json]:
        # With the check the engine would drop the triggers while it runs a text that has the word DROP.
        text = {"sql": "; ".join(statements), "check_metadata_consistency": False}
        return engine.query("run_sql", text)

    status, body = run(create, table, write, drop)
    assert status == 400
    assert body["internal"]["error"]["message"] == "permission denied for schema hdb_catalog"
    assert body["internal"]["error"]["status_code"] == "42501"
    assert run(create, table, log, write, drop)[0] == 200
    assert engine.receiver.wait_for(path, 1)[0].body["event"]["data"]["new"]["id"] == 1


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


def test_a_webhook_that_is_no_url_is_a_failed_try(engine: Hasura, job: Json, path: str) -> None:
    name = make_trigger(engine, job, path, webhook="nonsense")
    insert(engine, "(1)")
    eventually(lambda: [e for e in engine.events(name) if e["error"]])
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert log["response"]["type"] == "client_error"


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


def test_redelivery_of_what_is_busy_is_refused(engine: Hasura, job: Json, path: str) -> None:
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


def test_any_2xx_is_success_also_with_an_answer_that_no_text_can_hold(
    engine: Hasura, job: Json, path: str
) -> None:
    name = make_trigger(engine, job, path)
    engine.receiver.answers(path, Answer(299, b"\x00\xff\xfe"))
    insert(engine, "(1)")
    row = eventually(lambda: [e for e in engine.events(name) if e["delivered"]])[0]
    assert (row["tries"], row["error"], row["locked"], row["next_retry_at"]) == (1, False, None, None)


def test_an_event_of_a_trigger_with_a_transform_fails_by_name(engine: Hasura, job: Json, path: str) -> None:
    if not engine.stand_in:
        pytest.skip("a genuine engine executes it")
    name = make_trigger(engine, job, path, request_transform={"version": 2, "template_engine": "Kriti"})
    insert(engine, "(1)")
    eventually(lambda: engine.events(name)[0]["error"])
    log = engine.do("pg_get_event_invocation_logs", {"name": name, "source": "default"})[0]
    assert log["response"]["data"]["message"] == "request_transform is not supported by this stand-in"
    assert engine.receiver.received(path) == []
