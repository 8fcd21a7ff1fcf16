-- name: golive/list_baseline
-- List the tickets of other sources that people created in the window, for the response time before the pilot. An unanswered ticket
-- ends with the window, as in kpi/load_response; a ticket that was closed without a response too.
-- Returns created_at, first_response_at, the oldest first. Reads the whole table: Diva has no index on created_at.
SELECT t.created_at, COALESCE(t.first_response_at, greatest(%(to)s, t.created_at)) AS first_response_at
FROM public.ticket AS t
WHERE
    t.created_at >= %(from)s
    AND t.created_at < %(to)s
    AND t.source_id IS DISTINCT FROM 'ticket_source_pancake'
    AND (%(sources)s::text[] IS NULL OR t.source_id = ANY (%(sources)s))
ORDER BY t.created_at
LIMIT %(limit)s

-- name: golive/list_migrations
-- Compare what the migrations create with what the database has.
-- Returns one row per migration: migration (its last three digits), expected (number of objects), missing (their names).
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
        ('938', 'table integration_change', 'public.integration_change', 'id'),
        ('945', 'column pancake_connection.chat_link', 'public.pancake_connection', 'chat_link'),
        ('953', 'column pancake_assignee.share_until', 'public.pancake_assignee', 'share_until'),
        ('953', 'column pancake_webhook_event.ticket_watched_at', 'public.pancake_webhook_event', 'ticket_watched_at'),
        ('979', 'column pancake_webhook_event.first_processed_at', 'public.pancake_webhook_event', 'first_processed_at')
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
    SELECT '939', 'function pancake_is_dry_run', to_regproc('public.pancake_is_dry_run') IS NOT NULL
    UNION ALL
    SELECT '986', 'claims that end after 25 s', COALESCE((
        SELECT p.prosrc LIKE '%%25 seconds%%'
        FROM pg_catalog.pg_proc AS p
        WHERE p.oid = to_regproc('public.pancake_webhook_event_guard_status')
    ), false)
    UNION ALL
    SELECT '960', 'column new_tickets of view_pancake_report_source', EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.view_pancake_report_source') AND a.attname = 'new_tickets'
    )
    UNION ALL
    SELECT '961', 'column morning_message of view_pancake_setting', EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.view_pancake_setting') AND a.attname = 'morning_message'
    )
    UNION ALL
    SELECT '982', 'check of the names of connections', EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS k
        WHERE k.conrelid = to_regclass('public.pancake_connection') AND k.conname = 'ck_pancake_connection_name'
    )
    UNION ALL
    SELECT '989', 'condition of the trigger integration_change_record_delete', EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS g
        WHERE g.tgrelid = to_regclass('public.pancake_source') AND g.tgname = 'integration_change_record_delete' AND g.tgqual IS NOT NULL
    )
    UNION ALL
    SELECT '999', 'language of the function pancake_valid_hours', EXISTS (
        SELECT FROM pg_catalog.pg_proc AS f
        JOIN pg_catalog.pg_language AS l ON l.oid = f.prolang
        WHERE f.oid = to_regprocedure('public.pancake_valid_hours(text)') AND l.lanname = 'plpgsql'
    )
    UNION ALL
    SELECT '029', 'leads without a usable phone apart from broken ones', COALESCE((
        SELECT p.prosrc LIKE '%%NOT IN (''none'', ''lead'')%%'
        FROM pg_catalog.pg_proc AS p
        WHERE p.oid = to_regproc('public.pancake_report_row')
    ), false)
    UNION ALL
    SELECT
        '045', 'index ix_pancake_webhook_event_told_later', to_regclass('public.ix_pancake_webhook_event_told_later') IS NOT NULL
    UNION ALL
    SELECT '050', 'function pancake_unlock_events', to_regproc('public.pancake_unlock_events') IS NOT NULL
    UNION ALL
    SELECT '980', 'function pancake_count_event_logs', to_regproc('public.pancake_count_event_logs') IS NOT NULL
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
)
SELECT
    d.migration,
    count(*) AS expected,
    COALESCE(array_agg(d.name ORDER BY d.name) FILTER (WHERE NOT d.is_there), '{}') AS missing
FROM declared AS d
GROUP BY d.migration
ORDER BY d.migration

-- name: golive/load_ticket_source
-- Load the state of our ticket source.
-- Returns one row: is_there, is_disabled, tickets (how many refer to it). Relies on the primary key of crm_master_data; it reads
-- the whole table of tickets, which has no index on the source.
SELECT
    EXISTS (SELECT FROM public.crm_master_data AS m WHERE m.id = 'ticket_source_pancake') AS is_there,
    EXISTS (SELECT FROM public.crm_master_data AS m WHERE m.id = 'ticket_source_pancake' AND m.disabled) AS is_disabled,
    (SELECT count(*) FROM public.ticket AS t WHERE t.source_id = 'ticket_source_pancake') AS tickets

-- name: golive/load_connection
-- Load what the connection to Pancake has by now.
-- Returns one row per connection: name, is_disabled, has_key, is_delivered (the webhook brought a record).
-- Relies on pancake_connection, which is small, and on the events' indexes.
SELECT
    c.name,
    c.status = 'disabled' AS is_disabled,
    c.api_key_encrypted IS NOT NULL AS has_key,
    EXISTS (
        SELECT FROM public.pancake_webhook_event AS e WHERE e.connection_id = c.id AND e.origin = 'webhook'
    ) AS is_delivered
FROM public.pancake_connection AS c
ORDER BY c.name

-- name: golive/load_opening
-- Load what opens the pilot: the switches, the members of rosters, and whether a lead became a ticket.
-- Returns one row: is_held (by the kill switch), is_paused, active (names of active sources), members, is_waiting (a lead was held by the
-- kill switch), is_processed (an event made a ticket).
-- Relies on the settings, pancake_source and pancake_assignee, which are small, and on ix_pancake_webhook_event_ticket, …_held.
SELECT
    s.kill_switch AS is_held,
    s.processing_paused AS is_paused,
    COALESCE((
        SELECT array_agg(COALESCE(p.name, p.pancake_source_id) ORDER BY p.name)
        FROM public.pancake_source AS p
        WHERE p.is_active AND NOT p.is_removed
    ), '{}') AS active,
    (SELECT count(*) FROM public.pancake_assignee AS a WHERE a.is_active) AS members,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.status = 'skipped_kill_switch') AS is_waiting,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.ticket_id IS NOT NULL) AS is_processed
FROM public.view_pancake_setting AS s

-- name: golive/insert_roster
-- Add the active staff of a role to the default roster; who is in it stays as he is.
-- Returns nothing. Relies on staff and pancake_assignee, which are small.
INSERT INTO public.pancake_assignee (staff_id)
SELECT s.id
FROM public.staff AS s
WHERE s.role = public.pancake_staff_role(%(role)s) AND s.is_active
    AND NOT EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.staff_id = s.id AND a.source_id IS NULL)

-- name: golive/lock_deploy
-- Take the session lock of the deployment, which is held until the session ends.
-- Returns one row: locked. Relies on no table.
SELECT pg_try_advisory_lock(hashtext('leads golive deploy')) AS locked

-- name: golive/load_database
-- Load the name of the database and its time.
-- Returns one row: name, now. Relies on no table.
SELECT current_database() AS name, clock_timestamp() AS now

-- name: golive/load_installation
-- Load what tells this database from every other one: a copy that was restored elsewhere is another one.
-- Returns one row: name (of the database, with the identifier of its server; `sandbox:` before it if the setting pancake.sandbox is on
-- for the database, as it is stored: a session may have another). Relies on the catalog alone.
SELECT concat(
    CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting AS s
        INNER JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0 AND 'pancake.sandbox=on' = ANY (s.setconfig)
    ) THEN 'sandbox:' END,
    current_database(), '@', c.system_identifier
) AS name
FROM pg_control_system() AS c

-- name: golive/load_schema
-- Load what the rules of this database are.
-- Returns one row: schema (a digest of our functions, views and triggers; those of Hasura come and go with the metadata).
-- Relies on the catalog alone.
SELECT left((
    SELECT md5(string_agg(d.text, E'\n' ORDER BY d.text COLLATE "C"))
    FROM (
        SELECT concat_ws(' ', p.oid::regprocedure, p.prosrc) AS text
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname ~ '^(pancake|integration_change)_'
        UNION ALL
        SELECT concat_ws(' ', v.viewname, v.definition) FROM pg_catalog.pg_views AS v WHERE v.schemaname = 'public' AND v.viewname ~ '^view_pancake_'
        UNION ALL
        SELECT concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
        FROM pg_catalog.pg_trigger AS t
        INNER JOIN pg_catalog.pg_class AS r ON r.oid = t.tgrelid AND r.relname ~ '^(pancake|integration_change)'
        WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'notify\_hasura%%'
        UNION ALL
        SELECT concat_ws(' ', r.relname, r.relkind) FROM pg_catalog.pg_class AS r
        WHERE r.relnamespace = 'public'::regnamespace AND r.relkind IN ('r', 'p', 'v', 'm') AND r.relname ~ '^(pancake|integration_change)'
    ) AS d
), 12) AS schema

-- name: golive/empty_own_tables
-- Empty our tables before the rows of a dump are brought back into them.
-- Returns nothing. Relies on no index: it removes all rows.
TRUNCATE
    public.customer_erasure, public.integration_change, public.pancake_assignee, public.pancake_connection, public.pancake_cron_run,
    public.pancake_source, public.pancake_webhook_event

-- name: golive/load_settings
-- Load the settings of the integration.
-- Returns one row: settings. Relies on the primary key of Diva's table.
SELECT s.app_settings -> 'pancake_integration' AS settings FROM public.app_setting AS s WHERE s.id = 1

-- name: golive/update_settings
-- Bring the settings of the integration back. Other keys of Diva's row stay.
-- Returns nothing. Relies on the primary key of Diva's table.
UPDATE public.app_setting
SET app_settings = jsonb_set(app_settings, '{pancake_integration}', %(settings)s::text::jsonb)
WHERE id = 1

-- name: golive/list_drill_records
-- List the records of a drill as they are stored; `prefix` begins their ids.
-- Returns one row per record: record_id, events, is_processed, tickets.
-- Relies on nothing: it reads the whole tables of events and tickets, in staging.
WITH stored AS (
    SELECT e.record_id, count(*) AS events, bool_and(e.status = 'processed') AS is_processed
    FROM public.pancake_webhook_event AS e
    WHERE starts_with(e.record_id, %(prefix)s)
    GROUP BY e.record_id
), made AS (
    SELECT t.data #>> '{pancake,record_id}' AS record_id, count(*) AS tickets
    FROM public.ticket AS t
    WHERE starts_with(t.data #>> '{pancake,record_id}', %(prefix)s)
    GROUP BY 1
)
SELECT s.record_id, s.events, s.is_processed, COALESCE(m.tickets, 0) AS tickets
FROM stored AS s
LEFT JOIN made AS m ON m.record_id = s.record_id

-- name: golive/count_drill_events
-- Count the records of a drill by their state that were stored since a moment, by the clock of the database.
-- Returns one row: events, held (by the kill switch), processed.
-- Relies on ix_pancake_webhook_event_created_at.
SELECT
    count(*) AS events,
    count(*) FILTER (WHERE e.status = 'skipped_kill_switch') AS held,
    count(*) FILTER (WHERE e.status = 'processed') AS processed
FROM public.pancake_webhook_event AS e
WHERE e.created_at > %(since)s AND starts_with(e.record_id, %(prefix)s)

-- name: golive/find_account
-- Find the accounts of a phone, as processing does; it is explained, not run.
-- Returns id. Relies on account_normalized_phone_idx.
SELECT a.id FROM public.account AS a WHERE a.normalized_phone = %(phone)s

-- name: golive/find_events_of_phone
-- Find the events of a phone, as processing and the screens do; it is explained, not run.
-- Returns id. Relies on ix_pancake_webhook_event_phone.
SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.normalized_phone = %(phone)s

-- name: golive/find_event
-- Find the event of a version, as ingest does; it is explained, not run.
-- Returns id. Relies on uq_pancake_webhook_event_identity.
SELECT e.id
FROM public.pancake_webhook_event AS e
WHERE e.record_id = %(record_id)s AND e.modified_on = %(modified_on)s AND e.payload_hash = %(payload_hash)s

-- name: golive/insert_thousand_events
-- Insert 1,000 events as the handlers store them; the caller undoes it. Without a connection nothing is inserted.
-- Returns nothing. Relies on pancake_connection.
INSERT INTO public.pancake_webhook_event (connection_id, origin, record_id, modified_on, payload_hash, payload, status, arrived_at, created_at)
SELECT c.id, 'webhook', 'golive-' || n, now(), sha256(('golive-' || n)::bytea), '{"id": "golive"}', 'received', now(), now()
FROM (SELECT p.id FROM public.pancake_connection AS p LIMIT 1) AS c
CROSS JOIN generate_series(1, 1000) AS n

-- name: golive/load_size
-- Load how large the database is: its accounts as the planner estimates them, for counting a million rows would load it.
-- Returns one row: version (the major one), max_connections, accounts (null before the first ANALYZE). Relies on the catalog alone.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    current_setting('max_connections')::integer AS max_connections,
    (SELECT nullif(c.reltuples, -1)::bigint FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass('public.account')) AS accounts

-- name: golive/load_rights
-- Compare the rights of the roles with those that deploy/postgres/grant_roles.sql gives; `rights` is its list, as JSON.
-- Returns one row: granted (number of rights on tables that the roles have by name), missing and further (texts, one for each right).
-- A table of Hasura counts only if it is in this database. Relies on the catalog alone.
WITH listed AS (
    SELECT r.role AS role_name, r.name, r.privilege, c.column_name
    FROM jsonb_to_recordset(%(rights)s::jsonb) AS r (role text, name text, privilege text, columns text[])
    LEFT JOIN LATERAL unnest(r.columns) AS c (column_name) ON true
    WHERE r.name NOT LIKE 'hdb\_catalog.%%' OR to_regclass(r.name) IS NOT NULL
), on_tables AS (
    SELECT concat_ws(' ', l.role_name, l.privilege, l.name, l.column_name) AS name, CASE
        WHEN l.column_name IS NULL THEN has_table_privilege(to_regrole(l.role_name)::oid, to_regclass(l.name)::oid, l.privilege)
        ELSE has_column_privilege(to_regrole(l.role_name)::oid, to_regclass(l.name)::oid, a.attnum, l.privilege)
    END AS is_there
    FROM listed AS l
    LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = to_regclass(l.name) AND a.attname = l.column_name AND NOT a.attisdropped
), roles AS (
    SELECT DISTINCT l.role_name FROM listed AS l
), on_others AS (
    SELECT concat_ws(' ', r.role_name, 'USAGE schema', s.nspname) AS name,
        has_schema_privilege(to_regrole(r.role_name)::oid, s.oid, 'USAGE') AS is_there
    FROM roles AS r
    CROSS JOIN pg_catalog.pg_namespace AS s
    WHERE s.nspname IN ('public', 'hdb_catalog')
    UNION ALL
    SELECT concat_ws(' ', r.role_name, 'EXECUTE', f.oid::regprocedure), has_function_privilege(to_regrole(r.role_name)::oid, f.oid, 'EXECUTE')
    FROM roles AS r
    INNER JOIN pg_catalog.pg_proc AS f ON r.role_name = 'pancake_handlers' OR NOT f.prosecdef
    WHERE f.pronamespace = to_regnamespace('public') AND f.proname LIKE 'pancake\_%%' AND f.prorettype <> 'trigger'::regtype
        OR f.pronamespace = to_regnamespace('hdb_catalog') AND f.proname IN ('insert_event_log', 'gen_hasura_uuid')
    UNION ALL
    SELECT DISTINCT 'pancake_handlers USAGE ' || p.refobjid::regclass,
        CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(to_regrole('pancake_handlers')::oid, s.oid, 'USAGE') END
    FROM pg_catalog.pg_attrdef AS d
    INNER JOIN pg_catalog.pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
    INNER JOIN pg_catalog.pg_class AS s ON s.oid = p.refobjid AND p.refclassid = 'pg_class'::regclass AND s.relkind = 'S'
    WHERE d.adrelid IN (
        to_regclass('public.account'), to_regclass('public.contact_book'), to_regclass('public.ticket'), to_regclass('public.customer_consent')
    )
), granted AS (
    SELECT r.role_name, concat_ws('.', s.nspname, c.relname) AS name, g.privilege_type, g.column_name
    FROM roles AS r
    CROSS JOIN pg_catalog.pg_class AS c
    INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace AND s.nspname IN ('public', 'hdb_catalog')
    CROSS JOIN LATERAL (
        SELECT t.privilege_type, NULL AS column_name FROM aclexplode(c.relacl) AS t WHERE t.grantee = to_regrole(r.role_name)
        UNION ALL
        SELECT t.privilege_type, a.attname
        FROM pg_catalog.pg_attribute AS a
        CROSS JOIN LATERAL aclexplode(a.attacl) AS t
        WHERE a.attrelid = c.oid AND t.grantee = to_regrole(r.role_name) AND NOT a.attisdropped
    ) AS g
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), further AS (
    SELECT concat_ws(' ', g.role_name, g.privilege_type, g.name, g.column_name) AS name FROM granted AS g
    EXCEPT
    SELECT concat_ws(' ', l.role_name, l.privilege, l.name, l.column_name) FROM listed AS l
    UNION ALL
    SELECT concat_ws(' ', r.role_name, 'is a superuser, passes row security, or creates roles or databases')
    FROM roles AS r
    INNER JOIN pg_catalog.pg_roles AS p ON p.rolname = r.role_name
    WHERE p.rolsuper OR p.rolbypassrls OR p.rolcreaterole OR p.rolcreatedb OR p.rolreplication
    UNION ALL
    SELECT concat_ws(' ', r.role_name, 'INSERT hdb_catalog.event_log of any event: it has no row level security')
    FROM roles AS r
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('hdb_catalog.event_log')
    WHERE NOT c.relrowsecurity
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid AND p.polname = 'pancake_events_of_their_writes')
)
SELECT
    (SELECT count(*) FROM granted) AS granted,
    ARRAY(
        SELECT m.name FROM (SELECT t.name, t.is_there FROM on_tables AS t UNION ALL SELECT o.name, o.is_there FROM on_others AS o) AS m
        WHERE m.is_there IS NOT TRUE
        ORDER BY m.name
    ) AS missing,
    ARRAY(SELECT f.name FROM further AS f ORDER BY f.name) AS further

-- name: golive/load_scans
-- Load how often the large tables were read whole since the statistics began.
-- Returns one row per table: name, seq_scan. Relies on pg_stat_user_tables.
SELECT t.relname AS name, t.seq_scan
FROM pg_catalog.pg_stat_user_tables AS t
WHERE t.schemaname = 'public' AND t.relname IN ('account', 'contact_book', 'ticket', 'pancake_webhook_event') AND t.n_live_tup > 10000
ORDER BY t.relname

-- name: golive/load_index_scans
-- Load how often the indexes that every lead needs were read since the statistics began.
-- Returns one row per index: name, idx_scan, is_large (its table is large). Relies on pg_stat_user_indexes.
SELECT i.indexrelname AS name, i.idx_scan, t.n_live_tup > 10000 AS is_large
FROM pg_catalog.pg_stat_user_indexes AS i
JOIN pg_catalog.pg_stat_user_tables AS t ON t.relid = i.relid
WHERE i.schemaname = 'public' AND i.indexrelname IN ('account_normalized_phone_idx', 'uq_pancake_webhook_event_identity')
ORDER BY i.indexrelname

-- name: golive/count_new_events
-- Count the events that were stored since a time.
-- Returns one row: value. Relies on ix_pancake_webhook_event_created_at.
SELECT count(*) AS value FROM public.pancake_webhook_event AS e WHERE e.created_at >= %(from)s

-- name: golive/update_test_ticket
-- Mark the ticket of a smoke test as such, and close it.
-- Returns nothing. Relies on the primary key of ticket.
UPDATE public.ticket AS t
SET status = 'cancelled', data = t.data || '{"golive_smoke": true}', updated_at = now()
WHERE t.id = %(ticket_id)s

-- name: golive/load_record
-- Load the state of the newest event of a record, with its ticket.
-- Returns one row, or none: event_id, status, outcome, error_code, ticket, ticket_id, owner, seconds (from arrival to processed).
-- Relies on uq_pancake_webhook_event_identity.
SELECT
    e.id AS event_id, e.status, e.outcome, e.error_code, t.code AS ticket, t.id AS ticket_id, s.full_name AS owner,
    extract(epoch FROM e.processed_at - e.arrived_at)::float8 AS seconds
FROM public.pancake_webhook_event AS e
LEFT JOIN public.ticket AS t ON t.id = e.ticket_id
LEFT JOIN public.staff AS s ON s.id = t.assignee_id
WHERE e.record_id = %(record_id)s
ORDER BY e.id DESC
LIMIT 1

-- name: golive/check_diva_columns
-- Name the columns of Diva's tables that the integration uses and the database does not have (docs/diva-contract.md).
-- Returns a red finding (level, text) if any is missing.
-- Relies on the catalog alone.
WITH used AS (
    SELECT t.relation, unnest(string_to_array(t.columns, ' ')) AS attribute
    FROM (VALUES
        ('account', 'id display_name phone_code phone_number phone_enabled deleted_at created_at'),
        ('contact_book', 'id account_id name email address created_at updated_at'),
        ('crm_master_data', 'id name type disabled updated_at'),
        ('ticket', 'id code title description source_id account_id contact_book_id assignee_id status first_response_at data'),
        ('ticket', 'created_at updated_at'),
        ('staff', 'id full_name role is_active on_duty'),
        ('module_permission_action', 'id module action role'),
        ('notification_template', 'id code title body channel'),
        ('app_setting', 'id app_settings'),
        ('customer_consent', 'account_id consent_data consent_version')
    ) AS t (relation, columns)
), missing AS (
    SELECT u.relation || '.' || u.attribute AS name
    FROM used AS u
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.' || u.relation) AND a.attname = u.attribute AND NOT a.attisdropped
    )
)
SELECT
    'red' AS level,
    concat(count(*), ' of ', (SELECT count(*) FROM used), ' are missing: ', string_agg(m.name, ', ' ORDER BY m.name)) AS text
FROM missing AS m
HAVING count(*) > 0

-- name: golive/check_ticket_sources
-- Count Diva's own ticket sources.
-- Returns a red finding (level, text) with fewer than eight. Reads the whole table, which is small.
SELECT 'red' AS level, concat(count(*), ' ticket sources of Diva; 8 are needed') AS text
FROM public.crm_master_data AS m
WHERE m.type = 'ticket_source' AND m.id <> 'ticket_source_pancake'
HAVING count(*) < 8

-- name: golive/load_length
-- Load how long the window is.
-- Returns one row: days. Relies on no table.
SELECT extract(epoch FROM %(to)s::timestamptz - %(from)s::timestamptz)::float / 86400 AS days

-- name: golive/load_sources
-- Load the sources that were on, and the share of their leads that were held. Relies on ix_pancake_webhook_event_created_at,
-- ix_integration_change_row. A source that was on for less than an hour in all does not count, so that a mistake can be mended; deleted
-- ones do. Returns one row: most (on at the same time in the window), steady (on for its last six days, but for an hour), notice_vi and
-- notice_en (with forty of them: how many had no lead); leads (of a source that was on in the window, since it was first switched on,
-- unless its connection was disabled all the time), held (of them those that a switch held, or that arrived while processing was paused),
-- ratio (null without leads).
WITH source AS (
    SELECT s.id::text AS id, s.connection_id, s.pancake_source_id, s.is_active FROM public.pancake_source AS s
    UNION ALL
    -- Of one that had no name the history has no other id.
    SELECT h.row_id, (h.before ->> 'connection_id')::uuid, COALESCE(h.before ->> 'pancake_source_id', h.row_id), false
    FROM public.integration_change AS h
    WHERE h.kind = 'source' AND h.action = 'delete'
), active AS MATERIALIZED (
    -- A source is as it is now, unless a later change shows what was before it.
    SELECT m.connection_id, m.pancake_source_id, m.since, m.until, greatest(m.since, %(from)s) AS starts, least(m.until, %(to)s) AS ends
    FROM (
        SELECT
            s.connection_id, s.pancake_source_id, c.was_active, c.until,
            lag(c.until, 1, '-infinity') OVER (PARTITION BY s.id ORDER BY c.until, c.id) AS since
        FROM source AS s
        CROSS JOIN LATERAL (
            SELECT h.id, h.changed_at AS until, (h.before ->> 'is_active')::boolean AS was_active
            FROM public.integration_change AS h
            WHERE h.kind = 'source' AND h.row_id = s.id AND (h.before ? 'is_active' OR h.after ? 'is_active')
            UNION ALL
            SELECT NULL, 'infinity', s.is_active
        ) AS c
    ) AS m
    WHERE m.was_active AND m.until > m.since AND m.since < %(to)s
), counted AS MATERIALIZED (
    SELECT
        a.connection_id, a.pancake_source_id, min(a.since) AS since,
        sum(a.ends - a.starts) FILTER (WHERE a.ends > a.starts) >= '1 hour' AS is_in_window,
        sum(a.ends - greatest(a.since, %(to)s::timestamptz - interval '6 days')) FILTER (WHERE a.ends > %(to)s::timestamptz - interval '6 days')
            >= '6 days'::interval - '1 hour'::interval AS is_steady
    FROM active AS a
    GROUP BY a.connection_id, a.pancake_source_id
    HAVING sum(a.ends - greatest(a.since, '2000-01-01')) >= '1 hour' AND max(a.until) > %(from)s
), enabled AS (
    SELECT c.id
    FROM public.pancake_connection AS c
    WHERE
        EXISTS (
            SELECT FROM public.view_pancake_connection_status AS v
            WHERE
                v.connection_id = c.id AND v.status_after <> 'disabled'
                AND v.scheduled_time >= %(from)s AND v.scheduled_time < %(to)s
        )
        OR COALESCE((
            SELECT v.status_before FROM public.view_pancake_connection_status AS v
            WHERE v.connection_id = c.id AND v.scheduled_time >= %(from)s
            ORDER BY v.scheduled_time
            LIMIT 1
        ), c.status) <> 'disabled'
), pause AS MATERIALIZED (
    SELECT h.changed_at AS since, lead(h.changed_at, 1, 'infinity') OVER (ORDER BY h.id) AS until, h.after ->> 'processing_paused' AS is_on
    FROM public.integration_change AS h
    WHERE h.kind = 'setting' AND (h.before ? 'processing_paused' OR h.after ? 'processing_paused')
), arrived AS (
    SELECT e.held_at < %(to)s OR EXISTS (
        SELECT FROM pause AS p WHERE p.is_on = 'true' AND e.created_at >= p.since AND e.created_at < p.until
    ) AS was_held
    FROM public.pancake_webhook_event AS e
    WHERE
        e.created_at >= %(from)s
        AND e.created_at < %(to)s
        AND EXISTS (
            SELECT FROM counted AS a
            INNER JOIN enabled AS c ON c.id = a.connection_id
            WHERE a.connection_id = e.connection_id AND e.source_ids @> ARRAY[a.pancake_source_id] AND a.since <= e.created_at
        )
), named AS (
    SELECT DISTINCT e.connection_id, n.pancake_source_id
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL unnest(e.source_ids) AS n (pancake_source_id)
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s
), shown AS (
    SELECT
        COALESCE((
            SELECT max(n.sources) FROM (
                SELECT count(DISTINCT (b.connection_id, b.pancake_source_id)) AS sources
                FROM active AS a
                INNER JOIN active AS b ON b.since <= a.starts AND b.until > a.starts
                INNER JOIN counted AS k
                    ON k.is_in_window AND k.connection_id = b.connection_id AND k.pancake_source_id = b.pancake_source_id
                WHERE a.until > %(from)s
                GROUP BY a.connection_id, a.pancake_source_id, a.since
            ) AS n
        ), 0) AS most,
        (SELECT count(*) FROM counted AS k WHERE k.is_steady) AS steady,
        (
            SELECT count(*) FROM counted AS k
            WHERE k.is_steady AND NOT EXISTS (
                SELECT FROM named AS n WHERE n.connection_id = k.connection_id AND n.pancake_source_id = k.pancake_source_id
            )
        ) AS quiet,
        (SELECT count(*) FROM arrived AS r) AS leads,
        (SELECT count(*) FROM arrived AS r WHERE r.was_held) AS held
)
SELECT
    s.most, s.steady, s.leads, s.held, s.held::float / nullif(s.leads, 0) AS ratio,
    CASE WHEN s.steady >= 40 AND s.quiet > 0 THEN concat(s.quiet, ' source đang bật không có lead nào trong đợt') END AS notice_vi,
    CASE WHEN s.steady >= 40 AND s.quiet > 0 THEN concat(s.quiet, ' of the active sources had no lead in the wave') END AS notice_en
FROM shown AS s

-- name: golive/count_dead_letters
-- Load the share of dead letters among the deliveries of the window: all of them, as the checklist says.
-- Returns one row: events, processed (before its end), dead, explained (how often events can have become dead letters, but for what they hold: once more
-- than they were replayed, or as often if they are no dead letters now), ratio (null without events), details (how many are the fault of the
-- integration, of lead or sender, or of neither).
-- Relies on ix_pancake_webhook_event_created_at.
SELECT
    c.events, c.processed, c.dead, c.not_invalid + c.replays AS explained, c.dead::float / nullif(c.events, 0) AS ratio,
    CASE WHEN c.dead > 0 THEN
        concat('of the integration ', c.integration, ', of lead or sender ', c.sender, ', without a fault ', c.dead - c.integration - c.sender)
    END AS details
FROM (
    SELECT
        count(*) AS events,
        count(*) FILTER (WHERE e.status = 'processed' AND e.processed_at < %(to)s) AS processed,
        count(*) FILTER (WHERE e.status = 'dead_letter') AS dead,
        count(*) FILTER (WHERE e.status = 'dead_letter' AND public.pancake_event_is_invalid(e.error_code) IS NOT TRUE) AS not_invalid,
        -- One replay of a lead that was held is not that of a dead letter.
        COALESCE(sum(e.replay_count - CASE WHEN e.held_at IS NULL THEN 0 ELSE least(1, e.replay_count) END), 0)::bigint AS replays,
        count(*) FILTER (WHERE e.status = 'dead_letter' AND public.pancake_error_fault(e.error_code) = 'integration') AS integration,
        count(*) FILTER (WHERE e.status = 'dead_letter' AND public.pancake_error_fault(e.error_code) IN ('lead', 'sender')) AS sender
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s
) AS c

-- name: golive/load_tickets
-- Load the share of the tickets, made by the events of the window, that are gone, or that have a first response from before a manager
-- was told that they had none.
-- Returns one row: tickets, gone, earlier, ratio (of both; null without a ticket), notice_vi and notice_en (with one of them).
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    c.tickets, c.gone, c.earlier, (c.gone + c.earlier)::float / nullif(c.tickets, 0) AS ratio,
    CASE WHEN c.gone + c.earlier > 0 THEN
        concat(c.gone, ' ticket của lead không còn, ', c.earlier, ' ticket có giờ phản hồi trước lúc báo trễ SLA')
    END AS notice_vi,
    CASE WHEN c.gone + c.earlier > 0 THEN
        concat(c.gone, ' tickets of leads are gone, ', c.earlier, ' were answered before the alarm that they were not')
    END AS notice_en
FROM (
    SELECT
        count(*) AS tickets,
        count(*) FILTER (WHERE t.id IS NULL) AS gone,
        -- An alarm from before the ticket was made is that of another one.
        count(*) FILTER (WHERE t.first_response_at < a.told_at AND t.created_at <= a.told_at) AS earlier
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL (SELECT (e.evidence ->> 'sla_notified_at')::timestamptz AS told_at) AS a
    -- OFFSET 0 as in pancake_created_ticket.
    LEFT JOIN LATERAL (
        SELECT k.id, k.first_response_at, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t ON true
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.outcome = 'ticket_created'
) AS c

-- name: golive/count_replays
-- Count the events that a person replayed in the window and that are processed now.
-- Returns one row: value. Relies on ix_pancake_webhook_event_replayed.
SELECT count(*) AS value
FROM public.pancake_webhook_event AS e
WHERE e.replayed_at >= %(from)s AND e.replayed_at < %(to)s AND e.status = 'processed'

-- name: golive/count_suspensions
-- Count how often a connection became suspended in the window; those that were suspended before and still are count too.
-- Returns one row: value, null if the connection was not checked in the window; checks and needed (nine of ten that were due, every five
-- minutes since it was created, but for the time that it was disabled), both of the connection that was checked the least. No row
-- without a connection. Reads the runs of check_connection.
WITH state AS (
    -- A connection is as it is now, unless a later change shows what was before it.
    SELECT
        s.id, s.status, s.until,
        greatest(s.created_at, lag(s.until, 1, '-infinity') OVER (PARTITION BY s.id ORDER BY s.until), %(from)s) AS since
    FROM (
        SELECT p.id, p.created_at, v.status_before AS status, v.scheduled_time AS until
        FROM public.view_pancake_connection_status AS v
        INNER JOIN public.pancake_connection AS p ON p.id = v.connection_id
        UNION ALL
        SELECT p.id, p.created_at, p.status, 'infinity' FROM public.pancake_connection AS p
    ) AS s
), due AS (
    SELECT s.id, floor(0.9 / 300 * extract(epoch FROM sum(least(s.until, %(to)s::timestamptz) - s.since)))::integer AS needed
    FROM state AS s
    WHERE s.status <> 'disabled' AND s.since < s.until AND s.since < %(to)s
    GROUP BY s.id
), checked AS (
    SELECT f.report ->> 'connection_id' AS connection_id, count(*) AS checks
    FROM public.pancake_cron_run AS r
    CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'connections') AS f (report)
    WHERE
        r.name = 'check_connection'
        AND r.outcome = 'succeeded'
        AND r.finished_at >= %(from)s
        AND r.finished_at < %(to)s
    GROUP BY f.report ->> 'connection_id'
)
SELECT
    CASE WHEN n.checks > 0 THEN greatest(
        (
            SELECT count(*) FROM public.view_pancake_connection_status AS v
            WHERE v.status_after = 'suspended' AND v.scheduled_time >= %(from)s AND v.scheduled_time < %(to)s
        ),
        (
            SELECT count(*) FROM public.pancake_connection AS p
            WHERE p.status = 'suspended' AND p.status_changed_at < %(to)s
        )
    ) END AS value,
    COALESCE(n.checks, 0) AS checks,
    d.needed
FROM due AS d
LEFT JOIN checked AS n ON n.connection_id = d.id::text
ORDER BY COALESCE(n.checks, 0)::float / nullif(d.needed, 0)
LIMIT 1

-- name: golive/count_unenforced
-- Count the connections that enforced no signature or header secret, and no address ranges, at the end of the window: as they are
-- now, unless a later change shows what was before it. Those that were disabled in the whole window do not count.
-- Returns one row: signature, allowlist; both null without a connection. Reads the connections, which are few. Relies on
-- ix_integration_change_row.
SELECT
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE COALESCE(s.mode, c.signature_mode) <> 'enforce') END AS signature,
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE COALESCE(a.mode, c.allowlist_mode) <> 'enforce') END AS allowlist
FROM public.pancake_connection AS c
LEFT JOIN LATERAL (
    SELECT h.before ->> 'signature_mode' AS mode
    FROM public.integration_change AS h
    WHERE h.kind = 'connection' AND h.row_id = c.id::text AND h.changed_at >= %(to)s AND h.before ? 'signature_mode'
    ORDER BY h.id
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT h.before ->> 'allowlist_mode' AS mode
    FROM public.integration_change AS h
    WHERE h.kind = 'connection' AND h.row_id = c.id::text AND h.changed_at >= %(to)s AND h.before ? 'allowlist_mode'
    ORDER BY h.id
    LIMIT 1
) AS a ON true
WHERE COALESCE((
    SELECT CASE WHEN v.scheduled_time < %(to)s THEN 'changed' ELSE v.status_before END
    FROM public.view_pancake_connection_status AS v
    WHERE v.connection_id = c.id AND v.scheduled_time >= %(from)s
    ORDER BY v.scheduled_time
    LIMIT 1
), c.status) <> 'disabled'

-- name: golive/check_migration_log
-- Compare Diva's newest migration with the one before those of the integration.
-- Returns a red finding (level, text) if it is another one. Relies on the primary key of controller.migration_log.
SELECT
    'red' AS level,
    concat('Diva''s newest migration is ', coalesce(max(l."timestamp")::text, 'unknown'), ', not 1777870069927') AS text
FROM controller.migration_log AS l
HAVING max(l."timestamp") IS DISTINCT FROM 1777870069927

-- name: golive/load_nights
-- Load what the nights (02:00 to 04:00 in Vietnam) of the window found: of each day that was over, of each connection that existed and
-- was not disabled all day, the newest reconciliation; and the events that Hasura's log counted, by the largest count, that are not stored any more.
-- Returns one row: left_missing, found_missing_worst (of a day), reconciled and to_reconcile (days times connections), details (no report,
-- or made up later than in its own night); not_stored, logged and to_log (days). All but the numbers of days are null without a report.
-- Relies on uq_pancake_cron_run_tick, pk_pancake_webhook_event.
WITH night AS (
    SELECT
        d.day::date AS day, (d.day + interval '1 day') AT TIME ZONE 'Asia/Ho_Chi_Minh' AS ended_at,
        (d.day + interval '28 hours') AT TIME ZONE 'Asia/Ho_Chi_Minh' <= %(to)s AS is_over
    FROM generate_series(
        ((%(from)s::timestamptz - interval '2 hours') AT TIME ZONE 'Asia/Ho_Chi_Minh')::date::timestamp,
        (%(to)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date - interval '1 day',
        interval '1 day'
    ) AS d (day)
), report AS (
    SELECT d.report ->> 'day' AS day, d.report ->> 'connection_id' AS connection_id, d.report, r.started_at, r.finished_at
    FROM public.pancake_cron_run AS r
    CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'days') AS d (report)
    WHERE
        r.name = 'reconcile_daily'
        AND r.outcome IN ('succeeded', 'failed')
        AND r.finished_at >= %(from)s
        AND r.finished_at < %(to)s
        AND d.report ? 'left_missing'
), reconciled AS (
    SELECT
        n.day, c.name, w.report IS NOT NULL AND NOT w.report ? 'error' AS is_there, w.started_at >= n.ended_at + interval '1 day' AS is_late,
        jsonb_array_length(w.report -> 'left_missing') AS left_missing,
        CASE WHEN w.report IS NOT NULL THEN (
            SELECT count(DISTINCT f.record_id)
            FROM report AS r
            CROSS JOIN LATERAL jsonb_array_elements_text(r.report -> 'found_missing') AS f (record_id)
            WHERE r.day = n.day::text AND r.connection_id = c.id::text
        ) END AS found_missing
    FROM night AS n
    INNER JOIN public.pancake_connection AS c ON c.created_at < n.ended_at AND COALESCE((
        SELECT CASE WHEN v.scheduled_time < n.ended_at THEN 'changed' ELSE v.status_before END
        FROM public.view_pancake_connection_status AS v
        WHERE v.connection_id = c.id AND v.scheduled_time >= n.ended_at - interval '1 day'
        ORDER BY v.scheduled_time
        LIMIT 1
    ), c.status) <> 'disabled'
    LEFT JOIN LATERAL (
        SELECT r.report, r.started_at
        FROM report AS r
        WHERE r.day = n.day::text AND r.connection_id = c.id::text
        ORDER BY r.finished_at DESC
        LIMIT 1
    ) AS w ON true
    WHERE n.is_over OR w.report IS NOT NULL
), logged AS (
    SELECT n.day, w.entry IS NOT NULL AS is_there, greatest(0, (w.entry ->> 'events')::bigint - s.stored) AS not_stored
    FROM night AS n
    LEFT JOIN LATERAL (
        SELECT l.entry
        FROM public.pancake_cron_run AS r
        CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'engine_log') AS l (entry)
        WHERE
            r.name = 'purge_events'
            AND r.outcome = 'succeeded'
            AND r.finished_at >= %(from)s
            AND r.finished_at < %(to)s
            AND jsonb_typeof(r.report -> 'engine_log') = 'array'
            AND l.entry ->> 'day' = n.day::text
        ORDER BY (l.entry ->> 'events')::bigint DESC
        LIMIT 1
    ) AS w ON true
    -- Every insert is in the log, also that of an event which was held or was a dead letter from the start.
    LEFT JOIN LATERAL (
        SELECT count(*) AS stored
        FROM public.pancake_webhook_event AS e
        WHERE e.id BETWEEN (w.entry ->> 'first_id')::bigint AND (w.entry ->> 'last_id')::bigint
    ) AS s ON true
    WHERE n.is_over OR w.entry IS NOT NULL
)
SELECT m.*, l.*
FROM (
    SELECT
        sum(r.left_missing)::integer AS left_missing,
        (SELECT max(w.found) FROM (SELECT sum(b.found_missing) AS found FROM reconciled AS b GROUP BY b.day) AS w)::integer
            AS found_missing_worst,
        count(*) FILTER (WHERE r.is_there) AS reconciled,
        count(*) AS to_reconcile,
        concat_ws(
            '; ',
            'no report: ' || string_agg(concat(r.day, ' ', r.name), ', ' ORDER BY r.day, r.name) FILTER (WHERE NOT r.is_there),
            'made up later: ' || string_agg(concat(r.day, ' ', r.name), ', ' ORDER BY r.day, r.name) FILTER (WHERE r.is_there AND r.is_late)
        ) AS details
    FROM reconciled AS r
) AS m
CROSS JOIN (
    SELECT sum(g.not_stored)::integer AS not_stored, count(*) FILTER (WHERE g.is_there) AS logged, count(*) AS to_log FROM logged AS g
) AS l

-- name: golive/list_ledgers
-- List what the reconciliations of the window knew of each day and connection, the newest report of each, and how many of the records
-- that it names as rejected were recoded since: they have another error or none, and no person replayed them.
-- Returns day, connection_id, tables, records (by their first event), recoded. Relies on uq_pancake_cron_run_tick,
-- uq_pancake_webhook_event_identity.
SELECT DISTINCT ON (d.report ->> 'day', c.id)
    (d.report ->> 'day')::date AS day, c.id AS connection_id,
    -- As they were then.
    COALESCE((
        SELECT ARRAY(SELECT jsonb_array_elements_text(h.before -> 'table_names'))
        FROM public.integration_change AS h
        WHERE h.kind = 'connection' AND h.row_id = c.id::text AND h.changed_at >= r.finished_at AND h.before ? 'table_names'
        ORDER BY h.id
        LIMIT 1
    ), c.table_names) AS tables,
    (SELECT COALESCE(sum(f.records::integer), 0) FROM jsonb_each_text(d.report -> 'first_seen') AS f (origin, records)) AS records,
    (
        SELECT count(*)
        FROM jsonb_array_elements(d.report -> 'rejected') AS j (pair)
        WHERE NOT EXISTS (
            SELECT FROM public.pancake_webhook_event AS e
            WHERE
                e.connection_id = c.id AND e.record_id = j.pair ->> 0
                AND (e.replay_count > 0 OR e.error_code = 'erased' OR COALESCE(e.error_code, 'unknown') = j.pair ->> 1)
        )
    ) AS recoded
FROM public.pancake_cron_run AS r
CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'days') AS d (report)
INNER JOIN public.pancake_connection AS c ON c.id::text = d.report ->> 'connection_id'
WHERE
    r.name = 'reconcile_daily'
    AND r.outcome IN ('succeeded', 'failed')
    AND r.finished_at >= %(from)s
    AND r.finished_at < %(to)s
    AND d.report ? 'left_missing'
    AND NOT d.report ? 'error'
ORDER BY d.report ->> 'day', c.id, r.finished_at DESC

-- name: golive/count_deliveries
-- Count the deliveries of the webhook that were stored in the window.
-- Returns one row: events, held (how many were held when they arrived or later), connections (the ids of all).
-- Relies on ix_pancake_webhook_event_created_at.
SELECT
    count(*) AS events,
    count(e.held_at) AS held,
    ARRAY(SELECT c.id::text FROM public.pancake_connection AS c ORDER BY c.id) AS connections
FROM public.pancake_webhook_event AS e
WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.origin = 'webhook'

-- name: golive/count_early_tickets
-- Count the leads that became tickets before a time: not those that were held or waited then.
-- Returns one row: value. Relies on ix_pancake_webhook_event_created_at.
SELECT count(*) AS value
FROM public.pancake_webhook_event AS e
WHERE e.created_at < %(to)s AND e.ticket_id IS NOT NULL AND COALESCE(e.first_processed_at, e.processed_at) < %(to)s

-- name: golive/load_reconciliation
-- Load how long the slowest daily reconciliation of the window took, from its first call to its end.
-- Returns one row: longest_minutes, runs; the first null without a run. Relies on uq_pancake_cron_run_tick.
SELECT
    max(extract(epoch FROM r.finished_at - r.started_at))::float / 60 AS longest_minutes,
    count(*) AS runs
FROM public.pancake_cron_run AS r
WHERE
    r.name = 'reconcile_daily'
    AND r.outcome IN ('succeeded', 'failed')
    AND r.finished_at >= %(from)s
    AND r.finished_at < %(to)s

-- name: golive/load_pauses
-- Load the longest times, in hours, that ended in the window and in which no nightly reconciliation, and no check of the connections, began
-- or ended: of both the shorter one, so that a run that was put between others has to have both times.
-- Returns one row: reconcile_hours, check_hours; infinity without a run. Relies on uq_pancake_cron_run_tick.
SELECT
    COALESCE(min(m.hours) FILTER (WHERE m.name = 'reconcile_daily'), 'infinity') AS reconcile_hours,
    COALESCE(min(m.hours) FILTER (WHERE m.name = 'check_connection'), 'infinity') AS check_hours
FROM (
    SELECT p.name, max(extract(epoch FROM p.until - p.at))::float / 3600 AS hours
    FROM (
        SELECT r.name, t.kind, t.at, lead(t.at, 1, %(to)s) OVER (PARTITION BY r.name, t.kind ORDER BY t.at) AS until
        FROM public.pancake_cron_run AS r
        CROSS JOIN LATERAL (VALUES ('start', r.started_at), ('end', r.finished_at)) AS t (kind, at)
        WHERE r.name IN ('reconcile_daily', 'check_connection') AND r.outcome IN ('succeeded', 'failed') AND t.at < %(to)s
    ) AS p
    WHERE p.until >= %(from)s
    GROUP BY p.name, p.kind
) AS m

-- name: golive/list_tables
-- List the tables of the schema public. Returns one row: oids. Relies on the catalog alone.
SELECT ARRAY(
    SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace('public')
) AS oids

-- name: golive/list_locks
-- List which of the tables `oids` this transaction keeps others from writing until it ends, without those that it has dropped.
-- Returns rows: name, blocks_readers (whether from reading too). Relies on the locks of this session alone.
SELECT c.oid::regclass::text AS name, bool_or(l.mode = 'AccessExclusiveLock') AS blocks_readers
FROM pg_catalog.pg_locks AS l
INNER JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid()
    AND l.relation = ANY (%(oids)s::oid[])
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
GROUP BY c.oid
ORDER BY name
