-- Take the session lock of the backfill, which is held until the session ends. Returns one row: locked.
-- Uses no table.
SELECT pg_try_advisory_lock(hashtext('backfill_normalized_phone')) AS locked
