"""One HTTP call of a webhook, as event triggers and cron triggers make it, with values of the environment.

Facts: the engine's `Eventing/HTTP` (failures, contents of invocation logs).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from graphql_engine.errors import QErr, unsupported
from graphql_engine.settings import VERSION
from graphql_engine.traces import Trace
from graphql_engine.webhooks.client import Client, InvalidUrl, Response, origin_of, split_url

# {{VARIABLE}}, spaces inside the braces allowed
TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
USER_AGENT = f"hasura-graphql-engine/{VERSION}"
LOG_VERSION = "2"
UNSENDABLE = (ValueError, OSError)


def fill_template(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `{{VAR}}`. Raises QErr `not-found` naming the unset variables."""
    missing = [name for name in TEMPLATE.findall(text) if name not in environment]
    if missing:
        raise QErr("not-found", f"Value for environment variables not found: {', '.join(missing)}")
    return TEMPLATE.sub(lambda match: environment[match.group(1)], text)


def from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return one variable. Raises QErr `not-found` if it is not set."""
    if name not in environment:
        raise QErr("not-found", f"environment variable '{name}' not set")
    return environment[name]


def resolve_headers(
    headers: list[dict[str, Any]] | None, environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return configured headers with their values. Raises QErr `not-found` for an unset variable."""
    resolved = []
    for header in headers or []:
        if "value_from_env" in header:
            resolved.append((header["name"], from_environment(header["value_from_env"], environment)))
        else:
            resolved.append((header["name"], fill_template(str(header["value"]), environment)))
    return resolved


def resolve_webhook(trigger: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Return the URL of an event trigger (`webhook` or `webhook_from_env`)."""
    if trigger.get("webhook_from_env"):
        return from_environment(trigger["webhook_from_env"], environment)
    return fill_template(str(trigger["webhook"]), environment)


def environment_problems(
    metadata: Mapping[str, Any], environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return every object of the metadata with an unset variable, as (object, reason)."""
    problems: list[tuple[str, str]] = []

    def attempt(place: str, action: Any) -> None:
        try:
            action()
        except QErr as error:
            problems.append((place, error.message))

    for source in metadata.get("sources", []):
        for table in source["tables"]:
            for trigger in table.get("event_triggers", []):
                place = f"event trigger {trigger['name']!r}"
                attempt(place, lambda t=trigger: resolve_webhook(t, environment))
                attempt(place, lambda t=trigger: resolve_headers(t.get("headers"), environment))
    for trigger in metadata.get("cron_triggers", []):
        place = f"cron trigger {trigger['name']!r}"
        attempt(place, lambda t=trigger: fill_template(t["webhook"], environment))
        attempt(place, lambda t=trigger: resolve_headers(t.get("headers"), environment))
    for action in metadata.get("actions", []):
        place, definition = f"action {action['name']!r}", action["definition"]
        attempt(place, lambda d=definition: fill_template(d["handler"], environment))
        attempt(place, lambda d=definition: resolve_headers(d.get("headers"), environment))
    return problems


@dataclass(frozen=True)
class Outgoing:
    """A POST to a webhook; `body` is JSON."""

    url: str
    headers: list[tuple[str, str]]
    body: str


def refuse_transforms(holder: Mapping[str, Any]) -> None:
    """Raise QErr `not-supported` for an action or a trigger with a transform: it cannot be called."""
    for key in ("request_transform", "response_transform"):
        if holder.get(key):
            raise unsupported(key)


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


def request_headers(configured: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers to send: the engine's own two (which win), then configured ones."""
    own = [("Content-Type", "application/json"), ("User-Agent", USER_AGENT)]
    names = {name.lower() for name, _ in own}
    kept = [(name, value) for name, value in configured if name.lower() not in names]
    return own + kept


def logged_request(
    body: str, headers: list[dict[str, Any]] | None, version: str = LOG_VERSION, *, late: bool = False
) -> str:
    """Return the `request` of an invocation log; variables of the environment appear by name only.

    late: the call timed out, and the engine logs no headers.
    """
    own = [{"name": name, "value": value} for name, value in request_headers([])]
    shown = [] if late else [*own, *(headers or [])]
    return f'{{"payload":{body},"headers":{json.dumps(shown)},"version":"{version}"}}'


async def send(client: Client, request: Outgoing, trace: Trace) -> Response:
    """Send a request, without a limit of time; logs do not show the trace. Raises one of UNSENDABLE."""
    headers = [*request.headers, *trace.headers()]
    return await client.post(request.url, headers, request.body.encode())


async def call(client: Client, request: Outgoing, seconds: float, trace: Trace) -> Reply:
    """Send a request. Failures of the network or the webhook never raise; the reply tells them.

    seconds: limit of the whole exchange. Raises TimeoutError after it.
    """
    try:
        with anyio.fail_after(seconds):
            response = await send(client, request, trace)
    except TimeoutError:
        raise
    except UNSENDABLE as error:
        return Reply(None, json.dumps(failure(error, request, seconds)))
    return Reply(response.status, response.text, response.headers)


def failure(error: Exception, request: Outgoing, seconds: float) -> dict[str, Any]:
    """Return how the engine describes a call without a response: to logs and in `internal`."""
    if isinstance(error, InvalidUrl):
        return {"message": str(error), "type": "invalid_url"}
    target = split_url(request.url)
    scheme, host, port = origin_of(target)
    is_late = isinstance(error, TimeoutError)
    return {
        "message": "Response timeout" if is_late else f"Connection failure: {error}",
        "request": {
            "host": host,
            "method": "POST",
            "path": target.path,
            "port": port,
            "queryString": f"?{target.query}" if target.query else "",
            "responseTimeout": f"ResponseTimeoutMicro {int(seconds * 1_000_000)}",
            "secure": scheme == "https",
        },
        "type": "http_exception",
    }
