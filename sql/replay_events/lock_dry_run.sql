-- Lock dry runs against each other, until the transaction ends: two that lock many leads and rosters could deadlock.
-- Returns one row. Lock class 5 = dry run.
SELECT pg_advisory_xact_lock(5, 0)
