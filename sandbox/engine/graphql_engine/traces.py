"""Trace context in the form that the engine always reads and sends, B3 with one header for each value.

With `traces_propagators: [tracecontext]` in its metadata the engine sends W3C `traceparent` too; not here.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

_TRACE_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Trace:
    """A span: ids in hexadecimal digits; without a parent it is the first one of its trace."""

    trace_id: str
    span_id: str
    parent_id: str | None = None

    def child(self) -> "Trace":
        """Return a new span below this one."""
        return Trace(self.trace_id, secrets.token_hex(8), self.span_id)

    def context(self) -> dict[str, str]:
        """Return what an event stores of it."""
        return {"trace_id": self.trace_id, "span_id": self.span_id, "sampling_state": "1"}

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of a call of a webhook."""
        parent = [("X-B3-ParentSpanId", self.parent_id)] if self.parent_id else []
        return [
            ("X-B3-TraceId", self.trace_id),
            ("X-B3-SpanId", self.span_id),
            *parent,
            ("X-B3-Sampled", "1"),
        ]


def of_client(headers: Mapping[str, str]) -> Trace:
    """Return a span in the trace of a client's request, or in a new one."""
    given = {name.lower(): value for name, value in headers.items()}
    return _continue(given.get("x-b3-traceid"), given.get("x-b3-spanid"))


def of_event(context: object) -> Trace:
    """Return a span in the trace of an event's `trace_context`, or in a new one."""
    given = context if isinstance(context, Mapping) else {}
    return _continue(given.get("trace_id"), given.get("span_id"))


def _continue(trace_id: object, span_id: object) -> Trace:
    if not (isinstance(trace_id, str) and _TRACE_ID.fullmatch(trace_id)):
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    if not (isinstance(span_id, str) and _SPAN_ID.fullmatch(span_id)):
        return Trace(trace_id, secrets.token_hex(8))
    return Trace(trace_id, span_id).child()
