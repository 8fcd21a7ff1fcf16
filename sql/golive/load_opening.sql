-- Load what opens the pilot: the switches, the members of rosters, and whether a lead became a ticket.
-- Returns one row: is_held (kill switch or pause), active (names of active sources), members, is_waiting (a lead was held by the
-- kill switch), is_processed (an event made a ticket).
-- Relies on the settings, pancake_source and pancake_assignee, which are small, and on ix_pancake_webhook_event_ticket, …_held.
SELECT
    s.kill_switch OR s.processing_paused AS is_held,
    COALESCE((
        SELECT array_agg(COALESCE(p.name, p.pancake_source_id) ORDER BY p.name)
        FROM public.pancake_source AS p
        WHERE p.is_active AND NOT p.is_removed
    ), '{}') AS active,
    (SELECT count(*) FROM public.pancake_assignee AS a WHERE a.is_active) AS members,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.status = 'skipped_kill_switch') AS is_waiting,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.ticket_id IS NOT NULL) AS is_processed
FROM public.pancake_switch() AS s
