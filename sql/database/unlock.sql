-- Give the session's lock of a cron back.
-- Returns one row.
SELECT pg_advisory_unlock(7, hashtext(%(name)s)) AS unlocked
