-- Use generic plans and no sequential scans in this transaction. PostgreSQL would plan statements with array parameters at each
-- execution, which costs more than executing them. A generic plan made while a table is small scans it, and is kept until the
-- table is analysed. Returns one row.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)
