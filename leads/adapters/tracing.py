"""Trace context: read from callers, shown in log lines, passed on to Hasura and Pancake. No span is recorded.

Formats: W3C Trace Context (https://www.w3.org/TR/trace-context/) and B3, which Hasura sends
(https://github.com/openzipkin/b3-propagation). `tracestate` is not passed on: it is for tracing systems.
"""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from random import getrandbits

import httpx

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,400})?")
_B3 = re.compile(r"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_TRACE_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_IS_SAMPLED = {"1": True, "d": True, "true": True, "0": False, "false": False}

_current: ContextVar["TraceContext | None"] = ContextVar("trace", default=None)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: ids in lower-case hexadecimal digits; `is_sampled` is None while undecided."""

    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    is_sampled: bool | None = None

    def child(self) -> "TraceContext":
        """Return a new span below this one."""
        return TraceContext(self.trace_id, _random_hex(64), self.span_id, self.is_sampled)

    def fields(self) -> dict[str, str]:
        """Return what a log line shows."""
        parent = {"parent_span_id": self.parent_span_id} if self.parent_span_id else {}
        return {"trace_id": self.trace_id, "span_id": self.span_id, **parent}

    def headers(self) -> dict[str, str]:
        """Return the headers of a call; Hasura reads them only with OpenTelemetry configured."""
        sampled = {} if self.is_sampled is None else {"X-B3-Sampled": str(int(self.is_sampled))}
        return {
            "traceparent": f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled or False):02x}",
            "X-B3-TraceId": self.trace_id,
            "X-B3-SpanId": self.span_id,
            **sampled,
        }


def current_trace() -> TraceContext | None:
    """Return the trace of the request that this code serves."""
    return _current.get()


class within:
    """Run the block, and what it calls, within a trace."""

    def __init__(self, trace: TraceContext | None) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._token = _current.set(self._trace)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


def trace_of_request(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext:
    """Return a span below the caller's, or the first one of a new trace."""
    caller = read_headers(headers)
    return caller.child() if caller else TraceContext(_random_hex(128), _random_hex(64))


def join_event_trace(trace: TraceContext | None) -> str | None:
    """Continue the trace of an event if the caller sent none; else return its id if it is another one."""
    current = _current.get()
    if trace is None or current is None or trace.trace_id == current.trace_id:
        return None
    if current.parent_span_id is None:
        _current.set(trace.child())
        return None
    return trace.trace_id


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """Read the caller's trace from the headers of an ASGI request; None without a valid one.

    `traceparent` goes before `b3`, and that before `X-B3-…`. A header that is repeated is invalid.
    """
    found: dict[str, str | None] = {}
    for name, value in headers:
        if name in (b"traceparent", b"b3") or name.startswith(b"x-b3-"):
            key = name.decode("latin-1")
            found[key] = None if key in found else value.decode("latin-1").strip(" \t")
    if not found:
        return None
    given = {name: value for name, value in found.items() if value is not None}
    return _read_traceparent(given) or _read_b3(given) or _read_b3_of_many(given)


def read_context(value: object) -> TraceContext | None:
    """Read `event.trace_context` of an event trigger: the trace in which Hasura's client changed the row."""
    if not isinstance(value, Mapping):
        return None
    return _trace(value.get("trace_id"), value.get("span_id"), value.get("sampling_state"))


async def add_trace(request: httpx.Request) -> None:
    """Add the current trace to a request; a hook of httpx."""
    trace = current_trace()
    if trace:
        request.headers.update(trace.headers())


def _read_traceparent(headers: Mapping[str, str]) -> TraceContext | None:
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    # Version ff is forbidden; a later version may have more after the flags, version 00 may not.
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    return _trace(match[2], match[3], str(int(match[4], 16) & 1))


def _read_b3(headers: Mapping[str, str]) -> TraceContext | None:
    match = _B3.fullmatch(headers.get("b3", ""))
    return _trace(match[1], match[2], match[3]) if match else None


def _read_b3_of_many(headers: Mapping[str, str]) -> TraceContext | None:
    sampled = "d" if headers.get("x-b3-flags") == "1" else headers.get("x-b3-sampled")
    return _trace(headers.get("x-b3-traceid"), headers.get("x-b3-spanid"), sampled)


def _random_hex(bits: int) -> str:
    """Return the digits of an id, which has to be unique, not secret; this is faster than a secret one."""
    return f"{getrandbits(bits) or 1:0{bits // 4}x}"


def _trace(trace_id: object, span_id: object, sampled: object) -> TraceContext | None:
    """Build a trace from untrusted ids; None if one is malformed or zero. B3 allows ids of 64 bits."""
    if not (isinstance(trace_id, str) and isinstance(span_id, str)):
        return None
    if not (_TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id)):
        return None
    if not (int(trace_id, 16) and int(span_id, 16)):
        return None
    return TraceContext(trace_id.zfill(32), span_id, is_sampled=_IS_SAMPLED.get(str(sampled)))
