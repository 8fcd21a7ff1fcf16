-- The engine's tables that the crons read and clean, and its event trigger: received_at is what it listens to.
CREATE SCHEMA hdb_catalog;
CREATE TABLE hdb_catalog.event_log (
    id text DEFAULT gen_random_uuid() PRIMARY KEY, schema_name text, table_name text, trigger_name text NOT NULL,
    payload jsonb NOT NULL, delivered boolean DEFAULT false NOT NULL, error boolean DEFAULT false NOT NULL,
    tries integer DEFAULT 0 NOT NULL, created_at timestamp DEFAULT now(), locked timestamptz, next_retry_at timestamp,
    archived boolean DEFAULT false NOT NULL
);
CREATE INDEX event_log_trigger_name_idx ON hdb_catalog.event_log (trigger_name);
CREATE INDEX event_log_fetch_events ON hdb_catalog.event_log (locked NULLS FIRST, next_retry_at NULLS FIRST, created_at)
    WHERE delivered = false AND error = false AND archived = false;
CREATE TABLE hdb_catalog.event_invocation_logs (
    id text DEFAULT gen_random_uuid() PRIMARY KEY, trigger_name text, event_id text, status integer, request json,
    response json, created_at timestamp DEFAULT now()
);
CREATE TABLE hdb_catalog.hdb_cron_events (
    id text DEFAULT gen_random_uuid() PRIMARY KEY, trigger_name text NOT NULL, scheduled_time timestamptz NOT NULL,
    status text DEFAULT 'scheduled' NOT NULL, tries integer DEFAULT 0 NOT NULL, created_at timestamptz DEFAULT now(),
    next_retry_at timestamptz
);
CREATE TABLE hdb_catalog.hdb_cron_event_invocation_logs (
    id text DEFAULT gen_random_uuid() PRIMARY KEY,
    event_id text REFERENCES hdb_catalog.hdb_cron_events (id) ON UPDATE CASCADE ON DELETE CASCADE,
    status integer, request json, response json, created_at timestamptz DEFAULT now()
);
CREATE FUNCTION hdb_catalog.notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.received_at IS DISTINCT FROM NEW.received_at THEN
        INSERT INTO hdb_catalog.event_log (schema_name, table_name, trigger_name, payload)
        VALUES ('public', 'pancake_webhook_event', 'pancake_webhook_event_status_update',
            jsonb_build_object('op', TG_OP, 'data', jsonb_build_object('old', NULL, 'new', jsonb_build_object('id', NEW.id))));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER notify_hasura AFTER INSERT OR UPDATE ON pancake_webhook_event
    FOR EACH ROW EXECUTE FUNCTION hdb_catalog.notify();
