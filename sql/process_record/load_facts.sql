-- Load what the decision needs of every lead, after its locks were taken. Open tickets are locked, so they stay open.
-- Returns one row. accounts, open_tickets, admins and managers are JSON arrays; contact_phone is the lead's phone, if a contact of
-- the account has it. roster_source_id is the first active source that has a roster (null = the default roster). `own_phones` are
-- of accounts that may be the customer's, and not of the lead: open tickets of other accounts with them are the customer's too.
-- Relies on account_normalized_phone_idx, account_phone_not_normalized_idx, uq_contact_book_primary_phone,
-- ix_pancake_webhook_event_phone, ix_pancake_webhook_event_phone_digest, ix_pancake_webhook_event_ticket, Diva's index on ticket (account_id).
WITH candidate AS (
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, NULL AS contact_phone, NULL::jsonb AS named
    FROM public.pancake_account_of_phone(%(phones)s, %(stored_digits)s) AS a
    UNION ALL
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, b.primary_phone,
        CASE WHEN f.is_found AND NOT f.is_named THEN jsonb_build_object('phones', f.named_phones, 'digests', f.named_digests) END
    FROM public.contact_book AS b
    JOIN public.account AS a ON a.id = b.account_id
    CROSS JOIN LATERAL public.pancake_phone_of_account(
        b.primary_phone, %(phone_digests)s::jsonb -> b.primary_phone, a.id, a.normalized_phone
    ) AS f
    WHERE
        b.primary_phone = ANY (%(phones)s)
        AND a.normalized_phone IS DISTINCT FROM b.primary_phone
        AND a.deleted_at IS NULL
        -- A former phone of the account leads to it no more. The caller compares digests, and the phone of an account whose phone
        -- is not normalized yet.
        AND (f.is_named OR NOT f.is_found OR f.named_digests <> '[]' OR f.named_phones <> '[]')
), known AS (
    -- The accounts of the record, and those found through a contact: others may have their phones, which the lead does not name.
    SELECT a.id, a.normalized_phone
    FROM public.account AS a
    WHERE a.id IN (%(record_account_id)s, (SELECT t.account_id FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s))
    UNION ALL
    SELECT c.id, c.normalized_phone FROM candidate AS c WHERE c.contact_phone IS NOT NULL
), customer AS (
    SELECT c.id FROM candidate AS c
    UNION
    SELECT a.id
    FROM known AS k
    JOIN public.account AS a ON a.id = k.id OR a.normalized_phone = k.normalized_phone
    WHERE a.deleted_at IS NULL
    UNION
    SELECT a.id FROM public.pancake_account_of_phone(%(own_phones)s, %(own_digits)s) AS a
), open_ticket AS (
    SELECT t.id, t.account_id, t.assignee_id, t.title, t.description, t.data -> 'pancake' AS fields, t.created_at
    FROM public.ticket AS t
    WHERE
        t.status IN ('new', 'in_progress')
        AND (t.account_id = ANY (ARRAY(SELECT c.id FROM customer AS c)) OR t.id = %(record_ticket_id)s)
        -- Tickets that the integration made, whatever their source is now. A forced replay may make an event name another ticket.
        AND (t.data ? 'pancake' OR EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.ticket_id = t.id))
    ORDER BY t.id
    FOR NO KEY UPDATE OF t
)
SELECT
    (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'id', c.id, 'normalized_phone', c.normalized_phone, 'phone_code', c.phone_code, 'phone_number', c.phone_number,
            'contact_phone', c.contact_phone, 'named', c.named, 'state', CASE WHEN c.phone_enabled THEN 'enabled' ELSE 'disabled' END
        ) ORDER BY c.created_at, c.id), '[]')
        FROM candidate AS c
    ) AS accounts,
    (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'id', t.id, 'account_id', t.account_id, 'assignee_id', t.assignee_id, 'title', t.title, 'description', t.description,
            'fields', t.fields,
            'account', (
                SELECT jsonb_build_object('normalized_phone', a.normalized_phone, 'phone_code', a.phone_code, 'phone_number', a.phone_number)
                FROM public.account AS a
                WHERE a.id = t.account_id AND a.deleted_at IS NULL
            ),
            'assignee_is_active', EXISTS (SELECT FROM public.staff AS s WHERE s.id = t.assignee_id AND s.is_active)
        ) ORDER BY t.created_at DESC, t.id), '[]')
        FROM open_ticket AS t
    ) AS open_tickets,
    (SELECT COALESCE(jsonb_agg(s.id ORDER BY s.id), '[]') FROM public.staff AS s WHERE s.role = public.pancake_staff_role('admin') AND s.is_active) AS admins,
    (SELECT COALESCE(jsonb_agg(s.id ORDER BY s.id), '[]') FROM public.staff AS s WHERE s.role = public.pancake_staff_role('manager') AND s.is_active) AS managers,
    (SELECT s.consent_mode FROM public.pancake_setting() AS s) AS consent_mode,
    (SELECT r.id::text FROM public.pancake_webhook_event AS e, public.pancake_roster_source(e.connection_id, e.source_ids) AS r WHERE e.id = %(id)s) AS roster_source_id,
    gen_random_uuid()::text AS new_account_id, gen_random_uuid()::text AS new_ticket_id
