-- Take the locks of leads' phones, in the order of their keys, kept until the transaction ends. The phones that a record had
-- before belong to them: its ticket may move from one customer to another. So do those of the customers whose contacts have
-- these phones. A statement of its own, after the one that locks the records, so that it sees what was committed until then.
-- Returns one row per lock: phones. Class 2 = phone.
-- Relies on uq_pancake_webhook_event_identity, uq_contact_book_primary_phone, account's primary key.
WITH applied AS (
    SELECT e.normalized_phone, e.account_id
    FROM unnest(%(record_ids)s::text[]) AS r (record_id)
    CROSS JOIN LATERAL (
        SELECT w.normalized_phone, w.account_id
        FROM public.pancake_webhook_event AS w
        WHERE w.record_id = r.record_id AND w.processed_at IS NOT NULL AND w.outcome <> 'stale'
        ORDER BY w.modified_on DESC NULLS LAST, w.processed_at DESC
        LIMIT 1
    ) AS e
)
SELECT pg_advisory_xact_lock(2, k.key), k.phones
FROM (
    SELECT hashtext(n.phone) AS key, array_agg(DISTINCT n.phone) AS phones
    FROM (
        SELECT unnest(%(phones)s::text[]) AS phone
        UNION ALL
        SELECT a.normalized_phone FROM applied AS a
        UNION ALL
        SELECT c.normalized_phone FROM applied AS a JOIN public.account AS c ON c.id = a.account_id
        UNION ALL
        SELECT c.normalized_phone
        FROM public.contact_book AS b
        JOIN public.account AS c ON c.id = b.account_id
        WHERE b.primary_phone = ANY (%(phones)s)
    ) AS n
    WHERE n.phone IS NOT NULL
    GROUP BY key
    ORDER BY key
) AS k
