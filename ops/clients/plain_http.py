"""Ask the handlers, the edge, Alertmanager and Prometheus; hasura_admin.py asks Hasura."""

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx

from leads.domain.errors import IntegrationError
from ops.failures import connection_reason


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that httpx makes by default, once. It verifies servers, also by SSL_CERT_FILE."""
    return httpx.create_ssl_context()


class NoAnswer(IntegrationError):
    """The service did not answer; the message names its URL and why."""

    code = "no_answer"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, how many seconds it took, and how far its clock (header Date) is ahead of this one.

    `json` is None for other text.
    """

    status: int
    text: str
    json: Any
    seconds: float
    clock_ahead: timedelta | None
    retry_after: str | None


def ask(
    url: str,
    *,
    method: str | None = None,
    body: Mapping[str, object] | Sequence[object] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float,
) -> HttpAnswer:
    """GET the URL, or POST `body` as JSON, or use `method`. Raises NoAnswer; its message quotes no header."""
    started, method = time.monotonic(), method or ("GET" if body is None else "POST")
    try:
        with httpx.Client(timeout=timeout_seconds, verify=tls_context(), trust_env=False) as client:
            response = client.request(method, url, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise NoAnswer(f"{url} does not answer: {connection_reason(error)}") from error
    return HttpAnswer(
        status=response.status_code,
        text=response.text,
        json=_json(response),
        seconds=time.monotonic() - started,
        clock_ahead=_clock_ahead(response.headers.get("date")),
        retry_after=response.headers.get("retry-after"),
    )


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _clock_ahead(date: str | None) -> timedelta | None:
    try:
        return parsedate_to_datetime(date) - datetime.now(UTC) if date else None
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None
