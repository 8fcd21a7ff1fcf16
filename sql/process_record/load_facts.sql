-- Load everything that the decision needs, after the locks of the lead were taken. Open tickets are locked, so they stay open.
-- Returns one row: accounts (contact_phone = the lead's phone, if only the account's contact has it), open_tickets and admins are
-- JSON arrays; applied, the record's newest applied event, is an object or null; roster_source_id is the first active source with
-- a roster of its own (null = the default roster). Relies on account_normalized_phone_idx, account_phone_not_normalized_idx,
-- uq_contact_book_primary_phone, ix_pancake_webhook_event_phone, uq_pancake_webhook_event_identity, Diva's index on
-- ticket (account_id).
WITH candidate AS (
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, NULL AS contact_phone
    FROM public.account AS a
    WHERE a.normalized_phone = ANY (%(phones)s) AND a.deleted_at IS NULL
    UNION ALL
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, NULL
    FROM public.account AS a
    WHERE
        a.normalized_phone IS NULL
        AND a.phone_number IS NOT NULL
        AND regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (%(stored_digits)s)
        AND a.deleted_at IS NULL
    UNION ALL
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, b.primary_phone
    FROM public.contact_book AS b
    JOIN public.account AS a ON a.id = b.account_id
    WHERE
        b.primary_phone = ANY (%(phones)s)
        AND a.normalized_phone <> b.primary_phone
        AND a.deleted_at IS NULL
        -- A lead named this phone together with the account's current phone, so it is not a former phone of the account.
        AND EXISTS (
            SELECT FROM public.pancake_webhook_event AS e
            WHERE e.normalized_phone = b.primary_phone AND e.account_id = a.id AND e.evidence -> 'phone' -> 'usable' ? a.normalized_phone
        )
), applied AS (
    SELECT
        e.modified_on, e.payload::text AS payload, e.evidence -> 'digests' AS digests, e.ticket_id, e.account_id, e.normalized_phone
    FROM public.pancake_applied_event(%(record_id)s) AS e
), open_ticket AS (
    SELECT t.id, t.account_id, t.assignee_id, t.created_at
    FROM public.ticket AS t
    WHERE
        t.source_id = 'ticket_source_pancake'
        AND t.status IN ('new', 'in_progress')
        AND (t.account_id = ANY (ARRAY(SELECT c.id FROM candidate AS c)) OR t.id = (SELECT a.ticket_id FROM applied AS a))
    ORDER BY t.id
    FOR NO KEY UPDATE OF t
)
SELECT
    (SELECT COALESCE(jsonb_agg(to_jsonb(c) ORDER BY c.created_at, c.id), '[]') FROM candidate AS c) AS accounts,
    (SELECT to_jsonb(a) FROM applied AS a) AS applied,
    (SELECT COALESCE(jsonb_agg(to_jsonb(t) ORDER BY t.created_at DESC, t.id), '[]') FROM open_ticket AS t) AS open_tickets,
    (
        SELECT COALESCE(jsonb_agg(s.id ORDER BY s.id), '[]') FROM public.staff AS s WHERE s.role = 'admin' AND s.is_active
    ) AS admins,
    (SELECT app_settings -> 'pancake_integration' ->> 'consent_mode' FROM public.app_setting WHERE id = 1) AS consent_mode,
    (
        SELECT s.id::text
        FROM public.pancake_webhook_event AS e
        CROSS JOIN LATERAL public.pancake_active_source(e.connection_id, e.source_ids) AS s
        WHERE e.id = %(id)s AND EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active)
        ORDER BY array_position(e.source_ids, s.pancake_source_id)
        LIMIT 1
    ) AS roster_source_id,
    gen_random_uuid()::text AS new_account_id,
    gen_random_uuid()::text AS new_ticket_id
