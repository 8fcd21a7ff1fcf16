"""Try a transform of a webhook's request, as the console does at each keystroke.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.kriti import KritiError
from graphql_engine.metadata.access import Json, required
from graphql_engine.metadata_api.registry import command
from graphql_engine.metadata_api.transform_check import invalid_transform
from graphql_engine.rawjson import dumps, loads
from graphql_engine.webhooks.environment import TEMPLATE
from graphql_engine.webhooks.transforms import Outgoing, transform_request

CONTEXT = (
    "https://hasura.io/docs/latest/graphql/core/actions/rest-connectors/#action-transforms-sample-context"
)


@command("test_webhook_transform", changes=False)
async def try_transform(_: Context, args: Json) -> Json:
    """Return what would be sent. Variables come from the request, never from the engine's environment."""
    body = required(args, "body")
    url = _url(required(args, "webhook_url"), args.get("env") or {})
    outgoing = Outgoing("GET", url, [], dumps(body).encode())
    transform, session = required(args, "request_transform"), args.get("session_variables")
    try:
        outgoing = transform_request(transform, outgoing, body, session)
    except KritiError as error:
        raise invalid_transform("request", error) from error
    return {
        "webhook_url": _with_path(outgoing.url),
        "method": outgoing.method,
        "headers": [list(header) for header in outgoing.headers],
        "body": _shown(outgoing.content),
    }


def _url(given: Any, environment: Json) -> str:
    if isinstance(given, dict):
        return _variable(str(required(given, "from_env")), environment)
    return TEMPLATE.sub(lambda match: _variable(match.group(1), environment), given)


def _variable(name: str, environment: Json) -> str:
    if name not in environment:
        raise QErr(
            "not-found",
            f"Missing Env Var: {name}. For security reasons when testing request options real environment"
            " variable values are not available. Please enter a mock value for"
            f" {name} in the Sample Env Variables list. See {CONTEXT}",
        )
    return str(environment[name])


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path or "/"))


def _shown(content: bytes) -> Any:
    try:
        return loads(content)
    except ValueError:
        return content.decode() or None
