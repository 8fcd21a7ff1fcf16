-- Find which of Hasura's logs are in this database: its metadata may be in another one.
-- Returns one row: has_events, has_crons. Relies on nothing.
SELECT
    to_regclass('hdb_catalog.event_log') IS NOT NULL AS has_events,
    to_regclass('hdb_catalog.hdb_cron_event_invocation_logs') IS NOT NULL AS has_crons
