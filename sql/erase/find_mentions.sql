-- Find stored bodies that may name a phone as it was typed: JSON that matches the pattern, and all bodies that are not JSON.
-- Returns id, payload (text), raw; at most `limit` rows. Relies on nothing: it reads all events.
SELECT e.id, e.payload::text AS payload, e.raw
FROM public.pancake_webhook_event AS e
WHERE e.payload::text ~ %(pattern)s OR e.raw IS NOT NULL
ORDER BY e.id
LIMIT %(limit)s
