-- name: late_owners/set_owner
-- Give a ticket another owner than the one it had (null = none); the caller holds the ticket's row lock.
-- Returns nothing. Relies on the primary key of Diva's ticket table.
UPDATE public.ticket AS t
SET assignee_id = %(owner)s, updated_at = %(now)s
WHERE t.id = %(ticket_id)s AND t.assignee_id IS NOT DISTINCT FROM %(former_owner)s

-- name: late_owners/lock_ticket
-- Lock an event and its ticket, if that is still to get another owner: `is_recall`, in place of one who does not respond (new, too
-- late), else its first (open, none). None while a switch is on. Rows that others have locked are left: a person may assign the ticket.
-- Returns one row or none: ticket_id, account_id, owner (null = none), former_owners (of earlier recalls), customer_name, phone,
-- replay_count, roster_source_id (null = the default roster), is_told_later (with other old leads).
-- Relies on pk_pancake_webhook_event and the primary keys of Diva's tables ticket and contact_book.
SELECT
    t.id::text AS ticket_id,
    t.account_id::text AS account_id,
    t.assignee_id::text AS owner,
    ARRAY(
        SELECT r.recall ->> 'from' FROM jsonb_array_elements(COALESCE(e.evidence #> '{assignment,recalls}', '[]')) AS r (recall)
    ) AS former_owners,
    COALESCE(NULLIF(t.data -> 'pancake' ->> 'name', ''), 'chưa có tên') AS customer_name,
    COALESCE((SELECT c.primary_phone FROM public.contact_book AS c WHERE c.id = t.contact_book_id), e.normalized_phone) AS phone,
    e.replay_count,
    (SELECT r.id::text FROM public.pancake_roster_source(e.connection_id, e.source_ids) AS r) AS roster_source_id,
    e.evidence ? 'told_later' AS is_told_later
FROM public.pancake_webhook_event AS e
JOIN public.ticket AS t ON t.id = e.ticket_id
WHERE
    e.id = %(id)s
    -- A handler that works on the event would mark a new notification as sent without sending it.
    AND e.status <> 'ingested'
    AND NOT public.pancake_event_is_being_sent(e.notifications, e.notified_at, e.notify_claimed_at, %(lease)s)
    -- Of both cases: the ticket has the owner that the event has, or none as well. IS NOT DISTINCT FROM keeps the planner on the primary
    -- key: with = or IS NULL it may take Diva's index on the owner, and read all tickets of that owner, or all that have none.
    AND t.assignee_id IS NOT DISTINCT FROM e.assignee_id
    AND CASE
        WHEN %(is_recall)s THEN
            e.outcome = 'ticket_created'
            AND num_nonnulls(e.assignee_id) = 1
            AND t.status = 'new'
            AND t.first_response_at IS NULL
            AND NOT e.evidence ? 'told_later'
            AND public.pancake_recall_is_due(e.evidence, greatest(t.created_at, (e.evidence ->> 'told_at')::timestamptz), %(now)s)
        ELSE
            public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
            AND public.pancake_ticket_is_open(t.status)
    END
    AND NOT EXISTS (SELECT FROM public.view_pancake_setting AS w WHERE w.kill_switch OR w.processing_paused)
FOR NO KEY UPDATE OF e, t SKIP LOCKED

-- name: late_owners/list_recallable
-- List events whose ticket waits too long for the first response of the owner that was chosen: still new, and still that owner's;
-- oldest ticket first. None while recall_after_minutes is 0, the kill switch is on or processing is paused: nothing is read then.
-- Returns id. Relies on ix_pancake_webhook_event_watched and the primary key of Diva's ticket table.
SELECT e.id
FROM public.pancake_webhook_event AS e
-- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
CROSS JOIN LATERAL (
    SELECT k.assignee_id, k.status, k.first_response_at, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
) AS t
WHERE
    (SELECT s.recall_after_minutes > 0 AND NOT s.kill_switch AND NOT s.processing_paused FROM public.view_pancake_setting AS s)
    AND e.ticket_watched_at BETWEEN '-infinity' AND 'infinity'
    AND e.outcome = 'ticket_created'
    AND t.assignee_id = e.assignee_id
    AND t.status = 'new'
    AND t.first_response_at IS NULL
    -- The time of an old lead begins when its owner is told.
    AND NOT e.evidence ? 'told_later'
    AND public.pancake_recall_is_due(e.evidence, greatest(t.created_at, (e.evidence ->> 'told_at')::timestamptz), %(now)s)
ORDER BY t.created_at, e.id
LIMIT %(limit)s

-- name: late_owners/store_recall
-- Record another owner on the event that created the ticket, as if chosen then, and add the notifications. `recalls` of the evidence
-- keeps each owner who lost the ticket, with the time. The caller holds the event's row lock.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    assignee_id = %(owner)s::uuid,
    evidence = e.evidence || jsonb_build_object(
        'assignment', COALESCE(e.evidence -> 'assignment', '{}') - 'former_owner' || %(assignment)s::jsonb || jsonb_build_object(
            'assigned_at', %(now)s::timestamptz,
            'recalls', COALESCE(e.evidence #> '{assignment,recalls}', '[]') || jsonb_build_array(jsonb_build_object(
                'from', %(former_owner)s::uuid, 'to', %(owner)s::uuid, 'at', %(now)s::timestamptz, 'reason', 'no_first_response'
            ))
        )
    ),
    notifications = CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || %(notifications)s::jsonb,
    notified_at = NULL,
    notify_claimed_at = NULL
WHERE e.id = %(id)s

-- name: late_owners/count_unassigned
-- Count the open tickets that our events created without an owner and that still have none: at most `most`, all if it is null.
-- Returns one row: tickets, oldest_at (null without tickets).
-- Relies on ix_pancake_webhook_event_unassigned and the primary key of Diva's ticket table.
SELECT count(*) AS tickets, min(u.created_at) AS oldest_at
FROM (
    SELECT t.created_at
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.assignee_id, k.status, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND t.assignee_id IS NULL
        AND public.pancake_ticket_is_open(t.status)
    LIMIT %(most)s
) AS u

-- name: late_owners/mark_settled
-- Mark events whose ticket we need not assign any more, with the reason: it has an owner from Diva, is closed, or was deleted.
-- Events processed within the last minute are left out: their ticket may be younger than this statement's snapshot.
-- Returns id. Relies on ix_pancake_webhook_event_unassigned and the primary key of Diva's ticket table.
WITH found AS (
    SELECT
        e.id,
        CASE
            WHEN t.id IS NULL THEN 'ticket_deleted'
            WHEN t.assignee_id IS NULL THEN 'ticket_closed'
            ELSE 'assigned_in_diva'
        END AS reason
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    LEFT JOIN LATERAL (
        SELECT k.id, k.assignee_id, k.status FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t ON true
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND e.processed_at < %(now)s::timestamptz - interval '1 minute'
        AND (t.id IS NULL OR t.assignee_id IS NOT NULL OR NOT public.pancake_ticket_is_open(t.status))
    ORDER BY e.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF e SKIP LOCKED
)
UPDATE public.pancake_webhook_event AS e
SET evidence = e.evidence || jsonb_build_object('assignment', COALESCE(e.evidence -> 'assignment', '{}') || jsonb_build_object(
    'settled', jsonb_build_object('at', %(now)s::timestamptz, 'reason', f.reason)
))
FROM found AS f
WHERE e.id = f.id
RETURNING e.id

-- name: late_owners/list_assignable
-- List events whose ticket has no owner and can get one now, because its roster has an available member; oldest ticket first.
-- None while the kill switch is on or processing is paused. What is available is decided again by leads/domain/assign.py, under
-- the roster's lock: without this filter, tickets of a roster without members would hide all newer ones of other rosters.
-- Returns id, roster_source_id (null = the default roster), created_at of the ticket. Relies on ix_pancake_webhook_event_unassigned and the primary key
-- of Diva's ticket table.
WITH unassigned AS MATERIALIZED (
    SELECT e.id, e.connection_id, e.source_ids, t.created_at
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.assignee_id, k.status, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND t.assignee_id IS NULL
        AND public.pancake_ticket_is_open(t.status)
        AND NOT EXISTS (SELECT FROM public.view_pancake_setting AS w WHERE w.kill_switch OR w.processing_paused)
), roster AS (
    SELECT g.connection_id, g.source_ids, r.id
    FROM (SELECT DISTINCT u.connection_id, u.source_ids FROM unassigned AS u) AS g
    LEFT JOIN LATERAL public.pancake_roster_source(g.connection_id, g.source_ids) AS r ON true
    WHERE EXISTS (
        SELECT FROM public.pancake_assignee AS a
        JOIN public.staff AS s ON s.id = a.staff_id
        WHERE (a.source_id = r.id OR (r.id IS NULL AND a.source_id IS NULL)) AND a.is_active AND s.is_active AND s.on_duty
            AND CASE WHEN a.shift <> 'always' OR a.daily_cap IS NOT NULL OR a.open_cap IS NOT NULL
                THEN public.pancake_member_limit(a, %(now)s) END IS NULL
    )
)
SELECT u.id, r.id::text AS roster_source_id, u.created_at
FROM unassigned AS u
JOIN roster AS r ON r.connection_id = u.connection_id AND r.source_ids = u.source_ids
ORDER BY u.created_at, u.id
LIMIT %(limit)s

-- name: late_owners/store_assignment
-- Record an owner on the event that created the ticket, as if chosen then; and add the owner's notification.
-- The evidence keeps the time, and the members who were skipped when the ticket was created. The caller holds the event's row lock.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    assignee_id = %(owner)s,
    evidence = e.evidence || jsonb_build_object('assignment', %(assignment)s::jsonb || jsonb_build_object(
        'assigned_at', %(now)s::timestamptz, 'skipped_before', e.evidence #> '{assignment,skipped}'
    )),
    notifications = CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || %(notifications)s::jsonb,
    notified_at = NULL,
    notify_claimed_at = NULL
WHERE e.id = %(id)s

-- name: late_owners/keep_share
-- Keep a share of the waiting tickets for a member, from now on for waiting_share_minutes.
-- Returns nothing. Relies on pk_pancake_assignee.
UPDATE public.pancake_assignee AS a
SET share_until = %(now)s::timestamptz + make_interval(mins => s.waiting_share_minutes)
FROM public.view_pancake_setting AS s
WHERE a.id = %(id)s

-- name: late_owners/load_last_shared
-- Load when the administrators were last told that waiting tickets were shared, within a day.
-- Returns one row: until (null = not). Relies on uq_pancake_cron_run_tick.
SELECT max((r.report #>> '{shared,until}')::timestamptz) AS until
FROM public.pancake_cron_run AS r
WHERE r.name = 'retry_failed' AND r.scheduled_time > %(now)s::timestamptz - interval '1 day'

-- name: late_owners/store_summaries
-- Add one notification for each owner of tickets from old leads, to the event of the oldest, once business hours have begun since the
-- owner was chosen; at 08:00 in Vietnam if there are none. A ticket that was answered, closed or given to others meanwhile is left out.
-- Returns id of the events that have a notification now. Relies on ix_pancake_webhook_event_told_later and the primary key of
-- Diva's ticket table.
WITH due AS (
    SELECT e.id, e.assignee_id, t.code
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.code, k.assignee_id, k.status, k.first_response_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t
    WHERE
        e.ticket_watched_at BETWEEN '-infinity' AND 'infinity'
        AND e.evidence ? 'told_later'
        AND e.status <> 'ingested'
        AND NOT public.pancake_event_is_being_sent(e.notifications, e.notified_at, e.notify_claimed_at, %(lease)s)
        AND t.assignee_id = e.assignee_id
        AND t.first_response_at IS NULL
        AND public.pancake_ticket_is_open(t.status)
        AND (
            SELECT public.pancake_hours_begin(
                CASE s.business_hours WHEN 'always' THEN 'mon-sun 08:00-24:00' ELSE s.business_hours END, s.holidays,
                COALESCE((e.evidence #>> '{assignment,assigned_at}')::timestamptz, e.processed_at), %(now)s
            )
            FROM public.view_pancake_setting AS s
        )
    FOR NO KEY UPDATE OF e SKIP LOCKED
), summary AS (
    SELECT d.assignee_id, min(d.id) AS id, count(*) AS tickets, string_agg(d.code, ', ' ORDER BY d.id) AS codes
    FROM due AS d
    GROUP BY d.assignee_id
), told AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        evidence = e.evidence - 'told_later' || jsonb_build_object('told_at', %(now)s::timestamptz),
        notifications = CASE
            WHEN e.id <> g.id THEN e.notifications
            ELSE CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || jsonb_build_array(jsonb_build_object(
                'name', 'old_leads' || CASE WHEN e.replay_count > 0 THEN '.' || e.replay_count ELSE '' END,
                'template_code', 'noti_pancake_needs_attention',
                'recipient_ids', jsonb_build_array(g.assignee_id),
                'data', jsonb_build_object('reason', 'old_leads', 'detail', g.codes, 'count', g.tickets::text, 'ticket_id', e.ticket_id)
            ))
        END,
        notified_at = CASE WHEN e.id <> g.id THEN e.notified_at END,
        notify_claimed_at = CASE WHEN e.id <> g.id THEN e.notify_claimed_at END
    FROM due AS d
    JOIN summary AS g ON g.assignee_id = d.assignee_id
    WHERE e.id = d.id
    RETURNING e.id, e.id = g.id AS is_first
)
SELECT t.id FROM told AS t WHERE t.is_first
