-- Count the sessions of this database that have waited for a lock for more than a second.
-- Returns one row: value. Relies on pg_stat_activity.
SELECT count(*) AS value
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' AND a.query_start < now() - interval '1 second'
