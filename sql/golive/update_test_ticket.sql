-- Mark the ticket of a smoke test as such, and close it.
-- Returns nothing. Relies on the primary key of ticket.
UPDATE public.ticket AS t
SET status = 'cancelled', data = t.data || '{"golive_smoke": true}', updated_at = now()
WHERE t.id = %(ticket_id)s
