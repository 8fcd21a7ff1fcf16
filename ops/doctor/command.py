"""The command line of `leads doctor`."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from leads.adapters.settings import SettingsError
from ops.clients.hasura_admin import HasuraAdmin
from ops.clients.plain_http import HttpAnswer, ask
from ops.doctor import checks
from ops.failures import ExitCode
from ops.metadata.deploy import BACKUPS, Deployment, Files
from ops.metadata.engine import Engine
from ops.metadata.preflight import Check
from ops.output import AsJson, print_json
from ops.probes.database import judge_database, look_at_database
from ops.probes.engine import own_metadata
from ops.probes.http_services import (
    EdgeLook,
    HandlersLook,
    judge_edge,
    judge_handlers,
    look_at_edge,
    look_at_handlers,
)
from ops.probes.lines import Level, Line, print_lines
from ops.probes.pancake import look_at_keys
from ops.probes.running import REQUEST_SECONDS, Failure, Probe, Probes
from ops.settings import VARIABLES, OperatorSettings, read_operator_settings

NEEDS = ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET")
AFTER_9B = "9b"
MAY_HAVE = ("HASURA_SERVICE_TOKEN", "HANDLERS_URL", "HANDLER_SECRET", "EDGE_STATUS_URL", "ENCRYPTION_KEYS")


def doctor(
    source: Annotated[str, typer.Option(help="Name of the engine's source that has our tables.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Check an installation before and after each step: each failure is one line, with the fix.

    Environment, database and rights, engine with its variables, JWT role, handlers, edge policy, clocks,
    within 3 s. What it stores to check a right is undone. It looks at what the variables of .env.example
    name. Exit code 1: something is red.
    """
    lines = examine(source)
    if as_json:
        print_json([line.document() for line in lines])
    else:
        print_lines(lines, Console())
    if any(line.level is Level.RED for line in lines):
        raise typer.Exit(ExitCode.FAILED)


def examine(source: str) -> list[Line]:
    """Return a line for each check; without a valid environment only for that."""
    try:
        settings = read_operator_settings(may_have=(*NEEDS, *MAY_HAVE))
    except SettingsError as error:
        return [Line("environment", Level.RED, *_split(problem)) for problem in error.problems]
    given = (settings.database_url, settings.hasura_url, settings.hasura_admin_secret)
    missing = [name for name, value in zip(NEEDS, given, strict=True) if not value]
    if missing:
        return [
            Line("environment", Level.RED, f"{name} is not set", f"Give it {VARIABLES[name]}")
            for name in missing
        ]
    hasura = HasuraAdmin(settings.hasura_url, settings.hasura_admin_secret, timeout_seconds=REQUEST_SECONDS)
    with hasura:
        return [
            Line("environment", Level.GREEN, f"{', '.join(NEEDS)} are set"),
            *_look(settings, Engine(hasura), source),
        ]


def _split(problem: str) -> tuple[str, str]:
    """Split what is wrong with a variable from what to give it."""
    text, _, fix = problem.partition(": ")
    return (text, fix[:1].upper() + fix[1:]) if fix else (problem, "See .env.example")


def _look(settings: OperatorSettings, engine: Engine, source: str) -> list[Line]:
    probes = Probes()
    health_url = f"{settings.hasura_url}/healthz"
    database = probes.start(partial(look_at_database, settings.database_url, "doctor"))
    health = probes.start(partial(ask, health_url, timeout_seconds=REQUEST_SECONDS))
    deployment = Deployment(engine, Files(BACKUPS, engine.url), own_metadata(), source)
    preflight = probes.start(partial(deployment.obstacle_checks, AFTER_9B))
    token = _start_token(probes, settings)
    handlers, accepted = _start_handlers(probes, settings)
    edge_url = settings.edge_status_url
    edge = probes.start(partial(look_at_edge, edge_url)) if edge_url else None
    keys = None if settings.key_ring.is_empty else probes.start(partial(look_at_keys, settings, "doctor"))

    obstacles = _start_preflight(probes, preflight.answer())

    found_health, found_handlers = health.answer(), handlers.answer() if handlers else None
    found_edge = edge.answer() if edge else None
    times = {
        "Hasura": found_health.date if isinstance(found_health, HttpAnswer) else None,
        "the handlers": found_handlers.health.date if isinstance(found_handlers, HandlersLook) else None,
        "the edge": found_edge.date if isinstance(found_edge, EdgeLook) else None,
    }
    clocks = checks.judge_clocks(database.answer(), times)
    return [
        judge_database(database.answer()),
        checks.judge_health(found_health),
        *_judge_preflight(obstacles, engine_answers=isinstance(found_health, HttpAnswer)),
        checks.judge_token(
            settings.hasura_service_token, token.answer() if token else None, datetime.now(UTC)
        ),
        judge_handlers(found_handlers),
        checks.judge_secret(accepted.answer() if accepted else None),
        judge_edge(found_edge),
        checks.judge_keys(keys.answer() if keys else None),
        clocks,
    ]


def _start_preflight(
    probes: Probes, found: Mapping[str, Check] | Failure
) -> dict[str, Probe[list[str]]] | Failure:
    """Make the checks that a step of `leads metadata` makes first, at the same time."""
    if isinstance(found, Failure):
        return found
    return {name: probes.start(partial(_listed, check)) for name, check in found.items()}


def _listed(check: Check) -> list[str]:
    return list(check())


def _judge_preflight(found: dict[str, Probe[list[str]]] | Failure, *, engine_answers: bool) -> Iterator[Line]:
    if isinstance(found, Failure):
        yield checks.judge_unreadable(found, engine_answers=engine_answers)
        return
    for name, probe in found.items():
        yield from checks.judge_obstacles(name, probe.answer())


def _start_token(probes: Probes, settings: OperatorSettings) -> Probe[checks.TokenLook] | None:
    token = settings.hasura_service_token
    return probes.start(partial(checks.examine_token, settings.hasura_url, token)) if token else None


def _start_handlers(
    probes: Probes, settings: OperatorSettings
) -> tuple[Probe[HandlersLook] | None, Probe[bool] | None]:
    url, secret = settings.handlers_url, settings.handler_secret
    if not url:
        return None, None
    look = probes.start(partial(look_at_handlers, url))
    return look, probes.start(partial(checks.is_secret_accepted, url, secret)) if secret else None
