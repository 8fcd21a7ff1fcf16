"""A request: its error and code, its line in the log, its trace, and the series of the process."""

import gc
import inspect
import json
import logging
import re
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leads.adapters.clock import Clock
from leads.adapters.http import RequestLog, error_response
from leads.adapters.logs import JsonFormatter, counting_log_messages, describe, log_request, summarize
from leads.adapters.metrics import (
    CRON_RESULTS,
    EVENT_RESULTS,
    HTTP_CODES,
    NOTIFICATION_RESULTS,
    WEBHOOK_STATUSES,
    Metrics,
)
from leads.adapters.tracing import (
    TraceContext,
    add_trace,
    current_trace,
    join_event_trace,
    read_context,
    read_headers,
    trace_of_request,
    within,
)
from leads.domain import errors
from leads.domain.errors import BadRequest, IntegrationError
from leads.services.metrics import SERIES

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IntegrationError)]


def made(kind: type[IntegrationError]) -> IntegrationError:
    """Build an error of that class, with whatever its constructor needs."""
    needed: dict[str, Any] = {
        name: 500 if parameter.kind is parameter.KEYWORD_ONLY else "a message"
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty or name == "message"
    }
    return kind(**needed)


def test_every_error_is_answered_with_message_and_code(subtests: pytest.Subtests) -> None:
    for kind in TREE:
        with subtests.test(kind=kind):
            status, body, _ = error_response(made(kind))
            assert 400 <= status <= 599
            assert str(status) in HTTP_CODES
            assert set(body) == {"message", "extensions"}
            assert isinstance(body["message"], str)
            assert body["message"]
            assert set(body["extensions"]) == {"code"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.DatabaseUnavailable(), 503, "database_unavailable"),
        (errors.Overloaded(), 503, "overloaded"),
        (errors.ProcessingPaused(), 503, "processing_paused"),
        (errors.Deferred(retry_after_seconds=7), 503, "deferred"),
        (errors.Contended(), 503, "contended"),
        (errors.BadRequest("x"), 400, "bad_request"),
        (errors.UnknownTrigger("x"), 400, "unknown_trigger"),
        (errors.Unauthorized(), 401, "unauthorized"),
        (errors.InvalidBody(code="too_deep"), 422, "too_deep"),
        (errors.InvalidPhone(), 422, "invalid_phone"),
        (KeyError("a secret"), 500, "internal"),
    ],
)
def test_the_status_and_code_of_each_error(error: Exception, status: int, code: str) -> None:
    """Only a pause and its backlog name a time on every route."""
    given, body, wait_seconds = error_response(error)
    assert (given, body["extensions"]) == (status, {"code": code})
    assert "a secret" not in str(body)
    assert wait_seconds == {"processing_paused": 60, "deferred": 7}.get(code)


ROUTE = "/cron/x"


async def serve(
    app: ASGIApp, metrics: Metrics, path: str = ROUTE, fails_to_send: bool = False, **scope: Any
) -> list[Message]:
    """Send one request through RequestLog; return what was sent to the client."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)
        if fails_to_send:
            raise OSError("the client is gone")

    log = RequestLog(app, route=ROUTE, metrics=metrics, clock=Clock(), headers={"Cache-Control": "no-store"})
    scope |= {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await log(scope, receive, send)
    return sent


def requests(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("pancake_http_requests_total", {"route": ROUTE, "code": code})


async def test_a_request_is_counted_under_its_route_and_an_unexpected_error_is_answered_with_500() -> None:
    """With the headers of the route, whatever the path is."""

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("a secret")

    metrics = Metrics()
    served = await serve(JSONResponse({}), metrics, path="/proxy/cron/x\n")
    failed = await serve(fail, metrics)
    assert (requests(metrics, "200"), requests(metrics, "500")) == (1, 1)
    assert (failed[0]["status"], b"a secret" in failed[1]["body"]) == (500, False)
    for sent in (served, failed):
        assert (b"cache-control", b"no-store") in sent[0]["headers"]


async def test_what_a_refused_request_had_loaded_is_freed_with_it() -> None:
    """Not when the garbage collector comes: a reconciliation has the 100,000 ids of a day at each call."""
    loaded: list[weakref.ref[object]] = []
    kept: dict[str, Any] = {}  # uvicorn keeps the scope until the next request of the connection

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        ids = {"id"}
        loaded.append(weakref.ref(ids))
        try:
            raise TimeoutError
        except TimeoutError as error:
            raise errors.Contended from error

    gc.disable()
    try:
        await serve(fail, Metrics(), state=kept)
        assert loaded[0]() is None
    finally:
        gc.enable()


async def test_an_answer_that_cannot_be_sent_is_counted_once_with_its_own_status() -> None:
    metrics = Metrics()
    with pytest.raises(OSError, match="gone"):
        await serve(JSONResponse({}), metrics, fails_to_send=True)
    assert (requests(metrics, "200"), requests(metrics, "500")) == (1, 0)


def line(message: str = "x", fields: dict[str, Any] | None = None, error: Exception | None = None) -> Any:
    record = logging.LogRecord("pancake", logging.INFO, "f", 1, message, None, None)
    if fields is not None:
        record.fields = fields
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return json.loads(JsonFormatter().format(record))


def raised(message: str) -> Exception:
    try:
        raise KeyError(message)
    except KeyError as error:
        return error


def test_a_line_is_one_json_object_whatever_the_message_and_its_fields_are_keys() -> None:
    record = logging.LogRecord("pancake", logging.ERROR, "f", 1, 'two\nlines "quoted"', None, None)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert (json.loads(text)["level"], json.loads(text)["message"]) == ("error", 'two\nlines "quoted"')
    assert set(json.loads(text)) == {"time", "level", "logger", "message"}
    found = line(fields={"event_id": 7, "when": object})
    assert (found["event_id"], found["when"]) == (7, "<class 'object'>")


def test_an_exception_is_logged_by_type_place_and_digest_without_its_message() -> None:
    found = line(error=raised("0905111222"))
    assert found["error"] == "KeyError"
    assert Path(__file__).name in found["where"]
    assert len(found["digest"]) == 12
    assert "0905111222" not in json.dumps(found)
    assert describe(raised("a"))["digest"] == describe(raised("b"))["digest"]
    assert describe(raised("a"))["digest"] != describe(ValueError("a"))["digest"]


def test_a_stored_error_names_the_constraint_that_refuses_a_row() -> None:
    class Refused(Exception):
        diag = SimpleNamespace(table_name="ticket", column_name=None, constraint_name="ck_branch")

    assert re.fullmatch(r"Refused of ticket\.ck_branch, digest \w{12}", summarize(Refused()))
    assert re.fullmatch(r"KeyError, digest \w{12}", summarize(raised("0905111222")))
    for said, stored in (
        ("permission denied for table ticket", ": permission denied for table ticket"),
        ('new row violates row-level security policy for table "account"',
         ': new row violates row-level security policy for table "account"'),
        ("permission denied for 0905111222, ask the manager", ""),
    ):  # fmt: skip
        refused = type("Refused", (Exception,), {"diag": SimpleNamespace(message_primary=said)})
        assert re.fullmatch(rf"Refused{re.escape(stored)}, digest \w{{12}}", summarize(refused()))
    assert summarize(psycopg.errors.CheckViolation("no row")).startswith("CheckViolation, digest ")


def test_a_request_is_one_line(caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, Exception | None, str]] = [
        (200, None, "INFO"), (400, BadRequest("x"), "INFO"), (503, None, "WARNING"),
        (500, KeyError("x"), "WARNING"),
    ]  # fmt: skip
    for status, error, level in cases:
        with subtests.test(status=status, error=error):
            caplog.clear()
            with caplog.at_level("INFO", "pancake"):
                log_request("/r", status, 0.0125, {"result": "x"}, error)
            (record,) = caplog.records
            assert (record.levelname, record.getMessage()) == (level, "request")
            fields = {"route": "/r", "status": status, "ms": 12.5, "answer": {"result": "x"}}
            assert record.__dict__["fields"] == fields
            assert bool(record.exc_info) is (status == 500)


def test_lines_are_counted_by_level() -> None:
    registry = CollectorRegistry()
    handler = counting_log_messages(Counter("lines", "x", ["level"], registry=registry))
    for level in (logging.INFO, logging.ERROR, logging.ERROR):
        handler.emit(logging.LogRecord("n", level, "f", 1, "m", None, None))
    assert registry.get_sample_value("lines_total", {"level": "error"}) == 2


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SHORT = "8448eb211c80319c"
ZERO_TRACE, ZERO_SPAN = "0" * 32, "0" * 16


def read(*headers: tuple[str, str]) -> TraceContext | None:
    return read_headers([(name.lower().encode(), value.encode("latin-1")) for name, value in headers])


@pytest.mark.parametrize(
    ("headers", "is_sampled"),
    [
        ([("traceparent", f"00-{TRACE}-{SPAN}-01")], True),
        ([("traceparent", f"00-{TRACE}-{SPAN}-00")], False),
        ([("Traceparent", f" 00-{TRACE}-{SPAN}-03 ")], True),
        ([("traceparent", f"cc-{TRACE}-{SPAN}-01-a-b")], True),
        ([("b3", f"{TRACE}-{SPAN}-1")], True),
        ([("b3", f"{TRACE}-{SPAN}-d")], True),
        ([("b3", f"{TRACE}-{SPAN}-0-{SPAN}")], False),
        ([("b3", f"{TRACE}-{SPAN}")], None),
        ([("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN), ("X-B3-Sampled", "1")], True),
        ([("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "false")], False),
        ([("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")], True),
        ([("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "maybe")], None),
        # An invalid header does not stop the next form.
        ([("traceparent", "nonsense"), ("b3", f"{TRACE}-{SPAN}-1")], True),
        ([("b3", "0"), ("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)], None),
    ],
)
def test_a_valid_trace_of_the_caller_is_read(headers: list[tuple[str, str]], is_sampled: bool | None) -> None:
    assert read(*headers) == TraceContext(TRACE, SPAN, is_sampled=is_sampled)
    short = read(("x-b3-traceid", SHORT), ("x-b3-spanid", SPAN))
    assert short == TraceContext(SHORT.zfill(32), SPAN), "an id of 64 bits is filled up"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "")],
        [("traceparent", f"00-{TRACE}-{SPAN}")],
        [("traceparent", f"ff-{TRACE}-{SPAN}-01")],
        [("traceparent", f"00-{TRACE}-{SPAN}-01-more")],
        [("traceparent", f"00-{TRACE.upper()}-{SPAN}-01")],
        [("traceparent", f"00-{ZERO_TRACE}-{SPAN}-01")],
        [("traceparent", f"00-{TRACE}-{ZERO_SPAN}-01")],
        [("traceparent", f"01-{TRACE}-{SPAN}-01-{'x' * 600}")],
        [("traceparent", f"00-{TRACE}-{SPAN}-01\n")],
        [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("traceparent", f"00-{TRACE}-{SPAN}-01")],
        [("b3", f"{TRACE}-{SPAN}-2")],
        [("b3", f"{SHORT[1:]}-{SPAN}-1")],
        [("x-b3-traceid", TRACE)],
        [("x-b3-spanid", SPAN)],
        [("x-b3-traceid", f"{TRACE}0"), ("x-b3-spanid", SPAN)],
        [("x-b3-traceid", "g" * 32), ("x-b3-spanid", SPAN)],
        [("x-b3-traceid", "0905111222"), ("x-b3-spanid", "Nguy")],
    ],
)
def test_what_is_not_a_trace_is_ignored(headers: list[tuple[str, str]]) -> None:
    assert read(*headers) is None


def test_the_trace_of_an_event_is_read(subtests: pytest.Subtests) -> None:
    ids = {"trace_id": TRACE, "span_id": SPAN}
    assert read_context(ids) == TraceContext(TRACE, SPAN)
    assert read_context(ids | {"sampling_state": "1"}) == TraceContext(TRACE, SPAN, is_sampled=True)
    invalid: list[object] = [None, [], {}, ids | {"trace_id": 7}, ids | {"span_id": None}]
    for value in invalid:
        with subtests.test(value=value):
            assert read_context(value) is None


def test_a_request_is_a_span_below_its_caller_or_the_first_of_a_trace() -> None:
    below = trace_of_request([(b"b3", f"{TRACE}-{SPAN}-1".encode())])
    assert (below.trace_id, below.parent_span_id, below.is_sampled) == (TRACE, SPAN, True)
    assert below.span_id not in (SPAN, trace_of_request([]).span_id)
    first = trace_of_request([])
    assert first.parent_span_id is None
    assert read_context(first.fields()) is not None


def test_the_event_decides_if_the_caller_named_no_trace() -> None:
    event = TraceContext(TRACE, SPAN)
    with within(trace_of_request([])):
        assert join_event_trace(event) is None
        current = current_trace()
        assert current is not None
        assert (current.trace_id, current.parent_span_id) == (TRACE, SPAN)
    other = "1" * 32
    with within(trace_of_request([(b"b3", f"{other}-{SPAN}-1".encode())])):
        assert join_event_trace(event) == TRACE
        assert join_event_trace(TraceContext(other, SPAN)) is None
        assert join_event_trace(None) is None
        current = current_trace()
        assert current is not None
        assert current.trace_id == other
    assert current_trace() is None


async def test_a_call_carries_the_trace_in_both_forms_and_outside_of_a_request_none() -> None:
    cases: list[tuple[bool | None, str, str | None]] = [(True, "01", "1"), (False, "00", "0")]
    for is_sampled, flag, b3 in (*cases, (None, "00", None)):
        request = httpx.Request("GET", "http://x.test")
        with within(TraceContext(TRACE, SPAN, is_sampled=is_sampled)):
            await add_trace(request)
        assert request.headers["traceparent"] == f"00-{TRACE}-{SPAN}-{flag}"
        assert (request.headers["x-b3-traceid"], request.headers["x-b3-spanid"]) == (TRACE, SPAN)
        assert request.headers.get("x-b3-sampled") == b3
    request = httpx.Request("GET", "http://x.test")
    await add_trace(request)
    assert not [name for name in request.headers if re.search("trace|b3", name)]


PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text("utf-8")


def test_the_documented_series_are_the_series_of_the_handlers() -> None:
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics(SERIES).registry.collect()
        if not family.name.startswith("process_")
    }
    assert set(re.findall(r"^\| `(pancake_\w+)", PAGE, re.MULTILINE)) == families


def test_memory_and_cpu_of_the_process_are_shown() -> None:
    """The gate of the third wave reads the memory of each pod."""
    registry = Metrics().registry
    memory = registry.get_sample_value("process_resident_memory_bytes")
    cpu = registry.get_sample_value("process_cpu_seconds_total")
    assert 10 * 2**20 < (memory or 0) < 4 * 2**30
    assert (cpu or 0) > 0


def test_every_label_of_a_closed_set_begins_at_0() -> None:
    """increase() does not see the first event of a series that appears with it."""
    metrics = Metrics()
    metrics.add_cron("check_sla", 300)
    metrics.add_route("/edge/policy")
    for name, others, label, values in (
        ("pancake_events", {}, "result", EVENT_RESULTS),
        ("pancake_notifications", {}, "result", NOTIFICATION_RESULTS),
        ("pancake_webhook_requests", {}, "status", WEBHOOK_STATUSES),
        ("pancake_webhook_missed", {}, "origin", ("poll", "reconcile")),
        ("pancake_cron_runs", {"name": "check_sla"}, "result", CRON_RESULTS),
        ("pancake_http_requests", {"route": "/edge/policy"}, "code", HTTP_CODES),
    ):
        for value in values:
            labels = {**others, label: value}
            assert metrics.registry.get_sample_value(f"{name}_total", labels) == 0, (name, value)
