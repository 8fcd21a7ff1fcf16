-- Remove the settings of the integration. Other keys of app_settings stay.
-- Without them, view_pancake_setting (migration 1777870069931) reads the kill switch as on and the defaults of the others.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    UPDATE public.app_setting SET app_settings = app_settings - 'pancake_integration' WHERE id = 1;
    IF EXISTS (SELECT FROM public.app_setting WHERE id = 1 AND app_settings ? 'pancake_integration') THEN
        RAISE EXCEPTION 'key pancake_integration is still in app_settings after its removal';
    END IF;
END
$$;
