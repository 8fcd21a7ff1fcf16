-- Find who has waited longest for a lock in this database, for at least `least`, and who holds it. It waits for no lock itself.
-- Returns at most one row: sessions (that wait), waiting_pid, waiting_since, blocking_pid, blocking_application (may be null).
-- pg_locks shows every role the locks of all; of other sessions a role without pg_monitor sees little else.
SELECT
    count(*) OVER () AS sessions,
    l.pid AS waiting_pid,
    l.waitstart AS waiting_since,
    b.pid AS blocking_pid,
    (SELECT a.application_name FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = b.pid) AS blocking_application
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS s ON s.pid = l.pid AND s.datname = current_database()
CROSS JOIN LATERAL (SELECT (pg_blocking_pids(l.pid))[1] AS pid) AS b
WHERE NOT l.granted AND l.waitstart < clock_timestamp() - %(least)s::interval
ORDER BY l.waitstart
LIMIT 1
