-- Take the locks of records, in the order of their keys: the first of a lead's locks, kept until the transaction ends.
-- Every layer that stores or processes records takes them by this statement, so that no two wait for each other.
-- Returns one row per lock. Class 1 = record, 2 = phone, 3 = roster.
SELECT pg_advisory_xact_lock(1, k.key)
FROM (SELECT DISTINCT hashtext(unnest(%(record_ids)s::text[])) AS key ORDER BY key) AS k
