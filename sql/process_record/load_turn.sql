-- Load what decides whether a repeated delivery waits for a turn, before its event is claimed.
-- Returns one row: paused, is_received, events_per_second. Relies on pk_pancake_webhook_event.
SELECT
    s.processing_paused AS paused,
    EXISTS (
        SELECT FROM public.pancake_webhook_event AS e
        -- || '' keeps the planner on the primary key, as in claim_event.
        WHERE e.id = %(id)s AND (e.status || '') = 'received'
    ) AS is_received,
    s.replay_rate_per_second AS events_per_second
FROM public.pancake_setting() AS s
