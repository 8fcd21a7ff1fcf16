-- Lock the turns of repeated deliveries against those of all processes, until the transaction ends.
-- Returns one row. Lock class 6 = turns; a transaction that takes it takes no other lock.
SELECT pg_advisory_xact_lock(6, 0)
