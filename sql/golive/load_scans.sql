-- Load how often the large tables were read whole since the statistics began.
-- Returns one row per table: name, seq_scan. Relies on pg_stat_user_tables.
SELECT t.relname AS name, t.seq_scan
FROM pg_catalog.pg_stat_user_tables AS t
WHERE t.schemaname = 'public' AND t.relname IN ('account', 'contact_book', 'ticket', 'pancake_webhook_event') AND t.n_live_tup > 10000
ORDER BY t.relname
