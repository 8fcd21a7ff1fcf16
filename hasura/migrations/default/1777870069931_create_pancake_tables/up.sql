-- Create the five tables of the integration and that of erased customers, the guard of the event states, the rules that several
-- statements share (settings, active source, applied versions, hash of a body, retention, erasure, staff roles), the view through
-- which the settings are shown and changed, and the report.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- The settings: the values that each may have, and the one that is used in place of any other. It is the only place with bounds
-- and defaults. The planner replaces the call by its result. A retention of 0 or less may mean "for ever" to the person who
-- wrote it, and what is deleted is gone: it is read as the longest.
CREATE FUNCTION public.pancake_setting_rules() RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT '{
        "kill_switch": {"default": true, "one_of": ["true", "false"]},
        "processing_paused": {"default": false, "one_of": ["true", "false"]},
        "consent_mode": {"default": "off", "one_of": ["off", "record"]},
        "sla_minutes": {"default": 30, "lowest": 1, "highest": 1440},
        "replay_rate_per_second": {"default": 20, "lowest": 1, "highest": 1000},
        "payload_retention_days": {"default": 90, "lowest": 7, "highest": 3650, "zero_or_less": 3650},
        "held_retention_days": {"default": 365, "lowest": 7, "highest": 3650, "zero_or_less": 3650},
        "cron_run_retention_days": {"default": 180, "lowest": 30, "highest": 3650, "zero_or_less": 3650},
        "engine_log_retention_days": {"default": 7, "lowest": 1, "highest": 365, "zero_or_less": 365},
        "former_owner": {"default": "off", "one_of": ["off", "on"]},
        "recall_after_minutes": {"default": 0, "lowest": 0, "highest": 1440},
        "recall_max_times": {"default": 1, "lowest": 1, "highest": 10},
        "max_tickets_ahead": {"default": 5, "lowest": 1, "highest": 100},
        "business_hours": {
            "default": "always",
            "matches": "^(always|(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? ([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)(, (mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? ([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)){0,20})$",
            "like": "always, or like: mon-fri 08:00-17:30, sat 08:00-12:00"
        },
        "holidays": {
            "default": "none",
            "matches": "^(none|[0-9]{4}-[01][0-9]-[0-3][0-9]([.][.][0-9]{4}-[01][0-9]-[0-3][0-9])?(, [0-9]{4}-[01][0-9]-[0-3][0-9]([.][.][0-9]{4}-[01][0-9]-[0-3][0-9])?){0,30})$",
            "like": "none, or like: 2027-02-05..2027-02-11, 2027-04-30"
        }
    }'::jsonb
$$;

-- The stored text of a setting if its rule allows it, else null. A number has digits only: neither 1.5 nor " 90 " is one.
CREATE FUNCTION public.pancake_valid_setting(stored text, rule jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN rule -> 'one_of' ? stored OR stored ~ (rule ->> 'matches') THEN stored
        WHEN substring(stored FROM '^[0-9]{1,6}$')::integer BETWEEN (rule ->> 'lowest')::integer AND (rule ->> 'highest')::integer
            THEN stored
    END
$$;

-- Whether text has the form of the setting business_hours, and no period of it ends before it begins.
CREATE FUNCTION public.pancake_valid_hours(hours text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT public.pancake_valid_setting(hours, public.pancake_setting_rules() -> 'business_hours') IS NOT NULL AND NOT EXISTS (
        SELECT FROM regexp_split_to_table(hours, ', ') AS e (entry) WHERE substring(e.entry FROM '([0-9:]{5})-') >= right(e.entry, 5)
    )
$$;

CREATE TABLE public.pancake_connection (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    -- Pancake numbers its workspaces; the numbers are small.
    -- squawk-ignore prefer-bigint-over-int
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
    previous_webhook_secret_expires_at timestamptz,
    header_secret_encrypted bytea,
    previous_header_secret_encrypted bytea,
    previous_header_secret_expires_at timestamptz,
    signature_mode text DEFAULT 'off' NOT NULL,
    allowlist_mode text DEFAULT 'off' NOT NULL,
    allowed_ip_ranges cidr[] DEFAULT ARRAY[]::cidr[] NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    status_changed_at timestamptz DEFAULT now() NOT NULL,
    last_poll_at timestamptz,
    poll_watermark timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    -- For the screens: they show that a secret is set, never the secret itself.
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
    -- What a rotation leaves valid has an end.
    CONSTRAINT ck_pancake_connection_previous_secrets CHECK (
        (previous_webhook_secret_encrypted IS NULL) = (previous_webhook_secret_expires_at IS NULL)
        AND (previous_header_secret_encrypted IS NULL) = (previous_header_secret_expires_at IS NULL)
    ),
    CONSTRAINT ck_pancake_connection_table_names CHECK (
        table_names <@ ARRAY['lead', 'account', 'contact'] AND cardinality(table_names) > 0
    ),
    -- Scheme, host, port and path in one spelling, as in leads/domain/hosts.py: the API key is sealed for this text.
    CONSTRAINT ck_pancake_connection_api_base_url CHECK (
        api_base_url ~ '^https?://[a-z0-9][a-z0-9.-]*(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$'
    ),
    -- The conversion itself raises an error for a zone that PostgreSQL does not know.
    CONSTRAINT ck_pancake_connection_record_timezone CHECK (
        (timestamp '2000-01-01' AT TIME ZONE record_timezone) IS NOT NULL
    ),
    CONSTRAINT ck_pancake_connection_signature_mode CHECK (signature_mode IN ('off', 'monitor', 'enforce')),
    CONSTRAINT ck_pancake_connection_allowlist_mode CHECK (allowlist_mode IN ('off', 'monitor', 'enforce')),
    -- Enforcing signatures needs a secret to verify them with.
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
    -- When sync_sources notified the admins of the new source.
    announced_at timestamptz,
    -- Written only, with is_active: the trigger of 1777870069938 moves it into the history.
    change_reason text,
    CONSTRAINT pk_pancake_source PRIMARY KEY (id),
    CONSTRAINT uq_pancake_source UNIQUE (connection_id, pancake_source_id),
    -- A source has no name until sync_sources has read it from Pancake. Its leads cannot be attributed, so it stays inactive.
    -- '(none)' is the pseudo-source of leads without a source.
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
    -- At most 100: ck_pancake_assignee_weight.
    -- squawk-ignore prefer-bigint-over-int
    weight integer DEFAULT 1 NOT NULL,
    assigned_count bigint DEFAULT 0 NOT NULL,
    total_assigned bigint DEFAULT 0 NOT NULL,
    last_assigned_seq bigint DEFAULT 0 NOT NULL,
    was_available boolean DEFAULT false NOT NULL,
    -- When the member gets tickets, in the form of the setting business_hours; and how many a day in Vietnam, or open ones in all
    -- of Diva, at most. The defaults limit nothing.
    shift text DEFAULT 'always' NOT NULL,
    daily_cap bigint,
    open_cap bigint,
    -- The last day on which the member was chosen, and how often on that day.
    assigned_on date,
    assigned_today bigint DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_pancake_assignee PRIMARY KEY (id),
    CONSTRAINT uq_pancake_assignee UNIQUE NULLS NOT DISTINCT (source_id, staff_id),
    CONSTRAINT fk_pancake_assignee_source FOREIGN KEY (source_id) REFERENCES public.pancake_source (id),
    CONSTRAINT fk_pancake_assignee_staff FOREIGN KEY (staff_id) REFERENCES public.staff (id),
    CONSTRAINT ck_pancake_assignee_weight CHECK (weight BETWEEN 1 AND 100),
    CONSTRAINT ck_pancake_assignee_shift CHECK (public.pancake_valid_hours(shift)),
    CONSTRAINT ck_pancake_assignee_caps CHECK (daily_cap >= 1 AND open_cap >= 1)
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
    -- At most MAX_ATTEMPTS in leads/domain/event_states.py.
    -- squawk-ignore prefer-bigint-over-int
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamptz,
    claim_id uuid,
    arrived_at timestamptz NOT NULL,
    received_at timestamptz,
    ingested_at timestamptz,
    processed_at timestamptz,
    applied_at timestamptz,
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
    -- Attempts to send the notifications that did not succeed, by leads/domain/notifications.py. At most one a minute for a day.
    -- squawk-ignore prefer-bigint-over-int
    notify_attempts integer DEFAULT 0 NOT NULL,
    -- squawk-ignore prefer-bigint-over-int
    notify_refusals integer DEFAULT 0 NOT NULL,
    -- squawk-ignore prefer-bigint-over-int
    notify_unknowns integer DEFAULT 0 NOT NULL,
    notify_unsent_since timestamptz,
    notify_next_at timestamptz,
    notify_given_up_at timestamptz,
    notify_error text,
    notify_sent text[],
    held_at timestamptz,
    -- One per replay by a person.
    -- squawk-ignore prefer-bigint-over-int
    replay_count integer DEFAULT 0 NOT NULL,
    replayed_by text,
    replayed_at timestamptz,
    source_ip inet,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_pancake_webhook_event PRIMARY KEY (id),
    -- Makes ingest idempotent. NULLS NOT DISTINCT: a body without record id is identified by its hash alone. The hash is that of
    -- pancake_payload_hash: it differs between connections and tables.
    CONSTRAINT uq_pancake_webhook_event_identity UNIQUE NULLS NOT DISTINCT (record_id, modified_on, payload_hash),
    CONSTRAINT fk_pancake_webhook_event_connection FOREIGN KEY (connection_id) REFERENCES public.pancake_connection (id),
    CONSTRAINT ck_pancake_webhook_event_origin CHECK (origin IN ('webhook', 'poll', 'reconcile')),
    CONSTRAINT ck_pancake_webhook_event_hash CHECK (octet_length(payload_hash) = 32),
    CONSTRAINT ck_pancake_webhook_event_status CHECK (
        status IN ('received', 'ingested', 'processed', 'failed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
    ),
    CONSTRAINT ck_pancake_webhook_event_outcome CHECK (
        outcome IN ('ticket_created', 'ticket_updated', 'contact_updated', 'record_deleted', 'stale', 'no_change')
    ),
    -- A processed row has its result and its time.
    CONSTRAINT ck_pancake_webhook_event_processed CHECK (
        status <> 'processed' OR (outcome IS NOT NULL AND processed_at IS NOT NULL)
    ),
    -- The fence compares claim_id, the lease starts at ingested_at.
    CONSTRAINT ck_pancake_webhook_event_ingested CHECK (
        status <> 'ingested' OR (claim_id IS NOT NULL AND ingested_at IS NOT NULL)
    ),
    -- A row that waits for another attempt has the time of that attempt and the reason.
    CONSTRAINT ck_pancake_webhook_event_failed CHECK (
        status <> 'failed' OR (next_attempt_at IS NOT NULL AND error_code IS NOT NULL)
    ),
    CONSTRAINT ck_pancake_webhook_event_dead_letter CHECK (status <> 'dead_letter' OR error_code IS NOT NULL),
    CONSTRAINT ck_pancake_webhook_event_notifications CHECK (jsonb_typeof(notifications) = 'array'),
    CONSTRAINT ck_pancake_webhook_event_notify_counts CHECK (
        notify_refusals >= 0 AND notify_unknowns >= 0 AND notify_refusals + notify_unknowns <= notify_attempts
    ),
    CONSTRAINT ck_pancake_webhook_event_notify_error CHECK (
        notify_error IN ('refused', 'unreached', 'unknown', 'no_recipients')
    ),
    -- Notifications that were given up are not sent, and the row says why.
    CONSTRAINT ck_pancake_webhook_event_given_up CHECK (
        notify_given_up_at IS NULL OR (notified_at IS NULL AND notify_error IS NOT NULL)
    )
);

-- For load_facts (leads of a phone) and for the screens (events of a customer).
CREATE INDEX ix_pancake_webhook_event_phone ON public.pancake_webhook_event (normalized_phone)
    WHERE normalized_phone IS NOT NULL;
CREATE INDEX ix_pancake_webhook_event_created_at ON public.pancake_webhook_event (created_at);
-- Small partial indexes, one per search: expired claims and refires, retries, replays, unsent notifications and those given up,
-- tickets, what was replayed lately, and what waited for more than a day before it was processed.
CREATE INDEX ix_pancake_webhook_event_waiting ON public.pancake_webhook_event (received_at)
    WHERE status IN ('received', 'ingested');
CREATE INDEX ix_pancake_webhook_event_retry ON public.pancake_webhook_event (next_attempt_at)
    WHERE status = 'failed';
CREATE INDEX ix_pancake_webhook_event_held ON public.pancake_webhook_event (id)
    INCLUDE (status, error_code, created_at, replayed_at)
    WHERE status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled');
CREATE INDEX ix_pancake_webhook_event_unnotified ON public.pancake_webhook_event (notify_next_at, id)
    WHERE notified_at IS NULL AND notify_given_up_at IS NULL AND notifications <> '[]'::jsonb;
CREATE INDEX ix_pancake_webhook_event_given_up ON public.pancake_webhook_event (notify_given_up_at)
    WHERE notify_given_up_at IS NOT NULL;
CREATE INDEX ix_pancake_webhook_event_ticket ON public.pancake_webhook_event (ticket_id)
    WHERE ticket_id IS NOT NULL;
CREATE INDEX ix_pancake_webhook_event_replayed ON public.pancake_webhook_event (replayed_at)
    WHERE replayed_at IS NOT NULL;
CREATE INDEX ix_pancake_webhook_event_waited ON public.pancake_webhook_event (processed_at)
    WHERE processed_at - created_at > interval '1 day';

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
    -- The sending of report -> 'notifications', with the columns of pancake_webhook_event.
    notify_claimed_at timestamptz,
    notified_at timestamptz,
    -- squawk-ignore prefer-bigint-over-int
    notify_attempts integer DEFAULT 0 NOT NULL,
    -- squawk-ignore prefer-bigint-over-int
    notify_refusals integer DEFAULT 0 NOT NULL,
    -- squawk-ignore prefer-bigint-over-int
    notify_unknowns integer DEFAULT 0 NOT NULL,
    notify_unsent_since timestamptz,
    notify_next_at timestamptz,
    notify_given_up_at timestamptz,
    notify_error text,
    notify_sent text[],
    CONSTRAINT pk_pancake_cron_run PRIMARY KEY (id),
    CONSTRAINT uq_pancake_cron_run_tick UNIQUE (name, scheduled_time),
    CONSTRAINT ck_pancake_cron_run_outcome CHECK (outcome IN ('running', 'succeeded', 'failed', 'skipped')),
    CONSTRAINT ck_pancake_cron_run_finished CHECK ((outcome = 'running') = (finished_at IS NULL)),
    CONSTRAINT ck_pancake_cron_run_notify_counts CHECK (
        notify_refusals >= 0 AND notify_unknowns >= 0 AND notify_refusals + notify_unknowns <= notify_attempts
    ),
    CONSTRAINT ck_pancake_cron_run_notify_error CHECK (
        notify_error IN ('refused', 'unreached', 'unknown', 'no_recipients')
    ),
    CONSTRAINT ck_pancake_cron_run_given_up CHECK (
        notify_given_up_at IS NULL OR (notified_at IS NULL AND notify_error IS NOT NULL)
    )
);

-- What is left of an erased customer: a row for each phone, and one for each record with its connection and table. A digest says
-- nothing without a key of ENCRYPTION_KEYS. Not named pancake_*, which are five tables. No role of Hasura may read it.
CREATE TABLE public.customer_erasure (
    id bigint GENERATED ALWAYS AS IDENTITY,
    digest text NOT NULL,
    connection_id uuid,
    table_name text,
    erased_at timestamptz NOT NULL,
    requested_by text NOT NULL,
    run_by text NOT NULL,
    reason text,
    counts jsonb NOT NULL,
    CONSTRAINT pk_customer_erasure PRIMARY KEY (id),
    CONSTRAINT ck_customer_erasure_record CHECK ((connection_id IS NULL) = (table_name IS NULL)),
    CONSTRAINT fk_customer_erasure_connection FOREIGN KEY (connection_id) REFERENCES public.pancake_connection (id)
);

CREATE INDEX ix_customer_erasure_digest ON public.customer_erasure (digest);

CREATE INDEX ix_pancake_cron_run_unnotified ON public.pancake_cron_run (notify_next_at, id)
    WHERE notified_at IS NULL AND notify_given_up_at IS NULL AND report -> 'notifications' <> '[]'::jsonb;
CREATE INDEX ix_pancake_cron_run_given_up ON public.pancake_cron_run (notify_given_up_at)
    WHERE notify_given_up_at IS NOT NULL;

-- Refuse a change of status that is not one of the allowed transitions; set received_at, held_at, the replay columns, and in evidence
-- held_by if a disabled connection holds the event. BEFORE UPDATE OF status runs whenever status is in the SET list, even with the
-- same value. Setting 'received' again therefore changes received_at, and Hasura's event trigger, which listens to received_at
-- alone, fires again. Other status changes fire nothing.
CREATE FUNCTION public.pancake_webhook_event_guard_status() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    old_status text;
    is_allowed boolean;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        old_status := OLD.status;
    END IF;
    is_allowed := CASE
        WHEN old_status IS NULL THEN NEW.status IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = NEW.status THEN true
        WHEN old_status = 'received' THEN NEW.status IN ('ingested', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = 'ingested'
            THEN NEW.status IN ('received', 'processed', 'failed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = 'failed' THEN NEW.status IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        -- A held event of a customer who was erased.
        WHEN old_status LIKE 'skipped\_%' THEN NEW.status IN ('received', 'dead_letter')
        ELSE NEW.status = 'received'
    END;
    IF NOT is_allowed THEN
        RAISE EXCEPTION 'pancake_webhook_event %: status cannot change from % to %', NEW.id, coalesce(old_status, '(new)'), NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_transition';
    END IF;
    IF old_status = 'ingested' AND NEW.status = 'received' AND OLD.ingested_at > clock_timestamp() - interval '60 seconds' THEN
        RAISE EXCEPTION 'pancake_webhook_event %: claimed at % and still being processed; retry after the lease of 60 s has expired', NEW.id, OLD.ingested_at
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_lease';
    END IF;
    IF NEW.status = 'received' THEN
        NEW.received_at := clock_timestamp();
        IF old_status IN ('processed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled') THEN
            NEW.attempts := 0;
            NEW.replay_count := OLD.replay_count + 1;
            IF NEW.replayed_at IS NOT DISTINCT FROM OLD.replayed_at THEN
                NEW.replayed_at := clock_timestamp();
                NEW.replayed_by := coalesce(public.pancake_hasura_person(), session_user);
            END IF;
            NEW.evidence := NEW.evidence - 'held_by';
        END IF;
    ELSIF NEW.status IN ('skipped_kill_switch', 'skipped_source_disabled') THEN
        NEW.held_at := coalesce(NEW.held_at, clock_timestamp());
        IF NEW.status = 'skipped_source_disabled' AND EXISTS (
            SELECT FROM public.pancake_connection AS c WHERE c.id = NEW.connection_id AND c.status = 'disabled'
        ) THEN
            NEW.evidence := NEW.evidence || jsonb_build_object('held_by', 'connection_disabled');
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER pancake_webhook_event_guard_status
    BEFORE INSERT OR UPDATE OF status ON public.pancake_webhook_event
    FOR EACH ROW EXECUTE FUNCTION public.pancake_webhook_event_guard_status();

-- Start the sending of a row's notifications afresh when they change: a new one is sent, whatever was refused or given up before.
-- A row whose notifications are emptied keeps when they were sent.
CREATE FUNCTION public.pancake_restart_sending() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.notified_at := NULL;
    NEW.notify_attempts := 0;
    NEW.notify_refusals := 0;
    NEW.notify_unknowns := 0;
    NEW.notify_unsent_since := NULL;
    NEW.notify_next_at := NULL;
    NEW.notify_given_up_at := NULL;
    NEW.notify_error := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER pancake_webhook_event_restart_sending
    BEFORE UPDATE OF notifications ON public.pancake_webhook_event
    FOR EACH ROW
    WHEN (OLD.notifications IS DISTINCT FROM NEW.notifications AND NEW.notifications <> '[]'::jsonb)
    EXECUTE FUNCTION public.pancake_restart_sending();

CREATE TRIGGER pancake_cron_run_restart_sending
    BEFORE UPDATE OF report ON public.pancake_cron_run
    FOR EACH ROW
    WHEN (OLD.report -> 'notifications' IS DISTINCT FROM NEW.report -> 'notifications')
    EXECUTE FUNCTION public.pancake_restart_sending();

-- Refuse to delete events: the integration never does. A transaction that has to sets pancake.delete_events to on.
CREATE FUNCTION public.pancake_webhook_event_keep_rows() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('pancake.delete_events', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of pancake_webhook_event are not deleted: they detect duplicates, and Pancake''s next copy of a lead would be processed as new'
        USING
            ERRCODE = 'restrict_violation',
            HINT = 'Retention (cron purge_events) and leads erase empty a row and keep it. '
                'If rows have to go all the same: SET LOCAL pancake.delete_events = ''on'' in the same transaction.';
END
$$;

CREATE TRIGGER pancake_webhook_event_keep_rows
    BEFORE DELETE ON public.pancake_webhook_event
    FOR EACH ROW EXECUTE FUNCTION public.pancake_webhook_event_keep_rows();

CREATE TRIGGER pancake_webhook_event_keep_table
    BEFORE TRUNCATE ON public.pancake_webhook_event
    FOR EACH STATEMENT EXECUTE FUNCTION public.pancake_webhook_event_keep_rows();

-- Those of an event's notifications that were not accepted. `sent` holds names; null = none. Inlined.
CREATE FUNCTION public.pancake_unsent(notifications jsonb, sent text[]) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
    SELECT jsonb_path_query_array(notifications, '$[*] ? (!(@.name == $sent[*]))', jsonb_build_object('sent', sent))
$$;

-- Rules of one expression, which several statements need. Each is inlined: it costs nothing, and indexes serve it.

-- The table of Pancake that an event counts for. Every table but `account` and `contact` counts as `lead`, an unknown one too.
CREATE FUNCTION public.pancake_record_table(table_name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE WHEN table_name IN ('account', 'contact') THEN table_name ELSE 'lead' END
$$;

-- Whether a ticket of Diva with this status is still worked on.
CREATE FUNCTION public.pancake_ticket_is_open(status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT status IN ('new', 'in_progress')
$$;

-- Whether an event with this status waits to be processed, or is being processed.
CREATE FUNCTION public.pancake_event_is_waiting(status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT status IN ('received', 'ingested')
$$;

-- Whether an event with this status is held: only a replay brings it back.
CREATE FUNCTION public.pancake_event_is_held(status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT status IN ('skipped_kill_switch', 'skipped_source_disabled')
$$;

-- Whether a dead letter is one because of what it holds: there is nothing to mend.
CREATE FUNCTION public.pancake_event_is_invalid(error_code text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT error_code LIKE 'invalid\_%' OR error_code IN ('test_ping', 'erased')
$$;

-- Whether an event waited for a person: its time until it was processed says nothing of the integration.
CREATE FUNCTION public.pancake_event_was_held_or_replayed(held_at timestamptz, replay_count integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT held_at IS NOT NULL OR replay_count > 0
$$;

-- Whether the notifications of an event are being sent: the sender would mark a new one as sent too. VOLATILE as the clock is: a
-- STABLE function would not be inlined.
CREATE FUNCTION public.pancake_event_is_being_sent(
    notifications jsonb, notified_at timestamptz, claimed_at timestamptz, lease interval
) RETURNS boolean
    LANGUAGE sql VOLATILE
    AS $$
    SELECT notifications <> '[]'::jsonb AND notified_at IS NULL AND claimed_at IS NOT NULL AND claimed_at >= clock_timestamp() - lease
$$;

-- Keep the ratio assigned_count / weight when the weight changes, so that the member's turn in the roster stays the same.
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

-- The functions of the rules return sets, because PostgreSQL inlines a function with a subquery only in FROM, and only if it is
-- STABLE or IMMUTABLE, not STRICT and without SET. Inlined, they cost nothing, use the indexes of the statement that calls
-- them, and need the caller's privileges on the tables and on view_pancake_setting only.

-- The text of the value that is used for a setting; never null. `setting` is the JSON object with all of them, or anything else.
CREATE FUNCTION public.pancake_setting_value(setting jsonb, name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce(
        public.pancake_valid_setting(setting ->> name, public.pancake_setting_rules() -> name),
        CASE
            WHEN public.pancake_setting_rules() -> name ? 'zero_or_less' AND ltrim(setting ->> name) ~ '^(-|[0.]+$)'
                THEN public.pancake_setting_rules() -> name ->> 'zero_or_less'
        END,
        public.pancake_setting_rules() -> name ->> 'default'
    )
$$;

-- What is wrong with the settings: one row for each that is missing, unreadable or out of its bounds. `problem` begins with the
-- name and quotes at most 20 characters of the stored value.
CREATE FUNCTION public.pancake_setting_problem(setting jsonb)
    RETURNS TABLE (name text, problem text)
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT
        r.name,
        r.name || ' must be ' || coalesce(
            (SELECT string_agg(o.word, ' or ' ORDER BY o.n) FROM jsonb_array_elements_text(r.rule -> 'one_of') WITH ORDINALITY AS o (word, n)),
            r.rule ->> 'like',
            (r.rule ->> 'lowest') || ' to ' || (r.rule ->> 'highest')
        ) || coalesce(', not ' || left((setting -> r.name)::text, 20), ', but is missing')
    FROM jsonb_each(public.pancake_setting_rules()) AS r (name, rule)
    WHERE public.pancake_valid_setting(setting ->> r.name, r.rule) IS NULL
    UNION ALL
    SELECT r.name, r.name || ' must not be less than payload_retention_days'
    FROM (SELECT 'held_retention_days' AS name) AS r
    WHERE
        public.pancake_valid_setting(setting ->> r.name, public.pancake_setting_rules() -> r.name)::integer
        < public.pancake_valid_setting(
            setting ->> 'payload_retention_days', public.pancake_setting_rules() -> 'payload_retention_days'
        )::integer
    UNION ALL
    SELECT 'business_hours', 'business_hours must not end before they begin'
    WHERE
        public.pancake_valid_setting(setting ->> 'business_hours', public.pancake_setting_rules() -> 'business_hours') IS NOT NULL
        AND NOT public.pancake_valid_hours(setting ->> 'business_hours')
$$;

-- The settings as they are used: always one row, and no setting is null. Handlers, commands and screens read them here, and the screens
-- change them through it; when and by whom is written by its trigger, and a time that cannot be read is null. Who may read the view
-- may not read app_setting, where the settings of the whole application are. The planner merges the view into a statement; OFFSET 0
-- keeps it from reading app_setting once for each column.
CREATE VIEW public.view_pancake_setting AS
SELECT
    1 AS id,
    public.pancake_setting_value(s.setting, 'kill_switch') = 'true' AS kill_switch,
    public.pancake_setting_value(s.setting, 'processing_paused') = 'true' AS processing_paused,
    public.pancake_setting_value(s.setting, 'consent_mode') AS consent_mode,
    public.pancake_setting_value(s.setting, 'sla_minutes')::integer AS sla_minutes,
    public.pancake_setting_value(s.setting, 'replay_rate_per_second')::integer AS replay_rate_per_second,
    d.payload AS payload_retention_days,
    -- A body that is held is never emptied before one that is processed.
    CASE
        WHEN d.held >= d.payload THEN d.held
        ELSE greatest(d.payload, (public.pancake_setting_rules() -> 'held_retention_days' ->> 'default')::integer)
    END AS held_retention_days,
    public.pancake_setting_value(s.setting, 'cron_run_retention_days')::integer AS cron_run_retention_days,
    public.pancake_setting_value(s.setting, 'engine_log_retention_days')::integer AS engine_log_retention_days,
    public.pancake_setting_value(s.setting, 'former_owner') AS former_owner,
    public.pancake_setting_value(s.setting, 'recall_after_minutes')::integer AS recall_after_minutes,
    public.pancake_setting_value(s.setting, 'recall_max_times')::integer AS recall_max_times,
    public.pancake_setting_value(s.setting, 'max_tickets_ahead')::integer AS max_tickets_ahead,
    public.pancake_setting_value(s.setting, 'business_hours') AS business_hours,
    public.pancake_setting_value(s.setting, 'holidays') AS holidays,
    ARRAY(SELECT p.problem FROM public.pancake_setting_problem(s.setting) AS p ORDER BY p.problem) AS problems,
    (jsonb_path_query_first_tz(
        s.setting, '$.changed_at ? (@ like_regex "^[0-9]{4}-").datetime()', silent => true
    ) #>> '{}')::timestamptz AS changed_at,
    s.setting ->> 'changed_by' AS changed_by,
    -- Written only: the reason of a change, for the history.
    NULL::text AS change_reason
FROM (
    SELECT (SELECT a.app_settings -> 'pancake_integration' FROM public.app_setting AS a WHERE a.id = 1) AS setting OFFSET 0
) AS s
CROSS JOIN LATERAL (
    SELECT
        public.pancake_setting_value(s.setting, 'payload_retention_days')::integer AS payload,
        public.pancake_setting_value(s.setting, 'held_retention_days')::integer AS held
) AS d;

-- Who changes something through Hasura: the user, else the role. Null for a session that is not Hasura's.
CREATE FUNCTION public.pancake_hasura_person() RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT coalesce(s.session ->> 'x-hasura-user-id', 'role ' || (s.session ->> 'x-hasura-role'))
    FROM (SELECT nullif(current_setting('hasura.user', true), '')::jsonb AS session) AS s
$$;

-- Write the settings that an UPDATE of the view changes. Other keys of app_settings and unchanged settings are not written, except
-- those that cannot be read: they get the value that is shown, which was used for them before.
-- With the rights of the owner: who may write columns of the view may write nothing else of Diva's settings.
CREATE FUNCTION public.pancake_setting_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    wanted CONSTANT jsonb := to_jsonb(NEW);
    refused text;
    changes jsonb;
BEGIN
    IF NEW.change_reason IS NOT NULL THEN
        PERFORM set_config('integration.change_reason', NEW.change_reason, true);
        NEW.change_reason := NULL;
    END IF;
    -- What the view shows has no problem, so this one is of the change.
    SELECT min(p.problem) INTO refused FROM public.pancake_setting_problem(wanted) AS p;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION '%', refused USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_setting';
    END IF;
    SELECT coalesce(jsonb_object_agg(r.name, wanted -> r.name), '{}') INTO changes
    FROM jsonb_object_keys(public.pancake_setting_rules()) AS r (name)
    WHERE wanted -> r.name <> to_jsonb(OLD) -> r.name;
    IF changes = '{}' AND OLD.problems = '{}' THEN
        RETURN NEW;
    END IF;
    NEW.changed_at := clock_timestamp();
    NEW.changed_by := coalesce(public.pancake_hasura_person(), session_user);
    UPDATE public.app_setting AS a
    SET app_settings = a.app_settings || jsonb_build_object(
        'pancake_integration',
        CASE WHEN jsonb_typeof(a.app_settings -> 'pancake_integration') = 'object' THEN a.app_settings -> 'pancake_integration' ELSE '{}' END
            || (
                SELECT coalesce(jsonb_object_agg(p.name, wanted -> p.name), '{}')
                FROM public.pancake_setting_problem(a.app_settings -> 'pancake_integration') AS p
            )
            || changes
            || jsonb_build_object('changed_at', NEW.changed_at, 'changed_by', NEW.changed_by)
    )
    WHERE a.id = 1 AND jsonb_typeof(a.app_settings) = 'object';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'app_setting has no row 1 with a JSON object in app_settings';
    END IF;
    NEW.problems := '{}';
    RETURN NEW;
END
$$;

REVOKE EXECUTE ON FUNCTION public.pancake_setting_write() FROM PUBLIC;

CREATE TRIGGER pancake_setting_write
    INSTEAD OF UPDATE ON public.view_pancake_setting
    FOR EACH ROW EXECUTE FUNCTION public.pancake_setting_write();

-- The business hours of a week, one row for each day and period: 1 is Monday. `hours` is the setting business_hours.
CREATE FUNCTION public.pancake_business_period(hours text)
    RETURNS TABLE (weekday integer, opens interval, closes interval)
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT d.weekday, p.part[3]::interval, p.part[4]::interval
    FROM (
        SELECT regexp_match(
            e.entry, '^(mon|tue|wed|thu|fri|sat|sun)-?(mon|tue|wed|thu|fri|sat|sun)? ([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})$'
        ) AS part
        FROM regexp_split_to_table(CASE hours WHEN 'always' THEN 'mon-sun 00:00-24:00' ELSE hours END, ', ') AS e (entry)
    ) AS p
    CROSS JOIN generate_series(1, 7) AS d (weekday)
    -- sat-mon is a period too: it goes on over Sunday.
    WHERE (d.weekday - array_position('{mon,tue,wed,thu,fri,sat,sun}', p.part[1]) + 7) % 7
        <= (array_position('{mon,tue,wed,thu,fri,sat,sun}', coalesce(p.part[2], p.part[1]))
            - array_position('{mon,tue,wed,thu,fri,sat,sun}', p.part[1]) + 7) % 7
        AND p.part[3] < p.part[4]
$$;

-- The minutes of a period of time within the business hours `hours`, in Vietnam, and on none of `off_days`. Dates are compared as
-- text: one that does not exist is no holiday.
CREATE FUNCTION public.pancake_open_minutes(started timestamptz, ended timestamptz, hours text, off_days text) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce((
        SELECT sum(extract(epoch FROM upper(b.open_time) - lower(b.open_time)))::double precision / 60
        FROM (
            SELECT range_agg(tsrange(d.day + p.opens, d.day + p.closes)) * tsmultirange(tsrange(l.started, l.ended)) AS open_times
            FROM (
                SELECT started AT TIME ZONE 'Asia/Ho_Chi_Minh' AS started, greatest(started, ended) AT TIME ZONE 'Asia/Ho_Chi_Minh' AS ended
            ) AS l
            CROSS JOIN generate_series(date_trunc('day', l.started), l.ended, interval '1 day') AS d (day)
            JOIN public.pancake_business_period(hours) AS p ON p.weekday = extract(isodow FROM d.day)
            WHERE NOT EXISTS (
                SELECT FROM regexp_split_to_table(off_days, ', ') AS h (entry)
                WHERE to_char(d.day, 'YYYY-MM-DD') BETWEEN split_part(h.entry, '..', 1) AND right(h.entry, 10)
            )
            GROUP BY l.started, l.ended
        ) AS o
        CROSS JOIN unnest(o.open_times) AS b (open_time)
    ), 0)
$$;

-- The minutes of a period of time that are business hours and no holiday; `hours` and `off_days` are the settings business_hours
-- and holidays. It has no subquery, so that it is inlined: by default no function is called for each ticket.
CREATE FUNCTION public.pancake_business_minutes(started timestamptz, ended timestamptz, hours text, off_days text) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN hours = 'always' AND off_days = 'none' THEN extract(epoch FROM ended - started)::double precision / 60
        ELSE public.pancake_open_minutes(started, ended, hours, off_days)
    END
$$;

-- What keeps a member of a roster from getting a ticket at a time, besides being inactive or off duty: the shift or a cap; null if
-- nothing does. Open tickets are all of Diva's. Callers ask only for members who have a limit: it is not inlined.
CREATE FUNCTION public.pancake_member_limit(member public.pancake_assignee, moment timestamptz) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE
        WHEN member.shift <> 'always' AND NOT EXISTS (
            SELECT FROM public.pancake_business_period(member.shift) AS p
            WHERE
                p.weekday = extract(isodow FROM l.moment)
                AND l.moment - date_trunc('day', l.moment) >= p.opens
                AND l.moment - date_trunc('day', l.moment) < p.closes
        ) THEN 'outside_shift'
        WHEN member.daily_cap <= CASE WHEN member.assigned_on = l.moment::date THEN member.assigned_today ELSE 0 END THEN 'daily_cap'
        WHEN member.open_cap <= (
            SELECT count(*) FROM public.ticket AS t WHERE t.assignee_id = member.staff_id AND public.pancake_ticket_is_open(t.status)
        ) THEN 'open_cap'
    END
    FROM (SELECT moment AT TIME ZONE 'Asia/Ho_Chi_Minh' AS moment) AS l
$$;

-- Whether a ticket waited for its first response for as long as the settings allow, since its owner was chosen last, and was not
-- recalled too often. The minutes are business hours.
CREATE FUNCTION public.pancake_recall_is_due(evidence jsonb, ticket_created_at timestamptz, moment timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT
        jsonb_array_length(coalesce(evidence #> '{assignment,recalls}', '[]')) < s.recall_max_times
        AND public.pancake_business_minutes(
            greatest(ticket_created_at, (evidence #>> '{assignment,assigned_at}')::timestamptz), moment, s.business_hours, s.holidays
        ) >= s.recall_after_minutes
        AND s.recall_after_minutes > 0
    FROM public.view_pancake_setting AS s
$$;

-- The active sources among those that a lead names; none while their connection is disabled. A lead is processed if it has at
-- least one.
CREATE FUNCTION public.pancake_active_source(for_connection_id uuid, among_source_ids text[])
    RETURNS TABLE (id uuid, pancake_source_id text)
    LANGUAGE sql STABLE
    AS $$
    SELECT s.id, s.pancake_source_id
    FROM public.pancake_source AS s
    WHERE
        s.connection_id = for_connection_id
        AND s.pancake_source_id = ANY (among_source_ids)
        AND s.is_active
        AND EXISTS (SELECT FROM public.pancake_connection AS c WHERE c.id = for_connection_id AND c.status <> 'disabled')
$$;

-- Why an event is not processed now: the status with which it is held; null if nothing holds it. Always one row. The kill switch
-- goes before sources. A body without a source is not a record: it is not held, and processing reports its error.
CREATE FUNCTION public.pancake_hold_reason(for_connection_id uuid, among_source_ids text[])
    RETURNS TABLE (status text)
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE
        WHEN (SELECT w.kill_switch FROM public.view_pancake_setting AS w) THEN 'skipped_kill_switch'
        WHEN cardinality(among_source_ids) > 0
            AND NOT EXISTS (SELECT FROM public.pancake_active_source(for_connection_id, among_source_ids))
            THEN 'skipped_source_disabled'
    END
$$;

-- The source whose roster serves a lead: the first of its active sources that has a roster; no row = the default roster.
CREATE FUNCTION public.pancake_roster_source(for_connection_id uuid, among_source_ids text[])
    RETURNS TABLE (id uuid)
    LANGUAGE sql STABLE
    AS $$
    SELECT s.id
    FROM public.pancake_active_source(for_connection_id, among_source_ids) AS s
    WHERE EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active)
    ORDER BY array_position(among_source_ids, s.pancake_source_id)
    LIMIT 1
$$;

-- The versions of a record that were applied. Records belong to a connection and a table. A version that claimed a time in the far
-- future has the time of its arrival. `applied_at` orders them: what was applied last is what Diva's data shows.
CREATE FUNCTION public.pancake_applied_version(for_connection_id uuid, for_table_name text, for_record_id text)
    RETURNS TABLE (
        applied_at timestamptz, modified_on timestamptz, arrived_at timestamptz, outcome text, evidence jsonb, ticket_id uuid,
        account_id uuid, normalized_phone text
    )
    LANGUAGE sql STABLE
    AS $$
    SELECT
        e.applied_at, CASE WHEN e.evidence ? 'future_time' THEN e.arrived_at ELSE e.modified_on END, e.arrived_at, e.outcome,
        e.evidence, e.ticket_id, e.account_id, e.normalized_phone
    FROM public.pancake_webhook_event AS e
    WHERE
        e.record_id = for_record_id
        AND e.connection_id = for_connection_id
        AND public.pancake_record_table(e.table_name) = public.pancake_record_table(for_table_name)
        AND e.applied_at IS NOT NULL
$$;

-- The version of a record that was applied last; no row if there is none.
CREATE FUNCTION public.pancake_applied_event(for_connection_id uuid, for_table_name text, for_record_id text)
    RETURNS TABLE (evidence jsonb, ticket_id uuid, account_id uuid, normalized_phone text)
    LANGUAGE sql STABLE
    AS $$
    SELECT v.evidence, v.ticket_id, v.account_id, v.normalized_phone
    FROM public.pancake_applied_version(for_connection_id, for_table_name, for_record_id) AS v
    ORDER BY v.applied_at DESC
    LIMIT 1
$$;

-- Whether the ticket that an event created still waits for us to find it an owner. Inlined, in the index too, so that the index
-- serves every statement that calls it with the columns of the table.
CREATE FUNCTION public.pancake_event_is_unassigned(outcome text, assignee_id uuid, evidence jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT outcome = 'ticket_created' AND assignee_id IS NULL AND evidence #> '{assignment,settled}' IS NULL
$$;

CREATE INDEX ix_pancake_webhook_event_unassigned ON public.pancake_webhook_event (id)
    WHERE public.pancake_event_is_unassigned(outcome, assignee_id, evidence);

-- The hash that identifies a body: two workspaces, or a lead and a contact, may have the same body under the same record id.
-- Immutable, so that it is inlined.
CREATE FUNCTION public.pancake_payload_hash(body_hash bytea, of_connection_id uuid, of_table_name text)
    RETURNS bytea
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT sha256(
        body_hash || uuid_send(of_connection_id)
        || CASE public.pancake_record_table(of_table_name)
            WHEN 'account' THEN '\x61'::bytea WHEN 'contact' THEN '\x63'::bytea WHEN 'lead' THEN ''::bytea
        END
    )
$$;

-- The accounts that have one of the phones themselves. `digits` are the forms that account.phone_number may hold of them: they find
-- accounts whose phone is not normalized yet. Inlined.
CREATE FUNCTION public.pancake_account_of_phone(phones text[], digits text[])
    RETURNS TABLE (id uuid, normalized_phone text, phone_code text, phone_number text, phone_enabled boolean, created_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at
    FROM public.account AS a
    WHERE a.normalized_phone = ANY (phones) AND a.deleted_at IS NULL
    UNION ALL
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at
    FROM public.account AS a
    WHERE
        a.normalized_phone IS NULL
        AND a.phone_number IS NOT NULL
        AND regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (digits)
        AND a.deleted_at IS NULL
$$;

-- Whether a phone of a contact leads to the contact's account. It does not if it is a former phone of the account: a lead found the
-- account by it (is_found), and no lead named it together with the account's present phone (is_named). While that is not normalized
-- yet, named_phones are all phones that leads named with it. Retention leaves digests of phones: `phone_digests` are those of the
-- phone, and named_digests those of the phones that emptied events named with it. Inlined.
CREATE FUNCTION public.pancake_contact_phone_history(phone text, phone_digests jsonb, of_account_id uuid, account_phone text)
    RETURNS TABLE (is_named boolean, is_found boolean, named_phones jsonb, named_digests jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        coalesce(bool_or(l.usable ? account_phone), false),
        coalesce(bool_or(l.is_matched), false),
        coalesce(CASE WHEN account_phone IS NULL THEN jsonb_path_query_array(jsonb_agg(DISTINCT l.usable), '$[*][*]') END, '[]'),
        coalesce(jsonb_path_query_array(jsonb_agg(l.digests), '$[*][*]'), '[]')
    FROM (
        SELECT e.evidence -> 'phone' -> 'usable' AS usable, e.evidence -> 'phone' ->> 'matched' = phone AS is_matched, NULL AS digests
        FROM public.pancake_webhook_event AS e
        WHERE e.normalized_phone = phone AND e.account_id = of_account_id
        UNION ALL
        SELECT
            NULL, e.evidence #>> '{phone,digests,matched}' = e.evidence #>> '{phone,digests,primary}',
            e.evidence #> '{phone,digests,usable}'
        FROM public.pancake_webhook_event AS e
        WHERE
            e.evidence #>> '{phone,digests,primary}' = ANY (ARRAY(SELECT d.v FROM jsonb_array_elements_text(phone_digests) AS d (v)))
            AND e.normalized_phone IS NULL
            AND e.account_id = of_account_id
    ) AS l
$$;

-- For the function above, once retention emptied the phone.
CREATE INDEX ix_pancake_webhook_event_phone_digest ON public.pancake_webhook_event ((evidence #>> '{phone,digests,primary}'))
    WHERE normalized_phone IS NULL;

-- What retention keeps of an event's evidence: rules, counts, times, ids and keyed digests. A key that is not listed is personal.
CREATE FUNCTION public.pancake_emptied_evidence(evidence jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce(jsonb_object_agg(e.key, CASE e.key
        WHEN 'phone' THEN (
            SELECT coalesce(jsonb_object_agg(p.key, CASE p.key
                WHEN 'rejected' THEN (SELECT coalesce(jsonb_agg(r.item - 'phone'), '[]') FROM jsonb_array_elements(p.value) AS r (item))
                ELSE p.value
            END), '{}')
            FROM jsonb_each(e.value) AS p
            WHERE p.key IN ('candidates', 'digests', 'rejected', 'winner')
        )
        WHEN 'phone_changed' THEN e.value - 'phone_before'
        ELSE e.value
    END), '{}')
    FROM jsonb_each(evidence) AS e
    WHERE e.key IN (
        'applied_account', 'assignment', 'cut_fields', 'digests', 'error', 'force', 'forced', 'future_time', 'held_by', 'notes', 'phone',
        'phone_changed', 'result', 'sla_notified_at', 'ticket_account'
    )
$$;

-- Empty everything personal of finished events: the rows stay, with identity, state, links and digests. Returns how many. A
-- notification that still waits to be sent stays, and is found by the index below once it was sent.
CREATE FUNCTION public.pancake_empty_events(event_ids bigint[]) RETURNS bigint
    LANGUAGE sql VOLATILE
    AS $$
    WITH emptied AS (
        UPDATE public.pancake_webhook_event AS e
        SET
            payload = NULL, raw = NULL, normalized_phone = NULL, source_ip = NULL, error_detail = NULL,
            evidence = public.pancake_emptied_evidence(e.evidence),
            notifications = CASE
                WHEN e.notified_at IS NULL AND e.notify_given_up_at IS NULL THEN e.notifications ELSE '[]'
            END
        WHERE e.id = ANY (event_ids)
        RETURNING e.id
    )
    SELECT count(*) FROM emptied
$$;

-- Events that were emptied and have personal data again: a notification of today, or a corrected phone of a replay.
CREATE INDEX ix_pancake_webhook_event_leftover ON public.pancake_webhook_event (id)
    WHERE payload IS NULL AND raw IS NULL
        AND (normalized_phone IS NOT NULL OR notifications <> '[]'::jsonb OR evidence ? 'corrected_phone');

-- Erase events of a customer: nothing of the person stays, not even digests, and the versions count as never applied. What was not
-- processed becomes a dead letter with the code `erased`. Returns how many events had something to erase.
CREATE FUNCTION public.pancake_erase_events(event_ids bigint[]) RETURNS bigint
    LANGUAGE sql VOLATILE
    AS $$
    WITH erased AS (
        UPDATE public.pancake_webhook_event AS e
        SET
            status = CASE e.status WHEN 'processed' THEN e.status ELSE 'dead_letter' END,
            error_code = CASE e.status WHEN 'processed' THEN e.error_code ELSE 'erased' END,
            payload = NULL, raw = NULL, normalized_phone = NULL, source_ip = NULL, error_detail = NULL, next_attempt_at = NULL,
            applied_at = NULL, notifications = '[]',
            evidence = public.pancake_emptied_evidence(e.evidence) - '{digests,phone,phone_changed}'::text[]
        WHERE
            e.id = ANY (event_ids)
            AND (
                e.payload IS NOT NULL OR e.raw IS NOT NULL OR e.normalized_phone IS NOT NULL OR e.applied_at IS NOT NULL
                OR e.notifications <> '[]' OR e.evidence ?| '{digests,phone,phone_changed,corrected_phone}'
                OR e.status NOT IN ('processed', 'dead_letter')
            )
        RETURNING e.id
    )
    SELECT count(*) FROM erased
$$;

-- The erasures that a version of a record falls under: one for its phone or record that is not older than the version. The caller
-- gives as time of a version without one: its arrival by the webhook, else -infinity. Inlined.
CREATE FUNCTION public.pancake_erasure(among_digests text[], for_connection_id uuid, for_table_name text, version_time timestamptz)
    RETURNS TABLE (id bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT c.id
    FROM public.customer_erasure AS c
    WHERE
        c.digest = ANY (among_digests)
        AND (
            c.connection_id IS NULL
            OR c.connection_id = for_connection_id AND c.table_name = public.pancake_record_table(for_table_name)
        )
        AND c.erased_at >= version_time
$$;

-- The events of a period with their class in the key figure success, for the figures and the report.
CREATE FUNCTION public.pancake_arrived_event(since timestamptz, until timestamptz)
    RETURNS TABLE (
        id bigint, connection_id uuid, record_id text, source_id text, is_lead boolean, origin text, error_code text, class text
    )
    LANGUAGE sql STABLE
    AS $$
    SELECT
        e.id, e.connection_id, e.record_id, coalesce(e.source_ids[1], '(none)'),
        e.record_id IS NOT NULL AND public.pancake_record_table(e.table_name) = 'lead', e.origin, e.error_code,
        CASE
            WHEN e.status = 'dead_letter' AND public.pancake_event_is_invalid(e.error_code) THEN 'invalid'
            WHEN e.status = 'dead_letter' THEN 'dead'
            WHEN public.pancake_event_is_held(e.status) THEN 'held'
            -- Not received_at: each refire sets it, and a stuck event would never be more than a few minutes old. An event that was
            -- held or given up counts from its replay, which alone brings it back.
            WHEN public.pancake_event_is_waiting(e.status)
                THEN CASE WHEN greatest(e.created_at, e.replayed_at) < until - interval '5 minutes' THEN 'stuck' ELSE 'waiting' END
            ELSE e.status
        END
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at >= since AND e.created_at < until
$$;

-- The tickets that events of a period created, for the figures and the report: the owner that the integration chose, at once or
-- later, and whether the ticket has another one now. An unanswered ticket has its age at the end of the period as its minutes; a
-- ticket that was closed without a response too.
CREATE FUNCTION public.pancake_created_ticket(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection_id uuid, source_id text, chosen text, is_correct boolean, is_changed boolean, is_unanswered boolean,
        minutes double precision, business_minutes double precision
    )
    LANGUAGE sql STABLE
    AS $$
    -- The planner would check the settings against their rules for each ticket.
    WITH s AS MATERIALIZED (SELECT g.business_hours, g.holidays FROM public.view_pancake_setting AS g)
    SELECT
        m.connection_id, m.source_id, m.chosen, m.chosen = m.owner, m.chosen IS DISTINCT FROM m.owner, m.is_unanswered,
        extract(epoch FROM m.ended_at - m.created_at)::double precision / 60,
        public.pancake_business_minutes(m.created_at, m.ended_at, s.business_hours, s.holidays)
    FROM (
        SELECT
            e.connection_id, coalesce(e.source_ids[1], '(none)') AS source_id, e.evidence -> 'assignment' ->> 'chosen' AS chosen,
            t.assignee_id::text AS owner, t.first_response_at IS NULL AS is_unanswered, t.created_at,
            coalesce(t.first_response_at, greatest(until, t.created_at)) AS ended_at
        FROM public.pancake_webhook_event AS e
        -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
        CROSS JOIN LATERAL (
            SELECT k.assignee_id, k.first_response_at, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
        ) AS t
        WHERE e.created_at >= since AND e.created_at < until AND e.outcome = 'ticket_created'
    ) AS m
    CROSS JOIN s
$$;

-- The report for managers: one row for each source, and one for all of them without connection and source. A lead counts for the
-- source that its first event of the period names first, and as held or without a phone only if nothing better became of it.
CREATE FUNCTION public.pancake_report_source(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, leads bigint, tickets bigint, held bigint, no_phone bigint,
        missed_by_webhook bigint, unassigned bigint, changed bigint, unanswered bigint, response_p50_minutes double precision,
        response_p95_minutes double precision, response_p50_business_minutes double precision,
        response_p95_business_minutes double precision
    )
    LANGUAGE sql STABLE
    AS $$
    WITH lead AS (
        SELECT
            e.connection_id, (array_agg(e.source_id ORDER BY e.id))[1] AS source_id,
            bool_or(e.class IN ('processed', 'failed', 'stuck', 'waiting')) AS is_accepted,
            bool_or(e.class = 'held') AS is_held,
            bool_or(e.class = 'invalid' AND e.error_code = 'invalid_phone') AS has_no_phone,
            bool_or(e.origin <> 'webhook') AS is_missed
        FROM public.pancake_arrived_event(since, until) AS e
        WHERE e.is_lead
        GROUP BY e.connection_id, e.record_id
    ), of_leads AS (
        SELECT
            l.connection_id, l.source_id, count(*) AS leads,
            count(*) FILTER (WHERE l.is_held AND NOT l.is_accepted) AS held,
            count(*) FILTER (WHERE l.has_no_phone AND NOT l.is_accepted AND NOT l.is_held) AS no_phone,
            count(*) FILTER (WHERE l.is_missed) AS missed_by_webhook
        FROM lead AS l
        GROUP BY GROUPING SETS ((l.connection_id, l.source_id), ())
    ), of_tickets AS (
        SELECT
            t.connection_id, t.source_id, count(*) AS tickets,
            count(*) FILTER (WHERE t.chosen IS NULL) AS unassigned,
            count(*) FILTER (WHERE t.is_changed) AS changed,
            count(*) FILTER (WHERE t.is_unanswered) AS unanswered,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY t.minutes) AS minutes,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY t.business_minutes) AS business_minutes
        FROM public.pancake_created_ticket(since, until) AS t
        GROUP BY GROUPING SETS ((t.connection_id, t.source_id), ())
    )
    SELECT
        c.name, coalesce(l.source_id, t.source_id),
        (SELECT s.name FROM public.pancake_source AS s WHERE s.connection_id = c.id AND s.pancake_source_id = coalesce(l.source_id, t.source_id)),
        coalesce(l.leads, 0), coalesce(t.tickets, 0), coalesce(l.held, 0), coalesce(l.no_phone, 0), coalesce(l.missed_by_webhook, 0),
        coalesce(t.unassigned, 0), coalesce(t.changed, 0), coalesce(t.unanswered, 0),
        t.minutes[1], t.minutes[2], t.business_minutes[1], t.business_minutes[2]
    FROM of_leads AS l
    FULL JOIN of_tickets AS t
        ON coalesce(t.connection_id::text || t.source_id, '') = coalesce(l.connection_id::text || l.source_id, '')
    LEFT JOIN public.pancake_connection AS c ON c.id = coalesce(l.connection_id, t.connection_id)
$$;

-- Whose tickets the sources' new ones became: one row for each source with tickets and each owner that was chosen, and for each
-- active member of its roster. `spread` is the largest difference of assigned_count / weight between the members that were
-- available at the roster's last choice, `bound` what round robin guarantees for it: 1 / the lowest weight, or as many tickets as a
-- member may be ahead if former owners or recalls go before turns.
CREATE FUNCTION public.pancake_report_owner(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, owner text, tickets bigint, share double precision, changed bigint,
        weight integer, spread double precision, bound double precision
    )
    LANGUAGE sql STABLE
    AS $$
    WITH owned AS MATERIALIZED (
        SELECT t.connection_id, t.source_id, t.chosen, count(*) AS tickets, count(*) FILTER (WHERE t.is_changed) AS changed
        FROM public.pancake_created_ticket(since, until) AS t
        GROUP BY t.connection_id, t.source_id, t.chosen
    ), roster AS (
        SELECT o.connection_id, o.source_id, s.name, o.assigned, r.id, f.spread, f.bound
        FROM (
            SELECT o.connection_id, o.source_id, sum(o.tickets) FILTER (WHERE o.chosen IS NOT NULL) AS assigned
            FROM owned AS o
            GROUP BY o.connection_id, o.source_id
        ) AS o
        LEFT JOIN public.pancake_source AS s ON s.connection_id = o.connection_id AND s.pancake_source_id = o.source_id
        LEFT JOIN LATERAL (
            SELECT s.id WHERE EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active)
        ) AS r ON true
        CROSS JOIN LATERAL (
            SELECT
                max(a.assigned_count::double precision / a.weight) - min(a.assigned_count::double precision / a.weight) AS spread,
                (
                    SELECT CASE WHEN p.former_owner = 'on' OR p.recall_after_minutes > 0 THEN p.max_tickets_ahead ELSE 1 END
                    FROM public.view_pancake_setting AS p
                )::double precision / min(a.weight) AS bound
            FROM public.pancake_assignee AS a
            WHERE a.source_id IS NOT DISTINCT FROM r.id AND a.is_active AND a.was_available
        ) AS f
    ), member AS (
        SELECT r.connection_id, r.source_id, a.staff_id::text AS owner, a.weight
        FROM roster AS r
        JOIN public.pancake_assignee AS a ON a.source_id IS NOT DISTINCT FROM r.id AND a.is_active
    )
    SELECT
        c.name, r.source_id, r.name, (SELECT f.full_name FROM public.staff AS f WHERE f.id::text = w.owner),
        coalesce(o.tickets, 0), coalesce(o.tickets, 0)::double precision / nullif(r.assigned, 0)::double precision,
        coalesce(o.changed, 0), m.weight, r.spread, r.bound
    FROM roster AS r
    JOIN public.pancake_connection AS c ON c.id = r.connection_id
    JOIN LATERAL (
        SELECT o.chosen AS owner FROM owned AS o
        WHERE o.connection_id = r.connection_id AND o.source_id = r.source_id AND o.chosen IS NOT NULL
        UNION
        SELECT m.owner FROM member AS m WHERE m.connection_id = r.connection_id AND m.source_id = r.source_id
    ) AS w ON true
    LEFT JOIN owned AS o ON o.connection_id = r.connection_id AND o.source_id = r.source_id AND o.chosen = w.owner
    LEFT JOIN member AS m ON m.connection_id = r.connection_id AND m.source_id = r.source_id AND m.owner = w.owner
$$;

-- The present week in Vietnam and the 12 before, each with its first instant and its end; the present one ends now.
CREATE FUNCTION public.pancake_report_week()
    RETURNS TABLE (week date, since timestamptz, until timestamptz)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        d.week, d.week::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh',
        least(now(), (d.week + 7)::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh')
    FROM (
        SELECT date_trunc('week', now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date - 7 * w.back AS week FROM generate_series(0, 12) AS w (back)
    ) AS d
$$;

-- The report by weeks, which managers may read. A condition on `week` reads the events of that week alone.
CREATE VIEW public.view_pancake_report_source AS
SELECT
    w.week, r.connection, r.source_id, r.source, r.leads, r.tickets, r.held, r.no_phone, r.missed_by_webhook, r.unassigned, r.changed,
    r.unanswered, r.response_p50_minutes, r.response_p95_minutes, r.response_p50_business_minutes, r.response_p95_business_minutes
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_source(w.since, w.until) AS r;

CREATE VIEW public.view_pancake_report_owner AS
SELECT w.week, r.connection, r.source_id, r.source, r.owner, r.tickets, r.share, r.changed, r.weight, r.spread, r.bound
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_owner(w.since, w.until) AS r;

-- Diva's names of the staff roles, as in staff.role and module_permission_action.role: the only place that knows them.
CREATE FUNCTION public.pancake_staff_role(word text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE word WHEN 'admin' THEN 'admin' WHEN 'manager' THEN 'manager' WHEN 'telesale' THEN 'telesale' END
$$;

-- The four functions below have the rights of their owner, because Hasura's log holds the payloads of all event triggers and the
-- handlers need those of one. They are PL/pgSQL, so that they may be created before Hasura's catalogue, and so that nothing of
-- that catalogue depends on them. deploy/postgres/grant_roles.sql says who may call them.

-- The ids of the events that Hasura is about to deliver. One that was locked longer ago than `lease` is not among them: the Hasura
-- instance that locked it died. Hasura itself takes such an event again after 30 minutes.
CREATE FUNCTION public.pancake_pending_event_ids(lease interval) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY
    SELECT (l.payload -> 'data' -> 'new' ->> 'id')::bigint
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
        AND (l.locked IS NULL OR l.locked > clock_timestamp() - lease);
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_pending_event_ids(interval) FROM PUBLIC;

-- Delete at most `most` of Hasura's finished events of our trigger from before a time, with their invocation logs; return how many.
CREATE FUNCTION public.pancake_delete_event_logs(before timestamptz, most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    changed bigint;
BEGIN
    WITH deleted AS (
        DELETE FROM hdb_catalog.event_log AS l
        WHERE l.id IN (
            SELECT o.id
            FROM hdb_catalog.event_log AS o
            WHERE
                o.trigger_name = 'pancake_webhook_event_status_update'
                AND o.created_at < (before AT TIME ZONE 'UTC')
                AND (o.delivered OR o.error OR o.archived)
                AND o.locked IS NULL
            LIMIT most
        )
        RETURNING l.id
    ), logs AS (
        DELETE FROM hdb_catalog.event_invocation_logs AS i WHERE i.event_id IN (SELECT d.id FROM deleted AS d)
    )
    SELECT count(*) INTO changed FROM deleted;
    RETURN changed;
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_delete_event_logs(timestamptz, bigint) FROM PUBLIC;

-- What Hasura's log says of a delivery, which Hasura has tried `tries` times. "Redeliver" in the console starts that count again and
-- keeps the log: a delivery is redelivered if the log has more tries than Hasura counts. is_answered: one of those that it counts was
-- not answered 503, so the handler may have done its work.
CREATE FUNCTION public.pancake_delivery_history(hasura_event_id text, tries integer)
    RETURNS TABLE (is_redelivered boolean, is_answered boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- Without its catalogue, which "clear metadata" drops, Hasura has no log.
    IF to_regclass('hdb_catalog.event_invocation_logs') IS NULL THEN
        RETURN QUERY SELECT false, tries > 0;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT count(*) > tries, count(*) FILTER (WHERE l.newest <= tries AND l.status IS DISTINCT FROM 503) > 0
    FROM (
        SELECT i.status, row_number() OVER (ORDER BY i.created_at DESC) AS newest
        FROM hdb_catalog.event_invocation_logs AS i
        WHERE i.event_id = hasura_event_id
    ) AS l;
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_delivery_history(text, integer) FROM PUBLIC;

-- The id of Hasura's event that this transaction fired for a row; null if there is none. It is not locked yet, and no other
-- transaction sees it.
CREATE FUNCTION public.pancake_fired_event_id(event_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF to_regclass('hdb_catalog.event_log') IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT l.id
        FROM hdb_catalog.event_log AS l
        WHERE
            l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
            AND l.locked IS NULL AND l.next_retry_at IS NULL AND l.created_at = LOCALTIMESTAMP
            AND l.trigger_name = 'pancake_webhook_event_status_update'
            AND (l.payload -> 'data' -> 'new' ->> 'id')::bigint = event_id
        LIMIT 1
    );
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_fired_event_id(bigint) FROM PUBLIC;

-- What the console, GraphiQL and \d+ show of the tables, their columns and views.
COMMENT ON TABLE public.pancake_connection IS 'One row for each workspace of Pancake that we are connected to, with its sealed secrets and its state';
COMMENT ON COLUMN public.pancake_connection.id IS 'Identifies the connection; part of what its secrets are sealed for';
COMMENT ON COLUMN public.pancake_connection.name IS 'What people call the connection; leads commands take it';
COMMENT ON COLUMN public.pancake_connection.workspace_id IS 'Number of the workspace in Pancake';
COMMENT ON COLUMN public.pancake_connection.table_names IS 'Tables of the workspace that are listed: lead, account, contact';
COMMENT ON COLUMN public.pancake_connection.api_base_url IS 'Where the workspace''s API is, in one spelling; the API key is sealed for it';
COMMENT ON COLUMN public.pancake_connection.record_timezone IS 'Time zone of times that Pancake writes without one';
COMMENT ON COLUMN public.pancake_connection.api_key_encrypted IS 'API key of Pancake, sealed with a key of ENCRYPTION_KEYS';
COMMENT ON COLUMN public.pancake_connection.token_sha256 IS 'SHA-256 of the token in the webhook URL';
COMMENT ON COLUMN public.pancake_connection.previous_token_sha256 IS 'SHA-256 of the token before the last rotation, accepted until previous_token_expires_at';
COMMENT ON COLUMN public.pancake_connection.previous_token_expires_at IS 'Until when the token before the last rotation is accepted';
COMMENT ON COLUMN public.pancake_connection.webhook_secret_encrypted IS 'Secret of the webhook''s signature, sealed';
COMMENT ON COLUMN public.pancake_connection.previous_webhook_secret_encrypted IS 'The secret before it, sealed, accepted until previous_webhook_secret_expires_at';
COMMENT ON COLUMN public.pancake_connection.previous_webhook_secret_expires_at IS 'Until when the former webhook secret is accepted';
COMMENT ON COLUMN public.pancake_connection.header_secret_encrypted IS 'Value of the request header X-Pancake-Secret, sealed';
COMMENT ON COLUMN public.pancake_connection.previous_header_secret_encrypted IS 'The value before it, sealed, accepted until previous_header_secret_expires_at';
COMMENT ON COLUMN public.pancake_connection.previous_header_secret_expires_at IS 'Until when the former header value is accepted';
COMMENT ON COLUMN public.pancake_connection.signature_mode IS 'Check of signature or header at the edge: off, monitor (count only) or enforce';
COMMENT ON COLUMN public.pancake_connection.allowlist_mode IS 'Check of the sender''s address at the edge: off, monitor (count only) or enforce';
COMMENT ON COLUMN public.pancake_connection.allowed_ip_ranges IS 'Networks that deliveries may come from, for allowlist_mode';
COMMENT ON COLUMN public.pancake_connection.status IS 'active, silent, suspended, outage or key_invalid as check_connection finds it; disabled is a switch';
COMMENT ON COLUMN public.pancake_connection.status_changed_at IS 'When status changed last';
COMMENT ON COLUMN public.pancake_connection.last_poll_at IS 'When the lists of the workspace were last read completely';
COMMENT ON COLUMN public.pancake_connection.poll_watermark IS 'Time up to which the workspace was polled; set it back to poll again from there';
COMMENT ON COLUMN public.pancake_connection.created_at IS 'When the connection was created';
COMMENT ON COLUMN public.pancake_connection.updated_at IS 'When the connection was last changed, by whomever';
COMMENT ON COLUMN public.pancake_connection.has_api_key IS 'Whether an API key is stored; the screens never see the key';
COMMENT ON COLUMN public.pancake_connection.has_webhook_secret IS 'Whether a webhook secret is stored';
COMMENT ON COLUMN public.pancake_connection.has_header_secret IS 'Whether a header secret is stored';
COMMENT ON TABLE public.pancake_source IS 'The sources of leads in Pancake (Facebook, TikTok …); leads of an inactive one are held';
COMMENT ON COLUMN public.pancake_source.id IS 'Identifies the source; a roster refers to it';
COMMENT ON COLUMN public.pancake_source.connection_id IS 'The connection whose workspace has the source';
COMMENT ON COLUMN public.pancake_source.pancake_source_id IS 'Id of the source in Pancake; (none) stands for leads without a source';
COMMENT ON COLUMN public.pancake_source.name IS 'Name in Pancake, read by sync_sources; null while only a delivery named the source';
COMMENT ON COLUMN public.pancake_source.parent_source_id IS 'Id in Pancake of the source above it';
COMMENT ON COLUMN public.pancake_source.is_active IS 'The switch: leads are processed if one of their sources is active, else held';
COMMENT ON COLUMN public.pancake_source.is_removed IS 'Whether Pancake does not list the source any more';
COMMENT ON COLUMN public.pancake_source.first_seen_at IS 'When a list or a delivery first named the source';
COMMENT ON COLUMN public.pancake_source.synced_at IS 'When sync_sources last read the source from Pancake';
COMMENT ON COLUMN public.pancake_source.announced_at IS 'When the administrators were told of the new source';
COMMENT ON TABLE public.pancake_assignee IS 'The rosters: which staff get the tickets of a source, in turns; rows without a source are the default roster';
COMMENT ON COLUMN public.pancake_assignee.id IS 'Identifies the member';
COMMENT ON COLUMN public.pancake_assignee.source_id IS 'The source whose tickets the member gets; null is the default roster';
COMMENT ON COLUMN public.pancake_assignee.staff_id IS 'The member of staff';
COMMENT ON COLUMN public.pancake_assignee.is_active IS 'Whether the member gets tickets; off keeps the counters';
COMMENT ON COLUMN public.pancake_assignee.weight IS 'Share of the tickets, 1 to 100: with 2 a member gets twice as many as with 1';
COMMENT ON COLUMN public.pancake_assignee.assigned_count IS 'Tickets counted for the turn; lifted when a member returns, scaled when the weight changes';
COMMENT ON COLUMN public.pancake_assignee.total_assigned IS 'Tickets that the member was ever given from this roster';
COMMENT ON COLUMN public.pancake_assignee.last_assigned_seq IS 'Number of the member''s last turn; of equal members the one with the lowest is next';
COMMENT ON COLUMN public.pancake_assignee.was_available IS 'Whether the member was available at the last choice; shows who returns';
COMMENT ON COLUMN public.pancake_assignee.created_at IS 'When the member was added';
COMMENT ON TABLE public.pancake_webhook_event IS 'One row for each delivery and each polled record, with its state and result. Rows are not deleted: they detect duplicates, and a trigger refuses it. Retention (purge_events) and leads erase alone remove what is in them, and keep the rows';
COMMENT ON COLUMN public.pancake_webhook_event.id IS 'Identifies the event in commands, logs and notifications';
COMMENT ON COLUMN public.pancake_webhook_event.connection_id IS 'The connection that the delivery came by';
COMMENT ON COLUMN public.pancake_webhook_event.origin IS 'How the event came: webhook, poll or reconcile';
COMMENT ON COLUMN public.pancake_webhook_event.record_id IS 'Id of the record in Pancake; null if the body had none';
COMMENT ON COLUMN public.pancake_webhook_event.table_name IS 'Table of the record in Pancake; null if it is not known, which counts as lead';
COMMENT ON COLUMN public.pancake_webhook_event.modified_on IS 'Time of the version in Pancake';
COMMENT ON COLUMN public.pancake_webhook_event.payload_hash IS 'Hash of body, connection and table: the same delivery is stored once';
COMMENT ON COLUMN public.pancake_webhook_event.payload IS 'The body as JSON; emptied by retention';
COMMENT ON COLUMN public.pancake_webhook_event.raw IS 'The bytes of a body that is not JSON; emptied by retention';
COMMENT ON COLUMN public.pancake_webhook_event.status IS 'State: received, ingested, processed, failed, dead_letter, skipped_kill_switch or skipped_source_disabled. Set it to received to process the event again';
COMMENT ON COLUMN public.pancake_webhook_event.error_code IS 'Why the event failed or is a dead letter; docs/flow.md lists the codes';
COMMENT ON COLUMN public.pancake_webhook_event.error_detail IS 'The same in a sentence, without personal data';
COMMENT ON COLUMN public.pancake_webhook_event.attempts IS 'Attempts at the work since the event was received or replayed, at most 5';
COMMENT ON COLUMN public.pancake_webhook_event.next_attempt_at IS 'When a failed event is tried again';
COMMENT ON COLUMN public.pancake_webhook_event.claim_id IS 'Who works on the event, or did; a handler whose claim was lost writes nothing';
COMMENT ON COLUMN public.pancake_webhook_event.arrived_at IS 'When the delivery arrived at the edge, or was read from a list';
COMMENT ON COLUMN public.pancake_webhook_event.received_at IS 'When status last became received; Hasura''s event trigger listens to this column alone';
COMMENT ON COLUMN public.pancake_webhook_event.ingested_at IS 'When a handler last claimed the event';
COMMENT ON COLUMN public.pancake_webhook_event.processed_at IS 'When the event was last processed';
COMMENT ON COLUMN public.pancake_webhook_event.applied_at IS 'When this version became what Diva''s data shows; null if it never did';
COMMENT ON COLUMN public.pancake_webhook_event.normalized_phone IS 'The phone that was used, else the first usable one of the body, in E.164; emptied by retention';
COMMENT ON COLUMN public.pancake_webhook_event.source_ids IS 'Ids in Pancake of the lead''s sources';
COMMENT ON COLUMN public.pancake_webhook_event.account_id IS 'The customer''s account';
COMMENT ON COLUMN public.pancake_webhook_event.ticket_id IS 'The ticket that the event created or updated';
COMMENT ON COLUMN public.pancake_webhook_event.assignee_id IS 'The ticket''s owner when the event was processed';
COMMENT ON COLUMN public.pancake_webhook_event.outcome IS 'Result of the last processing that changed something: ticket_created, ticket_updated, contact_updated, record_deleted, stale or no_change';
COMMENT ON COLUMN public.pancake_webhook_event.evidence IS 'Why it was decided so: phones and the account they led to, roster and counters, keyed digests of fields, result of the last processing';
COMMENT ON COLUMN public.pancake_webhook_event.notifications IS 'The notifications of the event, until they are sent and retention empties them';
COMMENT ON COLUMN public.pancake_webhook_event.notify_claimed_at IS 'When a sender last claimed the notifications; the claim ends after 60 s';
COMMENT ON COLUMN public.pancake_webhook_event.notified_at IS 'When all notifications were accepted by sendNotifications';
COMMENT ON COLUMN public.pancake_webhook_event.notify_attempts IS 'Attempts to send the notifications that did not succeed';
COMMENT ON COLUMN public.pancake_webhook_event.notify_refusals IS 'How many of these attempts were refused';
COMMENT ON COLUMN public.pancake_webhook_event.notify_unknowns IS 'How many of these attempts had no answer in time';
COMMENT ON COLUMN public.pancake_webhook_event.notify_unsent_since IS 'When the first attempt that did not succeed was made; sending ends 24 hours later';
COMMENT ON COLUMN public.pancake_webhook_event.notify_next_at IS 'When the notifications are sent again';
COMMENT ON COLUMN public.pancake_webhook_event.notify_given_up_at IS 'When sending was given up; an administrator was told';
COMMENT ON COLUMN public.pancake_webhook_event.notify_error IS 'Why the last attempt did not succeed: refused, unreached, unknown or no_recipients';
COMMENT ON COLUMN public.pancake_webhook_event.notify_sent IS 'Names of the notifications that were accepted; the others are sent again';
COMMENT ON COLUMN public.pancake_webhook_event.held_at IS 'When the event was first held, by the kill switch or a source';
COMMENT ON COLUMN public.pancake_webhook_event.replay_count IS 'How often people set the event back to received';
COMMENT ON COLUMN public.pancake_webhook_event.replayed_by IS 'Who last did: the user id of the session, else the way, for example console:redeliver';
COMMENT ON COLUMN public.pancake_webhook_event.replayed_at IS 'When that was';
COMMENT ON COLUMN public.pancake_webhook_event.source_ip IS 'Address that the delivery came from; emptied by retention';
COMMENT ON COLUMN public.pancake_webhook_event.created_at IS 'When the event was stored, by the database''s clock of the handlers';
COMMENT ON TABLE public.pancake_cron_run IS 'One row for each scheduled run of the seven crons, with its report, and for each connection that `leads connection` disabled or enabled';
COMMENT ON COLUMN public.pancake_cron_run.id IS 'Identifies the run';
COMMENT ON COLUMN public.pancake_cron_run.name IS 'Name of the cron; connection_status for what `leads connection` did';
COMMENT ON COLUMN public.pancake_cron_run.scheduled_time IS 'The tick''s scheduled time: with the name it identifies the tick on every delivery';
COMMENT ON COLUMN public.pancake_cron_run.started_at IS 'When the run started, or last continued';
COMMENT ON COLUMN public.pancake_cron_run.finished_at IS 'When it ended';
COMMENT ON COLUMN public.pancake_cron_run.outcome IS 'running, succeeded, failed, or skipped because another run was under way';
COMMENT ON COLUMN public.pancake_cron_run.window_from IS 'Begin of the time window that the run asked Pancake for';
COMMENT ON COLUMN public.pancake_cron_run.window_to IS 'End of that window';
COMMENT ON COLUMN public.pancake_cron_run.report IS 'What the run did, in numbers and by connection; its progress while it is running';
COMMENT ON COLUMN public.pancake_cron_run.error IS 'Why it failed';
COMMENT ON COLUMN public.pancake_cron_run.notify_claimed_at IS 'When a sender last claimed the notifications; the claim ends after 60 s';
COMMENT ON COLUMN public.pancake_cron_run.notified_at IS 'When all notifications were accepted by sendNotifications';
COMMENT ON COLUMN public.pancake_cron_run.notify_attempts IS 'Attempts to send the notifications that did not succeed';
COMMENT ON COLUMN public.pancake_cron_run.notify_refusals IS 'How many of these attempts were refused';
COMMENT ON COLUMN public.pancake_cron_run.notify_unknowns IS 'How many of these attempts had no answer in time';
COMMENT ON COLUMN public.pancake_cron_run.notify_unsent_since IS 'When the first attempt that did not succeed was made; sending ends 24 hours later';
COMMENT ON COLUMN public.pancake_cron_run.notify_next_at IS 'When the notifications are sent again';
COMMENT ON COLUMN public.pancake_cron_run.notify_given_up_at IS 'When sending was given up; an administrator was told';
COMMENT ON COLUMN public.pancake_cron_run.notify_error IS 'Why the last attempt did not succeed: refused, unreached, unknown or no_recipients';
COMMENT ON COLUMN public.pancake_cron_run.notify_sent IS 'Names of the notifications that were accepted; the others are sent again';
COMMENT ON TABLE public.customer_erasure IS 'What is left of an erased customer: keyed digests that keep old versions out. Written by `leads erase`, never changed or deleted';
COMMENT ON COLUMN public.customer_erasure.id IS 'Identifies the row';
COMMENT ON COLUMN public.customer_erasure.digest IS 'Keyed digest of a phone, or of a record id if connection_id is set';
COMMENT ON COLUMN public.customer_erasure.connection_id IS 'The connection of the erased record; null in a row for a phone';
COMMENT ON COLUMN public.customer_erasure.table_name IS 'The table of the erased record; null in a row for a phone';
COMMENT ON COLUMN public.customer_erasure.erased_at IS 'Versions that are not newer than this are dead letters';
COMMENT ON COLUMN public.customer_erasure.requested_by IS 'Who asked for the erasure';
COMMENT ON COLUMN public.customer_erasure.run_by IS 'Who ran it';
COMMENT ON COLUMN public.customer_erasure.reason IS 'Why, as the operator wrote it';
COMMENT ON COLUMN public.customer_erasure.counts IS 'How many rows of each kind were emptied';
COMMENT ON VIEW public.view_pancake_setting IS 'The settings as they are used, always one row; an UPDATE changes them, within their bounds';
COMMENT ON COLUMN public.view_pancake_setting.id IS 'Always 1';
COMMENT ON COLUMN public.view_pancake_setting.kill_switch IS 'While on, leads are stored and held: no ticket is created. On if it cannot be read';
COMMENT ON COLUMN public.view_pancake_setting.processing_paused IS 'While on, stored leads wait as received and nothing is held';
COMMENT ON COLUMN public.view_pancake_setting.consent_mode IS 'off, or record: a new customer gets a consent row';
COMMENT ON COLUMN public.view_pancake_setting.sla_minutes IS 'Minutes to the first response after which a ticket is late';
COMMENT ON COLUMN public.view_pancake_setting.replay_rate_per_second IS 'How many events a second replays and the backlog of a pause are processed at';
COMMENT ON COLUMN public.view_pancake_setting.payload_retention_days IS 'Days after which bodies of finished events are emptied';
COMMENT ON COLUMN public.view_pancake_setting.held_retention_days IS 'Days after which bodies of held events are emptied';
COMMENT ON COLUMN public.view_pancake_setting.cron_run_retention_days IS 'Days after which runs of crons are deleted';
COMMENT ON COLUMN public.view_pancake_setting.engine_log_retention_days IS 'Days after which Hasura''s logs of our trigger and crons are deleted';
COMMENT ON COLUMN public.view_pancake_setting.problems IS 'What is wrong with stored settings, for which other values are used; empty if nothing is';
COMMENT ON COLUMN public.view_pancake_setting.changed_at IS 'When a setting was last changed through this view';
COMMENT ON COLUMN public.view_pancake_setting.changed_by IS 'Who changed it';

-- Of the functions and triggers.
COMMENT ON FUNCTION public.pancake_webhook_event_guard_status() IS 'Checks a change of status, and sets received_at, held_at and the replay columns';
COMMENT ON FUNCTION public.pancake_restart_sending() IS 'Starts the sending of notifications afresh when they change';
COMMENT ON FUNCTION public.pancake_unsent(jsonb, text[]) IS 'Those of an event''s notifications that were not accepted';
COMMENT ON FUNCTION public.pancake_webhook_event_keep_rows() IS 'Refuses DELETE and TRUNCATE, unless the transaction sets pancake.delete_events to on';
COMMENT ON FUNCTION public.pancake_record_table(text) IS 'The table of Pancake that an event counts for: account, contact, or lead for any other';
COMMENT ON FUNCTION public.pancake_ticket_is_open(text) IS 'Whether a ticket with this status is still worked on';
COMMENT ON FUNCTION public.pancake_event_is_waiting(text) IS 'Whether an event with this status waits to be processed, or is being processed';
COMMENT ON FUNCTION public.pancake_event_is_held(text) IS 'Whether an event with this status is held: only a replay brings it back';
COMMENT ON FUNCTION public.pancake_event_is_invalid(text) IS 'Whether a dead letter is one because of what it holds';
COMMENT ON FUNCTION public.pancake_event_was_held_or_replayed(timestamptz, integer) IS 'Whether an event waited for a person before it was processed';
COMMENT ON FUNCTION public.pancake_event_is_being_sent(jsonb, timestamptz, timestamptz, interval) IS 'Whether the notifications of an event are being sent';
COMMENT ON FUNCTION public.pancake_assignee_keep_ratio() IS 'Scales assigned_count when the weight changes, so that the member''s turn stays the same';
COMMENT ON FUNCTION public.pancake_setting_rules() IS 'The settings: allowed values, bounds and defaults; the only place with them';
COMMENT ON FUNCTION public.pancake_valid_setting(text, jsonb) IS 'The stored text of a setting if its rule allows it, else null';
COMMENT ON FUNCTION public.pancake_setting_value(jsonb, text) IS 'The value that is used for a setting';
COMMENT ON FUNCTION public.pancake_setting_problem(jsonb) IS 'What is wrong with the settings, one row for each';
COMMENT ON FUNCTION public.pancake_hasura_person() IS 'Who changes something through Hasura: the user, else the role; null for other sessions';
COMMENT ON FUNCTION public.pancake_setting_write() IS 'Writes the settings that an UPDATE of view_pancake_setting changes';
COMMENT ON FUNCTION public.pancake_active_source(uuid, text[]) IS 'The active sources among those that a lead names; none while the connection is disabled';
COMMENT ON FUNCTION public.pancake_hold_reason(uuid, text[]) IS 'Why an event is not processed now: the kill switch or its sources; null if nothing holds it';
COMMENT ON FUNCTION public.pancake_roster_source(uuid, text[]) IS 'The source whose roster serves a lead; no row is the default roster';
COMMENT ON FUNCTION public.pancake_applied_version(uuid, text, text) IS 'The versions of a record that were applied';
COMMENT ON FUNCTION public.pancake_applied_event(uuid, text, text) IS 'The version of a record that was applied last';
COMMENT ON FUNCTION public.pancake_event_is_unassigned(text, uuid, jsonb) IS 'Whether the ticket that an event created still waits for an owner';
COMMENT ON FUNCTION public.pancake_payload_hash(bytea, uuid, text) IS 'The hash that identifies a body of a connection and table';
COMMENT ON FUNCTION public.pancake_account_of_phone(text[], text[]) IS 'The accounts that have one of the phones themselves';
COMMENT ON FUNCTION public.pancake_contact_phone_history(text, jsonb, uuid, text) IS 'Whether a phone of a contact leads to the contact''s account';
COMMENT ON FUNCTION public.pancake_emptied_evidence(jsonb) IS 'What retention keeps of evidence: nothing personal';
COMMENT ON FUNCTION public.pancake_empty_events(bigint[]) IS 'Empties everything personal of finished events; returns how many';
COMMENT ON FUNCTION public.pancake_erase_events(bigint[]) IS 'Erases events of a customer; returns how many';
COMMENT ON FUNCTION public.pancake_erasure(text[], uuid, text, timestamptz) IS 'The erasures that a version of a record falls under';
COMMENT ON FUNCTION public.pancake_staff_role(text) IS 'Diva''s name of a staff role';
COMMENT ON FUNCTION public.pancake_pending_event_ids(interval) IS 'Ids of the events that Hasura is about to deliver';
COMMENT ON FUNCTION public.pancake_delete_event_logs(timestamptz, bigint) IS 'Deletes Hasura''s finished events of our trigger with their logs; returns how many';
COMMENT ON FUNCTION public.pancake_delivery_history(text, integer) IS 'Whether a delivery of Hasura was redelivered by a person, and answered since';
COMMENT ON FUNCTION public.pancake_fired_event_id(bigint) IS 'Hasura''s event that this transaction fired for a row';
COMMENT ON TRIGGER pancake_webhook_event_guard_status ON public.pancake_webhook_event IS 'Checks a change of status; setting received again makes Hasura deliver the event again';
COMMENT ON TRIGGER pancake_webhook_event_restart_sending ON public.pancake_webhook_event IS 'New notifications are sent, also after earlier ones were given up';
COMMENT ON TRIGGER pancake_webhook_event_keep_rows ON public.pancake_webhook_event IS 'Refuses DELETE: the rows detect duplicates';
COMMENT ON TRIGGER pancake_webhook_event_keep_table ON public.pancake_webhook_event IS 'Refuses TRUNCATE: the rows detect duplicates';
COMMENT ON TRIGGER pancake_cron_run_restart_sending ON public.pancake_cron_run IS 'New notices are sent, also after earlier ones were given up';
COMMENT ON TRIGGER pancake_assignee_keep_ratio ON public.pancake_assignee IS 'A new weight keeps the member''s turn';
COMMENT ON TRIGGER pancake_setting_write ON public.view_pancake_setting IS 'Makes the view writable';
COMMENT ON VIEW public.view_pancake_report_source IS 'The report for managers by week: one row for each source, and one for all of them without connection and source';
COMMENT ON VIEW public.view_pancake_report_owner IS 'The report for managers by week: one row for each source and each owner or active member of its roster';
COMMENT ON COLUMN public.pancake_source.change_reason IS 'Write only: why a screen changes the row; the history keeps it, the row does not';
COMMENT ON COLUMN public.pancake_assignee.shift IS 'When the member gets tickets, in the form of the setting business_hours';
COMMENT ON COLUMN public.pancake_assignee.daily_cap IS 'Most tickets that the member gets on a day in Vietnam; null is no limit';
COMMENT ON COLUMN public.pancake_assignee.open_cap IS 'Most open tickets of the member in all of Diva while it gets new ones; null is no limit';
COMMENT ON COLUMN public.pancake_assignee.assigned_on IS 'The last day in Vietnam on which the member was chosen';
COMMENT ON COLUMN public.pancake_assignee.assigned_today IS 'How often the member was chosen on that day';
COMMENT ON COLUMN public.view_pancake_setting.former_owner IS 'Whether a returning customer gets the former owner before the turns: off or on';
COMMENT ON COLUMN public.view_pancake_setting.recall_after_minutes IS 'Business minutes without a first response after which a ticket gets another owner; 0 is never';
COMMENT ON COLUMN public.view_pancake_setting.recall_max_times IS 'How often a ticket is recalled at most';
COMMENT ON COLUMN public.view_pancake_setting.max_tickets_ahead IS 'How many tickets a member may be ahead of the others by former customers and recalls';
COMMENT ON COLUMN public.view_pancake_setting.business_hours IS 'The business hours of a week in Vietnam, in which responses are measured besides the clock';
COMMENT ON COLUMN public.view_pancake_setting.holidays IS 'Dates without business hours';
COMMENT ON COLUMN public.view_pancake_setting.change_reason IS 'Write only: why a screen changes the settings; the history keeps it';
COMMENT ON COLUMN public.view_pancake_report_source.week IS 'The Monday on which the week begins in Vietnam';
COMMENT ON COLUMN public.view_pancake_report_source.connection IS 'The name of the connection; null is the sum of all';
COMMENT ON COLUMN public.view_pancake_report_source.source_id IS 'Pancake id of the source';
COMMENT ON COLUMN public.view_pancake_report_source.source IS 'The name of the source';
COMMENT ON COLUMN public.view_pancake_report_source.leads IS 'Leads that arrived';
COMMENT ON COLUMN public.view_pancake_report_source.tickets IS 'Tickets created';
COMMENT ON COLUMN public.view_pancake_report_source.held IS 'Leads that are held and have no ticket';
COMMENT ON COLUMN public.view_pancake_report_source.no_phone IS 'Leads without a usable phone';
COMMENT ON COLUMN public.view_pancake_report_source.missed_by_webhook IS 'Leads that polling or reconciliation found first';
COMMENT ON COLUMN public.view_pancake_report_source.unassigned IS 'Tickets for which no owner was chosen up to now';
COMMENT ON COLUMN public.view_pancake_report_source.changed IS 'Tickets whose owner a person changed';
COMMENT ON COLUMN public.view_pancake_report_source.unanswered IS 'Tickets without a first response';
COMMENT ON COLUMN public.view_pancake_report_source.response_p50_minutes IS 'Median of the minutes to the first response, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.response_p95_minutes IS '95th percentile of the minutes to the first response, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.response_p50_business_minutes IS 'The median in business minutes';
COMMENT ON COLUMN public.view_pancake_report_source.response_p95_business_minutes IS 'The 95th percentile in business minutes';
COMMENT ON COLUMN public.view_pancake_report_owner.week IS 'The Monday on which the week begins in Vietnam';
COMMENT ON COLUMN public.view_pancake_report_owner.connection IS 'The name of the connection; null is the sum of all';
COMMENT ON COLUMN public.view_pancake_report_owner.source_id IS 'Pancake id of the source';
COMMENT ON COLUMN public.view_pancake_report_owner.source IS 'The name of the source';
COMMENT ON COLUMN public.view_pancake_report_owner.owner IS 'The name of the owner that was chosen';
COMMENT ON COLUMN public.view_pancake_report_owner.tickets IS 'Tickets of the source that the owner was chosen for';
COMMENT ON COLUMN public.view_pancake_report_owner.share IS 'Its part of the tickets of the source, from 0 to 1';
COMMENT ON COLUMN public.view_pancake_report_owner.changed IS 'Those of them whose owner a person changed';
COMMENT ON COLUMN public.view_pancake_report_owner.weight IS 'The weight in the roster; null outside of it';
COMMENT ON COLUMN public.view_pancake_report_owner.spread IS 'Largest difference of tickets by weight between available members at the last choice';
COMMENT ON COLUMN public.view_pancake_report_owner.bound IS 'The most that this difference can be';
COMMENT ON FUNCTION public.pancake_recall_is_due(jsonb, timestamptz, timestamptz) IS 'Whether a ticket waited for its first response for as long as the settings allow';
COMMENT ON FUNCTION public.pancake_valid_hours(text) IS 'Whether text has the form of the setting business_hours';
COMMENT ON FUNCTION public.pancake_business_period(text) IS 'The business hours of a week, one row for each day and period';
COMMENT ON FUNCTION public.pancake_open_minutes(timestamptz, timestamptz, text, text) IS 'The minutes of a period of time within business hours and on no holiday';
COMMENT ON FUNCTION public.pancake_business_minutes(timestamptz, timestamptz, text, text) IS 'The business minutes of a period of time';
COMMENT ON FUNCTION public.pancake_member_limit(public.pancake_assignee, timestamptz) IS 'What keeps a member of a roster from getting a ticket: the shift or a cap; null if nothing does';
COMMENT ON FUNCTION public.pancake_arrived_event(timestamptz, timestamptz) IS 'The events of a period with their class in the key figure success';
COMMENT ON FUNCTION public.pancake_created_ticket(timestamptz, timestamptz) IS 'The tickets that events of a period created, with their chosen owner and response';
COMMENT ON FUNCTION public.pancake_report_source(timestamptz, timestamptz) IS 'The report for managers by source';
COMMENT ON FUNCTION public.pancake_report_owner(timestamptz, timestamptz) IS 'The report for managers by owner';
COMMENT ON FUNCTION public.pancake_report_week() IS 'The present week in Vietnam and the 12 before';
