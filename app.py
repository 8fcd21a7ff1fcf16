"""The application as one table of routes. Read this first.

Hasura calls everything under /actions, /events and /cron; the edge may call /actions/ingest_record and
/edge/policy; Prometheus and the orchestrator call the rest.
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cron.check_connection import check_connection
from cron.check_sla import check_sla
from cron.poll_records import poll_records
from cron.purge_events import purge_events
from cron.reconcile_daily import reconcile_daily
from cron.retry_failed import retry_failed
from cron.sync_sources import sync_sources
from handlers.edge_policy import edge_policy
from handlers.ingest_record import ingest_record
from handlers.process_record import process_record
from handlers.replay_events import replay_events
from leads.adapters.clock import Clock
from leads.adapters.graphql import Graphql
from leads.adapters.hasura_calls import read_action, read_body, read_cron, read_event
from leads.adapters.http import answer_for
from leads.adapters.logs import CountingHandler, configure_logs, log_request
from leads.adapters.metrics import CONTENT_TYPE
from leads.adapters.pancake_api import Pancake
from leads.adapters.secrets import matches
from leads.adapters.settings import Settings, read_settings
from leads.domain import delivery as gate
from leads.domain.decide import NEEDS_ATTENTION
from leads.domain.errors import Unauthorized
from leads.domain.listing import read_answer
from leads.services.runtime import Answer, Runtime

HANDLER_HEADER = "x-handler-secret"
EDGE_HEADER = "x-edge-secret"


@dataclass(frozen=True, slots=True)
class Served:
    """One Hasura object and the function that serves it. `edge` lets the edge call it too."""

    path: str
    name: str
    read: Callable[[bytes, str], Any]
    handle: Callable[[Runtime, Any], Awaitable[Answer]]
    edge: bool = False


SERVED = (
    Served("/actions/ingest_record", "pancake_ingest_record", read_action, ingest_record, edge=True),
    Served("/actions/replay_events", "pancake_replay_events", read_action, replay_events),
    Served("/events/process_record", "pancake_webhook_event_status_update", read_event, process_record),
    Served("/cron/sync_sources", "pancake_sync_sources", read_cron, sync_sources),
    Served("/cron/check_connection", "pancake_check_connection", read_cron, check_connection),
    Served("/cron/retry_failed", "pancake_retry_failed", read_cron, retry_failed),
    Served("/cron/check_sla", "pancake_check_sla", read_cron, check_sla),
    Served("/cron/purge_events", "pancake_purge_events", read_cron, purge_events),
    Served("/cron/poll_records", "pancake_poll_records", read_cron, poll_records),
    Served("/cron/reconcile_daily", "pancake_reconcile_daily", read_cron, reconcile_daily),
)


def create_app(
    settings: Settings | None = None,
    clock: Clock | None = None,
    graphql: Graphql | None = None,
    pancake: Pancake | None = None,
) -> Starlette:
    """The ASGI application; without arguments it is configured by the environment.

    Raises SettingsError that names every variable that is missing or unusable.
    """
    if settings is None:
        settings = read_settings()
        configure_logs(os.environ.get("LOG_LEVEL", "INFO"))
    on = Runtime.assemble(
        settings,
        clock or Clock(),
        gate.columns,
        gate.unstorable,
        read_answer,
        NEEDS_ATTENTION,
        graphql,
        pancake,
    )
    app = Starlette(
        routes=[
            *(Route(served.path, partial(serve, on, served), methods=["POST"]) for served in SERVED),
            Route("/edge/policy", partial(policy, on)),
            Route("/healthz", partial(healthz, on)),
            Route("/readyz", partial(readyz, on)),
            Route("/metrics", partial(metrics, on)),
        ],
        lifespan=partial(lifespan, on),
    )
    app.state.runtime = on
    return app


@asynccontextmanager
async def lifespan(on: Runtime, app: Starlette) -> AsyncIterator[None]:
    """Open what the process has, and close it when the server stops."""
    counting = CountingHandler(on.metrics.log_messages)
    logging.getLogger().addHandler(counting)
    await on.open()
    try:
        yield
    finally:
        await on.close()
        logging.getLogger().removeHandler(counting)


async def serve(on: Runtime, served: Served, request: Request) -> Response:
    """Call the handler with what the body holds."""
    started = on.clock.monotonic()
    response = await answered(on, served.path, partial(call_handler, on, served, request))
    if served.edge:
        on.metrics.webhook_latency.labels("handler").observe(on.clock.monotonic() - started)
    return response


async def policy(on: Runtime, request: Request) -> Response:
    """The edge's policy, for the edge alone and over loopback or TLS alone: it carries secrets.

    What it answers is summed up in the log, never quoted.
    """
    response = await answered(on, "/edge/policy", partial(call_policy, on, request), sum_up_policy)
    response.headers["Cache-Control"] = "no-store"
    return response


async def answered(
    on: Runtime, path: str, call: Callable[[], Awaitable[Answer]], tell: Callable[[Answer], Answer] = dict
) -> Response:
    """What a call answers, or the answer to its error; counted, and told in the canonical log line."""
    started = on.clock.monotonic()
    error: Exception | None = None
    headers: dict[str, str] = {}
    try:
        status, body = 200, await call()
        told = tell(body)
    except Exception as caught:  # noqa: BLE001 - every error has its answer in leads/adapters/http.py and its log line
        error = caught
        status, body, headers = answer_for(caught)
        told = body
    on.metrics.requests.labels(path, str(status)).inc()
    log_request(path, status, on.clock.monotonic() - started, told, error)
    return JSONResponse(body, status, headers)


async def call_handler(on: Runtime, served: Served, request: Request) -> Answer:
    """Check the secret, read the body, call the handler. Raises what they raise."""
    authenticate(on.settings, served, request)
    return await served.handle(on, served.read(await read_body(request.stream()), served.name))


async def call_policy(on: Runtime, request: Request) -> Answer:
    """Check the secret and the way, make the policy. Raises Unauthorized, and what making it raises."""
    if not matches(request.headers.get(EDGE_HEADER), on.settings.edge_secrets) or not _private(request):
        raise Unauthorized
    return await edge_policy(on)


def sum_up_policy(body: Answer) -> Answer:
    """What a log may say of a policy."""
    return {"version": body["version"], "connections": len(body["connections"])}


def authenticate(settings: Settings, served: Served, request: Request) -> None:
    """Let Hasura in, and the edge where it may. Raises Unauthorized."""
    if matches(request.headers.get(HANDLER_HEADER), settings.handler_secrets):
        return
    if served.edge and matches(request.headers.get(EDGE_HEADER), settings.edge_secrets):
        return
    raise Unauthorized


def _private(request: Request) -> bool:
    """Whether nobody on the way can listen: TLS, or a caller on this machine."""
    if request.url.scheme == "https":
        return True
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def healthz(on: Runtime, request: Request) -> Response:
    """200 while the process can serve, whatever Hasura or the database do."""
    return JSONResponse({"status": "ok", "version": on.settings.version, "commit": on.settings.commit})


async def readyz(on: Runtime, request: Request) -> Response:
    """200 if database and Hasura answer, else 503 that says which does not."""
    state = {"database": await on.db.healthy(), "hasura": await on.graphql.healthy()}
    return JSONResponse(state, 200 if all(state.values()) else 503)


async def metrics(on: Runtime, request: Request) -> Response:
    """The process's series for Prometheus."""
    return Response(on.metrics.exposition(), media_type=CONTENT_TYPE)
