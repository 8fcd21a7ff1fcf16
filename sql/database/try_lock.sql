-- Take the session lock of a cron or of replaying, so that two runs of one name never overlap in any process.
-- Returns one row: locked. Lock class 7 = crons and replaying. PostgreSQL releases the lock when the session ends.
SELECT pg_try_advisory_lock(7, hashtext(%(name)s)) AS locked
