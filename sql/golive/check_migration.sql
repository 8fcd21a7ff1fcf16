-- Compare what a migration creates with what the database has; `migration` is its last three digits, or `all`.
-- Returns one row: expected, missing (numbers of objects), partial (migrations of which only a part is there), details (text).
-- Relies on the catalog, and on Diva's tables crm_master_data, module_permission_action, notification_template and app_setting.
WITH declared AS (
    SELECT d.migration, d.name, d.is_there
    FROM (VALUES
        ('928', 'column account.normalized_phone', 'public.account', 'normalized_phone'),
        ('928', 'column account.pancake_metadata', 'public.account', 'pancake_metadata'),
        ('930', 'column contact_book.primary_phone', 'public.contact_book', 'primary_phone'),
        ('931', 'table pancake_connection', 'public.pancake_connection', 'id'),
        ('931', 'table pancake_source', 'public.pancake_source', 'id'),
        ('931', 'table pancake_assignee', 'public.pancake_assignee', 'id'),
        ('931', 'table pancake_webhook_event', 'public.pancake_webhook_event', 'id'),
        ('931', 'table pancake_cron_run', 'public.pancake_cron_run', 'id'),
        ('938', 'table integration_change', 'public.integration_change', 'id')
    ) AS c (migration, name, relation, attribute)
    CROSS JOIN LATERAL (
        SELECT c.migration, c.name, EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = to_regclass(c.relation) AND a.attname = c.attribute AND NOT a.attisdropped
        ) AS is_there
    ) AS d
    UNION ALL
    SELECT c.migration, c.name, EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS k
        WHERE k.conrelid = to_regclass('public.contact_book') AND k.conname = c.constraint_name
    )
    FROM (VALUES
        ('930', 'unique primary_phone of contact_book', 'uq_contact_book_primary_phone'),
        ('930', 'foreign key of contact_book', 'fk_contact_book_account')
    ) AS c (migration, name, constraint_name)
    UNION ALL
    SELECT '929', 'index account_normalized_phone_idx', to_regclass('public.account_normalized_phone_idx') IS NOT NULL
    UNION ALL
    SELECT '932', 'ticket source', EXISTS (SELECT FROM public.crm_master_data AS m WHERE m.id = 'ticket_source_pancake')
    UNION ALL
    SELECT '933', 'six permissions', count(*) = 6
    FROM public.module_permission_action AS m WHERE m.module = 'pancake_crm_integration'
    UNION ALL
    SELECT '934', 'three templates', count(*) = 3
    FROM public.notification_template AS t WHERE t.code LIKE 'noti\_pancake\_%%'
    UNION ALL
    SELECT '935', 'settings', COALESCE((
        SELECT s.app_settings ? 'pancake_integration' FROM public.app_setting AS s WHERE s.id = 1
    ), false)
), chosen AS (
    SELECT d.migration, d.name, d.is_there FROM declared AS d WHERE %(migration)s IN ('all', d.migration)
), by_migration AS (
    SELECT c.migration, bool_or(c.is_there) AND NOT bool_and(c.is_there) AS is_partial FROM chosen AS c GROUP BY c.migration
)
SELECT
    count(*) AS expected,
    count(*) FILTER (WHERE NOT c.is_there) AS missing,
    (SELECT count(*) FROM by_migration AS b WHERE b.is_partial) AS partial,
    string_agg(c.name, ', ' ORDER BY c.migration, c.name) FILTER (WHERE NOT c.is_there) AS details
FROM chosen AS c
