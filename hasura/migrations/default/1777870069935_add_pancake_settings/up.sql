-- Add the settings of the integration, with the kill switch on: no ticket is created until an administrator turns it off.
-- Anchor: 1 check that the table exists, 2 check that row 1 holds an object, 3 keep existing settings, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Validate what 1777870069930 added. The locks of its ALTER TABLE were released, so these scans block neither readers nor writers.
ALTER TABLE public.contact_book VALIDATE CONSTRAINT ck_contact_book_primary_phone;
ALTER TABLE public.contact_book VALIDATE CONSTRAINT fk_contact_book_account;

DO $$
DECLARE
    changed bigint;
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    IF (SELECT jsonb_typeof(app_settings) FROM public.app_setting WHERE id = 1) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'app_setting has no row 1 with a JSON object in app_settings';
    END IF;
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        '{"kill_switch": true, "processing_paused": false, "consent_mode": "off", "sla_minutes": 30,
          "payload_retention_days": 90, "cron_run_retention_days": 180, "engine_log_retention_days": 7,
          "replay_rate_per_second": 20}'::jsonb || coalesce(app_settings -> 'pancake_integration', '{}'::jsonb)
    )
    WHERE id = 1;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'app_setting: expected to update 1 row, updated %', changed;
    END IF;
END
$$;

-- The settings as one row of typed columns. The switches are those of pancake_switch(), written out: a function in a view runs
-- with the reader's privileges, and a view on it could not outlive a rollback of 1777870069931 alone. A test compares the two.
CREATE OR REPLACE VIEW public.view_pancake_setting AS
SELECT
    a.id,
    (s.setting ->> 'kill_switch') IS DISTINCT FROM 'false' AS kill_switch,
    (s.setting ->> 'processing_paused') IS NOT DISTINCT FROM 'true' AS processing_paused,
    coalesce(s.setting ->> 'consent_mode', 'off') AS consent_mode,
    substring(s.setting ->> 'sla_minutes' FROM '^[0-9]{1,6}$')::integer AS sla_minutes,
    substring(s.setting ->> 'payload_retention_days' FROM '^[0-9]{1,6}$')::integer AS payload_retention_days,
    substring(s.setting ->> 'cron_run_retention_days' FROM '^[0-9]{1,6}$')::integer AS cron_run_retention_days,
    substring(s.setting ->> 'engine_log_retention_days' FROM '^[0-9]{1,6}$')::integer AS engine_log_retention_days,
    substring(s.setting ->> 'replay_rate_per_second' FROM '^[0-9]{1,6}$')::integer AS replay_rate_per_second,
    (s.setting ->> 'changed_at')::timestamptz AS changed_at,
    s.setting ->> 'changed_by' AS changed_by
FROM public.app_setting AS a
CROSS JOIN LATERAL (SELECT a.app_settings -> 'pancake_integration' AS setting) AS s
WHERE a.id = 1;

-- Write the settings that an UPDATE of the view changes. Other keys of app_settings and unchanged settings are not written.
CREATE OR REPLACE FUNCTION public.pancake_setting_write() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    ours CONSTANT text[] := ARRAY['kill_switch', 'processing_paused', 'consent_mode', 'sla_minutes', 'payload_retention_days',
        'cron_run_retention_days', 'engine_log_retention_days', 'replay_rate_per_second'];
    session CONSTANT jsonb := nullif(current_setting('hasura.user', true), '')::jsonb;
    changes jsonb;
    refused text;
BEGIN
    SELECT coalesce(jsonb_object_agg(n.key, n.value), '{}') INTO changes
    FROM jsonb_each(to_jsonb(NEW)) AS n
    JOIN jsonb_each(to_jsonb(OLD)) AS o USING (key)
    WHERE n.key = ANY (ours) AND n.value <> o.value;
    IF changes = '{}' THEN
        RETURN NEW;
    END IF;
    refused := CASE
        WHEN jsonb_path_exists(changes, '$.* ? (@ == null)') THEN 'no setting can be null'
        WHEN NEW.consent_mode NOT IN ('off', 'record') THEN 'consent_mode must be off or record'
        WHEN NEW.sla_minutes NOT BETWEEN 1 AND 1440 THEN 'sla_minutes must be 1 to 1440'
        WHEN NEW.replay_rate_per_second NOT BETWEEN 1 AND 1000 THEN 'replay_rate_per_second must be 1 to 1000'
        WHEN NEW.payload_retention_days NOT BETWEEN 7 AND 3650 THEN 'payload_retention_days must be 7 to 3650'
        WHEN NEW.cron_run_retention_days NOT BETWEEN 30 AND 3650 THEN 'cron_run_retention_days must be 30 to 3650'
        WHEN NEW.engine_log_retention_days NOT BETWEEN 1 AND 365 THEN 'engine_log_retention_days must be 1 to 365'
    END;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION '%', refused USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_setting';
    END IF;
    NEW.changed_at := clock_timestamp();
    NEW.changed_by := coalesce(session ->> 'x-hasura-user-id', 'role ' || (session ->> 'x-hasura-role'), session_user);
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        coalesce(app_settings -> 'pancake_integration', '{}') || changes
            || jsonb_build_object('changed_at', NEW.changed_at, 'changed_by', NEW.changed_by)
    )
    WHERE id = 1;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER pancake_setting_write
    INSTEAD OF UPDATE ON public.view_pancake_setting
    FOR EACH ROW EXECUTE FUNCTION public.pancake_setting_write();

-- Collect statistics of the columns and of the expression index that these migrations added; PostgreSQL would do so only after
-- a tenth of the rows has changed. Our own tables are left out: they are empty, and PostgreSQL plans sequential scans for a
-- table analysed while empty, but not for one never analysed. A table locked by VACUUM is skipped.
ANALYZE (SKIP_LOCKED) public.account, public.contact_book;
