"""/v1alpha1/pg_dump: the schema of the database as SQL, for `hasura migrate create --from-server`.

Facts: a recorded answer of a genuine engine of v2.48.10. It runs the program `pg_dump`, and so does this.
"""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.http.answers import LABEL, authenticate, parse_body
from graphql_engine.metadata.access import dict_of, find_source, mismatch, required

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
