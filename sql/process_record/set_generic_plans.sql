-- Use generic plans in this transaction. PostgreSQL would plan statements with array parameters at each execution, which costs
-- more than executing them. Returns one row.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true)
