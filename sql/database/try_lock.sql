-- Take the session's lock of a cron or of replaying, so that two of one name never overlap, whatever process has them.
-- Returns one row: locked. Class 7 = crons and replaying; the lock ends with the session if its process dies.
SELECT pg_try_advisory_lock(7, hashtext(%(name)s)) AS locked
