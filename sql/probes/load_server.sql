-- Load what the database says of itself, also before the migrations.
-- Returns one row: version, now, role_name, missing (tables of the integration) and refused (those that this role may not read).
SELECT
    current_setting('server_version') AS version,
    clock_timestamp() AS now,
    current_user::text AS role_name,
    coalesce(array_agg(t.name ORDER BY t.name) FILTER (WHERE c.oid IS NULL), '{}') AS missing,
    coalesce(array_agg(t.name ORDER BY t.name) FILTER (WHERE NOT r.is_readable), '{}') AS refused
FROM unnest(ARRAY[
    'pancake_connection', 'pancake_source', 'pancake_assignee', 'pancake_webhook_event', 'pancake_cron_run', 'integration_change'
]) AS t (name)
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || t.name)
LEFT JOIN LATERAL (SELECT has_any_column_privilege(c.oid, 'SELECT') AS is_readable) AS r ON true
