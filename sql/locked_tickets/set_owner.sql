-- Give a ticket another owner than the one it had (null = none); the caller holds the ticket's row lock.
-- Returns nothing. Relies on the primary key of Diva's ticket table.
UPDATE public.ticket AS t
SET assignee_id = %(owner)s, updated_at = %(now)s
WHERE t.id = %(ticket_id)s AND t.assignee_id IS NOT DISTINCT FROM %(former_owner)s
