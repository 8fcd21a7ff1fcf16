-- Mark sources as announced to the admins, in the transaction that stores the notification.
-- Returns no rows. Relies on pk_pancake_source.
UPDATE public.pancake_source AS s
SET announced_at = %(now)s
WHERE s.id = ANY (%(ids)s::uuid[]) AND s.announced_at IS NULL
