-- Insert a ticket with its owner set, so that Diva's own distribution does not assign it.
-- Returns nothing. Relies on uq_contact_book_primary_phone.
INSERT INTO public.ticket (
    id, title, description, source_id, account_id, contact_book_id, assignee_id, status, data, created_at, updated_at
)
SELECT
    %(ticket_id)s, %(title)s, %(description)s, 'ticket_source_pancake', %(account_id)s,
    (SELECT c.id FROM public.contact_book AS c WHERE c.primary_phone = %(phone)s),
    %(assignee_id)s, 'new', %(data)s::jsonb, %(now)s, %(now)s
