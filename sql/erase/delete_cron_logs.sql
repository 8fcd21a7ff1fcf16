-- Delete Hasura's logs of our crons that name a phone.
-- Returns one row: deleted. Runs in Hasura's metadata database; reads all logs of our crons.
WITH logs AS (
    DELETE FROM hdb_catalog.hdb_cron_event_invocation_logs AS i
    USING hdb_catalog.hdb_cron_events AS c
    WHERE
        c.id = i.event_id
        AND c.trigger_name LIKE 'pancake\_%%'
        AND concat_ws(' ', i.request::text, i.response::text) ~ %(pattern)s
    RETURNING i.id
)
SELECT count(*) AS deleted FROM logs
