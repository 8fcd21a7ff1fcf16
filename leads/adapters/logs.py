"""JSON log lines on standard output: one canonical line for each request, and the lines of libraries."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

from prometheus_client import Counter

from leads.adapters.tracing import current_trace
from leads.domain.errors import IntegrationError

LOGGER = logging.getLogger("pancake")
QUIET_LOGGERS = ("httpx", "httpcore", "gql", "gql.transport.httpx", "gql.transport.requests", "psycopg.pool")
MAX_LOGGED_FRAMES = 8
"""The innermost ones: the outer frames are those of the server, the same in every request."""
UNLOGGED_KEYS = frozenset({"changes", "leads", "replayed_ids", "text"})
"""Of a replay: customers' data that a dry run shows, and up to 1,000 ids. Of a trace: what was searched for,
and what happened to the leads that were found."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAMES_ALONE = re.compile(r'^permission denied for \w+ \w+$|^new row violates row-level .* for table "\w+"$')
DIGEST_CHARACTERS = 12
"""48 bits tell apart the few errors that one installation has."""


_bound: ContextVar[dict[str, object] | None] = ContextVar("bound", default=None)


class binding:
    """Let `bind` add fields to the lines of one request, until the context ends."""

    def __enter__(self) -> None:
        self._token = _bound.set({})

    def __exit__(self, *error: object) -> None:
        _bound.reset(self._token)


def bind(**fields: object) -> None:
    """Add fields to every further line of this request, its canonical line too; None adds nothing."""
    bound = _bound.get()
    if bound is not None:
        bound.update({name: value for name, value in fields.items() if value is not None})


def loggable_record_id(record_id: str | None) -> str | None:
    """Return the id of a record if it is a UUID, as Pancake's are: any other may be anything, a phone too."""
    return record_id if record_id and _UUID.fullmatch(record_id) else None


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode  # json.dumps would build one for each line


class JsonFormatter(logging.Formatter):
    """One JSON object per line. `extra={"fields": {...}}` adds keys to it, and so do the trace and `bind`."""

    def format(self, record: logging.LogRecord) -> str:
        trace = current_trace()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(trace.fields() if trace else {}),
            **(_bound.get() or {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line |= describe(record.exc_info[1])
        return _encode(line)


class counting_log_messages(logging.Handler):
    """Count log lines by level for pancake_log_messages_total while the context is open."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._count = cache(lambda level: counter.labels(level.lower()))

    def emit(self, record: logging.LogRecord) -> None:
        self._count(record.levelname).inc()

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger().removeHandler(self)


def configure_logs(level: str = "INFO") -> None:
    """Format all log records as JSON; libraries that log every call are limited to WARNING.

    Threads, processes and callers are not collected: no line shows them, and that costs as much as the line
    itself.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # no callers: "Optimization" in Python's logging HOWTO
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(
    route: str, status: int, seconds: float, answer: Mapping[str, object], error: Exception | None
) -> None:
    """Write the canonical line of a request: route, status, duration, answer.

    Answers hold ids, statuses and codes, no secrets and no bodies; UNLOGGED_KEYS are left out. An error that
    is not an IntegrationError is logged with its trace.
    """
    level = logging.INFO if status < 500 else logging.WARNING
    unknown = None if error is None or isinstance(error, IntegrationError) else error
    if LOGGER.isEnabledFor(level):
        logged = {key: value for key, value in answer.items() if key not in UNLOGGED_KEYS}
        fields = {"route": route, "status": status, "ms": round(seconds * 1000, 2), "answer": logged}
        LOGGER.log(level, "request", extra={"fields": fields}, exc_info=unknown)


def describe(error: BaseException) -> dict[str, str]:
    """Describe an exception for a log: its type, where it was raised, a digest to find equal ones.

    The message is left out, since messages of libraries may quote data.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = [
        f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno} {frame.name}"
        for frame in frames[-MAX_LOGGED_FRAMES:]
    ]
    kind = type(error).__name__
    digest = sha256("|".join([kind, *where]).encode()).hexdigest()[:DIGEST_CHARACTERS]
    return {"error": kind, "where": " < ".join(reversed(where)), "digest": digest}


def summarize(error: Exception) -> str:
    """Describe an error in one line for a stored report, without the text of foreign exceptions."""
    if isinstance(error, IntegrationError):
        return str(error)
    found = describe(error)
    return f"{found['error']}{_place_in_database(error)}, digest {found['digest']}"


def _place_in_database(error: Exception) -> str:
    """Return what was refused, or " of table.constraint", as PostgreSQL names them: no values of a row."""
    diagnosis = getattr(error, "diag", None)
    said = _NAMES_ALONE.search(getattr(diagnosis, "message_primary", None) or "")
    parts = (getattr(diagnosis, f"{kind}_name", None) for kind in ("table", "column", "constraint"))
    name = ".".join(filter(None, parts))
    return f": {said[0]}" if said else f" of {name}" if name else ""
