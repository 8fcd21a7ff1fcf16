-- Give the roles pancake_handlers and pancake_operators the rights that the statements of the handlers, and those of the
-- operators' command `leads`, need, and no others. The edge's machine needs no database.
-- Run it as a role that owns the tables of Diva, of the integration and of Hasura (or a superuser): after the migrations, after
-- Hasura's first start, and again whenever tables were created anew. It may run at any time: what does not exist yet is named in a
-- warning. If Hasura's metadata are in another database, run it there too. docs/runbook/install.md has the commands.
DO $$
DECLARE
    roles CONSTANT text[] := '{pancake_handlers,pancake_operators}';
    item record;
    role_name text;
    column_name text;
    missing text[] := '{}';
    readers text;
BEGIN
    FOREACH role_name IN ARRAY roles LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;

    -- What an earlier version of this file granted. Other sessions see old and new rights change at once, at the commit.
    FOR item IN
        SELECT DISTINCT c.oid::regclass AS name, r.role_name
        FROM unnest(roles) AS r (role_name)
        CROSS JOIN pg_catalog.pg_class AS c
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
        CROSS JOIN LATERAL aclexplode(c.relacl || a.attacl) AS g
        WHERE g.grantee = r.role_name::regrole AND c.relkind IN ('r', 'p', 'v')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', item.name, item.role_name);
    END LOOP;

    -- One line for each right: table, right, and the columns if it is not for the whole table.
    FOR item IN
        SELECT 'pancake_handlers' AS role_name, g.name, g.privilege, string_to_array(g.columns, ', ') AS columns
        FROM (VALUES
            -- Diva's. staff is read, never written; a row of Diva is never deleted.
            ('public.account', 'SELECT', 'id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, pancake_metadata, deleted_at, created_at'),
            ('public.account', 'INSERT', 'id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, pancake_metadata, created_at'),
            ('public.account', 'UPDATE', 'normalized_phone, pancake_metadata'),
            ('public.contact_book', 'SELECT', 'id, account_id, primary_phone, name, email, address, updated_at'),
            ('public.contact_book', 'INSERT', 'account_id, primary_phone, name, email, address, created_at, updated_at'),
            ('public.contact_book', 'UPDATE', 'account_id, name, email, address, updated_at'),
            ('public.ticket', 'SELECT', 'id, code, title, description, source_id, account_id, contact_book_id, assignee_id, status, first_response_at, data, created_at'),
            ('public.ticket', 'INSERT', 'id, title, description, source_id, account_id, contact_book_id, assignee_id, status, data, created_at, updated_at'),
            ('public.ticket', 'UPDATE', 'title, description, account_id, contact_book_id, assignee_id, data, updated_at'),
            ('public.staff', 'SELECT', 'id, full_name, role, is_active, on_duty'),
            ('public.customer_consent', 'SELECT', 'account_id, consent_data, consent_version'),
            ('public.customer_consent', 'INSERT', 'account_id, consent_data, consent_version'),
            ('public.view_pancake_setting', 'SELECT', NULL),
            -- The integration's. Secrets, sources' switches and rosters are written by operators and screens only.
            ('public.pancake_connection', 'SELECT', NULL),
            ('public.pancake_connection', 'UPDATE', 'status, status_changed_at, last_poll_at, poll_watermark, updated_at'),
            ('public.pancake_source', 'SELECT', NULL),
            ('public.pancake_source', 'INSERT', 'connection_id, pancake_source_id, name, parent_source_id, is_removed, first_seen_at, synced_at'),
            ('public.pancake_source', 'UPDATE', 'name, parent_source_id, is_removed, synced_at, announced_at'),
            ('public.pancake_assignee', 'SELECT', NULL),
            ('public.pancake_assignee', 'UPDATE', 'assigned_count, total_assigned, last_assigned_seq, was_available, assigned_on, assigned_today, share_until'),
            ('public.pancake_webhook_event', 'SELECT', NULL),
            ('public.pancake_webhook_event', 'INSERT', NULL),
            ('public.pancake_webhook_event', 'UPDATE', NULL),
            ('public.pancake_cron_run', 'SELECT', NULL),
            ('public.pancake_cron_run', 'INSERT', NULL),
            ('public.pancake_cron_run', 'UPDATE', NULL),
            ('public.pancake_cron_run', 'DELETE', NULL),
            ('public.view_pancake_connection_status', 'SELECT', NULL),
            ('public.customer_erasure', 'SELECT', 'id, digest, connection_id, table_name, erased_at'),
            -- Hasura's. Its trigger functions run with the rights of the session that writes a row: without INSERT no lead is stored.
            -- Which events, a policy says below. What else they do with our events in this log, functions of the migrations do.
            ('hdb_catalog.event_log', 'INSERT', NULL),
            -- For the metrics: state and times of events, no payloads.
            ('hdb_catalog.event_log', 'SELECT', 'trigger_name, delivered, error, archived, locked, created_at'),
            ('hdb_catalog.hdb_cron_events', 'SELECT', 'id, trigger_name, scheduled_time, status'),
            ('hdb_catalog.hdb_cron_events', 'DELETE', NULL),
            ('hdb_catalog.hdb_cron_event_invocation_logs', 'SELECT', 'event_id'),
            ('hdb_catalog.hdb_cron_event_invocation_logs', 'DELETE', NULL)
        ) AS g (name, privilege, columns)
        UNION ALL
        SELECT 'pancake_operators', g.name, g.privilege, string_to_array(g.columns, ', ')
        FROM (VALUES
            -- Diva's: backfill-phones, tickets, and what status, trace and reconcile read.
            ('public.account', 'SELECT', 'id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, deleted_at'),
            ('public.account', 'UPDATE', 'normalized_phone'),
            ('public.contact_book', 'SELECT', 'account_id, primary_phone'),
            ('public.ticket', 'SELECT', 'id, code, source_id, account_id, assignee_id, status, first_response_at, data, created_at'),
            ('public.ticket', 'UPDATE', 'source_id, data'),
            ('public.staff', 'SELECT', 'id, full_name, role, is_active, on_duty'),
            -- When a connection was suspended or disabled, for the gates of the go-live.
            ('public.view_pancake_connection_status', 'SELECT', 'connection_id, status_before, status_after, scheduled_time'),
            -- The switches, and no other setting: the trigger of the view writes Diva's table with the rights of its owner.
            ('public.view_pancake_setting', 'SELECT', NULL),
            ('public.view_pancake_setting', 'UPDATE', 'kill_switch, processing_paused, change_reason'),
            ('public.pancake_source', 'UPDATE', 'is_active, change_reason'),
            -- The integration's: connection and reconcile. The base URL of a connection is set when it is created, and never changed.
            ('public.pancake_connection', 'SELECT', NULL),
            ('public.pancake_connection', 'INSERT', 'id, name, workspace_id, table_names, api_base_url, record_timezone, api_key_encrypted, header_secret_encrypted, signature_mode, token_sha256'),
            ('public.pancake_connection', 'UPDATE', 'record_timezone, api_key_encrypted, token_sha256, previous_token_sha256, previous_token_expires_at, webhook_secret_encrypted, previous_webhook_secret_encrypted, previous_webhook_secret_expires_at, header_secret_encrypted, previous_header_secret_encrypted, previous_header_secret_expires_at, status, status_changed_at, poll_watermark, updated_at'),
            ('public.pancake_source', 'SELECT', NULL),
            ('public.pancake_source', 'INSERT', NULL),
            ('public.pancake_assignee', 'SELECT', NULL),
            ('public.pancake_webhook_event', 'SELECT', NULL),
            ('public.pancake_webhook_event', 'INSERT', NULL),
            ('public.pancake_webhook_event', 'UPDATE', 'payload, normalized_phone, status, origin, created_at, replayed_by, replayed_at'),
            ('public.pancake_cron_run', 'SELECT', NULL),
            ('public.pancake_cron_run', 'INSERT', NULL),
            ('public.pancake_cron_run', 'UPDATE', NULL),
            -- What reconcile stores is compared with it; rotate-keys names its keys.
            ('public.customer_erasure', 'SELECT', 'id, digest, connection_id, table_name, erased_at'),
            -- The history of changes is written by triggers with the rights of their owner.
            ('public.integration_change', 'SELECT', 'id, transaction_id, changed_at, kind, action, row_id, name, changed_by, hasura_role, database_role, application, before, after, reason'),
            -- Hasura's, for its trigger function, when reconcile stores a lead.
            ('hdb_catalog.event_log', 'INSERT', NULL)
        ) AS g (name, privilege, columns)
    LOOP
        IF to_regclass(item.name) IS NULL THEN
            missing := missing || item.name;
            CONTINUE;
        ELSIF item.columns IS NULL THEN
            EXECUTE format('GRANT %s ON TABLE %s TO %I', item.privilege, item.name, item.role_name);
            CONTINUE;
        END IF;
        FOREACH column_name IN ARRAY item.columns LOOP
            IF EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = item.name::regclass AND a.attname = column_name AND NOT a.attisdropped
            ) THEN
                EXECUTE format('GRANT %s (%I) ON TABLE %s TO %I', item.privilege, column_name, item.name, item.role_name);
            ELSE
                missing := missing || (item.name || '.' || column_name);
            END IF;
        END LOOP;
    END LOOP;

    -- Sequences in the defaults of the columns of Diva's tables, for example of ticket.code.
    FOR item IN
        SELECT DISTINCT s.oid::regclass AS name
        FROM pg_catalog.pg_attrdef AS d
        JOIN pg_catalog.pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
        JOIN pg_catalog.pg_class AS s ON p.refclassid = 'pg_class'::regclass AND s.oid = p.refobjid AND s.relkind = 'S'
        WHERE d.adrelid = ANY (ARRAY[to_regclass('public.account'), to_regclass('public.contact_book'), to_regclass('public.ticket'),
            to_regclass('public.customer_consent')])
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO pancake_handlers', item.name);
    END LOOP;

    -- Where functions are not executable by every role, as they are by default. Those with the rights of their owner are for the
    -- handlers alone.
    FOR item IN
        SELECT f.oid::regprocedure AS name, r.role_name
        FROM pg_catalog.pg_proc AS f
        JOIN unnest(roles) AS r (role_name) ON r.role_name = 'pancake_handlers' OR NOT f.prosecdef
        WHERE f.pronamespace = to_regnamespace('public') AND f.proname LIKE 'pancake\_%' AND f.prorettype <> 'trigger'::regtype
            OR f.pronamespace = to_regnamespace('hdb_catalog') AND f.proname IN ('insert_event_log', 'gen_hasura_uuid')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', item.name, item.role_name);
    END LOOP;

    GRANT USAGE ON SCHEMA public TO pancake_handlers, pancake_operators;
    IF to_regnamespace('hdb_catalog') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA hdb_catalog TO pancake_handlers, pancake_operators;
    END IF;

    -- Hasura's log takes from both roles what their own writes fire, and nothing else: an event of our trigger, or one that a trigger of
    -- Hasura on a table that they write logs; never one invoked by hand, never in the name of a user. Other roles write as before.
    SELECT c.relowner, c.relrowsecurity, pg_has_role(c.relowner, 'USAGE') AS is_mine, coalesce(p.names, '{}') AS policies INTO item
    FROM pg_catalog.pg_class AS c
    CROSS JOIN LATERAL (SELECT array_agg(y.polname) AS names FROM pg_catalog.pg_policy AS y WHERE y.polrelid = c.oid) AS p
    WHERE c.oid = to_regclass('hdb_catalog.event_log');
    IF FOUND AND item.is_mine THEN
        PERFORM set_config('lock_timeout', '5s', true);
        IF 'pancake_as_before' <> ALL (item.policies) THEN
            EXECUTE format('CREATE POLICY pancake_as_before ON hdb_catalog.event_log TO %s USING (true) WITH CHECK (true)',
                CASE WHEN item.relrowsecurity THEN 'pancake_handlers, pancake_operators' ELSE 'PUBLIC' END);
        END IF;
        DROP POLICY IF EXISTS pancake_events_of_their_writes ON hdb_catalog.event_log;
        CREATE POLICY pancake_events_of_their_writes ON hdb_catalog.event_log AS RESTRICTIVE FOR INSERT
            TO pancake_handlers, pancake_operators
            WITH CHECK (
                payload ->> 'op' IN ('INSERT', 'UPDATE')
                AND payload ->> 'session_variables' IS NULL
                AND (
                    trigger_name = 'pancake_webhook_event_status_update'
                    OR pg_trigger_depth() > 0 AND EXISTS (
                        SELECT
                        FROM pg_catalog.pg_trigger AS t
                        -- Not a temporary table: that is the role's, and may have a trigger of any name.
                        JOIN pg_catalog.pg_class AS r ON r.oid = t.tgrelid AND r.relpersistence <> 't'
                        WHERE t.tgrelid = to_regclass(format('%I.%I', schema_name, table_name))
                            AND t.tgname IN ('notify_hasura_' || trigger_name || '_INSERT', 'notify_hasura_' || trigger_name || '_UPDATE')
                            AND has_any_column_privilege(t.tgrelid, 'INSERT, UPDATE')
                    )
                )
            );
        ALTER TABLE hdb_catalog.event_log ENABLE ROW LEVEL SECURITY;
        SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) INTO readers
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls
            AND NOT pg_has_role(r.oid, item.relowner, 'USAGE')
            AND has_table_privilege(r.oid, 'hdb_catalog.event_log', 'SELECT');
        IF readers IS NOT NULL THEN
            RAISE WARNING 'pg_dump of hdb_catalog.event_log fails from now on for these roles, because it has row level security: %. If one makes backups: ALTER ROLE … BYPASSRLS, or pg_dump --enable-row-security', readers;
        END IF;
    ELSIF FOUND AND 'pancake_events_of_their_writes' <> ALL (item.policies) THEN
        RAISE WARNING 'only the owner of hdb_catalog.event_log can limit which events the roles write: run this as that role too';
    END IF;
    IF has_schema_privilege('pancake_handlers', 'public', 'CREATE') THEN
        RAISE WARNING 'every role may create tables in the schema public: REVOKE CREATE ON SCHEMA public FROM PUBLIC';
    END IF;
    -- One right at a time: of a list has_table_privilege asks for any.
    FOR item IN
        SELECT f.proowner::regrole AS owner, string_agg(DISTINCT f.oid::regprocedure::text, ', ') AS functions,
            string_agg(DISTINCT p.name, ', ') AS lacking
        FROM pg_catalog.pg_proc AS f
        CROSS JOIN (VALUES ('SELECT'), ('UPDATE'), ('DELETE')) AS p (name)
        WHERE f.pronamespace = to_regnamespace('public') AND f.proname LIKE 'pancake\_%' AND f.prorettype <> 'trigger'::regtype AND f.prosecdef
            AND NOT has_table_privilege(f.proowner, to_regclass('hdb_catalog.event_log'), p.name)
        GROUP BY f.proowner
    LOOP
        RAISE WARNING 'role % owns functions that read and change Hasura''s log, and lacks % on hdb_catalog.event_log: ALTER FUNCTION … OWNER TO the role of Hasura. The functions: %', item.owner, item.lacking, item.functions;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE WARNING 'not granted, because these do not exist: %. Run this again once they do', (SELECT string_agg(DISTINCT m.name, ', ') FROM unnest(missing) AS m (name));
    END IF;
END
$$;
