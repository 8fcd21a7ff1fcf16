"""Trace context at the edge: the sender's or a new one, to both paths, into the log, through the spool."""

import json
import re
from typing import Any

import pytest

from tests.support.edge.fakes import FakePath
from tests.support.edge.harness import TOKEN, EdgeHarness
from tests.support.waiting import eventually

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OUTGOING = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")
INVALID = [
    "x", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE[1:]}-{SPAN}-01",
    f"01-{TRACE}-{SPAN}-01more", f"01-{TRACE}-{SPAN}-01-{'x' * 600}", f"00-{TRACE}-{SPAN}-zz",
    f'00-{TRACE}-{SPAN}-01","x":"',
]  # fmt: skip


def passed_on(path: FakePath) -> dict[str, str]:
    """The headers of the newest delivery that this path received."""
    return [request.headers for request in path.requests if request.method == "POST"][-1]


def post(harness: EdgeHarness, traceparent: str | None = None) -> str:
    """Post a delivery; return its outcome."""
    with harness.sender() as sender:
        return sender.post(TOKEN, b'{"id":"1"}', {"traceparent": traceparent} if traceparent else {}).status


def last_line(harness: EdgeHarness) -> dict[str, Any]:
    eventually(lambda: harness.edge.access_log() != "")
    line: dict[str, Any] = json.loads(harness.edge.access_log().splitlines()[-1])
    return line


@pytest.mark.parametrize("flags", ["00", "01"])
def test_the_senders_trace_goes_on_with_a_span_of_the_edge(harness: EdgeHarness, flags: str) -> None:
    assert post(harness, f"00-{TRACE}-{SPAN}-{flags}") == "received"
    headers = passed_on(harness.hasura)
    match = OUTGOING.fullmatch(headers["traceparent"])
    assert match
    assert (match[1], match[3]) == (TRACE, flags)
    assert match[2] != SPAN
    assert (headers["x-b3-traceid"], headers["x-b3-spanid"]) == (TRACE, match[2])
    assert headers.get("x-b3-sampled") == ("1" if flags == "01" else None)
    line = last_line(harness)
    assert (line["trace_id"], line["event_id"], line["outcome"]) == (TRACE, "1", "received")


def test_without_a_valid_one_a_trace_begins_that_has_the_id_of_the_request(harness: EdgeHarness) -> None:
    with harness.sender() as sender:
        for number, invalid in enumerate(["", *INVALID], 1):
            sender.post(TOKEN, b"{}", {"traceparent": invalid})
            match = OUTGOING.fullmatch(passed_on(harness.hasura)["traceparent"])
            assert match, invalid
            assert match[1] != TRACE, invalid
            eventually(lambda number=number: len(harness.edge.access_log().splitlines()) == number)  # type: ignore[misc]
            line = last_line(harness)
            assert line["trace_id"] == line["request_id"] == match[1], invalid


def test_a_later_version_is_read_and_sent_on_as_the_known_one(harness: EdgeHarness) -> None:
    post(harness, f"01-{TRACE}-{SPAN}-03-further")
    match = OUTGOING.fullmatch(passed_on(harness.hasura)["traceparent"])
    assert match
    assert (match[1], match[3]) == (TRACE, "01")


def test_the_second_path_gets_the_same_trace(harness: EdgeHarness) -> None:
    harness.hasura.stop()
    post(harness, f"00-{TRACE}-{SPAN}-01")
    assert passed_on(harness.handlers)["x-b3-traceid"] == TRACE


def test_a_stored_delivery_keeps_its_trace(harness: EdgeHarness) -> None:
    harness.stop_upstreams()
    assert post(harness, f"00-{TRACE}-{SPAN}-01") == "spooled"
    line = last_line(harness)
    assert (line["trace_id"], line["event_id"]) == (TRACE, "")
    harness.start_upstreams()
    eventually(lambda: harness.hasura.bodies or harness.handlers.bodies, seconds=20)
    path = harness.hasura if harness.hasura.bodies else harness.handlers
    assert passed_on(path)["x-b3-traceid"] == TRACE
