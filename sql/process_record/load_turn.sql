-- Load what decides whether a repeated delivery waits for a turn, before its event is claimed.
-- Returns one row: paused, is_received, events_per_second (1 to 1000; 20 if the setting is missing or unreadable).
-- Relies on pk_pancake_webhook_event.
SELECT
    w.processing_paused AS paused,
    EXISTS (
        SELECT FROM public.pancake_webhook_event AS e
        -- || '' keeps the planner on the primary key, as in claim_event.
        WHERE e.id = %(id)s AND (e.status || '') = 'received'
    ) AS is_received,
    COALESCE(
        (
            SELECT
                least(greatest(substring(
                    a.app_settings -> 'pancake_integration' ->> 'replay_rate_per_second' FROM '^[0-9]{1,6}$'
                )::integer, 1), 1000)
            FROM public.app_setting AS a
            WHERE a.id = 1
        ),
        20
    ) AS events_per_second
FROM public.pancake_switch() AS w
