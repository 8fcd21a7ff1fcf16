"""Pancake CRM's REST API: the few reads we need, within limits, behind one breaker per connection.

It knows the vendor's paths and answers (OpenAPI 2.0.0), not what the records mean. Nothing is retried here:
a failed read is an exception, and whoever reads comes again by its schedule.

The vendor wants the API key in the query string. So that it reaches no log, no exception here refers to a
request, httpx's own log line (the whole URL) is dropped, and redirects are not followed.
"""

import json
import logging
from asyncio import timeout
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from leads.adapters.breaker import Breaker
from leads.domain.errors import PancakeKeyRejected, PancakeRefused, PancakeUnavailable

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
TOTAL_SECONDS = 20.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_PAGES = 10_000
DEFAULT_RETRY_AFTER = 30.0
LONGEST_RETRY_AFTER = 3600.0
COMPLETE = "complete"
REPEATED_CURSOR = "repeated_cursor"
PAGE_LIMIT = "page_limit"


class Clock(Protocol):
    """The part of `leads.adapters.clock` that is used here."""

    def now(self) -> datetime:
        """The present, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """Whose API to call: `base_url` ends in `/api`; the key never shows in a repr."""

    connection_id: str
    base_url: str
    workspace_id: int
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records. `ending` is None while more may follow, else why the walk ended here.

    `cursor` fetches the page after this one. `after_short` says that the page before was smaller than the
    first although this one follows: an honest keyset never does that.
    """

    number: int
    entries: list[dict[str, Any]]
    cursor: str | None
    ending: str | None = None
    after_short: bool = False


class Pancake:
    """Every connection's API, through one pool of HTTP connections. Close it with `aclose`."""

    def __init__(
        self,
        clock: Clock,
        *,
        decode: Callable[[bytes], Any] = json.loads,
        transport: httpx.AsyncBaseTransport | None = None,
        total_seconds: float = TOTAL_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`decode` parses JSON and raises ValueError for anything else; `transport` is for tests."""
        _drop_request_lines()
        self._clock = clock
        self._decode = decode
        self._total_seconds = total_seconds
        self._max_answer_bytes = max_answer_bytes
        self._breakers: dict[str, Breaker] = {}
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
            headers={"Accept": "application/json"},
            transport=transport,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the pool."""
        await self._http.aclose()

    def breaker_state(self) -> int:
        """The worst state of all breakers: 0 closed, 1 half-open, 2 open."""
        return max((breaker.level for breaker in self._breakers.values()), default=0)

    def breaker(self, connection_id: str) -> Breaker:
        """The breaker of a connection."""
        if connection_id not in self._breakers:
            self._breakers[connection_id] = Breaker(f"pancake_rest:{connection_id}", self._clock)
        return self._breakers[connection_id]

    async def sources(self, access: Access) -> list[dict[str, Any]]:
        """Every source of the workspace, removed ones marked. Also the cheapest proof of a working key."""
        return _objects((await self._get(access, "sources")).get("data"))

    async def record(self, access: Access, table: str, record_id: str) -> dict[str, Any] | None:
        """One record as it is now; None if it does not exist or is not shown to this key."""
        path = f"record/{quote(record_id, safe='')}"
        try:
            answer = await self._get(access, path, {"table_name": table})
        except PancakeRefused as error:
            if error.status in (200, 404):
                return None
            raise
        data = answer.get("data")
        return data if isinstance(data, dict) else None

    async def pages(
        self,
        access: Access,
        table: str,
        record_filter: Mapping[str, Any] | None = None,
        *,
        cursor: str | None = None,
        max_pages: int = MAX_PAGES,
    ) -> AsyncIterator[Page]:
        """The records of a table, page by page from `cursor` on, to the end or to `max_pages`.

        The vendor does not say what ends a list: no entries, or a cursor that is missing, empty or repeated
        do here. A full page that repeats a cursor is no end but a fault, and says so.
        """
        query = {"view_id": "all"}
        if record_filter is not None:
            query["filter"] = json.dumps(record_filter, ensure_ascii=False, separators=(",", ":"))
        asked, full, previous = {cursor}, 0, 0
        for number in range(1, max_pages + 1):
            answer = await self._get(
                access, f"{table}/records", query | ({"cursor": cursor} if cursor else {})
            )
            data = answer.get("data")
            body = data if isinstance(data, dict) else answer
            entries, following = _objects(body.get("entries")), body.get("cursor")
            full = full or len(entries)
            after_short, previous = bool(entries) and previous < full and number > 1, len(entries)
            ending = None
            if not entries or not isinstance(following, str) or not following:
                ending = COMPLETE
            elif following in asked:
                ending = COMPLETE if len(entries) < full else REPEATED_CURSOR
            elif number == max_pages:
                ending = PAGE_LIMIT
            resume = following if ending in (None, PAGE_LIMIT) else None
            yield Page(number, entries, resume, ending, after_short)
            if ending:
                return
            asked.add(following)
            cursor = following

    async def _get(self, access: Access, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer's JSON object. Raises PancakeUnavailable, PancakeKeyRejected or PancakeRefused."""
        answer: dict[str, Any] = await self.breaker(access.connection_id).call_async(
            self._ask, access, path, query or {}
        )
        return answer

    async def _ask(self, access: Access, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        url = f"{access.base_url.rstrip('/')}/workspaces/{access.workspace_id}/{path}"
        status, headers, content = await self._fetch(url, {**query, "api_key": access.api_key})
        if status in (401, 403):
            raise PancakeKeyRejected(f"Pancake answered {status}.", status=status)
        if status in (408, 425, 429) or status >= 500:
            wait = self._retry_after(headers.get("retry-after"))
            raise PancakeUnavailable(f"Pancake answered {status}.", retry_after=wait)
        if status != 200:
            raise PancakeRefused(f"Pancake answered {status}.", status=status)
        answer = self._read(content)
        if not isinstance(answer, dict):
            raise PancakeUnavailable("Pancake's answer is not a JSON object.")
        if answer.get("success") is False:
            raise PancakeKeyRejected("Pancake answered success: false.", status=200)
        return answer

    async def _fetch(self, url: str, query: Mapping[str, str]) -> tuple[int, httpx.Headers, bytes]:
        """One request. The exception is raised outside the handler: httpx's own refers to the URL."""
        problem = ""
        try:
            async with timeout(self._total_seconds), self._http.stream("GET", url, params=query) as response:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > self._max_answer_bytes:
                        problem = "the answer is too large"
                        break
                else:
                    return response.status_code, response.headers, bytes(content)
        except TimeoutError:
            problem = f"no complete answer within {self._total_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            problem = type(error).__name__
        raise PancakeUnavailable(f"Pancake could not be read: {problem}.")

    def _read(self, content: bytes) -> Any:
        try:
            return self._decode(content)
        except (ValueError, RecursionError):
            return None

    def _retry_after(self, value: str | None) -> float:
        """Seconds to wait: the header holds seconds or an HTTP date (RFC 9110, section 10.2.3)."""
        seconds = DEFAULT_RETRY_AFTER
        try:
            if value and value.strip().isdigit():
                seconds = float(value)
            elif value:
                moment = parsedate_to_datetime(value)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                seconds = (moment - self._clock.now()).total_seconds()
        except (ValueError, OverflowError):
            return DEFAULT_RETRY_AFTER
        return min(max(seconds, 1.0), LONGEST_RETRY_AFTER)


def _objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list; anything else in their place is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_no_request_line(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("HTTP Request:")


def _drop_request_lines() -> None:
    logging.getLogger("httpx").addFilter(_is_no_request_line)
