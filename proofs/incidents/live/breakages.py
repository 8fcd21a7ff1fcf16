"""How each incident is made in a sandbox, and mended.

FAULTS are those of the table that tests use for one look. Here a fault is a scene for people: leads arrive
meanwhile, it looks as old as its alert needs, and what it leaves behind is made good. The others need that
traffic, or the past, to be a fault at all: `leads status` and the gates name their effects, not them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta

from leads.adapters.breaker import FAILURES_TO_OPEN
from leads.domain.body import ICT
from proofs.incidents.breakages import BREAKAGES as TABLE
from proofs.incidents.breakages import by_metadata, change_setting
from proofs.incidents.live.stage import Stage

Breakage = Callable[[Stage], AbstractContextManager[None]]
"""Broken within the block. At its end all works again, and the database has nothing of it in its windows."""
FAULTS = {each.incident: each.broken for each in TABLE if each.incident}
_SLOW = """
    CREATE FUNCTION public.incident_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN IF random() < {share} THEN PERFORM pg_sleep({seconds}); END IF; RETURN NEW; END $$;
    CREATE TRIGGER incident_{name} {when} ON public.pancake_webhook_event {each}
    EXECUTE FUNCTION public.incident_{name}()
"""
_FAST_AGAIN = "DROP FUNCTION IF EXISTS public.incident_{name} CASCADE"
_LOCK = """
    UPDATE hdb_catalog.event_log
    SET delivered = false, locked = now() - interval '6 minutes'
    WHERE id IN (
        SELECT id FROM hdb_catalog.event_log
        WHERE trigger_name = 'pancake_webhook_event_status_update' AND delivered LIMIT 3
    )
"""
_UNLOCK = """
    UPDATE hdb_catalog.event_log SET delivered = true, locked = NULL
    WHERE locked < now() - interval '6 minutes'
"""
_REFUSE_TICKETS = """
    CREATE FUNCTION public.incident_refused() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF hashtext(NEW.title) % 2 = 0 THEN RAISE EXCEPTION 'no such tickets today'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER incident_refused BEFORE INSERT ON public.ticket FOR EACH ROW
    EXECUTE FUNCTION public.incident_refused()
"""


@contextmanager
def metadata_wiped(stage: Stage) -> Iterator[None]:
    """Replace the metadata by Diva's, as a colleague who applies another project does."""
    with FAULTS["metadata_wiped"](stage):
        yield
    stage.retry_waiting()


@contextmanager
def allow_list_on(stage: Stage) -> Iterator[None]:
    """Leave our calls out of the allow list, which is on."""
    with FAULTS["allow_list_on"](stage):
        yield
    stage.retry_waiting()


@contextmanager
def handlers_down(stage: Stage) -> Iterator[None]:
    """Stop the process."""
    with FAULTS["handlers_down"](stage):
        yield


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
    stage.sql(_REFUSE_TICKETS)
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
    stage.sql(_LOCK)
    yield
    stage.sql(_UNLOCK)


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
    """Switch it on, more than a day ago."""
    with FAULTS["kill_switch_left_on"](stage):
        stage.sql(change_setting("changed_at", "to_jsonb(now() - interval '25 hours')"))
        yield


@contextmanager
def p99_regression(stage: Stage) -> Iterator[None]:
    """Let some of the inserts take five seconds."""
    stage.sql(_slow("insert", 0.3, 5, "AFTER INSERT", "FOR EACH STATEMENT"))
    yield
    stage.sql(_FAST_AGAIN.format(name="insert"))


BREAKAGES: dict[str, Breakage] = {
    breakage.__name__: breakage
    for breakage in (
        metadata_wiped, allow_list_on, handlers_down, database_slow, pancake_rest_down, webhook_silent,
        dead_letters, stuck_lock, cron_removed, reconciliation_misses, kill_switch_left_on, p99_regression,
    )
}  # fmt: skip


def _slow(name: str, share: float, seconds: float, when: str, each: str) -> str:
    return _SLOW.format(name=name, share=share, seconds=seconds, when=when, each=each)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
