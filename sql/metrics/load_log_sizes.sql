-- Load how many rows Hasura's log tables have, and how many dead ones, as the statistics of the server say.
-- Returns log, live_rows, dead_rows: one row for each table that exists in this database.
-- Relies on pg_class_relname_nsp_index.
SELECT t.relname AS log, t.n_live_tup AS live_rows, t.n_dead_tup AS dead_rows
FROM pg_catalog.pg_stat_all_tables AS t
WHERE t.schemaname = 'hdb_catalog' AND t.relname = ANY (%(logs)s)
