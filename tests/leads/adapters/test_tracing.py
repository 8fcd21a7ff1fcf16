"""Trace context: which headers are taken over, and what is passed on."""

import re

import httpx
import pytest

from leads.adapters.tracing import (
    TraceContext,
    add_trace,
    current_trace,
    follow,
    read_context,
    read_headers,
    trace_of_request,
    within,
)

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


def test_an_id_of_64_bits_is_filled_up() -> None:
    assert read(("x-b3-traceid", SHORT), ("x-b3-spanid", SPAN)) == TraceContext(SHORT.zfill(32), SPAN)


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


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (
            {"trace_id": TRACE, "span_id": SPAN, "sampling_state": "1"},
            TraceContext(TRACE, SPAN, is_sampled=True),
        ),
        ({"trace_id": TRACE, "span_id": SPAN}, TraceContext(TRACE, SPAN)),
        (None, None),
        ([], None),
        ({}, None),
        ({"trace_id": 7, "span_id": SPAN}, None),
        ({"trace_id": TRACE, "span_id": None}, None),
    ],
)
def test_the_trace_of_an_event_is_read(value: object, trace: TraceContext | None) -> None:
    assert read_context(value) == trace


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
        assert follow(event) is None
        current = current_trace()
        assert current is not None
        assert (current.trace_id, current.parent_span_id) == (TRACE, SPAN)
    other = "1" * 32
    with within(trace_of_request([(b"b3", f"{other}-{SPAN}-1".encode())])):
        assert follow(event) == TRACE
        assert follow(TraceContext(other, SPAN)) is None
        assert follow(None) is None
        current = current_trace()
        assert current is not None
        assert current.trace_id == other
    assert current_trace() is None


@pytest.mark.parametrize(
    ("is_sampled", "flag", "b3"), [(True, "01", "1"), (False, "00", "0"), (None, "00", None)]
)
async def test_a_call_carries_the_trace_in_both_forms(
    is_sampled: bool | None, flag: str, b3: str | None
) -> None:
    request = httpx.Request("GET", "http://x.test")
    with within(TraceContext(TRACE, SPAN, is_sampled=is_sampled)):
        await add_trace(request)
    assert request.headers["traceparent"] == f"00-{TRACE}-{SPAN}-{flag}"
    assert (request.headers["x-b3-traceid"], request.headers["x-b3-spanid"]) == (TRACE, SPAN)
    assert request.headers.get("x-b3-sampled") == b3


async def test_a_call_outside_of_a_request_carries_none() -> None:
    request = httpx.Request("GET", "http://x.test")
    await add_trace(request)
    assert not [name for name in request.headers if re.search("trace|b3", name)]
