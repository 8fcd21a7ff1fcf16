-- Find the events of a customer: those whose phone it is, those of the given records and ids, and all events of their records.
-- Returns id, connection_id, table_name (lead, account or contact), record_id, account_id, ticket_id, phones, phone_digests; by id.
-- Relies on nothing: it reads all events, since a phone may also be one of several of a lead, or a digest.
WITH event AS (
    SELECT e.*, CASE WHEN e.table_name IN ('account', 'contact') THEN e.table_name ELSE 'lead' END AS in_table
    FROM public.pancake_webhook_event AS e
), record AS (
    SELECT e.connection_id, e.in_table, e.record_id
    FROM event AS e
    WHERE
        e.record_id IS NOT NULL
        AND (
            e.normalized_phone = %(phone)s
            OR e.evidence -> 'phone' -> 'usable' ? %(phone)s
            OR e.evidence #>> '{phone,digests,primary}' = ANY (%(phone_digests)s)
            OR e.evidence #> '{phone,digests,usable}' ?| %(phone_digests)s
            OR e.id = ANY (%(ids)s)
        )
    UNION
    SELECT %(connection_id)s::uuid, %(table_name)s, %(record_id)s
)
SELECT
    e.id, e.connection_id, e.in_table AS table_name, e.record_id, e.account_id, e.ticket_id,
    ARRAY(
        SELECT e.normalized_phone WHERE e.normalized_phone IS NOT NULL
        UNION
        SELECT p.phone FROM jsonb_array_elements_text(e.evidence -> 'phone' -> 'usable') AS p (phone)
    ) AS phones,
    COALESCE(e.evidence #> '{phone,digests,usable}', '[]') AS phone_digests
FROM event AS e
WHERE
    e.id = ANY (%(ids)s)
    OR EXISTS (
        SELECT FROM record AS r
        WHERE r.record_id = e.record_id AND r.connection_id = e.connection_id AND r.in_table = e.in_table
    )
ORDER BY e.id
