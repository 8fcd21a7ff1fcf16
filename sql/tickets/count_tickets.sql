-- Count the tickets to move. Returns one row: waiting.
-- Reads the whole table unless Diva has an index on ticket (source_id).
SELECT count(*) AS waiting
FROM public.ticket AS t
WHERE t.source_id = %(from_source)s AND (NOT %(only_marked)s OR t.data ? 'pancake_moved_from')
