"""`scripts/chaos incidents`: how each incident is made and mended in a sandbox, and the alerts that arrive.

FAULTS are those of the table that tests use for one look. Here a fault is a scene for people: leads arrive
meanwhile, it looks as old as its alert needs, and what it leaves behind is made good. The others need that
traffic, or the past, to be a fault at all: `leads status` and the gates name their effects, not them.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from leads.adapters.breaker import FAILURES_TO_OPEN
from leads.domain.body import ICT
from ops.waiting import poll
from proofs.bench.environment import AsJson
from proofs.incidents.breakages import (
    BREAKAGES,
    STATEMENTS,
    TIMEOUT_SECONDS,
    Installation,
    by_metadata,
    change_setting,
)
from proofs.incidents.catalogue import INCIDENTS
from proofs.sender import Leg, repeating, send, tick, versions
from sandbox.edge import NginxEdge, require_edge_packages
from sandbox.monitoring.observation import DEFAULT_FACTOR, Observation, ObservedSandbox
from sandbox.monitoring.rules import WATCHDOG
from sandbox.monitoring.servers import Inbox, Notification, require_monitoring
from sandbox.postgres.server import Cluster
from sandbox.processes import NotReady
from sandbox.stack.observer import Observer, Unfinished
from sandbox.stack.signals import exit_on_sigterm
from sandbox.stack.stack import Sandbox

BASELINE_LEADS = 60
"""Processed before the incident, as a part of the day but not of the last hour."""
MAX_OPEN_POSTS = 64
AGEING_SECONDS = 1.0
POLL_SECONDS = 0.2


class Stage(Installation):
    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        super().__init__(sandbox)
        self._versions = versions(seed, new_share=1.0)
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def prepare(self) -> None:
        """Process some leads, and move them out of the last hour."""
        for version in islice(self._versions, BASELINE_LEADS):
            self._http.post(self.sandbox.webhook_url, content=version.body)
        Observer(self.sandbox.database_url, self.sandbox.notifications_url).wait_final(TIMEOUT_SECONDS)
        self.age("2 hours")

    @contextmanager
    def traffic(self, leads_per_second: float) -> Iterator[None]:
        """Post leads at a constant rate within the block, with any answers."""
        leg = Leg(leads_per_second, seconds=86_400)
        with ThreadPoolExecutor(1) as thread:
            posting = send(leg, self.sandbox.webhook_url, self._versions, MAX_OPEN_POSTS)
            posted = thread.submit(asyncio.run, posting)
            try:
                yield
            finally:
                leg.is_stopped = True
                posted.result()

    def wait_for_status(self, status: str, count: int) -> None:
        """Wait until so many events have a status. Raises TimeoutError."""
        found = "SELECT id FROM pancake_webhook_event WHERE status = %(status)s"
        for _ in poll(TIMEOUT_SECONDS, POLL_SECONDS):
            if self.sql(found, {"status": status}) >= count:
                return
        raise TimeoutError(f"there are no {count} events with the status {status}")

    def retry_waiting(self) -> None:
        """Let everything that waits for a later try be due, and try it."""
        self.sql("UPDATE pancake_webhook_event SET next_attempt_at = now() WHERE status = 'failed'")
        self.sql("UPDATE pancake_webhook_event SET notify_next_at = now() WHERE notified_at IS NULL")
        # As retry_failed fires what has waited for two minutes; the rules have no such minutes.
        self.sql("UPDATE pancake_webhook_event SET received_at = now() WHERE status = 'received'")
        self.tick("retry_failed")

    def age(self, by: str) -> None:
        """Let time pass for the events that are finished: the windows of the database move on."""
        self.sql(
            f"{STATEMENTS['live/age']} WHERE id NOT IN ({STATEMENTS['live/list_unfinished']})", {"by": by}
        )

    @contextmanager
    def ageing_waiting(self, by: str) -> Iterator[None]:
        """Let that much time pass for each event that waits within the block, once."""
        waiting = f"{STATEMENTS['live/age']} WHERE id IN ({STATEMENTS['live/list_waiting']})"
        with repeating(lambda: self.sql(waiting, {"by": by}), AGEING_SECONDS):
            yield

    def wait_finished(self) -> None:
        """Wait, for a minute at most, for what is in the edge's spool and for the events of now.

        What is stored or processed after `age` would count as slow for an hour.
        """
        edge, now = self.sandbox.edge, {"now": datetime.now(UTC)}
        left = f"{STATEMENTS['live/list_unfinished']} AND created_at <= %(now)s"
        assert isinstance(edge, NginxEdge)
        for _ in poll(TIMEOUT_SECONDS, POLL_SECONDS):
            if not (edge.held() or self.sql(left, now)):
                return

    def age_runs(self, name: str, by: str) -> None:
        """Let time pass for the runs of a cron."""
        self.sql(STATEMENTS["live/age_runs"], {"by": by, "name": name})

    def pancake(self, path: str, body: Mapping[str, Any]) -> None:
        """Call the control API of Pancake's stand-in."""
        self._http.post(f"{self.sandbox.pancake_url}/control/{path}", json=body).raise_for_status()

    def tick(self, name: str) -> str:
        """Deliver a tick of a cron now, until the handlers finish it; return its result."""
        sandbox = self.sandbox
        return tick(sandbox.handlers_url, sandbox.keys.handler_secret, name, datetime.now(UTC))


Scene = Callable[[Stage], AbstractContextManager[None]]
"""Broken within the block. At its end all works again, and the database has nothing of it in its windows."""
FAULTS = {each.incident: each.broken for each in BREAKAGES if each.incident}
_SLOW = """
    CREATE FUNCTION public.incident_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN IF random() < {share} THEN PERFORM pg_sleep({seconds}); END IF; RETURN NEW; END $$;
    CREATE TRIGGER incident_{name} {when} ON public.pancake_webhook_event {each}
    EXECUTE FUNCTION public.incident_{name}()
"""
_FAST_AGAIN = "DROP FUNCTION IF EXISTS public.incident_{name} CASCADE"


@contextmanager
def of_table(stage: Stage, name: str) -> Iterator[None]:
    """A fault of the table as it is; what it let wait is tried again."""
    with FAULTS[name](stage):
        yield
    stage.retry_waiting()


@contextmanager
def database_slow(stage: Stage) -> Iterator[None]:
    """Let every claim take seconds until leads queue, and then every insert; what waits is six minutes old.

    The handlers claim two leads a second then (WORK_CONNECTIONS are 8): the queue lasts for a minute, even if
    the edge hands over none meanwhile.
    """
    stage.sql(_slow("claim", 1.0, 4, "AFTER UPDATE OF status", "FOR EACH ROW WHEN (NEW.status = 'ingested')"))
    stage.wait_for_status("received", 110)
    stage.sql(_slow("insert", 1.0, 2.5, "AFTER INSERT", "FOR EACH STATEMENT"))
    with stage.ageing_waiting("6 minutes"):
        yield
    stage.sql(_FAST_AGAIN.format(name="insert"))
    stage.sql(_FAST_AGAIN.format(name="claim"))
    stage.retry_waiting()


@contextmanager
def pancake_rest_down(stage: Stage) -> Iterator[None]:
    """Let the API answer 503, and the last success of polling be two periods ago."""
    stage.tick("poll_records")
    stage.pancake("faults", {"down": True})
    for _ in range(FAILURES_TO_OPEN):  # Hasura repeats a tick that failed every minute
        stage.tick("poll_records")
    stage.age_runs("poll_records", "12 minutes")
    yield
    stage.pancake("faults", {"down": False})
    stage.tick("poll_records")


@contextmanager
def webhook_silent(stage: Stage) -> Iterator[None]:
    """Suspend the webhook; polling finds four leads."""
    now = datetime.now(UTC)
    stage.pancake("webhook/suspend", {})
    stage.pancake("bulk", {"count": 4, **_span(now - timedelta(minutes=6), now - timedelta(minutes=2))})
    stage.tick("poll_records")
    yield
    stage.pancake("webhook/enable", {})
    stage.pancake("leads", {"count": 1})


@contextmanager
def dead_letters(stage: Stage) -> Iterator[None]:
    """Let half of the leads fail, five of them for the last time; at the end they are replayed."""
    stage.sql(STATEMENTS["live/refuse_tickets"])
    stage.wait_for_status("failed", 5)
    stage.sql(
        "UPDATE pancake_webhook_event SET attempts = 4, next_attempt_at = now() WHERE status = 'failed'"
    )
    stage.tick("retry_failed")
    stage.wait_for_status("dead_letter", 5)
    yield
    stage.sql("DROP FUNCTION public.incident_refused CASCADE")
    stage.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE status = 'dead_letter'")
    stage.retry_waiting()


@contextmanager
def stuck_lock(stage: Stage) -> Iterator[None]:
    """Let three events look as a Hasura leaves them that died six minutes ago."""
    stage.sql(STATEMENTS["live/lock_events"])
    yield
    stage.sql(STATEMENTS["live/unlock_events"])


@contextmanager
def cron_removed(stage: Stage) -> Iterator[None]:
    """Delete the cron trigger of polling; the table's row has all, of which more alerts fire."""
    with by_metadata(("delete_cron_trigger", {"name": "pancake_poll_records"}))(stage):
        yield


@contextmanager
def reconciliation_misses(stage: Stage) -> Iterator[None]:
    """Let the reconciliation find six leads of yesterday that neither webhook nor polling brought."""
    midnight = datetime.now(ICT).replace(hour=0, minute=0, second=0, microsecond=0)
    stage.sql(
        "UPDATE pancake_connection SET created_at = %(since)s", {"since": midnight - timedelta(hours=12)}
    )
    stage.pancake("bulk", {"count": 6, **_span(midnight - timedelta(hours=3), midnight - timedelta(hours=1))})
    stage.tick("reconcile_daily")
    # A cron that never succeeded counts from the creation of the connection.
    stage.sql("UPDATE pancake_connection SET created_at = now()")
    yield
    stage.age_runs("reconcile_daily", "25 hours")


@contextmanager
def kill_switch_left_on(stage: Stage) -> Iterator[None]:
    with FAULTS["kill_switch_left_on"](stage):
        stage.sql(change_setting("changed_at", "to_jsonb(now() - interval '25 hours')"))
        yield


@contextmanager
def p99_regression(stage: Stage) -> Iterator[None]:
    """Let some of the inserts take five seconds."""
    stage.sql(_slow("insert", 0.3, 5, "AFTER INSERT", "FOR EACH STATEMENT"))
    yield
    stage.sql(_FAST_AGAIN.format(name="insert"))


@contextmanager
def database_read_only(stage: Stage) -> Iterator[None]:
    """Let the whole server take no writes, as an administrator sets it; sessions that are open follow."""
    with psycopg.connect(stage.sandbox.cluster.url("postgres"), autocommit=True) as db:
        db.execute("SET default_transaction_read_only = off")
        db.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        db.execute("SELECT pg_reload_conf()")
        yield
        db.execute("ALTER SYSTEM RESET default_transaction_read_only")
        db.execute("SELECT pg_reload_conf()")
    stage.sandbox.handlers.wait_ready()
    stage.retry_waiting()


@contextmanager
def secret_differs(stage: Stage) -> Iterator[None]:
    """Start the handlers with another HANDLER_SECRET than Hasura has."""
    handlers = stage.sandbox.handlers
    before = handlers.environment
    handlers.environment = {**before, "HANDLER_SECRET": "another-secret-of-more-than-32-characters"}
    handlers.stop()
    handlers.bring_up()
    yield
    handlers.environment = before
    handlers.stop()
    handlers.bring_up()
    stage.retry_waiting()


@contextmanager
def source_off(stage: Stage) -> Iterator[None]:
    """Switch every source off; at the end what was held is replayed."""
    with FAULTS["source_off"](stage):
        yield
    stage.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE status = 'skipped_source_disabled'")
    stage.retry_waiting()


SCENES: dict[str, Scene] = {
    **{name: partial(of_table, name=name) for name in ("metadata_wiped", "allow_list_on", "handlers_down")},
    **{
        scene.__name__: scene
        for scene in (
            database_slow, pancake_rest_down, webhook_silent, dead_letters, stuck_lock, cron_removed,
            reconciliation_misses, kill_switch_left_on, p99_regression, database_read_only,
            secret_differs, source_off,
        )
    },
}  # fmt: skip


def _slow(name: str, share: float, seconds: float, when: str, each: str) -> str:
    return _SLOW.format(name=name, share=share, seconds=seconds, when=when, each=each)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}


SETTLE_SECONDS = 8.0
"""After the start: the first evaluations, and the heartbeat."""
MAX_SECONDS = 180.0
"""For the alerts to arrive, and again for those that come afterwards."""
MAX_RESOLVE_SECONDS = 900.0
"""The short window of PancakeBurnCreeping has six hours."""
CLEAN, CLEAN_LEADS_PER_SECOND = "clean", 1.0
HEARTBEAT = frozenset({WATCHDOG})


@dataclass(frozen=True)
class Outcome:
    """What arrived. `early`: before anything was broken; `unresolved`: still firing at the end."""

    name: str
    sent: frozenset[str]
    expected: frozenset[str]
    early: frozenset[str]
    unresolved: frozenset[str]
    seconds: float
    has_heartbeat: bool
    error: str = ""
    """Why the incident could not be made or mended."""

    @property
    def missing(self) -> frozenset[str]:
        return self.expected - self.sent

    @property
    def unexpected(self) -> frozenset[str]:
        return self.sent - self.expected

    @property
    def is_ok(self) -> bool:
        problems = (self.missing, self.unexpected, self.early, self.unresolved)
        return self.has_heartbeat and not self.error and not any(problems)

    def as_json(self) -> dict[str, Any]:
        names = {
            field: sorted(getattr(self, field))
            for field in ("sent", "missing", "unexpected", "early", "unresolved")
        }
        ends = {"error": self.error, "seconds": round(self.seconds, 1)}
        return {"name": self.name, "ok": self.is_ok, **names, **ends}


def run_incident(
    name: str, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Make an incident, wait for its alerts, mend it, and wait until they are resolved."""
    started = time.monotonic()
    incident, inbox = INCIDENTS[name], Inbox(on_arrival)
    with ObservedSandbox(cluster, factor=factor) as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        stage.prepare()
        rate = incident.leads_per_second
        with Observation(sandbox, inbox):
            with stage.traffic(rate) if rate else nullcontext():
                time.sleep(SETTLE_SECONDS)
                early = inbox.sent() - HEARTBEAT
                with SCENES[name](stage):
                    inbox.wait(lambda box: incident.live - incident.after <= box.sent(), MAX_SECONDS)
                    time.sleep(incident.hold_seconds)
                inbox.wait(lambda box: incident.live <= box.sent(), MAX_SECONDS)
                stage.wait_finished()
                stage.age("2 hours")
                inbox.wait(lambda box: box.firing() == HEARTBEAT, MAX_RESOLVE_SECONDS)
            return _outcome(name, inbox, incident.live, early, started)


def run_clean(
    seconds: float, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Let leads come in for a while with nothing broken."""
    started = time.monotonic()
    inbox = Inbox(on_arrival)
    with ObservedSandbox(cluster, factor=factor) as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        stage.prepare()
        with Observation(sandbox, inbox), stage.traffic(CLEAN_LEADS_PER_SECOND):
            time.sleep(seconds)
        return _outcome(CLEAN, inbox, frozenset(), set(), started)


def _outcome(name: str, inbox: Inbox, expected: frozenset[str], early: set[str], started: float) -> Outcome:
    """Return what arrived from `started`, by time.monotonic(), until now."""
    sent, unresolved = frozenset(inbox.sent() - HEARTBEAT), frozenset(inbox.firing() - HEARTBEAT)
    seconds, has_heartbeat = time.monotonic() - started, inbox.sent() >= HEARTBEAT
    return Outcome(name, sent, expected, frozenset(early), unresolved, seconds, has_heartbeat)


def failed(name: str, error: str, seconds: float) -> Outcome:
    """Return the outcome of an incident that could not be made or mended."""
    none: frozenset[str] = frozenset()
    return Outcome(name, none, none, none, none, seconds, has_heartbeat=False, error=error)


def incidents(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run this one, or several: {', '.join([*INCIDENTS, CLEAN])}.")
    ] = None,
    clean_seconds: Annotated[
        float, typer.Option(help="Length of the run in which nothing is broken.", min=10)
    ] = 600,
    factor: Annotated[
        float, typer.Option(help="How many times faster than in deploy/ alerts fire.", min=1, max=60)
    ] = DEFAULT_FACTOR,
    as_json: AsJson = False,
) -> None:
    """Make the incidents, each in a new sandbox with a real Prometheus and Alertmanager.

    Exactly the alerts of docs/alerts.md have to arrive and to be resolved, and none in a run in which nothing
    is broken. The rules are those of deploy/, with all times divided by --factor. Takes about 40 minutes.
    """
    names = only or [*INCIDENTS, CLEAN]
    if unknown := set(names) - set(INCIDENTS) - {CLEAN}:
        raise typer.BadParameter(
            f"unknown incident {sorted(unknown)[0]}; use one of {', '.join([*INCIDENTS, CLEAN])}",
            param_hint="--only",
        )
    require_edge_packages()
    require_monitoring()
    exit_on_sigterm()
    outcomes = list(_run(names, clean_seconds, factor, Console(stderr=True)))
    if as_json:
        typer.echo(json.dumps({"factor": factor, "runs": [each.as_json() for each in outcomes]}))
    else:
        _print(outcomes)
    if not all(each.is_ok for each in outcomes):
        raise typer.Exit(1)


def _run(names: list[str], clean_seconds: float, factor: float, console: Console) -> Iterator[Outcome]:
    def show(notification: Notification) -> None:
        if notification.receiver != "heartbeat":
            console.print(
                f"  {notification.status:8} {notification.alert} -> {notification.receiver}", highlight=False
            )

    with Cluster() as cluster:
        for number, name in enumerate(names, 1):
            console.print(f"{number} of {len(names)}: {name} ...", highlight=False)
            started = time.monotonic()
            try:
                if name == CLEAN:
                    yield run_clean(clean_seconds, cluster, factor, show)
                else:
                    yield run_incident(name, cluster, factor, show)
            except (NotReady, TimeoutError, Unfinished, httpx.HTTPError, psycopg.Error) as error:
                console.print(f"  {error}", style="red", highlight=False, markup=False)
                yield failed(name, f"{type(error).__name__}: {error}", time.monotonic() - started)


def _print(outcomes: list[Outcome]) -> None:
    table = Table("incident", "sent", "not as expected", "seconds")
    for each in outcomes:
        problems = [
            f"{kind}: {name}"
            for kind in ("missing", "unexpected", "early", "unresolved")
            for name in sorted(getattr(each, kind))
        ]
        if each.error:
            problems.append(each.error)
        elif not each.has_heartbeat:
            problems.append("no heartbeat")
        table.add_row(each.name, "\n".join(sorted(each.sent)), "\n".join(problems), f"{each.seconds:.0f}")
    Console().print(table)
