-- Count as broken no lead whose phone is wrong or missing: the report has these as bad_phone and no_phone, and no administrator mends
-- them. Locks no table, and may run again.
-- Anchor: the function of 1777870069960, changed as it is found.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    definition CONSTANT text := pg_get_functiondef('public.pancake_report_row(timestamptz, timestamptz)'::regprocedure);
    former CONSTANT text := 'pancake_error_fault(a.error_code) <> ''none''';
    changed CONSTANT text := 'pancake_error_fault(a.error_code) NOT IN (''none'', ''lead'')';
BEGIN
    IF strpos(definition, changed) = 0 THEN
        IF strpos(definition, former) = 0 THEN
            RAISE EXCEPTION 'pancake_report_row has another form than this migration expects';
        END IF;
        EXECUTE replace(definition, former, changed);
    END IF;
END
$$;
