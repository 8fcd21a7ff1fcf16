-- Delete one batch of Hasura's old finished events of our event trigger, with their invocation logs. Hasura's open-source
-- edition does not clean up its event logs.
-- Returns one row: changed (number of events). Runs in the source database.
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
