-- Take the turn at something that only one process at a time may do. It lasts until turn/end or the end of the session.
-- Returns one row. Class 4 = turn.
SELECT pg_try_advisory_lock(4, hashtext(%(name)s)) AS taken
