-- Load what the decision needs of a record that was applied before: the accounts of its ticket and of the version applied last,
-- whatever phone they have now, and whether another record's version applied last names its ticket too.
-- Returns one row: ticket_account and applied_account (JSON objects or null), ticket_is_shared.
-- Relies on ix_pancake_webhook_event_ticket, uq_pancake_webhook_event_identity, the primary keys of account and ticket.
WITH known AS (
    SELECT
        a.id,
        jsonb_build_object(
            'id', a.id, 'normalized_phone', a.normalized_phone, 'phone_code', a.phone_code, 'phone_number', a.phone_number,
            'contact_phone', NULL,
            'state', CASE WHEN a.deleted_at IS NOT NULL THEN 'deleted' WHEN a.phone_enabled THEN 'enabled' ELSE 'disabled' END
        ) AS account
    FROM public.account AS a
    WHERE a.id = %(record_account_id)s OR a.id = (SELECT t.account_id FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s)
)
SELECT
    (
        SELECT k.account FROM known AS k JOIN public.ticket AS t ON t.account_id = k.id WHERE t.id = %(record_ticket_id)s
    ) AS ticket_account,
    (SELECT k.account FROM known AS k WHERE k.id = %(record_account_id)s) AS applied_account,
    EXISTS (
        SELECT
        FROM (
            SELECT DISTINCT e.connection_id, e.table_name, e.record_id
            FROM public.pancake_webhook_event AS e
            WHERE e.ticket_id = %(record_ticket_id)s
        ) AS r
        CROSS JOIN LATERAL public.pancake_applied_event(r.connection_id, r.table_name, r.record_id) AS l
        WHERE
            l.ticket_id = %(record_ticket_id)s
            AND (r.connection_id, r.record_id) IS DISTINCT FROM (%(connection_id)s, %(record_id)s)
    ) AS ticket_is_shared
