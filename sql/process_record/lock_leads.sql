-- Take the locks of leads: their records, then their phones, each in the order of their keys. They last until the transaction ends.
-- Returns one row per lock. Class 1 = record, 2 = phone, 3 = roster.
SELECT pg_advisory_xact_lock(k.class, k.key)
FROM (
    SELECT DISTINCT class, hashtext(name) AS key
    FROM (
        SELECT 1 AS class, unnest(%(record_ids)s::text[]) AS name
        UNION ALL
        SELECT 2, unnest(%(phones)s::text[])
    ) AS n
    ORDER BY class, key
) AS k
