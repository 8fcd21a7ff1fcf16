-- Count those of some events that are not at rest, and say whether processing is paused.
-- Returns one row: events, processing_paused. Relies on pk_pancake_webhook_event.
SELECT
    (
        SELECT count(*)
        FROM public.pancake_webhook_event AS e
        -- || '' keeps the planner on the primary key, as in claim_event.
        WHERE e.id = ANY (%(ids)s) AND (e.status || '') IN ('received', 'ingested')
    ) AS events,
    w.processing_paused
FROM public.pancake_switch() AS w
