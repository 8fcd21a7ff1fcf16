-- Load the rows that a plan writes, with the columns that the integration knows; null for a row that does not exist.
-- Returns one row of JSON objects; roster and other_contacts map ids to their rows.
-- Relies on the primary keys, uq_contact_book_primary_phone, uq_pancake_assignee.
SELECT
    (
        SELECT jsonb_build_object(
            'id', a.id, 'display_name', a.display_name, 'phone_code', a.phone_code, 'phone_number', a.phone_number,
            'phone_enabled', a.phone_enabled, 'normalized_phone', a.normalized_phone, 'pancake_metadata', a.pancake_metadata
        )
        FROM public.account AS a
        WHERE a.id = %(account_id)s::uuid
    ) AS account,
    (
        SELECT jsonb_build_object(
            'id', c.id, 'account_id', c.account_id, 'primary_phone', c.primary_phone, 'name', c.name, 'email', c.email,
            'address', c.address
        )
        FROM public.contact_book AS c
        WHERE c.primary_phone = %(phone)s
    ) AS contact,
    (
        SELECT COALESCE(jsonb_object_agg(c.id, jsonb_build_object(
            'id', c.id, 'account_id', c.account_id, 'primary_phone', c.primary_phone, 'name', c.name, 'email', c.email,
            'address', c.address
        )), '{}')
        FROM public.contact_book AS c
        WHERE c.primary_phone = ANY (%(other_phones)s)
    ) AS other_contacts,
    (
        SELECT jsonb_build_object(
            'id', t.id, 'title', t.title, 'description', t.description, 'source_id', t.source_id,
            'account_id', t.account_id, 'contact_book_id', t.contact_book_id, 'assignee_id', t.assignee_id,
            'status', t.status, 'data', t.data
        )
        FROM public.ticket AS t
        WHERE t.id = %(ticket_id)s::uuid
    ) AS ticket,
    (
        SELECT jsonb_build_object(
            'account_id', s.account_id, 'consent_data', s.consent_data, 'consent_version', s.consent_version
        )
        FROM public.customer_consent AS s
        WHERE s.account_id = %(account_id)s::uuid
    ) AS consent,
    (
        SELECT COALESCE(jsonb_object_agg(r.id, jsonb_build_object(
            'id', r.id, 'source_id', r.source_id, 'staff_id', r.staff_id, 'assigned_count', r.assigned_count,
            'total_assigned', r.total_assigned, 'last_assigned_seq', r.last_assigned_seq, 'was_available', r.was_available,
            'assigned_on', r.assigned_on, 'assigned_today', r.assigned_today
        )), '{}')
        FROM public.pancake_assignee AS r
        WHERE %(choosing)s
            AND (r.source_id = %(roster_source_id)s::uuid OR (%(roster_source_id)s::uuid IS NULL AND r.source_id IS NULL))
    ) AS roster
