-- name: metrics/count_waiting
-- Count the events that wait to be processed, by status, and find the oldest of each, by its creation or its replay.
-- Returns status, events, oldest_at (null without one): one row for each of the three statuses.
-- Relies on ix_pancake_webhook_event_waiting and ix_pancake_webhook_event_retry.
WITH waiting AS (
    -- Not received_at: each refire sets it.
    SELECT e.status, greatest(e.created_at, e.replayed_at) AS since
    FROM public.pancake_webhook_event AS e
    WHERE public.pancake_event_is_waiting(e.status)
    UNION ALL
    SELECT e.status, greatest(e.created_at, e.replayed_at)
    FROM public.pancake_webhook_event AS e
    WHERE e.status = 'failed'
)
SELECT s.status, count(w.status) AS events, min(w.since) AS oldest_at
FROM unnest(ARRAY['received', 'ingested', 'failed']) AS s (status)
LEFT JOIN waiting AS w USING (status)
GROUP BY s.status

-- name: metrics/count_held
-- Count the events that only a replay brings back, by status, and find the oldest of each. A dead letter because of what it
-- holds counts as `invalid`, as in kpi/load_success.
-- Returns status, events, oldest_at (null without one): one row for each of the four.
-- Relies on ix_pancake_webhook_event_held, which has every column: the rows themselves are not read.
WITH held AS (
    -- By code first: there are few, and they are classified once.
    SELECT e.status, e.error_code, count(*) AS events, min(greatest(e.created_at, e.replayed_at)) AS oldest_at
    FROM public.pancake_webhook_event AS e
    WHERE e.status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
    GROUP BY e.status, e.error_code
), classified AS (
    SELECT
        CASE WHEN public.pancake_event_is_invalid(h.error_code) THEN 'invalid' ELSE h.status END AS status,
        h.events,
        h.oldest_at
    FROM held AS h
)
SELECT s.status, coalesce(sum(c.events), 0)::bigint AS events, min(c.oldest_at) AS oldest_at
FROM unnest(ARRAY['dead_letter', 'invalid', 'skipped_kill_switch', 'skipped_source_disabled']) AS s (status)
LEFT JOIN classified AS c USING (status)
GROUP BY s.status

-- name: metrics/count_recent
-- Count the events of the last hour by status and origin. A dead letter because of what it holds counts as `invalid`.
-- Returns status, origin, events: one row for each pair.
-- Relies on ix_pancake_webhook_event_created_at.
WITH recent AS (
    SELECT
        CASE WHEN e.status = 'dead_letter' AND public.pancake_event_is_invalid(e.error_code) THEN 'invalid' ELSE e.status END AS status,
        e.origin
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour'
)
SELECT s.status, o.origin, count(r.status) AS events
FROM unnest(ARRAY[
    'received', 'ingested', 'processed', 'failed', 'dead_letter', 'invalid', 'skipped_kill_switch', 'skipped_source_disabled'
]) AS s (status)
CROSS JOIN unnest(ARRAY['webhook', 'poll', 'reconcile']) AS o (origin)
LEFT JOIN recent AS r USING (status, origin)
GROUP BY s.status, o.origin

-- name: metrics/count_rows_of_counters
-- Count the rows of the last hour that the counters of the processes have counted too: at least and at most how many.
-- Returns counter, least, most: one row for each of six counters.
-- Relies on ix_pancake_webhook_event_created_at, ix_pancake_webhook_event_replayed and uq_pancake_cron_run_tick.
WITH bounds AS (
    SELECT %(now)s::timestamptz - interval '1 hour' AS hour, %(now)s::timestamptz - interval '1 day' AS day
), known AS (
    -- What is processed now is of the last day, or was replayed. The times are given, not joined: else the planner expects a
    -- third of all rows, and scans a large table.
    SELECT e.id, e.status, e.error_code, e.origin, e.created_at, e.replayed_at, e.processed_at, e.attempts, e.notified_at, e.notifications
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 day'
    UNION ALL
    SELECT e.id, e.status, e.error_code, e.origin, e.created_at, e.replayed_at, e.processed_at, e.attempts, e.notified_at, e.notifications
    FROM public.pancake_webhook_event AS e
    WHERE e.replayed_at > %(now)s::timestamptz - interval '1 hour' AND e.created_at <= %(now)s::timestamptz - interval '1 day'
), events AS (
    SELECT
        count(*) FILTER (WHERE k.origin = 'webhook' AND k.created_at > b.hour) AS deliveries,
        count(*) FILTER (WHERE k.origin <> 'webhook' AND k.created_at > b.hour) AS missed,
        count(*) FILTER (WHERE k.status = 'processed' AND k.processed_at > b.hour) AS processed,
        count(*) FILTER (WHERE k.replayed_at > b.hour) AS replayed,
        -- A handler that was killed counted nothing (claim_expired).
        count(*) FILTER (
            WHERE k.status IN ('failed', 'dead_letter') AND k.attempts > 0 AND k.created_at > b.hour
                AND k.error_code IS DISTINCT FROM 'claim_expired'
        ) AS failed,
        coalesce(sum(greatest(k.attempts - (k.status = 'processed')::integer, 0)), 0) AS attempts,
        coalesce(sum(jsonb_array_length(k.notifications)) FILTER (WHERE k.notified_at > b.hour), 0) AS notified
    FROM known AS k
    CROSS JOIN bounds AS b
), runs AS (
    SELECT
        count(*) FILTER (WHERE r.outcome = 'succeeded' AND r.finished_at > b.hour) AS succeeded,
        coalesce(
            sum(jsonb_array_length(r.report -> 'notifications')) FILTER (WHERE r.notified_at > b.hour), 0
        ) AS notified
    FROM bounds AS b
    INNER JOIN public.pancake_cron_run AS r ON r.name = ANY(%(names)s::text[]) AND r.scheduled_time > b.day
)
SELECT c.counter, c.least, c.most
FROM events AS e
CROSS JOIN runs AS r
CROSS JOIN LATERAL (
    VALUES
    ('deliveries', e.deliveries, e.deliveries),
    ('missed', e.missed, e.missed),
    -- A replay may have been processed before in the same hour; it begins with five attempts again.
    ('processed', e.processed, e.processed + e.replayed),
    ('failed', e.failed, e.attempts + 5 * e.replayed),
    ('notifications', e.notified + r.notified, e.notified + r.notified),
    ('cron_runs', r.succeeded, r.succeeded)
) AS c (counter, least, most)

-- name: metrics/count_source_events
-- Count the events of the last hour by source. An event that names several counts for each.
-- Returns connection, source, events: one row for each active source, and one for each connection with the source `other`.
-- Relies on ix_pancake_webhook_event_created_at.
WITH named AS (
    SELECT e.connection_id, n.source_id
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL unnest(CASE WHEN e.source_ids = '{}' THEN ARRAY['(none)'] ELSE e.source_ids END) AS n (source_id)
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour'
), active AS (
    SELECT s.connection_id, s.pancake_source_id AS source FROM public.pancake_source AS s WHERE s.is_active
    UNION
    SELECT c.id, 'other' FROM public.pancake_connection AS c
), counted AS (
    SELECT n.connection_id, coalesce(s.pancake_source_id, 'other') AS source, count(*) AS events
    FROM named AS n
    LEFT JOIN public.pancake_source AS s
        ON s.connection_id = n.connection_id AND s.pancake_source_id = n.source_id AND s.is_active
    GROUP BY n.connection_id, coalesce(s.pancake_source_id, 'other')
)
SELECT a.connection_id::text AS connection, a.source, coalesce(c.events, 0) AS events
FROM active AS a
LEFT JOIN counted AS c USING (connection_id, source)

-- name: metrics/load_last_leads
-- Load how long the last 20 leads of a day took to be processed, and the last 20 deliveries of the webhook to be stored; and all
-- deliveries of the last hour. An idle hour has no histogram: these figures have a value as long as there was a lead in a day.
-- Returns stage (process, store), leads (20, 1h), p95_seconds, p99_seconds (both null without leads).
-- Relies on ix_pancake_webhook_event_created_at.
WITH newest AS (
    SELECT e.status, e.origin, e.created_at, e.arrived_at, e.processed_at, public.pancake_event_was_held_or_replayed(e.held_at, e.replay_count) AS was_held_or_replayed
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 day'
    ORDER BY e.created_at DESC
    LIMIT 500
), measured AS (
    (
        SELECT 'process' AS stage, '20' AS leads, n.processed_at - n.created_at AS duration
        FROM newest AS n
        WHERE n.status = 'processed' AND NOT n.was_held_or_replayed
        ORDER BY n.created_at DESC
        LIMIT 20
    )
    UNION ALL
    (
        SELECT 'store', '20', n.created_at - n.arrived_at
        FROM newest AS n
        WHERE n.origin = 'webhook'
        ORDER BY n.created_at DESC
        LIMIT 20
    )
    UNION ALL
    SELECT 'store', '1h', e.created_at - e.arrived_at
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour' AND e.origin = 'webhook'
)
SELECT
    s.stage,
    s.leads,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM m.duration)::float) AS p95_seconds,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM m.duration)::float) AS p99_seconds
FROM (VALUES ('process', '20'), ('store', '20'), ('store', '1h')) AS s (stage, leads)
LEFT JOIN measured AS m USING (stage, leads)
GROUP BY s.stage, s.leads

-- name: metrics/count_webhook_hours
-- Count the deliveries of the webhook in the last hour, and what is usual in that hour of the week: the median of the four weeks
-- before. Weeks from before the connection was created do not count.
-- Returns connection, deliveries, usual (null without such a week): one row per connection.
-- Relies on ix_pancake_webhook_event_created_at.
WITH hours AS (
    SELECT w.week, %(now)s::timestamptz - w.week * interval '7 days' AS until FROM generate_series(0, 4) AS w (week)
), counted AS (
    SELECT h.week, e.connection_id, count(*) AS deliveries
    FROM hours AS h
    -- OFFSET 0 keeps the planner from joining in another order: each hour is one range of the index.
    CROSS JOIN LATERAL (
        SELECT e.connection_id
        FROM public.pancake_webhook_event AS e
        WHERE e.created_at > h.until - interval '1 hour' AND e.created_at <= h.until AND e.origin = 'webhook'
        OFFSET 0
    ) AS e
    GROUP BY h.week, e.connection_id
)
SELECT
    c.id::text AS connection,
    coalesce(sum(n.deliveries) FILTER (WHERE h.week = 0), 0) AS deliveries,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY coalesce(n.deliveries, 0))
        FILTER (WHERE h.week > 0 AND c.created_at <= h.until - interval '1 hour') AS usual
FROM public.pancake_connection AS c
CROSS JOIN hours AS h
LEFT JOIN counted AS n ON n.week = h.week AND n.connection_id = c.id
GROUP BY c.id

-- name: metrics/count_unsent
-- Count the rows with notifications that wait to be sent, 10,000 of each kind at most. Find since when the oldest of them waits.
-- Returns source (events, runs), unsent, oldest_at (null without one).
-- Relies on ix_pancake_webhook_event_unnotified and ix_pancake_cron_run_unnotified.
WITH unsent AS (
    -- Order and limit keep the planner from reading the tables: it cannot tell how few rows have notifications.
    (
        SELECT 'events' AS source, coalesce(e.notify_unsent_since, e.processed_at, e.created_at) AS since
        FROM public.pancake_webhook_event AS e
        WHERE e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb
        ORDER BY e.notify_next_at, e.id
        LIMIT 10000
    )
    UNION ALL
    (
        SELECT 'runs', coalesce(r.notify_unsent_since, r.finished_at, r.started_at)
        FROM public.pancake_cron_run AS r
        WHERE r.notified_at IS NULL AND r.notify_given_up_at IS NULL AND r.report -> 'notifications' <> '[]'::jsonb
        ORDER BY r.notify_next_at, r.id
        LIMIT 10000
    )
)
SELECT s.source, count(u.source) AS unsent, min(u.since) AS oldest_at
FROM unnest(ARRAY['events', 'runs']) AS s (source)
LEFT JOIN unsent AS u USING (source)
GROUP BY s.source

-- name: metrics/list_connection_statuses
-- List which status each connection has.
-- Returns connection, status, has_status: one row for each connection and each possible status.
SELECT c.id::text AS connection, s.status, c.status = s.status AS has_status
FROM public.pancake_connection AS c
CROSS JOIN unnest(ARRAY['active', 'silent', 'suspended', 'outage', 'key_invalid', 'disabled']) AS s (status)

-- name: metrics/list_connections
-- List since when each connection has its status, and when it was polled last.
-- Returns connection, status_since_at, last_poll_at (null before the first poll).
SELECT c.id::text AS connection, c.status_changed_at AS status_since_at, c.last_poll_at
FROM public.pancake_connection AS c

-- name: metrics/load_switches
-- Load the two switches as the handlers use them, and when the settings were changed last.
-- Without the history of switches/list_switches, which the handlers may not read.
-- Returns switch (kill_switch, processing_paused), is_on, changed_at (null if the time cannot be read).
SELECT
    n.switch,
    CASE n.switch WHEN 'kill_switch' THEN w.kill_switch ELSE w.processing_paused END AS is_on,
    w.changed_at
FROM public.view_pancake_setting AS w
CROSS JOIN unnest(ARRAY['kill_switch', 'processing_paused']) AS n (switch)

-- name: metrics/load_holiday
-- Load whether today, in Vietnam, is a holiday of the settings.
-- Returns one row: is_holiday.
SELECT EXISTS (
    SELECT
    FROM regexp_split_to_table(w.holidays, ', ') AS h (entry)
    WHERE
        to_char(%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh', 'YYYY-MM-DD')
        BETWEEN split_part(h.entry, '..', 1) AND right(h.entry, 10)
) AS is_holiday
FROM public.view_pancake_setting AS w

-- name: metrics/count_engine_events
-- Count the events of our trigger that Hasura has not delivered: those that wait, and those locked for more than 5 minutes, whose
-- Hasura instance died.
-- Returns state (pending, locked), events, oldest_at (null without one).
-- Relies on Hasura's index event_log_fetch_events.
WITH undelivered AS (
    SELECT
        CASE WHEN l.locked < %(now)s::timestamptz - interval '5 minutes' THEN 'locked' ELSE 'pending' END AS state,
        l.created_at AT TIME ZONE 'UTC' AS created_at
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
)
SELECT s.state, count(u.state) AS events, min(u.created_at) AS oldest_at
FROM unnest(ARRAY['pending', 'locked']) AS s (state)
LEFT JOIN undelivered AS u USING (state)
GROUP BY s.state

-- name: metrics/count_failed_engine_events
-- Count the events of our trigger that Hasura gave up in the last day: retry_failed brings the leads back.
-- Returns one row: state (failed), events, oldest_at (null without one).
-- Relies on Hasura's index event_log_trigger_name_idx; purge_events bounds what it reads.
SELECT 'failed' AS state, count(*) AS events, min(l.created_at AT TIME ZONE 'UTC') AS oldest_at
FROM hdb_catalog.event_log AS l
WHERE
    l.trigger_name = 'pancake_webhook_event_status_update'
    AND l.error
    AND l.created_at > (%(now)s::timestamptz - interval '1 day') AT TIME ZONE 'UTC'

-- name: metrics/load_log_sizes
-- Load how many rows Hasura's log tables have, and how many dead ones, as the statistics of the server say.
-- Returns log, live_rows, dead_rows: one row for each table that exists in this database.
-- Relies on pg_class_relname_nsp_index.
SELECT t.relname AS log, t.n_live_tup AS live_rows, t.n_dead_tup AS dead_rows
FROM pg_catalog.pg_stat_all_tables AS t
WHERE t.schemaname = 'hdb_catalog' AND t.relname = ANY (%(logs)s)

-- name: metrics/count_cron_ticks
-- Count the ticks of each cron: those that Hasura has scheduled for later, those that are due for more than a minute, and those
-- that it gave up in the last day.
-- Returns name, later, overdue, lost: one row per cron. Relies on Hasura's index hdb_cron_event_status.
-- Runs in Hasura's metadata database.
WITH ticks AS (
    SELECT
        c.trigger_name,
        c.status = 'scheduled' AND c.scheduled_time > %(now)s::timestamptz AS is_later,
        c.status = 'scheduled' AND c.scheduled_time < %(now)s::timestamptz - interval '1 minute' AS is_overdue,
        c.status IN ('dead', 'error') AND c.scheduled_time > %(now)s::timestamptz - interval '1 day' AS is_lost
    FROM hdb_catalog.hdb_cron_events AS c
    WHERE c.status IN ('scheduled', 'dead', 'error')
)
SELECT
    n.name,
    count(*) FILTER (WHERE t.is_later) AS later,
    count(*) FILTER (WHERE t.is_overdue) AS overdue,
    count(*) FILTER (WHERE t.is_lost) AS lost
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN ticks AS t ON t.trigger_name = 'pancake_' || n.name
GROUP BY n.name

-- name: metrics/list_cron_runs
-- List the attendance of each cron. One that never succeeded counts from the creation of the oldest connection.
-- Returns name, succeeded_at, started_at, delay_seconds (from the last tick to its start; both null without a run).
-- Relies on uq_pancake_cron_run_tick.
SELECT
    n.name,
    coalesce(s.finished_at, (SELECT min(c.created_at) FROM public.pancake_connection AS c)) AS succeeded_at,
    l.started_at,
    greatest(extract(epoch FROM l.started_at - l.scheduled_time)::float, 0) AS delay_seconds
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN LATERAL (
    SELECT r.finished_at
    FROM public.pancake_cron_run AS r
    WHERE r.name = n.name AND r.outcome = 'succeeded'
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT r.started_at, r.scheduled_time
    FROM public.pancake_cron_run AS r
    WHERE r.name = n.name
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS l ON true
