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
-- Returns at most one row: failed_probes (connection id → how many in a row), settings_digest, null if all settings were readable;
-- notified_changes, keys of list_status_changes.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    (
        SELECT COALESCE(jsonb_object_agg(c ->> 'connection_id', COALESCE(c -> 'failed_probes', '0')), '{}')
        FROM jsonb_array_elements(r.report -> 'connections') AS c
    ) AS failed_probes,
    r.report -> 'settings' ->> 'digest' AS settings_digest,
    COALESCE(r.report -> 'notified_changes', '[]') AS notified_changes
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
-- List how persons disabled and enabled connections in the last 7 days.
-- Returns one row for each change, the oldest first: key (identifies it), connection_id, name, before, after, reason.
-- Relies on ix_integration_change_row.
SELECT
    extract(epoch FROM v.scheduled_time)::text AS key, c.id::text AS connection_id, c.name, v.status_before AS before,
    v.status_after AS after, v.reason
FROM public.view_pancake_connection_status AS v
JOIN public.pancake_connection AS c ON c.id = v.connection_id
WHERE 'disabled' IN (v.status_before, v.status_after) AND v.scheduled_time > %(now)s::timestamptz - interval '7 days'
ORDER BY v.scheduled_time
