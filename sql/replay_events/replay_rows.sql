-- Set events to received, unless the kill switch is on; the event trigger then processes them. Rows locked by another session
-- are skipped.
-- Returns one row: switched_on, ids of the changed events. Relies on pk_pancake_webhook_event.
WITH switch AS (
    SELECT NOT w.kill_switch AS switched_on
    FROM public.pancake_switch() AS w
), taken AS (
    SELECT e.id
    FROM public.pancake_webhook_event AS e
    WHERE
        e.id = ANY (%(ids)s)
        -- || '' keeps the planner on the primary key. With the plain column it takes the index of failed events while the
        -- statistics say that there are none, and reads all of them.
        AND (e.status || '') = ANY (%(states)s)
        AND e.record_id IS NOT NULL
        AND e.payload IS NOT NULL
        AND (SELECT s.switched_on FROM switch AS s)
    ORDER BY e.id
    FOR UPDATE SKIP LOCKED
), replayed AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        status = 'received', replayed_by = %(by)s, replayed_at = %(now)s, replay_count = e.replay_count + 1,
        attempts = 0, next_attempt_at = NULL, evidence = (e.evidence - 'force') || %(evidence)s::jsonb
    FROM taken AS t
    WHERE e.id = t.id
    RETURNING e.id
)
SELECT s.switched_on, ARRAY(SELECT r.id FROM replayed AS r ORDER BY r.id) AS ids
FROM switch AS s
