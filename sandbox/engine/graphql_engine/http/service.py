"""Health, version, configuration, the dump of the schema; the control route, which Hasura has not.

/v1alpha1/pg_dump is for `hasura migrate create --from-server`: like the engine it runs the program `pg_dump`.
Facts: a recorded answer of a genuine engine of v2.48.10.
"""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.auth import DEFAULT_NAMESPACE
from graphql_engine.cron import parse_time, shown_time
from graphql_engine.engine import Engine
from graphql_engine.errors import JsonValue, QErr, unsupported
from graphql_engine.http.answers import LABEL, answer, authenticate, parse_body, plain
from graphql_engine.metadata.access import dict_of, find_source, mismatch, required
from graphql_engine.settings import VERSION

# The claims of tokens are found in one way only.
JWT_SHOWN = {"claims_namespace": DEFAULT_NAMESPACE, "claims_format": "json", "claims_map": None}
# What an engine of v2.48.10 says by default; this stand-in cannot be configured otherwise.
FIXED: dict[str, JsonValue] = {
    "is_function_permissions_inferred": True,
    "is_remote_schema_permissions_enabled": False,
    "is_auth_hook_set": False,
    "live_queries": {"batch_size": 100, "refetch_delay": 1},
    "streaming_queries": {"batch_size": 100, "refetch_delay": 1},
    "console_assets_dir": None,
    "experimental_features": [],
    "is_prometheus_metrics_enabled": False,
    "default_naming_convention": "hasura-default",
    "feature_flags": [
        {
            "name": "naming-convention-sep-2023",
            "description": "The changes to the naming-convention feature that were added in September 2023",
            "enabled": False,
        },
        {"name": "test-flag", "description": "Testing feature flag integration", "enabled": False},
    ],
    "is_apollo_federation_enabled": False,
}


async def healthz(request: Request, engine: Engine) -> Response:
    """Return OK, or a warning about inconsistent metadata, which `?strict=true` turns into an error."""
    if not engine.inconsistent:
        return plain("OK")
    if request.query_params.get("strict") == "true":
        return plain("ERROR: inconsistent objects in schema", 500)
    return plain("WARN: inconsistent objects in schema")


async def version(_: Request, __: Engine) -> Response:
    return answer({"server_type": "ce", "version": VERSION})


async def config(request: Request, engine: Engine) -> Response:
    """Return the configuration that a console asks for; admin only."""
    await _admin(request, engine)
    settings = engine.settings
    shared: dict[str, JsonValue] = {} if settings.jwt_secret is None else {"jwt": [JWT_SHOWN]}
    return answer(
        FIXED
        | shared
        | {
            "version": VERSION,
            "is_admin_secret_set": settings.admin_secret is not None,
            "is_jwt_set": settings.jwt_secret is not None,
            "is_allow_list_enabled": settings.enable_allow_list,
        }
    )


async def swagger(request: Request, engine: Engine) -> Response:
    """Refuse /api/swagger/json, the description of the RESTified endpoints; admin only."""
    await _admin(request, engine)
    raise unsupported("/api/swagger/json")


async def _admin(request: Request, engine: Engine) -> None:
    session = await authenticate(request, engine)
    if not session.is_admin:
        raise QErr("access-denied", "You have to be an admin to access this endpoint")


async def clock(request: Request, engine: Engine) -> Response:
    """Show or move the clock of cron triggers (/sandbox/clock).

    Body: `{"advance": seconds}`, `{"set": "2026-01-01T00:00:00Z"}` or `{"reset": true}`.
    """
    if not (await authenticate(request, engine)).is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    if request.method == "POST":
        order = dict_of(parse_body(await request.body()))
        if "advance" in order:
            engine.clock.advance(float(order["advance"]))
        elif "set" in order:
            engine.clock.set(parse_time(order["set"]))
        elif order.get("reset"):
            engine.clock.reset()
        else:
            raise QErr("parse-failed", "clock: expecting one of advance, set, reset")
    return answer({"now": shown_time(engine.clock.now())})


# Lines that `clean_output` takes out: settings, comments, empty lines, the triggers of the engine.
UNCLEAN = re.compile(
    r"^(SET (?!check_function_bodies).*|SELECT pg_catalog\.set_config.*|--.*|CREATE SCHEMA public;"
    r"|COMMENT ON SCHEMA public IS .*|.*notify_hasura_.*|)\n",
    re.MULTILINE,
)


async def dump(request: Request, engine: Engine) -> Response:
    """Return what `pg_dump` writes with the options of the request; admin only."""
    session = await authenticate(request, engine)
    body = dict_of(parse_body(await request.body()))
    options = required(body, "opts")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise mismatch("[]", "Array", options, "$.opts")
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    find_source(engine.metadata, body.get("source"))
    text = await _dump(engine.database_url, options)
    if body.get("clean_output"):
        text = UNCLEAN.sub("", text)
    response = Response(text, media_type="application/sql; charset=utf-8")
    response.headers[LABEL[0]] = LABEL[1]
    return response


async def _dump(database_url: str, options: list[str]) -> str:
    parts = urlsplit(database_url)
    command = ["pg_dump", "--encoding=utf8", *options]
    try:
        done = await anyio.run_process(command, env=_environment(parts), check=False)
    except OSError as error:
        raise QErr(
            "unexpected", f"pg_dump cannot be run on this machine: {error.strerror}", status=500
        ) from error
    if done.returncode != 0:
        raise QErr("unexpected", "error while executing pg_dump", status=500, internal=done.stderr.decode())
    return done.stdout.decode()


def _environment(parts: Any) -> dict[str, str]:
    """Return the connection as variables: arguments of a process are visible to others."""
    given = {
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.removeprefix("/"),
    }
    return {name: value for name, value in given.items() if value}
