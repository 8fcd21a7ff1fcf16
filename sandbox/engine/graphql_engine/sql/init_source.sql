-- Event log of a source database: tables, indexes and the function that the generated triggers call. It comes with the source's
-- first event trigger, and goes with the source.
-- Facts: the engine's init_pg_source.sql (names, types and states are part of its contract).
CREATE SCHEMA IF NOT EXISTS hdb_catalog;

CREATE OR REPLACE FUNCTION hdb_catalog.gen_hasura_uuid() RETURNS uuid
LANGUAGE sql AS 'SELECT gen_random_uuid()';

CREATE TABLE IF NOT EXISTS hdb_catalog.event_log (
  id text PRIMARY KEY DEFAULT hdb_catalog.gen_hasura_uuid(),
  schema_name text NOT NULL,
  table_name text NOT NULL,
  trigger_name text NOT NULL,
  payload jsonb NOT NULL,
  delivered boolean NOT NULL DEFAULT false,
  error boolean NOT NULL DEFAULT false,
  tries integer NOT NULL DEFAULT 0,
  created_at timestamp DEFAULT now(),
  locked timestamptz,
  next_retry_at timestamp,
  archived boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS event_log_trigger_name_idx ON hdb_catalog.event_log (trigger_name);
CREATE INDEX IF NOT EXISTS event_log_fetch_events
  ON hdb_catalog.event_log (locked NULLS FIRST, next_retry_at NULLS FIRST, created_at)
  WHERE NOT delivered AND NOT error AND NOT archived;

CREATE TABLE IF NOT EXISTS hdb_catalog.event_invocation_logs (
  id text PRIMARY KEY DEFAULT hdb_catalog.gen_hasura_uuid(),
  trigger_name text,
  event_id text,
  status integer,
  request json,
  response json,
  created_at timestamp DEFAULT now()
);
CREATE INDEX IF NOT EXISTS event_invocation_logs_event_id_idx
  ON hdb_catalog.event_invocation_logs (event_id);

CREATE TABLE IF NOT EXISTS hdb_catalog.hdb_event_log_cleanups (
  id text PRIMARY KEY DEFAULT hdb_catalog.gen_hasura_uuid(),
  trigger_name text NOT NULL,
  scheduled_at timestamp NOT NULL,
  deleted_event_logs integer,
  deleted_event_invocation_logs integer,
  status text NOT NULL CHECK (status IN ('scheduled', 'paused', 'completed', 'dead')),
  UNIQUE (trigger_name, scheduled_at)
);

CREATE OR REPLACE FUNCTION hdb_catalog.insert_event_log(
  schema_name text, table_name text, trigger_name text, op text, row_data json
) RETURNS text LANGUAGE plpgsql AS $function$
DECLARE
  new_id text := gen_random_uuid();
BEGIN
  INSERT INTO hdb_catalog.event_log (id, schema_name, table_name, trigger_name, payload)
  VALUES (
    new_id, schema_name, table_name, trigger_name,
    json_build_object(
      'op', op,
      'data', row_data,
      'session_variables', nullif(current_setting('hasura.user', true), '')::json,
      'trace_context', nullif(current_setting('hasura.tracecontext', true), '')::json
    )
  );
  RETURN new_id;
END
$function$;
