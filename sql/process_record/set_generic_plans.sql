-- Let the statements of this transaction keep their generic plans: PostgreSQL would plan those that take arrays anew each time,
-- which costs more than running them. Returns one row.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true)
