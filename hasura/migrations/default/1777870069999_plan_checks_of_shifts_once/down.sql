-- Plan the check of a member's shift at each call again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069931, which may have been taken back already.
DO $$
BEGIN
    IF to_regproc('public.pancake_valid_hours') IS NULL THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION public.pancake_valid_hours(hours text) RETURNS boolean
        LANGUAGE sql IMMUTABLE
        AS $hours$
    SELECT public.pancake_valid_setting(hours, public.pancake_setting_rules() -> 'business_hours') IS NOT NULL AND NOT EXISTS (
        SELECT FROM regexp_split_to_table(hours, ', ') AS e (entry) WHERE substring(e.entry FROM '([0-9:]{5})-') >= right(e.entry, 5)
    )
$hours$;
END
$$;
