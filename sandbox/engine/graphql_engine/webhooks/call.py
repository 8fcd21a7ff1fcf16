"""One HTTP call of a webhook, as event triggers, cron triggers and one-off events make it.

Facts: the engine's `Eventing/HTTP` (failures, contents of invocation logs).
"""

import json
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from graphql_engine.settings import VERSION
from graphql_engine.webhooks.transforms import Outgoing

USER_AGENT = f"hasura-graphql-engine/{VERSION}"
LOG_VERSION = "2"
UNSENDABLE = (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError)
STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@dataclass(frozen=True)
class Reply:
    """The response of a webhook. Without a response `status` is None and `body` contains the reason."""

    status: int | None
    body: str
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the engine counts the delivery as done."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def retry_after(self) -> int | None:
        """Seconds of a usable `Retry-After` on a failed response; only a positive integer counts."""
        if self.status is None or self.succeeded:
            return None
        for name, value in self.headers:
            if name.lower() == "retry-after":
                return int(value) if value.strip().isdigit() and int(value) > 0 else None
        return None

    def logged(self) -> dict[str, Any]:
        """Return the `response` of an invocation log."""
        if self.status is None or self.status >= 300:
            return {"data": {"message": self.body}, "type": "client_error", "version": LOG_VERSION}
        headers = [{"name": name, "value": value} for name, value in self.headers]
        data = {"body": self.body, "headers": headers, "status": self.status}
        return {"data": data, "type": "webhook_response", "version": LOG_VERSION}


def request_headers(configured: list[tuple[str, str]], trace: str | None = None) -> list[tuple[str, str]]:
    """Return the headers to send: configured ones, the engine's own two (which win), then tracing."""
    own = [("Content-Type", "application/json"), ("User-Agent", USER_AGENT)]
    names = {name.lower() for name, _ in own}
    kept = [(name, value) for name, value in configured if name.lower() not in names]
    return kept + own + ([("traceparent", trace)] if trace else [])


def logged_request(
    body: str, headers: list[dict[str, Any]] | None, own: list[tuple[str, str]], version: str = "2"
) -> str:
    """Return the `request` of an invocation log; variables of the environment appear by name only."""
    shown = [*(headers or []), *({"name": name, "value": value} for name, value in own)]
    return f'{{"payload":{body},"headers":{json.dumps(shown)},"version":"{version}"}}'


async def send(client: httpx.AsyncClient, request: Outgoing) -> httpx.Response:
    """Send; retry once if a kept connection turns out to be closed, as the engine's HTTP client does."""
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    arguments: dict[str, Any] = {"content": request.content, "headers": headers, "timeout": None}
    try:
        return await client.request(request.method, request.url, **arguments)
    except STALE:
        return await client.request(request.method, request.url, **arguments)


async def call(client: httpx.AsyncClient, request: Outgoing, seconds: float) -> Reply:
    """Send a request. Failures of the network or the webhook never raise; the reply tells them.

    seconds: limit of the whole exchange.
    """
    try:
        with anyio.fail_after(seconds):
            response = await send(client, request)
    except TimeoutError:
        return Reply(None, _exception_text("ResponseTimeout", request.url))
    except UNSENDABLE as error:
        return Reply(None, _exception_text(f"ConnectionFailure {error}", request.url))
    return Reply(response.status_code, response.text, [(k, v) for k, v in response.headers.multi_items()])


def _exception_text(message: str, url: str) -> str:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        target = httpx.URL("http://invalid")
    return json.dumps(
        {
            "message": message,
            "request": {
                "host": target.host,
                "port": target.port or (443 if target.scheme == "https" else 80),
                "path": target.path,
                "queryString": f"?{target.query.decode()}" if target.query else "",
                "method": "POST",
                "secure": target.scheme == "https",
            },
            "type": "http_exception",
        }
    )
