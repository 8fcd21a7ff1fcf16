-- Delete one batch of the engine's old events of our trigger that are finished, with the log of their deliveries.
-- Returns one row: changed (events). Runs in the source database; the engine's open-source edition has no cleaner.
WITH deleted AS (
    DELETE FROM hdb_catalog.event_log AS l
    WHERE l.id IN (
        SELECT o.id
        FROM hdb_catalog.event_log AS o
        WHERE
            o.trigger_name = 'pancake_webhook_event_status_update'
            AND o.created_at < (%(before)s::timestamptz AT TIME ZONE 'UTC')
            AND (o.delivered OR o.error OR o.archived)
            AND o.locked IS NULL
        LIMIT %(limit)s
    )
    RETURNING l.id
), logs AS (
    DELETE FROM hdb_catalog.event_invocation_logs AS i WHERE i.event_id IN (SELECT d.id FROM deleted AS d)
)
SELECT count(*) AS changed FROM deleted
