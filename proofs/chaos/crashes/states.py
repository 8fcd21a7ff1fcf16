"""Statements that leave the database as a scenario needs it."""

SET_ROSTERS = "UPDATE pancake_assignee SET is_active = %(on)s"
SET_KILL_SWITCH = """
    UPDATE app_setting
    SET app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', %(on)s::text::jsonb)
"""
SET_DELIVERED = """
    UPDATE hdb_catalog.event_log SET delivered = true WHERE (payload #>> '{data,new,id}')::bigint = (
        SELECT e.id FROM pancake_webhook_event AS e WHERE e.record_id = %(record)s
    )
"""
FAIL = (
    """
    UPDATE pancake_webhook_event SET
        status = 'failed', attempts = 1, next_attempt_at = now() - interval '1 minute',
        ingested_at = now() - interval '2 minutes', error_code = 'internal'
    WHERE record_id = %(record)s;
"""
    + SET_DELIVERED
)
ABANDON = (
    """
    UPDATE pancake_webhook_event SET
        status = 'ingested', attempts = 1, claim_id = gen_random_uuid(),
        ingested_at = now() - interval '5 minutes'
    WHERE record_id = %(record)s;
"""
    + SET_DELIVERED
)
LOCK_FOR_A_DEAD_ENGINE = """
    UPDATE pancake_webhook_event SET received_at = received_at - interval '5 minutes'
    WHERE record_id = %(record)s;
    UPDATE hdb_catalog.event_log SET locked = now() - interval '5 minutes'
    WHERE (payload #>> '{data,new,id}')::bigint = (
        SELECT e.id FROM pancake_webhook_event AS e WHERE e.record_id = %(record)s
    )
"""
AGE = """
    UPDATE pancake_webhook_event
    SET
        created_at = created_at - %(by)s, received_at = received_at - %(by)s,
        arrived_at = arrived_at - %(by)s, processed_at = processed_at - %(by)s,
        ingested_at = ingested_at - %(by)s
"""
