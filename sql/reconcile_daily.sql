-- name: reconcile_daily/compare_day
-- Compare the events of a day with the records that Pancake listed (`seen`, the ids by table): which were not listed, and how many
-- versions later ones replaced. Only the listed tables count, because the webhook may bring others.
-- Returns one row: superseded, unlisted (JSON array of record_id and table_name: records that were not listed and have no
-- later version). Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity.
WITH day_event AS (
    SELECT
        -- An event without a table counts with the record's other events of the day. Of several tables it joins the last by
        -- name, lead, as which it is processed. Alone it may be of any table.
        COALESCE(e.table_name, max(e.table_name) OVER (PARTITION BY e.record_id)) AS table_name,
        e.record_id, e.modified_on
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
        AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
        AND e.record_id IS NOT NULL
), record AS (
    SELECT d.record_id, d.table_name, count(DISTINCT date_trunc('milliseconds', d.modified_on)) AS versions
    FROM day_event AS d
    GROUP BY d.record_id, d.table_name
), compared AS (
    -- Sorted together. As IN or as a join, PostgreSQL compares every row with every id when there are many ids.
    SELECT
        u.record_id, u.table_name, sum(u.versions) AS versions, bool_or(u.is_listed) AS is_listed,
        bool_or(bool_or(u.is_listed)) OVER (PARTITION BY u.record_id) AS is_listed_in_any
    FROM (
        SELECT r.record_id, r.table_name, r.versions, false AS is_listed FROM record AS r
        UNION ALL
        SELECT i.id, s.table_name, 0, true
        FROM json_each(%(seen)s::json) AS s (table_name, ids)
        CROSS JOIN LATERAL json_array_elements_text(s.ids) AS i (id)
    ) AS u
    GROUP BY u.record_id, u.table_name
), judged AS (
    SELECT
        r.record_id, r.table_name, r.versions,
        CASE WHEN r.table_name IS NULL THEN r.is_listed_in_any ELSE r.is_listed END AS is_listed,
        EXISTS (
            SELECT FROM public.pancake_webhook_event AS n
            WHERE
                n.record_id = r.record_id
                AND n.modified_on > %(window_to)s
                AND n.connection_id = %(connection_id)s
                AND (n.table_name = r.table_name OR n.table_name IS NULL OR r.table_name IS NULL)
                -- A version too far in the future counts as of its arrival.
                AND (n.modified_on <= n.arrived_at + %(max_future)s::interval OR n.arrived_at > %(window_to)s)
        ) AS is_overtaken
    FROM compared AS r
    WHERE r.versions > 0
)
SELECT
    coalesce(sum(j.versions - CASE WHEN j.is_overtaken THEN 0 ELSE 1 END), 0)::bigint AS superseded,
    coalesce(
        jsonb_agg(
            jsonb_build_object('record_id', j.record_id, 'table_name', j.table_name) ORDER BY j.record_id, j.table_name
        ) FILTER (WHERE NOT j.is_listed AND NOT j.is_overtaken),
        '[]'
    ) AS unlisted
FROM judged AS j

-- name: reconcile_daily/count_first_seen
-- Count the records of a day by the origin that first brought them: the webhook's losses as a number. Only listed tables count.
-- An event without a table counts with the record's other events of the day, if one of them names a table.
-- Returns origin and records.
-- Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity: the lateral subquery looks up each record's
-- first row by index, also where the planner estimates the size of the table wrongly.
SELECT f.origin, count(*) AS records
FROM (
    SELECT DISTINCT
        e.record_id,
        -- Of several tables the last one by name, lead: processing takes an event without a table for a lead.
        COALESCE(e.table_name, max(e.table_name) OVER (PARTITION BY e.record_id)) AS table_name
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
        AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
        AND e.record_id IS NOT NULL
) AS d
CROSS JOIN LATERAL (
    SELECT
        (array_agg(v.origin ORDER BY v.id))[1] AS origin,
        (array_agg(v.modified_on ORDER BY v.id))[1] AS modified_on,
        (array_agg(v.created_at ORDER BY v.id))[1] AS created_at
    FROM public.pancake_webhook_event AS v
    WHERE
        v.record_id = d.record_id
        AND v.connection_id = %(connection_id)s
        AND (v.table_name = d.table_name OR v.table_name IS NULL OR d.table_name IS NULL)
) AS f
WHERE
    f.modified_on BETWEEN %(window_from)s AND %(window_to)s
    AND f.created_at >= %(window_from)s::timestamptz - interval '1 hour'
GROUP BY f.origin
ORDER BY f.origin

-- name: reconcile_daily/list_closed_days
-- List the days that other runs closed, and when each connection was created. This run keeps its own days in its state, and
-- nothing has to be reconciled before a connection was created.
-- Returns one row: days (ISO dates), since (connection id → ISO time). Relies on uq_pancake_cron_run_tick.
SELECT
    ARRAY(
        SELECT DISTINCT jsonb_array_elements_text(r.report -> 'closed_days')
        FROM public.pancake_cron_run AS r
        WHERE
            r.name = 'reconcile_daily'
            AND r.scheduled_time <> %(scheduled_time)s
            AND r.scheduled_time > %(now)s::timestamptz - interval '30 days'
            AND jsonb_typeof(r.report -> 'closed_days') = 'array'
    ) AS days,
    (SELECT coalesce(jsonb_object_agg(c.id, c.created_at), '{}') FROM public.pancake_connection AS c) AS since
