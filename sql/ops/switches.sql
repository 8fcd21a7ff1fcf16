-- name: switches/list_switches
-- List the switches, each with its last change: the kill switch, the pause, whether connections and sources are active.
-- Returns one row each: kind (kill, pause, connection, source), row_id, name, pancake_source_id, connection (name), is_on,
-- can_be_on, changed_at, changed_by, person (name of a member of staff), application, reason. Those of the change are null if
-- the history has none. Relies on ix_integration_change_row.
WITH switch AS (
    SELECT
        1 AS position, 'kill' AS kind, 'setting' AS change_kind, 'kill_switch' AS field, 'all' AS row_id, NULL AS name,
        NULL AS pancake_source_id, NULL AS connection, s.kill_switch AS is_on, true AS can_be_on
    FROM public.view_pancake_setting AS s
    UNION ALL
    SELECT 2, 'pause', 'setting', 'processing_paused', 'all', NULL, NULL, NULL, s.processing_paused, true
    FROM public.view_pancake_setting AS s
    UNION ALL
    SELECT 3, 'connection', 'connection', 'status', c.id::text, c.name, NULL, c.name, c.status <> 'disabled', true
    FROM public.pancake_connection AS c
    UNION ALL
    SELECT
        4, 'source', 'source', 'is_active', s.id::text, s.name, s.pancake_source_id, c.name, s.is_active,
        NOT s.is_removed AND (s.name IS NOT NULL OR s.pancake_source_id = '(none)')
    FROM public.pancake_source AS s
    JOIN public.pancake_connection AS c ON c.id = s.connection_id
)
SELECT
    w.kind, w.row_id, w.name, w.pancake_source_id, w.connection, w.is_on, w.can_be_on,
    l.changed_at, l.changed_by,
    (SELECT f.full_name FROM public.staff AS f WHERE f.id::text = l.changed_by) AS person,
    l.application, l.reason
FROM switch AS w
LEFT JOIN LATERAL (
    SELECT c.changed_at, c.changed_by, c.application, c.reason
    FROM public.integration_change AS c
    WHERE c.kind = w.change_kind AND c.row_id = w.row_id AND (c.before ? w.field OR c.after ? w.field)
    ORDER BY c.id DESC
    LIMIT 1
) AS l ON true
ORDER BY w.position, w.connection, w.is_on DESC, w.name, w.pancake_source_id

-- name: switches/load_problems
-- Load what is wrong with the settings, and who changed one of these last.
-- Returns one row: problems, are_lost (no setting can be read), changed_at, changed_by (the name of a member of staff, else as in the
-- history); those of the change are null if the history has none. Relies on ix_integration_change_row.
SELECT
    s.problems,
    NOT EXISTS (
        SELECT FROM jsonb_object_keys(public.pancake_setting_rules()) AS r (name)
        WHERE NOT EXISTS (SELECT FROM unnest(s.problems) AS p (problem) WHERE split_part(p.problem, ' ', 1) = r.name)
    ) AS are_lost,
    l.changed_at,
    COALESCE((SELECT f.full_name FROM public.staff AS f WHERE f.id::text = l.changed_by), l.changed_by) AS changed_by
FROM public.view_pancake_setting AS s
LEFT JOIN LATERAL (
    SELECT c.changed_at, c.changed_by
    FROM public.integration_change AS c
    WHERE
        c.kind = 'setting' AND c.row_id = 'all'
        AND EXISTS (SELECT FROM unnest(s.problems) AS p (problem) WHERE c.after ? split_part(p.problem, ' ', 1))
    ORDER BY c.id DESC
    LIMIT 1
) AS l ON true

-- name: switches/set_setting
-- Turn the kill switch and the pause on or off; null leaves one as it is. The history gets the reason.
-- Returns one row: kill_switch, processing_paused, as they were before. Relies on the view's trigger, which writes what differs.
UPDATE public.view_pancake_setting AS s
SET
    kill_switch = COALESCE(%(kill_switch)s::boolean, b.kill_switch),
    processing_paused = COALESCE(%(processing_paused)s::boolean, b.processing_paused),
    change_reason = %(reason)s
FROM public.view_pancake_setting AS b
WHERE s.id = 1
RETURNING b.kill_switch, b.processing_paused

-- name: switches/set_source
-- Switch a source on or off. The history gets the reason.
-- Returns one row: was_on, connection_id; none if the source does not exist, or cannot be switched on. Relies on pk_pancake_source.
WITH source AS (
    SELECT s.id, s.is_active
    FROM public.pancake_source AS s
    WHERE s.id = %(id)s::uuid AND (NOT %(is_on)s OR NOT s.is_removed AND (s.name IS NOT NULL OR s.pancake_source_id = '(none)'))
    FOR NO KEY UPDATE
)
UPDATE public.pancake_source AS s
SET is_active = %(is_on)s, change_reason = %(reason)s
FROM source AS b
WHERE s.id = b.id
RETURNING b.is_active AS was_on, s.connection_id::text AS connection_id
