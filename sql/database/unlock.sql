-- Release the session lock of a cron or of replaying.
-- Returns one row: unlocked.
SELECT pg_advisory_unlock(7, hashtext(%(name)s)) AS unlocked
