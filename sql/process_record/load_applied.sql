-- Load what was applied of a record before, after the record was locked.
-- Returns one row, or none if nothing was applied: the newest times of all applied versions, and the version applied last;
-- known_phones, those of its customer in Diva, if retention emptied its own. Relies on uq_pancake_webhook_event_identity,
-- account's primary key, Diva's index on contact_book (account_id).
SELECT
    v.newest_modified_on, v.newest_arrived_at, v.untimed_arrived_at, v.last_arrived_at, v.had_future_time, v.outcome,
    v.evidence -> 'digests' AS digests, v.ticket_id::text AS ticket_id, v.account_id::text AS account_id, v.normalized_phone AS phone,
    COALESCE(v.evidence -> 'phone' -> 'usable', to_jsonb(array_remove(ARRAY[v.normalized_phone], NULL))) AS usable_phones,
    v.evidence #> '{phone,digests}' AS phone_digests,
    CASE WHEN v.normalized_phone IS NULL THEN ARRAY(
        SELECT a.normalized_phone FROM public.account AS a WHERE a.id = v.account_id AND a.normalized_phone IS NOT NULL
        UNION
        SELECT c.primary_phone FROM public.contact_book AS c WHERE c.account_id = v.account_id AND c.primary_phone IS NOT NULL
    ) ELSE '{}' END AS known_phones
FROM (
    SELECT
        e.*,
        max(e.modified_on) OVER () AS newest_modified_on,
        first_value(e.arrived_at) OVER (ORDER BY e.modified_on DESC NULLS LAST, e.arrived_at DESC) AS newest_arrived_at,
        max(e.arrived_at) FILTER (WHERE e.modified_on IS NULL) OVER () AS untimed_arrived_at,
        max(e.arrived_at) OVER () AS last_arrived_at,
        bool_or(e.evidence ? 'future_time') OVER () AS had_future_time
    FROM public.pancake_applied_version(%(connection_id)s, %(table_name)s, %(record_id)s) AS e
) AS v
ORDER BY v.applied_at DESC
LIMIT 1
