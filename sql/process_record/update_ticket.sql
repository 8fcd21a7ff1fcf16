-- Update an open ticket; its owner does not change. A text that is null is kept.
-- Returns nothing. Relies on ticket's primary key, uq_contact_book_primary_phone.
UPDATE public.ticket AS t
SET
    title = COALESCE(%(title)s, t.title),
    description = COALESCE(%(description)s, t.description),
    account_id = %(account_id)s,
    contact_book_id = CASE
        WHEN %(moves)s OR t.contact_book_id IS NULL
            THEN (SELECT c.id FROM public.contact_book AS c WHERE c.primary_phone = %(phone)s)
        ELSE t.contact_book_id
    END,
    data = COALESCE(t.data, '{}') || %(data)s::jsonb,
    updated_at = %(now)s
WHERE t.id = %(ticket_id)s
