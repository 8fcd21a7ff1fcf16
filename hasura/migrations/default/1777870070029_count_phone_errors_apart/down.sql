-- Count leads whose phone is wrong or missing as broken again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069960, which may have been taken back already.
DO $$
BEGIN
    IF to_regprocedure('public.pancake_report_row(timestamptz, timestamptz)') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE replace(
        pg_get_functiondef('public.pancake_report_row(timestamptz, timestamptz)'::regprocedure),
        'pancake_error_fault(a.error_code) NOT IN (''none'', ''lead'')', 'pancake_error_fault(a.error_code) <> ''none'''
    );
END
$$;
