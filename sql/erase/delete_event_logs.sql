-- Delete Hasura's logs of finished events of a customer's rows, and what was sent and answered for all of them.
-- Returns one row: deleted (number of log rows). Runs in the source database; reads all events of our trigger.
WITH event AS (
    SELECT l.id, (l.delivered OR l.error OR l.archived) AND l.locked IS NULL AS is_finished
    FROM hdb_catalog.event_log AS l
    WHERE
        l.trigger_name = 'pancake_webhook_event_status_update'
        AND l.payload -> 'data' -> 'new' ->> 'id' = ANY (%(ids)s::text[])
), logs AS (
    DELETE FROM hdb_catalog.event_invocation_logs AS i WHERE i.event_id IN (SELECT e.id FROM event AS e) RETURNING i.id
), events AS (
    DELETE FROM hdb_catalog.event_log AS l WHERE l.id IN (SELECT e.id FROM event AS e WHERE e.is_finished) RETURNING l.id
)
SELECT (SELECT count(*) FROM logs) + (SELECT count(*) FROM events) AS deleted
