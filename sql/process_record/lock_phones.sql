-- Lock the phones of leads in the order of their lock keys, until the transaction ends: those that the leads name, those of each
-- record's version applied last, of its account and of its ticket's account (the ticket may move to another customer), and those
-- of the accounts whose contacts have these phones. Separate from lock_records: it must see what that lock waited for.
-- Returns one row per lock: phones. Lock class 2 = phone.
-- Relies on uq_pancake_webhook_event_identity, uq_contact_book_primary_phone, the primary keys of account and ticket,
-- Diva's index on contact_book (account_id).
WITH applied AS (
    SELECT e.normalized_phone, e.evidence, e.account_id, e.ticket_id
    FROM unnest(%(connection_ids)s::uuid[], %(table_names)s::text[], %(record_ids)s::text[]) AS r (connection_id, table_name, record_id)
    CROSS JOIN LATERAL public.pancake_applied_event(r.connection_id, r.table_name, r.record_id) AS e
), named AS (
    SELECT unnest(%(phones)s::text[]) AS phone
    UNION ALL
    SELECT a.normalized_phone FROM applied AS a
    UNION ALL
    SELECT p.phone FROM applied AS a CROSS JOIN LATERAL jsonb_array_elements_text(a.evidence -> 'phone' -> 'usable') AS p (phone)
    UNION ALL
    -- Retention emptied the phones of the version; its customer's contacts have them.
    SELECT b.primary_phone
    FROM applied AS a
    JOIN public.contact_book AS b ON b.account_id = a.account_id
    WHERE a.normalized_phone IS NULL
)
SELECT pg_advisory_xact_lock(2, k.key), k.phones
FROM (
    SELECT hashtext(n.phone) AS key, array_agg(DISTINCT n.phone) AS phones
    FROM (
        SELECT n.phone FROM named AS n
        UNION ALL
        SELECT c.normalized_phone FROM applied AS a JOIN public.account AS c ON c.id = a.account_id
        UNION ALL
        SELECT c.normalized_phone
        FROM applied AS a
        JOIN public.ticket AS t ON t.id = a.ticket_id
        JOIN public.account AS c ON c.id = t.account_id
        UNION ALL
        SELECT c.normalized_phone
        FROM public.contact_book AS b
        JOIN public.account AS c ON c.id = b.account_id
        WHERE b.primary_phone = ANY (ARRAY(SELECT n.phone FROM named AS n))
    ) AS n
    WHERE n.phone IS NOT NULL
    GROUP BY key
    ORDER BY key
) AS k
