-- name: tickets/count_tickets
-- Count the tickets to move. Returns one row: waiting.
-- Reads the whole table unless Diva has an index on ticket (source_id).
SELECT count(*) AS waiting
FROM public.ticket AS t
WHERE t.source_id = %(from_source)s AND (NOT %(only_marked)s OR t.data ? 'pancake_moved_from')

-- name: tickets/update_tickets
-- Move the next tickets from one source to another. Each ticket keeps its former source in data, until it is moved back.
-- Rows locked by another session are left for the next call. Returns one row: moved.
-- Reads the whole table unless Diva has an index on ticket (source_id).
WITH free AS (
    SELECT t.id
    FROM public.ticket AS t
    WHERE
        t.source_id = %(from_source)s
        AND (NOT %(only_marked)s OR t.data ? 'pancake_moved_from')
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), moved AS (
    UPDATE public.ticket AS t
    SET
        source_id = %(to_source)s,
        data = CASE
            WHEN %(only_marked)s THEN t.data - 'pancake_moved_from'
            ELSE t.data || jsonb_build_object('pancake_moved_from', t.source_id)
        END
    FROM free AS f
    WHERE t.id = f.id
    RETURNING t.id
)
SELECT count(*) AS moved
FROM moved AS m
