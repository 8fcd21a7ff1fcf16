-- The migrations of this repository when the recordings were made.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
ALTER TABLE public.account
 ADD COLUMN normalized_phone text,
 ADD COLUMN pancake_metadata jsonb,
 ADD CONSTRAINT ck_account_normalized_phone CHECK (normalized_phone ~ '^\+[1-9][0-9]{6,14}$') NOT VALID;
ALTER TABLE public.account VALIDATE CONSTRAINT ck_account_normalized_phone;
CREATE INDEX account_normalized_phone_idx
 ON public.account (normalized_phone)
 WHERE normalized_phone IS NOT NULL;
CREATE INDEX account_phone_not_normalized_idx
 ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
 WHERE normalized_phone IS NULL AND phone_number IS NOT NULL;
CREATE FUNCTION public.account_clear_normalized_phone() RETURNS trigger
 LANGUAGE plpgsql
 AS $$
BEGIN
 NEW.normalized_phone := NULL;
 RETURN NEW;
END
$$;
CREATE TRIGGER account_clear_normalized_phone
 BEFORE UPDATE OF phone_code, phone_number ON public.account
 FOR EACH ROW
 WHEN ((OLD.phone_code, OLD.phone_number) IS DISTINCT FROM (NEW.phone_code, NEW.phone_number)
  AND OLD.normalized_phone IS NOT DISTINCT FROM NEW.normalized_phone)
 EXECUTE FUNCTION public.account_clear_normalized_phone();
COMMENT ON COLUMN public.account.normalized_phone IS 'E.164, derived from phone_code and phone_number; null until normalised';
COMMENT ON COLUMN public.account.pancake_metadata IS 'The newest Pancake record of this customer, as mapped fields';
COMMIT;
BEGIN;
DO $$
BEGIN
 RAISE NOTICE 'normalized_phone is not filled here: run scripts/backfill_normalized_phone';
END
$$;
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
DO $$
DECLARE
 orphans bigint;
BEGIN
 SELECT count(*) INTO orphans
 FROM public.contact_book AS c
 WHERE c.account_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM public.account AS a WHERE a.id = c.account_id);
 IF orphans > 0 THEN
  RAISE EXCEPTION '% rows of contact_book belong to no account: mend or remove them first', orphans;
 END IF;
END
$$;
ALTER TABLE public.contact_book
 ADD COLUMN primary_phone text,
 ADD CONSTRAINT ck_contact_book_primary_phone CHECK (primary_phone ~ '^\+[1-9][0-9]{6,14}$'),
 ADD CONSTRAINT uq_contact_book_primary_phone UNIQUE (primary_phone),
 ADD CONSTRAINT fk_contact_book_account FOREIGN KEY (account_id) REFERENCES public.account (id) NOT VALID;
ALTER TABLE public.contact_book VALIDATE CONSTRAINT fk_contact_book_account;
COMMENT ON COLUMN public.contact_book.primary_phone IS 'E.164; the phone by which Pancake leads find this contact';
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
CREATE TABLE public.pancake_connection (
 id uuid DEFAULT gen_random_uuid() NOT NULL,
 name text NOT NULL,
 workspace_id integer NOT NULL,
 table_names text[] DEFAULT ARRAY['lead'] NOT NULL,
 api_base_url text DEFAULT 'https://crm.pancake.vn/api' NOT NULL,
 record_timezone text DEFAULT 'UTC' NOT NULL,
 api_key_encrypted bytea,
 token_sha256 bytea NOT NULL,
 previous_token_sha256 bytea,
 previous_token_expires_at timestamptz,
 webhook_secret_encrypted bytea,
 previous_webhook_secret_encrypted bytea,
 header_secret_encrypted bytea,
 previous_header_secret_encrypted bytea,
 signature_mode text DEFAULT 'off' NOT NULL,
 allowlist_mode text DEFAULT 'off' NOT NULL,
 allowed_ip_ranges cidr[] DEFAULT ARRAY[]::cidr[] NOT NULL,
 status text DEFAULT 'active' NOT NULL,
 status_changed_at timestamptz DEFAULT now() NOT NULL,
 last_poll_at timestamptz,
 poll_watermark timestamptz,
 created_at timestamptz DEFAULT now() NOT NULL,
 updated_at timestamptz DEFAULT now() NOT NULL,
 has_api_key boolean GENERATED ALWAYS AS (api_key_encrypted IS NOT NULL) STORED,
 has_webhook_secret boolean GENERATED ALWAYS AS (webhook_secret_encrypted IS NOT NULL) STORED,
 has_header_secret boolean GENERATED ALWAYS AS (header_secret_encrypted IS NOT NULL) STORED,
 CONSTRAINT pk_pancake_connection PRIMARY KEY (id),
 CONSTRAINT uq_pancake_connection_token UNIQUE (token_sha256),
 CONSTRAINT uq_pancake_connection_workspace UNIQUE (workspace_id, api_base_url),
 CONSTRAINT ck_pancake_connection_token CHECK (octet_length(token_sha256) = 32),
 CONSTRAINT ck_pancake_connection_previous_token CHECK (
  octet_length(previous_token_sha256) = 32 AND previous_token_expires_at IS NOT NULL
  OR previous_token_sha256 IS NULL AND previous_token_expires_at IS NULL
 ),
 CONSTRAINT ck_pancake_connection_table_names CHECK (
  table_names <@ ARRAY['lead', 'account', 'contact'] AND cardinality(table_names) > 0
 ),
 CONSTRAINT ck_pancake_connection_record_timezone CHECK (
  (timestamp '2000-01-01' AT TIME ZONE record_timezone) IS NOT NULL
 ),
 CONSTRAINT ck_pancake_connection_signature_mode CHECK (signature_mode IN ('off', 'monitor', 'enforce')),
 CONSTRAINT ck_pancake_connection_allowlist_mode CHECK (allowlist_mode IN ('off', 'monitor', 'enforce')),
 CONSTRAINT ck_pancake_connection_signature_secret CHECK (
  signature_mode <> 'enforce' OR webhook_secret_encrypted IS NOT NULL OR header_secret_encrypted IS NOT NULL
 ),
 CONSTRAINT ck_pancake_connection_allowlist_ranges CHECK (
  allowlist_mode <> 'enforce' OR cardinality(allowed_ip_ranges) > 0
 ),
 CONSTRAINT ck_pancake_connection_status CHECK (
  status IN ('active', 'silent', 'suspended', 'outage', 'key_invalid', 'disabled')
 )
);
CREATE TABLE public.pancake_source (
 id uuid DEFAULT gen_random_uuid() NOT NULL,
 connection_id uuid NOT NULL,
 pancake_source_id text NOT NULL,
 name text,
 parent_source_id text,
 is_active boolean DEFAULT false NOT NULL,
 is_removed boolean DEFAULT false NOT NULL,
 first_seen_at timestamptz DEFAULT now() NOT NULL,
 synced_at timestamptz,
 CONSTRAINT pk_pancake_source PRIMARY KEY (id),
 CONSTRAINT uq_pancake_source UNIQUE (connection_id, pancake_source_id),
 CONSTRAINT ck_pancake_source_active_is_known CHECK (
  NOT is_active OR name IS NOT NULL OR pancake_source_id = '(none)'
 ),
 CONSTRAINT fk_pancake_source_connection FOREIGN KEY (connection_id) REFERENCES public.pancake_connection (id)
);
CREATE TABLE public.pancake_assignee (
 id uuid DEFAULT gen_random_uuid() NOT NULL,
 source_id uuid,
 staff_id uuid NOT NULL,
 is_active boolean DEFAULT true NOT NULL,
 weight integer DEFAULT 1 NOT NULL,
 assigned_count bigint DEFAULT 0 NOT NULL,
 total_assigned bigint DEFAULT 0 NOT NULL,
 last_assigned_seq bigint DEFAULT 0 NOT NULL,
 was_available boolean DEFAULT false NOT NULL,
 created_at timestamptz DEFAULT now() NOT NULL,
 CONSTRAINT pk_pancake_assignee PRIMARY KEY (id),
 CONSTRAINT uq_pancake_assignee UNIQUE NULLS NOT DISTINCT (source_id, staff_id),
 CONSTRAINT fk_pancake_assignee_source FOREIGN KEY (source_id) REFERENCES public.pancake_source (id),
 CONSTRAINT fk_pancake_assignee_staff FOREIGN KEY (staff_id) REFERENCES public.staff (id),
 CONSTRAINT ck_pancake_assignee_weight CHECK (weight BETWEEN 1 AND 100)
);
CREATE TABLE public.pancake_webhook_event (
 id bigint GENERATED ALWAYS AS IDENTITY,
 connection_id uuid NOT NULL,
 origin text NOT NULL,
 record_id text,
 table_name text,
 modified_on timestamptz,
 payload_hash bytea NOT NULL,
 payload jsonb,
 raw bytea,
 status text NOT NULL,
 error_code text,
 error_detail text,
 attempts integer DEFAULT 0 NOT NULL,
 next_attempt_at timestamptz,
 claim_id uuid,
 arrived_at timestamptz NOT NULL,
 received_at timestamptz,
 ingested_at timestamptz,
 processed_at timestamptz,
 normalized_phone text,
 source_ids text[] DEFAULT ARRAY[]::text[] NOT NULL,
 account_id uuid,
 ticket_id uuid,
 assignee_id uuid,
 outcome text,
 evidence jsonb DEFAULT '{}' NOT NULL,
 notifications jsonb DEFAULT '[]' NOT NULL,
 notify_claimed_at timestamptz,
 notified_at timestamptz,
 held_at timestamptz,
 replay_count integer DEFAULT 0 NOT NULL,
 replayed_by text,
 replayed_at timestamptz,
 source_ip inet,
 created_at timestamptz NOT NULL,
 CONSTRAINT pk_pancake_webhook_event PRIMARY KEY (id),
 CONSTRAINT uq_pancake_webhook_event_identity UNIQUE NULLS NOT DISTINCT (record_id, modified_on, payload_hash),
 CONSTRAINT fk_pancake_webhook_event_connection FOREIGN KEY (connection_id) REFERENCES public.pancake_connection (id),
 CONSTRAINT ck_pancake_webhook_event_origin CHECK (origin IN ('webhook', 'poll', 'reconcile')),
 CONSTRAINT ck_pancake_webhook_event_hash CHECK (octet_length(payload_hash) = 32),
 CONSTRAINT ck_pancake_webhook_event_status CHECK (
  status IN ('received', 'ingested', 'processed', 'failed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
 ),
 CONSTRAINT ck_pancake_webhook_event_outcome CHECK (
  outcome IN ('ticket_created', 'ticket_updated', 'contact_updated', 'stale', 'no_change')
 ),
 CONSTRAINT ck_pancake_webhook_event_processed CHECK (
  status <> 'processed' OR (outcome IS NOT NULL AND processed_at IS NOT NULL)
 ),
 CONSTRAINT ck_pancake_webhook_event_ingested CHECK (
  status <> 'ingested' OR (claim_id IS NOT NULL AND ingested_at IS NOT NULL)
 ),
 CONSTRAINT ck_pancake_webhook_event_failed CHECK (
  status <> 'failed' OR (next_attempt_at IS NOT NULL AND error_code IS NOT NULL)
 ),
 CONSTRAINT ck_pancake_webhook_event_dead_letter CHECK (status <> 'dead_letter' OR error_code IS NOT NULL),
 CONSTRAINT ck_pancake_webhook_event_notifications CHECK (jsonb_typeof(notifications) = 'array')
);
CREATE INDEX ix_pancake_webhook_event_phone ON public.pancake_webhook_event (normalized_phone)
 WHERE normalized_phone IS NOT NULL;
CREATE INDEX ix_pancake_webhook_event_created_at ON public.pancake_webhook_event (created_at);
CREATE INDEX ix_pancake_webhook_event_waiting ON public.pancake_webhook_event (received_at)
 WHERE status IN ('received', 'ingested');
CREATE INDEX ix_pancake_webhook_event_retry ON public.pancake_webhook_event (next_attempt_at)
 WHERE status = 'failed';
CREATE INDEX ix_pancake_webhook_event_held ON public.pancake_webhook_event (id)
 WHERE status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled');
CREATE INDEX ix_pancake_webhook_event_unnotified ON public.pancake_webhook_event (id)
 WHERE notified_at IS NULL AND notifications <> '[]'::jsonb;
CREATE INDEX ix_pancake_webhook_event_ticket ON public.pancake_webhook_event (ticket_id)
 WHERE ticket_id IS NOT NULL;
CREATE TABLE public.pancake_cron_run (
 id bigint GENERATED ALWAYS AS IDENTITY,
 name text NOT NULL,
 scheduled_time timestamptz NOT NULL,
 started_at timestamptz NOT NULL,
 finished_at timestamptz,
 outcome text DEFAULT 'running' NOT NULL,
 window_from timestamptz,
 window_to timestamptz,
 report jsonb DEFAULT '{}' NOT NULL,
 error text,
 CONSTRAINT pk_pancake_cron_run PRIMARY KEY (id),
 CONSTRAINT uq_pancake_cron_run_tick UNIQUE (name, scheduled_time),
 CONSTRAINT ck_pancake_cron_run_outcome CHECK (outcome IN ('running', 'succeeded', 'failed', 'skipped')),
 CONSTRAINT ck_pancake_cron_run_finished CHECK ((outcome = 'running') = (finished_at IS NULL))
);
CREATE FUNCTION public.pancake_event_transition_allowed(old text, new text) RETURNS boolean
 LANGUAGE sql IMMUTABLE
 AS $$
 SELECT CASE
  WHEN old IS NULL THEN new IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
  WHEN old = new THEN true
  WHEN old = 'received' THEN new IN ('ingested', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
  WHEN old = 'ingested' THEN new IN ('received', 'processed', 'failed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
  WHEN old = 'failed' THEN new IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
  ELSE new = 'received'
 END
$$;
CREATE FUNCTION public.pancake_webhook_event_guard_status() RETURNS trigger
 LANGUAGE plpgsql
 AS $$
DECLARE
 old_status text;
BEGIN
 IF TG_OP = 'UPDATE' THEN
  old_status := OLD.status;
 END IF;
 IF NOT public.pancake_event_transition_allowed(old_status, NEW.status) THEN
  RAISE EXCEPTION 'pancake_webhook_event %: status may not go from % to %', NEW.id, coalesce(old_status, '(new)'), NEW.status
   USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_transition';
 END IF;
 IF old_status = 'ingested' AND NEW.status = 'received' AND OLD.ingested_at > clock_timestamp() - interval '60 seconds' THEN
  RAISE EXCEPTION 'pancake_webhook_event %: being processed since %; wait until the lease of 60 s has run out', NEW.id, OLD.ingested_at
   USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_lease';
 END IF;
 IF NEW.status = 'received' THEN
  NEW.received_at := clock_timestamp();
  IF old_status IN ('processed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled') THEN
   NEW.attempts := 0;
   NEW.replay_count := OLD.replay_count + 1;
   IF NEW.replayed_at IS NOT DISTINCT FROM OLD.replayed_at THEN
    NEW.replayed_at := clock_timestamp();
    NEW.replayed_by := session_user;
   END IF;
  END IF;
 ELSIF NEW.status IN ('skipped_kill_switch', 'skipped_source_disabled') THEN
  NEW.held_at := coalesce(NEW.held_at, clock_timestamp());
 END IF;
 RETURN NEW;
END
$$;
CREATE TRIGGER pancake_webhook_event_guard_status
 BEFORE INSERT OR UPDATE OF status ON public.pancake_webhook_event
 FOR EACH ROW EXECUTE FUNCTION public.pancake_webhook_event_guard_status();
CREATE FUNCTION public.pancake_assignee_keep_ratio() RETURNS trigger
 LANGUAGE plpgsql
 AS $$
BEGIN
 NEW.assigned_count := ceil(OLD.assigned_count::numeric * NEW.weight / OLD.weight);
 RETURN NEW;
END
$$;
CREATE TRIGGER pancake_assignee_keep_ratio
 BEFORE UPDATE OF weight ON public.pancake_assignee
 FOR EACH ROW
 WHEN (OLD.weight <> NEW.weight)
 EXECUTE FUNCTION public.pancake_assignee_keep_ratio();
CREATE VIEW public.view_pancake_connection_status AS
SELECT
 (c ->> 'connection_id')::uuid AS connection_id,
 r.scheduled_time,
 c ->> 'before' AS status_before,
 c ->> 'after' AS status_after
FROM public.pancake_cron_run AS r
CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'connections') AS c
WHERE r.name = 'check_connection'
 AND c ->> 'before' IS DISTINCT FROM c ->> 'after';
COMMENT ON TABLE public.pancake_webhook_event IS 'Every delivery and every polled record, with what became of it; dedupe is permanent, rows are never deleted';
COMMENT ON TABLE public.pancake_cron_run IS 'Attendance register of the seven crons: one row for each tick, with its report';
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
DO $$
DECLARE
 found bigint;
BEGIN
 IF to_regclass('public.crm_master_data') IS NULL THEN
  RAISE EXCEPTION 'crm_master_data does not exist';
 END IF;
 SELECT count(*) INTO found
 FROM public.crm_master_data
 WHERE type = 'ticket_source' AND id ~ '^ticket_source_[1-8]$';
 IF found <> 8 THEN
  RAISE EXCEPTION 'expected ticket_source_1 to ticket_source_8, found % of them', found;
 END IF;
 INSERT INTO public.crm_master_data (id, name, type, disabled, updated_at)
 VALUES ('ticket_source_pancake', 'Pancake', 'ticket_source', false, now())
 ON CONFLICT (id) DO UPDATE SET disabled = false, updated_at = now();
 GET DIAGNOSTICS found = ROW_COUNT;
 IF found <> 1 THEN
  RAISE EXCEPTION 'ticket_source_pancake: % rows written instead of 1', found;
 END IF;
END
$$;
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
DO $$
DECLARE
 found bigint;
BEGIN
 IF to_regclass('public.module_permission_action') IS NULL THEN
  RAISE EXCEPTION 'module_permission_action does not exist';
 END IF;
 SELECT count(*) INTO found
 FROM public.module_permission_action
 WHERE module = 'pancake_crm_integration' AND role <> 'admin';
 IF found > 0 THEN
  RAISE EXCEPTION 'pancake_crm_integration already grants % actions to roles other than admin', found;
 END IF;
 INSERT INTO public.module_permission_action (module, action, role)
 SELECT 'pancake_crm_integration', a.action, 'admin'
 FROM unnest(ARRAY['access', 'view_events', 'replay', 'manage_connection', 'manage_sources', 'kill_switch']) AS a (action)
 WHERE NOT EXISTS (
  SELECT FROM public.module_permission_action AS m
  WHERE m.module = 'pancake_crm_integration' AND m.action = a.action AND m.role = 'admin'
 );
 SELECT count(*) INTO found FROM public.module_permission_action WHERE module = 'pancake_crm_integration';
 IF found <> 6 THEN
  RAISE EXCEPTION 'pancake_crm_integration has % actions instead of 6', found;
 END IF;
END
$$;
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
DO $$
DECLARE
 found bigint;
BEGIN
 IF to_regclass('public.notification_template') IS NULL THEN
  RAISE EXCEPTION 'notification_template does not exist';
 END IF;
 SELECT count(*) INTO found
 FROM public.notification_template
 WHERE code LIKE 'noti\_pancake%'
  AND code NOT IN ('noti_pancake_new_lead', 'noti_pancake_lead_updated', 'noti_pancake_needs_attention');
 IF found > 0 THEN
  RAISE EXCEPTION '% templates with codes noti_pancake… are not known to this migration', found;
 END IF;
 INSERT INTO public.notification_template (code, title, body, channel)
 VALUES
  ('noti_pancake_new_lead', 'Lead mới từ Pancake', 'Bạn được giao lead {{customer_name}} ({{phone}}).', 'in_app'),
  ('noti_pancake_lead_updated', 'Lead Pancake được cập nhật', 'Lead {{customer_name}} ({{phone}}) có thông tin mới.', 'in_app'),
  ('noti_pancake_needs_attention', 'Tích hợp Pancake cần chú ý', '{{reason}}: {{detail}}', 'in_app')
 ON CONFLICT (code) DO NOTHING;
 SELECT count(*) INTO found FROM public.notification_template WHERE code LIKE 'noti\_pancake%';
 IF found <> 3 THEN
  RAISE EXCEPTION 'found % templates noti_pancake… instead of 3', found;
 END IF;
END
$$;
COMMIT;
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';
DO $$
DECLARE
 changed bigint;
BEGIN
 IF to_regclass('public.app_setting') IS NULL THEN
  RAISE EXCEPTION 'app_setting does not exist';
 END IF;
 IF (SELECT jsonb_typeof(app_settings) FROM public.app_setting WHERE id = 1) IS DISTINCT FROM 'object' THEN
  RAISE EXCEPTION 'app_setting has no row 1 with an object in app_settings';
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
  RAISE EXCEPTION 'app_setting: % rows changed instead of 1', changed;
 END IF;
END
$$;
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
  WHEN jsonb_path_exists(changes, '$.* ? (@ == null)') THEN 'no setting may be null'
  WHEN NEW.consent_mode NOT IN ('off', 'record') THEN 'consent_mode is off or record'
  WHEN NEW.sla_minutes NOT BETWEEN 1 AND 1440 THEN 'sla_minutes is 1 to 1440'
  WHEN NEW.replay_rate_per_second NOT BETWEEN 1 AND 1000 THEN 'replay_rate_per_second is 1 to 1000'
  WHEN NEW.payload_retention_days NOT BETWEEN 7 AND 3650 THEN 'payload_retention_days is 7 to 3650'
  WHEN NEW.cron_run_retention_days NOT BETWEEN 30 AND 3650 THEN 'cron_run_retention_days is 30 to 3650'
  WHEN NEW.engine_log_retention_days NOT BETWEEN 1 AND 365 THEN 'engine_log_retention_days is 1 to 365'
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
COMMIT;
