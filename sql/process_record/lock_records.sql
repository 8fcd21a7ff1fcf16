-- Lock records in the order of their lock keys, until the transaction ends: always the first of a lead's locks.
-- Webhook, polling, reconciliation and processing all use this statement, so they cannot deadlock.
-- Returns one row per lock. Lock classes: 1 = record, 2 = phone, 3 = roster.
SELECT pg_advisory_xact_lock(1, k.key)
FROM (SELECT DISTINCT hashtext(unnest(%(record_ids)s::text[])) AS key ORDER BY key) AS k
