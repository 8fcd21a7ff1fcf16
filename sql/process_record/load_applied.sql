-- Load what was applied of a record before, and whether its customer was erased, after the record and its phones were locked.
-- Returns one row: is_erased, and of what was applied the newest times of all versions and the version applied last, null if
-- nothing was; known_phones, those of its customer in Diva, if retention emptied its own. Relies on pk_pancake_webhook_event,
-- ix_customer_erasure_digest, uq_pancake_webhook_event_identity, account's primary key, Diva's index on contact_book (account_id).
SELECT
    EXISTS (
        SELECT FROM public.pancake_erasure(
            %(erasure_digests)s, c.connection_id, %(table_name)s,
            COALESCE(c.modified_on, CASE c.origin WHEN 'webhook' THEN c.arrived_at ELSE '-infinity' END)
        )
    ) AS is_erased,
    v.newest_modified_on, v.newest_arrived_at, v.untimed_arrived_at, v.last_arrived_at, v.had_future_time, v.outcome,
    v.evidence -> 'digests' AS digests, v.ticket_id::text AS ticket_id, v.account_id::text AS account_id, v.normalized_phone AS phone,
    COALESCE(v.evidence -> 'phone' -> 'usable', to_jsonb(array_remove(ARRAY[v.normalized_phone], NULL))) AS usable_phones,
    COALESCE(v.evidence #> '{phone,typed}', '{}') AS typed_phones, v.evidence #> '{phone,digests}' AS phone_digests,
    CASE WHEN v.normalized_phone IS NULL THEN ARRAY(
        SELECT a.normalized_phone FROM public.account AS a WHERE a.id = v.account_id AND a.normalized_phone IS NOT NULL
        UNION
        SELECT b.primary_phone FROM public.contact_book AS b WHERE b.account_id = v.account_id AND b.primary_phone IS NOT NULL
    ) ELSE '{}' END AS known_phones
FROM public.pancake_webhook_event AS c
LEFT JOIN LATERAL (
    SELECT
        e.*,
        max(e.modified_on) OVER () AS newest_modified_on,
        first_value(e.arrived_at) OVER (ORDER BY e.modified_on DESC NULLS LAST, e.arrived_at DESC) AS newest_arrived_at,
        max(e.arrived_at) FILTER (WHERE e.modified_on IS NULL) OVER () AS untimed_arrived_at,
        max(e.arrived_at) OVER () AS last_arrived_at,
        bool_or(e.evidence ? 'future_time') OVER () AS had_future_time
    FROM public.pancake_applied_version(%(connection_id)s, %(table_name)s, %(record_id)s) AS e
    ORDER BY e.applied_at DESC
    LIMIT 1
) AS v ON true
WHERE c.id = %(id)s
