-- Find the session that has waited longest for a lock held by session pid.
-- Returns at most one row: pid, waited_ms. Reads pg_locks, which every role may read.
SELECT
    l.pid,
    extract(EPOCH FROM clock_timestamp() - l.waitstart)::float8 * 1000 AS waited_ms
FROM pg_catalog.pg_locks AS l
WHERE
    NOT l.granted
    AND l.waitstart IS NOT NULL
    AND %(pid)s = ANY (pg_catalog.pg_blocking_pids(l.pid))
ORDER BY l.waitstart
LIMIT 1
