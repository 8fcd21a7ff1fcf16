-- Take the session lock of the deployment, which is held until the session ends.
-- Returns one row: locked. Relies on no table.
SELECT pg_try_advisory_lock(hashtext('leads golive deploy')) AS locked
