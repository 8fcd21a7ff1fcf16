"""JSON log lines on standard output: one canonical line for each request, and whatever libraries say."""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from prometheus_client import Counter

from leads.domain.errors import IntegrationError

LOGGER = logging.getLogger("pancake")
QUIET = ("httpx", "httpcore", "gql", "gql.transport.httpx", "gql.transport.requests", "psycopg.pool")


class JsonFormatter(logging.Formatter):
    """One JSON object per line; `extra={"fields": {...}}` adds keys to it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line |= describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class CountingHandler(logging.Handler):
    """Counts lines by level for pancake_log_messages_total."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        self._counter.labels(record.levelname.lower()).inc()


def configure_logs(level: str = "INFO") -> None:
    """Send everything through the JSON formatter; chatty libraries speak from WARNING on.

    Records do without what no line shows (threads and processes): it costs as much as the line itself.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(
    route: str, status: int, seconds: float, answer: Mapping[str, object], error: Exception | None
) -> None:
    """The canonical line of a request: what was called, what it answered, how long it took.

    Answers hold ids, statuses and codes, never a secret or a body; the `changes` of a dry run, which are
    customers' data, are left out. An error without a code of ours is logged with its trace.
    """
    level = logging.INFO if status < 500 else logging.WARNING
    unknown = None if error is None or isinstance(error, IntegrationError) else error
    if LOGGER.isEnabledFor(level):
        told = {key: value for key, value in answer.items() if key != "changes"}
        fields = {"route": route, "status": status, "ms": round(seconds * 1000, 2), "answer": told}
        LOGGER.log(level, "request", extra={"fields": fields}, exc_info=unknown)


def describe(error: BaseException) -> dict[str, str]:
    """An exception for a log: its type, where it arose, and a digest to find the same one by.

    Messages of foreign exceptions may quote data, so they are left out.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    kind = type(error).__name__
    digest = sha256("|".join([kind, *where]).encode()).hexdigest()[:12]
    return {"error": kind, "where": " < ".join(reversed(where)), "digest": digest}
