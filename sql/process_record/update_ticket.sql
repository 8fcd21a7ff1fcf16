-- Update an open ticket; its owner does not change.
-- Returns nothing. Relies on ticket's primary key, uq_contact_book_primary_phone.
UPDATE public.ticket
SET
    title = %(title)s,
    description = %(description)s,
    account_id = %(account_id)s,
    contact_book_id = (SELECT c.id FROM public.contact_book AS c WHERE c.primary_phone = %(phone)s),
    data = COALESCE(data, '{}') || %(data)s::jsonb,
    updated_at = %(now)s
WHERE id = %(ticket_id)s
