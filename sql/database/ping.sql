-- Whether the database answers.
-- Returns one row.
SELECT 1 AS one
