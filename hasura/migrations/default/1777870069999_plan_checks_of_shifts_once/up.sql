-- Plan the check of a member's shift once in a session. PostgreSQL plans a function in SQL that it cannot inline at each call: here,
-- whenever a member of a roster gets a ticket. Locks no table, and may run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069931, in PL/pgSQL, which keeps the plan.
CREATE OR REPLACE FUNCTION public.pancake_valid_hours(hours text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    RETURN public.pancake_valid_setting(hours, public.pancake_setting_rules() -> 'business_hours') IS NOT NULL AND NOT EXISTS (
        SELECT FROM regexp_split_to_table(hours, ', ') AS e (entry) WHERE substring(e.entry FROM '([0-9:]{5})-') >= right(e.entry, 5)
    );
END
$$;
