-- Let one dry run at a time hold the locks of many leads and rosters: two could each wait for the other. Lasts until the transaction ends.
-- Returns one row. Class 5 = dry run.
SELECT pg_advisory_xact_lock(5, 0)
