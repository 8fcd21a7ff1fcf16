"""Log lines: JSON, one per request, without foreign text."""

import json
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from leads.adapters.logs import CountingHandler, JsonFormatter, describe, log_request
from leads.domain.errors import BadRequest


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


def test_a_line_is_one_json_object_whatever_the_message() -> None:
    text = JsonFormatter().format(
        logging.LogRecord("pancake", logging.ERROR, "f", 1, 'two\nlines "quoted"', None, None)
    )
    assert "\n" not in text
    assert json.loads(text)["level"] == "error"
    assert set(json.loads(text)) == {"time", "level", "logger", "message"}


def test_fields_become_keys_and_values_unknown_to_json_become_text() -> None:
    found = line(fields={"event_id": 7, "when": object})
    assert (found["event_id"], found["when"]) == (7, "<class 'object'>")


def test_an_exception_is_logged_by_type_place_and_digest_without_its_message() -> None:
    found = line(error=raised("0905111222"))
    assert found["error"] == "KeyError"
    assert "test_logs.py" in found["where"]
    assert len(found["digest"]) == 12
    assert "0905111222" not in json.dumps(found)


def test_the_same_error_has_the_same_digest_with_any_message() -> None:
    assert describe(raised("a"))["digest"] == describe(raised("b"))["digest"]
    assert describe(raised("a"))["digest"] != describe(ValueError("a"))["digest"]


@pytest.mark.parametrize(
    ("status", "error", "level", "traced"),
    [
        (200, None, "INFO", False),
        (400, BadRequest("x"), "INFO", False),
        (503, None, "WARNING", False),
        (500, KeyError("x"), "WARNING", True),
    ],
)
def test_a_request_is_one_line(
    caplog: pytest.LogCaptureFixture, status: int, error: Exception | None, level: str, traced: bool
) -> None:
    with caplog.at_level("INFO", "pancake"):
        log_request("/r", status, 0.0125, {"result": "x"}, error)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, "request")
    assert record.__dict__["fields"] == {
        "route": "/r",
        "status": status,
        "ms": 12.5,
        "answer": {"result": "x"},
    }
    assert bool(record.exc_info) is traced


def test_lines_are_counted_by_level() -> None:
    registry = CollectorRegistry()
    handler = CountingHandler(Counter("lines", "x", ["level"], registry=registry))
    for level in (logging.INFO, logging.ERROR, logging.ERROR):
        handler.emit(logging.LogRecord("n", level, "f", 1, "m", None, None))
    assert registry.get_sample_value("lines_total", {"level": "error"}) == 2
