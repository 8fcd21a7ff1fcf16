-- List the tickets of other sources that people created in the window, for the response time before the pilot. An unanswered ticket
-- ends with the window, as in kpi/load_response; a ticket that was closed without a response too.
-- Returns created_at, first_response_at, the oldest first. Reads the whole table: Diva has no index on created_at.
SELECT t.created_at, COALESCE(t.first_response_at, greatest(%(to)s, t.created_at)) AS first_response_at
FROM public.ticket AS t
WHERE
    t.created_at >= %(from)s
    AND t.created_at < %(to)s
    AND t.source_id IS DISTINCT FROM 'ticket_source_pancake'
    AND (%(sources)s::text[] IS NULL OR t.source_id = ANY (%(sources)s))
ORDER BY t.created_at
LIMIT %(limit)s
