-- Load whether handlers and operators have rights in this database: one of each role, of those that the last migrations need.
-- Returns one row: is_granted. It fails if a role or table does not exist. Relies on the catalog alone.
SELECT
    has_table_privilege('pancake_handlers', 'public.pancake_webhook_event', 'INSERT')
        AND has_any_column_privilege('pancake_operators', 'public.integration_change', 'SELECT') AS is_granted
