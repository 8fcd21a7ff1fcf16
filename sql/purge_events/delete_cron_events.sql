-- Delete one batch of the engine's old ticks of our crons that are finished, with the log of their deliveries.
-- Returns one row: changed (ticks). Runs in the engine's metadata database.
WITH deleted AS (
    DELETE FROM hdb_catalog.hdb_cron_events AS c
    WHERE c.id IN (
        SELECT o.id
        FROM hdb_catalog.hdb_cron_events AS o
        WHERE
            o.trigger_name = ANY (%(triggers)s)
            AND o.scheduled_time < %(before)s
            AND o.status IN ('delivered', 'error', 'dead')
        LIMIT %(limit)s
    )
    RETURNING c.id
), logs AS (
    DELETE FROM hdb_catalog.hdb_cron_event_invocation_logs AS i WHERE i.event_id IN (SELECT d.id FROM deleted AS d)
)
SELECT count(*) AS changed FROM deleted
