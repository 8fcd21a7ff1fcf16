-- Lock a roster (null source = the default roster), until the transaction ends: always the last of a lead's locks.
-- Returns one row. Lock class 3 = roster.
SELECT pg_advisory_xact_lock(3, hashtext(COALESCE(%(roster_source_id)s::text, 'default')))
