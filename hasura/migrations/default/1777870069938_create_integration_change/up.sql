-- Create the history of what is changed by people: modes, switches, secrets, sources, rosters, settings, replays and erasures, in
-- whatever way; and of the status of connections, which check_connection changes. Triggers write it, so a change by SQL is in it too. It never holds a secret, and nothing of a customer.
-- May run again: it creates what a repeated 1777870069931 dropped with its tables.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE IF NOT EXISTS public.integration_change (
    id bigint GENERATED ALWAYS AS IDENTITY,
    changed_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    -- The changes of one transaction, for example the events of one replay or the rows of one erasure.
    transaction_id bigint DEFAULT pg_current_xact_id()::text::bigint NOT NULL,
    kind text NOT NULL,
    action text NOT NULL,
    -- Key and name of the changed row: id and name of a connection, id and Pancake's id of a source, id and staff of a member.
    row_id text NOT NULL,
    name text,
    -- Hasura's user or role, else who asked for a replay, else the role of the database session.
    changed_by text NOT NULL,
    hasura_role text,
    database_role text DEFAULT session_user NOT NULL,
    application text DEFAULT current_setting('application_name') NOT NULL,
    -- The columns or settings that changed. Of a secret: the id of the key that seals it, or that it is set.
    before jsonb NOT NULL,
    after jsonb NOT NULL,
    -- Why: what the transaction gave as its reason.
    reason text,
    CONSTRAINT pk_integration_change PRIMARY KEY (id),
    CONSTRAINT ck_integration_change_kind CHECK (
        kind IN ('connection', 'status', 'source', 'roster', 'setting', 'event', 'replay', 'erasure')
    ),
    CONSTRAINT ck_integration_change_action CHECK (action IN ('insert', 'update', 'delete', 'truncate'))
);

CREATE INDEX IF NOT EXISTS ix_integration_change_changed_at ON public.integration_change (changed_at);

-- For the last change of a switch.
CREATE INDEX IF NOT EXISTS ix_integration_change_row ON public.integration_change (kind, row_id, id);

-- A new table of the owner may be open to others by default privileges.
REVOKE ALL ON TABLE public.integration_change FROM PUBLIC;

COMMENT ON TABLE public.integration_change IS 'Who changed what of the integration, when, before and after; written by triggers, never changed or deleted';
COMMENT ON COLUMN public.integration_change.id IS 'Identifies the change; higher is later';
COMMENT ON COLUMN public.integration_change.changed_at IS 'When it was changed';
COMMENT ON COLUMN public.integration_change.transaction_id IS 'The changes of one transaction have the same number';
COMMENT ON COLUMN public.integration_change.kind IS 'What was changed: connection, source, roster, setting, event, replay or erasure; status is what check_connection found';
COMMENT ON COLUMN public.integration_change.action IS 'insert, update, delete or truncate';
COMMENT ON COLUMN public.integration_change.row_id IS 'Key of the changed row';
COMMENT ON COLUMN public.integration_change.name IS 'Name of the changed row: that of a connection, Pancake''s id of a source, the staff of a member';
COMMENT ON COLUMN public.integration_change.changed_by IS 'Who: Hasura''s user or role, else who asked for a replay, else the database role';
COMMENT ON COLUMN public.integration_change.hasura_role IS 'Role of the Hasura session, if it was one';
COMMENT ON COLUMN public.integration_change.database_role IS 'Role that the database session logged in as';
COMMENT ON COLUMN public.integration_change.application IS 'application_name of the database session; leads VERB by USER for a command';
COMMENT ON COLUMN public.integration_change.before IS 'The columns or settings that changed, before; of a secret only the id of its key';
COMMENT ON COLUMN public.integration_change.after IS 'The same, after';

-- Refuse everything but INSERTs of the triggers below. The argument says what writes the table.
CREATE OR REPLACE FUNCTION public.integration_change_guard() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'INSERT' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is written by %, and never changed or deleted', TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'insufficient_privilege';
END
$$;

-- What the history shows of a column: nothing of a secret but the id of its key, and at most 1000 characters of anything else.
-- The id has at most 31 bytes here: the first byte of text that was stored instead of a ciphertext is a higher number.
CREATE OR REPLACE FUNCTION public.integration_change_shown(column_name text, stored jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN stored IS NULL OR stored = 'null' THEN 'null'
        WHEN column_name LIKE '%\_sha256' THEN '"set"'
        WHEN column_name LIKE '%\_encrypted' THEN to_jsonb(coalesce(
            'key ' || (
                SELECT substring(encode(substring(s.sealed FROM 2 FOR get_byte(s.sealed, 0)), 'escape') FROM '^[A-Za-z0-9._-]+$')
                FROM (SELECT decode(substring(stored #>> '{}' FROM 3), 'hex') AS sealed) AS s
                WHERE length(s.sealed) > 29 AND get_byte(s.sealed, 0) BETWEEN 1 AND 31
            ), 'set'
        ))
        WHEN length(stored::text) > 1000 THEN to_jsonb(left(stored::text, 1000) || ' …')
        ELSE stored
    END
$$;

-- Add an entry. `entry` has kind, action, row_id, name, replayed_by. Nothing is added if nothing changed. The reason is that of the
-- transaction: `leads` and the Settings screens give it.
CREATE OR REPLACE FUNCTION public.integration_change_add(entry jsonb, old_values jsonb, new_values jsonb) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO public.integration_change (kind, action, row_id, name, changed_by, hasura_role, before, after, reason)
    SELECT
        entry ->> 'kind', entry ->> 'action', entry ->> 'row_id', left(entry ->> 'name', 200),
        left(coalesce(public.pancake_hasura_person(), entry ->> 'replayed_by', session_user), 200),
        left(nullif(current_setting('hasura.user', true), '')::jsonb ->> 'x-hasura-role', 200), c.before, c.after,
        left(nullif(btrim(current_setting('integration.change_reason', true)), ''), 200)
    FROM (
        SELECT
            coalesce(jsonb_object_agg(n.label, public.integration_change_shown(n.name, old_values -> n.name))
                FILTER (WHERE old_values IS NOT NULL), '{}') AS before,
            coalesce(jsonb_object_agg(n.label, public.integration_change_shown(n.name, new_values -> n.name))
                FILTER (WHERE new_values IS NOT NULL), '{}') AS after
        FROM (
            SELECT k.name, regexp_replace(k.name, '_(encrypted|sha256)$', '') AS label
            FROM jsonb_object_keys(coalesce(old_values, '{}') || coalesce(new_values, '{}')) AS k (name)
            WHERE coalesce(old_values -> k.name, 'null') <> coalesce(new_values -> k.name, 'null')
        ) AS n
    ) AS c
    WHERE c.before <> '{}' OR c.after <> '{}' OR entry ->> 'action' = 'truncate'
$$;

-- Record a change of a table. Arguments: kind, key column, name column, and the columns that count. With the rights of the owner:
-- those who change the tables may not write the history.
CREATE OR REPLACE FUNCTION public.integration_change_record() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_row jsonb;
    new_row jsonb;
    counted text[] := string_to_array(TG_ARGV[3], ' ');
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        old_row := to_jsonb(OLD);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        new_row := to_jsonb(NEW);
    END IF;
    -- The status of a connection is a finding of check_connection, unless it is the switch.
    IF TG_OP = 'UPDATE' AND old_row ->> 'status' <> 'disabled' AND new_row ->> 'status' <> 'disabled' AND TG_ARGV[0] = 'connection' THEN
        counted := array_remove(counted, 'status');
        PERFORM public.integration_change_add(
            jsonb_build_object('kind', 'status', 'action', 'update', 'row_id', new_row ->> 'id', 'name', new_row ->> 'name'),
            jsonb_build_object('status', old_row -> 'status'),
            jsonb_build_object('status', new_row -> 'status')
        );
    END IF;
    PERFORM public.integration_change_add(
        jsonb_build_object(
            'kind', TG_ARGV[0], 'action', lower(TG_OP),
            'row_id', coalesce(new_row ->> TG_ARGV[1], old_row ->> TG_ARGV[1], 'all'),
            'name', coalesce(new_row ->> TG_ARGV[2], old_row ->> TG_ARGV[2]),
            'replayed_by', CASE WHEN TG_ARGV[0] = 'replay' THEN new_row ->> 'replayed_by' END
        ),
        (SELECT jsonb_object_agg(c.name, old_row -> c.name) FROM unnest(counted) AS c (name) WHERE old_row IS NOT NULL),
        (SELECT jsonb_object_agg(c.name, new_row -> c.name) FROM unnest(counted) AS c (name) WHERE new_row IS NOT NULL)
    );
    RETURN NULL;
END
$$;

-- Record a change of the integration's settings in Diva's table; other keys of it are not the integration's.
CREATE OR REPLACE FUNCTION public.integration_change_record_setting() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_setting jsonb;
    new_setting jsonb;
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.id = 1 THEN
        old_setting := OLD.app_settings -> 'pancake_integration';
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.id = 1 THEN
        new_setting := NEW.app_settings -> 'pancake_integration';
    END IF;
    -- Diva writes other settings into this row: nothing of the integration may hinder that.
    IF old_setting IS NOT DISTINCT FROM new_setting THEN
        RETURN NULL;
    END IF;
    PERFORM public.integration_change_add(
        jsonb_build_object('kind', 'setting', 'action', lower(TG_OP), 'row_id', 'all'),
        (SELECT jsonb_object_agg(r.name, old_setting -> r.name) FROM jsonb_object_keys(public.pancake_setting_rules()) AS r (name)),
        (SELECT jsonb_object_agg(r.name, new_setting -> r.name) FROM jsonb_object_keys(public.pancake_setting_rules()) AS r (name))
    );
    RETURN NULL;
END
$$;

-- Take the reason of a change of a source from its row: it is the transaction's, for every change that follows, and is not stored.
CREATE OR REPLACE FUNCTION public.integration_change_take_reason() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM set_config('integration.change_reason', NEW.change_reason, true);
    NEW.change_reason := NULL;
    RETURN NEW;
END
$$;

-- A function of a trigger can be attached to a table by every role that may execute it.
REVOKE EXECUTE ON FUNCTION public.integration_change_guard(), public.integration_change_shown(text, jsonb),
    public.integration_change_add(jsonb, jsonb, jsonb), public.integration_change_record(),
    public.integration_change_record_setting(), public.integration_change_take_reason() FROM PUBLIC;

CREATE OR REPLACE TRIGGER integration_change_guard
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.integration_change
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_guard('triggers only');

-- What is left of an erasure keeps the customer out, and says who asked: it stays. A dump of it may be restored.
CREATE OR REPLACE TRIGGER integration_change_guard
    BEFORE UPDATE OR DELETE OR TRUNCATE ON public.customer_erasure
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_guard('leads erase');

-- Each trigger names the columns that count. Counters, the watermark and what a lead changes are in none of them.
CREATE OR REPLACE TRIGGER integration_change_record
    AFTER INSERT OR DELETE OR UPDATE OF
        name, workspace_id, table_names, api_base_url, record_timezone, signature_mode, allowlist_mode, allowed_ip_ranges, status,
        token_sha256, previous_token_sha256, previous_token_expires_at, api_key_encrypted, webhook_secret_encrypted,
        previous_webhook_secret_encrypted, previous_webhook_secret_expires_at, header_secret_encrypted,
        previous_header_secret_encrypted, previous_header_secret_expires_at
    ON public.pancake_connection
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record(
        'connection', 'id', 'name',
        'name workspace_id table_names api_base_url record_timezone signature_mode allowlist_mode allowed_ip_ranges status token_sha256 previous_token_sha256 previous_token_expires_at api_key_encrypted webhook_secret_encrypted previous_webhook_secret_encrypted previous_webhook_secret_expires_at header_secret_encrypted previous_header_secret_encrypted previous_header_secret_expires_at'
    );

-- sync_sources writes every source every 15 minutes, and deliveries create inactive ones: neither is a change by a person.
CREATE OR REPLACE TRIGGER integration_change_record_update
    AFTER UPDATE OF connection_id, pancake_source_id, name, is_active ON public.pancake_source
    FOR EACH ROW
    WHEN ((OLD.connection_id, OLD.pancake_source_id, OLD.name, OLD.is_active)
        IS DISTINCT FROM (NEW.connection_id, NEW.pancake_source_id, NEW.name, NEW.is_active))
    EXECUTE FUNCTION public.integration_change_record(
        'source', 'id', 'pancake_source_id', 'connection_id pancake_source_id name is_active'
    );

CREATE OR REPLACE TRIGGER integration_change_take_reason
    BEFORE UPDATE OF change_reason ON public.pancake_source
    FOR EACH ROW
    WHEN (NEW.change_reason IS NOT NULL)
    EXECUTE FUNCTION public.integration_change_take_reason();

CREATE OR REPLACE TRIGGER integration_change_record_insert
    AFTER INSERT ON public.pancake_source
    FOR EACH ROW
    WHEN (NEW.is_active)
    EXECUTE FUNCTION public.integration_change_record(
        'source', 'id', 'pancake_source_id', 'connection_id pancake_source_id name is_active'
    );

CREATE OR REPLACE TRIGGER integration_change_record_delete
    AFTER DELETE ON public.pancake_source
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record(
        'source', 'id', 'pancake_source_id', 'connection_id pancake_source_id name is_active'
    );

CREATE OR REPLACE TRIGGER integration_change_record
    AFTER INSERT OR DELETE OR UPDATE OF source_id, staff_id, is_active, weight, shift, daily_cap, open_cap ON public.pancake_assignee
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record(
        'roster', 'id', 'staff_id', 'source_id staff_id is_active weight shift daily_cap open_cap'
    );

CREATE OR REPLACE TRIGGER integration_change_record_truncate
    AFTER TRUNCATE ON public.pancake_connection
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_record('connection', 'id', 'name', '');

CREATE OR REPLACE TRIGGER integration_change_record_truncate
    AFTER TRUNCATE ON public.pancake_source
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_record('source', 'id', 'name', '');

CREATE OR REPLACE TRIGGER integration_change_record_truncate
    AFTER TRUNCATE ON public.pancake_assignee
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_record('roster', 'id', 'name', '');

CREATE OR REPLACE TRIGGER integration_change_record_truncate
    AFTER TRUNCATE ON public.app_setting
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_record('setting', 'id', 'name', '');

-- The integration never deletes an event: a lead costs nothing here.
CREATE OR REPLACE TRIGGER integration_change_record_truncate
    AFTER TRUNCATE ON public.pancake_webhook_event
    FOR EACH STATEMENT EXECUTE FUNCTION public.integration_change_record('event', 'id', '', '');

CREATE OR REPLACE TRIGGER integration_change_record_delete
    AFTER DELETE ON public.pancake_webhook_event
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record('event', 'id', '', 'status error_code');

-- The events' own columns keep their last replay only. A lead's processing never changes replay_count. The entry names the event
-- and nothing of the customer.
CREATE OR REPLACE TRIGGER integration_change_record_replay
    AFTER UPDATE OF status ON public.pancake_webhook_event
    FOR EACH ROW
    WHEN (NEW.replay_count > OLD.replay_count)
    EXECUTE FUNCTION public.integration_change_record('replay', 'id', '', 'status error_code');

-- An erasure has a row for each phone and record. The entries say who and why, and nothing of the person, not even a digest.
CREATE OR REPLACE TRIGGER integration_change_record
    AFTER INSERT ON public.customer_erasure
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record('erasure', 'id', '', 'requested_by run_by reason counts');

CREATE OR REPLACE TRIGGER integration_change_record
    AFTER INSERT OR DELETE OR UPDATE OF id, app_settings ON public.app_setting
    FOR EACH ROW EXECUTE FUNCTION public.integration_change_record_setting();

-- The history of a connection's status: one row for each change, by check_connection or by a person, who may give a reason.
CREATE OR REPLACE VIEW public.view_pancake_connection_status AS
SELECT
    k.connection_id,
    h.changed_at AS scheduled_time,
    h.before ->> 'status' AS status_before,
    h.after ->> 'status' AS status_after,
    h.reason
FROM public.integration_change AS h
-- The keys of other rows need not be ids, and a condition on the column may be checked first. A view on two relations takes no writes.
CROSS JOIN LATERAL (
    SELECT CASE WHEN h.kind IN ('connection', 'status') AND h.action = 'update' THEN h.row_id::uuid END AS connection_id
) AS k
WHERE h.kind IN ('connection', 'status') AND h.action = 'update' AND h.after ? 'status';

-- What the console and \d+ show of the view, the functions and triggers.
COMMENT ON VIEW public.view_pancake_connection_status IS 'History of the status of connections: one row for each change';
COMMENT ON COLUMN public.view_pancake_connection_status.connection_id IS 'The connection';
COMMENT ON COLUMN public.view_pancake_connection_status.scheduled_time IS 'When the status was changed';
COMMENT ON COLUMN public.view_pancake_connection_status.status_before IS 'Status before the change';
COMMENT ON COLUMN public.view_pancake_connection_status.status_after IS 'Status after it';
COMMENT ON COLUMN public.view_pancake_connection_status.reason IS 'Why, if a person changed it and said so';
COMMENT ON FUNCTION public.integration_change_guard() IS 'Refuses everything but INSERTs of the triggers';
COMMENT ON FUNCTION public.integration_change_shown(text, jsonb) IS 'What the history shows of a column: nothing of a secret, and at most 1000 characters';
COMMENT ON FUNCTION public.integration_change_add(jsonb, jsonb, jsonb) IS 'Adds an entry to the history';
COMMENT ON FUNCTION public.integration_change_record() IS 'Records a change of a table, with the rights of the owner';
COMMENT ON FUNCTION public.integration_change_record_setting() IS 'Records a change of the integration''s settings';
COMMENT ON TRIGGER integration_change_guard ON public.integration_change IS 'The history is written by triggers only';
COMMENT ON TRIGGER integration_change_guard ON public.customer_erasure IS 'What is left of an erasure stays';
COMMENT ON TRIGGER integration_change_record ON public.pancake_connection IS 'Records who changed a connection';
COMMENT ON TRIGGER integration_change_record ON public.pancake_assignee IS 'Records who changed a roster';
COMMENT ON TRIGGER integration_change_record ON public.customer_erasure IS 'Records who asked for an erasure';
COMMENT ON TRIGGER integration_change_record ON public.app_setting IS 'Records who changed a setting of the integration';
COMMENT ON TRIGGER integration_change_record_update ON public.pancake_source IS 'Records who changed a source';
COMMENT ON TRIGGER integration_change_record_insert ON public.pancake_source IS 'Records who created an active source';
COMMENT ON TRIGGER integration_change_record_delete ON public.pancake_source IS 'Records who deleted a source';
COMMENT ON TRIGGER integration_change_record_delete ON public.pancake_webhook_event IS 'Records who deleted an event, which nothing of the integration does';
COMMENT ON TRIGGER integration_change_record_truncate ON public.pancake_connection IS 'Records who emptied the table';
COMMENT ON TRIGGER integration_change_record_truncate ON public.pancake_source IS 'Records who emptied the table';
COMMENT ON TRIGGER integration_change_record_truncate ON public.pancake_assignee IS 'Records who emptied the table';
COMMENT ON TRIGGER integration_change_record_truncate ON public.app_setting IS 'Records who emptied the table';
COMMENT ON TRIGGER integration_change_record_truncate ON public.pancake_webhook_event IS 'Records who emptied the table';
COMMENT ON TRIGGER integration_change_record_replay ON public.pancake_webhook_event IS 'Records who replayed an event';
COMMENT ON COLUMN public.integration_change.reason IS 'Why it was changed, if the person gave a reason';
COMMENT ON FUNCTION public.integration_change_take_reason() IS 'Takes the reason of a change from the column change_reason';
COMMENT ON TRIGGER integration_change_take_reason ON public.pancake_source IS 'Takes the reason of a change of a source';
