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
