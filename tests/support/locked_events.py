"""Leads whose Hasura event is locked, and time that passes."""

from datetime import timedelta

from tests.support.crons import CronHarness


def insert_locked(harness: CronHarness, age: timedelta, locked: timedelta | None) -> None:
    """Store a lead that arrived `age` ago; the engine locked its event `locked` ago, or has not yet."""
    harness.sql(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        " arrived_at, created_at, source_ids) VALUES (%s, 'webhook', 'r1', sha256('r1'),"
        """ '{"id": "r1", "name": "Lan", "phone_number": "0905100001"}', 'received', now(), now(),"""
        " ARRAY['-1'])",
        harness.connection_id,
    )
    harness.sql("UPDATE hdb_catalog.event_log SET locked = now() - %s::interval", locked)
    pass_time(harness, age, locks=False)


def pass_time(harness: CronHarness, by: timedelta, *, locks: bool = True) -> None:
    """Let the database's clock, which tests cannot move, seem later: move what it stored into the past."""
    harness.sql("ALTER TABLE pancake_webhook_event DISABLE TRIGGER notify_hasura")
    harness.sql("UPDATE pancake_webhook_event SET received_at = received_at - %s::interval", by)
    harness.sql("ALTER TABLE pancake_webhook_event ENABLE TRIGGER notify_hasura")
    if locks:
        harness.sql("UPDATE hdb_catalog.event_log SET locked = locked - %s::interval", by)
    harness.move_clock(seconds=by.total_seconds())
