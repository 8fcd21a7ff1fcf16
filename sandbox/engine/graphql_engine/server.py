"""The HTTP application: one table of routes. Read this first.

Facts: the engine's `Server/App` (statuses and shapes of errors of each endpoint).
"""

import contextlib
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from graphql_engine.http import graphql, health, metadata, pg_dump, rest
from graphql_engine.http.answers import bind, crashed, not_found
from graphql_engine.http.paths import Cors, Paths
from graphql_engine.lifecycle import Lifecycle

HANDLERS = {404: not_found, 405: not_found, Exception: crashed}


def create_app(lifecycle: Lifecycle) -> Starlette:
    """Make the application around an opened engine; its lifespan runs the background loops."""
    engine = lifecycle.engine
    routes = [
        Route("/healthz", bind(engine, health.healthz), methods=["GET"]),
        Route("/hasura/healthz", bind(engine, health.healthz), methods=["GET"]),
        Route("/v1/version", bind(engine, health.version), methods=["GET"]),
        Route("/sandbox/clock", bind(engine, health.clock), methods=["GET", "POST"]),
    ]
    enabled = engine.settings.enabled_apis
    if "graphql" in enabled:
        routes += [
            Route("/v1/graphql", bind(engine, graphql.v1), methods=graphql.METHODS),
            Route("/v1alpha1/graphql", bind(engine, graphql.v1alpha1), methods=["POST"]),
            Route("/v1beta1/relay", bind(engine, graphql.relay), methods=["POST"]),
            Route("/api/rest", bind(engine, rest.endpoint), methods=rest.METHODS),
            Route("/api/rest/{path:path}", bind(engine, rest.endpoint), methods=rest.METHODS),
            Route("/api/swagger/json", bind(engine, health.swagger), methods=["GET"]),
        ]
    if "metadata" in enabled:
        routes += [
            Route("/v1/metadata", bind(engine, metadata.v1_metadata), methods=["POST"]),
            Route("/v1/query", bind(engine, metadata.v1_query), methods=["POST"]),
            Route("/v2/query", bind(engine, metadata.v2_query), methods=["POST"]),
        ]
    if "pgdump" in enabled:
        routes.append(Route("/v1alpha1/pg_dump", bind(engine, pg_dump.dump), methods=["POST"]))
    if "config" in enabled:
        routes.append(Route("/v1alpha1/config", bind(engine, health.config), methods=["GET"]))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(lifecycle.run)
            try:
                yield
            finally:
                await lifecycle.drain()
                group.cancel_scope.cancel()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        middleware=[Middleware(Cors), Middleware(Paths)],
    )
