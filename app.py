"""The application as one table of routes. Read this first.

Hasura calls /actions, /events and /cron. The edge calls /edge/policy, and /actions/ingest_record when Hasura
does not answer. Prometheus and the orchestrator call the rest.
"""

import gc
from functools import partial
from typing import Any

from starlette.middleware import Middleware
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
from handlers.edge_policy import edge_policy, summarize_policy
from handlers.ingest_record import ingest_record
from handlers.list_leads import list_leads
from handlers.process_record import process_record
from handlers.replay_events import replay_events
from handlers.trace_lead import trace_lead
from leads.adapters import http
from leads.adapters.hasura_calls import read_action, read_cron, read_event
from leads.adapters.http import Application, HasuraRoute, RequestLog, authenticate_edge_in_private
from leads.adapters.logs import configure_logs
from leads.adapters.metrics import CONTENT_TYPE
from leads.adapters.settings import read_settings
from leads.runtime import Runtime, run_cron, with_dry_run

HASURA_ROUTES: tuple[HasuraRoute[Runtime, Any], ...] = (
    HasuraRoute(
        "/actions/ingest_record", "pancake_ingest_record", read_action, ingest_record, allows_edge=True
    ),
    HasuraRoute("/actions/replay_events", "pancake_replay_events", read_action, replay_events),
    HasuraRoute("/actions/list_leads", "pancake_list_leads", read_action, list_leads),
    HasuraRoute("/actions/trace_lead", "pancake_trace_lead", read_action, trace_lead),
    HasuraRoute(
        "/events/process_record",
        "pancake_webhook_event_status_update",
        read_event,
        process_record,
        retry_after_seconds=15,
    ),
    HasuraRoute("/cron/sync_sources", "pancake_sync_sources", read_cron, run_cron(sync_sources)),
    HasuraRoute("/cron/check_connection", "pancake_check_connection", read_cron, run_cron(check_connection)),
    HasuraRoute("/cron/retry_failed", "pancake_retry_failed", read_cron, with_dry_run(retry_failed)),
    HasuraRoute("/cron/check_sla", "pancake_check_sla", read_cron, with_dry_run(check_sla)),
    HasuraRoute("/cron/purge_events", "pancake_purge_events", read_cron, with_dry_run(purge_events)),
    HasuraRoute("/cron/poll_records", "pancake_poll_records", read_cron, run_cron(poll_records)),
    HasuraRoute("/cron/reconcile_daily", "pancake_reconcile_daily", read_cron, with_dry_run(reconcile_daily)),
)


def create_app(runtime: Runtime | None = None) -> Application:
    """Build the ASGI application; without a runtime it is configured by the environment.

    Raises SettingsError that names every variable that is missing or invalid.
    """
    if runtime is None:
        settings = read_settings()
        configure_logs(settings.log_level)
        runtime = Runtime.assemble(settings)
        # The search for cycles comes less often, and leaves out what was imported: it is never freed.
        gc.freeze()
        gc.set_threshold(10_000)
    log_policy = Middleware(
        RequestLog,
        route="/edge/policy",
        metrics=runtime.metrics,
        clock=runtime.clock,
        headers={"Cache-Control": "no-store"},
    )
    app = Application(
        [route.bind(runtime, runtime.settings, runtime.metrics, runtime.clock) for route in HASURA_ROUTES],
        [
            Route("/edge/policy", partial(policy, runtime), middleware=[log_policy]),
            Route("/healthz", partial(healthz, runtime)),
            Route("/readyz", http.only_on(runtime.settings.ops_bind, partial(readyz, runtime))),
            Route("/metrics", http.only_on(runtime.settings.ops_bind, partial(metrics, runtime))),
        ],
        lifespan=lambda app: runtime.running(),
    )
    app.state.runtime = runtime
    return app


async def policy(runtime: Runtime, request: Request) -> Response:
    """Answer the edge's policy, which holds secrets: over loopback or TLS only, in the log as a summary."""
    authenticate_edge_in_private(request.scope, runtime.settings, runtime.clock.now())
    body = await edge_policy(runtime)
    return http.answer(request, body, log=summarize_policy(body))


async def healthz(runtime: Runtime, request: Request) -> Response:
    """Answer 200 while the process can serve, in any state of Hasura and the database."""
    settings = runtime.settings
    return JSONResponse({"status": "ok", "version": settings.version, "commit": settings.commit})


async def readyz(runtime: Runtime, request: Request) -> Response:
    """Answer 200 if the database answers, else 503; and what Hasura lacks, which stops no delivery here."""
    state = await runtime.readiness.state()
    return JSONResponse(dict(state), 200 if state["database"] else 503)


async def metrics(runtime: Runtime, request: Request) -> Response:
    return Response(await runtime.scrape.exposition(), media_type=CONTENT_TYPE)
