-- Check that the database answers.
-- Returns one row: one.
SELECT 1 AS one
