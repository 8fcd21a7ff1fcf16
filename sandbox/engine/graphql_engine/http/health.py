"""Health, version and configuration."""

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.http.answers import answer, authenticate, plain
from graphql_engine.settings import VERSION


async def healthz(request: Request, engine: Engine) -> Response:
    """Return OK, or a warning about inconsistent metadata, which `?strict=true` turns into a 500."""
    if not engine.inconsistent:
        return plain("OK")
    strict = request.query_params.get("strict") == "true"
    return plain("WARN: inconsistent objects in schema", 500 if strict else 200)


async def version(_: Request, __: Engine) -> Response:
    """Return the version whose behaviour is imitated."""
    return answer({"server_type": "ce", "version": VERSION})


async def config(request: Request, engine: Engine) -> Response:
    """Return the configuration that a console asks for; admin only."""
    session = await authenticate(request, engine)
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    settings = engine.settings
    return answer(
        {
            "version": VERSION,
            "is_function_permissions_inferred": settings.infer_function_permissions,
            "is_remote_schema_permissions_enabled": False,
            "is_admin_secret_set": settings.admin_secret is not None,
            "is_auth_hook_set": False,
            "is_jwt_set": settings.jwt_secret is not None,
            "is_allow_list_enabled": settings.enable_allow_list,
            "experimental_features": [],
        }
    )
