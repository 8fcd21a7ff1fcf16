-- Count the leads of the last ten minutes and their new tickets, and the new tickets that are usual in ten minutes of this hour.
-- Returns one row: leads, tickets, usual (median of the days among the last seven that had any in this hour; null without one).
-- Relies on ix_pancake_webhook_event_created_at: it reads ten minutes and seven hours.
SELECT r.leads, r.tickets, u.usual::float AS usual
FROM (
    SELECT count(*) AS leads, count(*) FILTER (WHERE e.outcome = 'ticket_created') AS tickets
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '10 minutes'
) AS r
CROSS JOIN (
    -- The median, as of the webhook's usual deliveries (metrics/count_webhook_hours): a day of a campaign is not usual.
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY d.tickets) FILTER (WHERE d.tickets > 0) / 6 AS usual
    FROM (
        SELECT count(e.id) AS tickets
        FROM generate_series(1, 7) AS b (days)
        LEFT JOIN LATERAL (
            SELECT i.id
            FROM public.pancake_webhook_event AS i
            WHERE
                i.created_at >= date_trunc('hour', %(now)s::timestamptz) - b.days * interval '24 hours'
                AND i.created_at < date_trunc('hour', %(now)s::timestamptz) - b.days * interval '24 hours' + interval '1 hour'
                AND i.outcome = 'ticket_created'
        ) AS e ON true
        GROUP BY b.days
    ) AS d
) AS u
