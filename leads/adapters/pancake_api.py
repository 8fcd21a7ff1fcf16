"""Pancake CRM's REST API: the few reads we need, within limits, behind one circuit breaker per host.

Paths and answers: the vendor's OpenAPI 2.0.0. A read that fails soon is tried once more; then it raises, and
the cron reads again at its next run. A connection that was answered 429 is not read before its Retry-After.

The vendor wants the API key in the query string. To keep it out of logs, no exception here refers to a
request, and httpx's own log line (the whole URL) is dropped. It is sent to allowed hosts only; redirects are
not followed.
"""

import json
import logging
import zlib
from asyncio import timeout
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx

from leads.adapters.breaker import Breakers
from leads.adapters.clock import Clock
from leads.adapters.time_limits import waiting_for_answer
from leads.adapters.tracing import add_trace
from leads.domain.canonical_json import JsonObject, read_json_loosely
from leads.domain.errors import (
    HostNotAllowed,
    PancakeBusy,
    PancakeKeyRejected,
    PancakeRefused,
    PancakeUnavailable,
    SecretUnreadable,
)
from leads.domain.hosts import host_of

CONNECT_TIMEOUT_SECONDS = 3.0
TOTAL_TIMEOUT_SECONDS = 6.0
"""A call of a cron waits for it (leads/adapters/time_limits.py)."""
RETRY_WITHIN_SHARE = 1 / 3
"""A read that failed within this share of its time is tried again, in what is left of it. After a later
failure a whole answer would hardly come in time, and the breaker would count too few failures to open.
"""
RETRY_PAUSE_SECONDS = 0.5
MAX_RETRY_AFTER_SECONDS = 3600.0
"""A Retry-After that is longer counts as this long: polling must come back without a restart."""
MAX_CONNECTIONS = 20
"""For all of Pancake's connections together; each cron sends one request at a time."""
MAX_IDLE_CONNECTIONS = 5
MAX_ANSWER_BYTES = 16 * 1024 * 1024
COMPLETE = "complete"
REPEATED_CURSOR = "repeated_cursor"


@dataclass(frozen=True, slots=True)
class Access:
    """Which API to call, with which key, or why there is none. The key does not show in a repr."""

    connection_id: str
    base_url: str
    workspace_id: int
    api_key: str | SecretUnreadable = field(repr=False)

    @property
    def host(self) -> str:
        """The host as `host_of` spells it; the base URL itself if it is none."""
        return host_of(self.base_url) or self.base_url

    def require_key(self, allowed_hosts: Set[str]) -> str:
        """Return the key if it may be sent there. Raises HostNotAllowed or SecretUnreadable."""
        if self.host not in allowed_hosts:
            raise HostNotAllowed(f"{self.host!r} is not in PANCAKE_API_HOSTS: no API key is sent there.")
        if isinstance(self.api_key, SecretUnreadable):
            raise self.api_key
        return self.api_key


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records. `ending` is None while more may follow, else why the list ended here.

    `cursor` fetches the next page. `after_short` says that the previous page was smaller than the first
    although this one follows: keyset pagination does not do that.
    """

    entries: list[JsonObject]
    cursor: str | None
    ending: str | None = None
    after_short: bool = False


class PancakeApi:
    """The API of every connection, through one pool of HTTP connections. Close it with `aclose`."""

    def __init__(
        self,
        clock: Clock,
        allowed_hosts: Set[str],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        total_timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
    ) -> None:
        """`allowed_hosts`, as `host_of` spells them, may get a key. `transport` is for tests."""
        logging.getLogger("httpx").addFilter(_is_not_request_line)
        self._allowed_hosts = allowed_hosts
        self._total_timeout_seconds = total_timeout_seconds
        self._clock = clock
        self._read_after: dict[str, float] = {}
        """When a connection may be read again, by its id, in seconds of the clock."""
        self.breakers, self.look_ups = Breakers(clock), Breakers(clock)
        """`look_ups` are for callers that cut a read off before its time; `breakers` do not count that."""
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(TOTAL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
            ),
            headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
            transport=transport,
            # SSL_CERT_FILE is followed, HTTPS_PROXY is not.
            verify=httpx.create_ssl_context() if transport is None else True,
            trust_env=False,
            event_hooks={"request": [add_trace]},
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def sources(self, access: Access) -> list[JsonObject]:
        """Read every source of the workspace, removed ones marked: the cheapest read that needs a key."""
        return _objects((await self._get(access, "sources")).get("data"))

    async def record(self, access: Access, table: str, record_id: str) -> JsonObject | None:
        """Read one record as it is now; None if it does not exist or is not visible to this key."""
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
        record_filter: Mapping[str, object] | None = None,
        *,
        cursor: str | None = None,
    ) -> AsyncIterator[Page]:
        """Read the records of a table, page by page from `cursor`.

        The vendor does not document what ends a list. Here it ends with a page without entries or with a
        cursor that is missing, empty or repeated. A full page that repeats a cursor is a fault
        (REPEATED_CURSOR), since records may be left.
        """
        query = {"view_id": "all"}
        if record_filter is not None:
            query["filter"] = json.dumps(record_filter, ensure_ascii=False, separators=(",", ":"))
        asked, full, is_short = {cursor}, 0, False
        while True:
            answer = await self._get(
                access, f"{table}/records", query | ({"cursor": cursor} if cursor else {})
            )
            data = answer.get("data")
            body = data if isinstance(data, dict) else answer
            entries, next_cursor = _objects(body.get("entries")), body.get("cursor")
            following = next_cursor if isinstance(next_cursor, str) else None
            full = full or len(entries)
            after_short, is_short = bool(entries) and is_short, len(entries) < full
            ending = None
            if not entries or not following:
                ending = COMPLETE
            elif following in asked:
                ending = COMPLETE if is_short else REPEATED_CURSOR
            yield Page(entries, None if ending else following, ending, after_short)
            if ending:
                return
            asked.add(following)
            cursor = following

    async def _get(self, access: Access, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """Return the answer's JSON object. Raises PancakeUnavailable, PancakeRefused or Misconfigured."""
        query = {**(query or {}), "api_key": access.require_key(self._allowed_hosts)}
        url = f"{access.base_url}/workspaces/{access.workspace_id}/{path}"
        wait = self._read_after.get(access.connection_id, 0.0) - self._clock.monotonic()
        if wait > 0:
            raise PancakeUnavailable(f"Pancake asked not to be called for another {wait:.0f} s.")
        try:
            return await self.breakers[access.host].call_async(self._read, url, query)
        except PancakeUnavailable as error:
            if error.retry_after_seconds:
                self._read_after[access.connection_id] = self._clock.monotonic() + error.retry_after_seconds
            raise

    async def _read(self, url: str, query: Mapping[str, str]) -> JsonObject:
        """Ask at most twice, in the time of one call. Raises PancakeUnavailable or PancakeRefused."""
        seconds, started = self._total_timeout_seconds, self._clock.monotonic()
        try:
            return await self._ask(url, query, seconds)
        except PancakeUnavailable as error:
            pause = error.retry_after_seconds or RETRY_PAUSE_SECONDS
            if self._clock.monotonic() + pause - started > seconds * RETRY_WITHIN_SHARE:
                raise
        await self._clock.sleep(pause)
        return await self._ask(url, query, seconds + started - self._clock.monotonic())

    async def _ask(self, url: str, query: Mapping[str, str], seconds: float) -> JsonObject:
        status, content, retry_after = await self._fetch(url, query, seconds)
        if status in (401, 403):
            raise PancakeKeyRejected(f"Pancake answered {status}.", status=status)
        if status == 429:
            pause = _read_retry_after(retry_after, self._clock.now())
            raise PancakeBusy("Pancake answered 429.", retry_after_seconds=pause)
        if status in (408, 425) or status >= 500:
            raise PancakeUnavailable(f"Pancake answered {status}.")
        if status != 200:
            raise PancakeRefused(f"Pancake answered {status}.", status=status)
        answer = read_json_loosely(content)
        if not isinstance(answer, dict):
            raise PancakeUnavailable("Pancake's answer is not a JSON object.")
        if answer.get("success") is False:
            raise PancakeKeyRejected("Pancake answered success: false.", status=200)
        return answer

    async def _fetch(self, url: str, query: Mapping[str, str], seconds: float) -> tuple[int, bytes, str]:
        """Send one request; return status, content and Retry-After. Raises PancakeUnavailable."""
        # Raised outside the except clause: httpx's exception refers to the URL.
        problem = ""
        try:
            with waiting_for_answer():
                async with (
                    timeout(seconds),
                    self._http.stream("GET", url, params=query) as response,
                ):
                    content = await _read_limited(response, MAX_ANSWER_BYTES)
                if len(content) <= MAX_ANSWER_BYTES:
                    return response.status_code, content, response.headers.get("retry-after", "")
                problem = "the answer is too large"
        except TimeoutError:
            problem = f"no complete answer within {self._total_timeout_seconds:g} s"
        # UnicodeError: httpx reads the address of a redirect although it does not follow it.
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            problem = _reason(error)
        raise PancakeUnavailable(f"Pancake could not be read: {problem}.")


async def _read_limited(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the decoded body of a streamed answer; more than `max_bytes` if it is longer.

    httpx would decode a whole piece from the network at once: 64 KiB become 64 MiB, and more if they are
    compressed several times. Raises httpx.DecodingError for other encodings than gzip, and for a torn body.
    """
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise httpx.DecodingError("unknown Content-Encoding")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None  # 16: the format of gzip
    assert isinstance(response.stream, httpx.AsyncByteStream)
    content = bytearray()
    async for chunk in response.stream:
        try:
            content += gzip.decompress(chunk, max_bytes + 1 - len(content)) if gzip else chunk
        except zlib.error:
            raise httpx.DecodingError("not gzip") from None
        if len(content) > max_bytes:
            return bytes(content)
    if gzip and not gzip.eof:
        raise httpx.DecodingError("torn")
    return bytes(content)


def _reason(error: Exception) -> str:
    """Say why there is no answer. The text of httpx is not quoted: it may have the URL, with the API key."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return "the connection broke, or the answer is not HTTP"


def _read_retry_after(text: str, now: datetime) -> float:
    """Return the seconds of a Retry-After, which is a number or a date (RFC 9110, 10.2.3); 0 for neither."""
    try:
        seconds = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a zone
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _objects(value: object) -> list[JsonObject]:
    """Return the JSON objects of a list, without items of other types."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_not_request_line(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("HTTP Request:")
