-- name: engine/count_waiting
-- Count the rows that wait to be processed. Returns one row: their number.
-- Relies on ix_pancake_webhook_event_waiting.
SELECT count(*)
FROM public.pancake_webhook_event AS e
WHERE e.status = 'received'

-- name: engine/count_pending
-- Count the events of our event trigger that the engine has yet to deliver. Returns one row: their number.
SELECT count(*)
FROM hdb_catalog.event_log AS l
WHERE
    l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
    AND l.trigger_name = 'pancake_webhook_event_status_update'

-- name: engine/fire_waiting
-- Fire the oldest rows that wait and have no event, of any age: as retry_failed/refire_received does for old ones.
-- Returns one row: their number, at most 500. Relies on ix_pancake_webhook_event_waiting.
WITH pending AS MATERIALIZED (
    SELECT (l.payload -> 'data' -> 'new' ->> 'id')::bigint AS id
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
), fired AS (
    UPDATE public.pancake_webhook_event AS e
    SET status = 'received'
    WHERE
        e.id IN (
            SELECT r.id
            FROM public.pancake_webhook_event AS r
            WHERE r.status = 'received' AND NOT EXISTS (SELECT FROM pending AS p WHERE p.id = r.id)
            ORDER BY r.received_at
            LIMIT 500
            FOR UPDATE SKIP LOCKED
        )
        AND NOT (SELECT w.processing_paused FROM public.view_pancake_setting AS w)
    RETURNING e.id
)
SELECT count(*)
FROM fired AS f

-- name: engine/list_triggers
-- List Hasura's SQL triggers. Returns rows: table, name, whether it fires and is not for replication only.
SELECT n.nspname || '.' || c.relname, t.tgname, t.tgenabled IN ('O', 'A')
FROM pg_catalog.pg_trigger AS t
INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgname LIKE 'notify_hasura_%'

-- name: engine/load_login
-- Load the login with which the engine uses the source. Returns one row: its name.
SELECT current_user

-- name: engine/divide_by_zero
-- Fail, to see what the engine answers then. Returns nothing.
SELECT 1 / 0

-- name: engine/has_catalog
-- Look whether Hasura keeps tables in the source. Returns one row: whether it does.
SELECT to_regclass('hdb_catalog.hdb_source_catalog_version') IS NOT NULL

-- name: engine/load_catalog
-- Load the version of the tables that Hasura keeps in the source. Returns one row: the version.
SELECT v.version
FROM hdb_catalog.hdb_source_catalog_version AS v

-- name: engine/try_lead
-- Store a lead as the handlers do, and undo it by an exception: only a gap in the numbers of events stays.
-- Returns one row: what refuses it, or an empty text. Relies on nothing. The engine's trigger functions run with the
-- rights of the session that writes the row, and call insert_event_log; before the first event trigger there is none.
DO $preflight$
DECLARE
    connection uuid;
    refusal text := '';
BEGIN
    BEGIN
        SELECT id INTO connection FROM public.pancake_connection LIMIT 1;
        IF connection IS NULL THEN
            INSERT INTO public.pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)
            VALUES ('preflight', 0, sha256('preflight'), '') RETURNING id INTO connection;
        END IF;
        -- As in a session of theirs, which has no user of Hasura.
        PERFORM set_config('hasura.user', 'null', true);
        SET LOCAL ROLE pancake_handlers;
        IF to_regclass('hdb_catalog.event_log') IS NOT NULL THEN
            PERFORM hdb_catalog.insert_event_log(
                'public', 'pancake_webhook_event', 'pancake_webhook_event_status_update', 'INSERT', '{}'::json
            );
        END IF;
        INSERT INTO public.pancake_webhook_event
            (connection_id, origin, payload_hash, status, arrived_at, created_at)
        VALUES (connection, 'webhook', sha256('preflight'), 'received', now(), now());
        RAISE EXCEPTION USING ERRCODE = 'PK000';
    EXCEPTION
        WHEN SQLSTATE 'PK000' THEN NULL;
        WHEN OTHERS THEN refusal := SQLERRM;
    END;
    PERFORM set_config('leads.refusal', refusal, true);
END
$preflight$;
SELECT current_setting('leads.refusal')

-- name: engine/has_rights
-- Look whether the handlers may store a lead: for an engine whose role may not take theirs. Returns one row: whether.
SELECT
    has_schema_privilege('pancake_handlers', 'hdb_catalog', 'USAGE')
    AND (
        to_regclass('hdb_catalog.event_log') IS NULL
        OR has_table_privilege('pancake_handlers', to_regclass('hdb_catalog.event_log'), 'INSERT')
    )
    AND has_table_privilege('pancake_handlers', 'public.pancake_webhook_event', 'INSERT')
