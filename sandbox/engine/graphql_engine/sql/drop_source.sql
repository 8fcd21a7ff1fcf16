-- Drop what init_source.sql created, as the engine does when a source goes. gen_hasura_uuid stays: other tables may use it.
DROP TABLE IF EXISTS hdb_catalog.event_log, hdb_catalog.event_invocation_logs, hdb_catalog.hdb_event_log_cleanups;
DROP FUNCTION IF EXISTS hdb_catalog.insert_event_log(text, text, text, text, json);
