-- Add the settings of the integration, with the kill switch on: no ticket is created until an administrator turns it off.
-- Their defaults, bounds and the view on them are in migration 1777870069931.
-- Anchor: 1 check that the table exists, 2 check that row 1 holds an object, 3 keep existing settings, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Validate what 1777870069930 added. The locks of its ALTER TABLE were released, so these scans block neither readers nor writers.
ALTER TABLE public.contact_book VALIDATE CONSTRAINT ck_contact_book_primary_phone;
ALTER TABLE public.contact_book VALIDATE CONSTRAINT fk_contact_book_account;

DO $$
DECLARE
    changed bigint;
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    IF (SELECT jsonb_typeof(app_settings) FROM public.app_setting WHERE id = 1) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'app_setting has no row 1 with a JSON object in app_settings';
    END IF;
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        (SELECT jsonb_object_agg(r.name, r.rule -> 'default') FROM jsonb_each(public.pancake_setting_rules()) AS r (name, rule))
            || CASE WHEN jsonb_typeof(app_settings -> 'pancake_integration') = 'object' THEN app_settings -> 'pancake_integration' ELSE '{}' END
    )
    WHERE id = 1;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'app_setting: expected to update 1 row, updated %', changed;
    END IF;
END
$$;

-- Collect statistics of the columns and of the expression index that these migrations added; PostgreSQL would do so only after
-- a tenth of the rows has changed. Our own tables are left out: they are empty, and PostgreSQL plans sequential scans for a
-- table analysed while empty, but not for one never analysed. A table locked by VACUUM is skipped.
ANALYZE (SKIP_LOCKED) public.account, public.contact_book;
