-- name: check_connection/load_signs
-- Load the time of a connection's last webhook, and what polling found since then that the webhook should have brought.
-- Returns one row: last_webhook_at, missed, missed_since; looks back 7 days. Relies on ix_pancake_webhook_event_created_at.
WITH newest AS (
    SELECT e.arrived_at, e.created_at
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.origin = 'webhook'
        AND e.created_at > %(now)s::timestamptz - interval '7 days'
    ORDER BY e.created_at DESC
    LIMIT 1
)
SELECT
    (SELECT n.arrived_at FROM newest AS n) AS last_webhook_at,
    count(DISTINCT (m.table_name, m.record_id)) FILTER (WHERE m.record_id IS NOT NULL) AS missed,
    min(m.created_at) AS missed_since
FROM public.pancake_webhook_event AS m
WHERE
    m.connection_id = %(connection_id)s
    AND m.origin IN ('poll', 'reconcile')
    AND m.created_at > coalesce((SELECT n.created_at FROM newest AS n), %(now)s::timestamptz - interval '7 days')
    AND m.modified_on >= coalesce((SELECT n.arrived_at FROM newest AS n), '-infinity')

-- name: check_connection/load_previous
-- Load what the previous run of check_connection found for each connection, and of the settings.
-- Returns at most one row: connections, a JSON array; settings_digest, null if all settings were readable.
-- Relies on uq_pancake_cron_run_tick.
SELECT r.report -> 'connections' AS connections, r.report -> 'settings' ->> 'digest' AS settings_digest
FROM public.pancake_cron_run AS r
WHERE r.name = 'check_connection' AND r.scheduled_time < %(scheduled_time)s AND r.report ? 'connections'
ORDER BY r.scheduled_time DESC
LIMIT 1

-- name: check_connection/set_status
-- Set a connection's status, unless it was changed (for example to disabled) since it was read.
-- Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET status = %(after)s, status_changed_at = %(now)s, updated_at = %(now)s
WHERE id = %(connection_id)s AND status = %(before)s

-- name: check_connection/load_settings
-- Load what is wrong with the settings: one text for each that is missing, unreadable or out of its bounds, and that therefore
-- has another value. A text begins with the name of its setting.
-- Returns one row: problems. Relies on the primary key of Diva's table app_setting.
SELECT s.problems FROM public.view_pancake_setting AS s

-- name: check_connection/list_status_changes
-- List the changes of a connection's status that `leads connection` made in the last 7 days, and that no admin was notified of.
-- Returns one row for each, the oldest first: id (of the run), connection_id, name, before, after, reason.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    r.id, c ->> 'connection_id' AS connection_id, c ->> 'name' AS name, c ->> 'before' AS before, c ->> 'after' AS after,
    c ->> 'reason' AS reason
FROM public.pancake_cron_run AS r
CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'connections') AS c
WHERE
    r.name = 'connection_status'
    AND r.scheduled_time > %(now)s::timestamptz - interval '7 days'
    AND NOT r.report ? 'notified_at'
ORDER BY r.scheduled_time

-- name: check_connection/mark_status_changes
-- Record that the notices of some changes of a status are stored with a run of check_connection.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run
SET report = report || jsonb_build_object('notified_at', %(now)s::timestamptz)
WHERE id = ANY (%(ids)s)
