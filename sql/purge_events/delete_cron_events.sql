-- Delete one batch of Hasura's old finished events of our cron triggers, with their invocation logs.
-- Returns one row: changed (number of cron events). Runs in Hasura's metadata database.
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
