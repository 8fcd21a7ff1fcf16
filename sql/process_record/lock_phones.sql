-- Lock the phones of leads in the order of their lock keys, until the transaction ends: the phones that the leads name, the
-- phone and account of each record's applied event (its ticket may move to another customer), and the accounts of contacts
-- with these phones. Separate from lock_records, because it must see what was committed before those locks were granted.
-- Returns one row per lock: phones. Lock class 2 = phone.
-- Relies on uq_pancake_webhook_event_identity, uq_contact_book_primary_phone, account's primary key.
WITH applied AS (
    SELECT e.normalized_phone, e.account_id
    FROM unnest(%(record_ids)s::text[]) AS r (record_id)
    CROSS JOIN LATERAL public.pancake_applied_event(r.record_id) AS e
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
