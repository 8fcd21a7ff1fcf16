-- Take the locks of some records in the order of their keys, as processing does: class 1 = record.
-- Returns one row per lock; they last until the transaction ends.
SELECT pg_advisory_xact_lock(1, k.key)
FROM (SELECT DISTINCT hashtext(r.id) AS key FROM unnest(%(record_ids)s::text[]) AS r (id) ORDER BY key) AS k
