"""The HTTP application: one table of routes. Read this first.

Facts: the engine's `Server/App` (statuses and shapes of errors of each endpoint).
"""

import contextlib
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from graphql_engine.http import graphql, metadata, service
from graphql_engine.http.answers import Cors, Paths, bind, crashed, not_found
from graphql_engine.lifecycle import Lifecycle

HANDLERS = {404: not_found, 405: not_found, Exception: crashed}


def create_app(lifecycle: Lifecycle) -> Starlette:
    """Make the application around an opened engine; its lifespan runs the background loops."""
    engine = lifecycle.engine
    routes = [
        Route("/healthz", bind(engine, service.healthz), methods=["GET"]),
        Route("/hasura/healthz", bind(engine, service.healthz), methods=["GET"]),
        Route("/v1/version", bind(engine, service.version), methods=["GET"]),
        Route("/sandbox/clock", bind(engine, service.clock), methods=["GET", "POST"]),
    ]
    enabled = engine.settings.enabled_apis
    if "graphql" in enabled:
        routes += [
            Route("/v1/graphql", bind(engine, graphql.v1), methods=graphql.METHODS),
            Route("/v1alpha1/graphql", bind(engine, graphql.v1alpha1), methods=["POST"]),
            Route("/v1beta1/relay", bind(engine, graphql.relay), methods=["POST"]),
            Route("/api/rest", bind(engine, graphql.rest), methods=graphql.METHODS),
            Route("/api/rest/{path:path}", bind(engine, graphql.rest), methods=graphql.METHODS),
            Route("/api/swagger/json", bind(engine, service.swagger), methods=["GET"]),
        ]
    if "metadata" in enabled:
        routes += [
            Route("/v1/metadata", bind(engine, metadata.v1_metadata), methods=["POST"]),
            Route("/v1/query", bind(engine, metadata.v1_query), methods=["POST"]),
            Route("/v2/query", bind(engine, metadata.v2_query), methods=["POST"]),
        ]
    if "pgdump" in enabled:
        routes.append(Route("/v1alpha1/pg_dump", bind(engine, service.dump), methods=["POST"]))
    if "config" in enabled:
        routes.append(Route("/v1alpha1/config", bind(engine, service.config), methods=["GET"]))

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
