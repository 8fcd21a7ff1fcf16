-- Load how often the indexes that every lead needs were read since the statistics began.
-- Returns one row per index: name, idx_scan, is_large (its table is large). Relies on pg_stat_user_indexes.
SELECT i.indexrelname AS name, i.idx_scan, t.n_live_tup > 10000 AS is_large
FROM pg_catalog.pg_stat_user_indexes AS i
JOIN pg_catalog.pg_stat_user_tables AS t ON t.relid = i.relid
WHERE i.schemaname = 'public' AND i.indexrelname IN ('account_normalized_phone_idx', 'uq_pancake_webhook_event_identity')
ORDER BY i.indexrelname
