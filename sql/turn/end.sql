-- End the turn that this session took.
-- Returns one row. Class 4 = turn.
SELECT pg_advisory_unlock(4, hashtext(%(name)s)) AS ended
