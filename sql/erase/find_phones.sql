-- Of the phones of a customer's events, find those that no event of another record names.
-- Returns phone. Relies on ix_pancake_webhook_event_phone.
SELECT p.phone
FROM unnest(%(phones)s::text[]) AS p (phone)
WHERE NOT EXISTS (
    SELECT FROM public.pancake_webhook_event AS e WHERE e.normalized_phone = p.phone AND e.id <> ALL (%(ids)s)
)
ORDER BY p.phone
