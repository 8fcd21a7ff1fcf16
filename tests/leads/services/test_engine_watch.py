"""What `/readyz` and the metric say of Hasura: a wipe, the allow list, a lost environment."""

import math

import psycopg
import pytest

from leads.adapters.database import Database
from leads.adapters.metrics import Metrics
from leads.domain.errors import DatabaseUnavailable
from leads.services.engine_watch import EngineWatch
from tests.support.fakes import FakeDatabase, FakeHasura

TRIGGERS = [f'"notify_hasura_pancake_webhook_event_status_update_{name}"' for name in ("INSERT", "UPDATE")]
HEALTHY = dict.fromkeys(
    ("database", "event_trigger", "hasura", "consistent", "allow_list", "notifications"), True
)


def watch(db: FakeDatabase, hasura: FakeHasura, max_age_seconds: float = 15.0) -> tuple[EngineWatch, Metrics]:
    metrics = Metrics()
    return EngineWatch(db, hasura, metrics, max_age_seconds=max_age_seconds), metrics


def shown(metrics: Metrics, check: str) -> float:
    value = metrics.registry.get_sample_value("pancake_engine_check", {"check": check})
    assert value is not None
    return value


@pytest.fixture
def db() -> FakeDatabase:
    db = FakeDatabase()
    db.rows = [{"has_triggers": True}]
    return db


async def test_however_often_it_is_asked_it_looks_once(db: FakeDatabase) -> None:
    looking, metrics = watch(db, FakeHasura())
    assert [await looking.state() for _ in range(3)] == [HEALTHY] * 3
    assert len(db.ran) == 1
    assert shown(metrics, "consistent") == 1

    again, _ = watch(db, FakeHasura(), max_age_seconds=0)
    await again.state()
    await again.state()
    assert len(db.ran) == 3


@pytest.mark.own_database
async def test_a_trigger_that_does_not_fire_is_missing(database: str) -> None:
    """After a wipe the engine drops it; a superuser may disable it."""
    db = Database(database, ingest_connections=1, work_connections=1)
    looking = EngineWatch(db, FakeHasura(), Metrics(), max_age_seconds=0)
    await db.open()
    try:
        with psycopg.connect(database, autocommit=True) as connection:
            assert (await looking.state())["event_trigger"] is False
            connection.execute(
                "CREATE FUNCTION notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
            )
            for name in TRIGGERS:
                create = (
                    f"CREATE TRIGGER {name} AFTER INSERT ON pancake_webhook_event EXECUTE FUNCTION notify()"
                )
                connection.execute(create.encode())
            assert (await looking.state())["event_trigger"] is True
            disable = f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {TRIGGERS[0]}"
            connection.execute(disable.encode())
            assert (await looking.state())["event_trigger"] is False
    finally:
        await db.close()


async def test_what_cannot_be_said_is_no_failure(db: FakeDatabase) -> None:
    """A Hasura that does not answer has not lost our permission; a database, not our trigger."""
    hasura = FakeHasura()
    hasura.failing = True
    db.error = DatabaseUnavailable("gone")
    looking, metrics = watch(db, hasura)
    state = await looking.state()
    assert (state["database"], state["event_trigger"], state["hasura"]) == (False, None, False)
    assert shown(metrics, "hasura") == 0
    assert math.isnan(shown(metrics, "event_trigger"))
