"""The figures of GET /metrics that are read from the database, and what the engine is asked."""

import asyncio
import math
import re
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from leads.adapters import database
from leads.adapters.database import Database
from leads.adapters.metrics import Metrics
from leads.domain.errors import DatabaseUnavailable
from leads.services.cron_runs import CRONS
from leads.services.metrics import FIGURES, SERIES, Scrape
from leads.services.readiness import Readiness
from sandbox.serving import find_value, read_samples
from tests.support.crons import CronHarness
from tests.support.fakes import FakeDatabase, FakeHasura
from tests.support.leads import LATER

STATUSES = (
    "received", "ingested", "failed", "dead_letter", "invalid", "skipped_kill_switch",
    "skipped_source_disabled",
)  # fmt: skip
LAST_SUCCESS = "pancake_sql_last_success_timestamp_seconds"


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


async def test_every_label_of_a_closed_set_is_there_with_0_on_an_empty_database(harness: CronHarness) -> None:
    assert await harness.scrape("pancake_unassigned_tickets") == 0
    for status in STATUSES:
        assert harness.value("pancake_stored_events", status=status) == 0
        assert harness.value("pancake_stored_event_oldest_timestamp_seconds", status=status) == 0
        for origin in ("webhook", "poll", "reconcile"):
            assert harness.value("pancake_recent_events", status=status, origin=origin) == 0
    for series, label, each_of in (
        ("pancake_later_cron_ticks", "name", CRONS),
        ("pancake_cron_last_start_timestamp_seconds", "name", CRONS),
        ("pancake_engine_events", "state", ("pending", "locked", "failed")),
        ("pancake_unsent_notifications", "source", ("events", "runs")),
        ("pancake_switch_on", "switch", ("kill_switch", "processing_paused")),
    ):
        assert {harness.value(series, **{label: each}) for each in each_of} == {0}, series
    connection = harness.connection_id
    for status in ("active", "silent", "suspended", "outage", "key_invalid", "disabled"):
        has_status = harness.value("pancake_connection_status", connection=connection, status=status)
        assert has_status == (status == "active")
    for log in ("event_log", "event_invocation_logs", "hdb_cron_events", "hdb_cron_event_invocation_logs"):
        assert harness.value("pancake_engine_log_dead_rows", log=log) is not None


def test_a_counter_has_no_series_of_its_creation() -> None:
    assert re.findall(rb"^\w+_created[{ ].*", Metrics().exposition(), re.M) == []


async def test_each_figure_was_read(harness: CronHarness) -> None:
    """Before its first reading it is there with 0."""
    assert {harness.value(LAST_SUCCESS, query=figure.name) for figure in FIGURES} == {0}
    await harness.process_lead()
    await harness.run("reconcile_daily")
    await harness.scrape("pancake_unassigned_tickets")
    for figure in FIGURES:
        read_at = harness.value(LAST_SUCCESS, query=figure.name)
        assert read_at == pytest.approx(harness.clock.now().timestamp(), abs=60), figure.name
    families = harness.runtime.metrics.sql_series.collect()
    assert {family.name for family in families if family.samples} == {series.name for series in SERIES}


async def test_the_oldest_event_of_each_status_is_shown_by_creation_or_replay(harness: CronHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 99)
    failed, _ = await harness.process_lead(id="broken")
    dead, _ = await harness.process_lead(id="no-phone", phone_number="không có số")
    waiting = (await harness.deliver({"id": "later", "phone_number": "0905111222"}))["event_id"]
    oldest = "pancake_stored_event_oldest_timestamp_seconds"
    harness.sql(
        "UPDATE pancake_webhook_event SET created_at = now() - interval '2 hours' WHERE id = %s", failed
    )
    assert await harness.scrape("pancake_stored_events", status="failed") == 1
    created = harness.event(failed)["created_at"].timestamp()
    assert harness.value(oldest, status="failed") == pytest.approx(created)
    assert harness.value("pancake_stored_events", status="invalid") == 1
    assert harness.value("pancake_stored_events", status="dead_letter") == 0
    harness.sql("UPDATE pancake_webhook_event SET error_code = 'internal' WHERE id = %s", dead)
    harness.sql("UPDATE pancake_webhook_event SET replayed_at = now() WHERE id = %s", waiting)
    assert await harness.scrape("pancake_stored_events", status="dead_letter") == 1
    replayed = harness.event(waiting)["replayed_at"].timestamp()
    assert harness.value(oldest, status="received") == pytest.approx(replayed)


async def test_the_figures_of_leads_survive_an_idle_hour(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    harness.sql(
        "UPDATE pancake_webhook_event SET created_at = processed_at - interval '40 s',"
        " arrived_at = processed_at - interval '43 s' WHERE id = %s",
        event_id,
    )
    labels = {"leads": "20", "quantile": "0.95"}
    harness.move_clock(hours=3)
    process = await harness.scrape("pancake_recent_lead_seconds", stage="process", **labels)
    assert process == pytest.approx(40)
    assert harness.value("pancake_recent_lead_seconds", stage="store", **labels) == pytest.approx(3)
    assert harness.value("pancake_recent_lead_seconds", stage="store", leads="1h", quantile="0.99") is None
    assert harness.value("pancake_kpi_latency_seconds", window="1d", quantile="0.95") == pytest.approx(40)
    assert harness.value("pancake_kpi_latency_seconds", window="1h", quantile="0.95") is None


async def test_what_is_usual_is_the_median_of_the_same_hour_of_four_weeks(harness: CronHarness) -> None:
    harness.sql("UPDATE pancake_connection SET created_at = now() - interval '1 year'")
    for week, deliveries in enumerate((1, 2, 4, 5, 0)):
        for number in range(deliveries):
            event_id, _ = await harness.process_lead(id=f"{week}-{number}")
            harness.sql(
                "UPDATE pancake_webhook_event SET created_at = created_at - %s WHERE id = %s",
                timedelta(weeks=week),
                event_id,
            )
    connection = harness.connection_id
    assert await harness.scrape("pancake_recent_deliveries", connection=connection) == 1
    assert harness.value("pancake_usual_deliveries", connection=connection) == 3


async def test_ticks_and_events_of_the_engine(harness: CronHarness) -> None:
    for name, status, minutes in (
        ("poll_records", "scheduled", 5), ("poll_records", "scheduled", -3), ("check_sla", "dead", -60),
    ):  # fmt: skip
        harness.sql(
            "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status)"
            " VALUES (%s, now() + %s, %s)",
            f"pancake_{name}",
            timedelta(minutes=minutes),
            status,
        )
    harness.sql(
        "INSERT INTO hdb_catalog.event_log (trigger_name, payload, locked, error) SELECT"
        " 'pancake_webhook_event_status_update', '{}', l.locked, l.error FROM (VALUES (NULL, false),"
        " (now(), false), (now() - interval '6 minutes', false), (NULL, true)) AS l (locked, error)"
    )
    assert await harness.scrape("pancake_later_cron_ticks", name="poll_records") == 1
    assert harness.value("pancake_overdue_cron_ticks", name="poll_records") == 1
    assert harness.value("pancake_lost_cron_ticks", name="check_sla") == 1
    states = [harness.value("pancake_engine_events", state=s) for s in ("pending", "locked", "failed")]
    assert states == [2, 1, 1]


@pytest.mark.own_database
async def test_a_figure_that_cannot_be_read_is_shown_for_a_while_then_left_out(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    assert await harness.scrape("pancake_engine_events", state="pending") == 0
    harness.sql("DROP SCHEMA hdb_catalog CASCADE")
    assert await harness.scrape("pancake_engine_events", state="pending") == 0
    assert harness.value("pancake_switch_on", switch="kill_switch") == 0
    fast, _ = harness.runtime.scrape.sql
    fast._withdrawn_after_seconds = 0.0
    assert await harness.scrape("pancake_engine_events", state="pending") is None
    lines = [vars(each)["fields"] for each in caplog.records if each.getMessage() == "figure not read"]
    assert len({line["query"] for line in lines}) == len(lines) > 0, "only its first failure is logged"


async def test_a_scrape_reads_once_in_a_few_seconds_and_once_at_a_time(harness: CronHarness) -> None:
    scrape = harness.runtime.scrape
    await asyncio.gather(*(harness.client.get("/metrics") for _ in range(5)))
    await scrape.settle()
    read = [dict(sql._readings) for sql in scrape.sql]
    times = [reading.read_at for readings in read for reading in readings.values()]
    await harness.client.get("/metrics")
    await scrape.settle()
    assert [reading.read_at for sql in scrape.sql for reading in sql._readings.values()] == times


async def session_of_a_reading(harness: CronHarness) -> int:
    async with harness.runtime.db.reader() as reader:
        return reader._db_connection.info.backend_pid


async def test_the_session_is_kept_and_a_lost_one_is_replaced_without_a_failure(harness: CronHarness) -> None:
    def kept() -> set[int]:
        return {each.info.backend_pid for each in harness.runtime.db._idle_readers}

    first = await session_of_a_reading(harness)
    assert await harness.scrape("pancake_switch_on", switch="kill_switch") == 0
    await harness.runtime.scrape.settle()  # the slow figures have another session
    assert first in kept()
    harness.terminate_backends()
    assert await harness.scrape("pancake_switch_on", switch="kill_switch") == 0
    readings = [each for sql in harness.runtime.scrape.sql for each in sql._readings.values()]
    assert not [each for each in readings if each.is_failing]
    assert first not in kept()


async def test_a_session_that_does_not_answer_is_replaced_and_one_in_which_something_failed_is_closed(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One does not answer if a firewall drops its packets since it was idle."""

    async def hang(db_connection: object) -> None:
        await asyncio.sleep(60)

    with pytest.raises(ZeroDivisionError):
        async with harness.runtime.db.reader() as reader:
            1 / 0  # noqa: B018
    assert reader._db_connection.closed
    first = await session_of_a_reading(harness)
    monkeypatch.setattr(database, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(AsyncConnectionPool, "check_connection", hang)
    async with asyncio.timeout(30):
        assert await session_of_a_reading(harness) != first


@pytest.mark.serial
async def test_a_slow_database_does_not_hold_a_scrape(harness: CronHarness) -> None:
    scrape: Scrape = harness.runtime.scrape
    scrape.answer_within_seconds = 0.2
    loop = asyncio.get_running_loop()
    with harness.session.transaction():
        harness.sql("LOCK pancake_connection, pancake_webhook_event IN ACCESS EXCLUSIVE MODE")
        started = loop.time()
        text = (await harness.client.get("/metrics")).text
        took = loop.time() - started
    assert took < 1.5
    assert find_value(read_samples(text), 'pancake_webhook_requests_total{status="received"}') == 0


async def test_the_times_of_the_breakers_are_shown_by_host(harness: CronHarness) -> None:
    breaker = harness.runtime.pancake.breakers["https://crm.pancake.test"]
    breaker.answered_at = harness.clock.monotonic() - 30
    labels = {"name": "pancake_rest", "host": "https://crm.pancake.test"}
    opened = await harness.scrape("pancake_circuit_breaker_open_since_timestamp_seconds", **labels)
    answered = harness.value("pancake_circuit_breaker_last_success_timestamp_seconds", **labels)
    assert opened == 0
    assert answered == pytest.approx(harness.clock.now().timestamp() - 30, abs=5)


PROCESSED = ("ticket_created", "ticket_updated", "contact_updated", "record_deleted", "stale", "no_change")
COUNTED = {
    "deliveries": (
        "pancake_webhook_requests_total", "status",
        ("received", "skipped_kill_switch", "skipped_source_disabled", "dead_letter"),
    ),
    "missed": ("pancake_webhook_missed_total", "origin", ("poll", "reconcile")),
    "processed": ("pancake_events_total", "result", PROCESSED),
    "failed": ("pancake_events_total", "result", ("failed", "dead_letter", "invalid")),
    "notifications": ("pancake_notifications_total", "result", ("accepted", "duplicates")),
}  # fmt: skip


async def drift(harness: CronHarness) -> dict[str, tuple[float, float, float]]:
    """The least, what was counted, and the most, by counter."""
    await harness.scrape("pancake_unassigned_tickets")
    counted = {
        counter: sum(harness.value(name, **{label: each}) or 0 for each in values)
        for counter, (name, label, values) in COUNTED.items()
    }
    counted["cron_runs"] = sum(
        sample.value
        for family in harness.runtime.metrics.cron_runs.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["result"] == "succeeded"
    )
    found = {}
    for counter, number in counted.items():
        least, most = (
            harness.value("pancake_counted_rows", counter=counter, bound=bound) for bound in ("least", "most")
        )
        assert least is not None
        assert most is not None
        found[counter] = (least, number, most)
    return found


async def test_what_was_counted_has_rows(harness: CronHarness) -> None:
    assert set((await drift(harness)).values()) == {(0.0, 0.0, 0.0)}
    await harness.process_lead()
    await harness.process_lead(modified_on=LATER, name="Another name")
    await harness.process_lead(id="no-phone", phone_number="x")
    await harness.deliver({"no": "id"})
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 1)
    await harness.process_lead(id="broken", phone_number="0905111223")
    await harness.process_lead(id="later", phone_number="0905111224")
    await harness.deliver({"id": "later"})
    for cron in ("sync_sources", "check_sla", "retry_failed"):
        await harness.run(cron)
    found = await drift(harness)
    assert found == {
        "deliveries": (7, 7, 7),
        "missed": (0, 0, 0),
        "processed": (3, 3, 3),
        "failed": (2, 2, 2),
        "notifications": found["notifications"],
        "cron_runs": (3, 3, 3),
    }
    least, counted, most = found["notifications"]
    assert 0 < least == counted == most


async def test_a_replay_may_count_twice_and_a_counter_may_lose_its_process(harness: CronHarness) -> None:
    """It is below the least of this hour then."""
    event_id, _ = await harness.process_lead()
    await harness.replay(ids=[event_id])
    await harness.process(event_id, "UPDATE")
    assert (await drift(harness))["processed"] == (1, 2, 2)
    harness.runtime.metrics.events.clear()
    assert (await drift(harness))["processed"] == (1, 0, 2)
    harness.move_clock(hours=2)
    assert [counter for counter, (least, _, _) in (await drift(harness)).items() if least] == []


async def test_a_claim_that_expired_is_not_expected_to_be_counted(harness: CronHarness) -> None:
    event_id = (await harness.deliver({"id": "x", "phone_number": "0905111222"}))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'dead_letter', attempts = 5, error_code = 'claim_expired'"
        " WHERE id = %s",
        event_id,
    )
    least, _, most = (await drift(harness))["failed"]
    assert (least, most) == (0, 5)


TRIGGERS = [f'"notify_hasura_pancake_webhook_event_status_update_{name}"' for name in ("INSERT", "UPDATE")]
HEALTHY = dict.fromkeys(
    ("database", "writable", "event_trigger", "hasura", "consistent", "allow_list", "notifications"), True
)


def shown(metrics: Metrics, check: str) -> float:
    value = metrics.registry.get_sample_value("pancake_engine_check", {"check": check})
    assert value is not None
    return value


@pytest.fixture
def db() -> FakeDatabase:
    db = FakeDatabase()
    db.rows = [{"has_triggers": True, "is_writable": True}]
    return db


async def test_however_often_it_is_asked_it_looks_once(db: FakeDatabase) -> None:
    metrics = Metrics()
    looking = Readiness(db, FakeHasura(), metrics, max_age_seconds=15)
    assert [await looking.state() for _ in range(3)] == [HEALTHY] * 3
    assert len(db.ran) == 1
    assert shown(metrics, "consistent") == 1
    again = Readiness(db, FakeHasura(), metrics, max_age_seconds=0)
    assert [await again.state() for _ in range(2)] == [HEALTHY] * 2
    assert len(db.ran) == 3


@pytest.mark.own_database
async def test_a_trigger_that_does_not_fire_and_a_read_only_database_are_seen(
    database: str,
) -> None:
    """After a wipe the engine drops its trigger; a superuser may disable it."""
    db = Database(database, ingest_connections=1, work_connections=1)
    looking = Readiness(db, FakeHasura(), Metrics(), max_age_seconds=0)
    with psycopg.connect(database, autocommit=True) as connection:

        async def seen(*changes: str) -> list[bool | None]:
            for change in changes:
                connection.execute(change.encode())
            state = await looking.state()
            return [state[name] for name in ("database", "writable", "event_trigger")]

        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        await db.open()
        try:
            assert await seen() == [True, False, False]
            assert await seen(
                "CREATE FUNCTION notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                *(
                    f"CREATE TRIGGER {name} AFTER INSERT ON pancake_webhook_event EXECUTE FUNCTION notify()"
                    for name in TRIGGERS
                ),
            ) == [True, False, True]
            disable = f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {TRIGGERS[0]}"
            assert await seen(disable) == [True, False, False]
        finally:
            await db.close()


async def test_what_cannot_be_said_is_no_failure(db: FakeDatabase) -> None:
    """A Hasura that does not answer has not lost our permission; a database, not our trigger."""
    hasura, metrics = FakeHasura(), Metrics()
    hasura.failing = True
    db.error = DatabaseUnavailable("gone")
    state = await Readiness(db, hasura, metrics, max_age_seconds=15).state()
    assert (state["database"], state["writable"], state["event_trigger"], state["hasura"]) == (
        False, None, None, False,
    )  # fmt: skip
    assert shown(metrics, "hasura") == 0
    assert math.isnan(shown(metrics, "event_trigger"))
