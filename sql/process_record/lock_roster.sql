-- Take the lock of a roster (null source = the default one): the last of all locks, kept until the transaction ends.
-- Returns one row. Class 3 = roster.
SELECT pg_advisory_xact_lock(3, hashtext(COALESCE(%(roster_source_id)s::text, 'default')))
