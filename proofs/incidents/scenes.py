"""How each live incident is made and mended in a sandbox: `scripts/chaos incidents`.

FAULTS are those of the table that tests use for one look. Here a fault is a scene for people: leads arrive
meanwhile, it looks as old as its alert needs, and what it leaves behind is made good. The others need that
traffic, or the past, to be a fault at all: `leads status` and the gates name their effects, not them.
"""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import psycopg
import typer

from leads.adapters.breaker import FAILURES_TO_OPEN
from leads.domain.body import ICT
from leads.domain.health import MIN_FAILED_PROBES_OF_OUTAGE
from leads.services.cron_runs import CRONS
from ops.waiting import poll
from proofs.incidents.breakages import BREAKAGES
from proofs.incidents.faults import STATEMENTS, TIMEOUT_SECONDS, Installation, by_metadata, change_setting
from proofs.sender import Leg, repeating, send, tick, versions
from sandbox.edge import NginxEdge
from sandbox.monitoring.observation import Observation
from sandbox.stack.observer import Observer
from sandbox.stack.stack import Sandbox

BASELINE_LEADS = 60
"""Processed before the incident, as a part of the day but not of the last hour."""
MAX_OPEN_POSTS = 64
AGEING_SECONDS = 1.0
LEASE_SECONDS = 26.0
"""Longer than a claim of handlers that were killed."""
SCRAPED_SECONDS = 2.0
"""Until a process that has started is scraped."""
ENDS_IN_DAYS = 13
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
POLL_SECONDS = 0.2


class Stage(Installation):
    observation: Observation
    """What watches the sandbox, while an incident is made."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        super().__init__(sandbox)
        self._versions = versions(seed, new_share=1.0)
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        self._http.close()

    @property
    def edge(self) -> NginxEdge:
        assert isinstance(self.sandbox.edge, NginxEdge)
        return self.sandbox.edge

    def prepare(self) -> None:
        """Process some leads, and move them out of the last hour. Give the edge a folder of certificates."""
        self.edge.add_environment({"EDGE_TLS_DIR": str(self.edge.directory)})
        self.edge.stop()
        self.edge.bring_up()
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
        now = {"now": datetime.now(UTC)}
        left = f"{STATEMENTS['live/list_unfinished']} AND created_at <= %(now)s"
        for _ in poll(TIMEOUT_SECONDS, POLL_SECONDS):
            if not (self.edge.held() or self.sql(left, now)):
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
"""Broken within the block; at its end all works again, and no window of the database holds traces of it."""
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

    The handlers claim two leads a second then (WORK_CONNECTIONS are 8). The leads get older only when the
    alert on the inserts is there: one that waits pages after ten minutes, which are 20 s here.
    """
    stage.sql(_slow("claim", 1.0, 4, "AFTER UPDATE OF status", "FOR EACH ROW WHEN (NEW.status = 'ingested')"))
    stage.wait_for_status("received", 60)
    stage.sql(_slow("insert", 1.0, 2.5, "AFTER INSERT", "FOR EACH STATEMENT"))
    yield
    with stage.ageing_waiting("6 minutes"):
        time.sleep(2 * AGEING_SECONDS)
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
def pancake_down(stage: Stage) -> Iterator[None]:
    """Let API and webhook fail at once, and polling be late; at the end it brings four leads."""
    now = datetime.now(UTC)
    stage.tick("poll_records")
    stage.pancake("webhook/suspend", {})
    stage.pancake("bulk", {"count": 4, **_span(now - timedelta(minutes=6), now - timedelta(minutes=2))})
    stage.pancake("faults", {"down": True})
    for _ in range(MIN_FAILED_PROBES_OF_OUTAGE):
        stage.tick("check_connection")
    stage.age_runs("poll_records", "12 minutes")
    yield
    stage.pancake("faults", {"down": False})
    stage.tick("poll_records")
    stage.tick("check_connection")
    stage.pancake("webhook/enable", {})
    stage.pancake("leads", {"count": 1})


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
def reconciliation_missing(stage: Stage) -> Iterator[None]:
    """Let the reconciliation have succeeded 30 hours ago, and never since."""
    stage.tick("reconcile_daily")
    stage.age_runs("reconcile_daily", "30 hours")
    yield
    stage.tick("reconcile_daily")


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
def handlers_with(stage: Stage, **variables: str) -> Iterator[None]:
    """Restart the handlers with other variables, and as they were at the end."""
    before = stage.sandbox.handlers.environment
    _restart_handlers(stage, {**before, **variables})
    yield
    _restart_handlers(stage, before)
    stage.retry_waiting()


def _restart_handlers(stage: Stage, environment: Mapping[str, str]) -> None:
    handlers = stage.sandbox.handlers
    handlers.environment = environment
    handlers.stop()
    handlers.bring_up()


def secret_differs(stage: Stage) -> AbstractContextManager[None]:
    """Give the handlers another HANDLER_SECRET than Hasura has."""
    return handlers_with(stage, HANDLER_SECRET=stage.sandbox.keys.edge_secret)


def token_ends(stage: Stage) -> AbstractContextManager[None]:
    return handlers_with(
        stage, HASURA_SERVICE_TOKEN=stage.sandbox.keys.token("pancake_service", days=ENDS_IN_DAYS)
    )


def clock_ahead(stage: Stage) -> AbstractContextManager[None]:
    """Let the handlers live ten minutes later; what they measure by stays as it is."""
    return handlers_with(
        stage, LD_PRELOAD=str(FAKETIME), FAKETIME="+600s", FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DISABLE_SHM="1",
    )  # fmt: skip


@contextmanager
def handlers_killed(stage: Stage) -> Iterator[None]:
    """Kill the handlers again and again, as a lack of memory does; they are started again at once."""
    handlers = stage.sandbox.handlers

    def kill() -> None:
        handlers.kill()
        handlers.bring_up()
        time.sleep(SCRAPED_SECONDS)

    with repeating(kill, SCRAPED_SECONDS):
        yield
    time.sleep(LEASE_SECONDS)
    stage.retry_waiting()


@contextmanager
def old_replica(stage: Stage) -> Iterator[None]:
    """Run one more process of the handlers, of another version."""
    handlers = stage.sandbox.add_handlers("old-handlers")
    handlers.stop()
    handlers.environment = {**handlers.environment, "VERSION": "0.0.9"}
    handlers.bring_up()
    stage.observation.scrape_handlers(stage.sandbox.handlers_url, handlers.url)
    yield
    stage.observation.scrape_handlers(stage.sandbox.handlers_url)
    handlers.stop()


@contextmanager
def certificate_ends(stage: Stage) -> Iterator[None]:
    certificate = stage.edge.directory / "fullchain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=edge.example",
         "-days", str(ENDS_IN_DAYS), "-keyout", "/dev/null", "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.chmod(0o644)
    yield
    certificate.unlink()


@contextmanager
def one_connection_silent(stage: Stage) -> Iterator[None]:
    """Let the connection bring none, and have brought eight in this hour of each of the last four weeks."""
    for name in CRONS:  # one that never succeeded is as old as the connection
        stage.tick(name)
    stage.sql(STATEMENTS["live/store_usual"])
    yield
    stage.sql(STATEMENTS["live/forget_usual"])


@contextmanager
def held_by_source(stage: Stage, name: str) -> Iterator[None]:
    """A fault of the table that holds leads; at the end they are replayed."""
    with FAULTS[name](stage):
        yield
    stage.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE status = 'skipped_source_disabled'")
    stage.retry_waiting()


OF_TABLE = ("metadata_wiped", "allow_list_on", "handlers_down", "database_down", "engine_down")
SCENES: dict[str, Scene] = {
    **{name: partial(of_table, name=name) for name in OF_TABLE},
    **{name: partial(held_by_source, name=name) for name in ("source_off", "connection_off")},
    **{
        scene.__name__: scene
        for scene in (
            database_slow, pancake_rest_down, webhook_silent, dead_letters, stuck_lock, cron_removed,
            reconciliation_misses, kill_switch_left_on, p99_regression, database_read_only, secret_differs,
            handlers_killed, old_replica, clock_ahead, token_ends, certificate_ends, one_connection_silent,
            pancake_down, reconciliation_missing,
        )
    },
}  # fmt: skip


def require_scenes(names: Iterable[str]) -> None:
    """Check that what these scenes use is here. Raises typer.Exit with code 2, and prints what to install."""
    uses = {"clock_ahead": ("libfaketime", FAKETIME), "certificate_ends": ("openssl", which("openssl"))}
    missing = [package for name in names if name in uses for package, found in [uses[name]] if found is None]
    if missing:
        typer.echo(
            f"The incidents use what is not installed. Run: apt-get install {' '.join(missing)}", err=True
        )
        raise typer.Exit(2)


def _slow(name: str, share: float, seconds: float, when: str, each: str) -> str:
    return _SLOW.format(name=name, share=share, seconds=seconds, when=when, each=each)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
