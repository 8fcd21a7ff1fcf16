-- name: check_sla/flag_late_tickets
-- Add a notification for the managers to each event whose ticket has no first response in time, once per ticket. Without an active
-- manager it is for the administrators; without any, the ticket is left for a later tick.
-- Returns the events of late tickets: id, is_flagged. Relies on ix_pancake_webhook_event_watched,
-- ix_pancake_webhook_event_ticket and the primary key of Diva's ticket table.
WITH late AS MATERIALIZED (
    SELECT o.id, t.id AS ticket_id, t.code
    FROM (
        SELECT w.ticket_id, min(w.ticket_watched_at) AS watched_at
        FROM public.pancake_webhook_event AS w
        WHERE w.ticket_watched_at BETWEEN '-infinity' AND 'infinity' AND w.status = 'processed'
        GROUP BY w.ticket_id
        -- Without most tickets that are flagged. The others are sorted, so that the limit ends the look-ups below.
        HAVING NOT coalesce(bool_or(w.outcome = 'ticket_created' AND (w.evidence ->> 'sla_notified_at')::timestamptz >= w.ticket_watched_at), false)
        ORDER BY min(w.ticket_watched_at)
        OFFSET 0
    ) AS r
    CROSS JOIN (SELECT v.sla_minutes, v.sla_hours, v.business_hours, v.holidays FROM public.view_pancake_setting AS v OFFSET 0) AS s
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.id, k.code, k.created_at, k.assignee_id FROM public.ticket AS k
        WHERE
            k.id = r.ticket_id AND k.first_response_at IS NULL AND public.pancake_ticket_is_open(k.status)
            AND k.created_at <= %(now)s::timestamptz - make_interval(mins => s.sla_minutes)
            AND (
                s.sla_hours = 'all'
                OR public.pancake_business_minutes(k.created_at, %(now)s, s.business_hours, s.holidays) >= s.sla_minutes
            )
        OFFSET 0
    ) AS t
    -- The event that opened the ticket. A replay may have changed its outcome since, then the first event of the ticket.
    CROSS JOIN LATERAL (
        SELECT
            f.id, f.status, max((f.evidence ->> 'sla_notified_at')::timestamptz) OVER () AS flagged_at,
            f.evidence ? 'told_later' AND f.assignee_id = t.assignee_id AS is_told_later,
            (f.evidence ->> 'told_at')::timestamptz AS told_at
        FROM public.pancake_webhook_event AS f
        WHERE f.ticket_id = t.id
        ORDER BY f.status = 'processed' DESC, f.outcome = 'ticket_created' DESC, f.id
        LIMIT 1
    ) AS o
    WHERE
        o.status = 'processed'
        -- Not flagged yet. An older flag belongs to a ticket that the event opened earlier.
        AND (o.flagged_at IS NULL OR o.flagged_at < t.created_at)
        -- The time of an old lead begins when its owner is told.
        AND o.is_told_later IS NOT TRUE
        AND (o.told_at IS NULL OR o.told_at <= %(now)s::timestamptz - make_interval(mins => s.sla_minutes) AND (
            s.sla_hours = 'all'
            OR public.pancake_business_minutes(o.told_at, %(now)s, s.business_hours, s.holidays) >= s.sla_minutes
        ))
    ORDER BY r.watched_at
    LIMIT %(limit)s
), locked AS (
    SELECT e.id, l.ticket_id, l.code
    FROM late AS l
    INNER JOIN public.pancake_webhook_event AS e ON e.id = l.id
    WHERE
        e.status = 'processed' AND NOT public.pancake_event_is_being_sent(e.notifications, e.notified_at, e.notify_claimed_at, %(lease)s)
    FOR UPDATE OF e SKIP LOCKED
), managers AS (
    SELECT coalesce(jsonb_agg(s.id ORDER BY s.id), '[]') AS ids
    FROM public.staff AS s
    WHERE s.role = public.pancake_staff_role('manager') AND s.is_active
), recipients AS (
    SELECT CASE WHEN m.ids <> '[]' THEN m.ids ELSE (
        SELECT coalesce(jsonb_agg(s.id ORDER BY s.id), '[]')
        FROM public.staff AS s
        WHERE s.role = public.pancake_staff_role('admin') AND s.is_active
    ) END AS ids
    FROM managers AS m
), flagged AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        evidence = e.evidence || jsonb_build_object('sla_notified_at', %(now)s::timestamptz),
        notifications = CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || jsonb_build_array(jsonb_build_object(
            'name', 'sla_missed' || CASE WHEN e.replay_count > 0 THEN '.' || e.replay_count ELSE '' END,
            'template_code', 'noti_pancake_needs_attention',
            'recipient_ids', r.ids,
            'data', jsonb_build_object('reason', 'sla_missed', 'detail', l.code, 'ticket_id', l.ticket_id)
        )),
        notified_at = NULL,
        notify_claimed_at = NULL
    FROM locked AS l, recipients AS r
    WHERE e.id = l.id AND r.ids <> '[]'
)
SELECT l.id, r.ids <> '[]' AS is_flagged
FROM locked AS l
CROSS JOIN recipients AS r

-- name: check_sla/stop_watching
-- Watch those tickets no more that have a first response, were deleted, or are closed, and our last write is 3 days old: until then a
-- person may open them again.
-- Returns id. Relies on ix_pancake_webhook_event_watched and the primary key of Diva's ticket table.
UPDATE public.pancake_webhook_event AS e
SET ticket_watched_at = NULL
WHERE
    e.id IN (
        SELECT w.id
        FROM public.pancake_webhook_event AS w
        -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
        LEFT JOIN LATERAL (
            SELECT k.id, k.first_response_at, k.status FROM public.ticket AS k WHERE k.id = w.ticket_id OFFSET 0
        ) AS t ON true
        WHERE
            w.ticket_watched_at BETWEEN '-infinity' AND 'infinity'
            AND w.status <> 'ingested'
            AND (
                t.id IS NULL
                OR t.first_response_at IS NOT NULL
                OR NOT public.pancake_ticket_is_open(t.status) AND w.ticket_watched_at < %(now)s::timestamptz - interval '3 days'
            )
        ORDER BY w.ticket_watched_at
        LIMIT %(limit)s
        FOR NO KEY UPDATE OF w SKIP LOCKED
    )
RETURNING e.id

-- name: check_sla/load_morning_message
-- Load what the managers are told in the morning: yesterday, and what of the last 30 days needs somebody. Only if the setting is on,
-- its time of today came within the last 6 hours, and no run of today has the message yet.
-- Returns one row or none, all text: today, day (yesterday), came (its leads), detail (what needs somebody).
-- Relies on uq_pancake_cron_run_tick, ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
WITH today AS MATERIALIZED (
    -- MATERIALIZED: on a tick without a message no statistics let the planner begin with the reports.
    SELECT l.day, l.begins
    FROM (
        SELECT d.day, d.day::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh' AS begins
        FROM (SELECT (%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS day) AS d
    ) AS l
    CROSS JOIN public.view_pancake_setting AS s
    WHERE
        s.morning_message = 'on'
        AND %(now)s >= l.begins + s.morning_message_at::interval AND %(now)s < l.begins + s.morning_message_at::interval + interval '6 hours'
        AND NOT EXISTS (
            SELECT FROM public.pancake_cron_run AS r
            WHERE r.name = 'check_sla' AND r.scheduled_time >= l.begins AND r.report #>> '{morning_message,today}' = l.day::text
        )
)
SELECT
    t.day::text AS today, to_char(t.day - 1, 'DD/MM') AS day,
    CASE
        WHEN y.leads = 0 THEN 'không có lead nào'
        WHEN y.tickets = 0 THEN y.leads || ' lead, không có ticket mới'
        ELSE format('%%s lead, %%s ticket mới, đã gọi %%s/%%s', y.leads, y.tickets, y.answered, y.tickets)
    END AS came,
    coalesce('Cần làm (30 ngày qua): ' || nullif(concat_ws(
        ', ',
        CASE WHEN n.unanswered > 0 THEN format(
            '%%s ticket chưa gọi (lâu nhất %%s)', n.unanswered,
            CASE WHEN w.hours >= 48 THEN w.hours / 24 || ' ngày' ELSE w.hours || ' giờ' END
        ) END,
        CASE WHEN n.unassigned > 0 THEN n.unassigned || ' ticket chưa có người phụ trách' END,
        CASE WHEN n.broken > 0 THEN n.broken || ' lỗi cần xử lý' END
    ), ''), 'Không có việc tồn') AS detail
FROM today AS t
CROSS JOIN LATERAL public.pancake_report_source(t.begins - interval '1 day', t.begins) AS y
CROSS JOIN LATERAL public.pancake_report_source(t.begins - interval '30 days', %(now)s) AS n
CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM %(now)s - n.oldest_unanswered_at) / 3600)::bigint AS hours) AS w
WHERE y.source_id IS NULL AND n.source_id IS NULL
